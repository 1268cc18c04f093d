//! Durations, kept so that any quantile can be asked later: a DDSketch (Masson, Rim, Lee; VLDB 2019) with α = 1 % over whole microseconds.
//!
//! Buckets have fixed bounds that are computed once, in integers, so sketches never collapse: merging is adding counts, and a recount from raw
//! events gives equal buckets. A duration is clamped to 1 hour; zero has a bucket of its own; count and sum are exact.

use std::sync::LazyLock;

/// Longest duration that is told apart: an hour, in microseconds.
pub const MAX_US: u64 = 3_600_000_000;

/// First byte of the stored form.
const VERSION: u8 = 1;

/// Bucket i holds the durations above the bucket before it up to `high`; `value` stands for all of them.
struct Bound {
    high: u64,
    value: u64,
}

/// From 1 µs to an hour. A bucket that begins at `low` is represented by the largest whole value within 1 % of it, and ends at the largest
/// whole duration that this value is still within 1 % of. So the promise holds in whole microseconds too, where γ-powers would break it.
static BOUNDS: LazyLock<Vec<Bound>> = LazyLock::new(|| {
    let mut bounds = Vec::with_capacity(1_200);
    let mut low = 1;
    while low <= MAX_US {
        let value = low + low / 100;
        let high = 100 * value / 99;
        bounds.push(Bound { high, value: value.min(MAX_US) });
        low = high + 1;
    }
    bounds
});

/// Why bytes are no sketch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are no sketch of a version that is known")]
pub struct NoSketch;

/// Counts of durations by bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    zero: u64,
    /// (bucket, how many), by ascending bucket.
    counts: Vec<(u16, u64)>,
    count: u64,
    sum_us: u64,
}

impl Sketch {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one duration, in microseconds; longer than an hour counts as an hour.
    pub fn record(&mut self, duration_us: u64) {
        let duration_us = duration_us.min(MAX_US);
        if duration_us == 0 {
            self.zero += 1;
        } else {
            self.add(0, bucket_of(duration_us), 1);
        }
        self.count += 1;
        self.sum_us += duration_us;
    }

    /// Adds everything the other has seen. Exact: the result is as if all had been recorded here.
    pub fn merge(&mut self, other: &Self) {
        self.zero += other.zero;
        let mut at = 0;
        for &(bucket, count) in &other.counts {
            at = self.add(at, bucket, count);
        }
        self.count += other.count;
        self.sum_us += other.sum_us;
    }

    /// Adds to a bucket that lies at `from` or after it; gives its place.
    fn add(&mut self, from: usize, bucket: u16, count: u64) -> usize {
        // What is merged has much the same buckets, so the next one is near.
        let near = self.counts[from..].iter().take(8).position(|(held, _)| *held >= bucket);
        let at = from + near.unwrap_or_else(|| self.counts[from..].partition_point(|(held, _)| *held < bucket));
        match self.counts.get_mut(at) {
            Some((held, sum)) if *held == bucket => *sum += count,
            _ => self.counts.insert(at, (bucket, count)),
        }
        at
    }

