//! `/review/{ISO week}`: adding and closing actions.

use super::to_the_end;
use crate::domain::refusal::Refusal;
use crate::domain::review::{self, Mistake, NewAction, Week};
use crate::error::Error;
use crate::server::auth::{Viewer, page_of};
use crate::server::pages;
use crate::server::service::review::{ActionError, add_action, close_action, find_week};
use crate::server::state::AppState;
use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What is typed is given back up to this length; what is longer was refused for it.
const KEPT_CHARS: usize = 2_000;

/// The fields of both forms; one left out is empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Typed {
    /// `add`, `close`
    r#do: String,
    text: String,
    owner: String,
    due: String,
    /// The number of the action to close.
    action: String,
    outcome: String,
}

/// Why nothing was changed: which form, with which status.
struct Refused {
    form: &'static str,
    status: StatusCode,
    code: &'static str,
    detail: String,
    field: Option<&'static str>,
}

impl Refused {
    fn mistake(form: &'static str, mistake: Mistake) -> Self {
        let Mistake { field, code, detail } = mistake;
        Self { form, status: StatusCode::UNPROCESSABLE_ENTITY, code, detail, field: Some(field) }
    }

    fn conflict(form: &'static str, code: &'static str, error: &ActionError) -> Self {
        Self { form, status: StatusCode::CONFLICT, code, detail: error.to_string(), field: None }
    }
}

/// `POST /review/{week}`.
pub async fn submit(State(app): State<AppState>, viewer: Viewer, Path(week): Path<String>, Form(typed): Form<Typed>) -> Response {
    let week = match find_week(&app, &week) {
        Ok(week) => week,
        Err(error) => return page_of(&error),
    };
    let done = match typed.r#do.as_str() {
        // Enter in a field sends the form without its button.
        "add" | "" => add(&app, &viewer, week, &typed).await,
        "close" => close(&app, &viewer, &typed).await,
        _ => {
            let detail = "This form adds or closes an action; it was asked for something else. Nothing was changed.".to_owned();
            Ok(Err(Refused { form: "action", status: StatusCode::UNPROCESSABLE_ENTITY, code: "unknown_do", detail, field: None }))
        }
    };
    match done {
        Ok(Ok(())) => Redirect::to(&format!("/review/{week}#actions")).into_response(),
        Ok(Err(refused)) => {
            let Refused { form, status, code, detail, field } = refused;
            let refusal = Refusal { form, code: code.to_owned(), detail, field, typed: kept(&typed) };
            pages::review::draw(&app, &viewer, status, week, Some(&refusal), "").await
        }
        Err(error) => page_of(&error),
    }
}

async fn add(app: &AppState, viewer: &Viewer, week: Week, typed: &Typed) -> Result<Result<(), Refused>, Error> {
    let now = app.clock.now();
    let today = now.with_timezone(&app.config().review.timezone).date_naive();
    let action = match NewAction::parse(&typed.text, &typed.owner, &typed.due, today) {
        Ok(action) => action,
        Err(mistake) => return Ok(Err(Refused::mistake("action", mistake))),
    };
    let (pool, actor) = (app.pools.control.clone(), viewer.actor());
    match to_the_end(async move { add_action(&pool, now, &actor, week, &action).await }).await? {
        Ok(_) => Ok(Ok(())),
        Err(ActionError::Store(cause)) => Err(Error::store(&cause)),
        Err(error) => Ok(Err(Refused::conflict("action", "exists", &error))),
    }
}

async fn close(app: &AppState, viewer: &Viewer, typed: &Typed) -> Result<Result<(), Refused>, Error> {
    let outcome = match review::outcome(&typed.outcome) {
        Ok(outcome) => outcome,
        Err(mistake) => return Ok(Err(Refused::mistake("close", mistake))),
    };
    let Ok(id) = typed.action.trim().parse::<i64>() else {
        let mistake =
            Mistake { field: "action", code: "unknown_action", detail: "Name the action by its number. Nothing was closed.".to_owned() };
        return Ok(Err(Refused::mistake("close", mistake)));
    };
    let (pool, actor, now) = (app.pools.control.clone(), viewer.actor(), app.clock.now());
    match to_the_end(async move { close_action(&pool, now, &actor, id, outcome.as_deref()).await }).await? {
        Ok(_) => Ok(Ok(())),
        Err(ActionError::Store(cause)) => Err(Error::store(&cause)),
        Err(error @ ActionError::Unknown(_)) => {
            let mistake = Mistake { field: "action", code: "unknown_action", detail: error.to_string() };
            Ok(Err(Refused::mistake("close", mistake)))
        }
        Err(error) => Ok(Err(Refused::conflict("close", "already_closed", &error))),
    }
}

fn kept(typed: &Typed) -> BTreeMap<String, String> {
    let Typed { text, owner, due, action, outcome, .. } = typed;
    [("text", text), ("owner", owner), ("due", due), ("action", action), ("outcome", outcome)]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.chars().take(KEPT_CHARS).collect()))
        .collect()
}
