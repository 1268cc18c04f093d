//! The prefix page's read model.

use super::figures::{Breach, DeclaredWrite, Gap, Mark, MetricChart, RateFigure, Series, Standing, Why};
use crate::domain::range::Range;
use chrono::{DateTime, Utc};

/// Delays of the matrix's columns, seconds; the last column is `unknown`.
pub const DELAYS_S: [u32; 5] = [0, 1, 10, 60, 300];

/// Everything `/prefixes/{name}` shows.
#[derive(Clone, Debug)]
pub struct PrefixPage {
    pub range: Range,
    pub as_of: DateTime<Utc>,
    pub name: String,
    pub target: String,
    pub registered: bool,
    pub protected: bool,
    pub standing: Standing,
    /// Since when it is outside.
    pub outside_since: Option<DateTime<Utc>>,
    pub breaches: Vec<Breach>,
    pub why: Option<Why>,
    /// None for `unclassified` and `overflow`.
    pub policy: Option<Policy>,
    /// Bucket of the stale chart: the objective's `fresh_within`.
    pub stale_delay_s: u32,
    pub stale: MetricChart,
    /// One row a read path, most samples first.
    pub read_paths: Vec<ReadPath>,
    pub all_paths: [RateFigure; 6],
    pub miss: MetricChart,
    pub hits: u64,
    pub misses: u64,
    pub stale_served: u64,
    pub rebuild: RebuildChart,
    pub invalidation_errors: MetricChart,
    pub invalidations: u64,
    /// Failed ones by error class, most first.
    pub error_classes: Vec<(String, u64)>,
    pub cost: MetricChart,
    /// 1 is the dearest of `cost_of`.
    pub cost_rank: Option<(u32, u32)>,
    pub marks: Vec<Mark>,
    pub gaps: Vec<Gap>,
    /// The latest 10, newest first.
    pub failed: Vec<FailedInvalidation>,
    /// The latest 10 stale ones, newest first.
    pub stale_samples: Vec<StaleSample>,
    /// Declared writes that must invalidate this prefix.
    pub writes: Vec<DeclaredWrite>,
    pub any_events: bool,
}

/// The prefix card: owner, expected outcome, objective, thresholds, as declared.
#[derive(Clone, Debug)]
pub struct Policy {
    pub owner: String,
    /// `critical`, `standard`, `relaxed`
    pub tier: String,
    pub expected: String,
    pub fresh_within_s: u32,
    /// 0.999
    pub ratio: f64,
    /// Over the rolling 7 days; may be negative.
    pub budget_left: Option<f64>,
    /// Samples of the 7 days behind the budget.
    pub budget_n: u64,
    pub stale_threshold: Option<f64>,
    pub miss_threshold: Option<f64>,
    pub rebuild_p95_threshold_ms: Option<f64>,
    pub invalidation_errors_threshold: Option<f64>,
    pub ttl_max_s: Option<u64>,
    pub ttl_jitter: Option<f64>,
    pub ttl_required: bool,
    /// `full`, `masked`, `none`
    pub store_keys: String,
    /// `stalewatch.toml:58`
    pub declared_at: String,
}

/// Stale reads of one read path by delay: 0, 1, 10, 60, 300 s and unknown.
#[derive(Clone, Debug)]
pub struct ReadPath {
    /// `GET /me`; events without one are under `not named`.
    pub name: String,
    pub by_delay: [RateFigure; 6],
}

#[derive(Clone, Debug)]
pub struct RebuildChart {
    pub origin: Option<String>,
    /// Milliseconds, all three with the same steps.
    pub p50: Series,
    pub p95: Series,
    pub p99: Series,
    /// Over the range: p50, p95, p99.
    pub total: [Option<f64>; 3],
    pub rebuilds: u64,
    /// Rebuilds that ended in error or time-out.
    pub failed: u64,
    pub threshold_p95_ms: Option<f64>,
}

/// A failed invalidation. `key` is escaped text, already masked or left out as policy and role ask.
#[derive(Clone, Debug)]
pub struct FailedInvalidation {
    pub at: DateTime<Utc>,
    pub key: Option<String>,
    pub method: String,
    pub error_class: String,
    pub error: Option<String>,
    pub latency_us: Option<u64>,
    pub mutation_id: Option<String>,
    pub source: String,
}

/// A stale-read sample that was stale.
#[derive(Clone, Debug)]
pub struct StaleSample {
    pub at: DateTime<Utc>,
    pub key: Option<String>,
    pub delay_ms: Option<u64>,
    pub read_path: Option<String>,
    pub cached_version: Option<String>,
    pub source_version: Option<String>,
    pub mutation_id: Option<String>,
    pub source: String,
}

/// `?events=stale|failed`: the events behind a figure, newest first.
#[derive(Clone, Debug)]
pub struct EventList {
    pub range: Range,
    pub as_of: DateTime<Utc>,
    pub name: String,
    pub target: String,
    pub events: Events,
    /// How many there are in the range; more than are listed where the list was cut.
    pub total: u64,
    /// Raw events are kept this long; before it only figures are left.
    pub raw_since: DateTime<Utc>,
    /// Opens the next older ones (`&before=`), None at the end.
    pub older: Option<String>,
}

#[derive(Clone, Debug)]
pub enum Events {
    Stale(Vec<StaleSample>),
    Failed(Vec<FailedInvalidation>),
}
