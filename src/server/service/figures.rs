//! What every read model is made of: rates with their weight, lines of a chart, marks, and where a prefix stands. Plain data, ready to draw:
//! nothing here reads a store.

use chrono::{DateTime, Utc};

/// A rate with its numerator, denominator and 95 % Wilson interval. `n = 0` is "nothing known", never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RateFigure {
    pub k: u64,
    pub n: u64,
    /// Low and high end of the 95 % interval, 0…1; None where n = 0 or where no interval makes sense (miss rates of counters may leave it out).
    pub interval: Option<(f64, f64)>,
}

impl RateFigure {
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    pub fn value(&self) -> Option<f64> {
        (self.n > 0).then(|| self.k as f64 / self.n as f64)
    }
}

/// Where a prefix stands, from its last 15 minutes whatever range the page shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Outside,
    AtRisk,
    Within,
    /// Too little data; how many samples it would take.
    NotProven {
        needed: u64,
    },
    /// `unclassified` and `overflow`: no policy, so no state.
    NoPolicy,
}

impl Standing {
    /// As `GET /prefixes` says it and filters name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Standing::Outside => "outside",
            Standing::AtRisk => "at_risk",
            Standing::Within => "within",
            Standing::NotProven { .. } => "not_proven",
            Standing::NoPolicy => "no_policy",
        }
    }
}

/// What a threshold is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Metric {
    StaleReads,
    MissRate,
    RebuildP95,
    InvalidationErrors,
    Budget,
}

/// One threshold that is crossed (outside) or nearly so (at risk), as of the last 15 minutes.
#[derive(Clone, Debug, PartialEq)]
pub struct Breach {
    pub metric: Metric,
    /// Rates and budget 0…1, latency in milliseconds.
    pub value: f64,
    pub threshold: f64,
    pub n: u64,
    pub interval: Option<(f64, f64)>,
    /// Delay after the write of a stale-read rate, seconds.
    pub delay_s: Option<u32>,
    /// The error classes behind an invalidation error rate, most first.
    pub classes: Vec<(String, u64)>,
    /// First minute of the stretch that is over without a break; None where it began before what is kept.
    pub since: Option<DateTime<Utc>>,
    /// Minutes are not kept so long: `since` is the begin of the five minutes or the hour in which it began.
    pub since_about: bool,
}

/// The line under an outside row: the likely cause, as far as it is known without contract verdicts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Why {
    /// The last deploy at or before the minute in which the first breach began; none where that is not known.
    pub deploy: Option<Mark>,
    /// Endpoints of the declared writes that must invalidate this prefix, with how.
    pub writes: Vec<DeclaredWrite>,
    pub owner: Option<String>,
}

/// A declared write that affects a prefix.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclaredWrite {
    /// `PUT /users/{id}`
    pub endpoint: String,
    /// `evict`, `expire`, `update`, `version`
    pub how: String,
    pub within_s: f64,
    /// `stalewatch.toml:41`
    pub declared_at: String,
    /// When that write was last seen.
    pub last_write: Option<DateTime<Utc>>,
    /// The last invalidation of this prefix that carried a mutation of this endpoint.
    pub last_invalidation: Option<LastInvalidation>,
}

/// The last invalidation event of a contract's edge.
#[derive(Clone, Debug, PartialEq)]
pub struct LastInvalidation {
    pub at: DateTime<Utc>,
    pub ok: bool,
    pub method: String,
    pub error_class: Option<String>,
}

/// One point of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// None where nothing is known: a gap, never zero.
    pub value: Option<f64>,
    pub n: u64,
    pub low: Option<f64>,
    pub high: Option<f64>,
}

/// One line of a chart: point i stands for `from + i·step_s` up to the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub from: DateTime<Utc>,
    pub step_s: i64,
    pub points: Vec<Point>,
}

/// A chart of one metric: rates 0…1, latencies in milliseconds, cost in rebuild-seconds per minute.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricChart {
    /// `app`, `stream`, `otlp`, `probe`, `keyspace`; None where there is no data.
    pub origin: Option<String>,
    pub series: Series,
    /// Over the whole range.
    pub total: Point,
    pub threshold: Option<f64>,
}

/// A stretch without data, and why, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    pub why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MarkKind {
    Deploy,
    Flush,
    Incident,
    Config,
    Note,
}

/// Something that happened, drawn on every chart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub kind: MarkKind,
    pub at: DateTime<Utc>,
    /// `accounts-api 4.18.2`, `flush search:{hash}`
    pub label: String,
    /// Where it can be opened: a path of ours, or the annotation's own http(s) link.
    pub href: Option<String>,
}
