//! What makes a flush wide, how many keys it may take at most, and when a recount is too far from the plan.

use super::Mode;

/// Over this many keys a flush is wide, whatever `max_keys` says.
const WIDE_KEYS: u64 = 10_000;
/// Shares and critical prefixes count only from this many keys on.
const WIDE_FLOOR: u64 = 1_000;
/// A drift of this many keys is never a reason to ask again.
const DRIFT_FLOOR: u64 = 100;

/// What is asked about a plan.
#[derive(Clone, Copy, Debug)]
pub struct WideFacts {
    /// Keys in scope.
    pub keys: u64,
    /// The scan did not end in time: there are at least `keys`.
    pub at_least: bool,
    /// Keys in the database.
    pub keyspace: u64,
    /// The target's `max_keys`.
    pub max_keys: u64,
    /// A prefix of tier `critical` is touched.
    pub critical: bool,
    /// The scope is a literal of one segment, such as `user:`.
    pub one_segment: bool,
}

/// Why a flush is wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WideReason {
    OverMaxKeys,
    ManyKeys,
    LargeShare,
    Critical,
    OneSegment,
    Unfinished,
}

impl WideReason {
    pub const ALL: [Self; 6] = [Self::OverMaxKeys, Self::ManyKeys, Self::LargeShare, Self::Critical, Self::OneSegment, Self::Unfinished];

    /// As stored and audited.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OverMaxKeys => "over_max_keys",
            Self::ManyKeys => "many_keys",
            Self::LargeShare => "large_share",
            Self::Critical => "critical_prefix",
            Self::OneSegment => "one_segment",
            Self::Unfinished => "unfinished_count",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }

    /// For people.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::OverMaxKeys => "more keys than max_keys of this target",
            Self::ManyKeys => "more than 10,000 keys",
            Self::LargeShare => "more than 5 % of the keyspace",
            Self::Critical => "a critical prefix with more than 1,000 keys",
            Self::OneSegment => "a literal of one segment",
            Self::Unfinished => "the scan could not count all keys in its time",
        }
    }
}

/// Every reason that holds; none: the flush is narrow.
pub fn wide_reasons(facts: &WideFacts) -> Vec<WideReason> {
    let large = facts.keys > WIDE_FLOOR;
    [
        (facts.keys > facts.max_keys, WideReason::OverMaxKeys),
        (facts.keys > WIDE_KEYS, WideReason::ManyKeys),
        (large && u128::from(facts.keys) * 20 > u128::from(facts.keyspace), WideReason::LargeShare),
        (large && facts.critical, WideReason::Critical),
        (facts.one_segment, WideReason::OneSegment),
        (facts.at_least, WideReason::Unfinished),
    ]
    .into_iter()
    .filter_map(|(holds, reason)| holds.then_some(reason))
    .collect()
}

/// The most keys a flush may send: one where a generation is raised; else a wide one 1.2 × its plan, a narrow one the target's `max_keys`.
pub fn cap(mode: Mode, planned: u64, wide: bool, max_keys: u64) -> u64 {
    if mode == Mode::Version {
        1
    } else if wide {
        (planned + planned.div_ceil(5)).max(planned + DRIFT_FLOOR)
    } else {
        max_keys.max(planned + DRIFT_FLOOR)
    }
}

/// Whether a recount is so far above the plan that the person must confirm again. Fewer keys never are.
pub fn drifted(planned: u64, recounted: u64) -> bool {
    recounted > planned + planned.div_ceil(5).max(DRIFT_FLOOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NARROW: WideFacts =
        WideFacts { keys: 900, at_least: false, keyspace: 1_000_000, max_keys: 1_000_000, critical: false, one_segment: false };

    #[test]
    fn a_small_share_of_a_large_keyspace_is_narrow() {
        assert_eq!(wide_reasons(&NARROW), []);
        assert_eq!(wide_reasons(&WideFacts { keys: 10_000, ..NARROW }), []);
    }

    #[test]
    fn each_reason_alone_makes_it_wide() {
        assert_eq!(wide_reasons(&WideFacts { keys: 10_001, ..NARROW }), [WideReason::ManyKeys]);
        assert_eq!(wide_reasons(&WideFacts { keys: 600, max_keys: 500, ..NARROW }), [WideReason::OverMaxKeys]);
        assert_eq!(wide_reasons(&WideFacts { keys: 1_001, keyspace: 20_000, ..NARROW }), [WideReason::LargeShare]);
        assert_eq!(wide_reasons(&WideFacts { keys: 1_001, critical: true, ..NARROW }), [WideReason::Critical]);
        assert_eq!(wide_reasons(&WideFacts { one_segment: true, ..NARROW }), [WideReason::OneSegment]);
        assert_eq!(wide_reasons(&WideFacts { at_least: true, ..NARROW }), [WideReason::Unfinished]);
    }

    #[test]
    fn a_share_or_a_critical_prefix_counts_from_a_thousand_keys_on() {
        assert_eq!(wide_reasons(&WideFacts { keys: 1_000, keyspace: 1_000, critical: true, ..NARROW }), []);
    }

    #[test]
    fn fewer_keys_never_block_and_many_more_do() {
        assert!(!drifted(1_000, 0));
        assert!(!drifted(1_000, 1_200));
        assert!(drifted(1_000, 1_201));
        assert!(!drifted(3, 103));
        assert!(drifted(3, 104));
    }

    #[test]
    fn a_wide_flush_carries_its_own_cap() {
        assert_eq!(cap(Mode::Flush, 50_000, true, 10), 60_000);
        assert_eq!(cap(Mode::Flush, 10, true, 10), 110);
        assert_eq!(cap(Mode::Flush, 10, false, 1_000), 1_000);
        assert_eq!(cap(Mode::Version, 50_000, true, 10), 1);
    }
}
