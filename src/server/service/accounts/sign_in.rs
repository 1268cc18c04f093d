//! The sign-in and its throttle: delay, never lock-out. From the 4th wrong password in 15 minutes each further try of that account, known
//! or not, waits 1, 2, 4, then 8 s; an address that failed often waits for its bucket, 8 s at most.

use super::{Access, AccountError, sha256};
use crate::domain::audit::{Actor, Code};
use crate::server::clock::Clock;
use crate::server::store::sign_ins::{self, Failure};
use crate::server::store::{audit, second_factors, sessions, users};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use sqlx::PgPool;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// Failures older than this are forgiven.
pub(super) const WINDOW: TimeDelta = TimeDelta::minutes(15);
/// This many are free.
const FREE_FAILURES: i64 = 3;
/// No try waits longer.
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// Where more than this many wait, the next is sent away.
const MOST_WAITING: usize = 20;
/// Failures an address has at once, and how fast they come back.
const ADDRESS_BUCKET: f64 = 60.0;
const ADDRESS_PER_SECOND: f64 = 0.5;
/// Kept of a browser's name.
const USER_AGENT_CHARS: usize = 200;
/// A queued record gets this long to reach the chain before the page goes out; it gets there later in any case.
const QUEUE_PATIENCE: Duration = Duration::from_millis(500);

/// Where a request came from, for the list of sessions and the throttle.
#[derive(Clone, Debug)]
pub struct Came {
    pub address: String,
    pub user_agent: String,
}

/// Counts who waits, by account and by address.
#[derive(Clone, Default)]
pub struct Gate(Arc<Mutex<HashMap<[u8; 32], usize>>>);

/// A place in the gate, given back on drop.
struct Waiting {
    gate: Gate,
    key: [u8; 32],
}

impl Gate {
    fn enter(&self, key: [u8; 32]) -> Option<Waiting> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.entry(key).or_insert(0);
        if *count >= MOST_WAITING {
            return None;
        }
        *count += 1;
        Some(Waiting { gate: self.clone(), key })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut waiting = self.gate.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = waiting.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                waiting.remove(&self.key);
            }
        }
    }
}

/// A session just begun. The token is in the cookie only.
pub struct NewSession {
    pub token: String,
}

/// Why somebody did not get in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    #[error("E-mail or password is wrong.")]
    Wrong { next_wait_s: u64 },
    #[error("This account is disabled.")]
    Disabled,
    #[error("Too many tries wait already.")]
    TooMany { retry_after_s: u32 },
    #[error(transparent)]
    Store(#[from] sqlx::Error),
}

/// Checks e-mail and password, waits where the throttle says so, and begins a session with a new token; `old_token`'s session ends.
pub async fn sign_in(
    access: &Access,
    pool: &PgPool,
    clock: &Clock,
    email: &str,
    password: &str,
    came: &Came,
    old_token: Option<&str>,
) -> Result<NewSession, SignInError> {
    let account = sha256(email.trim().to_lowercase().as_bytes());
    let turn = wait_for_turn(access, pool, clock, &account, came).await?;
    let mut conn = pool.acquire().await?;
    let user = users::find_by_email(&mut conn, email.trim()).await?;
    drop(conn);
    let right = access.hasher.verify(&turn.place, password, user.as_ref().map(|user| user.password_hash.as_str())).await;
    let now = clock.now();
    let failure = match &user {
        Some(user) if right && user.disabled_at.is_none() => None,
        Some(_) if right => Some(Failure::Disabled),
        Some(_) => Some(Failure::WrongPassword),
        None => Some(Failure::UnknownAccount),
    };
    if let Some(failure) = failure {
        let mut tx = pool.begin().await?;
        sign_ins::insert_failure(&mut tx, now, &account, user.as_ref().map(|user| user.id), &came.address, failure).await?;
        sign_ins::take_address_token(&mut tx, &came.address, ADDRESS_BUCKET, ADDRESS_PER_SECOND, now).await?;
        tx.commit().await?;
        if failure == Failure::Disabled {
            return Err(SignInError::Disabled);
        }
        let (for_account, for_address) = waits(pool, clock, &account, came).await?;
        return Err(SignInError::Wrong { next_wait_s: for_account.max(for_address).as_secs() });
    }
    drop(turn);
    let Some(user) = user else { return Err(SignInError::Wrong { next_wait_s: 0 }) };

    let token = BASE64_URL_SAFE_NO_PAD.encode(super::random_bytes::<32>());
    let user_agent: String = came.user_agent.chars().filter(|c| !c.is_control()).take(USER_AGENT_CHARS).collect();
    let actor = Actor::User { id: user.id, email: user.email.clone(), role: user.role };
    let mut tx = pool.begin().await?;
    if let Some(old) = old_token {
        sessions::delete_by_token(&mut tx, &sha256(old.as_bytes())).await?;
    }
    let session_id = sessions::insert(&mut tx, &sha256(token.as_bytes()), user.id, now, &came.address, &user_agent).await?;
    audit::queue(&mut tx, now, Code::SignInOk, &actor, &json!({"address": came.address, "session": session_id})).await?;
    tx.commit().await?;
    move_queued_records(pool).await;
    Ok(NewSession { token })
}

