//! Stale-read samples one by one, for what asks about keys and not about prefixes.

use super::raw;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// One stale-read sample.
#[derive(Clone, Debug)]
pub struct Sample {
    pub at: DateTime<Utc>,
    pub prefix_id: i64,
    /// None where keys of the prefix are not kept.
    pub key: Option<Vec<u8>>,
    pub stale: bool,
    pub delay_ms: Option<u64>,
}

/// Samples of these prefixes taken in `from..to`, newest first, at most `limit`.
pub async fn list_samples(
    conn: &mut PgConnection,
    prefix_ids: &[i64],
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Sample>, sqlx::Error> {
    let (first, last) = raw::days(from, to);
    let rows = sqlx::query!(
        r#"SELECT at, prefix_id AS "prefix_id!", key, stale AS "stale!", delay_ms FROM events.raw
           WHERE kind = 5 AND prefix_id = ANY($1) AND day BETWEEN $2 AND $3 AND at >= $4 AND at < $5 AND stale IS NOT NULL
           ORDER BY at DESC LIMIT $6"#,
        prefix_ids,
        first,
        last,
        from,
        to,
        limit
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Sample {
            at: row.at,
            prefix_id: row.prefix_id,
            key: row.key,
            stale: row.stale,
            delay_ms: row.delay_ms.and_then(|delay| u64::try_from(delay).ok()),
        })
        .collect())
}
