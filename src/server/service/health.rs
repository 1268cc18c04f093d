//! Whether this process lives, can commit, and what else is wrong with its surroundings.

use crate::server::state::AppState;
use crate::server::store::events::quality;
use crate::server::store::roles;
use chrono::SecondsFormat;
use sqlx::PgPool;
use std::time::Duration;

/// How long a try to commit may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether it can commit, and what else is down or not as it should be.
#[derive(Clone, Debug)]
pub struct Readiness {
    pub can_commit: bool,
    pub notes: Vec<String>,
}

pub async fn readiness(app: &AppState) -> Readiness {
    let (events, control) = tokio::join!(
        in_time(commit_events(app.pools.events.clone(), app.ingest.writer(), app.clock.now())),
        in_time(commit_control(app.pools.record.clone()))
    );
    let mut notes = Vec::new();
    if let Err(cause) = &control {
        notes.push(format!("control database: {cause}"));
    }
    if let Err(cause) = &events {
        notes.push(format!("events database: {cause}"));
    }
    if let Some(since) = app.ingest.standing().away_since() {
        notes.push(format!("ingest: Postgres takes no events since {since}"));
    }
    let config = app.config();
    for target in &config.targets {
        let reach = app.flushes.monitor().of(&target.name);
        if let Some(since) = reach.away_since {
            notes.push(format!("target {}: Redis does not answer since {}", target.name, since.to_rfc3339_opts(SecondsFormat::Secs, true)));
        }
        if target.flush.is_none() {
            notes.push(format!("target {}: flushes use an over-privileged identity", target.name));
        }
    }
    if let Ok(mut conn) = app.pools.control.acquire().await
        && let Ok(Some(why)) = roles::why_not_separated(&mut conn).await
    {
        notes.push(format!("audit: not separated, the server's role in Postgres {why}"));
    }
    notes.extend(config.warnings.iter().cloned());
    Readiness { can_commit: control.is_ok() && events.is_ok(), notes }
}

async fn commit_events(pool: PgPool, writer: i64, now: chrono::DateTime<chrono::Utc>) -> Result<(), sqlx::Error> {
    quality::mark_alive(&mut *pool.acquire().await?, writer, now).await
}

async fn commit_control(pool: PgPool) -> Result<(), sqlx::Error> {
    // Asking for a transaction number makes the commit a real one; a standby or a full disk refuses it.
    sqlx::query("SELECT pg_current_xact_id()::text").execute(&pool).await?;
    Ok(())
}

/// In a task of its own: a try that hangs keeps its connection until it ends, and nobody waits for it.
async fn in_time(work: impl Future<Output = Result<(), sqlx::Error>> + Send + 'static) -> Result<(), String> {
    match tokio::time::timeout(PATIENCE, tokio::spawn(work)).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(cause))) => {
            tracing::warn!(error.cause = %cause, "not ready");
            Err("cannot commit".to_owned())
        }
        Ok(Err(_)) | Err(_) => Err("does not answer".to_owned()),
    }
}
