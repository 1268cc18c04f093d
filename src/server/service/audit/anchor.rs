//! Keeps the chain anchored: a checkpoint at the start, every 5 minutes also when idle, every 1,000 records, and whenever asked for (at each
//! flush's end). Also verifies the whole once an hour.

use super::checkpoints::{self, Anchor, Checkpoint, CheckpointError};
use super::verify::{LastVerified, Verification};
use crate::domain::audit::{Actor, Code, Verdict};
use crate::server::state::AppState;
use crate::server::store::audit;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use sqlx::PgPool;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const EVERY: TimeDelta = TimeDelta::minutes(5);
const EVERY_RECORDS: i64 = 1_000;
/// How often it is looked whether one is due.
const LOOK: Duration = Duration::from_secs(2);
const VERIFY_EVERY: TimeDelta = TimeDelta::hours(1);

/// What this process keeps about the chain between requests.
#[derive(Default)]
pub struct Anchoring {
    wanted: Notify,
    writing: tokio::sync::Mutex<()>,
    verified: Mutex<Option<LastVerified>>,
}

impl Anchoring {
    /// Asks for a checkpoint now, without waiting for it.
    pub fn request(&self) {
        self.wanted.notify_one();
    }

    pub(super) fn last_verified(&self) -> Option<LastVerified> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn remember_verified(&self, found: &Verification, at: DateTime<Utc>) {
        *self.verified.lock().unwrap_or_else(PoisonError::into_inner) = Some(LastVerified { found: found.clone(), at });
    }
}

/// Why the chain was not anchored.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    #[error("the record has no head row")]
    NoHead,
    #[error("the record ends at {head} but was anchored at {anchored}: its end is missing; `stalewatch audit verify` tells more")]
    Shrunk { head: i64, anchored: i64 },
    #[error("{0} Nothing was changed.")]
    NotAcceptable(String),
    #[error("a reason of at least 15 characters is needed: it becomes part of the record")]
    NoReason,
    #[error(transparent)]
    File(#[from] CheckpointError),
    #[error(transparent)]
    Store(#[from] sqlx::Error),
}

/// Signs where the chain ends now and appends it to the file.
pub async fn anchor(app: &AppState) -> Result<Checkpoint, AnchorError> {
    let _one_at_a_time = app.anchoring.writing.lock().await;
    let mut conn = app.pools.record.acquire().await?;
    let head = audit::find_head(&mut conn).await?.ok_or(AnchorError::NoHead)?;
    drop(conn);
    let data_dir = app.config().data_dir.clone();
    let hash = head.hash.as_slice().try_into().map_err(|_| AnchorError::NoHead)?;
    let checkpoint = Checkpoint { seq: head.seq, hash, at: app.clock.now() };
    let written = checkpoint.clone();
    tokio::task::spawn_blocking(move || {
        if let Some(last) = checkpoints::last(&data_dir).filter(|last| last.seq > written.seq) {
            return Err(AnchorError::Shrunk { head: written.seq, anchored: last.seq });
        }
        Ok(Anchor::open(&data_dir)?.append(&written)?)
    })
    .await
    .unwrap_or(Err(AnchorError::NoHead))?;
    Ok(checkpoint)
}

/// Accepts a record whose end is missing (a restored backup): says so in the record, keeps the old checkpoints under another name and begins
/// new ones. A record that was tampered with is not accepted.
pub async fn re_anchor(pool: &PgPool, data_dir: &Path, actor: &Actor, reason: &str, now: DateTime<Utc>) -> Result<Checkpoint, AnchorError> {
    let reason = reason.trim();
    if reason.chars().count() < 15 {
        return Err(AnchorError::NoReason);
    }
    let found = super::verify(pool, data_dir).await;
    if found.verdict == Verdict::Tampered {
        return Err(AnchorError::NotAcceptable(found.detail));
    }
    let mut conn = pool.acquire().await?;
    let head = audit::find_head(&mut conn).await?.ok_or(AnchorError::NoHead)?;
    drop(conn);
    if head.seq != found.last_seq {
        let missing = format!("The head row says {}, the records end at {}: restore both from one backup.", head.seq, found.last_seq);
        return Err(AnchorError::NotAcceptable(missing));
    }
    let mut tx = pool.begin().await?;
    let body = json!({
        "reason": reason, "verdict_before": found.verdict.as_str(), "last_seq": found.last_seq, "last_anchored_before": found.last_anchored,
    });
    let appended = audit::append(&mut tx, Code::AuditReanchored, actor, &body).await?;
    tx.commit().await?;
    let hash = appended.hash.as_slice().try_into().map_err(|_| AnchorError::NoHead)?;
    let checkpoint = Checkpoint { seq: appended.seq, hash, at: now };
    let (data_dir, written) = (data_dir.to_owned(), checkpoint.clone());
    tokio::task::spawn_blocking(move || {
        checkpoints::set_aside(&data_dir, now)?;
        Ok(Anchor::open(&data_dir)?.append(&written)?)
    })
    .await
    .unwrap_or(Err(AnchorError::NoHead))?;
    Ok(checkpoint)
}

/// Anchors and verifies until the server ends, and once more then.
pub async fn keep_anchored(app: AppState, ending: CancellationToken) {
    let mut next_verification = app.clock.now();
    let mut complained = false;
    loop {
        let asked = tokio::select! {
            () = ending.cancelled() => break,
            () = app.anchoring.wanted.notified() => true,
            () = tokio::time::sleep(LOOK) => false,
        };
        let done = if asked || due(&app).await { anchor(&app).await.map(|_| ()) } else { Ok(()) };
        match done {
            Ok(()) => complained = false,
            // Once per cause of trouble, not every two seconds.
            Err(_) if complained => {}
            Err(cause) => {
                complained = true;
                tracing::error!(error.cause = %cause, "the audit record cannot be anchored");
            }
        }
        if app.clock.now() >= next_verification {
            next_verification = app.clock.now() + VERIFY_EVERY;
            verify(&app).await;
        }
    }
    // What was recorded since the last tick should not wait for the next start.
    if due_since(&app, 1, TimeDelta::MAX).await
        && let Err(cause) = anchor(&app).await
    {
        tracing::error!(error.cause = %cause, "the audit record cannot be anchored");
    }
}

async fn verify(app: &AppState) {
    match super::verify_now(app, &Actor::System).await {
        Ok(found) if found.verdict == Verdict::Whole => {}
        Ok(found) => tracing::error!(audit.verdict = found.verdict.as_str(), audit.detail = %found.detail, "the audit record is not whole"),
        Err(error) => tracing::warn!(error.detail = %error.detail, "a verification could not be recorded"),
    }
}

async fn due(app: &AppState) -> bool {
    due_since(app, EVERY_RECORDS, EVERY).await
}

async fn due_since(app: &AppState, records: i64, age: TimeDelta) -> bool {
    let data_dir = app.config().data_dir.clone();
    let Ok(Some(last)) = tokio::task::spawn_blocking(move || checkpoints::last(&data_dir)).await else { return true };
    if app.clock.now() - last.at >= age {
        return true;
    }
    let Ok(mut conn) = app.pools.record.acquire().await else { return false };
    audit::find_head(&mut conn).await.is_ok_and(|head| head.is_some_and(|head| head.seq - last.seq >= records))
}
