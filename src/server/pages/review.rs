//! `GET /review/{ISO week}`, and the way to the current one.

use super::{frame, page};
use crate::domain::operator::Permission;
use crate::domain::refusal::Refusal;
use crate::domain::review::Week;
use crate::server::auth::{Viewer, page_of};
use crate::server::service::review;
use crate::server::service::sight::Sight;
use crate::server::state::AppState;
use crate::ui::components::frame::Nav;
use crate::ui::pages;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{Redirect, Response};
use serde::Deserialize;

#[derive(Deserialize)]
pub struct Asked {
    /// The chart whose numbers are shown as a table.
    #[serde(default)]
    numbers: String,
}

/// `GET /review`.
pub async fn current(State(app): State<AppState>) -> Redirect {
    Redirect::to(&format!("/review/{}", review::current_week(&app)))
}

/// `GET /review/{week}`.
pub async fn show(State(app): State<AppState>, viewer: Viewer, Path(week): Path<String>, Query(asked): Query<Asked>) -> Response {
    match review::find_week(&app, &week) {
        Ok(week) => draw(&app, &viewer, StatusCode::OK, week, None, &asked.numbers).await,
        Err(error) => page_of(&error),
    }
}

/// The page, with a refused form where there is one.
pub async fn draw(app: &AppState, viewer: &Viewer, status: StatusCode, week: Week, refusal: Option<&Refusal>, numbers: &str) -> Response {
    let model = match review::load(app, week, Sight::of(viewer)).await {
        Ok(model) => model,
        Err(error) => return page_of(&error),
    };
    let may = viewer.may(Permission::Review);
    let title = format!("Review, week {}", week.number());
    page(status, &title, &frame(app, viewer, Nav::Review).await, || pages::review::main(&model, may, refusal, numbers))
}
