//! From the confirmation of a wide flush to its start: it waits for a second person, then for its requester. What is decided comes as a type
//! that only the rules make; the row must still carry the hash that was decided on.

use super::LEASE;
use super::runs::{Refusal, started};
use crate::domain::flush::{Approval, ApprovedPlan, BrokenGlass, ConfirmedPlan, GRANT_FIRST, Rejection, ScopeHash, State};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// Who decides.
#[derive(Clone, Copy, Debug)]
pub struct Decider<'a> {
    pub id: i64,
    pub email: &'a str,
}

/// A flush that waits for a person.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub id: i64,
    pub target: String,
    pub scope: String,
    pub author_id: i64,
    pub author: String,
    pub state: State,
    pub matched: u64,
    /// Until then it may be approved, or started.
    pub until: DateTime<Utc>,
}

/// `planned → awaiting_approval`: uses up the plan. False: it was used, has expired, or is another one now.
pub async fn mark_awaiting(
    conn: &mut PgConnection,
    confirmed: &ConfirmedPlan,
    cap: u64,
    hash: ScopeHash,
    until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let plan = confirmed.plan();
    let done = sqlx::query!(
        "UPDATE control.flushes SET state = 'awaiting_approval', state_at = $2, version = version + 1, confirmed_at = $2, reason = $3, incident = $4,
                cap = $5, scope_hash = $6, approve_until = $7, cancel_by = NULL, cause = NULL, cause_detail = NULL
         WHERE id = $1 AND state = 'planned' AND expires_at > $2 AND matched = $8",
        plan.flush_id,
        now,
        confirmed.reason(),
        confirmed.incident(),
        cap.cast_signed(),
        &hash.0[..],
        until,
        plan.keys.cast_signed()
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// `awaiting_approval → approved` by a second person.
pub async fn mark_approved(conn: &mut PgConnection, approval: &Approval, by: Decider<'_>, now: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE control.flushes SET state = 'approved', state_at = $2, version = version + 1, decision = 'approved', decided_at = $2,
                decided_by_id = $3, decided_by = $4, start_until = $5
         WHERE id = $1 AND state = 'awaiting_approval' AND approve_until > $2 AND scope_hash = $6",
        approval.flush_id(),
        now,
        by.id,
        by.email,
        approval.start_until(),
        &approval.hash().0[..]
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// `awaiting_approval → approved` by one admin alone.
pub async fn mark_broken_glass(conn: &mut PgConnection, broken: &BrokenGlass, now: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    let approval = broken.approval();
    let done = sqlx::query!(
        "UPDATE control.flushes SET state = 'approved', state_at = $2, version = version + 1, break_glass_reason = $3, start_until = $4
         WHERE id = $1 AND state = 'awaiting_approval' AND approve_until > $2 AND scope_hash = $5",
        approval.flush_id(),
        now,
        broken.reason(),
        approval.start_until(),
        &approval.hash().0[..]
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// `awaiting_approval → rejected`.
pub async fn mark_rejected(
    conn: &mut PgConnection,
    rejection: &Rejection,
    by: Decider<'_>,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE control.flushes SET state = 'rejected', state_at = $2, version = version + 1, decision = 'rejected', decided_at = $2,
                decided_by_id = $3, decided_by = $4, decision_reason = $5
         WHERE id = $1 AND state = 'awaiting_approval' AND approve_until > $2",
        rejection.flush_id(),
        now,
        by.id,
        by.email,
        rejection.reason()
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// `awaiting_approval, approved → cancelled`.
pub async fn mark_withdrawn(conn: &mut PgConnection, id: i64, by: &str, detail: &str, now: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE control.flushes SET state = 'cancelled', state_at = $2, version = version + 1, cancel_by = $3, cause = 'cancelled',
                cause_detail = $4
         WHERE id = $1 AND state IN ('awaiting_approval', 'approved')",
        id,
        now,
        by,
        detail
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// `approved → starting` under a new epoch, with the first credit. The transaction's commit then waits for the disk.
pub async fn mark_starting_approved(
    conn: &mut PgConnection,
    approved: &ApprovedPlan,
    now: DateTime<Utc>,
) -> Result<Result<i32, Refusal>, sqlx::Error> {
    sqlx::query!("SET LOCAL synchronous_commit = on").execute(&mut *conn).await?;
    let marked = sqlx::query_scalar!(
        "UPDATE control.flushes SET state = 'starting', state_at = $2, version = version + 1, begun_at = $2, granted = least($3, cap), removed = 0, gone = 0,
                failed = 0, failed_by_class = '{}', scanned = 0, started_at = NULL, cancel_by = NULL, cause = NULL, cause_detail = NULL,
                lease_epoch = lease_epoch + 1, lease_until = clock_timestamp() + make_interval(secs => $4)
         WHERE id = $1 AND state = 'approved' AND start_until > $2 AND scope_hash = $5 RETURNING lease_epoch",
        approved.flush_id(),
        now,
        GRANT_FIRST.cast_signed(),
        LEASE.as_secs_f64(),
        &approved.hash().0[..]
    )
    .fetch_optional(conn)
    .await;
    started(marked)
}

/// What waits for a person now, the oldest first. At most 50.
pub async fn list_waiting(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<Waiting>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT id, target, scope, author_id, author, state, coalesce(matched, 0) AS "matched!", coalesce(start_until, approve_until) AS "until!"
           FROM control.flushes
           WHERE state IN ('awaiting_approval', 'approved') AND coalesce(start_until, approve_until) > $1 ORDER BY id LIMIT 50"#,
        now
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            Some(Waiting {
                id: row.id,
                target: row.target,
                scope: row.scope,
                author_id: row.author_id,
                author: row.author,
                state: State::parse(&row.state)?,
                matched: row.matched.cast_unsigned(),
                until: row.until,
            })
        })
        .collect())
}