    /// The duration of rank ⌈q·n⌉ (at least 1) in ascending order, within 1 %; `None` without any.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts stay far below 2^52, and q·n is between 0 and n"
        )]
        // 0.07 · 100 is a trace over 7 in binary; the next rank is not meant.
        let rank = ((q.clamp(0.0, 1.0) * self.count as f64 - 1e-9).ceil() as u64).clamp(1, self.count);
        let mut seen = self.zero;
        if rank <= seen {
            return Some(0);
        }
        for &(bucket, count) in &self.counts {
            seen += count;
            if rank <= seen {
                return BOUNDS.get(usize::from(bucket)).map(|bound| bound.value);
            }
        }
        None
    }

    /// How many durations were recorded.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their sum, exact (each clamped to an hour).
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The stored form: version, then as LEB128: zeros, sum, number of buckets, and each bucket as its distance to the one before and its count.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(16 + 3 * self.counts.len());
        bytes.push(VERSION);
        push(&mut bytes, self.zero);
        push(&mut bytes, self.sum_us);
        push(&mut bytes, self.counts.len() as u64);
        let mut before = 0;
        for &(bucket, count) in &self.counts {
            push(&mut bytes, u64::from(bucket - before));
            push(&mut bytes, count);
            before = bucket;
        }
        bytes
    }

    /// Reads the stored form. Anything that [`Sketch::to_bytes`] cannot have written is refused.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NoSketch> {
        let mut sketch = Self::default();
        sketch.merge_bytes(bytes)?;
        Ok(sketch)
    }

    /// The sum of a stored form, which is near its beginning.
    pub fn sum_us_of(bytes: &[u8]) -> Result<u64, NoSketch> {
        let (&VERSION, mut rest) = bytes.split_first().ok_or(NoSketch)? else { return Err(NoSketch) };
        take(&mut rest)?;
        take(&mut rest)
    }

    /// Adds a stored form, as [`Sketch::merge`] adds what it was made of. Where it is refused, a part of it may have been added.
    pub fn merge_bytes(&mut self, bytes: &[u8]) -> Result<(), NoSketch> {
        let (&VERSION, mut rest) = bytes.split_first().ok_or(NoSketch)? else { return Err(NoSketch) };
        let zero = take(&mut rest)?;
        let sum_us = take(&mut rest)?;
        let buckets = take(&mut rest)?;
        let mut added = zero;
        let (mut bucket, mut at) = (0_u64, 0);
        for nth in 0..buckets {
            let distance = take(&mut rest)?;
            let count = take(&mut rest)?;
            bucket = bucket.checked_add(distance).filter(|&bucket| bucket < BOUNDS.len() as u64).ok_or(NoSketch)?;
            if count == 0 || (nth > 0 && distance == 0) {
                return Err(NoSketch);
            }
            added = added.checked_add(count).ok_or(NoSketch)?;
            at = self.add(at, u16::try_from(bucket).map_err(|_| NoSketch)?, count);
        }
        if !rest.is_empty() {
            return Err(NoSketch);
        }
        self.zero += zero;
        self.count += added;
        self.sum_us += sum_us;
        Ok(())
    }
}

fn bucket_of(duration_us: u64) -> u16 {
    let at = BOUNDS.partition_point(|bound| bound.high < duration_us);
    // There are some 1,150 bounds, and durations are clamped below the last.
    u16::try_from(at).unwrap_or(u16::MAX)
}

