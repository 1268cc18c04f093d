//! Leases: who works on a flush, and what becomes of one whose worker is gone.

use super::LEASE;
use crate::domain::flush::{State, Transition};
use sqlx::PgConnection;

/// A lease was prolonged.
#[derive(Clone, Debug)]
pub struct Beat {
    /// Somebody wants it cancelled.
    pub cancel_by: Option<String>,
}

/// A flush whose lease is over.
#[derive(Clone, Debug)]
pub struct Overdue {
    pub id: i64,
    pub target: String,
    pub scope: String,
    pub state: State,
    pub lease_epoch: i32,
    pub removed: u64,
    pub gone: u64,
    pub failed: u64,
    pub granted: u64,
}

/// Prolongs the lease. None: it is not ours any more.
pub async fn mark_beat(conn: &mut PgConnection, id: i64, epoch: i32) -> Result<Option<Beat>, sqlx::Error> {
    sqlx::query_as!(
        Beat,
        "UPDATE control.flushes SET lease_until = clock_timestamp() + make_interval(secs => $3)
         WHERE id = $1 AND lease_epoch = $2 AND lease_until IS NOT NULL RETURNING cancel_by",
        id,
        epoch,
        LEASE.as_secs_f64()
    )
    .fetch_optional(conn)
    .await
}

/// Flushes whose worker has been silent past its lease.
pub async fn list_overdue(conn: &mut PgConnection) -> Result<Vec<Overdue>, sqlx::Error> {
    // Nothing is sent before `running` is committed: what `starting` grants is not used yet.
    let rows = sqlx::query!(
        r#"SELECT id, target, scope, state, lease_epoch, removed, gone, failed,
                CASE WHEN state = 'starting' THEN carried ELSE granted END AS "granted!" FROM control.flushes
         WHERE lease_until < clock_timestamp() AND state IN ('planning', 'starting', 'running', 'paused', 'verifying') ORDER BY id"#
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            Some(Overdue {
                id: row.id,
                target: row.target,
                scope: row.scope,
                state: State::parse(&row.state)?,
                lease_epoch: row.lease_epoch,
                removed: row.removed.cast_unsigned(),
                gone: row.gone.cast_unsigned(),
                failed: row.failed.cast_unsigned(),
                granted: row.granted.cast_unsigned(),
            })
        })
        .collect())
}

/// Takes an overdue flush away from its worker: the epoch moves, so that nothing it still writes counts. `planning` fails, the rest is
/// interrupted. False: somebody else was first, or the worker is alive after all.
pub async fn mark_reaped(
    conn: &mut PgConnection,
    overdue: &Overdue,
    step: Transition,
    cause: (&str, &str),
    now: chrono::DateTime<chrono::Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE control.flushes SET state = $4, state_at = $7, version = version + 1, lease_epoch = lease_epoch + 1, lease_until = NULL,
                cause = $5, cause_detail = $6, granted = CASE WHEN $3 = 'starting' THEN carried ELSE granted END,
                ended_at = CASE WHEN $3 = 'planning' THEN NULL ELSE $7::timestamptz END,
                verdict_due = CASE WHEN $3 IN ('planning', 'starting') THEN NULL ELSE $7::timestamptz + interval '1 minute' END
         WHERE id = $1 AND lease_epoch = $2 AND state = $3 AND lease_until < clock_timestamp()",
        overdue.id,
        overdue.lease_epoch,
        step.from().as_str(),
        step.to().as_str(),
        cause.0,
        cause.1,
        now
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}
