//! Whether events can be committed, as far as is known: while not, requests are refused at once instead of each waiting for the same silence.

use chrono::{DateTime, Utc};
use std::sync::{Mutex, PoisonError};

/// Since when Postgres takes no events, if it does not.
#[derive(Debug, Default)]
pub struct Standing {
    away_since: Mutex<Option<DateTime<Utc>>>,
}

impl Standing {
    pub fn is_away(&self) -> bool {
        self.away_since().is_some()
    }

    pub fn away_since(&self) -> Option<DateTime<Utc>> {
        *self.away_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note_away(&self, now: DateTime<Utc>) {
        let mut since = self.away_since.lock().unwrap_or_else(PoisonError::into_inner);
        if since.is_none() {
            tracing::error!("Postgres takes no events; they are refused until it does");
            *since = Some(now);
        }
    }

    pub(super) fn note_back(&self) {
        *self.away_since.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
