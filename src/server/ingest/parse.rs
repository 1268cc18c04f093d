//! The bodies that events come in: a JSON envelope or a line each. Events are handed on one by one, so that a body of many small ones does
//! not become a larger list of loose fields.

use crate::domain::event::RawEvent;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;
use std::fmt;

/// Most events of one request.
pub const EVENTS_MAX: usize = 5_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `{"events":[…]}`
    Json,
    /// One event a line.
    Ndjson,
}

/// Why nothing of a body was taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("The body is not {{\"events\":[…]}}: {0}.")]
    Malformed(String),
    #[error("A request carries at most {EVENTS_MAX} events. Nothing was taken; send it in parts.")]
    TooMany,
}

/// What an event or its line came out as.
pub type Parsed<'a> = Result<RawEvent<'a>, String>;

/// Reads a body and hands on its events in order, from `start` again where the first way to read it did not get through.
pub fn read<'a, State>(
    body: &'a [u8],
    format: Format,
    start: impl Fn() -> State,
    mut take: impl FnMut(&mut State, Parsed<'a>),
) -> Result<State, BodyError> {
    let mut state = start();
    match format {
        Format::Ndjson => {
            let lines = body.split(|&byte| byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
            for (at, line) in lines.enumerate() {
                if at >= EVENTS_MAX {
                    return Err(BodyError::TooMany);
                }
                take(&mut state, serde_json::from_slice(line).map_err(|cause| cause.to_string()));
            }
        }
        Format::Json => {
            let mut json = serde_json::Deserializer::from_slice(body);
            let mut events = Events { take: |event| take(&mut state, Ok(event)), count: 0 };
            let read = Envelope(&mut events).deserialize(&mut json).and_then(|()| json.end());
            if events.count > EVENTS_MAX {
                return Err(BodyError::TooMany);
            }
            if read.is_err() {
                // One event that no parser takes (half a surrogate pair, say) must not cost its neighbours: find where each begins and ends.
                let slices: Slices<'a> = serde_json::from_slice(body).map_err(|cause| BodyError::Malformed(cause.to_string()))?;
                if slices.events.len() > EVENTS_MAX {
                    return Err(BodyError::TooMany);
                }
                state = start();
                for slice in slices.events {
                    take(&mut state, serde_json::from_str(slice.get()).map_err(|cause| cause.to_string()));
                }
            }
        }
    }
    Ok(state)
}

#[derive(Deserialize)]
struct Slices<'a> {
    #[serde(borrow)]
    events: Vec<&'a RawValue>,
}

struct Events<F> {
    take: F,
    count: usize,
}

struct Envelope<'e, F>(&'e mut Events<F>);

impl<'de, F: FnMut(RawEvent<'de>)> DeserializeSeed<'de> for Envelope<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de, F: FnMut(RawEvent<'de>)> Visitor<'de> for Envelope<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with a list of events")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut found = false;
        while let Some(events) = map.next_key_seed(IsEvents)? {
            if events && found {
                return Err(A::Error::duplicate_field("events"));
            }
            if events {
                found = true;
                map.next_value_seed(List(&mut *self.0))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if found { Ok(()) } else { Err(A::Error::missing_field("events")) }
    }
}

struct IsEvents;

impl<'de> DeserializeSeed<'de> for IsEvents {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_identifier(self)
    }
}

impl Visitor<'_> for IsEvents {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<bool, E> {
        Ok(name == "events")
    }
}

struct List<'e, F>(&'e mut Events<F>);

impl<'de, F: FnMut(RawEvent<'de>)> DeserializeSeed<'de> for List<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de, F: FnMut(RawEvent<'de>)> Visitor<'de> for List<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while self.0.count < EVENTS_MAX {
            let Some(event) = seq.next_element()? else { return Ok(()) };
            self.0.count += 1;
            (self.0.take)(event);
        }
        if seq.next_element::<IgnoredAny>()?.is_some() {
            self.0.count += 1;
            while seq.next_element::<IgnoredAny>()?.is_some() {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(body: &str, format: Format) -> Result<Vec<bool>, BodyError> {
        read(body.as_bytes(), format, Vec::new, |seen, event| seen.push(event.is_ok_and(|event| event.unlisted.is_none())))
    }

    #[test]
    fn an_envelope_is_read_with_unknown_fields_ignored() {
        assert_eq!(ids(r#"{"v":[1,{"a":2}],"events":[{"id":"a","x":{}},{"id":"b"}]}"#, Format::Json), Ok(vec![true, true]));
        assert_eq!(ids(r#"{"events":[]}"#, Format::Json), Ok(vec![]));
    }

    #[test]
    fn what_is_no_object_is_an_event_gone_wrong_not_a_body() {
        assert_eq!(ids(r#"{"events":[1,"a",null,[2],{},1.5,true,-1]}"#, Format::Json).unwrap().iter().filter(|ok| !**ok).count(), 7);
    }

    #[test]
    fn half_a_surrogate_pair_costs_its_own_event_only() {
        assert_eq!(ids(r#"{"events":[{"id":"a"},{"id":"\ud800"},{"id":"b"}]}"#, Format::Json), Ok(vec![true, false, true]));
    }

    #[test]
    fn a_body_that_is_no_envelope_says_why() {
        for body in ["", "[]", "{}", r#"{"events":{}}"#, r#"{"events":[]"#, r#"{"events":[]}x"#, r#"{"events":[],"events":[]}"#] {
            assert!(matches!(ids(body, Format::Json), Err(BodyError::Malformed(_))), "{body}");
        }
    }

    #[test]
    fn a_line_that_cannot_be_read_is_one_event() {
        assert_eq!(ids("{\"id\":\"a\"}\r\n\nnot json\n{\"id\":\"b\"}\n", Format::Ndjson), Ok(vec![true, false, true]));
    }

    #[test]
    fn more_than_5000_are_refused_as_a_whole() {
        let many = |n| format!("{{\"events\":[{}]}}", vec!["{}"; n].join(","));
        assert_eq!(ids(&many(5_000), Format::Json).map(|seen| seen.len()), Ok(5_000));
        assert_eq!(ids(&many(5_001), Format::Json), Err(BodyError::TooMany));
        assert_eq!(ids(&"{}\n".repeat(5_001), Format::Ndjson), Err(BodyError::TooMany));
    }
}
