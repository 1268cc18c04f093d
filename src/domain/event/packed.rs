//! Tallies in few bytes, of which very many are kept: a mask that says which counters follow, the counters as LEB128, sketch and breakdown in their
//! stored forms.

use super::tally::{Breakdown, Tally, number, take};
use crate::domain::sketch::Sketch;
use std::sync::Arc;

/// Bits of the mask beyond those of the twelve counters.
const SAMPLES: u16 = 1 << 11;
const SKETCH: u16 = 1 << 12;
const BREAKDOWN: u16 = 1 << 13;

/// One tally. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed(Arc<[u8]>);

/// What a tally is packed from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parts<'a> {
    /// Newest event, in microseconds since 1970.
    pub last_at_us: i64,
    /// `hits`, `misses`, `stale_served`, `access_errors`; `None` was not measured.
    pub measured: [Option<u64>; 4],
    /// `rated_reads`, `rated_misses`, `rebuilds`, `rebuild_errors`, `rebuild_timeouts`, `invalidations`, `invalidation_errors`, `stale_samples`.
    pub counts: [u64; 8],
    /// Stored forms; empty without any.
    pub sketch: &'a [u8],
    pub breakdown: &'a [u8],
}

/// Why a tally cannot be read: what is stored was not written by this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a stored sketch or breakdown is not one of ours")]
pub struct Damaged;

/// What a packed tally begins with.
struct Head<'p> {
    mask: u16,
    last_at_us: i64,
    /// Counters and what follows.
    rest: &'p [u8],
}

impl Packed {
    pub fn of(tally: &Tally) -> Self {
        let sketch = if tally.rebuilds > 0 { tally.rebuild.to_bytes() } else { Vec::new() };
        let breakdown = if tally.breakdown.is_empty() { Vec::new() } else { tally.breakdown.to_bytes() };
        Self::from_parts(&Parts {
            last_at_us: tally.last_at_us,
            measured: [tally.hits, tally.misses, tally.stale_served, tally.access_errors],
            counts: [
                tally.rated_reads,
                tally.rated_misses,
                tally.rebuilds,
                tally.rebuild_errors,
                tally.rebuild_timeouts,
                tally.invalidations,
                tally.invalidation_errors,
                tally.stale_samples,
            ],
            sketch: &sketch,
            breakdown: &breakdown,
        })
    }

