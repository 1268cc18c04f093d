//! What a person types to confirm, and the two types between which the confirmation stands: a [`Plan`] cannot be started, a
//! [`ConfirmedPlan`] can, and only [`Plan::confirm`] makes one.

use super::{REASON_MAX, REASON_MIN, State};
use crate::domain::prefix::unescape;
use chrono::{DateTime, Utc};

/// A plan as its author sees it.
#[derive(Clone, Debug)]
pub struct Plan {
    pub flush_id: i64,
    pub target: String,
    /// Canonical escaped text.
    pub scope: String,
    pub keys: u64,
    pub wide: bool,
    pub author_id: i64,
    pub state: State,
    pub expires_at: DateTime<Utc>,
}

/// What was typed.
#[derive(Clone, Debug, Default)]
pub struct Typed {
    pub target: String,
    pub scope: String,
    pub count: String,
    pub reason: String,
    pub incident: String,
}

/// A plan with the confirmation that fits it.
#[derive(Clone, Debug)]
pub struct ConfirmedPlan {
    plan: Plan,
    reason: String,
    incident: Option<String>,
}

impl ConfirmedPlan {
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn reason(&self) -> &str {
        &self.reason
    }

    pub fn incident(&self) -> Option<&str> {
        self.incident.as_deref()
    }
}

/// Why a confirmation is refused. None of these consumes the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfirmError {
    #[error("this plan belongs to somebody else; plan the flush yourself")]
    NotTheAuthor,
    #[error("this flush is not waiting for a confirmation")]
    NotPlanned,
    #[error("this plan has expired; plan again, it takes a moment")]
    Expired,
    #[error("the target is not the one of the plan")]
    WrongTarget,
    #[error("the scope is not the one of the plan")]
    WrongScope,
    #[error("the count is not the one of the plan")]
    WrongCount,
    #[error("a reason of at least {REASON_MIN} characters is needed; it is kept in the audit")]
    ReasonTooShort,
    #[error("the reason or the incident is too long, or contains control characters")]
    ReasonUnfit,
}

impl ConfirmError {
    /// The stable code (`data-error`).
    pub fn code(self) -> &'static str {
        match self {
            Self::NotTheAuthor => "not_the_author",
            Self::NotPlanned => "not_planned",
            Self::Expired => "expired",
            Self::WrongTarget => "wrong_target",
            Self::WrongScope => "wrong_scope",
            Self::WrongCount => "wrong_count",
            Self::ReasonTooShort => "reason_too_short",
            Self::ReasonUnfit => "reason_unfit",
        }
    }
}

impl Plan {
    /// Whether `by` may confirm this plan at `now`, whatever they type.
    pub fn may_be_confirmed(&self, by: i64, now: DateTime<Utc>) -> Result<(), ConfirmError> {
        if self.state == State::Expired || (self.state == State::Planned && now >= self.expires_at) {
            return Err(ConfirmError::Expired);
        }
        if self.state != State::Planned {
            return Err(ConfirmError::NotPlanned);
        }
        if self.author_id != by {
            return Err(ConfirmError::NotTheAuthor);
        }
        Ok(())
    }

    /// Checks what `by` typed at `now` against this plan.
    pub fn confirm(self, typed: &Typed, by: i64, now: DateTime<Utc>) -> Result<ConfirmedPlan, ConfirmError> {
        self.may_be_confirmed(by, now)?;
        if typed.target.trim() != self.target {
            return Err(ConfirmError::WrongTarget);
        }
        if !same_text(&typed.scope, &self.scope) {
            return Err(ConfirmError::WrongScope);
        }
        if !same_count(&typed.count, self.keys) {
            return Err(ConfirmError::WrongCount);
        }
        let (reason, incident) = (typed.reason.trim(), typed.incident.trim());
        if reason.chars().count() < REASON_MIN {
            return Err(ConfirmError::ReasonTooShort);
        }
        if unfit(reason) || unfit(incident) {
            return Err(ConfirmError::ReasonUnfit);
        }
        let (reason, incident) = (reason.to_owned(), (!incident.is_empty()).then(|| incident.to_owned()));
        Ok(ConfirmedPlan { plan: self, reason, incident })
    }
}

