//! The overview's read model.

use super::figures::{Breach, Gap, Mark, RateFigure, Standing, Why};
use crate::domain::range::Range;
use chrono::{DateTime, Utc};

/// Everything `/` shows. Rows come in reading order: outside, at risk, then by cost, `unclassified` and `overflow` last.
#[derive(Clone, Debug)]
pub struct Overview {
    pub range: Range,
    pub as_of: DateTime<Utc>,
    pub rows: Vec<Row>,
    pub marks: Vec<Mark>,
    pub gaps: Vec<Gap>,
    /// Whether any event was ever accepted; without one the page explains how to send the first.
    pub any_events: bool,
    /// Since when this server listens.
    pub listening_since: DateTime<Utc>,
}

/// One prefix. Figures are those of the range; standing and breaches of the last 15 minutes.
#[derive(Clone, Debug)]
pub struct Row {
    /// The template as registered, or `unclassified`, `overflow`.
    pub name: String,
    pub target: String,
    pub owner: Option<String>,
    pub registered: bool,
    /// Can never be flushed.
    pub protected: bool,
    pub standing: Standing,
    /// What is over (outside) or nearly so (at risk), worst first.
    pub breaches: Vec<Breach>,
    /// For outside rows.
    pub why: Option<Why>,
    /// The objective's `fresh_within`, which is the bucket (and later ones) the rate is taken at.
    pub stale_delay_s: Option<u32>,
    pub stale: RateFigure,
    pub stale_threshold: Option<f64>,
    pub miss: RateFigure,
    pub miss_threshold: Option<f64>,
    pub misses_per_min: Option<f64>,
    pub rebuild_p95_ms: Option<f64>,
    pub rebuild_p95_threshold_ms: Option<f64>,
    pub rebuilds: u64,
    /// Rebuild-seconds per minute.
    pub cost: Option<f64>,
    pub invalidation_errors: RateFigure,
    pub invalidation_errors_threshold: Option<f64>,
    /// Share of the 7-day budget left, may be negative; None where there is no objective or no sample.
    pub budget_left: Option<f64>,
    /// At most 60 points over the range, None for a gap.
    pub spark_miss: Vec<Option<f64>>,
    pub spark_stale: Vec<Option<f64>>,
    pub spark_p95_ms: Vec<Option<f64>>,
    pub last_event_at: Option<DateTime<Utc>>,
}
