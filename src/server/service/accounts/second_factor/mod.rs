//! The second factor: an authenticator app, and recovery codes for the day the phone is lost. A code is taken once, on whichever replica; who
//! types wrong ones waits as at the sign-in, and nobody is locked out.

mod app;
mod enrol;
mod key;

pub use enrol::{begin_enrolment, finish_enrolment, forget_shown_codes, list_enrolled, remove_factor, renew_recovery_codes, reset_factor};
pub use key::KeyError;

use super::{AccountError, sign_in};
use crate::domain::audit::Code;
use crate::domain::operator::Viewer;
use crate::domain::second_factor::{TypedCode, grouped, read_code};
use crate::server::config::Config;
use crate::server::state::AppState;
use crate::server::store::second_factors::{self, SecondFactor};
use crate::server::store::{audit, sessions};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use key::SealKey;
use serde_json::json;
use sqlx::{PgConnection, PgPool, Postgres, Transaction};

/// What was just made (a secret, recovery codes) is shown for this long, to the session that made it.
pub const SHOWN_FOR: TimeDelta = TimeDelta::minutes(10);

/// Why a second factor was not taken, made or changed. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum FactorError {
    #[error("Your second factor is asked for: type the code that your authenticator app shows now, or a recovery code.")]
    Missing,
    #[error("This code is not right (any more). Type the one that your app shows now, or a recovery code that you have not used.{}", next(*.next_wait_s))]
    Wrong { next_wait_s: u64 },
    #[error("This code has been used already, and each counts once. Wait until your app shows the next, at most 30 s.{}", next(*.next_wait_s))]
    Used { next_wait_s: u64 },
    #[error("Too many wrong codes; wait {0} s and try again.")]
    TooMany(u32),
    #[error("You have no second factor. Enrol one on your account page.")]
    NotEnrolled,
    #[error("You have a second factor already. Remove it first.")]
    AlreadyEnrolled,
    #[error("This enrolment is over: its secret was shown for 10 minutes, in one session. Begin again.")]
    EnrolmentOver,
    #[error("Your session has ended. Sign in again.")]
    SessionEnded,
    #[error(
        "This server cannot read second factors ({0}), so no app can be checked or enrolled; recovery codes work. An admin gives every replica the same secret_key_file, or resets what was sealed with a lost key: see docs/operating.md."
    )]
    Key(#[from] KeyError),
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    Store(#[from] sqlx::Error),
}

fn next(wait_s: u64) -> String {
    if wait_s == 0 { String::new() } else { format!(" Your next try is taken in {wait_s} s.") }
}

impl FactorError {
    /// Stable, for `data-error`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "step_up",
            Self::Wrong { .. } => "wrong_code",
            Self::Used { .. } => "used_code",
            Self::TooMany(_) => "too_many",
            Self::NotEnrolled => "not_enrolled",
            Self::AlreadyEnrolled => "already_enrolled",
            Self::EnrolmentOver => "enrolment_over",
            Self::SessionEnded => "signed_out",
            Self::Key(_) => "second_factor_unreadable",
            Self::Account(error) => error.code(),
            Self::Store(_) => "store_unavailable",
        }
    }
}

/// A second factor was shown: the session goes on under a new token.
#[derive(Clone, Debug)]
pub struct Shown {
    pub token: String,
    pub at: DateTime<Utc>,
}

/// Which kind of code was taken.
enum Taken {
    App,
    /// One of the recovery codes; so many are left.
    Recovery {
        left: i64,
    },
}

/// What `/account` shows of one's second factor.
#[derive(Clone, Debug, Default)]
pub struct FactorPage {
    /// Everybody needs one.
    pub required: bool,
    pub enrolled_at: Option<DateTime<Utc>>,
    /// Recovery codes that are left.
    pub codes_left: i64,
    /// What was begun in this session.
    pub enrolling: Option<Enrolling>,
    /// Recovery codes just made in this session, in groups.
    pub codes: Vec<String>,
}

/// A secret on its way into an app.
#[derive(Clone, Debug)]
pub struct Enrolling {
    /// Base32 in groups of four.
    pub secret: String,
    /// `otpauth://…`
    pub uri: String,
    pub until: DateTime<Utc>,
}

/// What this person's account page shows of their second factor.
pub async fn load_factor(pool: &PgPool, config: &Config, now: DateTime<Utc>, viewer: &Viewer) -> Result<FactorPage, sqlx::Error> {
    let mut page = FactorPage { required: config.require_second_factor, ..FactorPage::default() };
    let mut conn = pool.acquire().await?;
    let Some(factor) = second_factors::find(&mut conn, viewer.user_id).await? else { return Ok(page) };
    page.enrolled_at = factor.confirmed_at;
    page.codes_left = second_factors::count_codes(&mut conn, viewer.user_id).await?;
    if !is_shown(&factor, viewer, now) {
        return Ok(page);
    }
    // A key that cannot be read shows nothing; whoever uses it is told why.
    let Ok(Some(key)) = SealKey::find(config) else { return Ok(page) };
    if factor.confirmed_at.is_none() {
        page.enrolling = key.open(&of_app(viewer.user_id), &factor.sealed).map(|secret| Enrolling {
            secret: app::written(&secret),
            uri: app::uri(&secret, &viewer.email),
            until: factor.shown_until,
        });
    }
    let codes = factor.sealed_codes.and_then(|sealed| key.open(&of_codes(viewer.user_id), &sealed));
    let codes = codes.and_then(|codes| String::from_utf8(codes).ok()).unwrap_or_default();
    page.codes = codes.lines().map(|code| grouped(code, "-")).collect();
    Ok(page)
}

