//! The second pair of eyes. What a second person approves is one hash over all that is going to be done: whatever of it changes afterwards,
//! the approval is of something else and void. A request that waits cannot be started; only [`Request::approve`], by somebody else, or
//! [`Request::break_glass`] makes what the store takes as decided, and only [`Request::start`] what it takes as a start.

use super::confirm::unfit;
use super::{REASON_MIN, START_WITHIN, State};
use crate::domain::audit::Hash;
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use std::fmt;

/// Names this encoding; another encoding gets another tag.
const VERSION_TAG: &str = "stalewatch-approval-v1";

/// SHA-256 over everything that is approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScopeHash(pub Hash);

impl ScopeHash {
    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.trim().as_bytes();
        let mut hash = Hash::default();
        if digits.len() != hash.len() * 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(hash))
    }
}

impl fmt::Display for ScopeHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

/// What is bound by the hash.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'a> {
    pub flush_id: i64,
    pub author_id: i64,
    pub target: &'a str,
    /// Which servers answered for the target when it was planned.
    pub run_id: &'a str,
    /// Canonical escaped text.
    pub scope: &'a str,
    pub scope_kind: &'a str,
    pub mode: &'a str,
    pub pace: &'a str,
    /// The most keys that may go.
    pub cap: u64,
    /// Digest of the plan.
    pub plan: &'a [u8],
    pub keys: u64,
    pub reason: &'a str,
    pub incident: Option<&'a str>,
}

impl Bound<'_> {
    /// Each part framed by its length, so that no two requests are written as the same bytes.
    pub fn hash(&self) -> ScopeHash {
        let (flush_id, author_id) = (self.flush_id.to_be_bytes(), self.author_id.to_be_bytes());
        let (cap, keys) = (self.cap.to_be_bytes(), self.keys.to_be_bytes());
        let parts: [&[u8]; 15] = [
            VERSION_TAG.as_bytes(),
            &flush_id,
            &author_id,
            self.target.as_bytes(),
            self.run_id.as_bytes(),
            self.scope.as_bytes(),
            self.scope_kind.as_bytes(),
            self.mode.as_bytes(),
            self.pace.as_bytes(),
            &cap,
            self.plan,
            &keys,
            self.reason.as_bytes(),
            if self.incident.is_some() { b"incident" } else { b"" },
            self.incident.unwrap_or_default().as_bytes(),
        ];
        let mut sha = Sha256::new();
        for part in parts {
            sha.update((part.len() as u64).to_be_bytes());
            sha.update(part);
        }
        ScopeHash(sha.finalize().into())
    }
}

/// A confirmed wide flush, as it waits for a second person, or for its start.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub flush_id: i64,
    pub author_id: i64,
    pub state: State,
    pub approve_until: DateTime<Utc>,
    pub start_until: Option<DateTime<Utc>>,
    /// As it was asked for.
    pub asked: ScopeHash,
    /// Of what would be done now.
    pub present: ScopeHash,
}

/// Somebody else's yes to exactly that.
#[derive(Clone, Copy, Debug)]
pub struct Approval {
    flush_id: i64,
    hash: ScopeHash,
    start_until: DateTime<Utc>,
}

/// Somebody else's no.
#[derive(Clone, Debug)]
pub struct Rejection {
    flush_id: i64,
    reason: Option<String>,
}

/// One admin's yes to their own, with why nobody else was asked.
#[derive(Clone, Debug)]
pub struct BrokenGlass {
    approval: Approval,
    reason: String,
}

/// An approved flush that its requester may start now.
#[derive(Clone, Copy, Debug)]
pub struct ApprovedPlan {
    flush_id: i64,
    hash: ScopeHash,
}

/// Why an approval, or a start after one, is refused. None of these uses up the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    #[error("this flush is not waiting for an approval (any more)")]
    NotAwaiting,
    #[error("this request has expired: it may be approved for 30 minutes")]
    RequestExpired,
    #[error("nobody approves what they asked for themselves")]
    OwnFlush,
    #[error("this is not (any more) what was asked for: look at the page again")]
    HashChanged,
    #[error("this flush is not waiting for a start: it is not approved, or has been started already")]
    NotApproved,
    #[error("the approval has expired: a flush is started within 15 minutes of it")]
    StartExpired,
    #[error("a flush is started by the person who asked for it")]
    NotTheRequester,
    #[error("a reason of at least {REASON_MIN} characters is needed; it is kept in the audit")]
    ReasonTooShort,
    #[error("the reason is too long, or contains control characters")]
    ReasonUnfit,
}

