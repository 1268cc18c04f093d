//! How far figures can be trusted: what came in and what became of it, sources, spans in which nobody could see.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

/// What became of an event that was taken; other codes are those of rejections.
pub const ACCEPTED: &str = "accepted";
pub const DUPLICATE: &str = "duplicate";

/// Events of a source and span of one fate.
#[derive(Clone, Debug)]
pub struct Counted {
    pub source_id: i64,
    pub bucket: DateTime<Utc>,
    pub code: String,
    pub n: u64,
}

/// A source as it was last seen.
#[derive(Clone, Debug)]
pub struct Seen {
    pub source_id: i64,
    pub name: String,
    pub seen_at: DateTime<Utc>,
    pub newest_at: DateTime<Utc>,
    pub lag_ms: i64,
}

/// Adds counts and notes sources, in one transaction.
pub async fn mark_intake(conn: &mut PgConnection, counts: &[Counted], sources: &[Seen]) -> Result<(), sqlx::Error> {
    if counts.is_empty() && sources.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = counts.iter().map(|count| count.source_id).collect();
    let buckets: Vec<DateTime<Utc>> = counts.iter().map(|count| count.bucket).collect();
    let codes: Vec<String> = counts.iter().map(|count| count.code.clone()).collect();
    let numbers: Vec<i64> = counts.iter().map(|count| i64::try_from(count.n).unwrap_or(i64::MAX)).collect();
    let source_ids: Vec<i64> = sources.iter().map(|seen| seen.source_id).collect();
    let names: Vec<String> = sources.iter().map(|seen| seen.name.clone()).collect();
    let seen_at: Vec<DateTime<Utc>> = sources.iter().map(|seen| seen.seen_at).collect();
    let newest_at: Vec<DateTime<Utc>> = sources.iter().map(|seen| seen.newest_at).collect();
    let lags: Vec<i64> = sources.iter().map(|seen| seen.lag_ms).collect();
    sqlx::query!(
        "WITH counted AS (
             INSERT INTO events.intake AS i (source_id, bucket, code, n)
             SELECT * FROM UNNEST($1::bigint[], $2::timestamptz[], $3::text[], $4::bigint[]) ORDER BY 1, 2, 3
             ON CONFLICT (source_id, bucket, code) DO UPDATE SET n = i.n + excluded.n
         )
         INSERT INTO events.sources AS s (source_id, name, first_seen_at, last_seen_at, last_event_at, lag_ms)
         SELECT id, name, seen_at, seen_at, newest_at, lag_ms
         FROM UNNEST($5::bigint[], $6::text[], $7::timestamptz[], $8::timestamptz[], $9::bigint[]) AS t (id, name, seen_at, newest_at, lag_ms) ORDER BY id
         ON CONFLICT (source_id) DO UPDATE SET last_seen_at = greatest(s.last_seen_at, excluded.last_seen_at),
             last_event_at = greatest(s.last_event_at, excluded.last_event_at), lag_ms = excluded.lag_ms",
        &ids,
        &buckets,
        &codes,
        &numbers,
        &source_ids,
        &names,
        &seen_at,
        &newest_at,
        &lags
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Says that a process that takes events in lives.
pub async fn mark_alive(conn: &mut PgConnection, writer: i64, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO events.heartbeats (writer, started_at, beat_at) VALUES ($1, $2, $2) ON CONFLICT (writer) DO UPDATE SET beat_at = $2",
        writer,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// When any process last said that it lives.
pub async fn find_last_beat(conn: &mut PgConnection) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!("SELECT max(beat_at) FROM events.heartbeats").fetch_one(conn).await
}

/// Forgets intake, gaps and processes from before an instant.
pub async fn delete_old(conn: &mut PgConnection, before: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM events.heartbeats WHERE beat_at < $1", before).execute(&mut *conn).await?;
    sqlx::query!("DELETE FROM events.intake WHERE bucket < $1", before).execute(&mut *conn).await?;
    sqlx::query!("DELETE FROM events.gaps WHERE to_at < $1", before - TimeDelta::days(366)).execute(conn).await?;
    Ok(())
}

/// A span in which events may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// 0: all targets.
    pub target_id: i64,
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    pub why: String,
}

pub async fn insert_gap(
    conn: &mut PgConnection,
    target_id: i64,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    why: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO events.gaps (target_id, from_at, to_at, why) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        target_id,
        from,
        to,
        why
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Gaps that touch a span, oldest first.
pub async fn list_gaps(conn: &mut PgConnection, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Vec<Gap>, sqlx::Error> {
    sqlx::query_as!(
        Gap,
        r#"SELECT target_id, from_at AS "from", to_at AS "to", why FROM events.gaps WHERE from_at < $2 AND to_at > $1 ORDER BY from_at"#,
        from,
        to
    )
    .fetch_all(conn)
    .await
}

/// A source and when it last sent.
#[derive(Clone, Debug)]
pub struct Source {
    pub source_id: i64,
    pub name: String,
    pub first_seen_at: DateTime<Utc>,
    pub last_seen_at: DateTime<Utc>,
    pub last_event_at: DateTime<Utc>,
    pub lag_ms: i64,
}

pub async fn list_sources(conn: &mut PgConnection) -> Result<Vec<Source>, sqlx::Error> {
    sqlx::query_as!(Source, "SELECT source_id, name, first_seen_at, last_seen_at, last_event_at, lag_ms FROM events.sources ORDER BY name")
        .fetch_all(conn)
        .await
}

/// Events since an instant: accepted, and rejected.
pub async fn count_intake(conn: &mut PgConnection, since: DateTime<Utc>) -> Result<(u64, u64), sqlx::Error> {
    // Whole spans: the one that `since` falls into is counted.
    let row = sqlx::query!(
        r#"SELECT coalesce(sum(n) FILTER (WHERE code = 'accepted'), 0)::bigint AS "accepted!",
                  coalesce(sum(n) FILTER (WHERE code NOT IN ('accepted', 'duplicate')), 0)::bigint AS "rejected!"
           FROM events.intake WHERE bucket > $1"#,
        since - TimeDelta::minutes(5)
    )
    .fetch_one(conn)
    .await?;
    Ok((u64::try_from(row.accepted).unwrap_or(0), u64::try_from(row.rejected).unwrap_or(0)))
}
