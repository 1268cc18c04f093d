//! Bringing the schema up: forward only, safe from several replicas at once (sqlx takes an advisory lock on the database).
//!
//! Where nothing is missing, nothing is asked of Postgres but to read: a role that may not create anything starts a server all the same.

use std::collections::HashMap;
use std::str::FromStr as _;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

static CONTROL: Migrator = sqlx::migrate!("./migrations/control");
static EVENTS: Migrator = sqlx::migrate!("./migrations/events");

/// Which migrations of the schemas `control` and `audit` are applied. Releases before separated roles kept those of `events` here, too.
const CONTROL_LIST: &str = "_sqlx_migrations";
/// Which migrations of `events` are applied: in that schema, so that whoever owns it needs nothing else.
const EVENTS_LIST: &str = "events._sqlx_migrations";

/// Accounts, flushes and the audit record, as whoever may change those schemas.
pub async fn run_control(url: &str) -> Result<(), MigrateError> {
    let mut conn = connect(url).await?;
    run(&mut conn, &CONTROL, CONTROL_LIST).await?;
    conn.close().await?;
    Ok(())
}

/// Events. Always as the role that owns them, the server's own: whoever may change the audit record must never run what that role could have
/// put into its tables (a trigger, a default).
pub async fn run_events(url: &str) -> Result<(), MigrateError> {
    let mut conn = connect(url).await?;
    if !has_relation(&mut conn, EVENTS_LIST).await? {
        begin_events_list(&mut conn).await?;
    }
    run(&mut conn, &EVENTS, EVENTS_LIST).await?;
    conn.close().await?;
    Ok(())
}

async fn run(conn: &mut PgConnection, known: &Migrator, list: &'static str) -> Result<(), MigrateError> {
    if is_current(conn, known, list).await? {
        return Ok(());
    }
    let mut migrator = Migrator::with_migrations(known.iter().cloned().collect());
    migrator.dangerous_set_table_name(list);
    // Those of a later release, and in an older list those of the other schema.
    migrator.set_ignore_missing(true).run_direct(None, conn, false).await
}

/// Whether all that this release knows is applied, as it knows it.
async fn is_current(conn: &mut PgConnection, known: &Migrator, list: &str) -> Result<bool, sqlx::Error> {
    if !has_relation(conn, list).await? {
        return Ok(false);
    }
    let read = format!("SELECT version, checksum FROM {list} WHERE success");
    let applied: HashMap<i64, Vec<u8>> = sqlx::query_as(AssertSqlSafe(read)).fetch_all(conn).await?.into_iter().collect();
    Ok(known.iter().all(|migration| applied.get(&migration.version).is_some_and(|checksum| *checksum == migration.checksum[..])))
}

async fn has_relation(conn: &mut PgConnection, name: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(name).fetch_one(conn).await
}

/// Makes the list of `events`, with what the common list of earlier releases says of it.
async fn begin_events_list(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut tx = conn.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('stalewatch events list'))").execute(&mut *tx).await?;
    // Creating a schema that is there asks for the right to create one.
    let has_schema: bool = sqlx::query_scalar("SELECT to_regnamespace('events') IS NOT NULL").fetch_one(&mut *tx).await?;
    if !has_schema {
        sqlx::query("CREATE SCHEMA events").execute(&mut *tx).await?;
    }
    if has_relation(&mut tx, CONTROL_LIST).await? && !has_relation(&mut tx, EVENTS_LIST).await? {
        let versions: Vec<i64> = EVENTS.iter().map(|migration| migration.version).collect();
        let copy = format!("CREATE TABLE {EVENTS_LIST} (LIKE {CONTROL_LIST} INCLUDING ALL)");
        sqlx::query(AssertSqlSafe(copy)).execute(&mut *tx).await?;
        let fill = format!("INSERT INTO {EVENTS_LIST} SELECT * FROM {CONTROL_LIST} WHERE version = ANY($1)");
        sqlx::query(AssertSqlSafe(fill)).bind(versions).execute(&mut *tx).await?;
    }
    tx.commit().await
}

/// A connection without the pools' time-outs: another replica's migration may take a while. A server that is just starting is waited for.
pub(super) async fn connect(url: &str) -> Result<PgConnection, sqlx::Error> {
    let options = PgConnectOptions::from_str(url)?.application_name("stalewatch migrate");
    let mut tries = 0;
    loop {
        match PgConnection::connect_with(&options).await {
            Err(sqlx::Error::Io(_)) if tries < 20 => tries += 1,
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("57P03") && tries < 20 => tries += 1,
            other => return other,
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