impl ApprovalError {
    /// The stable code (`data-error`).
    pub fn code(self) -> &'static str {
        match self {
            Self::NotAwaiting => "not_awaiting",
            Self::RequestExpired => "approval_expired",
            Self::OwnFlush => "own_flush",
            Self::HashChanged => "hash_changed",
            Self::NotApproved => "not_approved",
            Self::StartExpired => "start_expired",
            Self::NotTheRequester => "not_the_author",
            Self::ReasonTooShort => "reason_too_short",
            Self::ReasonUnfit => "reason_unfit",
        }
    }
}

impl Request {
    fn is_awaiting(&self, now: DateTime<Utc>) -> Result<(), ApprovalError> {
        match self.state {
            State::AwaitingApproval if now < self.approve_until => Ok(()),
            State::AwaitingApproval | State::Expired => Err(ApprovalError::RequestExpired),
            _ => Err(ApprovalError::NotAwaiting),
        }
    }

    /// `by` approves what is `shown` to them.
    pub fn approve(&self, by: i64, shown: &str, now: DateTime<Utc>) -> Result<Approval, ApprovalError> {
        self.is_awaiting(now)?;
        if by == self.author_id {
            return Err(ApprovalError::OwnFlush);
        }
        if ScopeHash::parse(shown) != Some(self.asked) || self.asked != self.present {
            return Err(ApprovalError::HashChanged);
        }
        Ok(Approval { flush_id: self.flush_id, hash: self.asked, start_until: now + START_WITHIN })
    }

    /// `by` refuses it, and may say why.
    pub fn reject(&self, by: i64, reason: &str, now: DateTime<Utc>) -> Result<Rejection, ApprovalError> {
        self.is_awaiting(now)?;
        if by == self.author_id {
            return Err(ApprovalError::OwnFlush);
        }
        let reason = reason.trim();
        if unfit(reason) {
            return Err(ApprovalError::ReasonUnfit);
        }
        Ok(Rejection { flush_id: self.flush_id, reason: (!reason.is_empty()).then(|| reason.to_owned()) })
    }

    /// Its requester goes on alone. Whether they may at all (an admin, and configured) is asked before.
    pub fn break_glass(&self, by: i64, reason: &str, now: DateTime<Utc>) -> Result<BrokenGlass, ApprovalError> {
        self.is_awaiting(now)?;
        if by != self.author_id {
            return Err(ApprovalError::NotTheRequester);
        }
        if self.asked != self.present {
            return Err(ApprovalError::HashChanged);
        }
        let reason = reason.trim();
        if reason.chars().count() < REASON_MIN {
            return Err(ApprovalError::ReasonTooShort);
        }
        if unfit(reason) {
            return Err(ApprovalError::ReasonUnfit);
        }
        let approval = Approval { flush_id: self.flush_id, hash: self.asked, start_until: now + START_WITHIN };
        Ok(BrokenGlass { approval, reason: reason.to_owned() })
    }

    /// Its requester starts it after the approval.
    pub fn start(&self, by: i64, now: DateTime<Utc>) -> Result<ApprovedPlan, ApprovalError> {
        match (self.state, self.start_until) {
            (State::Approved, Some(until)) if now < until => {}
            (State::Approved, _) | (State::Expired, Some(_)) => return Err(ApprovalError::StartExpired),
            _ => return Err(ApprovalError::NotApproved),
        }
        if by != self.author_id {
            return Err(ApprovalError::NotTheRequester);
        }
        if self.asked != self.present {
            return Err(ApprovalError::HashChanged);
        }
        Ok(ApprovedPlan { flush_id: self.flush_id, hash: self.asked })
    }
}

impl Approval {
    pub fn flush_id(&self) -> i64 {
        self.flush_id
    }

    pub fn hash(&self) -> ScopeHash {
        self.hash
    }

    pub fn start_until(&self) -> DateTime<Utc> {
        self.start_until
    }
}

impl Rejection {
    pub fn flush_id(&self) -> i64 {
        self.flush_id
    }

    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }
}

