//! The start, by whichever way it comes: a narrow flush's confirmation, the requester's start after an approval, a resume. The checks are the
//! same, the intent is one transaction, and only its commit lets a worker begin.

use super::Refused;
use super::ask::{guard, hourly, reachable, scope_of};
use super::failpoint::failpoint;
use super::record::{PATIENCE, Told, in_time, seal};
use super::recorder::{Earlier, row_of};
use super::worker::{self, Job};
use super::{approve, load, modes, resume};
use crate::domain::audit::{Actor, Code};
use crate::domain::flush::{ApprovedPlan, ConfirmError, ConfirmedPlan, Permit, Resumption, State, Transition, Window, cap, first_grant};
use crate::domain::operator::{Permission, Role, Viewer};
use crate::domain::prefix::Scope;
use crate::server::config::Target;
use crate::server::redis::{Answers, Endpoint};
use crate::server::state::AppState;
use crate::server::store::flushes::{self, Ended, Flush, Refusal};
use crate::server::store::users;
use chrono::TimeDelta;
use serde_json::json;
use sqlx::PgConnection;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What makes this a start.
#[derive(Clone, Debug)]
pub(super) enum Start {
    Confirmed(ConfirmedPlan),
    Approved(ApprovedPlan),
    Resumed(Resumption),
}

/// Where the removal is to happen, as the configuration says now.
#[derive(Clone)]
pub(super) struct Place {
    pub target: Target,
    pub scope: Scope,
    pub endpoint: Endpoint,
}

/// What may have changed since the plan: the configuration, and which Redis answers.
pub(super) async fn checked(app: &AppState, flush: &Flush) -> Result<Place, Refused> {
    let config = app.config();
    let target = config
        .target(&flush.target)
        .ok_or_else(|| Refused::state("unknown_target", "This target is not configured any more. Nothing was removed."))?;
    let scope = scope_of(app, target, &flush.scope, Some(flush.scope_kind))?;
    guard(&config, target, &scope)?;
    let (endpoint, identity) = reachable(app, target).await?;
    if flush.run_id.as_deref() != Some(&identity.run_id) {
        return Err(Refused::state(
            "target_changed",
            "Another Redis answers for this target than when the plan was made (it was restarted or replaced). Nothing was removed. Plan again.",
        ));
    }
    modes::fit(&config, flush, &identity)?;
    Ok(Place { target: target.clone(), scope, endpoint })
}

/// Commits the intent, and hands over to a worker.
pub(super) async fn commit(app: &AppState, viewer: &Viewer, flush: Flush, start: Start, place: Place) -> Result<(), Refused> {
    let begun = Instant::now();
    // Whoever waits gives up after a while; a start that is committed after that is taken back.
    let abandoned = Arc::new(AtomicBool::new(false));
    let work = {
        let (app, viewer, flush, target) = (app.clone(), viewer.clone(), flush.clone(), place.target.clone());
        let abandoned = Arc::clone(&abandoned);
        async move {
            let started = begin(&app, &viewer, &flush, &start, &target).await?;
            if let Ok((permit, flush)) = &started
                && abandoned.load(Ordering::SeqCst)
            {
                take_back(&app, flush, permit).await;
            }
            Ok::<_, sqlx::Error>(started)
        }
    };
    let id = flush.id;
    let (permit, flush) = match in_time(PATIENCE, work).await {
        Some(Ok(started)) => started?,
        Some(Err(cause)) => {
            tracing::error!(flush.id = id, error.cause = %cause, "a start could not be committed");
            return Err(Refused::no_record());
        }
        None => {
            abandoned.store(true, Ordering::SeqCst);
            return Err(Refused::no_record());
        }
    };
    failpoint("intent_committed");
    let Place { target, scope, endpoint } = place;
    worker::begin(Job { app: app.clone(), flush, scope, target, endpoint, permit: Arc::new(permit), begun });
    Ok(())
}

