use super::*;
use proptest::prelude::*;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_000_000, 0).expect("a valid instant")
}

fn base<'a>(kind: &'a str) -> RawEvent<'a> {
    let text = |text: &'a str| Loose::Text(Cow::Borrowed(text));
    RawEvent { id: text("e-1"), kind: text(kind), at: Loose::Text(Cow::Owned(now().to_rfc3339())), ..RawEvent::default() }
}

fn text(text: &str) -> Loose<'_> {
    Loose::Text(Cow::Borrowed(text))
}

fn code(raw: RawEvent<'_>) -> Option<&'static str> {
    check(raw, now(), Ages::LIVE).err().map(|rejection| rejection.code.as_str())
}

fn at(offset: TimeDelta) -> RawEvent<'static> {
    RawEvent { at: Loose::Text(Cow::Owned((now() + offset).to_rfc3339())), key: text("user:1"), ..base("access") }
}

#[test]
fn a_plain_access_is_taken_and_what_is_left_out_is_zero() {
    let event =
        check(RawEvent { key: text("user:1:profile"), hits: Loose::Int(3), misses: Loose::Null, ..base("access") }, now(), Ages::LIVE);
    let expected = Access { hits: Some(3), misses: None, stale_served: Some(0), errors: Some(0), read_path: None };
    assert_eq!(event.expect("valid").body, Body::Access(expected));
}

#[test]
fn an_id_has_1_to_64_bytes() {
    let id = "x".repeat(65);
    assert_eq!(code(RawEvent { id: text(&id), key: text("k"), ..base("access") }), Some("too_long"));
    assert_eq!(code(RawEvent { id: text(&id[..64]), key: text("k"), ..base("access") }), None);
    assert_eq!(code(RawEvent { id: text(""), key: text("k"), ..base("access") }), Some("out_of_range"));
    assert_eq!(code(RawEvent { id: Loose::Absent, key: text("k"), ..base("access") }), Some("missing_field"));
    assert_eq!(code(RawEvent { id: Loose::Int(7), key: text("k"), ..base("access") }), Some("wrong_type"));
    assert_eq!(code(RawEvent { id: text("a\u{1}"), key: text("k"), ..base("access") }), Some("bad_characters"));
}

#[test]
fn ages_are_7_days_behind_and_5_minutes_ahead() {
    assert_eq!(code(at(TimeDelta::minutes(5))), None);
    assert_eq!(code(at(TimeDelta::minutes(5) + TimeDelta::milliseconds(1))), Some("too_new"));
    assert_eq!(code(at(-TimeDelta::days(7))), None);
    assert_eq!(code(at(-TimeDelta::days(7) - TimeDelta::milliseconds(1))), Some("too_old"));
}

#[test]
fn an_instant_needs_its_zone() {
    for bad in ["2026-11-23T03:14:20", "2026-11-23", "yesterday", "1795000000", ""] {
        assert_eq!(code(RawEvent { at: text(bad), key: text("k"), ..base("access") }), Some("malformed"), "{bad}");
    }
}

#[test]
fn exactly_one_key_field_but_none_for_a_mutation() {
    assert_eq!(code(base("access")), Some("malformed"));
    assert_eq!(code(RawEvent { key: text("a"), prefix: text("b"), ..base("access") }), Some("malformed"));
    assert_eq!(code(RawEvent { key: text("a"), key_b64: text("YQ=="), ..base("stale_read") }), Some("malformed"));
    let mutation = || RawEvent { endpoint: text("PUT /users/{id}"), mutation_id: text("m-1"), ..base("mutation") };
    assert_eq!(code(mutation()), None);
    assert_eq!(code(RawEvent { key: text("a"), ..mutation() }), Some("malformed"));
    let note = || RawEvent { note_kind: text("deploy"), text: text("api 1.2"), ..base("annotation") };
    assert_eq!(code(note()), None);
    assert_eq!(code(RawEvent { prefix: text("user:{id}"), ..note() }), None);
    assert_eq!(code(RawEvent { prefix: text("user:{id}"), key: text("k"), ..note() }), Some("malformed"));
}

#[test]
fn keys_are_bytes_up_to_1024() {
    let key = "k".repeat(1_025);
    assert_eq!(code(RawEvent { key: text(&key), ..base("access") }), Some("too_long"));
    assert_eq!(code(RawEvent { key: text(&key[..1_024]), ..base("access") }), None);
    let event = check(RawEvent { key: text("a\0b"), ..base("access") }, now(), Ages::LIVE).expect("a NUL is a byte like any other");
    assert_eq!(event.subject, Subject::Key(Cow::Borrowed(b"a\0b")));
    let event = check(RawEvent { key_b64: text("/wA="), ..base("access") }, now(), Ages::LIVE).expect("valid");
    assert_eq!(event.subject, Subject::Key(Cow::Borrowed(&[0xff, 0])));
    assert_eq!(code(RawEvent { key_b64: text("?"), ..base("access") }), Some("bad_characters"));
    assert_eq!(code(RawEvent { key_b64: text(&"AAAA".repeat(342)), ..base("access") }), Some("too_long"));
}

