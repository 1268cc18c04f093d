//! What a person does to a flush: confirm it, cancel it, plan it again. The confirmation is checked here, on the server, against what the
//! server itself previewed.

use super::Refused;
use super::ask::{self, Asked, guard, hourly, reachable, scope_of};
use super::record::{PATIENCE, Told, in_time, note_refusal, recorded, seal};
use super::worker::{self, Job};
use crate::domain::audit::Code;
use crate::domain::flush::{ConfirmError, ConfirmedPlan, Permit, Plan, State, Transition, Typed, cap};
use crate::domain::operator::Viewer;
use crate::domain::prefix::Scope;
use crate::server::config::{Approvals, Target};
use crate::server::redis::Endpoint;
use crate::server::state::AppState;
use crate::server::store::flushes::{self, Ended, Flush, Refusal, Row};
use chrono::TimeDelta;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// One flush, or why not.
async fn found(app: &AppState, id: i64) -> Result<Flush, Refused> {
    let pool = app.pools.record.clone();
    recorded(async move { flushes::find(&mut *pool.acquire().await?, id).await })
        .await?
        .ok_or_else(|| crate::error::Error::not_found(format!("flush {id}")).into())
}

/// Confirms a plan and starts it. The answer comes after the intent is committed; the removal goes on behind it.
pub async fn confirm(app: &AppState, viewer: &Viewer, id: i64, typed: &Typed) -> Result<(), Refused> {
    let flush = found(app, id).await?;
    let (target, scope) = (flush.target.clone(), flush.scope.clone());
    start(app, viewer, flush, typed).await.inspect_err(|refused| note_refusal(app, viewer, "confirm", Some(id), &target, &scope, refused))
}

fn mistyped(error: ConfirmError) -> Refused {
    let (code, detail) = (error.code(), error.to_string());
    let mut sentence = detail;
    if let Some(first) = sentence.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    let sentence = format!("{sentence}. Nothing was removed; the plan still stands.");
    match error {
        ConfirmError::NotTheAuthor => Refused::forbidden(code, sentence),
        ConfirmError::NotPlanned => Refused::state(code, "This flush is not waiting for a confirmation (any more). Nothing was started."),
        ConfirmError::Expired => {
            Refused::state(code, "This plan has expired: a plan may be confirmed for 5 minutes. Nothing was removed. Plan again.")
        }
        ConfirmError::WrongTarget => Refused::typed(code, "typed_target", sentence),
        ConfirmError::WrongScope => Refused::typed(code, "typed_scope", sentence),
        ConfirmError::WrongCount => Refused::typed(code, "typed_count", sentence),
        ConfirmError::ReasonTooShort => Refused::typed(code, "reason", sentence),
        ConfirmError::ReasonUnfit => Refused::typed(code, "reason", sentence),
    }
}

async fn start(app: &AppState, viewer: &Viewer, flush: Flush, typed: &Typed) -> Result<(), Refused> {
    let now = app.clock.now();
    let plan = Plan {
        flush_id: flush.id,
        target: flush.target.clone(),
        scope: flush.scope.clone(),
        keys: flush.matched.unwrap_or(0),
        wide: flush.is_wide(),
        author_id: flush.author_id,
        state: flush.state,
        expires_at: flush.expires_at.unwrap_or(flush.created_at),
    };
    plan.may_be_confirmed(viewer.user_id, now).map_err(mistyped)?;
    let config = app.config();
    let target = config
        .target(&flush.target)
        .ok_or_else(|| Refused::state("unknown_target", "This target is not configured any more. Nothing was removed."))?;
    if flush.is_wide() && target.approvals == Approvals::Wide {
        return Err(Refused::state(
            "approval_unavailable",
            "This flush is wide and this target wants a second person for wide ones (approvals = \"wide\"); approval comes with a later release. \
             Nothing was removed. Narrow the scope.",
        ));
    }
    let confirmed = plan.confirm(typed, viewer.user_id, now).map_err(mistyped)?;
    // The configuration may have changed since the plan.
    let scope = scope_of(app, target, &flush.scope, Some(flush.scope_kind))?;
    guard(target, &scope)?;
    let (endpoint, identity) = reachable(app, target).await?;
    if flush.run_id.as_deref() != Some(&identity.run_id) {
        return Err(Refused::state(
            "target_changed",
            "Another Redis answers for this target than when the plan was made (it was restarted or replaced). Nothing was removed. Plan again.",
        ));
    }
    commit(app, viewer, flush, confirmed, target.clone(), scope, endpoint).await
}

