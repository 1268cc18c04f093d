//! The grammar's rules, as properties: the matcher against a naive one, patterns against Redis's own glob rules, overlap against brute force.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::glob::redis_glob_matches;
use super::template::{Segment, Template};
use super::*;

fn template(text: &str) -> Template {
    Template::parse(text, b':').unwrap()
}

/// The rule of the specification, written out segment by segment with no care for speed.
fn naive_match(template: &Template, key: &[u8]) -> bool {
    let parts: Vec<Vec<u8>> = key.split(|&byte| byte == b':').map(<[u8]>::to_vec).collect();
    let is_version = |part: &[u8]| part.len() >= 2 && part.len() <= 21 && part[0] == b'v' && part[1..].iter().all(u8::is_ascii_digit);
    let versioned = is_version(parts.last().unwrap());
    // Without the version: any shape may match what is left. With it: no placeholder may take the last segment.
    let without = versioned && shape(&template.segments, &parts[..parts.len() - 1], false);
    if template.versioned_only { without } else { without || shape(&template.segments, &parts, versioned) }
}

fn shape(segments: &[Segment], parts: &[Vec<u8>], last_is_version: bool) -> bool {
    let (Some(segment), Some(part)) = (segments.first(), parts.first()) else { return segments.is_empty() && parts.is_empty() };
    let is_last = parts.len() == 1;
    match segment {
        Segment::Literal(bytes) => bytes == part && shape(&segments[1..], &parts[1..], last_is_version),
        Segment::One { .. } => !(part.is_empty() || is_last && last_is_version) && shape(&segments[1..], &parts[1..], last_is_version),
        Segment::Many { .. } => !last_is_version && parts.iter().all(|part| !part.is_empty()),
    }
}

/// Segments of templates over a tiny alphabet, so that templates and keys often meet.
fn template_text() -> impl Strategy<Value = String> {
    let middle = prop_oneof![Just(""), Just("a"), Just("b"), Just("v1"), Just("{p}"), Just("{p}"), Just("*")];
    let last = prop_oneof![Just(""), Just("a"), Just("v1"), Just("{q}"), Just("{q*}"), Just("v{n}"), Just("[x]")];
    (prop_oneof![Just("a"), Just("b"), Just("v1"), Just("?*")], prop::collection::vec(middle, 0..3), prop::option::of(last)).prop_map(
        |(first, mut middle, last)| {
            let mut seen = 0;
            for part in &mut middle {
                if *part == "{p}" {
                    seen += 1;
                    *part = if seen == 1 { "{p}" } else { "{r}" };
                    if seen > 2 {
                        *part = "a";
                    }
                }
            }
            std::iter::once(first).chain(middle).chain(last).collect::<Vec<_>>().join(":")
        },
    )
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    const PARTS: [&[u8]; 12] = [b"", b"a", b"b", b"v1", b"v2", b"v", b"*", b"?*", b"[x]", b"\\", b"\xff\0", b"v123456789012345678901"];
    let part = prop::sample::select(PARTS.to_vec());
    prop::collection::vec(part, 1..5).prop_map(|parts| parts.join(&b':'))
}

