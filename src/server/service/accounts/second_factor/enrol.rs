//! Enrolling and removing a second factor, new recovery codes, and an admin's reset of somebody else's.

use super::super::{Access, AccountError, Came, random_bytes, sha256, sign_in, users as accounts};
use super::key::{KeyError, SealKey};
use super::{FactorError, SHOWN_FOR, Shown, app, of_app, of_codes, renew_session, take, tell};
use crate::domain::audit::{Actor, Code};
use crate::domain::operator::Viewer;
use crate::domain::second_factor::{TypedCode, read_code};
use crate::server::config::Config;
use crate::server::state::AppState;
use crate::server::store::{audit, second_factors, sessions, users};
use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::{PgConnection, PgPool};

/// The key to seal with. One that does not open what is sealed already is refused: replicas with a key each could not read each other's.
async fn key_for(conn: &mut PgConnection, config: &Config, viewer: &Viewer) -> Result<SealKey, FactorError> {
    let key = SealKey::find(config)?;
    let other = second_factors::find_other(conn, viewer.user_id).await?;
    match (key, other) {
        (None, None) => Ok(SealKey::make(config)?),
        (Some(key), None) => Ok(key),
        (Some(key), Some((of, sealed))) if key.open(&of_app(of), &sealed).is_some() => Ok(key),
        (_, Some(_)) => Err(KeyError::AnotherKey.into()),
    }
}

/// Makes a secret for this person's app, for which their password is asked. It does not count before it is confirmed by a code.
pub async fn begin_enrolment(app: &AppState, viewer: &Viewer, came: &Came, password: &str) -> Result<(), FactorError> {
    let (pool, config, now) = (&app.pools.control, app.config(), app.clock.now());
    let mut conn = pool.acquire().await?;
    let user = users::find_by_email(&mut conn, &viewer.email).await?.ok_or_else(|| AccountError::Unknown(viewer.email.clone()))?;
    drop(conn);
    sign_in::check_again(&app.access, pool, now, &sha256(user.email.to_lowercase().as_bytes()), &user, came, password).await?;
    let mut tx = pool.begin().await?;
    let key = key_for(&mut tx, &config, viewer).await?;
    let sealed = key.seal(&of_app(viewer.user_id), &random_bytes::<{ app::SECRET_BYTES }>());
    if !second_factors::insert_pending(&mut tx, viewer.user_id, &sealed, now, viewer.session_id, now + SHOWN_FOR).await? {
        return Err(FactorError::AlreadyEnrolled);
    }
    tx.commit().await?;
    Ok(())
}

/// Confirms the new secret by a code of the app: from now on it counts, and there are recovery codes.
pub async fn finish_enrolment(app: &AppState, viewer: &Viewer, typed: &str) -> Result<Shown, FactorError> {
    let (config, now) = (app.config(), app.clock.now());
    let mut tx = app.pools.control.begin().await?;
    let factor = second_factors::find_for_update(&mut tx, viewer.user_id).await?.ok_or(FactorError::EnrolmentOver)?;
    if factor.confirmed_at.is_some() {
        return Err(FactorError::AlreadyEnrolled);
    }
    if !super::is_shown(&factor, viewer, now) {
        return Err(FactorError::EnrolmentOver);
    }
    let key = SealKey::find(&config)?.ok_or(KeyError::AnotherKey)?;
    let secret = key.open(&of_app(viewer.user_id), &factor.sealed).ok_or(KeyError::AnotherKey)?;
    let step = match read_code(typed) {
        TypedCode::App(code) => app::step_of(&secret, &code, now),
        _ => None,
    };
    // Whoever types it wrongly here sees the secret anyway: nothing to slow down.
    let step = step.ok_or(FactorError::Wrong { next_wait_s: 0 })?;
    second_factors::mark_step(&mut tx, viewer.user_id, step).await?;
    second_factors::mark_confirmed(&mut tx, viewer.user_id, now).await?;
    give_codes(&mut tx, &key, viewer, now).await?;
    let token = renew_session(&mut tx, viewer, now).await?;
    audit::append(&mut tx, Code::FactorEnrolled, &viewer.actor(), &json!({"session": viewer.session_id})).await?;
    tx.commit().await?;
    app.access.memory.forget_user(viewer.user_id);
    Ok(Shown { token, at: now })
}