fn push(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            bytes.push(low & 0x7f);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn take(rest: &mut &[u8]) -> Result<u64, NoSketch> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first().ok_or(NoSketch)?;
        *rest = after;
        let digit = u64::from(byte & 0x7f);
        if shift == 63 && digit > 1 {
            return Err(NoSketch);
        }
        number |= digit << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(NoSketch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition: the sample of rank ⌈q·n⌉.
    fn exact(samples: &[u64], permille: u64) -> u64 {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable();
        let rank = (permille * samples.len() as u64).div_ceil(1_000).max(1);
        sorted[usize::try_from(rank - 1).unwrap()]
    }

    fn within_one_percent(found: u64, exact: u64) -> bool {
        found.abs_diff(exact) * 100 <= exact
    }

    fn sketch_of(samples: &[u64]) -> Sketch {
        let mut sketch = Sketch::new();
        for &sample in samples {
            sketch.record(sample);
        }
        sketch
    }

    fn duration() -> impl Strategy<Value = u64> {
        prop_oneof![0..200_u64, 0..1_000_000_u64, 0..=MAX_US]
    }

    #[test]
    fn every_bound_keeps_the_promise() {
        let mut low = 1;
        for bound in BOUNDS.iter() {
            assert!(within_one_percent(bound.value, low), "low end {low}");
            assert!(within_one_percent(bound.value, bound.high.min(MAX_US)), "high end {}", bound.high);
            low = bound.high + 1;
        }
        assert!(low > MAX_US && BOUNDS.len() < 1_300, "{} buckets", BOUNDS.len());
    }

    #[test]
    fn longer_than_an_hour_counts_as_an_hour() {
        let sketch = sketch_of(&[u64::MAX]);
        assert_eq!(sketch.sum_us(), MAX_US);
        assert!(within_one_percent(sketch.quantile(1.0).unwrap(), MAX_US));
    }

    #[test]
    fn nothing_recorded_has_no_quantile() {
        assert_eq!(Sketch::new().quantile(0.5), None);
    }

    #[test]
    fn twenty_samples_have_their_p95_at_the_nineteenth() {
        let sketch = sketch_of(&(1..=20).collect::<Vec<_>>());
        assert_eq!(sketch.quantile(0.95), Some(19));
        assert_eq!(sketch.quantile(0.5), Some(10));
        assert_eq!(sketch.quantile(0.0), Some(1));
    }

    #[test]
    fn bytes_that_nobody_wrote_are_refused() {
        for bytes in [&[][..], &[2], &[1, 0, 0, 1], &[1, 0, 0, 1, 5, 0], &[1, 0, 0, 0, 9], &[1, 0xff, 0xff], &[1, 0, 0, 1, 0xff, 0x7f, 1]] {
            assert_eq!(Sketch::from_bytes(bytes), Err(NoSketch), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn a_quantile_is_the_sample_of_its_rank_within_one_percent(samples in prop::collection::vec(duration(), 1..300), permille in 0..=1_000_u64) {
            let found = sketch_of(&samples).quantile(f64::from(u32::try_from(permille).unwrap()) / 1_000.0).unwrap();
            let exact = exact(&samples, permille);
            prop_assert!(within_one_percent(found, exact), "{} for {}", found, exact);
        }

        #[test]
        fn merged_is_as_if_recorded_together(a in prop::collection::vec(duration(), 0..100), b in prop::collection::vec(duration(), 0..100)) {
            let mut merged = sketch_of(&a);
            merged.merge(&sketch_of(&b));
            prop_assert_eq!(merged.sum_us(), a.iter().chain(&b).sum::<u64>());
            let mut read = sketch_of(&a);
            read.merge_bytes(&sketch_of(&b).to_bytes()).unwrap();
            prop_assert_eq!(&read, &merged);
            prop_assert_eq!(merged, sketch_of(&[a, b].concat()));
        }

        #[test]
        fn the_stored_form_reads_back(samples in prop::collection::vec(duration(), 0..200)) {
            let sketch = sketch_of(&samples);
            prop_assert_eq!(Sketch::sum_us_of(&sketch.to_bytes()), Ok(sketch.sum_us()));
            prop_assert_eq!(Sketch::from_bytes(&sketch.to_bytes()), Ok(sketch));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Sketch::from_bytes(&bytes);
        }

        #[test]
        fn it_agrees_with_the_reference_crate(samples in prop::collection::vec(1..=MAX_US, 50..400)) {
            let ours = sketch_of(&samples);
            let mut theirs = sketches_ddsketch::DDSketch::new(sketches_ddsketch::Config::new(0.01, 4_096, 1.0));
            for &sample in &samples {
                theirs.add(crate::domain::metric::as_f64(sample));
            }
            for permille in [500, 950, 990] {
                // Theirs counts ranks as ⌊q·(n−1)⌋+1, so it is asked for the rank that is meant.
                let rank = (permille * samples.len() as u64).div_ceil(1_000) - 1;
                let q = (crate::domain::metric::as_f64(rank) + 0.5) / crate::domain::metric::as_f64(samples.len() as u64 - 1);
                let expected = theirs.quantile(q.min(1.0)).unwrap().unwrap();
                let found = crate::domain::metric::as_f64(ours.quantile(crate::domain::metric::as_f64(permille) / 1_000.0).unwrap());
                prop_assert!((found - expected).abs() <= 0.0203 * expected, "{} and {}", found, expected);
            }
        }
    }
}
