//! What the prefixes of a target went through in the last seconds, from single events: rollups know minutes at best.

use super::raw::days;
use super::target_id;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// One prefix in a short span.
#[derive(Clone, Copy, Debug)]
pub struct Lately {
    pub prefix_id: i64,
    pub rebuilds: i64,
    /// Of those, with an error or a time-out.
    pub failed: i64,
    /// 95th percentile of the durations, microseconds.
    pub rebuild_p95_us: Option<i64>,
    /// Reads of events that measured both hits and misses, and their misses.
    pub reads: i64,
    pub misses: i64,
}

/// Rebuilds and reads of a target's prefixes in `from..to`.
pub async fn list_lately(
    conn: &mut PgConnection,
    target: &str,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<Lately>, sqlx::Error> {
    let (first, last) = days(from, to);
    sqlx::query_as!(
        Lately,
        r#"SELECT prefix_id AS "prefix_id!", count(*) FILTER (WHERE kind = 2) AS "rebuilds!", count(*) FILTER (WHERE kind = 2 AND outcome <> 1) AS "failed!",
                  percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_us) FILTER (WHERE kind = 2) AS rebuild_p95_us,
                  coalesce(sum(hits::bigint + misses + coalesce(stale_served, 0)) FILTER (WHERE hits IS NOT NULL AND misses IS NOT NULL), 0)::bigint AS "reads!",
                  coalesce(sum(misses) FILTER (WHERE hits IS NOT NULL AND misses IS NOT NULL), 0)::bigint AS "misses!"
           FROM events.raw
           WHERE target_id = $1 AND prefix_id IS NOT NULL AND kind IN (1, 2) AND day BETWEEN $2 AND $3 AND at >= $4 AND at < $5
           GROUP BY prefix_id"#,
        target_id(target),
        first,
        last,
        from,
        to
    )
    .fetch_all(conn)
    .await
}
