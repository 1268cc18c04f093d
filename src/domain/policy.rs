//! What a prefix promises and whether it keeps it: objective, thresholds, TTL policy, state and budget.

use super::metric::{Bucket, Interval, Rate, Z_SQUARED, as_f64};

/// Fewer samples prove nothing about a rate.
pub const MIN_SAMPLES: u64 = 30;
/// Fewer rebuilds prove nothing about a latency.
pub const MIN_LATENCIES: u64 = 20;
/// Less than this share of the budget left is at risk.
pub const BUDGET_AT_RISK: f64 = 0.35;
/// A latency or a rate of counters at this share of its threshold is at risk.
pub const NEAR: f64 = 0.9;

/// How much stale data a prefix tolerates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    Critical,
    #[default]
    Standard,
    Relaxed,
}

impl Tier {
    pub const ALL: [Tier; 3] = [Tier::Critical, Tier::Standard, Tier::Relaxed];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Standard => "standard",
            Self::Relaxed => "relaxed",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.as_str() == name)
    }
}

/// "At least `ratio` of reads fresh `fresh_within` after the write."
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// Never [`Bucket::Unknown`].
    pub fresh_within: Bucket,
    /// 0…1, both excluded.
    pub ratio: f64,
}

impl Objective {
    pub fn fresh_within_s(&self) -> u32 {
        self.fresh_within.seconds().unwrap_or_default()
    }
}

/// Where a prefix is outside; `None` is not watched.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Thresholds {
    pub miss_rate: Option<f64>,
    pub rebuild_p95_us: Option<u64>,
    pub invalidation_error_rate: Option<f64>,
    pub stale_read_rate: Option<f64>,
}

/// How long keys of the prefix may live.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TtlPolicy {
    pub max_s: Option<u64>,
    /// Share of the TTL by which expiries are spread, 0…1.
    pub jitter: Option<f64>,
    /// Whether a key without expiry breaks the policy.
    pub required: bool,
}

/// What was seen of a prefix in its last 15 minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Observed {
    /// Over all samples in buckets ≥ `fresh_within`.
    pub stale: Rate,
    pub miss: Rate,
    pub invalidation_errors: Rate,
    /// p95 of rebuilds.
    pub rebuild_p95_us: Option<u64>,
    pub rebuilds: u64,
    /// Share of the rolling 7 days' budget that is left.
    pub budget_left: Option<f64>,
}

/// Where a prefix stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Outside,
    AtRisk,
    Within,
    /// Too little data; `needed` samples in all would do.
    NotProven {
        needed: u64,
    },
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Outside => "outside",
            Self::AtRisk => "at_risk",
            Self::Within => "within",
            Self::NotProven { .. } => "not_proven",
        }
    }
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Measure {
    StaleReadRate,
    InvalidationErrorRate,
    RebuildP95,
    MissRate,
    Budget,
}

/// A threshold that is crossed or nearly so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finding {
    pub measure: Measure,
    /// Crossed; else only near.
    pub outside: bool,
    /// Rates and budget 0…1, latency in microseconds.
    pub value: f64,
    pub threshold: f64,
    pub n: u64,
    pub interval: Option<Interval>,
}

/// A state and what it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    pub state: State,
    /// Crossed first, then by how far.
    pub findings: Vec<Finding>,
}

/// The state of a prefix.
///
/// Stale reads speak by their interval: outside where its low end is over the threshold at n ≥ 30, within where its high end is at or below.
/// Counters speak by their value at n ≥ 30, latencies at n ≥ 20. At risk is not outside, but near. Too little data is never green.
pub fn assess(thresholds: &Thresholds, seen: &Observed) -> Assessment {
    let mut findings: Vec<Finding> = [
        stale_finding(thresholds, seen),
        counter_finding(Measure::InvalidationErrorRate, thresholds.invalidation_error_rate, seen.invalidation_errors),
        latency_finding(thresholds, seen),
        counter_finding(Measure::MissRate, thresholds.miss_rate, seen.miss),
        budget_finding(seen),
    ]
    .into_iter()
    .flatten()
    .collect();
    findings.sort_by(|a, b| b.outside.cmp(&a.outside).then_with(|| excess(b).total_cmp(&excess(a))));
    let state = match findings.first() {
        Some(finding) if finding.outside => State::Outside,
        Some(_) => State::AtRisk,
        None => calm(thresholds, seen),
    };
    Assessment { state, findings }
}

