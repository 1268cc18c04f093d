//! What the throttle remembers: failed sign-ins by account, and the token bucket of each address.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

/// Why a sign-in failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    WrongPassword,
    UnknownAccount,
    Disabled,
    TooMany,
    CrossSite,
}

impl Failure {
    pub fn as_str(self) -> &'static str {
        match self {
            Failure::WrongPassword => "wrong_password",
            Failure::UnknownAccount => "unknown_account",
            Failure::Disabled => "disabled",
            Failure::TooMany => "too_many",
            Failure::CrossSite => "cross_site",
        }
    }
}

/// How often the password of that account was wrong since `since`, known account or not.
pub async fn count_failures(conn: &mut PgConnection, account_sha256: &[u8], since: DateTime<Utc>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "n!" FROM control.failed_sign_ins
           WHERE account_sha256 = $1 AND at > $2 AND reason IN ('wrong_password', 'unknown_account', 'disabled')"#,
        account_sha256,
        since
    )
    .fetch_one(conn)
    .await
}

/// When the password of that account was last wrong.
pub async fn find_last_failure(conn: &mut PgConnection, account_sha256: &[u8]) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT max(at) FROM control.failed_sign_ins
         WHERE account_sha256 = $1 AND reason IN ('wrong_password', 'unknown_account', 'disabled')",
        account_sha256
    )
    .fetch_one(conn)
    .await
}

pub async fn insert_failure(
    conn: &mut PgConnection,
    at: DateTime<Utc>,
    account_sha256: &[u8],
    user_id: Option<i64>,
    address: &str,
    reason: Failure,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO control.failed_sign_ins (at, account_sha256, user_id, address, reason) VALUES ($1, $2, $3, $4, $5)",
        at,
        account_sha256,
        user_id,
        address,
        reason.as_str()
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Tokens left in the bucket of that address: `full` when it was not seen yet, else refilled by `per_second` up to now.
pub async fn find_address_tokens(
    conn: &mut PgConnection,
    address: &str,
    full: f64,
    per_second: f64,
    now: DateTime<Utc>,
) -> Result<f64, sqlx::Error> {
    let row =
        sqlx::query!("SELECT tokens, updated_at FROM control.sign_in_addresses WHERE address = $1", address).fetch_optional(conn).await?;
    Ok(row.map_or(full, |row| (row.tokens + seconds(now - row.updated_at) * per_second).min(full)))
}

/// Takes one token from the bucket of that address, down to `-full` at most.
pub async fn take_address_token(
    conn: &mut PgConnection,
    address: &str,
    full: f64,
    per_second: f64,
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO control.sign_in_addresses AS a (address, tokens, updated_at) VALUES ($1, $2::float8 - 1, $4)
         ON CONFLICT (address) DO UPDATE SET
             tokens = greatest(-$2::float8, least($2::float8, a.tokens + greatest(0, extract(epoch FROM $4::timestamptz - a.updated_at)::float8) * $3::float8) - 1),
             updated_at = greatest(a.updated_at, $4)",
        address,
        full,
        per_second,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What failed since the last summary.
#[derive(Clone, Debug)]
pub struct Untold {
    pub failures: i64,
    pub accounts: i64,
    pub addresses: i64,
    pub known_accounts: i64,
    pub up_to: i64,
    pub first_at: DateTime<Utc>,
    pub last_at: DateTime<Utc>,
}

/// Takes the failures that no summary told of yet and notes them as told; `None` when there are none.
/// The row is locked, so that two processes do not tell of the same ones.
pub async fn take_untold(conn: &mut PgConnection) -> Result<Option<Untold>, sqlx::Error> {
    let told = sqlx::query_scalar!("SELECT told_up_to FROM control.sign_in_summary FOR UPDATE").fetch_one(&mut *conn).await?;
    let row = sqlx::query!(
        r#"SELECT count(*) AS "failures!", count(DISTINCT account_sha256) AS "accounts!", count(DISTINCT address) AS "addresses!",
                  count(DISTINCT user_id) AS "known_accounts!", max(id) AS up_to, min(at) AS first_at, max(at) AS last_at
           FROM control.failed_sign_ins WHERE id > $1"#,
        told
    )
    .fetch_one(&mut *conn)
    .await?;
    let (Some(up_to), Some(first_at), Some(last_at)) = (row.up_to, row.first_at, row.last_at) else { return Ok(None) };
    sqlx::query!("UPDATE control.sign_in_summary SET told_up_to = $1", up_to).execute(conn).await?;
    Ok(Some(Untold {
        failures: row.failures,
        accounts: row.accounts,
        addresses: row.addresses,
        known_accounts: row.known_accounts,
        up_to,
        first_at,
        last_at,
    }))
}

/// Forgets failures before `before` and buckets that have long been full again.
pub async fn delete_old(conn: &mut PgConnection, before: DateTime<Utc>, idle_since: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM control.failed_sign_ins WHERE at < $1", before).execute(&mut *conn).await?;
    sqlx::query!("DELETE FROM control.sign_in_addresses WHERE updated_at < $1", idle_since).execute(conn).await?;
    Ok(())
}

fn seconds(span: TimeDelta) -> f64 {
    span.to_std().map_or(0.0, |span| span.as_secs_f64())
}
