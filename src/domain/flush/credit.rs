//! Write-ahead credit: how many keys may be sent ahead of the record.
//!
//! Each committed progress row says how many keys were dealt with (`base`) and how many more may be sent after it (`granted`). A row that
//! is being written may or may not have been committed already, so what is sent keeps to *both* the last committed row and the one in
//! flight. Hence, whatever dies when: removed in the last committed row ≤ truth ≤ that + its `granted`.

use std::collections::VecDeque;
use std::time::Duration;

/// What the `starting` row grants.
pub const GRANT_FIRST: u64 = 10_000;
pub const GRANT_MIN: u64 = 10_000;
pub const GRANT_MAX: u64 = 200_000;
/// A row is begun at the latest after this long …
const ROW_AFTER: Duration = Duration::from_secs(1);
/// … and never sooner than this after the one before: 20 a second.
const ROW_NOT_BEFORE: Duration = Duration::from_millis(50);
/// The stretch over which the speed is measured.
const SPEED_OVER: Duration = Duration::from_millis(200);

/// What the `starting` row grants to a run that may send no more than `most` keys.
pub fn first_grant(most: u64) -> u64 {
    GRANT_FIRST.min(most)
}

/// One row's promise: no more than `granted` keys are sent after the first `base`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    pub base: u64,
    pub granted: u64,
}

impl Grant {
    fn limit(self) -> u64 {
        self.base + self.granted
    }
}

/// The ledger of one run. Times are since the run's begin.
#[derive(Debug)]
pub struct Credit {
    committed: Grant,
    in_flight: Option<Grant>,
    begun_at: Duration,
    sent: u64,
    answered: u64,
    /// (when, keys answered then), over the last [`SPEED_OVER`].
    recent: VecDeque<(Duration, u64)>,
    /// The record could not be written: nothing more goes.
    broken: bool,
}

impl Default for Credit {
    fn default() -> Self {
        Self {
            committed: Grant { base: 0, granted: GRANT_FIRST },
            in_flight: None,
            begun_at: Duration::ZERO,
            sent: 0,
            answered: 0,
            recent: VecDeque::new(),
            broken: false,
        }
    }
}

impl Credit {
    /// How many more keys may be sent now.
    pub fn allowance(&self) -> u64 {
        if self.broken {
            return 0;
        }
        let limit = self.in_flight.map_or(u64::MAX, Grant::limit).min(self.committed.limit());
        limit.saturating_sub(self.sent)
    }

    /// `keys` are about to be sent; must be within the [`allowance`](Self::allowance).
    pub fn send(&mut self, keys: u64) {
        debug_assert!(keys <= self.allowance());
        self.sent += keys;
    }

    /// `keys` of those sent have been answered for.
    pub fn answer(&mut self, keys: u64, now: Duration) {
        self.answered += keys;
        self.recent.push_back((now, keys));
        while self.recent.front().is_some_and(|(at, _)| *at + SPEED_OVER < now) {
            self.recent.pop_front();
        }
    }

    /// Whether the next row should be begun now.
    pub fn row_is_due(&self, now: Duration) -> bool {
        if self.in_flight.is_some() {
            return false;
        }
        let since = now.saturating_sub(self.begun_at);
        let half_used = self.sent.saturating_sub(self.committed.base) * 2 >= self.committed.granted;
        since >= ROW_AFTER || (since >= ROW_NOT_BEFORE && half_used)
    }

    /// How long until a row may be due, for whoever waits.
    pub fn next_look(&self, now: Duration) -> Duration {
        (self.begun_at + ROW_NOT_BEFORE).saturating_sub(now).max(Duration::from_millis(5))
    }

    /// Begins a row: what it must say. Everything sent and not yet answered counts against it.
    pub fn begin_row(&mut self, now: Duration) -> Grant {
        let lately: u64 = self.recent.iter().filter(|(at, _)| *at + SPEED_OVER >= now).map(|(_, keys)| keys).sum();
        let granted = (2 * lately).clamp(GRANT_MIN, GRANT_MAX).max(self.open());
        let grant = Grant { base: self.answered, granted };
        self.in_flight = Some(grant);
        self.begun_at = now;
        grant
    }

    /// The row in flight is committed.
    pub fn commit_row(&mut self) {
        if let Some(grant) = self.in_flight.take() {
            self.committed = grant;
        }
        self.broken = false;
    }

    /// The row in flight could not be written, or nobody knows. It keeps counting (it may have been committed after all), and nothing
    /// more is sent until one is.
    pub fn fail_row(&mut self) {
        self.broken = true;
    }

    /// The row that was tried last, to be tried again as it was.
    pub fn retry_row(&self) -> Option<Grant> {
        self.in_flight
    }

    pub fn is_broken(&self) -> bool {
        self.broken
    }

    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Keys sent and not answered for: what became of them is not known, or not yet.
    pub fn open(&self) -> u64 {
        self.sent - self.answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn nothing_is_sent_beyond_the_first_grant_before_a_row_is_committed() {
        let mut credit = Credit::default();
        credit.send(credit.allowance());
        assert_eq!((credit.sent(), credit.allowance()), (GRANT_FIRST, 0));
        credit.answer(GRANT_FIRST, MS * 60);
        assert_eq!(credit.allowance(), 0, "an answer is not a record");
        assert!(credit.row_is_due(MS * 60));
        credit.begin_row(MS * 60);
        assert_eq!(credit.allowance(), 0);
        credit.commit_row();
        assert_eq!(credit.allowance(), 2 * GRANT_FIRST);
    }

    #[test]
    fn a_record_that_cannot_be_written_stops_the_sending() {
        let mut credit = Credit::default();
        credit.send(10);
        credit.begin_row(MS * 1000);
        credit.fail_row();
        assert_eq!(credit.allowance(), 0);
        assert!(credit.retry_row().is_some());
        credit.commit_row();
        assert!(credit.allowance() > 0);
    }

    #[test]
    fn at_most_twenty_rows_a_second() {
        let mut credit = Credit::default();
        credit.send(GRANT_FIRST);
        assert!(!credit.row_is_due(MS * 49));
        assert!(credit.row_is_due(MS * 50));
        credit.begin_row(MS * 50);
        assert!(!credit.row_is_due(MS * 5000), "one at a time");
    }

    proptest! {
        /// Random sends, answers, rows begun, committed, failed: whichever of the last two rows is the one a crash finds, the bound holds.
        #[test]
        fn whatever_dies_when_the_bound_holds(steps in proptest::collection::vec((0_u8..5, 1_u64..30_000, 1_u32..400), 1..300)) {
            let mut credit = Credit::default();
            let mut now = Duration::ZERO;
            for (what, keys, ms) in steps {
                now += MS * ms;
                match what {
                    0 | 1 => credit.send(keys.min(credit.allowance())),
                    2 => credit.answer(keys.min(credit.sent - credit.answered), now),
                    3 if credit.row_is_due(now) => { credit.begin_row(now); }
                    4 if keys % 4 == 0 => credit.fail_row(),
                    _ => credit.commit_row(),
                }
                for row in [Some(credit.committed), credit.in_flight].into_iter().flatten() {
                    prop_assert!(row.base <= credit.answered);
                    prop_assert!(credit.sent <= row.limit());
                }
            }
        }
    }
}