/// Only the state.
pub fn state(thresholds: &Thresholds, seen: &Observed) -> State {
    assess(thresholds, seen).state
}

/// Nothing is over or near: within, if there was enough to tell.
fn calm(thresholds: &Thresholds, seen: &Observed) -> State {
    let enough_counters = seen.miss.n >= MIN_SAMPLES && thresholds.miss_rate.is_some()
        || seen.invalidation_errors.n >= MIN_SAMPLES && thresholds.invalidation_error_rate.is_some()
        || seen.rebuilds >= MIN_LATENCIES && thresholds.rebuild_p95_us.is_some();
    match thresholds.stale_read_rate {
        Some(threshold) if seen.stale.interval().is_some_and(|interval| interval.high <= threshold) => State::Within,
        Some(threshold) => State::NotProven { needed: samples_needed(threshold, seen.stale) },
        None if enough_counters => State::Within,
        None => State::NotProven { needed: MIN_SAMPLES },
    }
}

/// How many samples in all it would take: about 3.84 ÷ threshold where none was stale; where some were, those that separate the share seen from
/// the threshold.
pub fn samples_needed(threshold: f64, seen: Rate) -> u64 {
    let fresh = Z_SQUARED / threshold;
    let separated = seen.value().filter(|_| seen.k > 0).map_or(0.0, |share| {
        let distance = (share - threshold).abs().max(threshold / 20.0);
        Z_SQUARED * share * (1.0 - share) / (distance * distance)
    });
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "capped, and both are positive")]
    let needed = fresh.max(separated).ceil().min(1e12) as u64;
    // Who has that many already and is still not proven is told a few more, never fewer than there are.
    needed.max(MIN_SAMPLES).max(seen.n + 1)
}

fn stale_finding(thresholds: &Thresholds, seen: &Observed) -> Option<Finding> {
    let threshold = thresholds.stale_read_rate?;
    let interval = seen.stale.interval()?;
    (seen.stale.n >= MIN_SAMPLES && interval.low > threshold).then(|| Finding {
        measure: Measure::StaleReadRate,
        outside: true,
        value: seen.stale.value().unwrap_or_default(),
        threshold,
        n: seen.stale.n,
        interval: Some(interval),
    })
}

fn counter_finding(measure: Measure, threshold: Option<f64>, seen: Rate) -> Option<Finding> {
    let (threshold, value) = (threshold?, seen.value()?);
    (seen.n >= MIN_SAMPLES && value >= NEAR * threshold).then(|| Finding {
        measure,
        outside: value > threshold,
        value,
        threshold,
        n: seen.n,
        interval: seen.interval(),
    })
}

fn latency_finding(thresholds: &Thresholds, seen: &Observed) -> Option<Finding> {
    let (threshold, value) = (as_f64(thresholds.rebuild_p95_us?), as_f64(seen.rebuild_p95_us?));
    (seen.rebuilds >= MIN_LATENCIES && value >= NEAR * threshold).then_some(Finding {
        measure: Measure::RebuildP95,
        outside: value > threshold,
        value,
        threshold,
        n: seen.rebuilds,
        interval: None,
    })
}

fn budget_finding(seen: &Observed) -> Option<Finding> {
    let left = seen.budget_left?;
    (left < BUDGET_AT_RISK).then_some(Finding {
        measure: Measure::Budget,
        outside: false,
        value: left,
        threshold: BUDGET_AT_RISK,
        n: seen.stale.n,
        interval: None,
    })
}

/// How far past its threshold, as a multiple of it.
fn excess(finding: &Finding) -> f64 {
    match finding.measure {
        Measure::Budget => finding.threshold - finding.value,
        _ => finding.value / finding.threshold,
    }
}