impl BrokenGlass {
    pub fn approval(&self) -> &Approval {
        &self.approval
    }

    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl ApprovedPlan {
    pub fn flush_id(&self) -> i64 {
        self.flush_id
    }

    pub fn hash(&self) -> ScopeHash {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::flush::APPROVE_WITHIN;
    use chrono::TimeDelta;

    const BOUND: Bound<'_> = Bound {
        flush_id: 7,
        author_id: 1,
        target: "main",
        run_id: "0a",
        scope: "cart:",
        scope_kind: "literal",
        mode: "flush",
        pace: "normal",
        cap: 120,
        plan: b"digest",
        keys: 100,
        reason: "carts show old prices",
        incident: None,
    };

    fn at() -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000, 0).unwrap()
    }

    fn request() -> Request {
        Request {
            flush_id: 7,
            author_id: 1,
            state: State::AwaitingApproval,
            approve_until: at() + APPROVE_WITHIN,
            start_until: None,
            asked: BOUND.hash(),
            present: BOUND.hash(),
        }
    }

    #[test]
    fn every_part_is_bound() {
        let changed = [
            Bound { flush_id: 8, ..BOUND },
            Bound { author_id: 2, ..BOUND },
            Bound { target: "mai", run_id: "n0a", ..BOUND },
            Bound { run_id: "0b", ..BOUND },
            Bound { scope: "cart:1:", ..BOUND },
            Bound { scope_kind: "template", ..BOUND },
            Bound { mode: "soft", ..BOUND },
            Bound { pace: "fast", ..BOUND },
            Bound { cap: 121, ..BOUND },
            Bound { plan: b"digesu", ..BOUND },
            Bound { keys: 101, ..BOUND },
            Bound { reason: "carts show old prices.", ..BOUND },
            Bound { incident: Some(""), ..BOUND },
            Bound { incident: Some("318"), ..BOUND },
        ];
        for (at, one) in changed.iter().enumerate() {
            assert_ne!(one.hash(), BOUND.hash(), "{one:?}");
            assert!(changed[..at].iter().all(|other| other.hash() != one.hash()), "{one:?}");
        }
    }

    #[test]
    fn a_hash_is_read_as_it_is_written() {
        let text = BOUND.hash().to_string();
        assert_eq!(ScopeHash::parse(&text), Some(BOUND.hash()));
        assert_eq!(ScopeHash::parse(&text.to_uppercase()), Some(BOUND.hash()));
        for bad in ["", &text[1..], "é", &text.replace(|_: char| true, "g"), &text.replace(|_: char| true, "+")] {
            assert_eq!(ScopeHash::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn somebody_else_approves_exactly_what_they_saw() {
        let shown = request().asked.to_string();
        assert_eq!(request().approve(2, &shown, at()).unwrap().start_until(), at() + START_WITHIN);
        assert_eq!(request().approve(1, &shown, at()).unwrap_err(), ApprovalError::OwnFlush);
        let edited = Bound { cap: 121, ..BOUND }.hash();
        assert_eq!(request().approve(2, &edited.to_string(), at()).unwrap_err(), ApprovalError::HashChanged);
        assert_eq!(request().approve(2, "", at()).unwrap_err(), ApprovalError::HashChanged);
        let meanwhile = Request { present: edited, ..request() };
        assert_eq!(meanwhile.approve(2, &shown, at()).unwrap_err(), ApprovalError::HashChanged);
        assert_eq!(request().approve(2, &shown, at() + APPROVE_WITHIN).unwrap_err(), ApprovalError::RequestExpired);
        for state in State::ALL.into_iter().filter(|state| !matches!(state, State::AwaitingApproval | State::Expired)) {
            let elsewhere = Request { state, ..request() };
            assert_eq!(elsewhere.approve(2, &shown, at()).unwrap_err(), ApprovalError::NotAwaiting, "{state}");
        }
    }

    #[test]
    fn only_the_requester_starts_and_only_in_time() {
        let approved = Request { state: State::Approved, start_until: Some(at() + START_WITHIN), ..request() };
        assert!(approved.start(1, at()).is_ok());
        assert_eq!(approved.start(2, at()).unwrap_err(), ApprovalError::NotTheRequester);
        assert_eq!(approved.start(1, at() + START_WITHIN).unwrap_err(), ApprovalError::StartExpired);
        assert_eq!(request().start(1, at()).unwrap_err(), ApprovalError::NotApproved);
        let edited = Request { present: Bound { keys: 1, ..BOUND }.hash(), ..approved };
        assert_eq!(edited.start(1, at()).unwrap_err(), ApprovalError::HashChanged);
    }

    #[test]
    fn the_glass_is_broken_by_the_requester_with_a_reason() {
        let why = "nobody else answers the phone";
        assert_eq!(request().break_glass(1, why, at()).unwrap().reason(), why);
        assert_eq!(request().break_glass(2, why, at()).unwrap_err(), ApprovalError::NotTheRequester);
        assert_eq!(request().break_glass(1, "too short", at()).unwrap_err(), ApprovalError::ReasonTooShort);
        assert_eq!(request().break_glass(1, why, at() + TimeDelta::minutes(31)).unwrap_err(), ApprovalError::RequestExpired);
    }

    #[test]
    fn a_rejection_needs_no_reason() {
        assert_eq!(request().reject(2, "  ", at()).unwrap().reason(), None);
        assert_eq!(request().reject(2, "too many", at()).unwrap().reason(), Some("too many"));
        assert_eq!(request().reject(2, "with a bell \u{7}", at()).unwrap_err(), ApprovalError::ReasonUnfit);
        assert_eq!(request().reject(1, "", at()).unwrap_err(), ApprovalError::OwnFlush);
    }
}
