//! From the confirmation to the end. The start is the only place that makes a [`Permit`], and only once its commit is known.

use super::LEASE;
use crate::domain::flush::{ConfirmedPlan, Permit, Transition, first_grant};
use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

/// Why a start was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It was started, cancelled or has expired meanwhile, or is another one now.
    Moved,
    /// Another flush of this target is active.
    AnotherActive,
}

/// One progress row's counts: what is answered, and what may be sent beyond.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub removed: u64,
    pub gone: u64,
    pub failed: u64,
    /// JSON: keys by error class.
    pub failed_by_class: String,
    pub granted: u64,
    pub scanned: u64,
    /// JSON of what is only shown; None: as before.
    pub watch: Option<String>,
}

/// A progress row was written.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Somebody wants it cancelled.
    pub cancel_by: Option<String>,
}

/// How it ended.
#[derive(Clone, Debug, Default)]
pub struct Ended<'a> {
    pub residue: Option<u64>,
    pub sampled: Option<u64>,
    pub generation: Option<i64>,
    pub proven: bool,
    pub cause: Option<(&'a str, &'a str)>,
    pub verdict_due: Option<DateTime<Utc>>,
}

/// `planned → starting` under a new epoch, with the first credit. The transaction's commit then waits for the disk.
pub async fn mark_starting(
    conn: &mut PgConnection,
    confirmed: &ConfirmedPlan,
    cap: u64,
    now: DateTime<Utc>,
) -> Result<Result<i32, Refusal>, sqlx::Error> {
    sqlx::query!("SET LOCAL synchronous_commit = on").execute(&mut *conn).await?;
    let plan = confirmed.plan();
    let marked = sqlx::query_scalar!(
        "UPDATE control.flushes SET state = 'starting', state_at = $2, version = version + 1, confirmed_at = $2, begun_at = $2, reason = $3, incident = $4,
                cap = $5, granted = $6, removed = 0, gone = 0, failed = 0, failed_by_class = '{}', scanned = 0, started_at = NULL, cancel_by = NULL,
                cause = NULL, cause_detail = NULL, lease_epoch = lease_epoch + 1, lease_until = clock_timestamp() + make_interval(secs => $7)
         WHERE id = $1 AND state = 'planned' AND expires_at > $2 AND matched = $8 RETURNING lease_epoch",
        plan.flush_id,
        now,
        confirmed.reason(),
        confirmed.incident(),
        cap.cast_signed(),
        first_grant(cap).cast_signed(),
        LEASE.as_secs_f64(),
        plan.keys.cast_signed()
    )
    .fetch_optional(conn)
    .await;
    started(marked)
}

/// The epoch of a start, or why there is none.
pub(super) fn started(marked: Result<Option<i32>, sqlx::Error>) -> Result<Result<i32, Refusal>, sqlx::Error> {
    match marked {
        Ok(Some(epoch)) => Ok(Ok(epoch)),
        Ok(None) => Ok(Err(Refusal::Moved)),
        Err(sqlx::Error::Database(error)) if error.constraint() == Some("flushes_active") => Ok(Err(Refusal::AnotherActive)),
        Err(error) => Err(error),
    }
}

/// Commits a start and gives the permission to remove. Where the commit's answer is lost the row is read again; where that fails too,
/// there is no start.
pub async fn commit_start(start: Transaction<'_, Postgres>, pool: &PgPool, id: i64, epoch: i32) -> Result<Permit, sqlx::Error> {
    let Err(lost) = start.commit().await else { return Ok(Permit::after_commit(id, epoch)) };
    let committed = sqlx::query_scalar!(
        r#"SELECT true AS "yes!" FROM control.flushes WHERE id = $1 AND lease_epoch = $2 AND state = 'starting'"#,
        id,
        epoch
    )
    .fetch_optional(pool)
    .await?;
    if committed.is_some() { Ok(Permit::after_commit(id, epoch)) } else { Err(lost) }
}