    pub fn from_parts(parts: &Parts<'_>) -> Self {
        let mut bytes = Vec::with_capacity(40 + parts.sketch.len() + parts.breakdown.len());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&parts.last_at_us.to_le_bytes());
        let counts = parts.counts.map(|count| Some(count).filter(|count| *count > 0));
        let mut mask = 0;
        for (bit, counter) in parts.measured.into_iter().chain(counts).enumerate() {
            if let Some(counter) = counter {
                mask |= 1 << bit;
                number(&mut bytes, counter);
            }
        }
        if !parts.sketch.is_empty() {
            mask |= SKETCH;
            number(&mut bytes, parts.sketch.len() as u64);
            bytes.extend_from_slice(parts.sketch);
        }
        if !parts.breakdown.is_empty() {
            mask |= BREAKDOWN;
            bytes.extend_from_slice(parts.breakdown);
        }
        bytes[..2].copy_from_slice(&u16::to_le_bytes(mask));
        Self(bytes.into())
    }

    fn head(&self) -> Option<Head<'_>> {
        let (mask, rest) = self.0.split_first_chunk()?;
        let (last_at, rest) = rest.split_first_chunk()?;
        Some(Head { mask: u16::from_le_bytes(*mask), last_at_us: i64::from_le_bytes(*last_at), rest })
    }

    /// Counters, sketch and breakdown.
    fn read(&self) -> Option<Parts<'_>> {
        let Head { mask, last_at_us, mut rest } = self.head()?;
        let mut parts = Parts { last_at_us, ..Parts::default() };
        for (bit, counter) in parts.measured.iter_mut().enumerate() {
            if mask & (1 << bit) != 0 {
                *counter = Some(take(&mut rest)?);
            }
        }
        for (bit, counter) in (4..).zip(&mut parts.counts) {
            if mask & (1 << bit) != 0 {
                *counter = take(&mut rest)?;
            }
        }
        if mask & SKETCH != 0 {
            let length = usize::try_from(take(&mut rest)?).ok()?;
            (parts.sketch, rest) = rest.split_at_checked(length)?;
        }
        parts.breakdown = rest;
        Some(parts)
    }

    /// Adds all of it, as [`Tally::merge`] adds what it was packed from.
    pub fn add_to(&self, tally: &mut Tally) -> Result<(), Damaged> {
        let parts = self.read().ok_or(Damaged)?;
        let [hits, misses, stale_served, access_errors] = parts.measured;
        let [rated_reads, rated_misses, rebuilds, rebuild_errors, rebuild_timeouts, invalidations, invalidation_errors, stale_samples] =
            parts.counts;
        // What has no allocations of its own is merged as a tally; what has is merged as it is stored.
        tally.merge(&Tally {
            last_at_us: parts.last_at_us,
            hits,
            misses,
            stale_served,
            access_errors,
            rated_reads,
            rated_misses,
            rebuilds,
            rebuild_errors,
            rebuild_timeouts,
            invalidations,
            invalidation_errors,
            stale_samples,
            rebuild: Sketch::default(),
            breakdown: Breakdown::default(),
        });
        if !parts.sketch.is_empty() {
            tally.rebuild.merge_bytes(parts.sketch).map_err(|_| Damaged)?;
        }
        if !parts.breakdown.is_empty() {
            tally.breakdown.merge_bytes(parts.breakdown).ok_or(Damaged)?;
        }
        Ok(())
    }

    /// The sum of all rebuild durations, microseconds; `None` without a rebuild.
    pub fn rebuild_us(&self) -> Result<Option<u64>, Damaged> {
        if self.head().ok_or(Damaged)?.mask & SKETCH == 0 {
            return Ok(None);
        }
        Sketch::sum_us_of(self.read().ok_or(Damaged)?.sketch).map(Some).map_err(|_| Damaged)
    }

    /// Whether there are stale-read samples in it.
    pub fn has_samples(&self) -> bool {
        self.head().is_some_and(|head| head.mask & SAMPLES != 0)
    }

    /// Adds the stale-read samples alone.
    pub fn add_samples_to(&self, tally: &mut Tally) -> Result<(), Damaged> {
        let parts = self.read().ok_or(Damaged)?;
        let [.., stale_samples] = parts.counts;
        tally.stale_samples += stale_samples;
        tally.breakdown.merge_bytes(parts.breakdown).ok_or(Damaged)
    }

    /// Newest event, in microseconds since 1970.
    pub fn last_at_us(&self) -> i64 {
        self.head().map_or(0, |head| head.last_at_us)
    }

    /// What it takes in memory, about.
    pub fn size(&self) -> usize {
        self.0.len() + 32
    }
}

#[cfg(test)]
mod tests {
    use super::super::tally::tests::measures;
    use super::*;
    use proptest::prelude::*;

    fn tally_of(measures: &[crate::domain::event::tally::Measure]) -> Tally {
        let mut tally = Tally::default();
        for (at_us, measure) in (7..).zip(measures) {
            tally.record(at_us, measure);
        }
        tally
    }

    proptest! {
        #[test]
        fn packed_adds_what_it_was_packed_from(a in prop::collection::vec(measures(), 0..40), b in prop::collection::vec(measures(), 0..40)) {
            let (a, b) = (tally_of(&a), tally_of(&b));
            let mut sum = a.clone();
            Packed::of(&b).add_to(&mut sum).unwrap();
            let mut expected = a.clone();
            expected.merge(&b);
            prop_assert_eq!(&sum, &expected);
            let packed = Packed::of(&b);
            prop_assert_eq!(packed.last_at_us(), b.last_at_us);
            prop_assert_eq!(packed.rebuild_us().unwrap(), (b.rebuilds > 0).then(|| b.rebuild.sum_us()));
            prop_assert_eq!(packed.has_samples(), b.stale_samples > 0);
            if b.stale_samples > 0 {
                let mut samples = Tally::default();
                packed.add_samples_to(&mut samples).unwrap();
                prop_assert_eq!((samples.stale_samples, samples.breakdown.delays), (b.stale_samples, b.breakdown.delays));
            }
        }

        #[test]
        fn what_nobody_wrote_is_refused(sketch in prop::collection::vec(any::<u8>(), 1..20)) {
            let packed = Packed::from_parts(&Parts { sketch: &sketch, ..Parts::default() });
            prop_assert_eq!(packed.add_to(&mut Tally::default()).is_err(), Sketch::from_bytes(&sketch).is_err());
        }
    }
}
