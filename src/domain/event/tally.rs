//! What a rollup holds: the figures of one prefix, origin and span of time, addable in any order. A recount of the events gives the same tally, bit
//! by bit, because every part of it is a sum.

use super::{Access, ErrorClass, Outcome};
use crate::domain::metric::{Bucket, Rate};
use crate::domain::sketch::Sketch;
use std::collections::BTreeMap;

/// Buckets of stale-read samples by their delay after the write.
pub const DELAYS: usize = Bucket::ALL.len();

/// Stale reads by [`Bucket`], in its order.
pub type ByDelay = [Rate; DELAYS];

/// One event's share of a rollup.
#[derive(Clone, Debug, PartialEq)]
pub enum Measure {
    Access { hits: Option<u32>, misses: Option<u32>, stale_served: Option<u32>, errors: Option<u32> },
    Rebuild { duration_us: u64, outcome: Outcome },
    Invalidation { failure: Option<ErrorClass> },
    Stale { bucket: Bucket, stale: bool, read_path: Option<Box<str>> },
}

impl Measure {
    pub fn access(access: &Access<'_>) -> Self {
        Measure::Access { hits: access.hits, misses: access.misses, stale_served: access.stale_served, errors: access.errors }
    }
}

/// The figures of a span. `None` counters were not measured by any event in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Newest event, in microseconds since 1970.
    pub last_at_us: i64,
    pub hits: Option<u64>,
    pub misses: Option<u64>,
    pub stale_served: Option<u64>,
    pub access_errors: Option<u64>,
    /// Reads and misses of those events alone that measured both.
    pub rated_reads: u64,
    pub rated_misses: u64,
    pub rebuilds: u64,
    pub rebuild_errors: u64,
    pub rebuild_timeouts: u64,
    pub rebuild: Sketch,
    pub invalidations: u64,
    pub invalidation_errors: u64,
    pub stale_samples: u64,
    pub breakdown: Breakdown,
}

/// The parts that are stored as bytes: failed invalidations by class, samples by delay and by read path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Breakdown {
    /// By [`ErrorClass`], in its order.
    pub failures: [u64; 9],
    pub delays: ByDelay,
    /// Samples without a read path are under the empty name.
    pub paths: BTreeMap<Box<str>, ByDelay>,
}

fn add(sum: &mut Option<u64>, more: Option<u64>) {
    if let Some(more) = more {
        *sum = Some(sum.unwrap_or(0) + more);
    }
}

impl Tally {
    pub fn record(&mut self, at_us: i64, measure: &Measure) {
        self.last_at_us = self.last_at_us.max(at_us);
        match measure {
            Measure::Access { hits, misses, stale_served, errors } => {
                let [hits, misses, stale_served, errors] = [hits, misses, stale_served, errors].map(|count| count.map(u64::from));
                add(&mut self.hits, hits);
                add(&mut self.misses, misses);
                add(&mut self.stale_served, stale_served);
                add(&mut self.access_errors, errors);
                if let (Some(hits), Some(misses)) = (hits, misses) {
                    self.rated_reads += hits + misses + stale_served.unwrap_or(0);
                    self.rated_misses += misses;
                }
            }
            Measure::Rebuild { duration_us, outcome } => {
                self.rebuilds += 1;
                self.rebuild_errors += u64::from(*outcome == Outcome::Error);
                self.rebuild_timeouts += u64::from(*outcome == Outcome::Timeout);
                self.rebuild.record(*duration_us);
            }
            Measure::Invalidation { failure } => {
                self.invalidations += 1;
                if let Some(class) = failure {
                    self.invalidation_errors += 1;
                    self.breakdown.failures[place(*class)] += 1;
                }
            }
            Measure::Stale { bucket, stale, read_path } => {
                let sample = Rate::new(u64::from(*stale), 1);
                let delay = delay_place(*bucket);
                self.stale_samples += 1;
                let sum = &mut self.breakdown.delays[delay];
                *sum = *sum + sample;
                let path = read_path.clone().unwrap_or_default();
                let sum = &mut self.breakdown.paths.entry(path).or_default()[delay];
                *sum = *sum + sample;
            }
        }
    }

    pub fn merge(&mut self, other: &Tally) {
        self.last_at_us = self.last_at_us.max(other.last_at_us);
        add(&mut self.hits, other.hits);
        add(&mut self.misses, other.misses);
        add(&mut self.stale_served, other.stale_served);
        add(&mut self.access_errors, other.access_errors);
        self.rated_reads += other.rated_reads;
        self.rated_misses += other.rated_misses;
        self.rebuilds += other.rebuilds;
        self.rebuild_errors += other.rebuild_errors;
        self.rebuild_timeouts += other.rebuild_timeouts;
        self.rebuild.merge(&other.rebuild);
        self.invalidations += other.invalidations;
        self.invalidation_errors += other.invalidation_errors;
        self.stale_samples += other.stale_samples;
        self.breakdown.merge(&other.breakdown);
    }

    /// Failed invalidations of a class.
    pub fn failures(&self, class: ErrorClass) -> u64 {
        self.breakdown.failures[place(class)]
    }
}

fn place(class: ErrorClass) -> usize {
    ErrorClass::ALL.iter().position(|&listed| listed == class).unwrap_or(0)
}

