//! `/demo`.

use super::{frame, page};
use crate::domain::refusal::Refusal;
use crate::server::auth::{Viewer, page_of};
use crate::server::service::demo;
use crate::server::state::AppState;
use crate::ui::components::frame::Nav;
use crate::ui::pages;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

/// `GET /demo`.
pub async fn show(State(app): State<AppState>, viewer: Viewer) -> Response {
    draw(&app, &viewer, StatusCode::OK, None).await
}

/// The page, with what was refused where something was.
pub async fn draw(app: &AppState, viewer: &Viewer, status: StatusCode, refusal: Option<&Refusal>) -> Response {
    match demo::load(app) {
        Ok(model) => page(status, "Demo", &frame(app, viewer, Nav::Demo).await, || pages::demo::main(&model, refusal)),
        Err(error) => page_of(&error),
    }
}
