//! Whether a flush helped: about staleness only, from stale-read samples of its scope before and after.

/// Fewer samples than this after the end prove nothing good.
const ENOUGH: u64 = 30;

/// What is said afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Recovered,
    NotRecovered,
    Worse,
    TooLittleData,
}

impl Verdict {
    pub const ALL: [Self; 4] = [Self::Recovered, Self::NotRecovered, Self::Worse, Self::TooLittleData];

    /// As stored and in `data-verdict`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::NotRecovered => "not_recovered",
            Self::Worse => "worse",
            Self::TooLittleData => "too_little_data",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.as_str() == text)
    }
}

/// The verdict on `before` and `after`, each the 95 % interval (low, high) of the stale-read rate where there are samples; `after_n` is the
/// number of samples after the end; `threshold` is the prefix's limit of that rate, where it has one.
///
/// `worse` needs no least number: an interval that lies wholly above the other has enough samples in it.
pub fn verdict(before: Option<(f64, f64)>, after: Option<(f64, f64)>, after_n: u64, threshold: Option<f64>) -> Verdict {
    let Some((after_low, after_high)) = after else { return Verdict::TooLittleData };
    let enough = after_n >= ENOUGH;
    let below_limit = threshold.is_some_and(|limit| after_high <= limit);
    let below_before = before.is_some_and(|(low, _)| after_high < low);
    if enough && (below_limit || below_before) {
        Verdict::Recovered
    } else if before.is_some_and(|(_, high)| after_low > high) {
        Verdict::Worse
    } else if enough && threshold.is_some_and(|limit| after_low > limit) {
        Verdict::NotRecovered
    } else {
        Verdict::TooLittleData
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_fell_or_is_under_its_limit_has_recovered() {
        assert_eq!(verdict(Some((0.2, 0.4)), Some((0.0, 0.1)), 40, None), Verdict::Recovered);
        assert_eq!(verdict(None, Some((0.0, 0.01)), 400, Some(0.01)), Verdict::Recovered);
    }

    #[test]
    fn few_samples_are_never_a_recovery() {
        assert_eq!(verdict(Some((0.2, 0.4)), Some((0.0, 0.1)), 29, Some(0.5)), Verdict::TooLittleData);
        assert_eq!(verdict(Some((0.2, 0.4)), None, 0, Some(0.5)), Verdict::TooLittleData);
    }

    #[test]
    fn a_rate_still_over_its_limit_has_not_recovered() {
        assert_eq!(verdict(Some((0.2, 0.4)), Some((0.2, 0.4)), 100, Some(0.01)), Verdict::NotRecovered);
    }

    #[test]
    fn a_rate_above_all_it_was_is_worse() {
        assert_eq!(verdict(Some((0.1, 0.2)), Some((0.3, 0.5)), 100, Some(0.01)), Verdict::Worse);
    }

    #[test]
    fn an_undecided_rate_is_too_little_data() {
        assert_eq!(verdict(Some((0.0, 0.4)), Some((0.0, 0.05)), 40, Some(0.01)), Verdict::TooLittleData);
    }
}