/// A place to hash at, after the wait that the throttle asks for.
pub(super) struct Turn {
    place: OwnedSemaphorePermit,
    _waiting: Option<Waiting>,
}

/// Waits as the throttle says. The wait is looked up while holding a hashing place, so a burst of tries cannot all slip in before the first
/// failure is written.
pub(super) async fn wait_for_turn(
    access: &Access,
    pool: &PgPool,
    clock: &Clock,
    account: &[u8; 32],
    came: &Came,
) -> Result<Turn, SignInError> {
    let by_address = sha256(format!("address {}", came.address).as_bytes());
    let mut waited = Duration::ZERO;
    let mut waiting = None;
    loop {
        let place = access.hasher.place().await;
        let (for_account, for_address) = waits(pool, clock, account, came).await?;
        let wait = for_account.max(for_address);
        if wait <= waited {
            return Ok(Turn { place, _waiting: waiting });
        }
        drop(place);
        if waiting.is_none() {
            let key = if for_account >= for_address { *account } else { by_address };
            let Some(entered) = access.gate.enter(key) else {
                let mut conn = pool.acquire().await?;
                sign_ins::insert_failure(&mut conn, clock.now(), account, None, &came.address, Failure::TooMany).await?;
                return Err(SignInError::TooMany { retry_after_s: 8 });
            };
            waiting = Some(entered);
        }
        tokio::time::sleep(wait.saturating_sub(waited)).await;
        waited = wait;
    }
}

/// Counts a wrong try against an account that is not there, and against the address.
pub(super) async fn note_wrong_try(pool: &PgPool, now: DateTime<Utc>, account: &[u8; 32], came: &Came) -> Result<(), sqlx::Error> {
    let mut tx = pool.begin().await?;
    sign_ins::insert_failure(&mut tx, now, account, None, &came.address, Failure::UnknownAccount).await?;
    sign_ins::take_address_token(&mut tx, &came.address, ADDRESS_BUCKET, ADDRESS_PER_SECOND, now).await?;
    tx.commit().await
}

/// Checks the password of somebody who is signed in already. Wrong tries count as failed sign-ins; where those have to wait, this is refused.
pub(super) async fn check_again(
    access: &Access,
    pool: &PgPool,
    now: DateTime<Utc>,
    account: &[u8; 32],
    user: &users::User,
    came: &Came,
    password: &str,
) -> Result<(), AccountError> {
    let place = access.hasher.place().await;
    let mut conn = pool.acquire().await?;
    let failures = sign_ins::count_failures(&mut conn, account, now - WINDOW).await?;
    drop(conn);
    if let wait @ 1.. = wait_after(failures).as_secs() {
        // Not waited for here: the last failures are of this account, and whoever is signed in can try again in a moment.
        let mut conn = pool.acquire().await?;
        let since_last = sign_ins::find_last_failure(&mut conn, account).await?.map_or(i64::MAX, |last| (now - last).num_seconds());
        let left = i64::try_from(wait).unwrap_or(i64::MAX).saturating_sub(since_last);
        if left > 0 {
            return Err(AccountError::TooMany(u32::try_from(left).unwrap_or(8)));
        }
    }
    if access.hasher.verify(&place, password, Some(&user.password_hash)).await {
        return Ok(());
    }
    let mut conn = pool.acquire().await?;
    sign_ins::insert_failure(&mut conn, now, account, Some(user.id), &came.address, Failure::WrongPassword).await?;
    Err(AccountError::WrongPassword)
}