/// Every key of up to four segments over an alphabet that tells all templates above apart.
fn all_keys() -> Vec<Vec<u8>> {
    let alphabet: [&[u8]; 8] = [b"", b"a", b"b", b"z", b"v1", b"v2", b"*", b"[x]"];
    let mut keys: Vec<Vec<u8>> = Vec::new();
    let mut longest: Vec<Vec<u8>> = ["a", "b", "v1", "?*"].iter().map(|first| first.as_bytes().to_vec()).collect();
    for _ in 0..5 {
        keys.extend(longest.iter().cloned());
        longest = longest.iter().flat_map(|key| alphabet.iter().map(move |part| [key, &b":"[..], part].concat())).collect();
        if longest.len() > 40_000 {
            break;
        }
    }
    keys
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn escaped_text_reads_back(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        prop_assert_eq!(unescape(&escape(&bytes)).unwrap(), bytes);
    }

    #[test]
    fn the_matcher_is_the_naive_one(text in template_text(), key in key()) {
        let template = template(&text);
        prop_assert_eq!(template.matches(&key), naive_match(&template, &key), "{} on {}", text, escape(&key));
    }

    #[test]
    fn a_template_scope_is_classification_and_its_pattern_finds_every_key(text in template_text(), key in key()) {
        let family = template(&text);
        let scope = Scope::parse(&text, Some(ScopeKind::Template), b':', std::slice::from_ref(&family)).unwrap();
        let families = Families::new(vec![family.clone()]);
        prop_assert_eq!(scope.contains(&key), family.matches(&key));
        prop_assert_eq!(families.classify(&key).is_some(), family.matches(&key));
        let pattern = scope.match_pattern();
        prop_assert!(!matches!(pattern.as_bytes(), [] | [b'*' | b'?' | b'[', ..]), "a pattern begins with a literal");
        if scope.contains(&key) {
            prop_assert!(redis_glob_matches(pattern.as_bytes(), &key), "{} does not find {}", escape(pattern.as_bytes()), escape(&key));
        }
    }

    #[test]
    fn a_literal_scope_is_starts_with_whatever_its_bytes(body in prop::collection::vec(any::<u8>(), 3..12), key in prop::collection::vec(any::<u8>(), 0..16), inside in any::<bool>()) {
        let mut bytes: Vec<u8> = body.into_iter().map(|byte| if byte == b':' { b'*' } else { byte }).collect();
        bytes.push(b':');
        let key = if inside { [bytes.clone(), key].concat() } else { key };
        let scope = Scope::parse(&escape(&bytes), Some(ScopeKind::Literal), b':', &[]).unwrap();
        prop_assert_eq!(scope.contains(&key), key.starts_with(&bytes));
        prop_assert_eq!(redis_glob_matches(scope.match_pattern().as_bytes(), &key), key.starts_with(&bytes), "no superset is needed here");
        prop_assert_eq!(Scope::parse(&scope.to_string(), None, b':', &[]).unwrap(), scope);
    }

    #[test]
    fn a_binding_is_the_template_and_that_value(value in prop_oneof![Just("a"), Just("v1"), Just("*"), Just("z")], key in key()) {
        let family = template("a:{p}:b");
        let scope = Scope::parse(&format!("a:{{p={value}}}:b"), None, b':', std::slice::from_ref(&family)).unwrap();
        let second = key.split(|&byte| byte == b':').nth(1).unwrap_or_default();
        prop_assert_eq!(scope.contains(&key), family.matches(&key) && second == value.as_bytes());
    }

    #[test]
    fn what_fill_makes_belongs_to_the_template(text in template_text(), p in "[ab:v1]{0,3}", q in "[ab:v1]{0,3}") {
        let family = template(&text);
        let params = BTreeMap::from([("p".to_owned(), p.clone()), ("q".to_owned(), q), ("r".to_owned(), p)]);
        if let Some(key) = family.fill(&params) {
            let key = if family.versioned_only() { [&key[..], b":v3"].concat() } else { key };
            prop_assert!(naive_match(&family, &key), "{} gave {}", text, escape(&key));
        }
    }
}

#[test]
fn overlap_is_exact() {
    let keys = all_keys();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..150 {
        let (a, b) = (template_text(), template_text()).new_tree(&mut runner).unwrap().current();
        let (a, b) = (template(&a), template(&b));
        let both = keys.iter().find(|key| naive_match(&a, key) && naive_match(&b, key));
        assert_eq!(a.overlaps(&b), both.is_some(), "{a} and {b}: {:?}", both.map(|key| escape(key)));
        assert_eq!(a.overlaps(&b), b.overlaps(&a), "{a} and {b}");
    }
}

