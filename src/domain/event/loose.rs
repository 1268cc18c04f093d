//! An event as it arrives: every field may be anything, so that what is wrong with one is found by the rules and named, instead of
//! ending the parse of the whole body. Strings are borrowed from the body where they carry no escapes.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::{borrow::Cow, fmt};

/// Any JSON value, as far as the rules care.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Loose<'a> {
    #[default]
    Absent,
    Null,
    Bool(bool),
    Int(i64),
    /// A whole number that no limit allows.
    Huge,
    Text(Cow<'a, str>),
    /// A fraction, a list or an object.
    Other,
}

/// The field `params`.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum LooseMap<'a> {
    #[default]
    Absent,
    Null,
    Map(Vec<(Cow<'a, str>, Loose<'a>)>),
    /// More entries than anyone may send; the rest was skipped.
    TooMany,
    Other,
}

/// Marks an event that is not an object, or that names a field twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlisted {
    NotAnObject,
    TwiceNamed,
}

macro_rules! raw_event {
    ($($field:ident $name:literal,)+) => {
        /// The known fields of one event, unchecked. Unknown fields are ignored.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct RawEvent<'a> {
            pub unlisted: Option<Unlisted>,
            pub params: LooseMap<'a>,
            $(pub $field: Loose<'a>,)+
        }

        #[expect(non_camel_case_types, reason = "named as the fields they stand for")]
        enum Field { params, ignored, $($field,)+ }

        struct FieldVisitor;

        impl Visitor<'_> for FieldVisitor {
            type Value = Field;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a field name")
            }

            fn visit_str<E>(self, name: &str) -> Result<Field, E> {
                Ok(match name { "params" => Field::params, $($name => Field::$field,)+ _ => Field::ignored })
            }
        }

        impl<'de> Deserialize<'de> for Field {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_identifier(FieldVisitor)
            }
        }

        struct EventVisitor;

        impl<'de> Visitor<'de> for EventVisitor {
            type Value = RawEvent<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an event")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut event = RawEvent::default();
                while let Some(field) = map.next_key::<Field>()? {
                    match field {
                        Field::ignored => { map.next_value::<IgnoredAny>()?; }
                        Field::params => {
                            if event.params != LooseMap::Absent { event.unlisted = Some(Unlisted::TwiceNamed); }
                            event.params = map.next_value()?;
                        }
                        $(Field::$field => {
                            if event.$field != Loose::Absent { event.unlisted = Some(Unlisted::TwiceNamed); }
                            event.$field = map.next_value()?;
                        })+
                    }
                }
                Ok(event)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(RawEvent::not_an_object())
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> { Ok(RawEvent::not_an_object()) }
            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> { Ok(RawEvent::not_an_object()) }
            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> { Ok(RawEvent::not_an_object()) }
            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> { Ok(RawEvent::not_an_object()) }
            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> { Ok(RawEvent::not_an_object()) }
            fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> { Ok(RawEvent::not_an_object()) }
        }
    };
}

raw_event! {
    id "id", kind "type", at "at", key "key", key_b64 "key_b64", prefix "prefix", target "target",
    hits "hits", misses "misses", stale_served "stale_served", errors "errors", read_path "read_path",
    duration_us "duration_us", outcome "outcome", trigger "trigger", source_read_at "source_read_at", waiters "waiters", error "error",
    method "method", error_class "error_class", latency_us "latency_us", keys "keys", mutation_id "mutation_id", key_new "key_new",
    ttl_seconds "ttl_seconds", endpoint "endpoint", stale "stale", delay_ms "delay_ms", cached_version "cached_version",
    source_version "source_version", probe "probe", note_kind "kind", text "text", link "link",
}

impl RawEvent<'_> {
    fn not_an_object() -> Self {
        Self { unlisted: Some(Unlisted::NotAnObject), ..Self::default() }
    }
}

impl<'de> Deserialize<'de> for RawEvent<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(EventVisitor)
    }
}

impl<'de> Deserialize<'de> for Loose<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(LooseVisitor)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Loose::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Loose::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Loose::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(Loose::Huge, Loose::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(if value.abs() >= 9.2e18 { Loose::Huge } else { Loose::Other })
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Loose::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Loose::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Loose::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Loose::Other)
    }
}

impl<'de> Deserialize<'de> for LooseMap<'de> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(LooseMapVisitor)
    }
}

struct LooseMapVisitor;

impl<'de> Visitor<'de> for LooseMapVisitor {
    type Value = LooseMap<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while entries.len() < super::PARAMS_MAX {
            // A key is a string too, and reading it as a loose value keeps it borrowed.
            match map.next_key::<Loose<'de>>()? {
                Some(Loose::Text(name)) => entries.push((name, map.next_value()?)),
                Some(_) => {
                    map.next_value::<IgnoredAny>()?;
                }
                None => return Ok(LooseMap::Map(entries)),
            }
        }
        let mut more = false;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            more = true;
        }
        Ok(if more { LooseMap::TooMany } else { LooseMap::Map(entries) })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(LooseMap::Other)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(LooseMap::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(LooseMap::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(LooseMap::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(LooseMap::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(LooseMap::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(LooseMap::Other)
    }
}