/// The share of the budget that is left: 1 − stale ÷ ((1 − ratio) · n). May be negative; `None` without samples.
pub fn budget(stale: Rate, ratio: f64) -> Option<f64> {
    let allowed = (1.0 - ratio) * as_f64(stale.n);
    (allowed > 0.0).then(|| 1.0 - as_f64(stale.k) / allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds {
        miss_rate: Some(0.25),
        rebuild_p95_us: Some(400_000),
        invalidation_error_rate: Some(0.01),
        stale_read_rate: Some(0.001),
    };

    fn stale(k: u64, n: u64) -> Observed {
        Observed { stale: Rate::new(k, n), ..Observed::default() }
    }

    #[test]
    fn outside_needs_thirty_samples_and_the_low_end_over_the_threshold() {
        assert_eq!(state(&THRESHOLDS, &stale(29, 29)), State::NotProven { needed: 3_842 });
        assert_eq!(state(&THRESHOLDS, &stale(30, 30)), State::Outside);
        assert_eq!(state(&THRESHOLDS, &stale(3, 400)), State::Outside);
        // 2 of 1,000: the interval is 0.05 % to 0.73 %, so 0.1 % is neither passed nor kept.
        assert!(matches!(state(&THRESHOLDS, &stale(2, 1_000)), State::NotProven { .. }));
    }

    #[test]
    fn within_needs_the_high_end_at_or_below_the_threshold() {
        assert_eq!(state(&THRESHOLDS, &stale(0, 3_837)), State::NotProven { needed: 3_842 });
        assert_eq!(state(&THRESHOLDS, &stale(0, 3_838)), State::Within);
        assert_eq!(state(&THRESHOLDS, &stale(0, 100_000)), State::Within);
    }

    #[test]
    fn no_samples_are_never_green() {
        assert_eq!(state(&THRESHOLDS, &Observed::default()), State::NotProven { needed: 3_842 });
        assert_eq!(state(&Thresholds::default(), &Observed::default()), State::NotProven { needed: 30 });
    }

    #[test]
    fn counters_are_compared_by_value_from_thirty_on() {
        let misses = |k, n| Observed { miss: Rate::new(k, n), ..stale(0, 5_000) };
        assert_eq!(state(&THRESHOLDS, &misses(29, 29)), State::Within);
        assert_eq!(state(&THRESHOLDS, &misses(8, 30)), State::Outside);
        assert_eq!(state(&THRESHOLDS, &misses(25, 100)), State::AtRisk, "at the threshold is not over it");
        assert_eq!(state(&THRESHOLDS, &misses(22, 100)), State::Within);
        assert_eq!(state(&THRESHOLDS, &misses(23, 100)), State::AtRisk);
    }

    #[test]
    fn latencies_are_compared_from_twenty_on() {
        let p95 = |us, n| Observed { rebuild_p95_us: Some(us), rebuilds: n, ..stale(0, 5_000) };
        assert_eq!(state(&THRESHOLDS, &p95(900_000, 19)), State::Within);
        assert_eq!(state(&THRESHOLDS, &p95(400_001, 20)), State::Outside);
        assert_eq!(state(&THRESHOLDS, &p95(360_000, 20)), State::AtRisk);
        assert_eq!(state(&THRESHOLDS, &p95(359_999, 20)), State::Within);
    }

    #[test]
    fn little_budget_is_at_risk_even_where_nothing_is_proven() {
        let seen = Observed { budget_left: Some(0.34), ..Observed::default() };
        assert_eq!(state(&THRESHOLDS, &seen), State::AtRisk);
        assert!(matches!(state(&THRESHOLDS, &Observed { budget_left: Some(0.35), ..seen }), State::NotProven { .. }));
    }

    #[test]
    fn the_worst_is_named_first() {
        let seen = Observed { miss: Rate::new(30, 100), invalidation_errors: Rate::new(40, 100), budget_left: Some(-3.0), ..stale(0, 10) };
        let measures: Vec<_> = assess(&THRESHOLDS, &seen).findings.iter().map(|finding| finding.measure).collect();
        assert_eq!(measures, [Measure::InvalidationErrorRate, Measure::MissRate, Measure::Budget]);
    }

    #[test]
    fn the_budget_may_be_overspent() {
        let left = |k, n| budget(Rate::new(k, n), 0.999).map(|left| (left * 1_000.0).round() / 1_000.0);
        assert_eq!(left(0, 1_000), Some(1.0));
        assert_eq!(left(1, 2_000), Some(0.5));
        assert_eq!(left(3, 1_000), Some(-2.0));
        assert_eq!(left(0, 0), None);
    }

    #[test]
    fn samples_needed_grow_with_what_was_stale() {
        assert_eq!(samples_needed(0.01, Rate::new(0, 0)), 385);
        assert!(samples_needed(0.01, Rate::new(8, 1_000)) > 1_000);
    }
}
