//! What happens to flushes by the passing of time: plans expire, workers that are gone are noticed, verdicts come due, samples are forgotten.

use super::judge;
use super::record::{Told, seal};
use crate::domain::audit::{Actor, Code};
use crate::domain::flush::State;
use crate::server::state::AppState;
use crate::server::store::flushes::{self, Flush, Overdue};
use chrono::TimeDelta;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// After Postgres has been away its workers get this long to say what became of them, before anybody takes their leases.
const GRACE: Duration = Duration::from_secs(10);
/// How long sample keys are kept.
const SAMPLES_LIVE: TimeDelta = TimeDelta::days(30);

/// What one sweep remembers for the next.
#[derive(Debug, Default)]
pub struct Sweeper(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    /// Postgres failed at the last sweep.
    away: bool,
    /// It answered again at that time.
    back_since: Option<Instant>,
}

impl Sweeper {
    fn note(&self, answers: bool) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !answers {
            *known = Remembered { away: true, back_since: None };
        } else if known.away {
            *known = Remembered { away: false, back_since: Some(Instant::now()) };
        }
    }

    fn may_reap(&self) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        !known.away && known.back_since.is_none_or(|since| since.elapsed() >= GRACE)
    }
}

/// One sweep. Idempotent, and every step of it fenced, so any number of replicas may do it.
pub async fn sweep(app: &AppState, sweeper: &Sweeper) {
    let swept = async {
        expire(app).await?;
        sweeper.note(true);
        if sweeper.may_reap() {
            reap(app).await?;
        }
        let due = flushes::list_due(&mut *app.pools.record.acquire().await?, app.clock.now()).await?;
        for flush in due {
            judge_one(app, &flush).await;
        }
        flushes::purge_samples(&mut *app.pools.record.acquire().await?, app.clock.now() - SAMPLES_LIVE).await
    };
    if let Err(cause) = swept.await {
        sweeper.note(false);
        tracing::warn!(error.cause = %cause, "flushes could not be swept");
    }
}

async fn judge_one(app: &AppState, flush: &Flush) {
    if let Err(cause) = judge::judge(app, flush).await {
        tracing::warn!(flush.id = flush.id, error.cause = %cause, "a verdict could not be reached yet");
    }
}

/// `planned, awaiting_approval, approved → expired`.
async fn expire(app: &AppState) -> Result<(), sqlx::Error> {
    let now = app.clock.now();
    let expired = flushes::list_expired(&mut *app.pools.record.acquire().await?, now).await?;
    for id in expired {
        let mut change = app.pools.record.begin().await?;
        let flush = flushes::find(&mut change, id).await?.ok_or(sqlx::Error::RowNotFound)?;
        let (Some(step), Some(cause)) = (flush.state.to(State::Expired), expiry(flush.state)) else { continue };
        let made = flushes::mark_expired(&mut change, id, step, cause, now).await?;
        let told = Told::of(Code::FlushExpired, Actor::System, &flush, step.to()).with("from", step.from().as_str()).with("cause", cause.0);
        seal(change, made, &told).await?;
    }
    Ok(())
}

/// What has expired: a code and a sentence.
pub(super) fn expiry(state: State) -> Option<(&'static str, &'static str)> {
    match state {
        State::Planned => Some(("plan_expired", "A plan holds for five minutes, so that it says what is there now.")),
        State::AwaitingApproval => Some(("approval_expired", "Nobody approved or rejected it within 30 minutes.")),
        State::Approved => Some(("start_expired", "It was approved, but not started within 15 minutes.")),
        _ => None,
    }
}

/// Flushes whose lease is over: their worker crashed, or hangs for longer than it may.
async fn reap(app: &AppState) -> Result<(), sqlx::Error> {
    let overdue = flushes::list_overdue(&mut *app.pools.record.acquire().await?).await?;
    for one in overdue {
        reap_one(app, &one).await?;
    }
    Ok(())
}

async fn reap_one(app: &AppState, overdue: &Overdue) -> Result<(), sqlx::Error> {
    let (to, code, cause, detail) = match overdue.state {
        State::Planning => {
            (State::PlanFailed, Code::FlushPlanFailed, "worker_lost", "The server that was counting went away. Plan again.".to_owned())
        }
        State::Starting => {
            (State::Interrupted, Code::FlushInterrupted, "worker_lost", "The server went away before it removed anything.".to_owned())
        }
        State::Verifying => (
            State::Interrupted,
            Code::FlushInterrupted,
            "worker_lost",
            "The server went away while the outcome was being verified; all removing had ended.".to_owned(),
        ),
        _ => (
            State::Interrupted,
            Code::FlushInterrupted,
            "worker_lost",
            format!(
                "The server went away while it was removing. At least {} and at most {} keys were removed.",
                overdue.removed,
                overdue.removed + overdue.granted
            ),
        ),
    };
    let Some(step) = overdue.state.to(to) else { return Ok(()) };
    let mut change = app.pools.record.begin().await?;
    let made = flushes::mark_reaped(&mut change, overdue, step, (cause, &detail), app.clock.now()).await?;
    let flush = flushes::find(&mut change, overdue.id).await?.ok_or(sqlx::Error::RowNotFound)?;
    let mut told = Told::of(code, Actor::System, &flush, to).with("cause", cause);
    if overdue.state != State::Planning {
        told = told
            .with("removed_at_least", overdue.removed)
            .with("granted", overdue.granted)
            .with("gone", overdue.gone)
            .with("failed", overdue.failed);
    }
    if seal(change, made, &told).await? {
        app.anchoring.request();
        tracing::warn!(flush.id = overdue.id, flush.state = to.as_str(), "a flush was left by its worker");
    }
    Ok(())
}
