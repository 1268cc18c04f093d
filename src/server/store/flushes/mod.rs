//! Flushes in Postgres: one row each, from the asking to the verdict. A change of state only happens from the state and under the lease epoch
//! that the caller names; whoever finds nothing to change has lost the flush to somebody else and must stop.
//!
//! Times of leases are the database's; all others are the caller's.

mod approvals;
mod leases;
mod plans;
mod resumes;
mod runs;
mod verdicts;

pub use approvals::{
    Decider, Waiting, list_waiting, mark_approved, mark_awaiting, mark_broken_glass, mark_rejected, mark_starting_approved, mark_withdrawn,
};
pub use leases::{Beat, Overdue, list_overdue, mark_beat, mark_reaped};
pub use plans::{
    Found, NewFlush, Recent, count_plans, count_starts, insert, list_expired, lock_author, mark_expired, mark_plan_failed, mark_planned,
    purge_samples,
};
pub use resumes::mark_resumed;
pub use runs::{
    Ended, Progress, Refusal, Row, commit_start, mark_cancel_wanted, mark_ended, mark_progress, mark_running, mark_starting, mark_verifying,
};
pub use verdicts::{Judged, list_due, list_judged, mark_judged};

use crate::domain::flush::{Mode, Pace, ScopeHash, State, Verdict, WideReason};
use crate::domain::prefix::ScopeKind;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use std::time::Duration;

/// A lease lasts this long; whoever holds it beats every 5 s.
pub const LEASE: Duration = Duration::from_secs(20);

/// Every flush and the state it is in, for verifying the audit record.
pub async fn list_states(conn: &mut PgConnection) -> Result<Vec<(i64, String)>, sqlx::Error> {
    let rows = sqlx::query!("SELECT id, state FROM control.flushes ORDER BY id").fetch_all(conn).await?;
    Ok(rows.into_iter().map(|row| (row.id, row.state)).collect())
}

/// A flush as stored.
#[derive(Clone, Debug)]
pub struct Flush {
    pub id: i64,
    pub target: String,
    pub scope: String,
    pub scope_kind: ScopeKind,
    pub mode: Mode,
    pub pace: Pace,
    pub author_id: i64,
    pub author: String,
    pub author_role: String,
    pub created_at: DateTime<Utc>,
    pub state: State,
    pub state_at: DateTime<Utc>,
    pub cause: Option<String>,
    pub cause_detail: Option<String>,
    pub version: i64,
    pub scanned_at: Option<DateTime<Utc>>,
    pub expires_at: Option<DateTime<Utc>>,
    pub matched: Option<u64>,
    pub versioned: Option<u64>,
    pub at_least: bool,
    pub keyspace: Option<u64>,
    pub wide: Vec<WideReason>,
    pub run_id: Option<String>,
    /// JSON of what is only shown.
    pub plan: Option<String>,
    pub sample_keys: Vec<Vec<u8>>,
    pub samples_purged: bool,
    pub confirmed_at: Option<DateTime<Utc>>,
    pub reason: Option<String>,
    pub incident: Option<String>,
    /// What a second person approves; None: none is needed.
    pub scope_hash: Option<ScopeHash>,
    pub approve_until: Option<DateTime<Utc>>,
    pub start_until: Option<DateTime<Utc>>,
    pub decision: Option<Decision>,
    /// Why one admin went on alone.
    pub break_glass_reason: Option<String>,
    /// The part of `granted` that earlier runs left behind.
    pub carried: u64,
    /// How often it was gone on with.
    pub resumed: u32,
    pub lease_epoch: i32,
    pub cap: Option<u64>,
    pub granted: u64,
    pub removed: u64,
    pub gone: u64,
    pub failed: u64,
    /// JSON: keys by error class.
    pub failed_by_class: String,
    pub scanned: u64,
    pub started_at: Option<DateTime<Utc>>,
    pub cancel_by: Option<String>,
    pub ended_at: Option<DateTime<Utc>>,
    pub residue: Option<u64>,
    /// Of how many keys the residue is counted, where only a sample was looked at.
    pub sampled: Option<u64>,
    /// What a generation was raised to.
    pub generation: Option<i64>,
    pub proven: bool,
    pub verdict: Option<Verdict>,
    /// JSON of the latest judgement.
    pub judgement: Option<String>,
    pub verdict_due: Option<DateTime<Utc>>,
    /// JSON: what others felt, and the masters' counts.
    pub watch: Option<String>,
}

