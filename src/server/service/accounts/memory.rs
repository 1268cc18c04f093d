//! The sessions verified within the last minutes: what lets people go on reading while Postgres is away. Only ever asked then.

use super::REMEMBERED;
use crate::domain::operator::Viewer;
use chrono::{DateTime, Utc};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// More people than this at once are not remembered.
const MOST: usize = 10_000;
/// For this long after Postgres did not answer it is not asked again, so that each click need not wait for the same failure.
const AWAY_FOR: Duration = Duration::from_millis(1500);

/// A person and when Postgres confirmed them.
type Seen = (Viewer, DateTime<Utc>);

/// What was verified, by the SHA-256 of the session's token.
#[derive(Default)]
pub struct Memory {
    seen: Mutex<HashMap<[u8; 32], Seen>>,
    away_since: Mutex<Option<Instant>>,
}

impl Memory {
    /// Postgres has just confirmed this session.
    pub(super) fn remember(&self, token: [u8; 32], viewer: &Viewer, now: DateTime<Utc>) {
        *self.away_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST {
            seen.retain(|_, (_, at)| now - *at < REMEMBERED);
        }
        if seen.len() < MOST {
            seen.insert(token, (viewer.clone(), now));
        }
    }

    /// Postgres has just said that there is no such session.
    pub(super) fn forget(&self, token: &[u8; 32]) {
        *self.away_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(token);
    }

    /// All sessions of a person have ended.
    pub(super) fn forget_user(&self, user_id: i64) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, (viewer, _)| viewer.user_id != user_id);
    }

    /// One session has ended.
    pub(super) fn forget_session(&self, session_id: i64) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, (viewer, _)| viewer.session_id != session_id);
    }

    /// The person of that session as last verified, who may only read now.
    pub(super) fn recall(&self, token: &[u8; 32], now: DateTime<Utc>) -> Option<Viewer> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (viewer, at) = seen.get(token)?;
        (now - *at < REMEMBERED).then(|| Viewer { read_only: true, ..viewer.clone() })
    }

    pub(super) fn note_away(&self) {
        *self.away_since.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether Postgres failed so lately that asking again would only wait.
    pub(super) fn is_away(&self) -> bool {
        self.away_since.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|since| since.elapsed() < AWAY_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::operator::{Permission, Role};
    use crate::domain::second_factor::Factor;
    use chrono::TimeDelta;

    #[test]
    fn a_session_is_remembered_for_five_minutes_and_only_for_reading() {
        let memory = Memory::default();
        let now = DateTime::UNIX_EPOCH;
        let viewer = Viewer {
            user_id: 1,
            email: "a@b".into(),
            name: "A".into(),
            role: Role::Admin,
            session_id: 9,
            factor: Factor::default(),
            read_only: false,
        };
        memory.remember([1; 32], &viewer, now);
        let recalled = memory.recall(&[1; 32], now + TimeDelta::seconds(299)).unwrap();
        assert!(recalled.may(Permission::Read) && !recalled.may(Permission::Flush));
        assert!(memory.recall(&[1; 32], now + TimeDelta::minutes(5)).is_none());
        assert!(memory.recall(&[2; 32], now).is_none());
        memory.forget_user(1);
        assert!(memory.recall(&[1; 32], now).is_none());
    }
}
