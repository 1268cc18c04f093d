//! Figures and what they weigh: rates with their Wilson interval, and the buckets of stale-read samples by delay after the write.

/// The 97.5 % point of the normal distribution: two sides of it hold 95 %.
pub const Z: f64 = 1.959_963_984_540_054;
/// Its square, the 3.84 of "about 3.84 ÷ threshold samples".
pub const Z_SQUARED: f64 = Z * Z;

/// Both ends of a 95 % interval of a share, 0…1.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// The 95 % Wilson score interval of `k` out of `n` (E. B. Wilson, 1927); `None` where n = 0.
///
/// centre = (p + z²/2n) ÷ (1 + z²/n), half width = z ÷ (1 + z²/n) · √(p(1 − p)/n + z²/4n²)
pub fn wilson(k: u64, n: u64) -> Option<Interval> {
    if n == 0 {
        return None;
    }
    let k = k.min(n);
    let (samples, share) = (as_f64(n), as_f64(k) / as_f64(n));
    let scale = 1.0 + Z_SQUARED / samples;
    let centre = (share + Z_SQUARED / (2.0 * samples)) / scale;
    let half = Z / scale * (share * (1.0 - share) / samples + Z_SQUARED / (4.0 * samples * samples)).sqrt();
    // The ends are exactly 0 and 1 there; rounding would leave a trace.
    let low = if k == 0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if k == n { 1.0 } else { (centre + half).min(1.0) };
    Some(Interval { low, high })
}

/// `k` out of `n`. `n = 0` is "nothing known", never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    pub k: u64,
    pub n: u64,
}

impl Rate {
    pub fn new(k: u64, n: u64) -> Self {
        Self { k, n }
    }

    pub fn value(self) -> Option<f64> {
        (self.n > 0).then(|| as_f64(self.k) / as_f64(self.n))
    }

    pub fn interval(self) -> Option<Interval> {
        wilson(self.k, self.n)
    }
}

impl std::ops::Add for Rate {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { k: self.k + other.k, n: self.n + other.n }
    }
}

impl std::iter::Sum for Rate {
    fn sum<I: Iterator<Item = Self>>(rates: I) -> Self {
        rates.fold(Self::default(), |sum, rate| sum + rate)
    }
}

/// Rebuild-seconds per minute.
pub fn cost(sum_us: u64, seconds: i64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "spans are years at most")]
    (seconds > 0).then(|| as_f64(sum_us) / 1e6 / (seconds as f64 / 60.0))
}

/// A count as a number to reckon with.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub fn as_f64(count: u64) -> f64 {
    count as f64
}

/// How long after the write a stale-read sample was taken: the largest b of 0, 1, 10, 60, 300 s with delay ≥ 0.95 b. "Stale in bucket b" means
/// "still stale at least about b after the write".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bucket {
    B0,
    B1,
    B10,
    B60,
    B300,
    /// No delay was given.
    Unknown,
}

impl Bucket {
    /// In the order of the columns of a matrix.
    pub const ALL: [Bucket; 6] = [Bucket::B0, Bucket::B1, Bucket::B10, Bucket::B60, Bucket::B300, Bucket::Unknown];

    pub fn of_delay_ms(delay_ms: Option<u64>) -> Self {
        match delay_ms {
            None => Self::Unknown,
            Some(0..950) => Self::B0,
            Some(950..9_500) => Self::B1,
            Some(9_500..57_000) => Self::B10,
            Some(57_000..285_000) => Self::B60,
            Some(_) => Self::B300,
        }
    }

    /// The bucket's b, in seconds.
    pub fn seconds(self) -> Option<u32> {
        match self {
            Self::B0 => Some(0),
            Self::B1 => Some(1),
            Self::B10 => Some(10),
            Self::B60 => Some(60),
            Self::B300 => Some(300),
            Self::Unknown => None,
        }
    }

    /// The bucket whose b this is.
    pub fn of_seconds(seconds: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|bucket| bucket.seconds() == Some(seconds))
    }

    /// Its place in [`Bucket::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Whether samples of this bucket speak about "fresh within `other`": known delays at least as long.
    pub fn is_at_least(self, other: Self) -> bool {
        matches!((self.seconds(), other.seconds()), (Some(own), Some(other)) if own >= other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 5e-5
    }

    #[test]
    fn wilson_agrees_with_published_values() {
        // Newcombe 1998, table I, method 3.
        for (k, n, low, high) in [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)] {
            let found = wilson(k, n).unwrap();
            assert!(close(found.low, low) && close(found.high, high), "{k}/{n}: {found:?}");
        }
    }

    #[test]
    fn nothing_known_is_no_interval() {
        assert_eq!(wilson(0, 0), None);
        assert_eq!(Rate::default().value(), None);
    }

    #[test]
    fn the_ends_are_exact() {
        assert!(wilson(0, 50).is_some_and(|found| found.low <= 0.0));
        assert!(wilson(50, 50).is_some_and(|found| found.high >= 1.0));
    }

    #[test]
    fn a_bucket_begins_at_95_percent_of_its_delay() {
        for (delay_ms, bucket) in [
            (0, Bucket::B0),
            (949, Bucket::B0),
            (950, Bucket::B1),
            (9_499, Bucket::B1),
            (9_500, Bucket::B10),
            (56_999, Bucket::B10),
            (57_000, Bucket::B60),
            (284_999, Bucket::B60),
            (285_000, Bucket::B300),
            (86_400_000, Bucket::B300),
        ] {
            assert_eq!(Bucket::of_delay_ms(Some(delay_ms)), bucket, "{delay_ms}");
        }
        assert_eq!(Bucket::of_delay_ms(None), Bucket::Unknown);
    }

    #[test]
    fn an_unknown_delay_proves_nothing_about_any_bucket() {
        assert!(!Bucket::Unknown.is_at_least(Bucket::B0));
        assert!(Bucket::B60.is_at_least(Bucket::B10) && !Bucket::B1.is_at_least(Bucket::B10));
    }

    #[test]
    fn cost_is_rebuild_seconds_per_minute() {
        assert_eq!(cost(90_000_000, 60), Some(90.0));
        assert_eq!(cost(90_000_000, 0), None);
    }
}
