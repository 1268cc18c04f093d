//! Sessions: who is signed in where. Of the token only its SHA-256 is here.

use super::users;
use crate::domain::operator::Role;
use crate::domain::second_factor::Factor;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// A session with the person it belongs to.
#[derive(Clone, Debug)]
pub struct Session {
    pub id: i64,
    pub user_id: i64,
    pub email: String,
    pub name: String,
    pub role: Role,
    pub factor: Factor,
    pub created_at: DateTime<Utc>,
    pub last_seen_at: DateTime<Utc>,
}

/// A session as its owner sees it in the list.
#[derive(Clone, Debug)]
pub struct Listed {
    pub id: i64,
    pub created_at: DateTime<Utc>,
    pub last_seen_at: DateTime<Utc>,
    pub address: String,
    pub user_agent: String,
}

pub async fn insert(
    conn: &mut PgConnection,
    token_sha256: &[u8],
    user_id: i64,
    now: DateTime<Utc>,
    address: &str,
    user_agent: &str,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO control.sessions (token_sha256, user_id, created_at, last_seen_at, address, user_agent) VALUES ($1, $2, $3, $3, $4, $5) RETURNING id",
        token_sha256,
        user_id,
        now,
        address,
        user_agent
    )
    .fetch_one(conn)
    .await
}

/// The session of that token if it was seen after `idle_since`, began after `born_since` and its person is not disabled.
pub async fn find_live(
    conn: &mut PgConnection,
    token_sha256: &[u8],
    idle_since: DateTime<Utc>,
    born_since: DateTime<Utc>,
) -> Result<Option<Session>, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT s.id, s.user_id, u.email, u.name, u.role, s.created_at, s.last_seen_at, s.factor_shown_at,
                  EXISTS (SELECT FROM control.second_factors f WHERE f.user_id = u.id AND f.confirmed_at IS NOT NULL) AS "enrolled!"
           FROM control.sessions s JOIN control.users u ON u.id = s.user_id
           WHERE s.token_sha256 = $1 AND s.last_seen_at > $2 AND s.created_at > $3 AND u.disabled_at IS NULL"#,
        token_sha256,
        idle_since,
        born_since
    )
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        Ok(Session {
            id: row.id,
            user_id: row.user_id,
            role: users::role(&row.role, row.user_id)?,
            email: row.email,
            name: row.name,
            factor: Factor { enrolled: row.enrolled, shown_at: row.factor_shown_at },
            created_at: row.created_at,
            last_seen_at: row.last_seen_at,
        })
    })
    .transpose()
}

/// The living sessions of one person, latest seen first.
pub async fn list_of_user(
    conn: &mut PgConnection,
    user_id: i64,
    idle_since: DateTime<Utc>,
    born_since: DateTime<Utc>,
) -> Result<Vec<Listed>, sqlx::Error> {
    sqlx::query_as!(
        Listed,
        "SELECT id, created_at, last_seen_at, address, user_agent FROM control.sessions
         WHERE user_id = $1 AND last_seen_at > $2 AND created_at > $3 ORDER BY last_seen_at DESC, id DESC LIMIT 200",
        user_id,
        idle_since,
        born_since
    )
    .fetch_all(conn)
    .await
}

pub async fn mark_seen(conn: &mut PgConnection, id: i64, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE control.sessions SET last_seen_at = $2 WHERE id = $1 AND last_seen_at < $2", id, now).execute(conn).await?;
    Ok(())
}

/// The second factor was shown in this session, which goes on under a new token; false where it has ended.
pub async fn mark_factor_shown(conn: &mut PgConnection, id: i64, token_sha256: &[u8], now: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!("UPDATE control.sessions SET token_sha256 = $2, factor_shown_at = $3 WHERE id = $1", id, token_sha256, now)
        .execute(conn)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Ends one session of that person; false when it is not theirs or has ended.
pub async fn delete(conn: &mut PgConnection, id: i64, user_id: i64) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!("DELETE FROM control.sessions WHERE id = $1 AND user_id = $2", id, user_id).execute(conn).await?;
    Ok(done.rows_affected() > 0)
}

/// Ends the session of that token, if there is one.
pub async fn delete_by_token(conn: &mut PgConnection, token_sha256: &[u8]) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM control.sessions WHERE token_sha256 = $1", token_sha256).execute(conn).await?;
    Ok(())
}

/// Ends every session of one person and says how many there were.
pub async fn delete_of_user(conn: &mut PgConnection, user_id: i64) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!("DELETE FROM control.sessions WHERE user_id = $1", user_id).execute(conn).await?;
    Ok(done.rows_affected())
}

/// Removes what nobody can use any more.
pub async fn delete_dead(conn: &mut PgConnection, idle_since: DateTime<Utc>, born_since: DateTime<Utc>) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!("DELETE FROM control.sessions WHERE last_seen_at <= $1 OR created_at <= $2", idle_since, born_since)
        .execute(conn)
        .await?;
    Ok(done.rows_affected())
}
