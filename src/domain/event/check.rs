//! The rules of `POST /api/v1/events`: what one event must be, and which code and sentence it gets where it is not. The first thing that is
//! wrong is the one that is told.

use super::{
    Access, Annotation, Body, COUNT_MAX, Cause, DELAY_MAX_MS, DURATION_MAX_US, ENDPOINT_MAX, ErrorClass, Event, ID_MAX, Invalidation,
    KEY_MAX, Kind, LINK_MAX, Method, Mutation, NoteKind, Outcome, PARAMS_MAX, READ_PATH_MAX, Rebuild, RejectCode, Rejection, SHORT_MAX,
    StaleRead, Subject, TEXT_CUT, base64,
    loose::{Loose, LooseMap, RawEvent, Unlisted},
};
use chrono::{DateTime, TimeDelta, Utc};
use std::borrow::Cow;

/// How far from now an event's instant may lie.
#[derive(Clone, Copy, Debug)]
pub struct Ages {
    pub behind: TimeDelta,
    pub ahead: TimeDelta,
}

impl Ages {
    /// What applications are held to: 7 days behind, 5 minutes ahead.
    pub const LIVE: Ages = Ages { behind: TimeDelta::days(7), ahead: TimeDelta::minutes(5) };
}

type Checked<T> = Result<T, Rejection>;

/// Holds one event to the rules. Whether its prefix and target exist is for the caller, who knows the registry.
pub fn check(raw: RawEvent<'_>, now: DateTime<Utc>, ages: Ages) -> Checked<Event<'_>> {
    match raw.unlisted {
        Some(Unlisted::NotAnObject) => return Err(Rejection::new(RejectCode::Malformed, "An event is a JSON object.")),
        Some(Unlisted::TwiceNamed) => return Err(Rejection::new(RejectCode::Malformed, "A field is named twice.")),
        None => {}
    }
    let id = required(text(raw.id, "id", ID_MAX)?, "id")?;
    if id.is_empty() {
        return Err(Rejection::new(RejectCode::OutOfRange, format!("`id` has 1 to {ID_MAX} bytes.")));
    }
    let kind = required(any_text(raw.kind, "type")?, "type")?;
    let kind =
        Kind::parse(&kind).ok_or_else(|| Rejection::new(RejectCode::UnknownType, format!("`type` is not one of {}.", Kind::listed())))?;
    let at_us = required(instant(raw.at, "at")?, "at")?;
    in_time(at_us, now, ages)?;
    let target = text(raw.target, "target", SHORT_MAX)?;
    let subject = subject(kind, raw.key, raw.key_b64, raw.prefix)?;
    let body = match kind {
        Kind::Access => Body::Access(Access {
            hits: counter(&raw.hits, "hits")?,
            misses: counter(&raw.misses, "misses")?,
            stale_served: counter(&raw.stale_served, "stale_served")?,
            errors: counter(&raw.errors, "errors")?,
            read_path: read_path(raw.read_path)?,
        }),
        Kind::Rebuild => Body::Rebuild(Rebuild {
            duration_us: required(unsigned(&raw.duration_us, "duration_us", DURATION_MAX_US)?, "duration_us")?,
            outcome: required(word(raw.outcome, "outcome", Outcome::parse, Outcome::listed)?, "outcome")?,
            cause: required(word(raw.trigger, "trigger", Cause::parse, Cause::listed)?, "trigger")?,
            source_read_at_us: instant(raw.source_read_at, "source_read_at")?,
            waiters: small(&raw.waiters, "waiters")?,
            error: cut(raw.error, "error")?,
        }),
        Kind::Invalidation => {
            let method = required(word(raw.method, "method", Method::parse, Method::listed)?, "method")?;
            let outcome = required(word(raw.outcome, "outcome", two_outcomes, || "ok, error".to_owned())?, "outcome")?;
            let class = word(raw.error_class, "error_class", ErrorClass::parse, ErrorClass::listed)?;
            Body::Invalidation(Invalidation {
                method,
                failure: (outcome == Outcome::Error).then(|| class.unwrap_or(ErrorClass::Other)),
                error: cut(raw.error, "error")?,
                latency_us: unsigned(&raw.latency_us, "latency_us", DURATION_MAX_US)?,
                keys: small(&raw.keys, "keys")?,
                mutation_id: text(raw.mutation_id, "mutation_id", SHORT_MAX)?,
                key_new: key_text(raw.key_new, "key_new")?,
                ttl_seconds: small(&raw.ttl_seconds, "ttl_seconds")?,
            })
        }
        Kind::Mutation => Body::Mutation(Mutation {
            endpoint: filled(required(text(raw.endpoint, "endpoint", ENDPOINT_MAX)?, "endpoint")?, "endpoint")?,
            mutation_id: filled(required(text(raw.mutation_id, "mutation_id", SHORT_MAX)?, "mutation_id")?, "mutation_id")?,
            params: params(raw.params)?,
        }),
        Kind::StaleRead => Body::StaleRead(StaleRead {
            stale: required(flag(&raw.stale, "stale")?, "stale")?,
            delay_ms: unsigned(&raw.delay_ms, "delay_ms", DELAY_MAX_MS)?,
            read_path: read_path(raw.read_path)?,
            cached_version: version(raw.cached_version, "cached_version")?,
            source_version: version(raw.source_version, "source_version")?,
            mutation_id: text(raw.mutation_id, "mutation_id", SHORT_MAX)?,
            probe: flag(&raw.probe, "probe")?.unwrap_or(false),
        }),
        Kind::Annotation => Body::Annotation(Annotation {
            kind: required(word(raw.note_kind, "kind", NoteKind::parse, NoteKind::listed)?, "kind")?,
            text: required(cut(raw.text, "text")?, "text")?,
            link: text(raw.link, "link", LINK_MAX)?,
        }),
    };
    Ok(Event { id, at_us, target, subject, body })
}

fn in_time(at_us: i64, now: DateTime<Utc>, ages: Ages) -> Checked<()> {
    let now_us = now.timestamp_micros();
    if at_us > now_us.saturating_add(ages.ahead.num_microseconds().unwrap_or(i64::MAX)) {
        return Err(Rejection::new(
            RejectCode::TooNew,
            format!("`at` is more than {} minutes ahead of this server's clock.", ages.ahead.num_minutes()),
        ));
    }
    if at_us < now_us.saturating_sub(ages.behind.num_microseconds().unwrap_or(i64::MAX)) {
        return Err(Rejection::new(RejectCode::TooOld, format!("`at` is more than {} days ago.", ages.behind.num_days())));
    }
    Ok(())
}

fn subject<'a>(kind: Kind, key: Loose<'a>, key_b64: Loose<'a>, prefix: Loose<'a>) -> Checked<Subject<'a>> {
    let given = [&key, &key_b64, &prefix].into_iter().filter(|field| !matches!(field, Loose::Absent | Loose::Null)).count();
    match kind {
        Kind::Mutation if given > 0 => {
            return Err(Rejection::new(RejectCode::Malformed, "A mutation carries none of `key`, `key_b64` and `prefix`."));
        }
        Kind::Annotation if given > 1 => {
            return Err(Rejection::new(RejectCode::Malformed, "An annotation carries at most one of `key`, `key_b64` and `prefix`."));
        }
        Kind::Mutation | Kind::Annotation if given == 0 => return Ok(Subject::Target),
        _ if given != 1 => {
            return Err(Rejection::new(RejectCode::Malformed, "Exactly one of `key`, `key_b64` and `prefix` is needed."));
        }
        _ => {}
    }
    if let Some(key) = key_text(key, "key")? {
        return Ok(Subject::Key(match key {
            Cow::Borrowed(key) => Cow::Borrowed(key.as_bytes()),
            Cow::Owned(key) => Cow::Owned(key.into_bytes()),
        }));
    }
    if let Some(encoded) = any_text(key_b64, "key_b64")? {
        // Two bytes of slack for padding; the decoded length is checked below.
        if encoded.len() > KEY_MAX.div_ceil(3) * 4 + 2 {
            return Err(too_long("key_b64", KEY_MAX));
        }
        let key = base64::decode(&encoded).ok_or_else(|| Rejection::new(RejectCode::BadCharacters, "`key_b64` is not standard base64."))?;
        if key.len() > KEY_MAX {
            return Err(too_long("key_b64", KEY_MAX));
        }
        return Ok(Subject::Key(Cow::Owned(key)));
    }
    Ok(any_text(prefix, "prefix")?.map_or(Subject::Target, Subject::Prefix))
}

