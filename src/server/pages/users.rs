//! `/users`.

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

/// `GET /users`.
pub async fn show(State(app): State<AppState>, viewer: Viewer) -> Response {
    draw(&app, &viewer, StatusCode::OK, None).await
}

/// The page, with what was refused where something was.
pub async fn draw(app: &AppState, viewer: &Viewer, status: StatusCode, refusal: Option<&Refusal>) -> Response {
    let pool = &app.pools.control;
    let found = async { Ok((accounts::list_users(pool).await?, accounts::list_enrolled(pool).await?, accounts::list_tokens(pool).await?)) };
    let (users, enrolled, tokens) = match found.await {
        Ok(found) => found,
        Err(cause) => return page_of(&Error::store(&cause)),
    };
    let model = accounts::UsersPage::new(app.clock.now(), viewer, &users, &enrolled, &tokens);
    let frame = frame(app, viewer, Nav::Users).await;
    page(status, "Users", &frame, || pages::users::main(&model, refusal))
}
