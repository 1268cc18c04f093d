//! What `/users` and `/account` show.

use super::FactorPage;
use crate::domain::operator::{Role, Viewer};
use crate::server::store::sessions::Listed;
use crate::server::store::tokens::Token;
use crate::server::store::users::User;
use chrono::{DateTime, Utc};

#[derive(Clone, Debug)]
pub struct UsersPage {
    pub as_of: DateTime<Utc>,
    pub rows: Vec<UserRow>,
    pub tokens: Vec<TokenRow>,
}

#[derive(Clone, Debug)]
pub struct UserRow {
    pub email: String,
    pub name: String,
    pub role: Role,
    pub created_at: DateTime<Utc>,
    pub disabled_at: Option<DateTime<Utc>>,
    /// Whether they have a second factor.
    pub factor: bool,
    /// The person who looks.
    pub own: bool,
}

#[derive(Clone, Debug)]
pub struct TokenRow {
    pub id: String,
    pub kind: &'static str,
    pub source: String,
    pub target: Option<String>,
    /// `valid`, `expired`, `revoked`
    pub state: &'static str,
    pub last_used_at: Option<DateTime<Utc>>,
}

impl UsersPage {
    pub fn new(as_of: DateTime<Utc>, viewer: &Viewer, users: &[User], enrolled: &[i64], tokens: &[Token]) -> Self {
        let rows = users
            .iter()
            .map(|user| UserRow {
                email: user.email.clone(),
                name: user.name.clone(),
                role: user.role,
                created_at: user.created_at,
                disabled_at: user.disabled_at,
                factor: enrolled.contains(&user.id),
                own: user.id == viewer.user_id,
            })
            .collect();
        let tokens = tokens
            .iter()
            .map(|token| TokenRow {
                id: token.id.clone(),
                kind: token.kind.as_str(),
                source: token.source.clone(),
                target: token.target.clone(),
                state: match (token.revoked_at, token.expires_at) {
                    (Some(_), _) => "revoked",
                    (None, Some(end)) if end <= as_of => "expired",
                    _ => "valid",
                },
                last_used_at: token.last_used_at,
            })
            .collect();
        Self { as_of, rows, tokens }
    }
}

#[derive(Clone, Debug)]
pub struct AccountPage {
    pub as_of: DateTime<Utc>,
    pub email: String,
    pub name: String,
    pub role: Role,
    pub factor: FactorPage,
    pub sessions: Vec<SessionRow>,
}

#[derive(Clone, Debug)]
pub struct SessionRow {
    pub id: i64,
    pub created_at: DateTime<Utc>,
    pub last_seen_at: DateTime<Utc>,
    pub address: String,
    pub user_agent: String,
    /// The one that asks.
    pub this: bool,
}

impl AccountPage {
    pub fn new(as_of: DateTime<Utc>, viewer: &Viewer, factor: FactorPage, sessions: Vec<Listed>) -> Self {
        let sessions = sessions
            .into_iter()
            .map(|session| SessionRow {
                this: session.id == viewer.session_id,
                id: session.id,
                created_at: session.created_at,
                last_seen_at: session.last_seen_at,
                address: session.address,
                user_agent: session.user_agent,
            })
            .collect();
        Self { as_of, email: viewer.email.clone(), name: viewer.name.clone(), role: viewer.role, factor, sessions }
    }
}