fn required<T>(value: Option<T>, name: &str) -> Checked<T> {
    value.ok_or_else(|| Rejection::new(RejectCode::MissingField, format!("`{name}` is missing.")))
}

fn too_long(name: &str, max: usize) -> Rejection {
    Rejection::new(RejectCode::TooLong, format!("`{name}` is longer than {max} bytes."))
}

fn wrong_type(name: &str, wanted: &str) -> Rejection {
    Rejection::new(RejectCode::WrongType, format!("`{name}` must be {wanted}."))
}

fn any_text<'a>(value: Loose<'a>, name: &str) -> Checked<Option<Cow<'a, str>>> {
    match value {
        Loose::Absent | Loose::Null => Ok(None),
        Loose::Text(text) => Ok(Some(text)),
        _ => Err(wrong_type(name, "a string")),
    }
}

/// A string whose bytes are a key's: any character is allowed, its length is not.
fn key_text<'a>(value: Loose<'a>, name: &str) -> Checked<Option<Cow<'a, str>>> {
    let text = any_text(value, name)?;
    if text.as_ref().is_some_and(|text| text.len() > KEY_MAX) {
        return Err(too_long(name, KEY_MAX));
    }
    Ok(text)
}

fn plain<'a>(text: Cow<'a, str>, name: &str) -> Checked<Cow<'a, str>> {
    // Bytes below 0x20 and 0x7f are looked for first: they are rare, and so is everything that is not ASCII.
    let suspicious = text.bytes().any(|byte| !(0x20..0x7f).contains(&byte));
    if suspicious && text.chars().any(|c| c.is_control() && c != '\t' && c != '\n') {
        return Err(Rejection::new(RejectCode::BadCharacters, format!("`{name}` contains a control character.")));
    }
    Ok(text)
}

