//! Ingest tokens that were found valid a moment ago. A busy application asks Postgres for its token ten times a second instead of with every
//! request; while Postgres is away, whoever was known gets the same prompt 503 from ingest.

use crate::server::service::accounts::Token;
use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// A revocation takes effect within this.
const FRESH: TimeDelta = TimeDelta::milliseconds(100);
/// While Postgres is away.
const KNOWN: TimeDelta = TimeDelta::minutes(5);
/// Tokens beyond this are asked for each time.
const MOST: usize = 1_024;

type Known = HashMap<[u8; 32], (Token, DateTime<Utc>)>;

/// By the SHA-256 of their text, so that no secret lies in memory.
#[derive(Default)]
pub struct RememberedTokens(Mutex<Known>);

impl RememberedTokens {
    /// The token as it was found less than a tenth of a second ago.
    pub fn fresh(&self, text: &str, now: DateTime<Utc>) -> Option<Token> {
        self.within(text, now, FRESH)
    }

    /// The token as it was found less than five minutes ago, for when nobody can be asked.
    pub fn known(&self, text: &str, now: DateTime<Utc>) -> Option<Token> {
        self.within(text, now, KNOWN)
    }

    fn within(&self, text: &str, now: DateTime<Utc>, age: TimeDelta) -> Option<Token> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (token, at) = known.get::<[u8; 32]>(&Sha256::digest(text).into())?;
        (now - *at < age && token.expires_at.is_none_or(|end| end > now)).then(|| token.clone())
    }

    pub fn remember(&self, text: &str, token: &Token, now: DateTime<Utc>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, at)| now - *at < KNOWN);
        if known.len() < MOST {
            known.insert(Sha256::digest(text).into(), (token.clone(), now));
        }
    }

    pub fn forget(&self, text: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove::<[u8; 32]>(&Sha256::digest(text).into());
    }
}
