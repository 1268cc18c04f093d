//! The figures by name, each with its formula over a [`Tally`]: what `GET /api/v1/series` gives out and every page shows.

use super::event::Origin;
use super::event::tally::{Tally, delay_place};
use super::metric::{Bucket, Rate, as_f64, cost};

/// A figure that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Figure {
    Hits,
    Misses,
    MissRate,
    StaleServed,
    AccessErrors,
    Rebuilds,
    /// Milliseconds, at this many hundredths.
    Rebuild(u8),
    RefillGap(u8),
    /// Rebuild-seconds per minute.
    Cost,
    Invalidations,
    InvalidationErrors,
    InvalidationErrorRate,
    StaleReadRate,
}

/// A figure of a span. `value` is `None` where nothing is known, which is not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Value {
    pub value: Option<f64>,
    /// The denominator of a rate, the number of rebuilds of a latency or cost, what was counted of a count.
    pub n: u64,
    /// Both ends of a rate's 95 % interval.
    pub low: Option<f64>,
    pub high: Option<f64>,
}

impl Figure {
    pub const ALL: [(&'static str, Figure); 17] = [
        ("hits", Figure::Hits),
        ("misses", Figure::Misses),
        ("miss_rate", Figure::MissRate),
        ("stale_served", Figure::StaleServed),
        ("access_errors", Figure::AccessErrors),
        ("rebuilds", Figure::Rebuilds),
        ("rebuild_p50", Figure::Rebuild(50)),
        ("rebuild_p95", Figure::Rebuild(95)),
        ("rebuild_p99", Figure::Rebuild(99)),
        ("refill_gap_p50", Figure::RefillGap(50)),
        ("refill_gap_p95", Figure::RefillGap(95)),
        ("refill_gap_p99", Figure::RefillGap(99)),
        ("cost", Figure::Cost),
        ("invalidations", Figure::Invalidations),
        ("invalidation_errors", Figure::InvalidationErrors),
        ("invalidation_error_rate", Figure::InvalidationErrorRate),
        ("stale_read_rate", Figure::StaleReadRate),
    ];

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(listed, _)| *listed == name).map(|(_, figure)| *figure)
    }

    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, figure)| *figure == self).map_or("", |(name, _)| name)
    }

    pub fn unit(self) -> &'static str {
        match self {
            Self::MissRate | Self::InvalidationErrorRate | Self::StaleReadRate => "ratio",
            Self::Rebuild(_) | Self::RefillGap(_) => "ms",
            Self::Cost => "s/min",
            _ => "count",
        }
    }

    /// The figure of a span of `seconds`. `buckets` says which stale-read samples count.
    pub fn of(self, tally: &Tally, seconds: i64, buckets: &[Bucket]) -> Value {
        let count = |count: Option<u64>| Value { value: count.map(as_f64), n: count.unwrap_or(0), low: None, high: None };
        match self {
            Self::Hits => count(tally.hits),
            Self::Misses => count(tally.misses),
            Self::StaleServed => count(tally.stale_served),
            Self::AccessErrors => count(tally.access_errors),
            Self::Rebuilds => count(Some(tally.rebuilds)),
            Self::Invalidations => count(Some(tally.invalidations)),
            Self::InvalidationErrors => count(Some(tally.invalidation_errors)),
            Self::MissRate => Value::of_rate(miss_rate(tally)),
            Self::InvalidationErrorRate => Value::of_rate(Rate::new(tally.invalidation_errors, tally.invalidations)),
            Self::StaleReadRate => Value::of_rate(stale_rate(tally, buckets)),
            Self::Rebuild(hundredths) => Value {
                value: tally.rebuild.quantile(f64::from(hundredths) / 100.0).map(|us| as_f64(us) / 1e3),
                n: tally.rebuilds,
                low: None,
                high: None,
            },
            // Only Redis itself shows it, and nobody listens to it yet.
            Self::RefillGap(_) => Value::default(),
            Self::Cost => Value { value: cost(tally.rebuild.sum_us(), seconds), n: tally.rebuilds, low: None, high: None },
        }
    }

    /// Whether a span says anything about the figure at all.
    pub fn is_known(self, tally: &Tally, buckets: &[Bucket]) -> bool {
        match self {
            Self::Rebuilds | Self::Cost => tally.rebuilds > 0,
            Self::Invalidations | Self::InvalidationErrors => tally.invalidations > 0,
            _ => self.of(tally, 60, buckets).value.is_some(),
        }
    }

    /// Whose figure is shown: of app, stream, otlp, probe, keyspace the first with data. They are never added together.
    pub fn choose<'t>(self, totals: impl IntoIterator<Item = (Origin, &'t Tally)>, buckets: &[Bucket]) -> Option<Origin> {
        totals.into_iter().filter(|(_, total)| self.is_known(total, buckets)).map(|(origin, _)| origin).min()
    }
}

impl Value {
    pub fn of_rate(rate: Rate) -> Self {
        let interval = rate.interval();
        Self { value: rate.value(), n: rate.n, low: interval.map(|interval| interval.low), high: interval.map(|interval| interval.high) }
    }
}

/// Misses ÷ (hits + misses + stale served), of events that measured hits.
pub fn miss_rate(tally: &Tally) -> Rate {
    Rate::new(tally.rated_misses, tally.rated_reads)
}

/// Stale ÷ samples in these buckets.
pub fn stale_rate(tally: &Tally, buckets: &[Bucket]) -> Rate {
    buckets.iter().map(|&bucket| tally.breakdown.delays[delay_place(bucket)]).sum()
}

/// The buckets that speak about an objective: its own and all later ones, never those without a delay.
pub fn buckets_from(fresh_within: Bucket) -> Vec<Bucket> {
    Bucket::ALL.into_iter().filter(|&bucket| bucket >= fresh_within && bucket != Bucket::Unknown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Outcome;
    use crate::domain::event::tally::Measure;

    #[test]
    fn names_round_trip() {
        for (name, figure) in Figure::ALL {
            assert_eq!(Figure::parse(name), Some(figure));
            assert_eq!(figure.as_str(), name);
        }
        assert_eq!(Figure::parse("mood"), None);
    }

    #[test]
    fn where_nothing_was_measured_nothing_is_known() {
        let tally = Tally::default();
        for (name, figure) in Figure::ALL {
            assert!(!figure.is_known(&tally, &Bucket::ALL), "{name}");
        }
        assert_eq!(Figure::Hits.of(&tally, 60, &[]).value, None);
    }

    #[test]
    fn cost_is_rebuild_seconds_per_minute() {
        let mut tally = Tally::default();
        for _ in 0..10 {
            tally.record(0, &Measure::Rebuild { duration_us: 1_500_000, outcome: Outcome::Ok });
        }
        let cost = Figure::Cost.of(&tally, 300, &[]);
        assert_eq!((cost.value, cost.n), (Some(3.0), 10));
    }

    #[test]
    fn samples_before_fresh_within_do_not_speak_about_the_objective() {
        assert_eq!(buckets_from(Bucket::B60), [Bucket::B60, Bucket::B300]);
        assert_eq!(buckets_from(Bucket::B0).len(), 5);
    }
}
