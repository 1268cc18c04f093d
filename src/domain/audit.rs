//! The audit chain's rules: what a record is called, what is hashed, and when a chain is whole.
//!
//! A record's hash covers a version tag, its number, the previous record's hash, its time, its code and its stored canonical bytes, each
//! framed by its length, so that no two different records can be written as the same bytes.

use sha2::{Digest, Sha256};
use std::fmt;

/// A SHA-256 value.
pub type Hash = [u8; 32];

/// Names this encoding; another encoding gets another tag.
pub const VERSION_TAG: &str = "stalewatch-audit-v1";

/// What stands before the first record.
pub const GENESIS: Hash = [0; 32];

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What a record tells of. Stable: exports and filters name them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// Every code, in the order of the filter on the audit page.
            pub const ALL: &[Code] = &[$(Code::$name,)*];

            /// The code as stored and shown.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Code::$name => $text,)*
                }
            }
        }
    };
}

codes! {
    SignInOk = "sign_in.ok",
    /// How many sign-ins failed since the last such record; the single ones are not part of the chain.
    SignInFailed = "sign_in.failed",
    SignedOut = "sign_in.out",
    SessionRevoked = "session.revoked",
    UserCreated = "user.created",
    UserDisabled = "user.disabled",
    UserEnabled = "user.enabled",
    UserRoleChanged = "user.role_changed",
    UserPasswordChanged = "user.password_changed",
    UserPasswordReset = "user.password_reset",
    FactorEnrolled = "second_factor.enrolled",
    FactorRemoved = "second_factor.removed",
    /// An admin took away somebody's second factor.
    FactorReset = "second_factor.reset",
    RecoveryRenewed = "second_factor.recovery_renewed",
    RecoveryUsed = "second_factor.recovery_used",
    /// The second factor was shown in a session.
    StepUpOk = "step_up.ok",
    StepUpFailed = "step_up.failed",
    TokenCreated = "token.created",
    TokenRevoked = "token.revoked",
    ConfigLoaded = "config.loaded",
    AccessRefused = "access.refused",
    FlushRequested = "flush.requested",
    FlushPlanned = "flush.planned",
    FlushPlanFailed = "flush.plan_failed",
    FlushRefused = "flush.refused",
    FlushConfirmed = "flush.confirmed",
    FlushApproved = "flush.approved",
    FlushRejected = "flush.rejected",
    /// One admin alone went on without a second person.
    FlushBreakGlass = "flush.break_glass",
    /// The requester's start of an approved flush: the intent.
    FlushStarting = "flush.starting",
    /// A flush that was cut off goes on.
    FlushResumed = "flush.resumed",
    /// Many more keys than planned were found at the start: nothing was removed, it has to be confirmed again.
    FlushDrifted = "flush.drifted",
    FlushStarted = "flush.started",
    FlushProgress = "flush.progress",
    FlushVerifying = "flush.verifying",
    FlushFinished = "flush.finished",
    FlushCancelled = "flush.cancelled",
    FlushExpired = "flush.expired",
    FlushFailed = "flush.failed",
    FlushInterrupted = "flush.interrupted",
    FlushVerdict = "flush.verdict",
    ReviewActionAdded = "review.action_added",
    ReviewActionClosed = "review.action_closed",
    DemoSwitched = "demo.switched",
    AuditVerified = "audit.verified",
    AuditExported = "audit.exported",
    /// The record ends before its last checkpoint, so records are missing: said in the record itself before anything else is appended.
    AuditCutNoticed = "audit.cut_noticed",
    AuditReanchored = "audit.reanchored",
}

impl Code {
    /// The code of that name, if there is one.
    pub fn parse(text: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// A signed-in person.
    User { id: i64, email: String, role: super::operator::Role },
    /// Whoever could run the command on the server's machine, by the number of that account there.
    CommandLine { uid: u32 },
    /// Stalewatch itself.
    System,
}

impl Actor {
    /// The name under which the record is found: an e-mail address, `command line` or `system`.
    pub fn name(&self) -> &str {
        match self {
            Actor::User { email, .. } => email,
            Actor::CommandLine { .. } => "command line",
            Actor::System => "system",
        }
    }
}

/// The hash of one record. `at_us` is its time in microseconds since 1970, `canonical` exactly the stored bytes.
pub fn record_hash(seq: i64, prev: &Hash, at_us: i64, code: &str, canonical: &[u8]) -> Hash {
    let mut sha = Sha256::new();
    for part in [VERSION_TAG.as_bytes(), &seq.to_be_bytes(), prev, &at_us.to_be_bytes(), code.as_bytes(), canonical] {
        // Postgres holds at most 1 GiB in a field, so four bytes are enough.
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        sha.update(length.to_be_bytes());
        sha.update(part);
    }
    sha.finalize().into()
}

/// One stored record, as verification reads it.
#[derive(Clone, Debug)]
pub struct Link<'a> {
    pub seq: i64,
    pub at_us: i64,
    pub code: &'a str,
    pub canonical: &'a [u8],
    pub prev: &'a [u8],
    pub hash: &'a [u8],
    /// Whether the searchable columns say what `canonical` says.
    pub derived_agree: bool,
}

