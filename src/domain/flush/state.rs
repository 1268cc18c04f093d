//! The states of a flush and the steps between them. A step that is not listed here cannot be stored: the store takes a
//! [`Transition`], and only [`State::to`] makes one.

use serde::{Deserialize, Serialize};

/// Where a flush stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Planning,
    Planned,
    PlanFailed,
    Expired,
    AwaitingApproval,
    Approved,
    Rejected,
    Starting,
    Running,
    Paused,
    Verifying,
    Completed,
    CompletedWithResidue,
    StoppedAtCap,
    AutoStopped,
    Cancelled,
    Failed,
    Interrupted,
}

impl State {
    pub const ALL: [State; 18] = [
        State::Planning,
        State::Planned,
        State::PlanFailed,
        State::Expired,
        State::AwaitingApproval,
        State::Approved,
        State::Rejected,
        State::Starting,
        State::Running,
        State::Paused,
        State::Verifying,
        State::Completed,
        State::CompletedWithResidue,
        State::StoppedAtCap,
        State::AutoStopped,
        State::Cancelled,
        State::Failed,
        State::Interrupted,
    ];

    /// The name as stored, shown in `data-state` and written to the audit.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Planning => "planning",
            State::Planned => "planned",
            State::PlanFailed => "plan_failed",
            State::Expired => "expired",
            State::AwaitingApproval => "awaiting_approval",
            State::Approved => "approved",
            State::Rejected => "rejected",
            State::Starting => "starting",
            State::Running => "running",
            State::Paused => "paused",
            State::Verifying => "verifying",
            State::Completed => "completed",
            State::CompletedWithResidue => "completed_with_residue",
            State::StoppedAtCap => "stopped_at_cap",
            State::AutoStopped => "auto_stopped",
            State::Cancelled => "cancelled",
            State::Failed => "failed",
            State::Interrupted => "interrupted",
        }
    }

    pub fn parse(name: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Holds the target: at most one flush of a target is in one of these.
    pub fn is_active(self) -> bool {
        matches!(self, State::Starting | State::Running | State::Paused | State::Verifying)
    }

    /// Nothing more happens to it.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            State::PlanFailed
                | State::Expired
                | State::Rejected
                | State::Completed
                | State::CompletedWithResidue
                | State::Cancelled
                | State::Failed
        )
    }

    /// It was cut off: for a while a person may go on with it, and nobody else does.
    pub fn may_resume(self) -> bool {
        matches!(self, State::StoppedAtCap | State::AutoStopped | State::Interrupted)
    }

    /// Nothing more happens to it by itself.
    pub fn has_ended(self) -> bool {
        self.is_final() || self.may_resume()
    }

    /// It waits for a person: a second one to approve it, or its requester to start it.
    pub fn is_waiting(self) -> bool {
        matches!(self, State::AwaitingApproval | State::Approved)
    }

    /// Removing has begun in it or before it, so that counts and a verdict mean something.
    pub fn has_removed(self) -> bool {
        matches!(
            self,
            State::Completed
                | State::CompletedWithResidue
                | State::StoppedAtCap
                | State::AutoStopped
                | State::Cancelled
                | State::Failed
                | State::Interrupted
        )
    }

    /// The step from this state to `next`, if there is one.
    pub fn to(self, next: State) -> Option<Transition> {
        use State as S;
        let allowed: &[State] = match self {
            S::Planning => &[S::Planned, S::PlanFailed],
            S::Planned => &[S::Expired, S::AwaitingApproval, S::Starting],
            S::AwaitingApproval => &[S::Approved, S::Rejected, S::Expired, S::Cancelled],
            S::Approved => &[S::Starting, S::Expired, S::Cancelled],
            S::Starting => &[S::Running, S::Planned, S::Cancelled, S::Failed, S::Interrupted],
            S::Running => &[S::Paused, S::Verifying, S::StoppedAtCap, S::AutoStopped, S::Cancelled, S::Failed, S::Interrupted],
            S::Paused => &[S::Running, S::StoppedAtCap, S::AutoStopped, S::Cancelled, S::Failed, S::Interrupted],
            S::Verifying => &[S::Completed, S::CompletedWithResidue, S::Interrupted],
            S::StoppedAtCap | S::AutoStopped | S::Interrupted => &[S::Starting],
            S::PlanFailed | S::Expired | S::Rejected | S::Completed | S::CompletedWithResidue | S::Cancelled | S::Failed => &[],
        };
        allowed.contains(&next).then_some(Transition { from: self, to: next })
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.as_str())
    }
}

/// One allowed step; made by [`State::to`] only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    from: State,
    to: State,
}

