//! Names and their numbers, kept so that figures can be read by hand; leases; the names of read paths.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// A prefix's row.
#[derive(Clone, Debug)]
pub struct PrefixRow {
    pub prefix_id: i64,
    pub target_id: i64,
    pub name: String,
    pub registered: bool,
}

/// Notes targets and prefixes that are not known yet.
pub async fn insert_registry(
    conn: &mut PgConnection,
    targets: &[(i64, String)],
    prefixes: &[PrefixRow],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let (ids, names): (Vec<i64>, Vec<String>) = targets.iter().cloned().unzip();
    sqlx::query!(
        "INSERT INTO events.targets (target_id, name, first_seen_at) SELECT id, name, $3 FROM UNNEST($1::bigint[], $2::text[]) AS t (id, name)
         ON CONFLICT DO NOTHING",
        &ids,
        &names,
        now
    )
    .execute(&mut *conn)
    .await?;
    let ids: Vec<i64> = prefixes.iter().map(|prefix| prefix.prefix_id).collect();
    let target_ids: Vec<i64> = prefixes.iter().map(|prefix| prefix.target_id).collect();
    let names: Vec<String> = prefixes.iter().map(|prefix| prefix.name.clone()).collect();
    let registered: Vec<bool> = prefixes.iter().map(|prefix| prefix.registered).collect();
    sqlx::query!(
        "INSERT INTO events.prefixes (prefix_id, target_id, name, registered, first_seen_at)
         SELECT id, target_id, name, registered, $5 FROM UNNEST($1::bigint[], $2::bigint[], $3::text[], $4::boolean[]) AS p (id, target_id, name, registered)
         ON CONFLICT DO NOTHING",
        &ids,
        &target_ids,
        &names,
        &registered,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn list_read_paths(conn: &mut PgConnection) -> Result<Vec<(i64, String)>, sqlx::Error> {
    let rows = sqlx::query!("SELECT prefix_id, name FROM events.read_paths").fetch_all(conn).await?;
    Ok(rows.into_iter().map(|row| (row.prefix_id, row.name)).collect())
}

pub async fn insert_read_paths(conn: &mut PgConnection, paths: &[(i64, String)]) -> Result<(), sqlx::Error> {
    let (ids, names): (Vec<i64>, Vec<String>) = paths.iter().cloned().unzip();
    sqlx::query!(
        "INSERT INTO events.read_paths (prefix_id, name) SELECT DISTINCT * FROM UNNEST($1::bigint[], $2::text[]) ORDER BY 1, 2 ON CONFLICT DO NOTHING",
        &ids,
        &names
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes or keeps a lease for `ttl_s` seconds by the database's clock. `Some(epoch)` while it is ours.
pub async fn take_lease(conn: &mut PgConnection, name: &str, holder: i64, ttl_s: f64) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO events.leases AS l (name, holder, epoch, expires_at) VALUES ($1, $2, 1, clock_timestamp() + make_interval(secs => $3))
         ON CONFLICT (name) DO UPDATE SET holder = $2, expires_at = clock_timestamp() + make_interval(secs => $3),
             epoch = l.epoch + CASE WHEN l.holder = $2 THEN 0 ELSE 1 END
         WHERE l.holder = $2 OR l.expires_at < clock_timestamp()
         RETURNING epoch",
        name,
        holder,
        ttl_s
    )
    .fetch_optional(conn)
    .await
}

/// When a lease ends or ended, and whether its holder gave it back then; `None`: nobody ever held it.
pub async fn find_lease_end(conn: &mut PgConnection, name: &str) -> Result<Option<(DateTime<Utc>, bool)>, sqlx::Error> {
    sqlx::query_as("SELECT expires_at, holder = 0 FROM events.leases WHERE name = $1").bind(name).fetch_optional(conn).await
}

/// Gives a lease back before it ends.
pub async fn release_lease(conn: &mut PgConnection, name: &str, holder: i64) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE events.leases SET holder = 0, expires_at = clock_timestamp() WHERE name = $1 AND holder = $2")
        .bind(name)
        .bind(holder)
        .execute(conn)
        .await?;
    Ok(())
}

/// Whether the lease is still held under this epoch; locks it until the end of the transaction, so that nobody takes it over meanwhile.
pub async fn hold_lease(conn: &mut PgConnection, name: &str, holder: i64, epoch: i64) -> Result<bool, sqlx::Error> {
    let held = sqlx::query_scalar!(
        r#"SELECT 1 AS "held!" FROM events.leases WHERE name = $1 AND holder = $2 AND epoch = $3 AND expires_at > clock_timestamp() FOR UPDATE"#,
        name,
        holder,
        epoch
    );
    Ok(held.fetch_optional(conn).await?.is_some())
}
