//! The first account of a fresh installation: there is no default password, so whoever sees the server's console gets a link, once.

use super::sign_in::{self, Came, SignInError};
use super::users::{AccountError, AddedUser, Fresh};
use super::{Access, sha256};
use crate::domain::audit::{Actor, Code};
use crate::domain::operator::Role;
use crate::server::clock::Clock;
use crate::server::store::{audit, first_run, users};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use sqlx::PgPool;

/// How long a link is good.
pub const LINK_LIVES: TimeDelta = TimeDelta::minutes(30);
/// Under this name wrong links count as failed sign-ins; no e-mail address reads like it.
const THROTTLED_AS: &[u8] = b"first-run link";

/// What a link is good for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkStanding {
    Good,
    Unknown,
    Expired,
    /// Somebody has an account already.
    Over,
}

/// Why the first account was not made.
#[derive(Debug, thiserror::Error)]
pub enum FirstRunError {
    #[error("This link is not one that this server printed.")]
    Unknown,
    #[error("This link was good for 30 minutes, and they are over.")]
    Expired,
    #[error("Somebody has an account already, so this link makes none any more.")]
    Over,
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    SignIn(#[from] SignInError),
}

impl From<sqlx::Error> for FirstRunError {
    fn from(cause: sqlx::Error) -> Self {
        Self::Account(AccountError::Store(cause))
    }
}

/// A new link's token, if nobody has an account yet. It is told once and kept as a hash.
pub async fn issue_link(pool: &PgPool, now: DateTime<Utc>) -> Result<Option<String>, sqlx::Error> {
    let token = BASE64_URL_SAFE_NO_PAD.encode(super::random_bytes::<32>());
    let mut tx = pool.begin().await?;
    if users::exist(&mut tx).await? {
        return Ok(None);
    }
    first_run::insert(&mut tx, &sha256(token.as_bytes()), now, now + LINK_LIVES).await?;
    tx.commit().await?;
    Ok(Some(token))
}

/// Where a link stands. Nothing is used up by asking.
pub async fn look_at_link(pool: &PgPool, now: DateTime<Utc>, token: &str) -> Result<LinkStanding, sqlx::Error> {
    let mut conn = pool.acquire().await?;
    if users::exist(&mut conn).await? {
        return Ok(LinkStanding::Over);
    }
    Ok(match first_run::find_expiry(&mut conn, &sha256(token.as_bytes())).await? {
        None => LinkStanding::Unknown,
        Some(expires_at) if expires_at <= now => LinkStanding::Expired,
        Some(_) => LinkStanding::Good,
    })
}

/// Makes the first account, an admin's, and uses the link up. What is typed wrongly uses nothing up; a wrong link counts as a failed sign-in.
pub async fn use_link(
    access: &Access,
    pool: &PgPool,
    clock: &Clock,
    token: &str,
    email: &str,
    password: &str,
    came: &Came,
) -> Result<AddedUser, FirstRunError> {
    let account = sha256(THROTTLED_AS);
    let turn = sign_in::wait_for_turn(access, pool, clock, &account, came).await?;
    match look_at_link(pool, clock.now(), token).await? {
        LinkStanding::Good => {}
        LinkStanding::Over => return Err(FirstRunError::Over),
        LinkStanding::Expired => return Err(FirstRunError::Expired),
        LinkStanding::Unknown => {
            sign_in::note_wrong_try(pool, clock.now(), &account, came).await?;
            return Err(FirstRunError::Unknown);
        }
    }
    // The place to hash is given back first: the next line asks for one.
    drop(turn);
    let fresh = Fresh::check(access, email, None, password).await?;
    let now = clock.now();
    let mut tx = pool.begin().await?;
    // Whoever adds an account at the same moment, by another link or by command, comes before or after this as a whole.
    users::lock(&mut tx).await?;
    if users::exist(&mut tx).await? {
        return Err(FirstRunError::Over);
    }
    if !first_run::take(&mut tx, &sha256(token.as_bytes()), now).await? {
        return Err(FirstRunError::Expired);
    }
    let Some(id) = users::insert(&mut tx, &fresh.email, &fresh.name, Role::Admin, &fresh.hash, now).await? else {
        return Err(FirstRunError::Over);
    };
    let body = json!({"user": fresh.email, "user_id": id, "role": Role::Admin.as_str(), "by": "first-run link", "address": came.address});
    audit::append(&mut tx, Code::UserCreated, &Actor::System, &body).await?;
    tx.commit().await?;
    Ok(AddedUser { id, email: fresh.email, role: Role::Admin })
}
