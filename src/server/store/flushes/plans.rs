//! From the asking to a plan that may be confirmed.

use super::LEASE;
use crate::domain::flush::{Mode, Pace, Transition, WideReason};
use crate::domain::prefix::ScopeKind;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// What a person asked for.
#[derive(Clone, Debug)]
pub struct NewFlush<'a> {
    pub target: &'a str,
    pub scope: &'a str,
    pub scope_kind: ScopeKind,
    pub mode: Mode,
    pub pace: Pace,
    pub author_id: i64,
    pub author: &'a str,
    pub author_role: &'a str,
    pub now: DateTime<Utc>,
}

/// What a scan found.
#[derive(Clone, Debug)]
pub struct Found<'a> {
    pub scanned_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub matched: u64,
    pub versioned: u64,
    pub at_least: bool,
    pub keyspace: u64,
    pub wide: &'a [WideReason],
    pub run_id: &'a str,
    /// JSON of what is only shown.
    pub plan: &'a str,
    pub sample_keys: &'a [Vec<u8>],
}

/// How many in the last hour, and when the first of them was.
#[derive(Clone, Copy, Debug)]
pub struct Recent {
    pub count: i64,
    pub first: Option<DateTime<Utc>>,
}

/// Until the transaction ends nobody else counts or inserts plans of this person.
pub async fn lock_author(conn: &mut PgConnection, author_id: i64) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock(20031, ($1::bigint % 2147483647)::integer)", author_id).execute(conn).await?;
    Ok(())
}

/// A flush in `planning`, leased under epoch 1. Returns its number.
pub async fn insert(conn: &mut PgConnection, new: &NewFlush<'_>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO control.flushes (target, scope, scope_kind, mode, window_s, pace, author_id, author, author_role, created_at, state, state_at, lease_epoch, lease_until)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'planning', $10, 1, clock_timestamp() + make_interval(secs => $11)) RETURNING id",
        new.target,
        new.scope,
        new.scope_kind.as_str(),
        new.mode.as_str(),
        new.mode.window().map(|window| window.seconds().cast_signed()),
        new.pace.as_str(),
        new.author_id,
        new.author,
        new.author_role,
        new.now,
        LEASE.as_secs_f64()
    )
    .fetch_one(conn)
    .await
}

/// `planning → planned`, or `starting → planned` where a recount has drifted. False: it is not ours any more.
pub async fn mark_planned(conn: &mut PgConnection, id: i64, epoch: i32, step: Transition, found: &Found<'_>) -> Result<bool, sqlx::Error> {
    let wide: Vec<String> = found.wide.iter().map(|reason| reason.as_str().to_owned()).collect();
    let done = sqlx::query!(
        "UPDATE control.flushes SET state = $4, state_at = $5, version = version + 1, lease_until = NULL, scanned_at = $5, expires_at = $6, matched = $7,
                versioned = $8, at_least = $9, keyspace = $10, wide = $11, run_id = $12, plan = $13::text::jsonb, sample_keys = $14,
                confirmed_at = NULL, reason = NULL, incident = NULL, started_at = NULL, cap = NULL, granted = 0, begun_at = NULL,
                scope_hash = NULL, approve_until = NULL, start_until = NULL, decision = NULL, decided_at = NULL, decided_by_id = NULL,
                decided_by = NULL, decision_reason = NULL, break_glass_reason = NULL
         WHERE id = $1 AND lease_epoch = $2 AND state = $3",
        id,
        epoch,
        step.from().as_str(),
        step.to().as_str(),
        found.scanned_at,
        found.expires_at,
        found.matched.cast_signed(),
        found.versioned.cast_signed(),
        found.at_least,
        found.keyspace.cast_signed(),
        &wide,
        found.run_id,
        found.plan,
        found.sample_keys
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// `planning → plan_failed`.
pub async fn mark_plan_failed(
    conn: &mut PgConnection,
    id: i64,
    epoch: i32,
    cause: (&str, &str),
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE control.flushes SET state = 'plan_failed', state_at = $5, version = version + 1, lease_until = NULL, cause = $3, cause_detail = $4
         WHERE id = $1 AND lease_epoch = $2 AND state = 'planning'",
        id,
        epoch,
        cause.0,
        cause.1,
        now
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What waited for a person too long: a plan for its confirmation, a request for its approval, an approval for its start.
pub async fn list_expired(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT id FROM control.flushes WHERE state = 'planned' AND expires_at <= $1
         UNION ALL
         SELECT id FROM control.flushes WHERE state = 'awaiting_approval' AND approve_until <= $1
         UNION ALL
         SELECT id FROM control.flushes WHERE state = 'approved' AND start_until <= $1
         ORDER BY 1",
        now
    )
    .fetch_all(conn)
    .await
    .map(|ids| ids.into_iter().flatten().collect())
}

/// `planned, awaiting_approval, approved → expired`, if its time is really over.
pub async fn mark_expired(
    conn: &mut PgConnection,
    id: i64,
    step: Transition,
    cause: (&str, &str),
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE control.flushes SET state = $6, state_at = $2, version = version + 1, cause = $4, cause_detail = $5
         WHERE id = $1 AND state = $3
           AND CASE state WHEN 'planned' THEN expires_at WHEN 'awaiting_approval' THEN approve_until WHEN 'approved' THEN start_until END <= $2",
        id,
        now,
        step.from().as_str(),
        cause.0,
        cause.1,
        step.to().as_str()
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Plans this person asked for since then.
pub async fn count_plans(conn: &mut PgConnection, author_id: i64, since: DateTime<Utc>) -> Result<Recent, sqlx::Error> {
    sqlx::query_as!(
        Recent,
        r#"SELECT count(*) AS "count!", min(created_at) AS first FROM control.flushes WHERE author_id = $1 AND created_at > $2"#,
        author_id,
        since
    )
    .fetch_one(conn)
    .await
}

/// Flushes of this target started since then; `but` one of them.
pub async fn count_starts(conn: &mut PgConnection, target: &str, since: DateTime<Utc>, but: Option<i64>) -> Result<Recent, sqlx::Error> {
    sqlx::query_as!(
        Recent,
        r#"SELECT count(*) AS "count!", min(begun_at) AS first FROM control.flushes
           WHERE target = $1 AND begun_at > $2 AND ($3::bigint IS NULL OR id <> $3)"#,
        target,
        since,
        but
    )
    .fetch_one(conn)
    .await
}

/// Forgets the sample keys of flushes older than `before`. Returns how many.
pub async fn purge_samples(conn: &mut PgConnection, before: DateTime<Utc>) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE control.flushes SET sample_keys = '{}', samples_purged = true WHERE NOT samples_purged AND created_at < $1 AND state <> 'planning'",
        before
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}