/// `starting → running`.
pub async fn mark_running(conn: &mut PgConnection, id: i64, epoch: i32, now: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE control.flushes SET state = 'running', state_at = $3, started_at = coalesce(started_at, $3), version = version + 1,
                lease_until = clock_timestamp() + make_interval(secs => $4)
         WHERE id = $1 AND lease_epoch = $2 AND state = 'starting'",
        id,
        epoch,
        now,
        LEASE.as_secs_f64()
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A progress row: what is answered, and the credit beyond. Prolongs the lease. None: it is not ours any more.
pub async fn mark_progress(conn: &mut PgConnection, id: i64, epoch: i32, row: &Row) -> Result<Option<Progress>, sqlx::Error> {
    sqlx::query_as!(
        Progress,
        "UPDATE control.flushes SET removed = $3, gone = $4, failed = $5, failed_by_class = $6::text::jsonb, granted = $7, scanned = $8,
                watch = coalesce($10::text::jsonb, watch), version = version + 1, lease_until = clock_timestamp() + make_interval(secs => $9)
         WHERE id = $1 AND lease_epoch = $2 AND state = 'running' RETURNING cancel_by",
        id,
        epoch,
        row.removed.cast_signed(),
        row.gone.cast_signed(),
        row.failed.cast_signed(),
        row.failed_by_class,
        row.granted.cast_signed(),
        row.scanned.cast_signed(),
        LEASE.as_secs_f64(),
        row.watch
    )
    .fetch_optional(conn)
    .await
}

/// `running → verifying`: all is answered, nothing more will be sent.
pub async fn mark_verifying(conn: &mut PgConnection, id: i64, epoch: i32, row: &Row, now: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE control.flushes SET state = 'verifying', state_at = $8, version = version + 1, removed = $3, gone = $4, failed = $5,
                failed_by_class = $6::text::jsonb, granted = $10, scanned = $7, watch = coalesce($11::text::jsonb, watch), lease_until = clock_timestamp() + make_interval(secs => $9)
         WHERE id = $1 AND lease_epoch = $2 AND state = 'running'",
        id,
        epoch,
        row.removed.cast_signed(),
        row.gone.cast_signed(),
        row.failed.cast_signed(),
        row.failed_by_class,
        row.scanned.cast_signed(),
        now,
        LEASE.as_secs_f64(),
        row.granted.cast_signed(),
        row.watch
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The end, by whoever holds the lease, with the last counts.
pub async fn mark_ended(
    conn: &mut PgConnection,
    id: i64,
    epoch: i32,
    step: Transition,
    row: &Row,
    ended: &Ended<'_>,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE control.flushes SET state = $4, state_at = $5, ended_at = $5, version = version + 1, removed = $6, gone = $7, failed = $8,
                failed_by_class = $9::text::jsonb, granted = $10, scanned = $11, residue = $12, proven = $13, cause = $14, cause_detail = $15,
                verdict_due = $16, sampled = $17, generation = $18, watch = coalesce($19::text::jsonb, watch), lease_until = NULL
         WHERE id = $1 AND lease_epoch = $2 AND state = $3",
        id,
        epoch,
        step.from().as_str(),
        step.to().as_str(),
        now,
        row.removed.cast_signed(),
        row.gone.cast_signed(),
        row.failed.cast_signed(),
        row.failed_by_class,
        row.granted.cast_signed(),
        row.scanned.cast_signed(),
        ended.residue.map(u64::cast_signed),
        ended.proven,
        ended.cause.map(|cause| cause.0),
        ended.cause.map(|cause| cause.1),
        ended.verdict_due,
        ended.sampled.map(u64::cast_signed),
        ended.generation,
        row.watch
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes that somebody wants an active flush cancelled; its worker sees it at its next row or beat. False: it is not active.
pub async fn mark_cancel_wanted(conn: &mut PgConnection, id: i64, by: &str) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE control.flushes SET cancel_by = coalesce(cancel_by, $2), version = version + 1
         WHERE id = $1 AND state IN ('starting', 'running', 'paused')",
        id,
        by
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}
