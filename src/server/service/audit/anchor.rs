//! Keeps the chain anchored: a checkpoint at the start, every 5 minutes also when idle, every 1,000 records, and whenever asked for (at each
//! flush's end). Also verifies the whole once an hour.

use super::checkpoints::{self, Anchor, Checkpoint, CheckpointError};
use super::verify::{LastVerified, Verification};
use crate::domain::audit::{Actor, Code, Verdict};
use crate::server::state::AppState;
use crate::server::store::audit::{self, Head};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::{PgConnection, PgPool};
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
    /// Why the last try to anchor came to nothing.
    failed: Mutex<Option<String>>,
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

    /// Whether the last verification found the record whole; `None` before the first.
    pub fn is_whole(&self) -> Option<bool> {
        self.last_verified().map(|last| last.found.verdict == Verdict::Whole)
    }

    /// What every page has to say of the record, if anything is wrong with it.
    pub fn trouble(&self) -> Option<String> {
        let verified = self.last_verified().and_then(|last| match (last.found.verdict, last.found.first_bad) {
            (Verdict::Whole, _) => None,
            (Verdict::Tampered, Some(bad)) => Some(format!("Audit record tampered with at {bad}")),
            (Verdict::Tampered, None) => Some("Audit record tampered with".to_owned()),
            (Verdict::Truncated, _) => Some("Audit record cut short".to_owned()),
            (Verdict::CannotTell, _) => Some("Audit record: cannot tell whether it is whole".to_owned()),
        });
        let failed = || self.failed.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|_| "Audit record not anchored".to_owned());
        verified.or_else(failed)
    }

    fn remember_failed(&self, cause: Option<String>) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = cause;
    }
}

/// Why the chain was not anchored.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    #[error("the record has no head row")]
    NoHead,
    #[error("the record ends at {head} but was anchored at {anchored}: its end is missing; `stalewatch audit verify` tells more")]
    Shrunk { head: i64, anchored: i64 },
    #[error("record {anchored} is not the one that was anchored; `stalewatch audit verify` tells more")]
    Differs { anchored: i64 },
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
    let data_dir = app.config().data_dir.clone();
    let mut conn = app.pools.record.acquire().await?;
    let head = goes_on(&mut conn, last_note(&data_dir).await.as_ref()).await?;
    drop(conn);
    let hash = head.hash.as_slice().try_into().map_err(|_| AnchorError::NoHead)?;
    let checkpoint = Checkpoint { seq: head.seq, hash, at: app.clock.now() };
    write_note(&data_dir, checkpoint.clone()).await?;
    Ok(checkpoint)
}

async fn last_note(data_dir: &Path) -> Option<Checkpoint> {
    let data_dir = data_dir.to_owned();
    tokio::task::spawn_blocking(move || checkpoints::last(&data_dir)).await.ok().flatten()
}

async fn write_note(data_dir: &Path, note: Checkpoint) -> Result<(), AnchorError> {
    let data_dir = data_dir.to_owned();
    let written = tokio::task::spawn_blocking(move || Anchor::open(&data_dir)?.append(&note));
    Ok(written.await.unwrap_or_else(|cause| Err(CheckpointError::Broken(cause.to_string())))?)
}

/// The head, if the record goes on from where it was last anchored.
async fn goes_on(conn: &mut PgConnection, last: Option<&Checkpoint>) -> Result<Head, AnchorError> {
    let head = audit::find_head(conn).await?.ok_or(AnchorError::NoHead)?;
    let Some(last) = last.filter(|last| last.seq > 0) else { return Ok(head) };
    if head.seq < last.seq {
        return Err(AnchorError::Shrunk { head: head.seq, anchored: last.seq });
    }
    match audit::find_hash(conn, last.seq).await? {
        Some(hash) if hash[..] == last.hash[..] => Ok(head),
        _ => Err(AnchorError::Differs { anchored: last.seq }),
    }
}

/// Says in the record that its end is missing, once for each time that it was lost. Has to come before anything else is appended: once the
/// record is as long as it was, only this tells a restored backup from a record that was tampered with.
pub async fn notice_cut(pool: &PgPool, data_dir: &Path) -> Result<(), AnchorError> {
    let Some(last) = last_note(data_dir).await else { return Ok(()) };
    let mut tx = pool.begin().await?;
    let Err(AnchorError::Shrunk { head, .. }) = goes_on(&mut tx, Some(&last)).await else { return Ok(()) };
    let hash = STANDARD.encode(last.hash);
    let said = audit::find_last(&mut tx, Code::AuditCutNoticed).await?;
    let said: Value = said.and_then(|record| serde_json::from_slice(&record.canonical).ok()).unwrap_or_default();
    if said["last_anchored_hash"] == hash.as_str() {
        return Ok(());
    }
    let body = json!({"last_seq": head, "last_anchored": last.seq, "last_anchored_hash": hash});
    audit::append(&mut tx, Code::AuditCutNoticed, &Actor::System, &body).await?;
    Ok(tx.commit().await?)
}

