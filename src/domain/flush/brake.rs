//! When production suffers a flush slows down, and then stops by itself. What a bystander feels is measured; whatever is over its limit halves
//! the pace, and what stays over for some seconds ends the flush. Times are since the beginning of the run.

use std::collections::VecDeque;
use std::time::Duration;

/// A bystander's PING is due every …
pub const PING_EVERY: Duration = Duration::from_millis(20);
/// What it felt is looked at over the last …
pub const FELT_OVER: Duration = Duration::from_secs(2);
/// So many times what it felt before is too much.
const TIMES_BEFORE: u32 = 5;
/// While something stays over, the pace is halved again after this long …
const HALVE_AGAIN: Duration = Duration::from_secs(1);
/// … so often at most: a sixteenth of the time.
const HALVED_MOST: u32 = 4;
/// Where nothing is over any more, one halving is taken back after this long.
const RELEASE_AFTER: Duration = Duration::from_secs(2);

/// Limits of a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BrakeLimits {
    /// What a bystander may feel at p99, however little it felt before.
    pub bystander: Duration,
    /// The share of rebuilds that may fail or time out.
    pub rebuild_failures: f64,
    /// How long something may stay over before the flush ends.
    pub stop_after: Duration,
}

impl Default for BrakeLimits {
    fn default() -> Self {
        Self { bystander: Duration::from_millis(5), rebuild_failures: 0.05, stop_after: Duration::from_secs(5) }
    }
}

impl BrakeLimits {
    /// What a bystander may feel that felt `before` in the median.
    pub fn of_bystander(&self, before: Option<Duration>) -> Duration {
        self.bystander.max(before.unwrap_or_default() * TIMES_BEFORE)
    }
}

/// The value of rank ⌈q·n⌉ of these; None of none. Sorts them.
pub fn felt_at(felt: &mut [Duration], hundredths: usize) -> Option<Duration> {
    felt.sort_unstable();
    let rank = (felt.len() * hundredths).div_ceil(100).max(1);
    felt.get(rank - 1).copied()
}

/// What one bystander feels.
#[derive(Clone, Debug, Default)]
pub struct Felt {
    /// (when a PING was due, how long its answer took from then on), of the last seconds.
    recent: VecDeque<(Duration, Duration)>,
    /// A PING that is not answered yet, by when it was due.
    pending: Option<Duration>,
}

impl Felt {
    /// A PING that was due at `due` is on its way.
    pub fn sent(&mut self, due: Duration) {
        self.pending = Some(due);
    }

    /// It is answered. Those that were due meanwhile and could not be sent would have been answered now too, so a stall of T shows as T.
    pub fn answered(&mut self, now: Duration) {
        let Some(due) = self.pending.take() else { return };
        self.recent.extend(stalled(due, now));
        while self.recent.front().is_some_and(|(due, _)| *due + FELT_OVER * 3 < now) {
            self.recent.pop_front();
        }
    }

    /// All that was felt in the `over` before `now`, what is still waited for included.
    pub fn lately(&self, now: Duration, over: Duration) -> Vec<Duration> {
        let waiting = self.pending.into_iter().flat_map(|due| stalled(due, now).skip(usize::from(now < due + PING_EVERY)));
        self.recent.iter().copied().chain(waiting).filter(|(due, _)| *due + over >= now).map(|(_, felt)| felt).collect()
    }
}

/// The PINGs due from `due` to `now`, with what each has waited by then.
fn stalled(due: Duration, now: Duration) -> impl Iterator<Item = (Duration, Duration)> {
    let late = now.saturating_sub(due).as_millis() / PING_EVERY.as_millis();
    let count = u32::try_from(late).unwrap_or(u32::MAX).min(500);
    (0..=count).map(move |i| {
        let due = due + PING_EVERY * i;
        (due, now.saturating_sub(due))
    })
}

/// What to do after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Braked {
    /// Go on, with the pace halved so many times.
    Halved(u32),
    /// Something was over for too long.
    Stop,
}

/// The brake's own state.
#[derive(Clone, Copy, Debug, Default)]
pub struct Brake {
    halved: u32,
    changed_at: Duration,
    over_since: Option<Duration>,
}

