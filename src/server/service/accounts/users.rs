//! Accounts: adding, disabling, roles and passwords. Each change ends the sessions it must and is one transaction with its record.

use super::{Access, PASSWORD_MAX_BYTES, PASSWORD_MIN_CHARS, sha256};
use crate::domain::audit::{Actor, Code};
use crate::domain::operator::{Role, Viewer};
use crate::server::store::users::{self, User};
use crate::server::store::{audit, sessions};
use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{PgConnection, PgPool};

/// Why an account was not changed. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error("“{0}” is not an e-mail address. Write it as name@example.com, 254 bytes at most, without spaces.")]
    BadEmail(String),
    #[error("{0} has an account already. Reset its password or change its role instead.")]
    Exists(String),
    #[error("There is no account {0}. `stalewatch user list` shows who has one.")]
    Unknown(String),
    #[error("The password is too short: it needs at least {PASSWORD_MIN_CHARS} characters.")]
    TooShort,
    #[error("The password is too long: {PASSWORD_MAX_BYTES} bytes at most.")]
    TooLong,
    #[error("The name is empty or longer than 200 bytes.")]
    BadName,
    #[error("The present password is wrong; nothing was changed.")]
    WrongPassword,
    #[error("Too many tries with a wrong password; wait {0} s and try again.")]
    TooMany(u32),
    #[error("That would leave nobody who can administer. Make somebody else an admin first.")]
    LastAdmin,
    #[error("Your own second factor is removed on your account page, where a code of it is asked for.")]
    OwnFactor,
    #[error(transparent)]
    Store(#[from] sqlx::Error),
}

impl AccountError {
    /// Stable, for `data-error`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadEmail(_) => "bad_email",
            Self::Exists(_) => "exists",
            Self::Unknown(_) => "unknown_account",
            Self::TooShort => "password_too_short",
            Self::TooLong => "password_too_long",
            Self::BadName => "bad_name",
            Self::WrongPassword => "wrong_password",
            Self::TooMany(_) => "too_many",
            Self::LastAdmin => "last_admin",
            Self::OwnFactor => "own_factor",
            Self::Store(_) => "store_unavailable",
        }
    }
}

/// An account just added.
#[derive(Clone, Debug)]
pub struct AddedUser {
    pub id: i64,
    pub email: String,
    pub role: Role,
}

/// What a new account is made of, checked, the password hashed.
pub(super) struct Fresh {
    pub email: String,
    pub name: String,
    pub hash: String,
}

impl Fresh {
    pub(super) async fn check(access: &Access, email: &str, name: Option<&str>, password: &str) -> Result<Self, AccountError> {
        let email = email.trim();
        let well_formed = email.split_once('@').is_some_and(|(local, host)| !local.is_empty() && !host.is_empty() && !host.contains('@'));
        if !well_formed || email.len() > 254 || email.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(AccountError::BadEmail(email.chars().filter(|c| !c.is_control()).take(100).collect()));
        }
        let name = match name.map(str::trim).filter(|name| !name.is_empty()) {
            Some(name) => name.to_owned(),
            None => name_of(email),
        };
        if name.len() > 200 || name.chars().any(char::is_control) {
            return Err(AccountError::BadName);
        }
        check_new_password(password)?;
        let hash = access.hasher.hash(password).await;
        Ok(Self { email: email.to_owned(), name, hash })
    }
}

/// Adds an account. Without a name the part of the address before the `@` is it.
pub async fn add_user(
    access: &Access,
    pool: &PgPool,
    now: DateTime<Utc>,
    actor: &Actor,
    email: &str,
    name: Option<&str>,
    role: Role,
    password: &str,
) -> Result<AddedUser, AccountError> {
    let Fresh { email, name, hash } = Fresh::check(access, email, name, password).await?;
    let mut tx = pool.begin().await?;
    let Some(id) = users::insert(&mut tx, &email, &name, role, &hash, now).await? else {
        return Err(AccountError::Exists(email));
    };
    audit::append(&mut tx, Code::UserCreated, actor, &json!({"user": email, "user_id": id, "role": role.as_str()})).await?;
    tx.commit().await?;
    Ok(AddedUser { id, email, role })
}

/// `mara.lind@…` is Mara Lind until she says otherwise.
fn name_of(email: &str) -> String {
    let local = email.split('@').next().unwrap_or(email);
    let words: Vec<String> = local
        .split(['.', '_', '-', '+'])
        .filter(|word| !word.is_empty())
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
        })
        .collect();
    if words.is_empty() { local.to_owned() } else { words.join(" ") }
}

/// Everybody with an account.
pub async fn list_users(pool: &PgPool) -> Result<Vec<User>, sqlx::Error> {
    let mut conn = pool.acquire().await?;
    users::list(&mut conn).await
}

/// Disables an account and ends its sessions. Doing it again changes nothing.
pub async fn disable_user(access: &Access, pool: &PgPool, now: DateTime<Utc>, actor: &Actor, email: &str) -> Result<(), AccountError> {
    let mut tx = pool.begin().await?;
    // First the admins, in the order of their numbers, then the person: two admins who disable each other do not deadlock.
    let (user, other_admins) = lock(&mut tx, email).await?;
    if user.disabled_at.is_some() {
        return Ok(());
    }
    if user.role == Role::Admin && other_admins == 0 {
        return Err(AccountError::LastAdmin);
    }
    users::mark_disabled(&mut tx, user.id, Some(now)).await?;
    let ended = sessions::delete_of_user(&mut tx, user.id).await?;
    audit::append(&mut tx, Code::UserDisabled, actor, &json!({"user": user.email, "user_id": user.id, "sessions_ended": ended})).await?;
    tx.commit().await?;
    access.memory.forget_user(user.id);
    Ok(())
}

