//! `/flush` and `/flush/{id}`: planning, confirming, approving, starting, cancelling. Every step works as a plain form; a refusal is the same page with what was typed.

use super::{to_the_end, with_token};
use crate::domain::flush::Typed;
use crate::domain::refusal::Refusal;
use crate::error::Error;
use crate::server::auth::{Viewer, cookie, page_of};
use crate::server::pages::flush::{Wanted, draw, draw_plan};
use crate::server::service::flush::{self, Asked, Pressed, Refused};
use crate::server::state::AppState;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Longest value that is given back in a refused form.
const GIVEN_BACK: usize = 8_192;

/// The plan form; a field left out is empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PlanForm {
    target: String,
    scope_kind: String,
    scope: String,
    mode: String,
    pace: String,
    window_s: String,
}

/// The forms of one flush: the confirmation, or a button named `do`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct FlushForm {
    #[serde(rename = "do")]
    wish: String,
    typed_target: String,
    typed_scope: String,
    typed_count: String,
    reason: String,
    incident: String,
    scope_hash: String,
    code: String,
}

/// `POST /flush`.
pub async fn plan(State(app): State<AppState>, viewer: Viewer, Form(form): Form<PlanForm>) -> Response {
    let asked = Asked {
        target: form.target.clone(),
        scope_kind: form.scope_kind.clone(),
        scope: form.scope.clone(),
        mode: form.mode.clone(),
        window_s: form.window_s.clone(),
        pace: form.pace.clone(),
    };
    let work = {
        let (app, viewer) = (app.clone(), viewer.clone());
        async move { flush::ask(&app, &viewer, &asked).await }
    };
    let refused = match to_the_end(work).await {
        Ok(Ok(id)) => return Redirect::to(&format!("/flush/{id}")).into_response(),
        Ok(Err(refused)) => refused,
        Err(error) => return page_of(&error),
    };
    let typed = [
        ("target", form.target),
        ("scope_kind", form.scope_kind),
        ("scope", form.scope),
        ("mode", form.mode),
        ("pace", form.pace),
        ("window_s", form.window_s),
    ];
    let refusal = refusal("plan", &refused, typed);
    with_retry(draw_plan(&app, &viewer, refused.error.status, Some(refusal), Wanted::default()).await, &refused.error)
}

/// `POST /flush/{id}`: whoever presses no `do` button confirms.
pub async fn act(State(app): State<AppState>, mut viewer: Viewer, Path(id): Path<String>, Form(form): Form<FlushForm>) -> Response {
    let Ok(number) = id.parse::<i64>() else { return page_of(&Error::not_found("flush at this address")) };
    let work = {
        let (app, viewer) = (app.clone(), viewer.clone());
        let pressed = form.pressed();
        async move { flush::press(&app, &viewer, number, &pressed).await }
    };
    let answered = match to_the_end(work).await {
        Ok(answered) => answered,
        Err(error) => return page_of(&error),
    };
    let token = answered.shown.as_ref().map(|shown| {
        viewer.factor.shown_at = Some(shown.at);
        cookie::set(&app.config(), &shown.token)
    });
    let response = answer(&app, &viewer, &id, form, answered.done).await;
    with_token(response, token)
}

async fn answer(app: &AppState, viewer: &Viewer, id: &str, form: FlushForm, done: Result<i64, Refused>) -> Response {
    let refused = match done {
        Ok(next) => return Redirect::to(&format!("/flush/{next}")).into_response(),
        Err(refused) => refused,
    };
    if refused.error.status == StatusCode::NOT_FOUND {
        return page_of(&refused.error);
    }
    let name = if form.wish.is_empty() { "confirm" } else { "do" };
    let typed = [
        ("typed_target", form.typed_target),
        ("typed_scope", form.typed_scope),
        ("typed_count", form.typed_count),
        ("reason", form.reason),
        ("incident", form.incident),
    ];
    let refusal = refusal(name, &refused, typed);
    with_retry(draw(app, viewer, refused.error.status, id, Some(refusal), "").await, &refused.error)
}

impl FlushForm {
    fn pressed(&self) -> Pressed {
        Pressed {
            wish: self.wish.clone(),
            typed: Typed {
                target: self.typed_target.clone(),
                scope: self.typed_scope.clone(),
                count: self.typed_count.clone(),
                reason: self.reason.clone(),
                incident: self.incident.clone(),
            },
            scope_hash: self.scope_hash.clone(),
            code: self.code.clone(),
        }
    }
}

fn refusal<const N: usize>(form: &'static str, refused: &Refused, typed: [(&str, String); N]) -> Refusal {
    let short = |text: String| text.chars().take(GIVEN_BACK).collect();
    Refusal {
        form,
        code: refused.error.code.to_owned(),
        detail: refused.error.detail.clone(),
        field: refused.field,
        typed: typed
            .into_iter()
            .filter(|(_, text)| !text.is_empty())
            .map(|(name, text)| (name.to_owned(), short(text)))
            .collect::<BTreeMap<_, _>>(),
    }
}

fn with_retry(mut response: Response, error: &Error) -> Response {
    if let Some(seconds) = error.retry_after_s {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
