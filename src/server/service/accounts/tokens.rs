//! Tokens of programs: `sw_in_<id>_<secret>` sends events, `sw_rd_<id>_<secret>` reads figures. The secret is shown once.

use super::sha256;
use crate::domain::audit::{Actor, Code};
use crate::server::store::audit;
use crate::server::store::tokens::{self, Kind, Token};
use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgPool;

/// What a new token may do.
#[derive(Clone, Debug)]
pub struct TokenRequest<'a> {
    pub kind: Kind,
    /// Whose token it is: the name under which its events are stored.
    pub source: &'a str,
    /// `None`: any target.
    pub target: Option<&'a str>,
    pub expires_at: Option<DateTime<Utc>>,
}

/// A token just made, with its whole text for the only time.
pub struct NewToken {
    pub id: String,
    pub text: String,
}

/// Why there is no token, or why one does not count.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("A source's name has 1 to 100 bytes, without control characters.")]
    BadSource,
    #[error("There is no token {0}. `stalewatch token list` shows which there are.")]
    Unknown(String),
    #[error("This token is not known, has expired or was revoked. `stalewatch token create` makes a new one.")]
    NotValid,
    #[error(transparent)]
    Store(#[from] sqlx::Error),
}

fn mark(kind: Kind) -> &'static str {
    match kind {
        Kind::Ingest => "sw_in_",
        Kind::Read => "sw_rd_",
    }
}

/// Makes a token. Several of one source may live at once, so that they can be rotated.
pub async fn create_token(pool: &PgPool, now: DateTime<Utc>, actor: &Actor, request: &TokenRequest<'_>) -> Result<NewToken, TokenError> {
    let source = request.source.trim();
    if source.is_empty() || source.len() > 100 || source.chars().any(char::is_control) {
        return Err(TokenError::BadSource);
    }
    let id = hex(&super::random_bytes::<6>());
    let secret = hex(&super::random_bytes::<32>());
    let text = format!("{}{id}_{secret}", mark(request.kind));
    let token = Token {
        id: id.clone(),
        kind: request.kind,
        source: source.to_owned(),
        target: request.target.map(str::to_owned),
        secret_sha256: sha256(secret.as_bytes()).to_vec(),
        created_at: now,
        created_by: actor.name().to_owned(),
        expires_at: request.expires_at,
        last_used_at: None,
        revoked_at: None,
    };
    let mut tx = pool.begin().await?;
    tokens::insert(&mut tx, &token).await?;
    let body = json!({
        "token": id, "kind": request.kind.as_str(), "source": source, "target": request.target, "expires_at": request.expires_at,
    });
    audit::append(&mut tx, Code::TokenCreated, actor, &body).await?;
    tx.commit().await?;
    Ok(NewToken { id, text })
}

/// All tokens, without their secrets.
pub async fn list_tokens(pool: &PgPool) -> Result<Vec<Token>, sqlx::Error> {
    let mut conn = pool.acquire().await?;
    tokens::list(&mut conn).await
}

/// Revokes a token for good. Doing it again changes nothing.
pub async fn revoke_token(pool: &PgPool, now: DateTime<Utc>, actor: &Actor, id: &str) -> Result<(), TokenError> {
    let mut tx = pool.begin().await?;
    match tokens::mark_revoked(&mut tx, id, now).await? {
        None => return Err(TokenError::Unknown(id.chars().filter(|c| !c.is_control()).take(100).collect())),
        Some(false) => return Ok(()),
        Some(true) => {}
    }
    audit::append(&mut tx, Code::TokenRevoked, actor, &json!({"token": id})).await?;
    tx.commit().await?;
    Ok(())
}

/// The living token of that text, whatever its kind; notes that it was used.
pub async fn check_token(pool: &PgPool, now: DateTime<Utc>, text: &str) -> Result<Token, TokenError> {
    let (kind, rest) =
        [Kind::Ingest, Kind::Read].into_iter().find_map(|kind| Some((kind, text.strip_prefix(mark(kind))?))).ok_or(TokenError::NotValid)?;
    let (id, secret) = rest.split_once('_').ok_or(TokenError::NotValid)?;
    if id.len() > 32 || secret.len() > 128 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(TokenError::NotValid);
    }
    let mut conn = pool.acquire().await?;
    let token = tokens::find(&mut conn, id).await?.ok_or(TokenError::NotValid)?;
    // What is compared are hashes of a secret of 256 bits: the time it takes tells nothing of use.
    let right = token.kind == kind && token.secret_sha256 == sha256(secret.as_bytes());
    if !right || token.revoked_at.is_some() || token.expires_at.is_some_and(|end| end <= now) {
        return Err(TokenError::NotValid);
    }
    if token.last_used_at.is_none_or(|last| now - last > chrono::TimeDelta::minutes(1)) {
        tokens::mark_used(&mut conn, id, now).await?;
    }
    Ok(token)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
