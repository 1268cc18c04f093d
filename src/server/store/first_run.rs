//! One-time links for the first account.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// Keeps the hash of a new link, and forgets those whose time is over.
pub async fn insert(
    conn: &mut PgConnection,
    token_sha256: &[u8],
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM control.first_run_links WHERE expires_at <= $1", now).execute(&mut *conn).await?;
    sqlx::query!("INSERT INTO control.first_run_links (token_sha256, expires_at) VALUES ($1, $2)", token_sha256, expires_at)
        .execute(conn)
        .await?;
    Ok(())
}

/// Until when a link is good, if there is one.
pub async fn find_expiry(conn: &mut PgConnection, token_sha256: &[u8]) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!("SELECT expires_at FROM control.first_run_links WHERE token_sha256 = $1", token_sha256).fetch_optional(conn).await
}

/// Takes a link that is still good; whether there was one. All others go with it.
pub async fn take(conn: &mut PgConnection, token_sha256: &[u8], now: DateTime<Utc>) -> Result<bool, sqlx::Error> {
    let taken = sqlx::query!("DELETE FROM control.first_run_links WHERE token_sha256 = $1 AND expires_at > $2", token_sha256, now)
        .execute(&mut *conn)
        .await?
        .rows_affected();
    if taken == 1 {
        sqlx::query!("DELETE FROM control.first_run_links").execute(conn).await?;
    }
    Ok(taken == 1)
}
