//! Ten seconds of one master's misses by prefix, and the events that tell them.

use crate::domain::event::{KEY_MAX, Loose, RawEvent};
use crate::domain::prefix::Families;
use crate::server::config::Config;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::Write as _;

/// The length of a window; they begin at whole multiples of it.
const LENGTH: TimeDelta = TimeDelta::seconds(10);

/// The window that `at` falls into, by its begin.
pub(super) fn window_of(at: DateTime<Utc>) -> DateTime<Utc> {
    at - TimeDelta::microseconds(at.timestamp_micros().rem_euclid(LENGTH.num_microseconds().unwrap_or(1)))
}

/// The begin of the window after that of `at`.
pub(super) fn next_window(at: DateTime<Utc>) -> DateTime<Utc> {
    window_of(at) + LENGTH
}

/// The prefixes of one target, and what is counted of each in the window under way.
#[derive(Debug)]
pub(super) struct Window {
    pub begin: DateTime<Utc>,
    families: Families,
    names: Vec<String>,
    /// By place of the prefix; the last is of keys that belong to none.
    misses: Vec<u64>,
    /// One key that belongs to none: ingest knows them by a key only.
    unclassified: Option<Vec<u8>>,
}

impl Window {
    /// An empty one, by the prefixes of that configuration.
    pub fn new(begin: DateTime<Utc>, config: &Config, target: &str) -> Self {
        let names: Vec<String> = config.prefixes_of(target).map(|prefix| prefix.name().to_owned()).collect();
        let misses = vec![0; names.len() + 1];
        Self { begin, families: config.families_of(target), names, misses, unclassified: None }
    }

    pub fn miss(&mut self, key: &[u8]) {
        let place = self.families.classify(key).unwrap_or(self.names.len());
        self.misses[place] += 1;
        if place == self.names.len() && self.unclassified.is_none() && (1..=KEY_MAX).contains(&key.len()) {
            self.unclassified = Some(key.to_vec());
        }
    }

    pub fn is_empty(&self) -> bool {
        self.misses.iter().all(|&misses| misses == 0)
    }

    /// An access event for each prefix with a miss. The same window of the same master makes the same ids, so that it counts once.
    pub fn events(&self, target: &str, address: &str) -> Vec<RawEvent<'static>> {
        let counted = self.misses.iter().enumerate().filter(|(_, misses)| **misses > 0);
        counted
            .map(|(place, &misses)| {
                let (prefix, key_b64) = match self.names.get(place) {
                    Some(name) => (Loose::Text(Cow::Owned(name.clone())), Loose::Absent),
                    None => (Loose::Absent, Loose::Text(Cow::Owned(STANDARD.encode(self.unclassified.as_deref().unwrap_or(b":"))))),
                };
                let name = self.names.get(place).map_or("", String::as_str);
                RawEvent {
                    id: text(id(&[target, address, &self.begin.timestamp().to_string(), name, "access"])),
                    kind: text("access".to_owned()),
                    at: text(self.begin.to_rfc3339()),
                    target: text(target.to_owned()),
                    prefix,
                    key_b64,
                    hits: Loose::Null,
                    misses: Loose::Int(i64::try_from(misses).unwrap_or(i64::MAX)),
                    stale_served: Loose::Null,
                    errors: Loose::Null,
                    ..RawEvent::default()
                }
            })
            .collect()
    }
}

fn text(text: String) -> Loose<'static> {
    Loose::Text(Cow::Owned(text))
}

/// 32 hexadecimal digits that stand for these parts and no others.
fn id(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hash.finalize()[..16].iter().fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::prefix::Template;
    use crate::server::config::Target;

    fn window() -> Window {
        let begin = window_of("2026-11-19T09:00:07.5Z".parse().unwrap());
        let config = Config { targets: vec![Target::named("main")], ..Config::default() };
        let mut window = Window::new(begin, &config, "main");
        window.families = Families::new(vec![Template::parse("user:{id}:profile", b':').unwrap()]);
        window.names = vec!["user:{id}:profile".to_owned()];
        window.misses = vec![0; 2];
        window
    }

    #[test]
    fn windows_begin_at_whole_tens_of_seconds() {
        let at: DateTime<Utc> = "2026-11-19T09:00:07.5Z".parse().unwrap();
        assert_eq!(window_of(at).to_rfc3339(), "2026-11-19T09:00:00+00:00");
        assert_eq!(next_window(at).to_rfc3339(), "2026-11-19T09:00:10+00:00");
        assert_eq!(window_of(window_of(at)), window_of(at));
    }

    #[test]
    fn a_window_told_twice_has_the_same_ids_and_another_master_others() {
        let mut window = window();
        assert!(window.is_empty());
        for key in [b"user:1:profile".as_slice(), b"user:2:profile", b"\xff\0nowhere"] {
            window.miss(key);
        }
        let events = window.events("main", "10.0.0.1:6379");
        assert_eq!(events.iter().map(|event| event.misses.clone()).collect::<Vec<_>>(), [Loose::Int(2), Loose::Int(1)]);
        assert!(events.iter().all(|event| event.hits == Loose::Null && event.errors == Loose::Null));
        assert_eq!(events, window.events("main", "10.0.0.1:6379"));
        assert!(events.iter().zip(window.events("main", "10.0.0.2:6379")).all(|(one, other)| one.id != other.id));
    }
}
