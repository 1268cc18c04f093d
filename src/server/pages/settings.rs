//! `GET /settings`.

use super::{frame, page};
use crate::server::auth::{Viewer, page_of};
use crate::server::service::settings;
use crate::server::state::AppState;
use crate::ui::components::frame::Nav;
use crate::ui::pages;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

/// `GET /settings`.
pub async fn show(State(app): State<AppState>, viewer: Viewer) -> Response {
    match settings::load(&app).await {
        Ok(model) => {
            let frame = frame(&app, &viewer, Nav::Settings).await;
            page(StatusCode::OK, "Settings", &frame, || pages::settings::main(&model, &frame.range_query))
        }
        Err(error) => page_of(&error),
    }
}
