//! The data-quality strip's read model: on every view, so that silence is never taken for health.

use super::figures::Gap;
use chrono::{DateTime, Utc};

#[derive(Clone, Debug)]
pub struct Quality {
    pub as_of: DateTime<Utc>,
    /// Median time from an event's `at` to its commit over the last minutes; None where nothing came.
    pub lag_ms: Option<u64>,
    /// When the last event was accepted.
    pub last_event_at: Option<DateTime<Utc>>,
    /// Stretches of the last 24 hours in which nothing came although something came before.
    pub gaps: Vec<Gap>,
    /// Events of the last 24 hours.
    pub accepted: u64,
    pub rejected: u64,
    /// Sources that used to send and do not.
    pub silent: Vec<SilentSource>,
    pub targets: Vec<TargetHealth>,
    pub audit: AuditHealth,
    /// Set while Postgres does not answer and these are the last figures known.
    pub store_away_since: Option<DateTime<Utc>>,
    /// First 12 digits of the digest of the configuration this replica runs.
    pub config_digest: String,
    /// Warnings of the configuration (an option that a later release brings).
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct SilentSource {
    pub source: String,
    pub since: DateTime<Utc>,
}

#[derive(Clone, Debug)]
pub struct TargetHealth {
    pub name: String,
    pub reachable: bool,
    /// Since when it is unreachable.
    pub since: Option<DateTime<Utc>>,
    /// One sentence: what it answered instead.
    pub detail: Option<String>,
    /// The flush identity may do more than flush.
    pub over_privileged: bool,
}

#[derive(Clone, Debug, Default)]
pub struct AuditHealth {
    /// Whether the app's Postgres role is neither superuser nor owner of the audit schema.
    pub separated: bool,
    /// Last number in the checkpoint file, and when it was written.
    pub anchored: Option<(i64, DateTime<Utc>)>,
    pub head_seq: i64,
}