/// What a second person said.
#[derive(Clone, Debug)]
pub struct Decision {
    pub approved: bool,
    pub at: DateTime<Utc>,
    pub by_id: i64,
    pub by: String,
    pub reason: Option<String>,
}

impl Flush {
    pub fn is_wide(&self) -> bool {
        !self.wide.is_empty()
    }
}

/// The columns as Postgres has them.
struct Stored {
    id: i64,
    target: String,
    scope: String,
    scope_kind: String,
    mode: String,
    window_s: Option<i32>,
    pace: String,
    author_id: i64,
    author: String,
    author_role: String,
    created_at: DateTime<Utc>,
    state: String,
    state_at: DateTime<Utc>,
    cause: Option<String>,
    cause_detail: Option<String>,
    version: i64,
    scanned_at: Option<DateTime<Utc>>,
    expires_at: Option<DateTime<Utc>>,
    matched: Option<i64>,
    versioned: Option<i64>,
    at_least: bool,
    keyspace: Option<i64>,
    wide: Vec<String>,
    run_id: Option<String>,
    plan: Option<String>,
    sample_keys: Vec<Vec<u8>>,
    samples_purged: bool,
    confirmed_at: Option<DateTime<Utc>>,
    reason: Option<String>,
    incident: Option<String>,
    scope_hash: Option<Vec<u8>>,
    approve_until: Option<DateTime<Utc>>,
    start_until: Option<DateTime<Utc>>,
    decision: Option<String>,
    decided_at: Option<DateTime<Utc>>,
    decided_by_id: Option<i64>,
    decided_by: Option<String>,
    decision_reason: Option<String>,
    break_glass_reason: Option<String>,
    carried: i64,
    resumed: i32,
    lease_epoch: i32,
    cap: Option<i64>,
    granted: i64,
    removed: i64,
    gone: i64,
    failed: i64,
    failed_by_class: String,
    scanned: i64,
    started_at: Option<DateTime<Utc>>,
    cancel_by: Option<String>,
    ended_at: Option<DateTime<Utc>>,
    residue: Option<i64>,
    sampled: Option<i64>,
    generation: Option<i64>,
    proven: bool,
    verdict: Option<String>,
    judgement: Option<String>,
    verdict_due: Option<DateTime<Utc>>,
    watch: Option<String>,
}

impl TryFrom<Stored> for Flush {
    type Error = sqlx::Error;