#[test]
fn protection_is_exact() {
    let keys = all_keys();
    let prefixes: [&[u8]; 12] =
        [b"a", b"a:", b"a:b", b"a:b:", b"a:v1", b"a:a:v", b"a:a:v1:", b"?*:", b"a::", b"v1:", b"a:z:b:v", b"b:a:a:"];
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..60 {
        let text = template_text().new_tree(&mut runner).unwrap().current();
        let family = template(&text);
        let scope = Scope::parse(&text, Some(ScopeKind::Template), b':', std::slice::from_ref(&family)).unwrap();
        for prefix in prefixes {
            let common = keys.iter().find(|key| key.starts_with(prefix) && naive_match(&family, key));
            assert_eq!(
                scope.may_contain_under(prefix),
                common.is_some(),
                "{text} under {}: {:?}",
                escape(prefix),
                common.map(|key| escape(key))
            );
        }
    }
}

#[test]
fn a_version_is_never_a_placeholders_value() {
    let user = template("user:{id}");
    assert!(user.matches(b"user:42") && user.matches(b"user:42:v7") && user.matches(b"user:v1:v2"));
    assert!(!user.matches(b"user:v1"));
    assert!(!template("user:{id}:v{n}").matches(b"user:42") && template("user:{id}:v{n}").matches(b"user:42:v7"));
    assert!(!template("files:{path*}").matches(b"files:v1") && template("files:{path*}").matches(b"files:a:b:v1"));
    assert!(template("config:v1").matches(b"config:v1") && template("config:v1").matches(b"config:v1:v2"));
    assert!(user.matches(b"user:v123456789012345678901"), "21 digits are no version");
}

#[test]
fn segments_may_be_empty_except_the_first() {
    assert!(template("users::{id}").matches(b"users::42"));
    assert!(!template("users::{id}").matches(b"users:42"));
    assert!(!template("users:{id}").matches(b"users:"));
    assert!(!template("users:{id}:x").matches(b"users::x"));
    assert_eq!(Template::parse(":a", b':'), Err(TemplateError::FirstNotLiteral));
    assert_eq!(Template::parse("{id}:a", b':'), Err(TemplateError::FirstNotLiteral));
}

#[test]
fn double_braces_are_literal() {
    let tagged = template("{{user:{id}:1}}:cart");
    assert!(tagged.matches(b"{user:7:1}:cart"));
    assert_eq!(tagged.to_string(), "{{user:{id}:1}}:cart");
}

#[test]
fn malformed_templates_are_named() {
    use TemplateError as E;
    for (text, problem) in [
        ("", E::Empty),
        ("a:{id}x", E::Mixed("{…}x".into())),
        ("a:x{id}", E::Mixed("x{…}".into())),
        ("a:v{x}", E::Mixed("v{…}".into())),
        ("a:v{n}:b", E::Mixed("v{…}".into())),
        ("a:{id", E::Unbalanced),
        ("a:id}", E::Unbalanced),
        ("a:{}", E::Name(String::new())),
        ("a:{a b}", E::Name("a b".into())),
        ("a:{id}:{id}", E::Repeated("id".into())),
        ("a:{rest*}:b", E::ManyNotLast("rest".into())),
        ("a:{id=3}", E::Bound),
        ("a:\\q", E::Escape(EscapeError::Backslash { at: 3 })),
    ] {
        assert_eq!(Template::parse(text, b':'), Err(problem), "{text}");
    }
}

#[test]
fn a_thousand_families_are_told_apart() {
    let families = Families::new((0..1_000).map(|n| template(&format!("app{}:kind{n}:{{id}}", n % 10))).collect());
    assert_eq!(families.classify(b"app7:kind997:42:v3"), Some(997));
    assert_eq!(families.classify(b"app7:kind998:42"), None);
    assert_eq!(families.classify(b"other"), None);
}
