//! Single events, for lists and marks: the only readers of raw rows beside a recount. All of them name the days they look at, so that Postgres
//! looks into those partitions alone.

use super::raw::days;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

/// An annotation.
#[derive(Clone, Debug)]
pub struct Note {
    pub at: DateTime<Utc>,
    /// `None`: of the whole target.
    pub prefix_id: Option<i64>,
    pub kind: Option<i16>,
    pub text: Option<String>,
    pub link: Option<String>,
}

/// Annotations of targets in a span, newest first.
pub async fn list_notes(
    conn: &mut PgConnection,
    target_ids: &[i64],
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Note>, sqlx::Error> {
    let (first, last) = days(from, to);
    sqlx::query_as!(
        Note,
        "SELECT at, prefix_id, note_kind AS kind, note AS text, link FROM events.raw
         WHERE notable AND kind = 6 AND target_id = ANY($1) AND day BETWEEN $2 AND $3 AND at BETWEEN $4 AND $5 ORDER BY at DESC LIMIT $6",
        target_ids,
        first,
        last,
        from,
        to,
        limit
    )
    .fetch_all(conn)
    .await
}

/// A failed invalidation.
#[derive(Clone, Debug)]
pub struct Failed {
    pub at: DateTime<Utc>,
    pub key: Option<Vec<u8>>,
    pub method: Option<i16>,
    pub error_class: Option<i16>,
    pub error: Option<String>,
    pub latency_us: Option<i64>,
    pub mutation_id: Option<String>,
    pub source: Option<String>,
}

/// Failed invalidations of a prefix in `from..before`, newest first.
pub async fn list_failed(
    conn: &mut PgConnection,
    prefix_id: i64,
    from: DateTime<Utc>,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Failed>, sqlx::Error> {
    let (first, last) = days(from, before);
    sqlx::query_as!(
        Failed,
        r#"SELECT r.at, r.key, r.method, r.error_class, r.error, r.latency_us, r.mutation_id, s.name AS "source?"
           FROM events.raw r LEFT JOIN events.sources s ON s.source_id = r.source_id
           WHERE r.notable AND r.kind = 3 AND r.prefix_id = $1 AND r.day BETWEEN $2 AND $3 AND r.at >= $4 AND r.at < $5
           ORDER BY r.at DESC LIMIT $6"#,
        prefix_id,
        first,
        last,
        from,
        before,
        limit
    )
    .fetch_all(conn)
    .await
}

/// A stale-read sample that was stale.
#[derive(Clone, Debug)]
pub struct Stale {
    pub at: DateTime<Utc>,
    pub key: Option<Vec<u8>>,
    pub delay_ms: Option<i64>,
    pub read_path: Option<String>,
    pub cached_version: Option<String>,
    pub source_version: Option<String>,
    pub mutation_id: Option<String>,
    pub source: Option<String>,
}

/// Stale samples of a prefix in `from..before`, newest first.
pub async fn list_stale(
    conn: &mut PgConnection,
    prefix_id: i64,
    from: DateTime<Utc>,
    before: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<Stale>, sqlx::Error> {
    let (first, last) = days(from, before);
    sqlx::query_as!(
        Stale,
        r#"SELECT r.at, r.key, r.delay_ms, r.read_path, r.cached_version, r.source_version, r.mutation_id, s.name AS "source?"
           FROM events.raw r LEFT JOIN events.sources s ON s.source_id = r.source_id
           WHERE r.notable AND r.kind = 5 AND r.prefix_id = $1 AND r.day BETWEEN $2 AND $3 AND r.at >= $4 AND r.at < $5
           ORDER BY r.at DESC LIMIT $6"#,
        prefix_id,
        first,
        last,
        from,
        before,
        limit
    )
    .fetch_all(conn)
    .await
}

/// How many there are in a span, of the same kind as the lists: 3 failed invalidations, 5 stale samples.
pub async fn count_notable(
    conn: &mut PgConnection,
    prefix_id: i64,
    kind: i16,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<u64, sqlx::Error> {
    let (first, last) = days(from, to);
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM events.raw
           WHERE notable AND kind = $1 AND prefix_id = $2 AND day BETWEEN $3 AND $4 AND at >= $5 AND at < $6"#,
        kind,
        prefix_id,
        first,
        last,
        from,
        to
    )
    .fetch_one(conn)
    .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// A write's latest mutations.
#[derive(Clone, Debug)]
pub struct Write {
    pub endpoint: String,
    pub at: DateTime<Utc>,
    pub mutation_id: String,
}

/// The latest `each` mutations of every endpoint in the last days, newest first.
pub async fn list_writes(
    conn: &mut PgConnection,
    target_id: i64,
    endpoints: &[String],
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    each: i64,
) -> Result<Vec<Write>, sqlx::Error> {
    let (first, last) = days(from, to);
    sqlx::query_as!(
        Write,
        r#"SELECT e.endpoint AS "endpoint!", w.at AS "at!", w.mutation_id AS "mutation_id!"
           FROM UNNEST($2::text[]) AS e (endpoint)
           CROSS JOIN LATERAL (SELECT at, mutation_id FROM events.raw
                               WHERE kind = 4 AND target_id = $1 AND endpoint = e.endpoint AND day BETWEEN $3 AND $4 AND at BETWEEN $5 AND $6
                               ORDER BY at DESC LIMIT $7) w
           ORDER BY w.at DESC"#,
        target_id,
        endpoints,
        first,
        last,
        from,
        to,
        each
    )
    .fetch_all(conn)
    .await
}

/// Mutations of each endpoint in a span.
pub async fn count_writes(
    conn: &mut PgConnection,
    target_id: i64,
    endpoints: &[String],
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<(String, u64)>, sqlx::Error> {
    let (first, last) = days(from, to);
    let rows = sqlx::query!(
        r#"SELECT endpoint AS "endpoint!", count(*) AS "count!" FROM events.raw
           WHERE kind = 4 AND target_id = $1 AND endpoint = ANY($2) AND day BETWEEN $3 AND $4 AND at BETWEEN $5 AND $6 GROUP BY endpoint"#,
        target_id,
        endpoints,
        first,
        last,
        from,
        to
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.endpoint, u64::try_from(row.count).unwrap_or(0))).collect())
}

/// An invalidation that a write caused.
#[derive(Clone, Debug)]
pub struct Caused {
    pub prefix_id: i64,
    pub mutation_id: String,
    pub at: DateTime<Utc>,
    pub ok: bool,
    pub method: Option<i16>,
    pub error_class: Option<i16>,
}

/// How long after its write an invalidation is looked for.
const CAUSED_WITHIN: TimeDelta = TimeDelta::minutes(10);

/// Invalidations that name one of these mutations, newest first. Found by time (BRIN), so no index on mutations is kept.
pub async fn list_caused(conn: &mut PgConnection, prefix_ids: &[i64], writes: &[Write]) -> Result<Vec<Caused>, sqlx::Error> {
    let mutation_ids: Vec<String> = writes.iter().map(|write| write.mutation_id.clone()).collect();
    let from: Vec<DateTime<Utc>> = writes.iter().map(|write| write.at - TimeDelta::minutes(1)).collect();
    let to: Vec<DateTime<Utc>> = writes.iter().map(|write| write.at + CAUSED_WITHIN).collect();
    sqlx::query_as!(
        Caused,
        r#"SELECT r.prefix_id AS "prefix_id!", r.mutation_id AS "mutation_id!", r.at, (r.error_class IS NULL) AS "ok!", r.method, r.error_class
           FROM UNNEST($2::text[], $3::timestamptz[], $4::timestamptz[]) AS w (mutation_id, from_at, to_at)
           CROSS JOIN LATERAL (SELECT prefix_id, mutation_id, at, error_class, method FROM events.raw
                               WHERE kind = 3 AND prefix_id = ANY($1) AND mutation_id = w.mutation_id AND at BETWEEN w.from_at AND w.to_at
                                 AND day BETWEEN (w.from_at AT TIME ZONE 'UTC')::date AND (w.to_at AT TIME ZONE 'UTC')::date) r
           ORDER BY r.at DESC"#,
        prefix_ids,
        &mutation_ids,
        &from,
        &to
    )
    .fetch_all(conn)
    .await
}