impl Transition {
    /// A planning scan ended with a plan.
    pub const PLANNED: Self = Self { from: State::Planning, to: State::Planned };
    pub const PLAN_FAILED: Self = Self { from: State::Planning, to: State::PlanFailed };
    /// A wide flush is confirmed, and waits for a second person.
    pub const AWAITING: Self = Self { from: State::Planned, to: State::AwaitingApproval };
    pub const APPROVED: Self = Self { from: State::AwaitingApproval, to: State::Approved };
    pub const REJECTED: Self = Self { from: State::AwaitingApproval, to: State::Rejected };
    /// The requester's start after the approval.
    pub const START_APPROVED: Self = Self { from: State::Approved, to: State::Starting };
    /// The confirmation of a narrow flush: the intent.
    pub const CONFIRMED: Self = Self { from: State::Planned, to: State::Starting };
    /// The recount found many more keys than the plan: confirm again.
    pub const DRIFTED: Self = Self { from: State::Starting, to: State::Planned };
    pub const RUNNING: Self = Self { from: State::Starting, to: State::Running };
    pub const VERIFYING: Self = Self { from: State::Running, to: State::Verifying };
    pub const COMPLETED: Self = Self { from: State::Verifying, to: State::Completed };
    pub const COMPLETED_WITH_RESIDUE: Self = Self { from: State::Verifying, to: State::CompletedWithResidue };

    pub fn from(self) -> State {
        self.from
    }

    pub fn to(self) -> State {
        self.to
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
    }

    /// The whole machine, as it is meant: who may follow whom, and nobody else.
    #[test]
    fn the_steps_are_these_and_no_others() {
        let table = [
            ("planning", "planned plan_failed"),
            ("planned", "expired awaiting_approval starting"),
            ("plan_failed", ""),
            ("expired", ""),
            ("awaiting_approval", "expired approved rejected cancelled"),
            ("approved", "expired starting cancelled"),
            ("rejected", ""),
            ("starting", "planned running cancelled failed interrupted"),
            ("running", "paused verifying stopped_at_cap auto_stopped cancelled failed interrupted"),
            ("paused", "running stopped_at_cap auto_stopped cancelled failed interrupted"),
            ("verifying", "completed completed_with_residue interrupted"),
            ("completed", ""),
            ("completed_with_residue", ""),
            ("stopped_at_cap", "starting"),
            ("auto_stopped", "starting"),
            ("cancelled", ""),
            ("failed", ""),
            ("interrupted", "starting"),
        ];
        assert_eq!(table.map(|(state, _)| state), State::ALL.map(State::as_str));
        for (state, (_, nexts)) in State::ALL.into_iter().zip(table) {
            let found: Vec<_> = State::ALL.into_iter().filter(|next| state.to(*next).is_some()).map(State::as_str).collect();
            assert_eq!(found.join(" "), nexts, "{state}");
            assert_eq!(state.is_final(), found.is_empty(), "{state}");
            assert_eq!(state.may_resume(), state.has_removed() && !state.is_final(), "{state}");
        }
    }

    #[test]
    fn nothing_leaves_an_ended_flush_but_a_resume() {
        for state in State::ALL.into_iter().filter(|state| state.has_ended()) {
            for next in State::ALL {
                assert!(state.to(next).is_none() || next == State::Starting, "{state} to {next}");
            }
        }
    }

    #[test]
    fn removing_starts_only_after_a_confirmed_plan() {
        let before: Vec<_> = State::ALL.into_iter().filter(|state| state.to(State::Running).is_some()).collect();
        assert_eq!(before, [State::Starting, State::Paused]);
        let confirmed: Vec<_> = State::ALL.into_iter().filter(|state| state.to(State::Starting).is_some() && !state.has_ended()).collect();
        assert_eq!(confirmed, [State::Planned, State::Approved]);
    }

    #[test]
    fn the_named_steps_are_allowed_ones() {
        for step in [
            Transition::PLANNED,
            Transition::PLAN_FAILED,
            Transition::AWAITING,
            Transition::APPROVED,
            Transition::REJECTED,
            Transition::START_APPROVED,
            Transition::CONFIRMED,
            Transition::DRIFTED,
            Transition::RUNNING,
            Transition::VERIFYING,
            Transition::COMPLETED,
            Transition::COMPLETED_WITH_RESIDUE,
        ] {
            assert_eq!(step.from().to(step.to()), Some(step));
        }
    }

    #[test]
    fn every_active_state_can_be_interrupted() {
        for state in State::ALL.into_iter().filter(|state| state.is_active()) {
            assert!(state.to(State::Interrupted).is_some(), "{state}");
        }
    }
}