    fn try_from(row: Stored) -> Result<Self, sqlx::Error> {
        let id = row.id;
        let bad = |column: &str, text: &str| sqlx::Error::Decode(format!("control.flushes {id}: {column} is {text:?}").into());
        Ok(Self {
            id,
            scope_kind: ScopeKind::parse(&row.scope_kind).ok_or_else(|| bad("scope_kind", &row.scope_kind))?,
            mode: Mode::parse(&row.mode, row.window_s.map(i32::cast_unsigned)).map_err(|_| bad("mode", &row.mode))?,
            pace: Pace::parse(&row.pace).ok_or_else(|| bad("pace", &row.pace))?,
            state: State::parse(&row.state).ok_or_else(|| bad("state", &row.state))?,
            wide: row.wide.iter().map(|text| WideReason::parse(text).ok_or_else(|| bad("wide", text))).collect::<Result<_, _>>()?,
            verdict: row.verdict.map(|text| Verdict::parse(&text).ok_or_else(|| bad("verdict", &text))).transpose()?,
            scope_hash: row
                .scope_hash
                .map(|bytes| bytes.try_into().map(ScopeHash).map_err(|_| bad("scope_hash", "not 32 bytes")))
                .transpose()?,
            decision: match (row.decision.as_deref(), row.decided_at, row.decided_by_id, row.decided_by) {
                (None, ..) => None,
                (Some(said @ ("approved" | "rejected")), Some(at), Some(by_id), Some(by)) => {
                    Some(Decision { approved: said == "approved", at, by_id, by, reason: row.decision_reason })
                }
                (Some(said), ..) => return Err(bad("decision", said)),
            },
            approve_until: row.approve_until,
            start_until: row.start_until,
            break_glass_reason: row.break_glass_reason,
            carried: row.carried.cast_unsigned(),
            resumed: row.resumed.cast_unsigned(),
            target: row.target,
            scope: row.scope,
            author_id: row.author_id,
            author: row.author,
            author_role: row.author_role,
            created_at: row.created_at,
            state_at: row.state_at,
            cause: row.cause,
            cause_detail: row.cause_detail,
            version: row.version,
            scanned_at: row.scanned_at,
            expires_at: row.expires_at,
            matched: row.matched.map(i64::cast_unsigned),
            versioned: row.versioned.map(i64::cast_unsigned),
            at_least: row.at_least,
            keyspace: row.keyspace.map(i64::cast_unsigned),
            run_id: row.run_id,
            plan: row.plan,
            sample_keys: row.sample_keys,
            samples_purged: row.samples_purged,
            confirmed_at: row.confirmed_at,
            reason: row.reason,
            incident: row.incident,
            lease_epoch: row.lease_epoch,
            cap: row.cap.map(i64::cast_unsigned),
            granted: row.granted.cast_unsigned(),
            removed: row.removed.cast_unsigned(),
            gone: row.gone.cast_unsigned(),
            failed: row.failed.cast_unsigned(),
            failed_by_class: row.failed_by_class,
            scanned: row.scanned.cast_unsigned(),
            started_at: row.started_at,
            cancel_by: row.cancel_by,
            ended_at: row.ended_at,
            residue: row.residue.map(i64::cast_unsigned),
            sampled: row.sampled.map(i64::cast_unsigned),
            generation: row.generation,
            proven: row.proven,
            judgement: row.judgement,
            verdict_due: row.verdict_due,
            watch: row.watch,
        })
    }
}

/// One flush.
pub async fn find(conn: &mut PgConnection, id: i64) -> Result<Option<Flush>, sqlx::Error> {
    let found = sqlx::query_as!(
        Stored,
        r#"SELECT id, target, scope, scope_kind, mode, window_s, pace, author_id, author, author_role, created_at, state, state_at, cause, cause_detail, version,
                  scanned_at, expires_at, matched, versioned, at_least, keyspace, wide, run_id, plan::text, sample_keys, samples_purged,
                  confirmed_at, reason, incident, scope_hash, approve_until, start_until, decision,
                  decided_at, decided_by_id, decided_by, decision_reason, break_glass_reason, carried, resumed, lease_epoch, cap, granted, removed, gone, failed, failed_by_class::text AS "failed_by_class!",
                  scanned, started_at, cancel_by, ended_at, residue, sampled, generation, proven, verdict, judgement::text, verdict_due, watch::text
           FROM control.flushes WHERE id = $1"#,
        id
    )
    .fetch_optional(conn)
    .await?;
    found.map(Flush::try_from).transpose()
}

/// The latest flushes, newest first; of one target, or of all. Their samples are left out.
pub async fn list_recent(
    conn: &mut PgConnection,
    target: Option<&str>,
    since: Option<DateTime<Utc>>,
    limit: i64,
) -> Result<Vec<Flush>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Stored,
        r#"SELECT id, target, scope, scope_kind, mode, window_s, pace, author_id, author, author_role, created_at, state, state_at, cause, cause_detail, version,
                  scanned_at, expires_at, matched, versioned, at_least, keyspace, wide, run_id, plan::text, ARRAY[]::bytea[] AS "sample_keys!",
                  samples_purged, confirmed_at, reason, incident, scope_hash, approve_until, start_until, decision,
                  decided_at, decided_by_id, decided_by, decision_reason, break_glass_reason, carried, resumed, lease_epoch, cap, granted, removed, gone, failed,
                  failed_by_class::text AS "failed_by_class!", scanned, started_at, cancel_by, ended_at, residue, sampled, generation, proven, verdict,
                  judgement::text, verdict_due, watch::text
           FROM control.flushes
           WHERE ($1::text IS NULL OR target = $1) AND ($2::timestamptz IS NULL OR created_at >= $2)
           ORDER BY id DESC LIMIT $3"#,
        target,
        since,
        limit
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(Flush::try_from).collect()
}
