//! `/healthz` and `/readyz`: for whoever restarts processes and whoever sends them requests.

use crate::server::service::health;
use crate::server::state::AppState;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Health {
    /// `ok`, `ready` or `not_ready`.
    pub status: &'static str,
    /// What is down or not as it should be.
    pub notes: Vec<String>,
}

/// The process lives and answers.
#[utoipa::path(get, path = "/healthz", tag = "health", responses((status = 200, body = Health)))]
pub async fn live() -> Response {
    Json(Health { status: "ok", notes: Vec::new() }).into_response()
}

/// The process can commit. What else is down is named, and is no reason to take it out of service.
#[utoipa::path(get, path = "/readyz", tag = "health", responses((status = 200, body = Health), (status = 503, body = Health, description = "It cannot commit.")))]
pub async fn ready(State(app): State<AppState>) -> Response {
    let readiness = health::readiness(&app).await;
    if readiness.can_commit {
        Json(Health { status: "ready", notes: readiness.notes }).into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status: "not_ready", notes: readiness.notes })).into_response()
    }
}
