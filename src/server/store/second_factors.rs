//! Second factors and recovery codes. Secrets are sealed and codes hashed before they come here.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// Somebody's second factor.
#[derive(Clone, Debug)]
pub struct SecondFactor {
    /// Nonce, sealed secret, tag.
    pub sealed: Vec<u8>,
    /// None: it does not count yet.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// Wrong codes in a row.
    pub failures: i32,
    pub failed_at: Option<DateTime<Utc>>,
    /// The session that sees what was just made,
    pub shown_to: Option<i64>,
    /// and until when.
    pub shown_until: DateTime<Utc>,
    /// Recovery codes just made, sealed.
    pub sealed_codes: Option<Vec<u8>>,
}

pub async fn find(conn: &mut PgConnection, user_id: i64) -> Result<Option<SecondFactor>, sqlx::Error> {
    sqlx::query_as!(
        SecondFactor,
        "SELECT sealed, confirmed_at, failures, failed_at, shown_to, shown_until, sealed_codes FROM control.second_factors WHERE user_id = $1",
        user_id
    )
    .fetch_optional(conn)
    .await
}

/// The same, locked until the transaction's end: of many tries at once each sees how the one before it ended.
pub async fn find_for_update(conn: &mut PgConnection, user_id: i64) -> Result<Option<SecondFactor>, sqlx::Error> {
    sqlx::query_as!(
        SecondFactor,
        "SELECT sealed, confirmed_at, failures, failed_at, shown_to, shown_until, sealed_codes FROM control.second_factors
         WHERE user_id = $1 FOR UPDATE",
        user_id
    )
    .fetch_optional(conn)
    .await
}

/// The sealed secret of somebody else's that counts, with whose it is; the latest.
pub async fn find_other(conn: &mut PgConnection, but: i64) -> Result<Option<(i64, Vec<u8>)>, sqlx::Error> {
    let row = sqlx::query!(
        "SELECT user_id, sealed FROM control.second_factors WHERE confirmed_at IS NOT NULL AND user_id <> $1 ORDER BY confirmed_at DESC LIMIT 1",
        but
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (row.user_id, row.sealed)))
}

/// The people who have one.
pub async fn list_enrolled(conn: &mut PgConnection) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar!("SELECT user_id FROM control.second_factors WHERE confirmed_at IS NOT NULL").fetch_all(conn).await
}

/// Keeps a secret that does not count yet, in the place of an earlier such one; false where one counts already.
pub async fn insert_pending(
    conn: &mut PgConnection,
    user_id: i64,
    sealed: &[u8],
    now: DateTime<Utc>,
    shown_to: i64,
    shown_until: DateTime<Utc>,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO control.second_factors AS f (user_id, sealed, created_at, shown_to, shown_until) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (user_id) DO UPDATE SET sealed = $2, created_at = $3, shown_to = $4, shown_until = $5, last_step = 0, failures = 0, failed_at = NULL
         WHERE f.confirmed_at IS NULL",
        user_id,
        sealed,
        now,
        shown_to,
        shown_until
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() > 0)
}

pub async fn mark_confirmed(conn: &mut PgConnection, user_id: i64, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE control.second_factors SET confirmed_at = $2 WHERE user_id = $1", user_id, now).execute(conn).await?;
    Ok(())
}

/// Uses up the code of a time step; false where that step or a later one is used up already, on whichever replica.
pub async fn mark_step(conn: &mut PgConnection, user_id: i64, step: i64) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!("UPDATE control.second_factors SET last_step = $2 WHERE user_id = $1 AND last_step < $2", user_id, step)
        .execute(conn)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Notes how many codes in a row were wrong, and when the last was.
pub async fn mark_failures(
    conn: &mut PgConnection,
    user_id: i64,
    failures: i32,
    failed_at: Option<DateTime<Utc>>,
) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE control.second_factors SET failures = $2, failed_at = $3 WHERE user_id = $1", user_id, failures, failed_at)
        .execute(conn)
        .await?;
    Ok(())
}

/// Replaces all recovery codes; the sealed ones are what their owner is shown for a while.
pub async fn replace_codes(
    conn: &mut PgConnection,
    user_id: i64,
    hashes: &[Vec<u8>],
    sealed_codes: &[u8],
    shown_to: i64,
    shown_until: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM control.recovery_codes WHERE user_id = $1", user_id).execute(&mut *conn).await?;
    sqlx::query!("INSERT INTO control.recovery_codes (user_id, code_sha256) SELECT $1, unnest($2::bytea[])", user_id, hashes)
        .execute(&mut *conn)
        .await?;
    sqlx::query!(
        "UPDATE control.second_factors SET sealed_codes = $2, shown_to = $3, shown_until = $4 WHERE user_id = $1",
        user_id,
        sealed_codes,
        shown_to,
        shown_until
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Uses up a recovery code; false where there is no such one (any more).
pub async fn delete_code(conn: &mut PgConnection, user_id: i64, code_sha256: &[u8]) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!("DELETE FROM control.recovery_codes WHERE user_id = $1 AND code_sha256 = $2", user_id, code_sha256)
        .execute(conn)
        .await?;
    Ok(done.rows_affected() > 0)
}

/// Recovery codes that are left.
pub async fn count_codes(conn: &mut PgConnection, user_id: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT count(*) AS "n!" FROM control.recovery_codes WHERE user_id = $1"#, user_id).fetch_one(conn).await
}

/// The recovery codes need not be shown any more.
pub async fn forget_shown_codes(conn: &mut PgConnection, user_id: i64) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE control.second_factors SET sealed_codes = NULL WHERE user_id = $1", user_id).execute(conn).await?;
    Ok(())
}

/// Takes it away, its recovery codes too; false where there was none, or only one that did not count.
pub async fn delete(conn: &mut PgConnection, user_id: i64) -> Result<bool, sqlx::Error> {
    let counted = sqlx::query_scalar!(
        r#"DELETE FROM control.second_factors WHERE user_id = $1 RETURNING confirmed_at IS NOT NULL AS "counted!""#,
        user_id
    )
    .fetch_optional(conn)
    .await?;
    Ok(counted.unwrap_or(false))
}

/// Forgets what nobody confirmed in time, and codes that have been shown long enough.
pub async fn delete_old(conn: &mut PgConnection, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM control.second_factors WHERE confirmed_at IS NULL AND shown_until <= $1", now).execute(&mut *conn).await?;
    sqlx::query!("UPDATE control.second_factors SET sealed_codes = NULL WHERE sealed_codes IS NOT NULL AND shown_until <= $1", now)
        .execute(conn)
        .await?;
    Ok(())
}
