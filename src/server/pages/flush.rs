//! `/flush` and `/flush/{id}`.

use super::{frame, page};
use crate::domain::refusal::Refusal;
use crate::error::Error;
use crate::server::auth::{Viewer, page_of};
use crate::server::service::flush;
use crate::server::state::AppState;
use crate::ui::components::frame::Nav;
use crate::ui::pages::flush as view;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

/// What a link to the plan form may bring.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Wanted {
    pub target: String,
    pub scope: String,
    pub kind: String,
    pub mode: String,
    pub window_s: String,
}

/// What a link to a flush may bring: which of its charts shows its numbers.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Shown {
    numbers: String,
}

/// `GET /flush`.
pub async fn show_plan(State(app): State<AppState>, viewer: Viewer, Query(wanted): Query<Wanted>) -> Response {
    draw_plan(&app, &viewer, StatusCode::OK, None, wanted).await
}

/// `GET /flush/{id}`.
pub async fn show(State(app): State<AppState>, viewer: Viewer, Path(id): Path<String>, Query(shown): Query<Shown>) -> Response {
    draw(&app, &viewer, StatusCode::OK, &id, None, &shown.numbers).await
}

/// A refused form whose page cannot be drawn either (Postgres is away) still says what was refused.
pub async fn draw_plan(app: &AppState, viewer: &Viewer, status: StatusCode, refusal: Option<Refusal>, wanted: Wanted) -> Response {
    match flush::load_plan_page(app, viewer).await {
        Ok(model) => {
            let frame = frame(app, viewer, Nav::Flush).await;
            page(status, "Plan a flush", &frame, || {
                let Wanted { target, scope, kind, mode, window_s } = &wanted;
                view::plan_main(&model, refusal.as_ref(), &view::PlanWanted { target, scope, kind, mode, window_s })
            })
        }
        Err(error) => page_of(&or_refusal(error, status, refusal)),
    }
}

pub async fn draw(app: &AppState, viewer: &Viewer, status: StatusCode, id: &str, refusal: Option<Refusal>, numbers: &str) -> Response {
    match flush::load(app, viewer, id).await {
        Ok(model) => {
            // Where a confirmation is waited for it is the only form; elsewhere there is none, but others may be.
            let refusal = refusal.map(|refusal| Refusal { form: if model.can.confirm { "confirm" } else { "do" }, ..refusal });
            let frame = frame(app, viewer, Nav::Flush).await;
            page(status, &view::title(&model), &frame, || view::main(&model, refusal.as_ref(), numbers))
        }
        Err(error) => page_of(&or_refusal(error, status, refusal)),
    }
}

fn or_refusal(error: Error, status: StatusCode, refusal: Option<Refusal>) -> Error {
    match refusal {
        Some(refusal) => Error { status, detail: refusal.detail, ..error },
        None => error,
    }
}