async fn give_codes(tx: &mut PgConnection, key: &SealKey, viewer: &Viewer, now: DateTime<Utc>) -> Result<(), sqlx::Error> {
    let codes = app::recovery_codes();
    let hashes: Vec<Vec<u8>> = codes.iter().map(|code| app::recovery_hash(viewer.user_id, code)).collect();
    let sealed = key.seal(&of_codes(viewer.user_id), codes.join("\n").as_bytes());
    second_factors::replace_codes(tx, viewer.user_id, &hashes, &sealed, viewer.session_id, now + SHOWN_FOR).await
}

/// New recovery codes in the place of all earlier ones; a code is asked for.
pub async fn renew_recovery_codes(app: &AppState, viewer: &Viewer, typed: &str) -> Result<Shown, FactorError> {
    let (config, now) = (app.config(), app.clock.now());
    let (mut tx, used) = take(app.pools.control.begin().await?, &config, viewer, typed, now).await?;
    let key = key_for(&mut tx, &config, viewer).await?;
    give_codes(&mut tx, &key, viewer, now).await?;
    let token = renew_session(&mut tx, viewer, now).await?;
    tell(&mut tx, viewer, &used).await?;
    audit::append(&mut tx, Code::RecoveryRenewed, &viewer.actor(), &json!({})).await?;
    tx.commit().await?;
    app.access.memory.forget_session(viewer.session_id);
    Ok(Shown { token, at: now })
}

/// Takes one's own second factor away; a code is asked for.
pub async fn remove_factor(app: &AppState, viewer: &Viewer, typed: &str) -> Result<(), FactorError> {
    let now = app.clock.now();
    let (mut tx, used) = take(app.pools.control.begin().await?, &app.config(), viewer, typed, now).await?;
    second_factors::delete(&mut tx, viewer.user_id).await?;
    tell(&mut tx, viewer, &used).await?;
    audit::append(&mut tx, Code::FactorRemoved, &viewer.actor(), &json!({})).await?;
    tx.commit().await?;
    app.access.memory.forget_user(viewer.user_id);
    Ok(())
}

/// The recovery codes just made are kept by their owner and need not be shown any more.
pub async fn forget_shown_codes(pool: &PgPool, viewer: &Viewer) -> Result<(), sqlx::Error> {
    second_factors::forget_shown_codes(&mut *pool.acquire().await?, viewer.user_id).await
}

/// The people who have a second factor.
pub async fn list_enrolled(pool: &PgPool) -> Result<Vec<i64>, sqlx::Error> {
    second_factors::list_enrolled(&mut *pool.acquire().await?).await
}

/// Takes somebody else's second factor away and ends their sessions; false where they have none. Nobody does it to their own: a stolen
/// session of an admin would be enough.
pub async fn reset_factor(access: &Access, pool: &PgPool, actor: &Actor, email: &str) -> Result<bool, AccountError> {
    let mut tx = pool.begin().await?;
    let (user, _) = accounts::lock(&mut tx, email).await?;
    if matches!(actor, Actor::User { id, .. } if *id == user.id) {
        return Err(AccountError::OwnFactor);
    }
    if !second_factors::delete(&mut tx, user.id).await? {
        return Ok(false);
    }
    let ended = sessions::delete_of_user(&mut tx, user.id).await?;
    let body = json!({"user": user.email, "user_id": user.id, "sessions_ended": ended});
    audit::append(&mut tx, Code::FactorReset, actor, &body).await?;
    tx.commit().await?;
    access.memory.forget_user(user.id);
    Ok(true)
}
