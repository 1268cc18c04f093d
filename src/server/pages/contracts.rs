//! `GET /contracts`.

use super::{frame, page};
use crate::server::auth::{Viewer, page_of};
use crate::server::service::contracts;
use crate::server::state::AppState;
use crate::ui::components::frame::Nav;
use crate::ui::pages;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

/// `GET /contracts`.
pub async fn show(State(app): State<AppState>, viewer: Viewer) -> Response {
    let model = match contracts::load(&app).await {
        Ok(model) => model,
        Err(error) => return page_of(&error),
    };
    let frame = frame(&app, &viewer, Nav::Contracts).await;
    page(StatusCode::OK, "Contracts", &frame, || pages::contracts::main(&model, &frame.range_query))
}