/// Commits the intent, and hands over to a worker.
async fn commit(
    app: &AppState,
    viewer: &Viewer,
    flush: Flush,
    confirmed: ConfirmedPlan,
    target: Target,
    scope: Scope,
    endpoint: Endpoint,
) -> Result<(), Refused> {
    let begun = Instant::now();
    // Whoever waits gives up after a while; a start that is committed after that is taken back.
    let abandoned = Arc::new(AtomicBool::new(false));
    let work = {
        let (app, viewer, flush, confirmed, target) = (app.clone(), viewer.clone(), flush.clone(), confirmed, target.clone());
        let abandoned = Arc::clone(&abandoned);
        async move {
            let started = begin(&app, &viewer, &flush, &confirmed, &target).await?;
            if let Ok((permit, _)) = &started
                && abandoned.load(Ordering::SeqCst)
            {
                take_back(&app, &flush, permit).await;
            }
            Ok::<_, sqlx::Error>(started)
        }
    };
    let answer = in_time(PATIENCE, work).await;
    let (permit, cap) = match answer {
        Some(Ok(started)) => started?,
        Some(Err(cause)) => {
            tracing::error!(flush.id = flush.id, error.cause = %cause, "a start could not be committed");
            return Err(Refused::no_record());
        }
        None => {
            abandoned.store(true, Ordering::SeqCst);
            return Err(Refused::no_record());
        }
    };
    let flush = Flush { cap: Some(cap), lease_epoch: permit.lease_epoch(), state: State::Starting, ..flush };
    worker::begin(Job { app: app.clone(), flush, scope, target, endpoint, permit: Arc::new(permit), begun });
    Ok(())
}

/// The start itself: one transaction.
async fn begin(
    app: &AppState,
    viewer: &Viewer,
    flush: &Flush,
    confirmed: &ConfirmedPlan,
    target: &Target,
) -> Result<Result<(Permit, u64), Refused>, sqlx::Error> {
    let now = app.clock.now();
    let cap = cap(confirmed.plan().keys, flush.is_wide(), target.max_keys);
    let mut change = app.pools.record.begin().await?;
    let starts = flushes::count_starts(&mut change, &flush.target, now - TimeDelta::hours(1)).await?;
    if let Err(refused) = hourly(None, starts, target, now) {
        change.rollback().await?;
        return Ok(Err(refused));
    }
    let epoch = match flushes::mark_starting(&mut change, confirmed, cap, now).await? {
        Ok(epoch) => epoch,
        Err(refusal) => {
            change.rollback().await?;
            return Ok(Err(match refusal {
                Refusal::NotPlanned => mistyped(ConfirmError::NotPlanned),
                Refusal::AnotherActive => Refused::state(
                    "another_active",
                    "Another flush of this target is at work; one at a time. Nothing was removed, and your plan still stands.",
                ),
            }));
        }
    };
    let wide: Vec<&str> = flush.wide.iter().map(|reason| reason.as_str()).collect();
    let told = Told::of(Code::FlushConfirmed, viewer.actor(), flush, Transition::CONFIRMED.to())
        .with("scope_kind", flush.scope_kind.as_str())
        .with("mode", flush.mode.as_str())
        .with("pace", flush.pace.as_str())
        .with("count", confirmed.plan().keys)
        .with("wide", json!(wide))
        .with("reason", confirmed.reason())
        .with("incident", json!(confirmed.incident()))
        .with("cap", cap)
        .with("granted", crate::domain::flush::GRANT_FIRST)
        .with("lease_epoch", epoch)
        .with("run_id", json!(flush.run_id))
        .with("plan", super::load::digest(flush));
    crate::server::store::audit::append(&mut change, told.code, &told.actor, &told.body).await?;
    let permit = flushes::commit_start(change, &app.pools.record, flush.id, epoch).await?;
    Ok(Ok((permit, cap)))
}

