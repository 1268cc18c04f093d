//! The second person: asking for one, their yes or no, one admin going on alone, and the requester's start afterwards.

use super::Refused;
use super::ask::hourly;
use super::load;
use super::record::{Told, recorded, seal};
use super::start::{self, Place, Start, confirmation};
use crate::domain::audit::Code;
use crate::domain::flush::{APPROVE_WITHIN, ApprovalError, Bound, ConfirmError, ConfirmedPlan, Request, ScopeHash, State, Transition, cap};
use crate::domain::operator::{Permission, Viewer};
use crate::server::state::AppState;
use crate::server::store::flushes::{self, Decider, Flush};
use crate::server::store::users;
use chrono::TimeDelta;
use serde_json::json;

/// What a second person approves, of the flush as it stands.
fn hash_of(flush: &Flush, reason: &str, incident: Option<&str>, cap: u64) -> ScopeHash {
    let bound = Bound {
        flush_id: flush.id,
        author_id: flush.author_id,
        target: &flush.target,
        run_id: flush.run_id.as_deref().unwrap_or_default(),
        scope: &flush.scope,
        scope_kind: flush.scope_kind.as_str(),
        mode: &flush.mode.to_string(),
        pace: flush.pace.as_str(),
        cap,
        plan: &load::whole_digest(flush),
        keys: flush.matched.unwrap_or(0),
        reason,
        incident,
    };
    bound.hash()
}

/// A flush as a request; None: it never was one.
pub(super) fn request(flush: &Flush) -> Option<Request> {
    let reason = flush.reason.as_deref().unwrap_or_default();
    Some(Request {
        flush_id: flush.id,
        author_id: flush.author_id,
        state: flush.state,
        approve_until: flush.approve_until?,
        start_until: flush.start_until,
        asked: flush.scope_hash?,
        present: hash_of(flush, reason, flush.incident.as_deref(), flush.cap.unwrap_or(0)),
    })
}

pub(super) fn refused(error: ApprovalError) -> Refused {
    let text = error.to_string();
    let mut letters = text.chars();
    let sentence = letters.next().map_or_else(String::new, |first| format!("{}{}", first.to_uppercase(), letters.as_str()));
    let sentence = format!("{sentence}. Nothing was removed.");
    match error {
        ApprovalError::OwnFlush | ApprovalError::NotTheRequester => Refused::forbidden(error.code(), sentence),
        ApprovalError::ReasonTooShort | ApprovalError::ReasonUnfit => Refused::typed(error.code(), "reason", sentence),
        _ => Refused::state(error.code(), sentence),
    }
}

fn asked(flush: &Flush, otherwise: ApprovalError) -> Result<Request, Refused> {
    request(flush).ok_or_else(|| refused(otherwise))
}

/// A wide flush is confirmed: its plan is used up, and it waits for a second person.
pub(super) async fn wait(app: &AppState, viewer: &Viewer, flush: Flush, confirmed: ConfirmedPlan, place: Place) -> Result<(), Refused> {
    let now = app.clock.now();
    let cap = cap(flush.mode, confirmed.plan().keys, true, place.target.max_keys);
    let hash = hash_of(&flush, confirmed.reason(), confirmed.incident(), cap);
    let told = confirmation(Told::of(Code::FlushConfirmed, viewer.actor(), &flush, Transition::AWAITING.to()), &flush, &confirmed)
        .with("cap", cap)
        .with("run_id", json!(flush.run_id))
        .with("plan", load::digest(&flush))
        .with("scope_hash", hash.to_string())
        .with("approve_until", (now + APPROVE_WITHIN).to_rfc3339());
    let pool = app.pools.record.clone();
    recorded(async move {
        let mut change = pool.begin().await?;
        let starts = flushes::count_starts(&mut change, &flush.target, now - TimeDelta::hours(1), None).await?;
        if let Err(refused) = hourly(None, starts, &place.target, now) {
            change.rollback().await?;
            return Ok(Err(refused));
        }
        let made = flushes::mark_awaiting(&mut change, &confirmed, cap, hash, now + APPROVE_WITHIN, now).await?;
        let made = seal(change, made, &told).await?;
        Ok(if made { Ok(()) } else { Err(super::confirm::mistyped(ConfirmError::NotPlanned)) })
    })
    .await?
}