impl Brake {
    /// Called several times a second: `over` says whether anything is over its limit.
    pub fn look(&mut self, now: Duration, over: bool, limits: &BrakeLimits) -> Braked {
        let since_change = now.saturating_sub(self.changed_at);
        if over {
            let began = *self.over_since.get_or_insert(now);
            if now.saturating_sub(began) >= limits.stop_after {
                return Braked::Stop;
            }
            if self.halved < HALVED_MOST && (began == now || since_change >= HALVE_AGAIN) {
                self.halved += 1;
                self.changed_at = now;
            }
        } else {
            self.over_since = None;
            if self.halved > 0 && since_change >= RELEASE_AFTER {
                self.halved -= 1;
                self.changed_at = now;
            }
        }
        Braked::Halved(self.halved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const S: Duration = Duration::from_secs(1);

    #[test]
    fn the_limit_is_five_times_before_and_never_below_the_targets_own() {
        let limits = BrakeLimits::default();
        assert_eq!(limits.of_bystander(None), MS * 5);
        assert_eq!(limits.of_bystander(Some(MS / 2)), MS * 5);
        assert_eq!(limits.of_bystander(Some(MS * 3)), MS * 15);
    }

    #[test]
    fn quantiles_are_values_that_were_felt() {
        let mut felt: Vec<Duration> = (1..=100).map(|ms| MS * ms).collect();
        assert_eq!((felt_at(&mut felt, 99), felt_at(&mut felt, 50)), (Some(MS * 99), Some(MS * 50)));
        assert_eq!((felt_at(&mut [MS], 99), felt_at(&mut [], 99)), (Some(MS), None));
    }

    #[test]
    fn a_stall_shows_as_long_as_it_is_while_it_lasts_and_after() {
        let mut felt = Felt::default();
        for i in 0..50 {
            felt.sent(PING_EVERY * i);
            felt.answered(PING_EVERY * i + MS);
        }
        assert_eq!(felt_at(&mut felt.lately(S, FELT_OVER), 99), Some(MS));
        felt.sent(S);
        let mut lately = felt.lately(S + MS * 400, FELT_OVER);
        assert_eq!((lately.len(), felt_at(&mut lately, 99)), (71, Some(MS * 400)), "silence is latency");
        felt.answered(S + MS * 400);
        let mut lately = felt.lately(S + MS * 410, FELT_OVER);
        assert_eq!((lately.len(), felt_at(&mut lately, 99)), (71, Some(MS * 400)));
        assert_eq!(felt.lately(S * 4, FELT_OVER).len(), 0, "and is over some time");
    }

    #[test]
    fn a_ping_that_is_not_late_says_nothing_yet() {
        let mut felt = Felt::default();
        felt.sent(S);
        assert_eq!(felt.lately(S + MS * 3, FELT_OVER), []);
    }

    fn looks(brake: &mut Brake, from: Duration, to: Duration, over: bool) -> Braked {
        let mut now = from;
        let mut last = Braked::Halved(0);
        while now < to && last != Braked::Stop {
            last = brake.look(now, over, &BrakeLimits::default());
            now += MS * 100;
        }
        last
    }

    #[test]
    fn what_is_over_halves_the_pace_at_once_and_stops_after_five_seconds() {
        let mut brake = Brake::default();
        assert_eq!(looks(&mut brake, S, S * 2, false), Braked::Halved(0));
        assert_eq!(brake.look(S * 2, true, &BrakeLimits::default()), Braked::Halved(1));
        assert_eq!(looks(&mut brake, S * 2, S * 5 + MS * 50, true), Braked::Halved(4));
        assert_eq!(looks(&mut brake, S * 5, S * 7, true), Braked::Halved(4), "a sixteenth at least");
        assert_eq!(looks(&mut brake, S * 7, S * 8, true), Braked::Stop);
    }

    #[test]
    fn what_is_over_now_and_then_slows_down_and_does_not_stop() {
        let mut brake = Brake::default();
        for round in 0..20 {
            let begin = S * 6 * round;
            assert_ne!(looks(&mut brake, begin, begin + S * 4, true), Braked::Stop);
            looks(&mut brake, begin + S * 4, begin + S * 6, false);
        }
        assert_eq!(looks(&mut brake, S * 130, S * 140, false), Braked::Halved(0), "the pace comes back");
    }
}