fn is_shown(factor: &SecondFactor, viewer: &Viewer, now: DateTime<Utc>) -> bool {
    factor.shown_to == Some(viewer.session_id) && now < factor.shown_until
}

/// What an app's secret is bound to.
fn of_app(user_id: i64) -> String {
    format!("app of user {user_id}")
}

/// What recovery codes are bound to while they are shown.
fn of_codes(user_id: i64) -> String {
    format!("recovery codes of user {user_id}")
}

/// Takes a code of whoever has a second factor, before a flush starts or is approved.
pub async fn step_up(app: &AppState, viewer: &Viewer, typed: &str) -> Result<Shown, FactorError> {
    let now = app.clock.now();
    let (mut tx, used) = take(app.pools.record.begin().await?, &app.config(), viewer, typed, now).await?;
    let token = renew_session(&mut tx, viewer, now).await?;
    tell(&mut tx, viewer, &used).await?;
    audit::append(&mut tx, Code::StepUpOk, &viewer.actor(), &json!({"session": viewer.session_id})).await?;
    tx.commit().await?;
    app.access.memory.forget_session(viewer.session_id);
    Ok(Shown { token, at: now })
}

/// Uses up a code of this person's, within the transaction that it is for. A wrong one is counted and recorded, and ends the transaction.
async fn take<'c>(
    mut tx: Transaction<'c, Postgres>,
    config: &Config,
    viewer: &Viewer,
    typed: &str,
    now: DateTime<Utc>,
) -> Result<(Transaction<'c, Postgres>, Taken), FactorError> {
    let user_id = viewer.user_id;
    let factor = second_factors::find_for_update(&mut tx, user_id).await?.filter(|factor| factor.confirmed_at.is_some());
    let factor = factor.ok_or(FactorError::NotEnrolled)?;
    if typed.trim().is_empty() {
        return Err(FactorError::Missing);
    }
    let lately = factor.failed_at.filter(|at| now - *at < sign_in::WINDOW);
    let failures = lately.map_or(0, |_| factor.failures);
    let wait = |failures: i32| sign_in::wait_after(failures.into()).as_secs();
    if let Some(at) = lately {
        let left = i64::try_from(wait(failures)).unwrap_or(i64::MAX) - (now - at).num_seconds();
        if left > 0 {
            return Err(FactorError::TooMany(u32::try_from(left).unwrap_or(8)));
        }
    }
    let next_wait_s = wait(failures + 1);
    let taken = match read_code(typed) {
        TypedCode::Other => Err(FactorError::Wrong { next_wait_s }),
        TypedCode::App(code) => {
            let key = SealKey::find(config)?.ok_or(KeyError::AnotherKey)?;
            let secret = key.open(&of_app(user_id), &factor.sealed).ok_or(KeyError::AnotherKey)?;
            match app::step_of(&secret, &code, now) {
                None => Err(FactorError::Wrong { next_wait_s }),
                Some(step) if second_factors::mark_step(&mut tx, user_id, step).await? => Ok(Taken::App),
                Some(_) => Err(FactorError::Used { next_wait_s }),
            }
        }
        TypedCode::Recovery(code) => {
            if second_factors::delete_code(&mut tx, user_id, &app::recovery_hash(user_id, &code)).await? {
                Ok(Taken::Recovery { left: second_factors::count_codes(&mut tx, user_id).await? })
            } else {
                Err(FactorError::Wrong { next_wait_s })
            }
        }
    };
    match taken {
        Ok(taken) => {
            second_factors::mark_failures(&mut tx, user_id, 0, None).await?;
            second_factors::forget_shown_codes(&mut tx, user_id).await?;
            Ok((tx, taken))
        }
        Err(wrong) => {
            second_factors::mark_failures(&mut tx, user_id, failures + 1, Some(now)).await?;
            audit::append(&mut tx, Code::StepUpFailed, &viewer.actor(), &json!({"reason": wrong.code(), "failures": failures + 1})).await?;
            tx.commit().await?;
            Err(wrong)
        }
    }
}

/// Gives the session a new token, with the factor shown in it; the token.
async fn renew_session(tx: &mut PgConnection, viewer: &Viewer, now: DateTime<Utc>) -> Result<String, FactorError> {
    let token = BASE64_URL_SAFE_NO_PAD.encode(super::random_bytes::<32>());
    if !sessions::mark_factor_shown(tx, viewer.session_id, &super::sha256(token.as_bytes()), now).await? {
        return Err(FactorError::SessionEnded);
    }
    Ok(token)
}

/// Records that a recovery code was used, if one was.
async fn tell(tx: &mut PgConnection, viewer: &Viewer, taken: &Taken) -> Result<(), sqlx::Error> {
    if let Taken::Recovery { left } = taken {
        audit::append(tx, Code::RecoveryUsed, &viewer.actor(), &json!({"left": left})).await?;
    }
    Ok(())
}