/// A second person's yes to exactly what is `shown` to them.
pub(super) async fn approve(app: &AppState, viewer: &Viewer, flush: &Flush, shown: &str) -> Result<(), Refused> {
    let now = app.clock.now();
    let approval = asked(flush, ApprovalError::NotAwaiting)?.approve(viewer.user_id, shown, now).map_err(refused)?;
    let told = Told::of(Code::FlushApproved, viewer.actor(), flush, Transition::APPROVED.to())
        .with("scope_hash", approval.hash().to_string())
        .with("author", flush.author.as_str())
        .with("count", json!(flush.matched))
        .with("cap", json!(flush.cap))
        .with("start_until", approval.start_until().to_rfc3339());
    let (pool, by) = (app.pools.record.clone(), viewer.clone());
    recorded(async move {
        let mut change = pool.begin().await?;
        // As the account is now, not as it was when this request began.
        if !users::lock_role(&mut change, by.user_id).await?.is_some_and(|role| role.may(Permission::Approve)) {
            change.rollback().await?;
            return Ok(Err(super::press::role(&by)));
        }
        let made = flushes::mark_approved(&mut change, &approval, Decider { id: by.user_id, email: &by.email }, now).await?;
        let made = seal(change, made, &told).await?;
        Ok(if made { Ok(()) } else { Err(refused(ApprovalError::NotAwaiting)) })
    })
    .await?
}

/// A second person's no.
pub(super) async fn reject(app: &AppState, viewer: &Viewer, flush: &Flush, reason: &str) -> Result<(), Refused> {
    let now = app.clock.now();
    let rejection = asked(flush, ApprovalError::NotAwaiting)?.reject(viewer.user_id, reason, now).map_err(refused)?;
    let told = Told::of(Code::FlushRejected, viewer.actor(), flush, Transition::REJECTED.to())
        .with("author", flush.author.as_str())
        .with("reason", json!(rejection.reason()));
    let (pool, by) = (app.pools.record.clone(), viewer.clone());
    recorded(async move {
        let mut change = pool.begin().await?;
        let made = flushes::mark_rejected(&mut change, &rejection, Decider { id: by.user_id, email: &by.email }, now).await?;
        let made = seal(change, made, &told).await?;
        Ok(if made { Ok(()) } else { Err(refused(ApprovalError::NotAwaiting)) })
    })
    .await?
}

/// One admin goes on alone, where the target's configuration lets.
pub(super) async fn break_glass(app: &AppState, viewer: &Viewer, flush: &Flush, reason: &str) -> Result<(), Refused> {
    let now = app.clock.now();
    if !app.config().target(&flush.target).is_some_and(|target| target.break_glass) {
        return Err(Refused::forbidden(
            "break_glass_off",
            "Going on without a second person is off for this target (break_glass = false). Nothing was removed; an approver has to decide.",
        ));
    }
    let broken = asked(flush, ApprovalError::NotAwaiting)?.break_glass(viewer.user_id, reason, now).map_err(refused)?;
    let told = Told::of(Code::FlushBreakGlass, viewer.actor(), flush, Transition::APPROVED.to())
        .with("scope_hash", broken.approval().hash().to_string())
        .with("count", json!(flush.matched))
        .with("cap", json!(flush.cap))
        .with("reason", broken.reason())
        .with("start_until", broken.approval().start_until().to_rfc3339());
    let (pool, by) = (app.pools.record.clone(), viewer.clone());
    recorded(async move {
        let mut change = pool.begin().await?;
        if !users::lock_role(&mut change, by.user_id).await?.is_some_and(|role| role.may(Permission::BreakGlass)) {
            change.rollback().await?;
            return Ok(Err(super::press::role(&by)));
        }
        let made = flushes::mark_broken_glass(&mut change, &broken, now).await?;
        let made = seal(change, made, &told).await?;
        Ok(if made { Ok(()) } else { Err(refused(ApprovalError::NotAwaiting)) })
    })
    .await?
}

/// The requester starts what was approved; everything is checked once more.
pub(super) async fn start(app: &AppState, viewer: &Viewer, flush: Flush) -> Result<(), Refused> {
    let approved = asked(&flush, ApprovalError::NotApproved)?.start(viewer.user_id, app.clock.now()).map_err(refused)?;
    let place = start::checked(app, &flush).await?;
    start::commit(app, viewer, flush, Start::Approved(approved), place).await
}

/// Takes back a request, or an approval that is not used.
pub(super) async fn withdraw(app: &AppState, viewer: &Viewer, flush: &Flush) -> Result<(), Refused> {
    if flush.author_id != viewer.user_id && !viewer.may(Permission::Administer) {
        return Err(Refused::forbidden(
            "not_the_author",
            "What waits is cancelled by the person who asked for it, or by an admin. Nothing was changed.",
        ));
    }
    let Some(step) = flush.state.to(State::Cancelled) else { return Err(super::confirm::not_active()) };
    let now = app.clock.now();
    let told = Told::of(Code::FlushCancelled, viewer.actor(), flush, step.to()).with("from", flush.state.as_str()).with("removed", 0);
    let (pool, id, by) = (app.pools.record.clone(), flush.id, viewer.email.clone());
    recorded(async move {
        let mut change = pool.begin().await?;
        let made = flushes::mark_withdrawn(&mut change, id, &by, &format!("Cancelled by {by} before it was started."), now).await?;
        let made = seal(change, made, &told).await?;
        Ok(if made { Ok(()) } else { Err(super::confirm::not_active()) })
    })
    .await?
}
