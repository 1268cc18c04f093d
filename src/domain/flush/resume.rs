//! Going on with a flush that was cut off: the same number, the same cap, counts that go on, and the cursor back at 0.

use super::{Mode, RESUME_WITHIN, State, Transition};
use chrono::{DateTime, Utc};

/// A flush that ended before its scope was done.
#[derive(Clone, Copy, Debug)]
pub struct CutOff {
    pub flush_id: i64,
    pub author_id: i64,
    pub mode: Mode,
    pub state: State,
    pub lease_epoch: i32,
    pub ended_at: Option<DateTime<Utc>>,
    /// The most keys that may go, over all runs.
    pub cap: u64,
    pub removed: u64,
    pub failed: u64,
    /// Keys sent whose fate nobody knows.
    pub unknown: u64,
}

/// How much of the cap earlier runs have taken: what is `known`, and of the `unknown` as many as are missing by now from what was `planned`,
/// where `undone` keys are still to be dealt with. Where nothing is written again, that is never less than the truth, so all runs together keep
/// to the cap.
pub fn taken(known: u64, unknown: u64, planned: u64, undone: u64) -> u64 {
    planned.saturating_sub(undone).clamp(known, known + unknown)
}

/// One that its author may go on with now.
#[derive(Clone, Copy, Debug)]
pub struct Resumption {
    flush_id: i64,
    lease_epoch: i32,
    step: Transition,
    cap: u64,
    carried: u64,
    left: u64,
}

/// Why it is not resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    #[error("this flush is not one that was cut off: there is nothing to resume")]
    NotCutOff,
    #[error("raising a generation is one step, of which nothing is left to go on with; plan it again")]
    OneStep,
    #[error("it ended too long ago: a flush may be resumed for 15 minutes; plan the same scope again")]
    TooLate,
    #[error("a flush is resumed by the person who started it; plan the same scope yourself")]
    NotTheAuthor,
    #[error("its cap is used up, and a resume does not raise it; plan the same scope again")]
    CapUsedUp,
}

impl ResumeError {
    /// The stable code (`data-error`).
    pub fn code(self) -> &'static str {
        match self {
            Self::NotCutOff => "not_resumable",
            Self::OneStep => "not_resumable",
            Self::TooLate => "resume_too_late",
            Self::NotTheAuthor => "not_the_author",
            Self::CapUsedUp => "cap_used_up",
        }
    }
}

impl CutOff {
    /// What of the cap is left at most: a key that was gone by itself was not taken, one that failed counts as taken. How many of those that
    /// nobody knows of are taken is seen when the scope is counted again ([`taken`]).
    pub fn left(&self) -> u64 {
        self.cap.saturating_sub(self.removed).saturating_sub(self.failed)
    }

    pub fn until(&self) -> Option<DateTime<Utc>> {
        self.ended_at.filter(|_| self.state.may_resume()).map(|ended| ended + RESUME_WITHIN)
    }

    pub fn resume(&self, by: i64, now: DateTime<Utc>) -> Result<Resumption, ResumeError> {
        let step = self.state.to(State::Starting).filter(|_| self.state.may_resume()).ok_or(ResumeError::NotCutOff)?;
        if self.mode == Mode::Version {
            return Err(ResumeError::OneStep);
        }
        if self.until().is_none_or(|until| now >= until) {
            return Err(ResumeError::TooLate);
        }
        if by != self.author_id {
            return Err(ResumeError::NotTheAuthor);
        }
        if self.left() == 0 {
            return Err(ResumeError::CapUsedUp);
        }
        Ok(Resumption {
            flush_id: self.flush_id,
            lease_epoch: self.lease_epoch,
            step,
            cap: self.cap,
            carried: self.unknown,
            left: self.left(),
        })
    }
}

impl Resumption {
    pub fn flush_id(&self) -> i64 {
        self.flush_id
    }

    /// The epoch under which it ended.
    pub fn lease_epoch(&self) -> i32 {
        self.lease_epoch
    }

    pub fn step(&self) -> Transition {
        self.step
    }

    pub fn cap(&self) -> u64 {
        self.cap
    }

    /// Keys of earlier runs that may have been removed beyond what is counted.
    pub fn carried(&self) -> u64 {
        self.carried
    }

    /// The most keys this run may send.
    pub fn left(&self) -> u64 {
        self.left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    fn at() -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000, 0).unwrap()
    }

    fn cut_off() -> CutOff {
        CutOff {
            flush_id: 7,
            author_id: 1,
            mode: Mode::Flush,
            state: State::Interrupted,
            lease_epoch: 3,
            ended_at: Some(at()),
            cap: 120_000,
            removed: 60_000,
            failed: 10,
            unknown: 20_000,
        }
    }

    #[test]
    fn raising_a_generation_is_not_gone_on_with() {
        assert_eq!(CutOff { mode: Mode::Version, ..cut_off() }.resume(1, at()).unwrap_err(), ResumeError::OneStep);
    }

    #[test]
    fn the_cap_holds_over_all_runs() {
        let resumption = cut_off().resume(1, at()).unwrap();
        assert_eq!((resumption.left(), resumption.carried(), resumption.cap()), (59_990, 20_000, 120_000));
        let full = CutOff { state: State::StoppedAtCap, removed: 120_000, failed: 0, unknown: 0, ..cut_off() };
        assert_eq!(full.resume(1, at()).unwrap_err(), ResumeError::CapUsedUp);
    }

    #[test]
    fn what_is_missing_from_the_plan_was_taken_as_far_as_nobody_knows() {
        // 100,000 were planned, 60,000 are known to be removed, up to 20,000 more may be
        for (counted, is) in [(40_000, 60_000), (33_000, 67_000), (20_000, 80_000), (0, 80_000), (90_000, 60_000), (200_000, 60_000)] {
            assert_eq!(taken(60_000, 20_000, 100_000, counted), is, "{counted}");
        }
    }

    #[test]
    fn only_what_was_cut_off_only_by_its_author_and_only_for_a_while() {
        for state in State::ALL {
            let outcome = CutOff { state, ..cut_off() }.resume(1, at()).map(|resumption| resumption.step().to());
            let may = matches!(state, State::AutoStopped | State::Interrupted | State::StoppedAtCap);
            assert_eq!(outcome, if may { Ok(State::Starting) } else { Err(ResumeError::NotCutOff) }, "{state}");
        }
        assert_eq!(cut_off().resume(2, at()).unwrap_err(), ResumeError::NotTheAuthor);
        assert!(cut_off().resume(1, at() + RESUME_WITHIN - TimeDelta::seconds(1)).is_ok());
        assert_eq!(cut_off().resume(1, at() + RESUME_WITHIN).unwrap_err(), ResumeError::TooLate);
    }
}
