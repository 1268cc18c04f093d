//! `/demo`: an admin turns the shop's bugs on and off.

use super::to_the_end;
use crate::domain::refusal::Refusal;
use crate::error::Error;
use crate::server::auth::{Viewer, page_of};
use crate::server::pages::demo::draw;
use crate::server::service::demo;
use crate::server::state::AppState;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The fields of a switch's form; one left out is empty.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Typed {
    switch: String,
    /// `on` or `off`.
    to: String,
}

/// `POST /demo`.
pub async fn submit(State(app): State<AppState>, viewer: Viewer, Form(typed): Form<Typed>) -> Response {
    let work = {
        let (app, viewer, typed) = (app.clone(), viewer.clone(), typed.clone());
        async move { turn(&app, &viewer, &typed).await }
    };
    let error = match to_the_end(work).await {
        Ok(Ok(())) => return Redirect::to("/demo").into_response(),
        Ok(Err(error)) | Err(error) => error,
    };
    if error.status == StatusCode::NOT_FOUND {
        return page_of(&error);
    }
    let short = |text: &str| text.chars().take(100).collect::<String>();
    let typed = BTreeMap::from([("switch".to_owned(), short(&typed.switch)), ("to".to_owned(), short(&typed.to))]);
    let refusal = Refusal { form: "switch", code: error.code.to_owned(), detail: error.detail.clone(), field: None, typed };
    draw(&app, &viewer, error.status, Some(&refusal)).await
}

async fn turn(app: &AppState, viewer: &Viewer, typed: &Typed) -> Result<(), Error> {
    let on = match typed.to.as_str() {
        "on" => true,
        "off" => false,
        _ => return Err(Error::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_position", "A switch is turned `on` or `off`.")),
    };
    demo::turn(app, viewer, &typed.switch, on).await
}