#[test]
fn numbers_have_limits() {
    let with = |hits| RawEvent { key: text("k"), hits, ..base("access") };
    assert_eq!(code(with(Loose::Int(1_000_000_000))), None);
    assert_eq!(code(with(Loose::Int(1_000_000_001))), Some("out_of_range"));
    assert_eq!(code(with(Loose::Int(-1))), Some("out_of_range"));
    assert_eq!(code(with(Loose::Huge)), Some("out_of_range"));
    assert_eq!(code(with(Loose::Other)), Some("wrong_type"));
    assert_eq!(code(with(text("3"))), Some("wrong_type"));
    let rebuild = |us| RawEvent { key: text("k"), duration_us: us, outcome: text("ok"), trigger: text("miss"), ..base("rebuild") };
    assert_eq!(code(rebuild(Loose::Int(3_600_000_000))), None);
    assert_eq!(code(rebuild(Loose::Int(3_600_000_001))), Some("out_of_range"));
    assert_eq!(code(rebuild(Loose::Absent)), Some("missing_field"));
}

#[test]
fn words_come_from_their_list() {
    assert_eq!(code(RawEvent { key: text("k"), ..base("visit") }), Some("unknown_type"));
    let with = |outcome| RawEvent { key: text("k"), method: text("evict"), outcome, ..base("invalidation") };
    assert_eq!(code(with(text("ok"))), None);
    assert_eq!(code(with(text("timeout"))), Some("out_of_range"));
    assert_eq!(code(with(Loose::Absent)), Some("missing_field"));
    let event = check(with(text("error")), now(), Ages::LIVE).expect("valid");
    assert!(matches!(event.body, Body::Invalidation(Invalidation { failure: Some(ErrorClass::Other), .. })));
}

#[test]
fn texts_are_cut_at_500_bytes_on_a_character() {
    let long = "é".repeat(400);
    let event = check(RawEvent { note_kind: text("note"), text: text(&long), ..base("annotation") }, now(), Ages::LIVE).expect("valid");
    let Body::Annotation(note) = event.body else { panic!("an annotation") };
    assert_eq!(note.text.len(), 500);
    let odd = format!("a{long}");
    let event = check(RawEvent { note_kind: text("note"), text: text(&odd), ..base("annotation") }, now(), Ages::LIVE).expect("valid");
    let Body::Annotation(note) = event.body else { panic!("an annotation") };
    assert_eq!(note.text.len(), 499);
}

#[test]
fn control_characters_are_refused_in_texts_but_tab_and_newline() {
    let with = |note| RawEvent { note_kind: text("note"), text: text(note), ..base("annotation") };
    assert_eq!(code(with("one\ttwo\nthree")), None);
    for bad in ["a\u{0}", "a\r", "a\u{7f}", "a\u{85}", "\u{1b}[2J"] {
        assert_eq!(code(with(bad)), Some("bad_characters"), "{bad:?}");
    }
}

#[test]
fn params_are_at_most_16_strings() {
    let with = |params| RawEvent { endpoint: text("PUT /x"), mutation_id: text("m"), params, ..base("mutation") };
    assert_eq!(code(with(LooseMap::Map(vec![(Cow::Borrowed("id"), text("7"))]))), None);
    assert_eq!(code(with(LooseMap::Map(vec![(Cow::Borrowed("id"), Loose::Int(7))]))), Some("wrong_type"));
    assert_eq!(code(with(LooseMap::TooMany)), Some("out_of_range"));
    assert_eq!(code(with(LooseMap::Other)), Some("wrong_type"));
}

proptest! {
    #[test]
    fn whatever_is_sent_gets_an_answer(id in ".{0,80}", kind in "[a-z_]{0,12}", key in ".{0,40}", hits in any::<i64>(), note in ".{0,700}") {
        let raw = RawEvent {
            id: Loose::Text(id.into()), kind: Loose::Text(kind.into()), at: Loose::Text(now().to_rfc3339().into()), key: Loose::Text(key.into()),
            hits: Loose::Int(hits), error: Loose::Text(note.into()), ..RawEvent::default()
        };
        let _ = check(raw, now(), Ages::LIVE);
    }
}
