//! People and their password hashes.

use crate::domain::operator::Role;
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// A person with an account.
#[derive(Clone, Debug)]
pub struct User {
    pub id: i64,
    pub email: String,
    pub name: String,
    pub role: Role,
    pub password_hash: String,
    pub created_at: DateTime<Utc>,
    pub disabled_at: Option<DateTime<Utc>>,
}

struct Row {
    id: i64,
    email: String,
    name: String,
    role: String,
    password_hash: String,
    created_at: DateTime<Utc>,
    disabled_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for User {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        Ok(User {
            role: role(&row.role, row.id)?,
            id: row.id,
            email: row.email,
            name: row.name,
            password_hash: row.password_hash,
            created_at: row.created_at,
            disabled_at: row.disabled_at,
        })
    }
}

/// The role as stored for user `id`; an unknown one is bad data, told by its place.
pub(super) fn role(name: &str, id: i64) -> Result<Role, sqlx::Error> {
    Role::parse(name).ok_or_else(|| sqlx::Error::Decode(format!("control.users.role of row {id} is {name:?}, which is no role").into()))
}

/// The person with that e-mail address, in any case.
pub async fn find_by_email(conn: &mut PgConnection, email: &str) -> Result<Option<User>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        "SELECT id, email, name, role, password_hash, created_at, disabled_at FROM control.users WHERE lower(email) = lower($1)",
        email
    )
    .fetch_optional(conn)
    .await?
    .map(User::try_from)
    .transpose()
}

/// The person, with their row locked until the transaction's end, so that two changes do not cross.
pub async fn find_for_update(conn: &mut PgConnection, id: i64) -> Result<Option<User>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        "SELECT id, email, name, role, password_hash, created_at, disabled_at FROM control.users WHERE id = $1 FOR UPDATE",
        id
    )
    .fetch_optional(conn)
    .await?
    .map(User::try_from)
    .transpose()
}

/// Everybody, by e-mail address.
pub async fn list(conn: &mut PgConnection) -> Result<Vec<User>, sqlx::Error> {
    sqlx::query_as!(Row, "SELECT id, email, name, role, password_hash, created_at, disabled_at FROM control.users ORDER BY lower(email)")
        .fetch_all(conn)
        .await?
        .into_iter()
        .map(User::try_from)
        .collect()
}

/// Whether anybody has an account, disabled ones too.
pub async fn exist(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM control.users) AS "exist!""#).fetch_one(conn).await
}

/// Keeps everybody else from adding and changing accounts until the transaction ends.
pub async fn lock(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("LOCK TABLE control.users IN SHARE ROW EXCLUSIVE MODE").execute(conn).await?;
    Ok(())
}

/// Adds a person and gives their number; `None` when the address has an account already.
pub async fn insert(
    conn: &mut PgConnection,
    email: &str,
    name: &str,
    role: Role,
    password_hash: &str,
    now: DateTime<Utc>,
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO control.users (email, name, role, password_hash, created_at, password_changed_at) VALUES ($1, $2, $3, $4, $5, $5)
         ON CONFLICT ((lower(email))) DO NOTHING RETURNING id",
        email,
        name,
        role.as_str(),
        password_hash,
        now
    )
    .fetch_optional(conn)
    .await
}

/// Sets or clears when the account was disabled.
pub async fn mark_disabled(conn: &mut PgConnection, id: i64, at: Option<DateTime<Utc>>) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE control.users SET disabled_at = $2 WHERE id = $1", id, at).execute(conn).await?;
    Ok(())
}

pub async fn mark_role(conn: &mut PgConnection, id: i64, role: Role) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE control.users SET role = $2 WHERE id = $1", id, role.as_str()).execute(conn).await?;
    Ok(())
}

pub async fn mark_password(conn: &mut PgConnection, id: i64, password_hash: &str, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE control.users SET password_hash = $2, password_changed_at = $3 WHERE id = $1", id, password_hash, now)
        .execute(conn)
        .await?;
    Ok(())
}

/// The role of an account that is not disabled; until the transaction ends neither changes.
pub async fn lock_role(conn: &mut PgConnection, id: i64) -> Result<Option<Role>, sqlx::Error> {
    let found = sqlx::query_scalar!("SELECT role FROM control.users WHERE id = $1 AND disabled_at IS NULL FOR SHARE", id)
        .fetch_optional(conn)
        .await?;
    found.map(|text| role(&text, id)).transpose()
}

/// How many enabled admins there are beside user `id`; their rows stay locked, so that two admins cannot disable each other at once.
pub async fn count_other_admins(conn: &mut PgConnection, id: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT count(*) AS "n!" FROM (
               SELECT id FROM control.users WHERE role = 'admin' AND disabled_at IS NULL ORDER BY id FOR UPDATE
           ) admins WHERE id <> $1"#,
        id
    )
    .fetch_one(conn)
    .await
}
