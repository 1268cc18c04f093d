//! Connection pools. Each has time-outs, so that one slow statement or one forgotten transaction cannot hold up the rest.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

/// A connection that is not to be had within this time is an error that people are told about.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);
/// The two replicas of a rolling restart together stay below Postgres's usual 100.
const WEB_CONNECTIONS: u32 = 12;
const RECORD_CONNECTIONS: u32 = 6;
const INGEST_CONNECTIONS: u32 = 8;
const READ_CONNECTIONS: u32 = 12;

/// What a pool is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Control tables, for pages and forms.
    Web,
    /// Audit and flush: reserved, so that load cannot starve the record.
    Record,
    /// Events, writing: group commit, rollups.
    Ingest,
    /// Events, reading: pages and figures.
    Read,
}

/// A pool that connects when it is first asked. The error is a `url` that cannot be read.
pub fn open(url: &str, purpose: Purpose) -> Result<PgPool, sqlx::Error> {
    let (name, connections, statement, lock) = match purpose {
        Purpose::Web => ("stalewatch web", WEB_CONNECTIONS, "10s", "3s"),
        Purpose::Record => ("stalewatch record", RECORD_CONNECTIONS, "10s", "5s"),
        // Compaction of a busy hour and a recount are the long ones.
        Purpose::Ingest => ("stalewatch ingest", INGEST_CONNECTIONS, "60s", "10s"),
        Purpose::Read => ("stalewatch read", READ_CONNECTIONS, "10s", "3s"),
    };
    let options = PgConnectOptions::from_str(url)?.application_name(name).options([
        ("statement_timeout", statement),
        ("lock_timeout", lock),
        ("idle_in_transaction_session_timeout", "15s"),
        ("timezone", "UTC"),
    ]);
    Ok(PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .max_lifetime(Duration::from_mins(30))
        .after_release(|conn, _| {
            Box::pin(async move {
                // `Pool::begin` is not cancel-safe: a future dropped at the wrong moment gives back a connection inside a transaction that
                // sqlx knows nothing of. There `now()` stands still; such a connection is closed, as is one whose transaction has failed.
                sqlx::query_scalar::<_, bool>("SELECT now() = statement_timestamp()").fetch_one(conn).await
            })
        })
        .connect_lazy_with(options))
}