/// A start whose commit came too late for whoever asked for it: they were told that nothing was started, and so it is.
async fn take_back(app: &AppState, flush: &Flush, permit: &Permit) {
    let Some(step) = State::Starting.to(State::Failed) else { return };
    let detail = "The record answered too late, so nothing was started and nothing was removed. Plan again.";
    let told = Told::of(Code::FlushFailed, crate::domain::audit::Actor::System, flush, step.to())
        .with("cause", "audit_unavailable")
        .with("removed", 0);
    let done = async {
        let mut change = app.pools.record.begin().await?;
        let ended = Ended { cause: Some(("audit_unavailable", detail)), ..Ended::default() };
        let none = Row { failed_by_class: "{}".to_owned(), ..Row::default() };
        let made = flushes::mark_ended(&mut change, flush.id, permit.lease_epoch(), step, &none, &ended, app.clock.now()).await?;
        seal(change, made, &told).await
    };
    if let Err(cause) = done.await {
        // Nobody works on it, so its lease runs out and it is reaped.
        tracing::warn!(flush.id = flush.id, error.cause = %cause, "a late start could not be taken back");
    }
}

/// Stops a flush at work after the batch in flight.
pub async fn cancel(app: &AppState, viewer: &Viewer, id: i64) -> Result<(), Refused> {
    let flush = found(app, id).await?;
    // At once, where it runs here; whatever Postgres says, stopping is always right.
    let here = app.flushes.running().get(&id).cloned();
    if let Some((ledger, _)) = &here {
        ledger.cancel(&viewer.email, Some(viewer.actor()));
    }
    let (pool, by) = (app.pools.record.clone(), viewer.email.clone());
    let wanted = recorded(async move { flushes::mark_cancel_wanted(&mut *pool.acquire().await?, id, &by).await }).await;
    match wanted {
        Ok(true) => Ok(()),
        Ok(false) if here.is_some() => Ok(()),
        Err(_) if here.is_some() => Ok(()),
        Ok(false) => {
            let refused = Refused::state("not_active", "This flush is not at work, so there is nothing to cancel.");
            note_refusal(app, viewer, "cancel", Some(id), &flush.target, &flush.scope, &refused);
            Err(refused)
        }
        Err(refused) => Err(refused),
    }
}

/// What this release does not do, or nobody knows of.
pub async fn unavailable(app: &AppState, viewer: &Viewer, id: i64, wish: &str) -> Refused {
    let flush = match found(app, id).await {
        Ok(flush) => flush,
        Err(refused) => return refused,
    };
    let refused = match wish {
        "approve" | "reject" | "break_glass" => {
            Refused::state("approval_unavailable", "Approval comes with a later release. Nothing was done.")
        }
        "resume" => {
            Refused::state("resume_unavailable", "Resuming comes with a later release. Nothing was done; plan the same scope again.")
        }
        "start" => {
            Refused::state("not_approved", "A flush is started by its confirmation; this one is not waiting for a start. Nothing was done.")
        }
        _ => Refused::typed("unknown_do", "do", "This is none of a flush's buttons. Nothing was done."),
    };
    note_refusal(app, viewer, "do", Some(id), &flush.target, &flush.scope, &refused);
    refused
}

/// A new plan of the same scope; its number.
pub async fn replan(app: &AppState, viewer: &Viewer, id: i64) -> Result<i64, Refused> {
    let flush = found(app, id).await?;
    let asked = Asked {
        target: flush.target.clone(),
        scope_kind: flush.scope_kind.as_str().to_owned(),
        scope: flush.scope.clone(),
        mode: flush.mode.as_str().to_owned(),
        pace: flush.pace.as_str().to_owned(),
    };
    ask::ask(app, viewer, &asked).await
}
