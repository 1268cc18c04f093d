//! Which mode is the gentlest that will do: from what rebuilding would cost in each, against what the source is known to take.

use super::{Mode, Window};

/// What is known when a mode is advised.
#[derive(Clone, Copy, Debug)]
pub struct AdviceFacts {
    /// Keys in scope.
    pub keys: u64,
    /// Reads a second of the prefixes touched, lately; None: not measured.
    pub reads_per_s: Option<f64>,
    /// Most rebuilds a second that the source has served within a day; None: none were seen.
    pub source_takes_per_s: Option<f64>,
    /// The scope is a prefix with a generation key.
    pub has_generation: bool,
    /// Redis can bring expiries forward.
    pub can_expire: bool,
}

/// What is advised, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    pub mode: Mode,
    /// One sentence for people.
    pub reason: String,
}

/// So few keys are rebuilt in a moment, whatever else is unknown.
const FEW: u64 = 1_000;
/// A soft flush is advised with a window in which it takes no more than this share of what the source takes.
const SHARE: f64 = 0.5;

/// Rebuilds a second that a mode causes at first: right after a removal or a new generation each read misses; keys that expire over a window
/// miss one by one. None: reads are not measured, so nobody knows.
#[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
pub fn load_per_s(mode: Mode, keys: u64, reads_per_s: Option<f64>) -> Option<f64> {
    let reads = reads_per_s?;
    Some(match mode {
        Mode::Flush | Mode::Version => reads,
        Mode::Soft(window) => reads.min(keys as f64 / f64::from(window.seconds())),
    })
}

/// The window in which a soft flush of so many keys stays within its share of what the source takes.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a window's limits")]
fn window_for(keys: u64, source_takes_per_s: Option<f64>) -> Window {
    let seconds = source_takes_per_s.filter(|takes| *takes > 0.0).map_or(f64::from(Window::USUAL), |takes| keys as f64 / (takes * SHARE));
    let seconds = seconds.ceil().clamp(f64::from(Window::LEAST), f64::from(Window::MOST)) as u32;
    Window::new(seconds).unwrap_or_default()
}

/// The gentlest mode that will do.
pub fn advise(facts: &AdviceFacts) -> Advice {
    let at_once = load_per_s(Mode::Flush, facts.keys, facts.reads_per_s);
    let too_much = match (at_once, facts.source_takes_per_s) {
        (Some(load), Some(takes)) => Some(load > takes),
        _ => None,
    };
    let (mode, reason) = match too_much {
        Some(false) if facts.has_generation => {
            (Mode::Version, "The source takes the rebuilds, and a new generation removes nothing: old keys expire by themselves.")
        }
        Some(false) => (Mode::Flush, "The source has served as many rebuilds within the last day as all of today's reads would cause."),
        Some(true) if facts.can_expire => (
            Mode::Soft(window_for(facts.keys, facts.source_takes_per_s)),
            "At once it would be more rebuilds than the source has served within the last day; spread out it is not.",
        ),
        Some(true) => (
            Mode::Flush,
            "It is more rebuilds than the source has served within the last day, and this Redis cannot spread them: choose a narrower scope if you can.",
        ),
        None if facts.keys <= FEW => (Mode::Flush, "They are few keys."),
        None if facts.can_expire => {
            (Mode::Soft(window_for(facts.keys, facts.source_takes_per_s)), "Nobody knows what the source takes, so spread the rebuilds.")
        }
        None => (Mode::Flush, "Nobody knows what the source takes, and this Redis cannot spread the rebuilds."),
    };
    Advice { mode, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: AdviceFacts =
        AdviceFacts { keys: 30_000, reads_per_s: Some(40.0), source_takes_per_s: Some(100.0), has_generation: false, can_expire: true };

    fn advised(facts: &AdviceFacts) -> String {
        advise(facts).mode.to_string()
    }

    #[test]
    fn what_the_source_takes_is_done_at_once() {
        assert_eq!(advised(&CALM), "flush");
        assert_eq!(advised(&AdviceFacts { has_generation: true, ..CALM }), "version");
    }

    #[test]
    fn what_is_too_much_at_once_is_spread_to_half_of_what_the_source_takes() {
        let busy = AdviceFacts { reads_per_s: Some(400.0), ..CALM };
        assert_eq!(advised(&busy), "soft within 600 s");
        let Mode::Soft(window) = advise(&busy).mode else { panic!("a soft flush") };
        assert_eq!(load_per_s(Mode::Soft(window), busy.keys, busy.reads_per_s), Some(50.0));
        assert_eq!(advised(&AdviceFacts { keys: 20, ..busy }), "soft within 10 s");
        assert_eq!(advised(&AdviceFacts { keys: u64::MAX, ..busy }), "soft within 86400 s");
        assert_eq!(advised(&AdviceFacts { can_expire: false, ..busy }), "flush");
    }

    #[test]
    fn where_nothing_is_known_only_few_keys_go_at_once() {
        let unknown = AdviceFacts { reads_per_s: None, source_takes_per_s: None, ..CALM };
        assert_eq!(advised(&unknown), "soft within 600 s");
        assert_eq!(advised(&AdviceFacts { keys: 1_000, ..unknown }), "flush");
        assert_eq!(load_per_s(Mode::Flush, 9, None), None);
    }
}
