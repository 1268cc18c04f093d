//! The rules of a flush, without anything that touches the world: its states, its limits, what a plan is and what a person must type,
//! how many keys may be sent ahead of the record, how fast, and what is said afterwards.

mod advice;
mod approval;
mod brake;
mod confirm;
mod credit;
mod mode;
mod pace;
mod permit;
mod resume;
mod state;
mod verdict;
mod wide;

pub use advice::{Advice, AdviceFacts, advise, load_per_s};
pub use approval::{Approval, ApprovalError, ApprovedPlan, Bound, BrokenGlass, Rejection, Request, ScopeHash};
pub use brake::{Brake, BrakeLimits, Braked, FELT_OVER, Felt, PING_EVERY, felt_at};
pub use confirm::{ConfirmError, ConfirmedPlan, Plan, Typed, same_count, same_text};
pub use credit::{Credit, GRANT_FIRST, GRANT_MAX, GRANT_MIN, Grant, first_grant};
pub use mode::{Mode, NoMode, Window, done};
pub use pace::{COUNT_MAX, COUNT_MIN, Pace, Stepper};
pub use permit::Permit;
pub use resume::{CutOff, ResumeError, Resumption, taken};
pub use state::{State, Transition};
pub use verdict::{Verdict, verdict};
pub use wide::{WideFacts, WideReason, cap, drifted, wide_reasons};

use chrono::TimeDelta;

/// How long a plan may be confirmed after its scan.
pub const PLAN_LIVES: TimeDelta = TimeDelta::minutes(5);
/// How long a wide flush waits for a second person.
pub const APPROVE_WITHIN: TimeDelta = TimeDelta::minutes(30);
/// How long an approved flush waits for its start.
pub const START_WITHIN: TimeDelta = TimeDelta::minutes(15);
/// How long after its end a flush that was cut off may be resumed.
pub const RESUME_WITHIN: TimeDelta = TimeDelta::minutes(15);
/// A start later than this after the plan's scan counts again first.
pub const RECOUNT_AFTER: TimeDelta = TimeDelta::seconds(60);
/// Plans one person may ask for in an hour.
pub const PLANS_PER_HOUR: i64 = 10;
/// The shortest reason that is taken, in characters.
pub const REASON_MIN: usize = 15;
/// The longest reason and incident link that are kept, in characters.
pub const REASON_MAX: usize = 1_000;
/// Keys shown of a plan.
pub const SAMPLE_KEYS: usize = 50;
/// Minutes after the end at which the verdict is computed.
pub const VERDICT_AT_MIN: [i64; 4] = [1, 5, 15, 60];
