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

/// Stores a judgement (JSON) and the next appointment. False: somebody else judged it meanwhile.
pub async fn mark_judged(
    conn: &mut PgConnection,
    flush: &Flush,
    verdict: Verdict,
    judgement: &str,
    next: Option<DateTime<Utc>>,
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
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}
