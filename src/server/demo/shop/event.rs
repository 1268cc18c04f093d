//! The events that the shop sends, as they stand in the HTTP body: an application's view of the interface, written from its description
//! and not from the server's own types.

use chrono::{DateTime, Utc};
use serde::Serialize;
use std::collections::BTreeMap;

/// One event.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    pub id: String,
    pub at: DateTime<Utc>,
    #[serde(flatten)]
    pub about: About,
    #[serde(flatten)]
    pub what: What,
}

/// Which key or family of keys.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    Key(String),
    Prefix(&'static str),
    #[serde(untagged)]
    Nothing {},
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum What {
    Access {
        hits: u64,
        misses: u64,
        stale_served: u64,
        errors: u64,
        read_path: &'static str,
    },
    Rebuild {
        duration_us: u64,
        outcome: &'static str,
        trigger: &'static str,
        source_read_at: DateTime<Utc>,
        waiters: u64,
    },
    Invalidation {
        method: &'static str,
        outcome: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        error_class: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        latency_us: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        keys: Option<u64>,
        mutation_id: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        key_new: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ttl_seconds: Option<u64>,
    },
    Mutation {
        endpoint: &'static str,
        mutation_id: String,
        params: BTreeMap<&'static str, String>,
    },
    StaleRead {
        stale: bool,
        delay_ms: u64,
        read_path: &'static str,
        cached_version: u64,
        source_version: u64,
        mutation_id: String,
    },
    Annotation {
        kind: &'static str,
        text: String,
    },
}

/// A UUID's text from 128 bits (version 8: the application's own scheme).
pub fn uuid(high: u64, low: u64) -> String {
    let (high, low) = (high & !0xf000 | 0x8000, low & !(0b11 << 62) | (0b10 << 62));
    format!("{:08x}-{:04x}-{:04x}-{:04x}-{:012x}", high >> 32, (high >> 16) & 0xffff, high & 0xffff, low >> 48, low & 0xffff_ffff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_flat_object() {
        let event = Event {
            id: uuid(1, 2),
            at: DateTime::UNIX_EPOCH,
            about: About::Key("cart:7".into()),
            what: What::Annotation { kind: "note", text: "x".into() },
        };
        let json = serde_json::to_value(&event).unwrap();
        assert_eq!(json["key"], "cart:7");
        assert_eq!(json["type"], "annotation");
        assert_eq!(json["id"], "00000000-0000-8001-8000-000000000002");
        let nothing = Event { about: About::Nothing {}, ..event };
        let json = serde_json::to_value(&nothing).unwrap();
        assert!(json.get("key").is_none() && json.get("prefix").is_none(), "{json}");
    }
}