/// Walks a chain from its first record and remembers the first number at which it is not what it was.
#[derive(Clone, Debug)]
pub struct ChainCheck {
    seq: i64,
    hash: Hash,
    at_us: i64,
    first_bad: Option<i64>,
}

impl Default for ChainCheck {
    fn default() -> Self {
        Self { seq: 0, hash: GENESIS, at_us: i64::MIN, first_bad: None }
    }
}

impl ChainCheck {
    /// Takes the next record in the order of numbers. After the first bad one the rest proves nothing and is passed over.
    pub fn take(&mut self, link: &Link<'_>) {
        if self.first_bad.is_some() {
            return;
        }
        let expected = self.seq + 1;
        if link.seq != expected {
            // A number is missing: what stood there was removed.
            self.first_bad = Some(expected.min(link.seq));
            return;
        }
        let hash = record_hash(link.seq, &self.hash, link.at_us, link.code, link.canonical);
        if link.prev != self.hash || link.hash != hash || link.at_us < self.at_us || !link.derived_agree {
            self.first_bad = Some(link.seq);
            return;
        }
        self.seq = link.seq;
        self.hash = hash;
        self.at_us = link.at_us;
    }

    /// The number of the last good record, 0 for none.
    pub fn last_seq(&self) -> i64 {
        self.seq
    }

    /// The hash of the last good record.
    pub fn last_hash(&self) -> Hash {
        self.hash
    }

    /// The time of the last good record in microseconds since 1970; `i64::MIN` for none.
    pub fn last_at_us(&self) -> i64 {
        self.at_us
    }

    pub fn first_bad(&self) -> Option<i64> {
        self.first_bad
    }

    /// Notes that record `seq` was found to be wrong by other means (a checkpoint, the head).
    pub fn mark_bad(&mut self, seq: i64) {
        self.first_bad = Some(self.first_bad.map_or(seq, |known| known.min(seq)));
    }
}

/// What a verification found, worst last in the order of exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Whole,
    /// A record is not what was appended.
    Tampered,
    /// Records at the end are missing.
    Truncated,
    /// Something needed to tell is missing or cannot be read.
    CannotTell,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Whole => "whole",
            Verdict::Tampered => "tampered",
            Verdict::Truncated => "truncated",
            Verdict::CannotTell => "cannot_tell",
        }
    }

    /// The exit code of `stalewatch audit verify`.
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Whole => 0,
            Verdict::Tampered => 2,
            Verdict::Truncated => 3,
            Verdict::CannotTell => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(n: i64) -> Vec<(i64, i64, Hash, Hash)> {
        let mut prev = GENESIS;
        (1..=n)
            .map(|seq| {
                let hash = record_hash(seq, &prev, seq * 10, "a.b", b"{}");
                let row = (seq, seq * 10, prev, hash);
                prev = hash;
                row
            })
            .collect()
    }

    fn check(rows: &[(i64, i64, Hash, Hash)], spoiled: Option<i64>) -> ChainCheck {
        let mut check = ChainCheck::default();
        for (seq, at_us, prev, hash) in rows {
            let canonical: &[u8] = if spoiled == Some(*seq) { b"[]" } else { b"{}" };
            check.take(&Link { seq: *seq, at_us: *at_us, code: "a.b", canonical, prev, hash, derived_agree: true });
        }
        check
    }

    #[test]
    fn an_untouched_chain_is_whole() {
        let whole = check(&chain(20), None);
        assert_eq!((whole.last_seq(), whole.first_bad()), (20, None));
    }

    #[test]
    fn a_changed_record_is_named() {
        assert_eq!(check(&chain(20), Some(7)).first_bad(), Some(7));
    }

    #[test]
    fn a_removed_record_is_named() {
        let mut rows = chain(20);
        rows.remove(4);
        assert_eq!(check(&rows, None).first_bad(), Some(5));
    }

    #[test]
    fn a_missing_tail_leaves_a_good_chain_that_is_shorter() {
        let cut = check(&chain(20)[..12], None);
        assert_eq!((cut.last_seq(), cut.first_bad()), (12, None));
    }

    #[test]
    fn framing_keeps_neighbouring_parts_apart() {
        assert_ne!(record_hash(1, &GENESIS, 0, "a.b", b"c"), record_hash(1, &GENESIS, 0, "a.bc", b""));
    }

    #[test]
    fn codes_round_trip() {
        for code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(*code));
        }
    }
}