/// Too long to keep, or not text.
pub(super) fn unfit(text: &str) -> bool {
    text.chars().count() > REASON_MAX || text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
}

/// Whether two escaped texts name the same bytes; spaces around the typed one are forgiven.
pub fn same_text(typed: &str, shown: &str) -> bool {
    let Ok(wanted) = unescape(shown) else { return typed == shown };
    [typed, typed.trim()].into_iter().any(|text| unescape(text).as_deref() == Ok(&wanted[..]))
}

/// Whether the typed count is `keys`, however its digits are grouped.
pub fn same_count(typed: &str, keys: u64) -> bool {
    let digits: String = typed.chars().filter(|c| !matches!(c, ',' | '.' | '_' | '\'' | '’') && !c.is_whitespace()).collect();
    !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()) && digits.parse() == Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    fn plan(now: DateTime<Utc>) -> Plan {
        Plan {
            flush_id: 7,
            target: "main".into(),
            scope: "user:1\\x00:".into(),
            keys: 3412,
            wide: false,
            author_id: 1,
            state: State::Planned,
            expires_at: now + super::super::PLAN_LIVES,
        }
    }

    fn typed() -> Typed {
        Typed {
            target: "main".into(),
            scope: "user:1\\x00:".into(),
            count: "3,412".into(),
            reason: "profiles show old names".into(),
            incident: String::new(),
        }
    }

    fn at() -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000, 0).unwrap()
    }

    #[test]
    fn the_scope_may_be_written_in_any_way_that_means_its_bytes() {
        for text in ["user:1\\x00:", " user:1\\x00: ", "\\x75ser:1\\x00:"] {
            assert!(plan(at()).confirm(&Typed { scope: text.into(), ..typed() }, 1, at()).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_was_previewed_is_confirmed() {
        let confirmed = plan(at()).confirm(&typed(), 1, at()).unwrap();
        assert_eq!((confirmed.plan().flush_id, confirmed.reason(), confirmed.incident()), (7, "profiles show old names", None));
    }

    #[test]
    fn every_field_must_fit() {
        let refused = |change: fn(&mut Typed)| {
            let mut typed = typed();
            change(&mut typed);
            plan(at()).confirm(&typed, 1, at()).unwrap_err()
        };
        assert_eq!(refused(|typed| typed.target = "Main".into()), ConfirmError::WrongTarget);
        assert_eq!(refused(|typed| typed.scope = "user:1:".into()), ConfirmError::WrongScope);
        assert_eq!(refused(|typed| typed.scope = "user:1\\x0".into()), ConfirmError::WrongScope);
        assert_eq!(refused(|typed| typed.count = "3411".into()), ConfirmError::WrongCount);
        assert_eq!(refused(|typed| typed.count = String::new()), ConfirmError::WrongCount);
        assert_eq!(refused(|typed| typed.reason = "too short".into()), ConfirmError::ReasonTooShort);
        assert_eq!(refused(|typed| typed.reason = "14 characters \n   ".into()), ConfirmError::ReasonTooShort);
        assert_eq!(refused(|typed| typed.reason = "with a bell \u{7} in it".into()), ConfirmError::ReasonUnfit);
    }

    #[test]
    fn a_plan_is_its_authors_and_lives_five_minutes() {
        assert_eq!(plan(at()).confirm(&typed(), 2, at()).unwrap_err(), ConfirmError::NotTheAuthor);
        let late = at() + TimeDelta::minutes(5);
        assert_eq!(plan(at()).confirm(&typed(), 1, late).unwrap_err(), ConfirmError::Expired);
        let used = Plan { state: State::Completed, ..plan(at()) };
        assert_eq!(used.confirm(&typed(), 1, at()).unwrap_err(), ConfirmError::NotPlanned);
    }

    #[test]
    fn counts_are_compared_without_their_grouping() {
        for text in ["3412", "3,412", "3.412", "3 412", "3_412", "3\u{a0}412", "3\u{202f}412", " 3412 "] {
            assert!(same_count(text, 3412), "{text:?}");
        }
        for text in ["", "+3412", "-3412", "3412k", "٣٤١٢", "0x3412"] {
            assert!(!same_count(text, 3412), "{text:?}");
        }
        assert!(same_count("0", 0));
    }
}
