//! The buttons of a flush. Each asks for its own permission here, since the page's door lets in everybody who may read; whatever a signed-in
//! person is refused is on record.

use super::record::note_refusal;
use super::step_up::step_up;
use super::{Refused, approve, confirm, resume};
use crate::domain::flush::Typed;
use crate::domain::operator::{Permission, Viewer};
use crate::server::service::accounts::Shown;
use crate::server::state::AppState;
use crate::server::store::flushes::Flush;

/// What came with a button.
#[derive(Clone, Debug, Default)]
pub struct Pressed {
    /// The button's value; nothing confirms.
    pub wish: String,
    pub typed: Typed,
    /// What the approver's page showed.
    pub scope_hash: String,
    /// Of a second factor; empty where none is due.
    pub code: String,
}

/// What came of it.
#[derive(Debug)]
pub struct Answered {
    /// The number of the flush to be shown next.
    pub done: Result<i64, Refused>,
    /// The second factor was shown, whatever came after: the browser gets the session's new token.
    pub shown: Option<Shown>,
}

/// Does what was asked for.
pub async fn press(app: &AppState, viewer: &Viewer, id: i64, pressed: &Pressed) -> Answered {
    let mut shown = None;
    let done = found_and_done(app, viewer, id, pressed, &mut shown).await;
    Answered { done, shown }
}

async fn found_and_done(app: &AppState, viewer: &Viewer, id: i64, pressed: &Pressed, shown: &mut Option<Shown>) -> Result<i64, Refused> {
    let flush = confirm::found(app, id).await?;
    let (target, scope) = (flush.target.clone(), flush.scope.clone());
    let attempt = match pressed.wish.as_str() {
        "" => "confirm",
        known @ ("confirm" | "approve" | "reject" | "start" | "cancel" | "resume" | "replan" | "break_glass") => known,
        _ => "do",
    };
    carry_out(app, viewer, flush, pressed, shown)
        .await
        .inspect_err(|refused| note_refusal(app, viewer, attempt, Some(id), &target, &scope, refused))
}

async fn carry_out(app: &AppState, viewer: &Viewer, flush: Flush, pressed: &Pressed, shown: &mut Option<Shown>) -> Result<i64, Refused> {
    let id = flush.id;
    let needed = match pressed.wish.as_str() {
        "approve" | "reject" => Permission::Approve,
        "break_glass" => Permission::BreakGlass,
        _ => Permission::Flush,
    };
    if viewer.read_only {
        return Err(Refused::no_record());
    }
    if !viewer.may(needed) {
        return Err(role(viewer));
    }
    *shown = step_up(app, viewer, &pressed.wish, flush.state, &pressed.code).await?;
    match pressed.wish.as_str() {
        // The starts are large, so they are boxed.
        "" | "confirm" => Box::pin(confirm::confirm(app, viewer, flush, &pressed.typed)).await,
        "approve" => approve::approve(app, viewer, &flush, &pressed.scope_hash).await,
        "reject" => approve::reject(app, viewer, &flush, &pressed.typed.reason).await,
        "break_glass" => approve::break_glass(app, viewer, &flush, &pressed.typed.reason).await,
        "start" => Box::pin(approve::start(app, viewer, flush)).await,
        "resume" => Box::pin(resume::resume(app, viewer, flush)).await,
        "cancel" => confirm::cancel(app, viewer, &flush).await,
        "replan" => return Box::pin(confirm::replan(app, viewer, &flush)).await,
        _ => Err(Refused::typed("unknown_do", "do", "This is none of a flush's buttons. Nothing was done.")),
    }
    .map(|()| id)
}

/// This person's role may not do this.
pub(super) fn role(viewer: &Viewer) -> Refused {
    Refused::forbidden(
        "role",
        format!("You are signed in as {} ({}), who may not do this. Nothing was done.", viewer.name, viewer.role.as_str()),
    )
}