/// How long a try of that account from that address has to wait.
async fn waits(pool: &PgPool, clock: &Clock, account: &[u8; 32], came: &Came) -> Result<(Duration, Duration), sqlx::Error> {
    let now = clock.now();
    let mut conn = pool.acquire().await?;
    let failures = sign_ins::count_failures(&mut conn, account, now - WINDOW).await?;
    let tokens = sign_ins::find_address_tokens(&mut conn, &came.address, ADDRESS_BUCKET, ADDRESS_PER_SECOND, now).await?;
    Ok((wait_after(failures), wait_for_bucket(tokens)))
}

/// 1, 2, 4, then 8 s from the 4th failure on.
pub(super) fn wait_after(failures: i64) -> Duration {
    match failures - FREE_FAILURES {
        ..=0 => Duration::ZERO,
        1 => Duration::from_secs(1),
        2 => Duration::from_secs(2),
        3 => Duration::from_secs(4),
        _ => LONGEST_WAIT,
    }
}

/// Until the bucket holds a whole token again, 8 s at most.
fn wait_for_bucket(tokens: f64) -> Duration {
    Duration::try_from_secs_f64(((1.0 - tokens) / ADDRESS_PER_SECOND).max(0.0)).map_or(LONGEST_WAIT, |wait| wait.min(LONGEST_WAIT))
}

/// Moves queued records into the chain, waiting a moment for it at most; what does not get there now does so at the job's next tick.
pub async fn move_queued_records(pool: &PgPool) {
    let pool = pool.clone();
    let task = tokio::spawn(async move {
        loop {
            let mut tx = pool.begin().await?;
            let moved = audit::move_queued(&mut tx).await?;
            tx.commit().await?;
            if !moved {
                return Ok::<(), sqlx::Error>(());
            }
        }
    });
    match tokio::time::timeout(QUEUE_PATIENCE, task).await {
        Ok(Ok(Err(cause))) => tracing::warn!(error.cause = %cause, "queued audit records wait for the next tick"),
        Ok(Err(failed)) => tracing::error!(error.cause = %failed, "moving queued audit records failed"),
        Ok(Ok(Ok(()))) | Err(_) => {}
    }
}

/// One record for all sign-ins that failed since the last one: nobody outside can fill the chain. Also forgets what is too old.
pub async fn tell_of_failures(pool: &PgPool, clock: &Clock) -> Result<(), sqlx::Error> {
    let now = clock.now();
    let mut tx = pool.begin().await?;
    sign_ins::delete_old(&mut tx, now - TimeDelta::days(90), now - TimeDelta::hours(1)).await?;
    second_factors::delete_old(&mut tx, now).await?;
    sessions::delete_dead(&mut tx, now - super::IDLE, now - super::ABSOLUTE).await?;
    if let Some(untold) = sign_ins::take_untold(&mut tx).await? {
        let body = json!({
            "failures": untold.failures, "accounts": untold.accounts, "known_accounts": untold.known_accounts,
            "addresses": untold.addresses, "first_at": untold.first_at, "last_at": untold.last_at,
        });
        audit::append(&mut tx, Code::SignInFailed, &Actor::System, &body).await?;
    }
    tx.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_the_fourth_failure_tries_wait_and_never_longer_than_eight_seconds() {
        let waits: Vec<u64> = (0..9).map(|failures| wait_after(failures).as_secs()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 1, 2, 4, 8, 8]);
    }

    #[test]
    fn an_address_waits_for_its_bucket_but_gets_in() {
        assert_eq!(wait_for_bucket(1.0), Duration::ZERO);
        assert_eq!(wait_for_bucket(0.0), Duration::from_secs(2));
        assert_eq!(wait_for_bucket(-60.0), LONGEST_WAIT);
    }

    #[test]
    fn the_twenty_first_waiter_is_sent_away() {
        let gate = Gate::default();
        let waiting: Vec<_> = (0..20).map(|_| gate.enter([7; 32])).collect();
        assert!(waiting.iter().all(Option::is_some));
        assert!(gate.enter([7; 32]).is_none());
        drop(waiting);
        assert!(gate.enter([7; 32]).is_some());
    }
}