fn text<'a>(value: Loose<'a>, name: &str, max: usize) -> Checked<Option<Cow<'a, str>>> {
    let Some(text) = any_text(value, name)? else { return Ok(None) };
    if text.len() > max {
        return Err(too_long(name, max));
    }
    plain(text, name).map(Some)
}

fn filled<'a>(text: Cow<'a, str>, name: &str) -> Checked<Cow<'a, str>> {
    if text.is_empty() {
        return Err(Rejection::new(RejectCode::OutOfRange, format!("`{name}` is empty.")));
    }
    Ok(text)
}

/// A text that is cut, at a character, instead of refused.
fn cut<'a>(value: Loose<'a>, name: &str) -> Checked<Option<Cow<'a, str>>> {
    let Some(text) = any_text(value, name)? else { return Ok(None) };
    let text = plain(text, name)?;
    if text.len() <= TEXT_CUT {
        return Ok(Some(text));
    }
    let end = text.floor_char_boundary(TEXT_CUT);
    Ok(Some(match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
        Cow::Owned(mut text) => {
            text.truncate(end);
            Cow::Owned(text)
        }
    }))
}

fn read_path(value: Loose<'_>) -> Checked<Option<Cow<'_, str>>> {
    Ok(text(value, "read_path", READ_PATH_MAX)?.filter(|path| !path.is_empty()))
}

/// A version: a string, or a whole number, which is what many sources count with.
fn version<'a>(value: Loose<'a>, name: &str) -> Checked<Option<Cow<'a, str>>> {
    match value {
        Loose::Int(number) => Ok(Some(Cow::Owned(number.to_string()))),
        other => text(other, name, SHORT_MAX),
    }
}

fn unsigned(value: &Loose<'_>, name: &str, max: i64) -> Checked<Option<u64>> {
    match value {
        Loose::Absent | Loose::Null => Ok(None),
        Loose::Int(number) if (0..=max).contains(number) => Ok(u64::try_from(*number).ok()),
        Loose::Int(_) | Loose::Huge => Err(Rejection::new(RejectCode::OutOfRange, format!("`{name}` must lie between 0 and {max}."))),
        _ => Err(wrong_type(name, "a whole number")),
    }
}

fn small(value: &Loose<'_>, name: &str) -> Checked<Option<u32>> {
    Ok(unsigned(value, name, COUNT_MAX)?.and_then(|number| u32::try_from(number).ok()))
}

/// A counter of an access event: left out is zero, null is not measured.
fn counter(value: &Loose<'_>, name: &str) -> Checked<Option<u32>> {
    if *value == Loose::Absent { Ok(Some(0)) } else { small(value, name) }
}

fn flag(value: &Loose<'_>, name: &str) -> Checked<Option<bool>> {
    match value {
        Loose::Absent | Loose::Null => Ok(None),
        Loose::Bool(flag) => Ok(Some(*flag)),
        _ => Err(wrong_type(name, "true or false")),
    }
}

fn instant(value: Loose<'_>, name: &str) -> Checked<Option<i64>> {
    let Some(text) = any_text(value, name)? else { return Ok(None) };
    match DateTime::parse_from_rfc3339(&text) {
        Ok(at) => Ok(Some(at.timestamp_micros())),
        Err(_) => Err(Rejection::new(
            RejectCode::Malformed,
            format!("`{name}` must be an RFC 3339 instant with its zone, such as 2026-11-23T03:14:20Z."),
        )),
    }
}

fn word<T>(value: Loose<'_>, name: &str, parse: fn(&str) -> Option<T>, listed: fn() -> String) -> Checked<Option<T>> {
    let Some(text) = any_text(value, name)? else { return Ok(None) };
    match parse(&text) {
        Some(word) => Ok(Some(word)),
        None => Err(Rejection::new(RejectCode::OutOfRange, format!("`{name}` is not one of {}.", listed()))),
    }
}

fn two_outcomes(word: &str) -> Option<Outcome> {
    Outcome::parse(word).filter(|outcome| *outcome != Outcome::Timeout)
}

fn params(value: LooseMap<'_>) -> Checked<Vec<(Cow<'_, str>, Cow<'_, str>)>> {
    match value {
        LooseMap::Absent | LooseMap::Null => Ok(Vec::new()),
        LooseMap::Other => Err(wrong_type("params", "an object of strings")),
        LooseMap::TooMany => Err(Rejection::new(RejectCode::OutOfRange, format!("`params` has more than {PARAMS_MAX} entries."))),
        LooseMap::Map(entries) => entries
            .into_iter()
            .map(|(name, value)| {
                let name = text(Loose::Text(name), "params", SHORT_MAX)?.unwrap_or_default();
                let Loose::Text(value) = value else { return Err(wrong_type("params", "an object of strings")) };
                let value = text(Loose::Text(value), "params", KEY_MAX)?.unwrap_or_default();
                Ok((name, value))
            })
            .collect(),
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
