//! Raw events: partitions by day, and putting a batch in so that each event counts once.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _};
use std::borrow::Cow;

use super::encode::{HEADER, RowWriter, TRAILER, day_of};
use crate::domain::event::{Body, Event, Kind, Origin, Outcome};

/// Who an event is: the same three are the same event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    pub source_id: i64,
    /// Days since 1970.
    pub day: i32,
    pub id: [u8; 16],
}

/// What ingest found out about an event beyond what it says itself.
#[derive(Clone, Copy, Debug)]
pub struct Placed<'a> {
    pub identity: Identity,
    pub received_at_us: i64,
    pub target_id: i64,
    pub prefix_id: Option<i64>,
    pub origin: Origin,
    pub key: Option<&'a [u8]>,
    /// The read path, or `other`.
    pub read_path: Option<&'a str>,
    /// Whether the key that an invalidation made may be kept.
    pub keep_new_key: bool,
}

const COLUMNS: &str = "source_id, day, id, at, received_at, target_id, prefix_id, kind, origin, notable, key, read_path, hits, misses, \
    stale_served, errors, duration_us, outcome, cause, source_read_at, waiters, error, method, error_class, latency_us, keys_removed, \
    mutation_id, key_new, ttl_seconds, endpoint, params, stale, delay_ms, cached_version, source_version, note_kind, note, link";
const FIELDS: i16 = 38;

/// Appends the event's row, as COPY wants it, in the order of [`COLUMNS`].
pub fn encode(out: &mut Vec<u8>, event: &Event<'_>, placed: &Placed<'_>) {
    let mut row = RowWriter::begin(out, FIELDS);
    row.bigint(Some(placed.identity.source_id));
    row.date(placed.identity.day);
    row.bytes(Some(&placed.identity.id));
    row.timestamptz(Some(event.at_us));
    row.timestamptz(Some(placed.received_at_us));
    row.bigint(Some(placed.target_id));
    row.bigint(placed.prefix_id);
    row.smallint(Some(event.kind().code()));
    row.smallint(Some(placed.origin.code()));
    row.boolean(Some(match &event.body {
        Body::Invalidation(invalidation) => invalidation.failure.is_some(),
        Body::StaleRead(sample) => sample.stale,
        Body::Annotation(_) => true,
        _ => false,
    }));
    row.bytes(placed.key);
    row.text(placed.read_path);
    let access = if let Body::Access(access) = &event.body { Some(access) } else { None };
    row.integer(access.and_then(|access| access.hits));
    row.integer(access.and_then(|access| access.misses));
    row.integer(access.and_then(|access| access.stale_served));
    row.integer(access.and_then(|access| access.errors));
    let rebuild = if let Body::Rebuild(rebuild) = &event.body { Some(rebuild) } else { None };
    let invalidation = if let Body::Invalidation(invalidation) = &event.body { Some(invalidation) } else { None };
    let sample = if let Body::StaleRead(sample) = &event.body { Some(sample) } else { None };
    let mutation = if let Body::Mutation(mutation) = &event.body { Some(mutation) } else { None };
    let note = if let Body::Annotation(note) = &event.body { Some(note) } else { None };
    row.count(rebuild.map(|rebuild| rebuild.duration_us));
    let failed = |invalidation: &crate::domain::event::Invalidation<'_>| match invalidation.failure {
        Some(_) => Outcome::Error,
        None => Outcome::Ok,
    };
    row.smallint(rebuild.map(|rebuild| rebuild.outcome).or(invalidation.map(failed)).map(Outcome::code));
    row.smallint(rebuild.map(|rebuild| rebuild.cause.code()));
    row.timestamptz(rebuild.and_then(|rebuild| rebuild.source_read_at_us));
    row.integer(rebuild.and_then(|rebuild| rebuild.waiters));
    let error =
        rebuild.and_then(|rebuild| rebuild.error.as_deref()).or(invalidation.and_then(|invalidation| invalidation.error.as_deref()));
    row.text(error);
    row.smallint(invalidation.map(|invalidation| invalidation.method.code()));
    row.smallint(invalidation.and_then(|invalidation| invalidation.failure).map(crate::domain::event::ErrorClass::code));
    row.count(invalidation.and_then(|invalidation| invalidation.latency_us));
    row.integer(invalidation.and_then(|invalidation| invalidation.keys));
    row.text(match &event.body {
        Body::Invalidation(invalidation) => invalidation.mutation_id.as_deref(),
        Body::Mutation(mutation) => Some(&mutation.mutation_id),
        Body::StaleRead(sample) => sample.mutation_id.as_deref(),
        _ => None,
    });
    row.bytes(invalidation.and_then(|invalidation| invalidation.key_new.as_deref()).filter(|_| placed.keep_new_key).map(str::as_bytes));
    row.count(invalidation.and_then(|invalidation| invalidation.ttl_seconds).map(u64::from));
    row.text(mutation.map(|mutation| &*mutation.endpoint));
    row.jsonb(mutation.map(|mutation| params(&mutation.params)).as_deref());
    row.boolean(sample.map(|sample| sample.stale));
    row.count(sample.and_then(|sample| sample.delay_ms));
    row.text(sample.and_then(|sample| sample.cached_version.as_deref()));
    row.text(sample.and_then(|sample| sample.source_version.as_deref()));
    row.smallint(note.map(|note| note.kind.code()));
    row.text(note.map(|note| &*note.text));
    row.text(note.and_then(|note| note.link.as_deref()));
    debug_assert!(event.kind() != Kind::Mutation || placed.prefix_id.is_none(), "a mutation speaks of no prefix");
}

