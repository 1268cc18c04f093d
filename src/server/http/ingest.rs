//! `POST /api/v1/events`: reads the body within its limits, hands it to ingest and says what became of each event.

use super::body;
use crate::domain::event::{Ages, Origin};
use crate::error::Error;
use crate::server::auth::{Arrived, problem};
use crate::server::ingest::{BodyError, Format, LISTED_MAX, NotTaken, Sender, Taken};
use crate::server::service::accounts::Token;
use crate::server::state::AppState;
use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::time::Duration;
use tokio::time::Instant;

/// How long a request may wait for anything else, from its arrival on: within 5 seconds a sender knows that Postgres is away. One whose body
/// came slowly has at least the second.
const PATIENCE: Duration = Duration::from_millis(4_700);
const AFTER_BODY: Duration = Duration::from_secs(2);
/// When to come again: while Postgres is away, and while the writers are behind.
const AWAY_RETRY_S: u32 = 5;
const BUSY_RETRY_S: u32 = 1;

/// What became of a request's events.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Answer {
    /// Events that count from now on.
    pub accepted: u64,
    /// Events that were known already, or named twice in this request.
    pub duplicates: u64,
    /// The first 100 that were refused.
    pub rejected: Vec<RejectedEvent>,
    pub rejected_total: u64,
}

/// An event that was refused; its neighbours were not.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RejectedEvent {
    /// Its place in the request, from 0.
    pub index: usize,
    /// `malformed`, `missing_field`, `wrong_type`, `unknown_type`, `too_old`, `too_new`, `too_long`, `bad_characters`, `unknown_prefix`,
    /// `unknown_target`, `target_not_allowed` or `out_of_range`.
    pub code: &'static str,
    pub detail: String,
}

/// Takes events in; answers after the commit.
#[utoipa::path(
    post, path = "/api/v1/events", tag = "events",
    request_body(content_type = "application/json", description = "`{\"events\":[…]}`, or `application/x-ndjson`, one event a line; as it is, or with `Content-Encoding: gzip` or `zstd` (window at most 8 MiB). At most 5,000 events and 2 MiB after decompression.", content = serde_json::Value),
    responses(
        (status = 200, body = Answer, description = "Committed. Sending the same again changes nothing."),
        (status = 400, description = "The body is not an envelope of events; nothing was taken."),
        (status = 401, description = "No valid token."), (status = 403, description = "Not an ingest token."),
        (status = 413, description = "Too many events or bytes; nothing was taken."), (status = 415, description = "Another content type or encoding."),
        (status = 429, description = "The token sends more than its rate allows, or too much is waiting; nothing was taken. Come again after `Retry-After`."),
        (status = 503, description = "Postgres does not answer; send the same again after `Retry-After`."),
    ),
    security(("ingest" = []))
)]
pub async fn submit(
    State(app): State<AppState>,
    Extension(token): Extension<Token>,
    Extension(Arrived(arrived)): Extension<Arrived>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match take(&app, token, arrived, &headers, body).await {
        Ok(done) => Json(answer(done)).into_response(),
        Err(error) => problem(&error),
    }
}

fn answer(taken: Taken) -> Answer {
    let rejected_total = taken.rejected.len() as u64;
    let rejected = taken
        .rejected
        .into_iter()
        .take(LISTED_MAX)
        .map(|rejected| RejectedEvent { index: rejected.index, code: rejected.code.as_str(), detail: rejected.detail })
        .collect();
    Answer { accepted: taken.accepted, duplicates: taken.duplicates, rejected, rejected_total }
}

async fn take(app: &AppState, token: Token, arrived: Instant, headers: &HeaderMap, body: Body) -> Result<Taken, Error> {
    let format = format(headers)?;
    let sender = Sender::new(token.source, token.target, Origin::App).limited_as(token.id);
    app.ingest.admit(&sender).map_err(|cause| refused(&cause))?;
    let body = body::read(headers, body).await?;
    let deadline = deadline(arrived);
    app.ingest.submit(&sender, &body, format, Ages::LIVE, deadline).await.map_err(|cause| refused(&cause))
}

/// Until when a request may wait for its commit, once its body is here.
pub(super) fn deadline(arrived: Instant) -> Instant {
    (arrived + PATIENCE).max(Instant::now() + AFTER_BODY)
}

/// Why nothing of a request was taken, as it is told.
pub(super) fn refused(cause: &NotTaken) -> Error {
    let detail = cause.to_string();
    match cause {
        NotTaken::Body(BodyError::Malformed(_)) => Error::new(StatusCode::BAD_REQUEST, "malformed", detail),
        NotTaken::Body(BodyError::TooMany) => Error::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many", detail),
        NotTaken::TooFast { retry_after_s } => Error::new(StatusCode::TOO_MANY_REQUESTS, "too_fast", detail).retry_after(*retry_after_s),
        NotTaken::Busy => Error::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail).retry_after(BUSY_RETRY_S),
        NotTaken::Away => Error::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail).retry_after(AWAY_RETRY_S),
    }
}

fn format(headers: &HeaderMap) -> Result<Format, Error> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" => Ok(Format::Json),
        "application/x-ndjson" => Ok(Format::Ndjson),
        _ => Err(Error::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content_type",
            "Send `Content-Type: application/json` with {\"events\":[…]}, or `application/x-ndjson` with one event a line.",
        )),
    }
}
