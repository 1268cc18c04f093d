//! What a plan shows beside its counts: stored as JSON with the plan, read back for its page, and summed up from a sample.

use crate::server::redis::{NodeCensus, Sampled};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is only shown of a plan.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Facts {
    pub memory_bytes: Option<u64>,
    /// Keys by remaining time to live, scaled from the sample.
    pub ttl: Vec<(String, u64)>,
    pub ttl_sample: u64,
    /// Registered prefixes touched, with their keys; keys of none under an empty name.
    pub prefixes: Vec<(String, u64)>,
    /// The masters scanned.
    pub nodes: Vec<FactsNode>,
    pub version: String,
    pub scan_ms: u64,
    pub estimated_ms: u64,
    /// What others felt in the median while it was scanned.
    pub bystander_ms: Option<f64>,
    /// The key whose number would be raised; only in mode `version`.
    pub generation_key: Option<String>,
    pub rebuild_load_per_s: Option<f64>,
    pub rebuild_peak_per_s: Option<f64>,
    /// The mode that was advised, with its window, and why.
    pub advised: Option<(String, Option<u32>, String)>,
    /// Whether the scope is a prefix with a generation key, whatever the mode.
    pub has_generation: bool,
    /// Stale-read samples of the scope in the minutes before: stale, all.
    pub stale_lately: Option<(u64, u64)>,
    /// The line that takes superfluous rights away; empty: the identity has none.
    pub over_privileged: Option<String>,
    /// A recount at the start found so many more keys that this plan replaced the one before.
    pub drifted_from: Option<u64>,
}

/// One master as the plan found it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct FactsNode {
    pub address: String,
    pub run_id: String,
    pub keys: u64,
    pub matched: u64,
}

impl FactsNode {
    pub(super) fn of(node: &NodeCensus) -> Self {
        Self { address: node.address.clone(), run_id: node.run_id.clone(), keys: node.keys, matched: node.matched }
    }
}

impl Facts {
    pub(super) fn read(json: Option<&str>) -> Self {
        json.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }
}

/// The shares of remaining lifetimes, shortest first.
const LIFETIMES: [(&str, Option<Duration>); 5] = [
    ("under 1 min", Some(Duration::from_mins(1))),
    ("1–10 min", Some(Duration::from_mins(10))),
    ("10–60 min", Some(Duration::from_hours(1))),
    ("1–24 h", Some(Duration::from_hours(24))),
    ("over 24 h", None),
];

/// Memory and times to live of `keys` keys, scaled up from a sample of them.
pub(super) fn summed_up(sample: &[Sampled], keys: u64) -> (Option<u64>, Vec<(String, u64)>) {
    let n = sample.len() as u64;
    if n == 0 {
        return (None, Vec::new());
    }
    let scaled = |part: u128| u64::try_from(part * u128::from(keys) / u128::from(n)).unwrap_or(u64::MAX);
    let bytes = sample.iter().map(|key| u128::from(key.bytes)).sum();
    let place = |key: &Sampled| match key.ttl {
        None => LIFETIMES.len(),
        Some(ttl) => LIFETIMES.iter().position(|(_, limit)| limit.is_none_or(|limit| ttl < limit)).unwrap_or(LIFETIMES.len() - 1),
    };
    let mut counts = [0_u128; LIFETIMES.len() + 1];
    for key in sample {
        counts[place(key)] += 1;
    }
    let names = LIFETIMES.iter().map(|(name, _)| *name).chain(["no expiry"]);
    (Some(scaled(bytes)), names.zip(counts).map(|(name, count)| (name.to_owned(), scaled(count))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_scaled_to_all_keys() {
        let key = |bytes, ttl: Option<u64>| Sampled { bytes, ttl: ttl.map(Duration::from_secs) };
        let sample = [key(100, Some(30)), key(100, Some(300)), key(100, None), key(100, Some(90_000))];
        let (memory, ttl) = summed_up(&sample, 4_000);
        assert_eq!(memory, Some(400_000));
        let counts: Vec<_> = ttl.iter().map(|(_, keys)| *keys).collect();
        assert_eq!(counts, [1_000, 1_000, 0, 0, 1_000, 1_000]);
        assert_eq!(summed_up(&[], 4_000), (None, Vec::new()));
    }
}