/// Lets a disabled account in again. Doing it again changes nothing.
pub async fn enable_user(pool: &PgPool, actor: &Actor, email: &str) -> Result<(), AccountError> {
    let mut tx = pool.begin().await?;
    let (user, _) = lock(&mut tx, email).await?;
    if user.disabled_at.is_none() {
        return Ok(());
    }
    users::mark_disabled(&mut tx, user.id, None).await?;
    audit::append(&mut tx, Code::UserEnabled, actor, &json!({"user": user.email, "user_id": user.id})).await?;
    tx.commit().await?;
    Ok(())
}

/// Gives an account another role and ends its sessions, so that it comes back with a new token.
pub async fn change_role(access: &Access, pool: &PgPool, actor: &Actor, email: &str, role: Role) -> Result<(), AccountError> {
    let mut tx = pool.begin().await?;
    let (user, other_admins) = lock(&mut tx, email).await?;
    if user.role == role {
        return Ok(());
    }
    if user.role == Role::Admin && user.disabled_at.is_none() && other_admins == 0 {
        return Err(AccountError::LastAdmin);
    }
    users::mark_role(&mut tx, user.id, role).await?;
    let ended = sessions::delete_of_user(&mut tx, user.id).await?;
    let body = json!({
        "user": user.email, "user_id": user.id, "role_before": user.role.as_str(), "role": role.as_str(), "sessions_ended": ended,
    });
    audit::append(&mut tx, Code::UserRoleChanged, actor, &body).await?;
    tx.commit().await?;
    access.memory.forget_user(user.id);
    Ok(())
}

/// Sets a new password for somebody else and ends their sessions.
pub async fn reset_password(
    access: &Access,
    pool: &PgPool,
    now: DateTime<Utc>,
    actor: &Actor,
    email: &str,
    password: &str,
) -> Result<User, AccountError> {
    check_new_password(password)?;
    let hash = access.hasher.hash(password).await;
    let mut tx = pool.begin().await?;
    let (user, _) = lock(&mut tx, email).await?;
    users::mark_password(&mut tx, user.id, &hash, now).await?;
    let ended = sessions::delete_of_user(&mut tx, user.id).await?;
    let body = json!({"user": user.email, "user_id": user.id, "sessions_ended": ended});
    audit::append(&mut tx, Code::UserPasswordReset, actor, &body).await?;
    tx.commit().await?;
    access.memory.forget_user(user.id);
    Ok(user)
}

/// Changes one's own password, for which the present one is asked, and ends all sessions, this one too.
pub async fn change_own_password(
    access: &Access,
    pool: &PgPool,
    now: DateTime<Utc>,
    viewer: &Viewer,
    came: &super::Came,
    present: &str,
    new: &str,
) -> Result<(), AccountError> {
    check_new_password(new)?;
    let mut conn = pool.acquire().await?;
    let user = users::find_by_email(&mut conn, &viewer.email).await?.ok_or_else(|| AccountError::Unknown(viewer.email.clone()))?;
    drop(conn);
    let account = sha256(user.email.to_lowercase().as_bytes());
    super::sign_in::check_again(access, pool, now, &account, &user, came, present).await?;
    let hash = access.hasher.hash(new).await;
    let mut tx = pool.begin().await?;
    users::mark_password(&mut tx, user.id, &hash, now).await?;
    let ended = sessions::delete_of_user(&mut tx, user.id).await?;
    let body = json!({"user": user.email, "user_id": user.id, "sessions_ended": ended});
    audit::append(&mut tx, Code::UserPasswordChanged, &viewer.actor(), &body).await?;
    tx.commit().await?;
    access.memory.forget_user(user.id);
    Ok(())
}

/// The account of that address, locked, with the number of other admins who could still administer.
pub(super) async fn lock(conn: &mut PgConnection, email: &str) -> Result<(User, i64), AccountError> {
    let unknown = || AccountError::Unknown(email.trim().chars().filter(|c| !c.is_control()).take(254).collect());
    let id = users::find_by_email(conn, email.trim()).await?.ok_or_else(unknown)?.id;
    let other_admins = users::count_other_admins(conn, id).await?;
    let user = users::find_for_update(conn, id).await?.ok_or_else(unknown)?;
    Ok((user, other_admins))
}

fn check_new_password(password: &str) -> Result<(), AccountError> {
    if password.chars().count() < PASSWORD_MIN_CHARS {
        return Err(AccountError::TooShort);
    }
    if password.len() > PASSWORD_MAX_BYTES {
        return Err(AccountError::TooLong);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_from_the_address() {
        assert_eq!(name_of("mara.lind@example.com"), "Mara Lind");
        assert_eq!(name_of("admin@example.com"), "Admin");
        assert_eq!(name_of("-@example.com"), "-");
    }
}
