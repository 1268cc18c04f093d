//! Tokens of programs: which may send events, which may read figures.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// What a token is for. A token can never read pages, plan, approve or run a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ingest,
    Read,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Ingest => "ingest",
            Kind::Read => "read",
        }
    }

    fn parse(text: &str, id: &str) -> Result<Self, sqlx::Error> {
        match text {
            "ingest" => Ok(Kind::Ingest),
            "read" => Ok(Kind::Read),
            other => Err(sqlx::Error::Decode(format!("control.tokens.kind of row {id} is {other:?}, which is no kind").into())),
        }
    }
}

/// A token without its secret.
#[derive(Clone, Debug)]
pub struct Token {
    pub id: String,
    pub kind: Kind,
    pub source: String,
    /// `None`: any target.
    pub target: Option<String>,
    pub secret_sha256: Vec<u8>,
    pub created_at: DateTime<Utc>,
    pub created_by: String,
    pub expires_at: Option<DateTime<Utc>>,
    pub last_used_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
}

struct Row {
    id: String,
    kind: String,
    source: String,
    target: Option<String>,
    secret_sha256: Vec<u8>,
    created_at: DateTime<Utc>,
    created_by: String,
    expires_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for Token {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        Ok(Token {
            kind: Kind::parse(&row.kind, &row.id)?,
            id: row.id,
            source: row.source,
            target: row.target,
            secret_sha256: row.secret_sha256,
            created_at: row.created_at,
            created_by: row.created_by,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
            revoked_at: row.revoked_at,
        })
    }
}

pub async fn find(conn: &mut PgConnection, id: &str) -> Result<Option<Token>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        "SELECT id, kind, source, target, secret_sha256, created_at, created_by, expires_at, last_used_at, revoked_at FROM control.tokens WHERE id = $1",
        id
    )
    .fetch_optional(conn)
    .await?
    .map(Token::try_from)
    .transpose()
}

pub async fn list(conn: &mut PgConnection) -> Result<Vec<Token>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        "SELECT id, kind, source, target, secret_sha256, created_at, created_by, expires_at, last_used_at, revoked_at FROM control.tokens
         ORDER BY revoked_at IS NOT NULL, source, created_at"
    )
    .fetch_all(conn)
    .await?
    .into_iter()
    .map(Token::try_from)
    .collect()
}

pub async fn insert(conn: &mut PgConnection, token: &Token) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO control.tokens (id, kind, source, target, secret_sha256, created_at, created_by, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        token.id,
        token.kind.as_str(),
        token.source,
        token.target,
        token.secret_sha256,
        token.created_at,
        token.created_by,
        token.expires_at
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes a use, to the minute: a busy token does not write a row per request.
pub async fn mark_used(conn: &mut PgConnection, id: &str, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE control.tokens SET last_used_at = $2 WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2::timestamptz - interval '1 minute')",
        id,
        now
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Revokes a token for good; `None` when there is no such token, false when it was revoked before.
pub async fn mark_revoked(conn: &mut PgConnection, id: &str, now: DateTime<Utc>) -> Result<Option<bool>, sqlx::Error> {
    let Some(token) = find(&mut *conn, id).await? else { return Ok(None) };
    let done =
        sqlx::query!("UPDATE control.tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL", token.id, now).execute(conn).await?;
    Ok(Some(done.rows_affected() > 0))
}