/// The start itself: one transaction. Gives the flush as it starts.
async fn begin(
    app: &AppState,
    viewer: &Viewer,
    flush: &Flush,
    start: &Start,
    target: &Target,
) -> Result<Result<(Permit, Flush), Refused>, sqlx::Error> {
    let now = app.clock.now();
    let mut change = app.pools.record.begin().await?;
    // A flush that goes on has been counted.
    let but = matches!(start, Start::Resumed(_)).then_some(flush.id);
    let starts = flushes::count_starts(&mut change, &flush.target, now - TimeDelta::hours(1), but).await?;
    let allowed = match hourly(None, starts, target, now) {
        Ok(()) => approver_remains(&mut change, flush).await?,
        refused => refused,
    };
    if let Err(refused) = allowed {
        change.rollback().await?;
        return Ok(Err(refused));
    }
    let cap = match start {
        Start::Confirmed(confirmed) => cap(flush.mode, confirmed.plan().keys, flush.is_wide(), target.max_keys),
        Start::Approved(_) => flush.cap.unwrap_or(0),
        Start::Resumed(resumption) => resumption.cap(),
    };
    let marked = match start {
        Start::Confirmed(confirmed) => flushes::mark_starting(&mut change, confirmed, cap, now).await?,
        Start::Approved(approved) => flushes::mark_starting_approved(&mut change, approved, now).await?,
        Start::Resumed(resumption) => flushes::mark_resumed(&mut change, resumption, now).await?,
    };
    let epoch = match marked {
        Ok(epoch) => epoch,
        Err(refusal) => {
            change.rollback().await?;
            return Ok(Err(match (refusal, start) {
                (Refusal::AnotherActive, _) => Refused::state(
                    "another_active",
                    "Another flush of this target is at work; one at a time. Nothing was removed, and yours may still be started.",
                ),
                (Refusal::Moved, Start::Confirmed(_)) => super::confirm::mistyped(ConfirmError::NotPlanned),
                (Refusal::Moved, Start::Approved(_)) => approve::refused(crate::domain::flush::ApprovalError::NotApproved),
                (Refusal::Moved, Start::Resumed(_)) => resume::refused(crate::domain::flush::ResumeError::NotCutOff),
            }));
        }
    };
    let (carried, left) = if let Start::Resumed(resumption) = start { (resumption.carried(), resumption.left()) } else { (0, cap) };
    let granted = carried + first_grant(left);
    let told = intent(viewer, flush, start)
        .with("cap", cap)
        .with("granted", granted)
        .with("lease_epoch", epoch)
        .with("run_id", json!(flush.run_id))
        .with("plan", load::digest(flush));
    crate::server::store::audit::append(&mut change, told.code, &told.actor, &told.body).await?;
    let permit = flushes::commit_start(change, &app.pools.record, flush.id, epoch).await?;
    let started = Flush {
        cap: Some(cap),
        lease_epoch: epoch,
        carried,
        granted,
        resumed: flush.resumed + u32::from(but.is_some()),
        state: State::Starting,
        ..flush.clone()
    };
    Ok(Ok((permit, started)))
}

/// Whoever approved it must still be one who may.
async fn approver_remains(conn: &mut PgConnection, flush: &Flush) -> Result<Result<(), Refused>, sqlx::Error> {
    let Some(decision) = flush.decision.as_ref().filter(|decision| decision.approved) else { return Ok(Ok(())) };
    let role = users::lock_role(conn, decision.by_id).await?;
    Ok(if role.is_some_and(|role: Role| role.may(Permission::Approve)) {
        Ok(())
    } else {
        Err(Refused::state(
            "approver_gone",
            format!(
                "{}, who approved this, may not approve any more (another role, or disabled), so the approval is void. Nothing was removed. Cancel it and plan again.",
                decision.by
            ),
        ))
    })
}

/// What the record says of who starts what, and why they may.
fn intent(viewer: &Viewer, flush: &Flush, start: &Start) -> Told {
    let told = |code, step: Transition| Told::of(code, viewer.actor(), flush, step.to());
    match start {
        Start::Confirmed(confirmed) => confirmation(told(Code::FlushConfirmed, Transition::CONFIRMED), flush, confirmed),
        Start::Approved(_) => with_approval(told(Code::FlushStarting, Transition::START_APPROVED), flush),
        Start::Resumed(resumption) => with_approval(told(Code::FlushResumed, resumption.step()), flush)
            .with("from", resumption.step().from().as_str())
            .with("removed_at_least", flush.removed)
            .with("carried", resumption.carried())
            .with("left", resumption.left()),
    }
}

fn with_approval(told: Told, flush: &Flush) -> Told {
    told.with("scope_hash", json!(flush.scope_hash.map(|hash| hash.to_string())))
        .with("approved_by", json!(flush.decision.as_ref().map(|decision| &decision.by)))
        .with("break_glass", flush.break_glass_reason.is_some())
}

/// What was confirmed.
pub(super) fn confirmation(told: Told, flush: &Flush, confirmed: &ConfirmedPlan) -> Told {
    let wide: Vec<&str> = flush.wide.iter().map(|reason| reason.as_str()).collect();
    told.with("scope_kind", flush.scope_kind.as_str())
        .with("window_s", json!(flush.mode.window().map(Window::seconds)))
        .with("pace", flush.pace.as_str())
        .with("count", confirmed.plan().keys)
        .with("wide", json!(wide))
        .with("reason", confirmed.reason())
        .with("incident", json!(confirmed.incident()))
}

/// A start whose commit came too late for whoever asked for it: they were told that nothing was started, and so it is.
async fn take_back(app: &AppState, flush: &Flush, permit: &Permit) {
    let Some(step) = State::Starting.to(State::Failed) else { return };
    let detail = "The record answered too late, so nothing was started and nothing was removed. Plan again.";
    let earlier = Earlier::of(flush);
    let told =
        Told::of(Code::FlushFailed, Actor::System, flush, step.to()).with("cause", "audit_unavailable").with("removed", earlier.removed);
    let done = async {
        let mut change = app.pools.record.begin().await?;
        let ended = Ended { cause: Some(("audit_unavailable", detail)), ..Ended::default() };
        let none = row_of(&earlier, &Answers::default(), 0);
        let made = flushes::mark_ended(&mut change, flush.id, permit.lease_epoch(), step, &none, &ended, app.clock.now()).await?;
        seal(change, made, &told).await
    };
    if let Err(cause) = done.await {
        // Nobody works on it, so its lease runs out and it is reaped.
        tracing::warn!(flush.id = flush.id, error.cause = %cause, "a late start could not be taken back");
    }
}
