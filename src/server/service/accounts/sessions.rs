//! Finding who a session belongs to, listing and ending sessions.

use super::{ABSOLUTE, Access, IDLE, sha256};
use crate::domain::audit::Code;
use crate::domain::operator::Viewer;
use crate::server::store::{audit, sessions};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use sqlx::PgPool;
use std::time::Duration;

/// A session's last use is written down this often, not at each request.
const SEEN_EVERY: TimeDelta = TimeDelta::minutes(1);
/// Postgres that does not answer within this time counts as away. (`statement_timeout` cannot help where the server itself stands still.)
const PATIENCE: Duration = Duration::from_millis(2500);

/// What is known of the session that a request brought.
#[derive(Clone, Debug)]
pub enum Known {
    /// This person.
    Person(Viewer),
    /// No such session, or it has ended.
    Nobody,
    /// Postgres is away and the session was not verified lately.
    CannotTell,
}

/// Who the session of `token` belongs to. While Postgres is away, those verified within the last 5 minutes are answered from memory.
pub async fn find_viewer(access: &Access, pool: &PgPool, now: DateTime<Utc>, token: &str) -> Known {
    let hash = sha256(token.as_bytes());
    let from_memory = || access.memory.recall(&hash, now).map_or(Known::CannotTell, Known::Person);
    if access.memory.is_away() {
        return from_memory();
    }
    // In a task of its own: a request dropped half-way must not take a connection down with it.
    let task = tokio::spawn(lookup(pool.clone(), now, hash));
    match tokio::time::timeout(PATIENCE, task).await {
        Ok(Ok(Ok(Some(viewer)))) => {
            access.memory.remember(hash, &viewer, now);
            Known::Person(viewer)
        }
        Ok(Ok(Ok(None))) => {
            access.memory.forget(&hash);
            Known::Nobody
        }
        Ok(Ok(Err(cause))) => {
            tracing::warn!(error.cause = %cause, "sessions cannot be verified");
            access.memory.note_away();
            from_memory()
        }
        Ok(Err(_)) | Err(_) => {
            tracing::warn!("sessions cannot be verified: Postgres does not answer");
            access.memory.note_away();
            from_memory()
        }
    }
}

async fn lookup(pool: PgPool, now: DateTime<Utc>, hash: [u8; 32]) -> Result<Option<Viewer>, sqlx::Error> {
    let mut conn = pool.acquire().await?;
    let Some(session) = sessions::find_live(&mut conn, &hash, now - IDLE, now - ABSOLUTE).await? else { return Ok(None) };
    if now - session.last_seen_at >= SEEN_EVERY {
        sessions::mark_seen(&mut conn, session.id, now).await?;
    }
    Ok(Some(Viewer {
        user_id: session.user_id,
        email: session.email,
        name: session.name,
        role: session.role,
        session_id: session.id,
        factor: session.factor,
        read_only: false,
    }))
}

/// The living sessions of this person, latest seen first.
pub async fn list_sessions(pool: &PgPool, now: DateTime<Utc>, viewer: &Viewer) -> Result<Vec<sessions::Listed>, sqlx::Error> {
    let mut conn = pool.acquire().await?;
    sessions::list_of_user(&mut conn, viewer.user_id, now - IDLE, now - ABSOLUTE).await
}

/// Ends one session of this person; false when it is not theirs or has ended already.
pub async fn end_session(access: &Access, pool: &PgPool, viewer: &Viewer, session_id: i64) -> Result<bool, sqlx::Error> {
    let mut tx = pool.begin().await?;
    let ended = sessions::delete(&mut tx, session_id, viewer.user_id).await?;
    if ended {
        audit::append(&mut tx, Code::SessionRevoked, &viewer.actor(), &json!({"session": session_id})).await?;
    }
    tx.commit().await?;
    access.memory.forget_session(session_id);
    Ok(ended)
}

/// Ends the session a person came with. The record is queued: signing out does not wait for the chain either.
pub async fn sign_out(access: &Access, pool: &PgPool, now: DateTime<Utc>, viewer: &Viewer) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    if sessions::delete(&mut tx, viewer.session_id, viewer.user_id).await? {
        audit::queue(&mut tx, now, Code::SignedOut, &viewer.actor(), &json!({"session": viewer.session_id})).await?;
    }
    tx.commit().await?;
    access.memory.forget_session(viewer.session_id);
    super::move_queued_records(pool).await;
    Ok(())
}