/// A bucket's place in [`ByDelay`].
pub fn delay_place(bucket: Bucket) -> usize {
    Bucket::ALL.iter().position(|&listed| listed == bucket).unwrap_or(DELAYS - 1)
}

impl Breakdown {
    pub fn is_empty(&self) -> bool {
        self.failures == [0; 9] && self.delays == [Rate::default(); DELAYS]
    }

    pub fn merge(&mut self, other: &Breakdown) {
        for (sum, more) in self.failures.iter_mut().zip(other.failures) {
            *sum += more;
        }
        for (sum, more) in self.delays.iter_mut().zip(other.delays) {
            *sum = *sum + more;
        }
        for (path, delays) in &other.paths {
            let sums = self.paths.entry(path.clone()).or_default();
            for (sum, more) in sums.iter_mut().zip(delays) {
                *sum = *sum + *more;
            }
        }
    }

    /// One version byte, then LEB128 numbers; names by length. Equal breakdowns have equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![1];
        for &count in &self.failures {
            number(&mut out, count);
        }
        let samples = |out: &mut Vec<u8>, delays: &ByDelay| {
            for one in delays {
                number(out, one.n);
                number(out, one.k);
            }
        };
        samples(&mut out, &self.delays);
        number(&mut out, self.paths.len() as u64);
        for (path, delays) in &self.paths {
            number(&mut out, path.len() as u64);
            out.extend_from_slice(path.as_bytes());
            samples(&mut out, delays);
        }
        out
    }

    /// `None` where the bytes were not written by [`Breakdown::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut breakdown = Breakdown::default();
        breakdown.merge_bytes(bytes)?;
        Some(breakdown)
    }

    /// Adds a stored form, as [`Breakdown::merge`] adds what it was made of. Where it is refused, a part of it may have been added.
    pub fn merge_bytes(&mut self, bytes: &[u8]) -> Option<()> {
        let (&1, mut rest) = bytes.split_first()? else { return None };
        let samples = |rest: &mut &[u8], sums: &mut ByDelay| -> Option<()> {
            for sum in sums {
                let n = take(rest)?;
                *sum = *sum + Rate::new(take(rest)?, n);
            }
            Some(())
        };
        for sum in &mut self.failures {
            *sum += take(&mut rest)?;
        }
        samples(&mut rest, &mut self.delays)?;
        for _ in 0..take(&mut rest)? {
            let length = usize::try_from(take(&mut rest)?).ok()?;
            let (path, after) = rest.split_at_checked(length)?;
            rest = after;
            let path = std::str::from_utf8(path).ok()?;
            match self.paths.get_mut(path) {
                Some(sums) => samples(&mut rest, sums)?,
                None => samples(&mut rest, self.paths.entry(path.into()).or_default())?,
            }
        }
        rest.is_empty().then_some(())
    }
}

pub(super) fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

pub(super) fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub fn measures() -> impl Strategy<Value = Measure> {
        let count = || proptest::option::of(0..1_000_000_000u32);
        prop_oneof![
            (count(), count(), count(), count()).prop_map(|(hits, misses, stale_served, errors)| Measure::Access {
                hits,
                misses,
                stale_served,
                errors
            }),
            (0..3_600_000_000u64, 0..3usize)
                .prop_map(|(duration_us, outcome)| Measure::Rebuild { duration_us, outcome: Outcome::ALL[outcome] }),
            proptest::option::of(0..9usize).prop_map(|class| Measure::Invalidation { failure: class.map(|class| ErrorClass::ALL[class]) }),
            (0..DELAYS, any::<bool>(), proptest::option::of("[a-c]")).prop_map(|(place, stale, path)| Measure::Stale {
                bucket: Bucket::ALL[place],
                stale,
                read_path: path.map(String::into_boxed_str)
            }),
        ]
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_whole(list in proptest::collection::vec((measures(), any::<bool>()), 0..60)) {
            let (mut whole, mut left, mut right) = (Tally::default(), Tally::default(), Tally::default());
            for (at_us, (measure, side)) in (0..).zip(&list) {
                whole.record(at_us, measure);
                if *side { &mut left } else { &mut right }.record(at_us, measure);
            }
            left.merge(&right);
            prop_assert_eq!(&left, &whole);
            prop_assert_eq!(Breakdown::from_bytes(&whole.breakdown.to_bytes()), Some(whole.breakdown));
        }

        #[test]
        fn bytes_of_others_are_refused_not_misread(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some(breakdown) = Breakdown::from_bytes(&bytes) {
                prop_assert_eq!(Breakdown::from_bytes(&breakdown.to_bytes()), Some(breakdown));
            }
        }
    }

    #[test]
    fn what_was_not_measured_enters_no_rate() {
        let mut tally = Tally::default();
        tally.record(0, &Measure::Access { hits: None, misses: Some(5), stale_served: Some(0), errors: Some(0) });
        tally.record(0, &Measure::Access { hits: Some(8), misses: Some(2), stale_served: None, errors: Some(0) });
        assert_eq!((tally.hits, tally.misses, tally.stale_served), (Some(8), Some(7), Some(0)));
        assert_eq!((tally.rated_misses, tally.rated_reads), (2, 10));
    }
}