fn params(entries: &[(Cow<'_, str>, Cow<'_, str>)]) -> String {
    let map: std::collections::BTreeMap<_, _> = entries.iter().map(|(name, value)| (name, value)).collect();
    serde_json::to_string(&map).unwrap_or_else(|_| "{}".to_owned())
}

/// Readies a fresh connection: the table that a batch lands in where some of it may be known already.
pub async fn prepare_connection(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(
        "CREATE TEMPORARY TABLE IF NOT EXISTS raw_batch (LIKE events.raw) ON COMMIT DELETE ROWS;
         SET synchronous_commit = on;",
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Puts rows in that are believed to be new, all or none; a row that is known already is a unique violation. Half the work of
/// [`insert_new`], and right for almost every batch.
pub async fn copy_all<'a>(conn: &mut PgConnection, rows: impl Iterator<Item = &'a [u8]>) -> Result<(), sqlx::Error> {
    copy(conn, &format!("COPY events.raw ({COLUMNS}) FROM STDIN (FORMAT binary)"), rows).await
}

/// Puts in those rows that are not known yet, in the order given, and says which they were.
pub async fn insert_new<'a>(conn: &mut PgConnection, rows: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Identity>, sqlx::Error> {
    copy(conn, &format!("COPY pg_temp.raw_batch ({COLUMNS}) FROM STDIN (FORMAT binary)"), rows).await?;
    let sql = format!(
        "INSERT INTO events.raw ({COLUMNS}) SELECT {COLUMNS} FROM pg_temp.raw_batch ON CONFLICT DO NOTHING
         RETURNING source_id, day - date '1970-01-01' AS day, uuid_send(id) AS id"
    );
    let new = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *conn).await?;
    new.into_iter()
        .map(|row| {
            let id: Vec<u8> = row.try_get("id")?;
            let id = id.try_into().map_err(|_| sqlx::Error::Decode("events.raw.id is not 16 bytes".into()))?;
            Ok(Identity { source_id: row.try_get("source_id")?, day: row.try_get("day")?, id })
        })
        .collect()
}

