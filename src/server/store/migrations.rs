//! Bringing the schema up: forward only, safe from several replicas at once (sqlx takes an advisory lock on the database).

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

static CONTROL: Migrator = sqlx::migrate!("./migrations/control");
static EVENTS: Migrator = sqlx::migrate!("./migrations/events");

/// Runs what is missing: accounts, audit and flushes where `control_url` points, events where `events_url` does. Both may be one database,
/// whose list of applied migrations then holds both; that is why each ignores those it does not know.
pub async fn run(control_url: &str, events_url: &str) -> Result<(), MigrateError> {
    for (migrator, url) in [(&CONTROL, control_url), (&EVENTS, events_url)] {
        let mut conn = connect(url).await?;
        let mut migrator = Migrator::with_migrations(migrator.iter().cloned().collect());
        migrator.set_ignore_missing(true).run_direct(None, &mut conn, false).await?;
        conn.close().await?;
    }
    Ok(())
}

/// A connection without the pools' time-outs: another replica's migration may take a while. A server that is just starting is waited for.
async fn connect(url: &str) -> Result<PgConnection, sqlx::Error> {
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