/// Accepts a record whose end is missing (a restored backup) or whose checkpoints are: says so in the record, keeps the old checkpoints under
/// another name and begins new ones. A record that was tampered with is not accepted, and one that is whole needs nothing.
pub async fn re_anchor(pool: &PgPool, data_dir: &Path, actor: &Actor, reason: &str, now: DateTime<Utc>) -> Result<Checkpoint, AnchorError> {
    let reason = reason.trim();
    if reason.chars().count() < 15 {
        return Err(AnchorError::NoReason);
    }
    let found = super::verify(pool, data_dir).await;
    if matches!(found.verdict, Verdict::Tampered | Verdict::Whole) {
        return Err(AnchorError::NotAcceptable(found.detail));
    }
    let mut conn = pool.acquire().await?;
    let head = audit::find_head(&mut conn).await?.ok_or(AnchorError::NoHead)?;
    drop(conn);
    if head.seq < found.last_seq || (head.seq > found.last_seq && found.lost.is_some_and(|lost| lost.behind_the_head)) {
        let missing = format!("The head row says {}, the records end at {}: restore both from one backup.", head.seq, found.last_seq);
        return Err(AnchorError::NotAcceptable(missing));
    }
    let old = last_note(data_dir).await;
    let mut tx = pool.begin().await?;
    let body = json!({
        "reason": reason, "verdict_before": found.verdict.as_str(),
        "last_seq": head.seq, "last_hash": STANDARD.encode(&head.hash),
        "last_anchored_before": old.as_ref().map(|old| old.seq), "last_anchored_hash_before": old.as_ref().map(|old| STANDARD.encode(old.hash)),
        "lost_from": found.lost.map(|lost| lost.from), "lost_to": found.lost.map(|lost| lost.to),
        // What became of them may have stood in the lost records; from here on they are held to what is said now.
        "flushes": found.astray.iter().map(|(flush, state)| json!({"id": flush, "state": state})).collect::<Vec<_>>(),
    });
    let appended = audit::append(&mut tx, Code::AuditReanchored, actor, &body).await?;
    tx.commit().await?;
    let hash = appended.hash.as_slice().try_into().map_err(|_| AnchorError::NoHead)?;
    let checkpoint = Checkpoint { seq: appended.seq, hash, at: now };
    let folder = data_dir.to_owned();
    let aside = tokio::task::spawn_blocking(move || checkpoints::set_aside(&folder, now)).await;
    aside.unwrap_or_else(|cause| Err(CheckpointError::Broken(cause.to_string())))?;
    write_note(data_dir, checkpoint.clone()).await?;
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
        match look(&app, asked).await {
            Ok(()) => {
                if std::mem::take(&mut complained) {
                    app.anchoring.remember_failed(None);
                    // Somebody anchored it anew, most likely: pages should say so now and not in an hour.
                    next_verification = app.clock.now();
                }
            }
            // Postgres or the pool not answering is told elsewhere, and says nothing about the record.
            Err(AnchorError::Store(_)) => {}
            // Once per cause of trouble, not every two seconds.
            Err(_) if complained => {}
            Err(cause) => {
                complained = true;
                tracing::error!(error.cause = %cause, "the audit record cannot be anchored");
                app.anchoring.remember_failed(Some(cause.to_string()));
                next_verification = app.clock.now();
            }
        }
        if app.clock.now() >= next_verification {
            next_verification = app.clock.now() + VERIFY_EVERY;
            verify(&app).await;
        }
    }
    // What was recorded since the last tick should not wait for the next start.
    if let Ok(Some(_)) = due_since(&app, 1, TimeDelta::MAX).await
        && let Err(cause) = anchor(&app).await
    {
        tracing::error!(error.cause = %cause, "the audit record cannot be anchored");
    }
}

/// Anchors what is due, and sees a record that no longer goes on from its last checkpoint, due or not.
async fn look(app: &AppState, asked: bool) -> Result<(), AnchorError> {
    let due = due_since(app, EVERY_RECORDS, EVERY).await;
    if let Err(AnchorError::Shrunk { .. }) = due {
        notice_cut(&app.pools.record, &app.config().data_dir).await?;
    }
    if due?.is_some() || asked { anchor(app).await.map(|_| ()) } else { Ok(()) }
}

async fn verify(app: &AppState) {
    match super::verify_now(app, &Actor::System).await {
        Ok(found) if found.verdict == Verdict::Whole => {}
        Ok(found) => tracing::error!(audit.verdict = found.verdict.as_str(), audit.detail = %found.detail, "the audit record is not whole"),
        Err(error) => tracing::warn!(error.detail = %error.detail, "a verification could not be recorded"),
    }
}

/// The head, where it is `records` further than the last checkpoint or that one is `age` old.
async fn due_since(app: &AppState, records: i64, age: TimeDelta) -> Result<Option<Head>, AnchorError> {
    let last = last_note(&app.config().data_dir).await;
    let mut conn = app.pools.record.acquire().await?;
    let head = goes_on(&mut conn, last.as_ref()).await?;
    let due = last.is_none_or(|last| head.seq - last.seq >= records || app.clock.now() - last.at >= age);
    Ok(due.then_some(head))
}