/// Streams rows into a COPY.
pub(super) async fn copy<'a>(conn: &mut PgConnection, statement: &str, rows: impl Iterator<Item = &'a [u8]>) -> Result<(), sqlx::Error> {
    /// Bytes a message: large enough that the socket is not asked for every row.
    const CHUNK: usize = 256 * 1024;
    let mut stream = conn.copy_in_raw(statement).await?;
    let mut chunk = Vec::with_capacity(CHUNK + 4096);
    chunk.extend_from_slice(HEADER);
    for row in rows {
        chunk.extend_from_slice(row);
        if chunk.len() >= CHUNK {
            stream.send(chunk.as_slice()).await?;
            chunk.clear();
        }
    }
    chunk.extend_from_slice(TRAILER);
    stream.send(chunk.as_slice()).await?;
    stream.finish().await?;
    Ok(())
}

/// The instant at which a day begins.
fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(chrono::NaiveTime::MIN).and_utc()
}

/// Makes sure that a day can be written. Several processes may ask at once; attaching, unlike creating in place, does not wait for readers.
pub async fn ensure_day(conn: &mut PgConnection, day: NaiveDate) -> Result<(), sqlx::Error> {
    if find_day(conn, day).await? {
        return Ok(());
    }
    let name = partition(day);
    let mut tx = conn.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('events.raw'))").execute(&mut *tx).await?;
    if !find_day(&mut tx, day).await? {
        let next = day + TimeDelta::days(1);
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS events.{name} (LIKE events.raw INCLUDING ALL);
             ALTER TABLE events.raw ATTACH PARTITION events.{name} FOR VALUES FROM ('{day}') TO ('{next}');"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *tx).await?;
    }
    tx.commit().await
}

async fn find_day(conn: &mut PgConnection, day: NaiveDate) -> Result<bool, sqlx::Error> {
    let found = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'events.raw'::regclass AND inhrelid = to_regclass($1)
           AND NOT inhdetachpending) AS "found!""#,
        format!("events.{}", partition(day))
    );
    found.fetch_one(conn).await
}

fn partition(day: NaiveDate) -> String {
    format!("raw_{}", day.format("%Y%m%d"))
}

/// The days that have a partition, oldest first.
pub async fn list_days(conn: &mut PgConnection) -> Result<Vec<NaiveDate>, sqlx::Error> {
    let names = sqlx::query_scalar!(
        r#"SELECT c.relname::text AS "name!" FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
           WHERE i.inhparent = 'events.raw'::regclass ORDER BY c.relname"#
    );
    Ok(names
        .fetch_all(conn)
        .await?
        .iter()
        .filter_map(|name| NaiveDate::parse_from_str(name.strip_prefix("raw_")?, "%Y%m%d").ok())
        .collect())
}

/// Drops a day. Readers of other days are not waited for; must not be called inside a transaction.
pub async fn drop_day(conn: &mut PgConnection, day: NaiveDate) -> Result<(), sqlx::Error> {
    let name = partition(day);
    // A detach that was cut short is finished; the first statement fails where there is nothing to finish.
    let sql = format!("ALTER TABLE events.raw DETACH PARTITION events.{name} CONCURRENTLY");
    if let Err(cause) = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *conn).await {
        let sql = format!("ALTER TABLE events.raw DETACH PARTITION events.{name} FINALIZE");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *conn).await.map_err(|_| cause)?;
    }
    sqlx::raw_sql(AssertSqlSafe(format!("DROP TABLE IF EXISTS events.{name}"))).execute(conn).await?;
    Ok(())
}

/// The first and last day of a span, for the filter that lets Postgres skip partitions: every query of raw events names both.
pub fn days(from: DateTime<Utc>, to: DateTime<Utc>) -> (NaiveDate, NaiveDate) {
    (from.date_naive(), to.date_naive())
}

/// The calendar day of a day number.
pub fn calendar(day: i32) -> NaiveDate {
    NaiveDate::from_epoch_days(day).unwrap_or(NaiveDate::MIN)
}

/// The day number of an instant.
pub fn day_number(at: DateTime<Utc>) -> i32 {
    day_of(at.timestamp_micros())
}

/// Where a day begins, for counting by day.
pub fn day_start(day: i32) -> DateTime<Utc> {
    midnight(calendar(day))
}
