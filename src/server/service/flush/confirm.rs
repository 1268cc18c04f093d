//! What a person does to a plan or a flush at work: confirm it, cancel it, plan it again. The confirmation is checked here, on the server,
//! against what the server itself previewed.

use super::ask::{self, Asked};
use super::record::recorded;
use super::start::{self, Start};
use super::{Refused, approve};
use crate::domain::flush::{ConfirmError, Plan, Typed};
use crate::domain::operator::Viewer;
use crate::server::config::Approvals;
use crate::server::state::AppState;
use crate::server::store::flushes::{self, Flush};

/// One flush, or why not.
pub(super) async fn found(app: &AppState, id: i64) -> Result<Flush, Refused> {
    let pool = app.pools.record.clone();
    recorded(async move { flushes::find(&mut *pool.acquire().await?, id).await })
        .await?
        .ok_or_else(|| crate::error::Error::not_found(format!("flush {id}")).into())
}

/// Confirms a plan. A narrow flush starts: the answer comes after the intent is committed, and the removal goes on behind it. A wide one waits
/// for a second person, where its target asks for one.
pub(super) async fn confirm(app: &AppState, viewer: &Viewer, flush: Flush, typed: &Typed) -> Result<(), Refused> {
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
    let confirmed = plan.confirm(typed, viewer.user_id, now).map_err(mistyped)?;
    let place = start::checked(app, &flush).await?;
    if flush.is_wide() && place.target.approvals == Approvals::Wide {
        return approve::wait(app, viewer, flush, confirmed, place).await;
    }
    start::commit(app, viewer, flush, Start::Confirmed(confirmed), place).await
}

pub(super) fn mistyped(error: ConfirmError) -> Refused {
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

/// There is nothing to cancel.
pub(super) fn not_active() -> Refused {
    Refused::state("not_active", "This flush is neither at work nor waiting, so there is nothing to cancel.")
}

/// Stops a flush at work after the batch in flight; takes back one that waits.
pub(super) async fn cancel(app: &AppState, viewer: &Viewer, flush: &Flush) -> Result<(), Refused> {
    if flush.state.is_waiting() {
        return approve::withdraw(app, viewer, flush).await;
    }
    let id = flush.id;
    // At once, where it runs here; whatever Postgres says, stopping is always right.
    let here = app.flushes.running().get(&id).cloned();
    if let Some((ledger, _)) = &here {
        ledger.cancel(&viewer.email, Some(viewer.actor()));
    }
    let (pool, by) = (app.pools.record.clone(), viewer.email.clone());
    let wanted = recorded(async move { flushes::mark_cancel_wanted(&mut *pool.acquire().await?, id, &by).await }).await;
    match wanted {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) if here.is_some() => Ok(()),
        Ok(false) => Err(not_active()),
        Err(refused) => Err(refused),
    }
}

/// A new plan of the same scope; its number.
pub(super) async fn replan(app: &AppState, viewer: &Viewer, flush: &Flush) -> Result<i64, Refused> {
    let asked = Asked {
        target: flush.target.clone(),
        scope_kind: flush.scope_kind.as_str().to_owned(),
        scope: flush.scope.clone(),
        mode: flush.mode.as_str().to_owned(),
        window_s: flush.mode.window().map_or_else(String::new, |window| window.seconds().to_string()),
        pace: flush.pace.as_str().to_owned(),
    };
    ask::plan(app, viewer, &asked).await
}
