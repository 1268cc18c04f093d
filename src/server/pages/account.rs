//! `/account`.

use super::{frame, page};
use crate::domain::refusal::Refusal;
use crate::error::Error;
use crate::server::auth::{Viewer, page_of};
use crate::server::service::accounts;
use crate::server::state::AppState;
use crate::ui::components::frame::Nav;
use crate::ui::pages;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

/// `GET /account`.
pub async fn show(State(app): State<AppState>, viewer: Viewer) -> Response {
    draw(&app, &viewer, StatusCode::OK, None).await
}

/// The page, with what was refused where something was.
pub async fn draw(app: &AppState, viewer: &Viewer, status: StatusCode, refusal: Option<&Refusal>) -> Response {
    let now = app.clock.now();
    let sessions = match accounts::list_sessions(&app.pools.control, now, viewer).await {
        Ok(sessions) => sessions,
        Err(cause) => return page_of(&Error::store(&cause)),
    };
    let factor = match accounts::load_factor(&app.pools.control, &app.config(), now, viewer).await {
        Ok(factor) => factor,
        Err(cause) => return page_of(&Error::store(&cause)),
    };
    let model = accounts::AccountPage::new(now, viewer, factor, sessions);
    let frame = frame(app, viewer, Nav::Account).await;
    page(status, "Account", &frame, || pages::account::main(&model, refusal))
}
