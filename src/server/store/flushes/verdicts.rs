//! The verdict's appointments.

use super::{Flush, find};
use crate::domain::flush::Verdict;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// Flushes to be judged now.
pub async fn list_due(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<Vec<Flush>, sqlx::Error> {
    let due = sqlx::query_scalar!("SELECT id FROM control.flushes WHERE verdict_due <= $1 ORDER BY verdict_due LIMIT 50", now)
        .fetch_all(&mut *conn)
        .await?;
    let mut flushes = Vec::with_capacity(due.len());
    for id in due {
        flushes.extend(find(conn, id).await?);
    }
    Ok(flushes)
}

/// One judgement as it was made.
#[derive(Clone, Debug)]
pub struct Judged {
    pub after_min: i32,
    pub judged_at: DateTime<Utc>,
    pub verdict: String,
    /// JSON of its figures.
    pub judgement: String,
}

/// All judgements of a flush, in their order.
pub async fn list_judged(conn: &mut PgConnection, flush_id: i64) -> Result<Vec<Judged>, sqlx::Error> {
    sqlx::query_as!(
        Judged,
        r#"SELECT after_min, judged_at, verdict, judgement::text AS "judgement!" FROM control.verdicts WHERE flush_id = $1 ORDER BY after_min"#,
        flush_id
    )
    .fetch_all(conn)
    .await
}

/// Stores a judgement (JSON) of that many minutes after the end, and the next appointment. False: somebody else judged it meanwhile.
pub async fn mark_judged(
    conn: &mut PgConnection,
    flush: &Flush,
    verdict: Verdict,
    after_min: i32,
    judgement: &str,
    next: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE control.flushes SET verdict = $3, judgement = $4::text::jsonb, verdict_due = $5, version = version + 1
         WHERE id = $1 AND verdict_due = $2",
        flush.id,
        flush.verdict_due,
        verdict.as_str(),
        judgement,
        next
    )
    .execute(&mut *conn)
    .await?;
    if done.rows_affected() != 1 {
        return Ok(false);
    }
    sqlx::query!(
        "INSERT INTO control.verdicts (flush_id, after_min, judged_at, verdict, judgement) VALUES ($1, $2, $3, $4, $5::text::jsonb)
         ON CONFLICT (flush_id, after_min) DO UPDATE SET judged_at = $3, verdict = $4, judgement = $5::text::jsonb",
        flush.id,
        after_min,
        now,
        verdict.as_str(),
        judgement
    )
    .execute(conn)
    .await?;
    Ok(true)
}
