//! `/audit`.

use super::{frame, page};
use crate::domain::operator::Permission;
use crate::server::auth::{Viewer, page_of};
use crate::server::forms::audit::Asked;
use crate::server::service::audit;
use crate::server::service::sight::Sight;
use crate::server::state::AppState;
use crate::ui::components::frame::Nav;
use crate::ui::pages;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;

/// `GET /audit?who=&code=&target=&scope=&from=&to=&before=`.
pub async fn show(State(app): State<AppState>, viewer: Viewer, Query(asked): Query<Asked>) -> Response {
    let filter = match asked.filter() {
        Ok(filter) => filter,
        Err(error) => return page_of(&error),
    };
    let model = match audit::load(&app, filter, Sight::of(&viewer)).await {
        Ok(model) => model,
        Err(error) => return page_of(&error),
    };
    let may = viewer.may(Permission::Audit);
    let frame = frame(&app, &viewer, Nav::Audit).await;
    page(StatusCode::OK, "Audit", &frame, || pages::audit::main(&model, may))
}
