//! `/audit`: verifying, and the exports beside the page.

use super::to_the_end;
use crate::error::Error;
use crate::server::auth::{Viewer, page_of};
use crate::server::service::audit::{self, AuditFilter, Format};
use crate::server::state::AppState;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use chrono::NaiveDate;
use serde::Deserialize;

/// The page's query, as typed: what is empty does not narrow.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    who: String,
    code: String,
    target: String,
    scope: String,
    flush: String,
    from: String,
    to: String,
    before: String,
}

impl Asked {
    /// As the service takes it, or what cannot be read.
    pub fn filter(self) -> Result<AuditFilter, Error> {
        let some = |text: String| (!text.trim().is_empty()).then(|| text.trim().to_owned());
        let day = |text: String| match some(text) {
            None => Ok(None),
            Some(text) => text
                .parse::<NaiveDate>()
                .map(Some)
                .map_err(|_| Error::new(StatusCode::BAD_REQUEST, "bad_day", "A day is written as 2026-11-23. Nothing was read.")),
        };
        let number = |text: String, wrong: &'static str| {
            some(text).map(|text| text.parse::<i64>().map_err(|_| Error::new(StatusCode::BAD_REQUEST, "bad_number", wrong))).transpose()
        };
        Ok(AuditFilter {
            who: some(self.who),
            code: some(self.code),
            target: some(self.target),
            scope: some(self.scope),
            from: day(self.from)?,
            to: day(self.to)?,
            flush: number(self.flush, "`flush` is the number of a flush. Nothing was read.")?,
            before: number(self.before, "`before` is the number of a record. Nothing was read.")?,
        })
    }
}

/// `POST /audit`: verifies the whole record now.
pub async fn verify(State(app): State<AppState>, viewer: Viewer) -> Response {
    let work = async move { audit::verify_now(&app, &viewer.actor()).await };
    match to_the_end(work).await {
        Ok(Ok(_)) => Redirect::to("/audit").into_response(),
        Ok(Err(error)) | Err(error) => page_of(&error),
    }
}

/// `GET /audit.csv`.
pub async fn export_csv(State(app): State<AppState>, viewer: Viewer, Query(asked): Query<Asked>) -> Response {
    export(app, viewer, asked, Format::Csv).await
}

/// `GET /audit.jsonl`.
pub async fn export_jsonl(State(app): State<AppState>, viewer: Viewer, Query(asked): Query<Asked>) -> Response {
    export(app, viewer, asked, Format::Jsonl).await
}

async fn export(app: AppState, viewer: Viewer, asked: Asked, format: Format) -> Response {
    let filter = match asked.filter() {
        Ok(filter) => filter,
        Err(error) => return page_of(&error),
    };
    let name = audit::export_name(format, app.clock.now());
    let work = async move { audit::export(&app.pools.record, &viewer.actor(), &filter, format).await };
    let pieces = match to_the_end(work).await {
        Ok(Ok(pieces)) => pieces,
        Ok(Err(cause)) => return page_of(&Error::store(&cause)),
        Err(error) => return page_of(&error),
    };
    let body = Body::from_stream(futures::stream::unfold(pieces, async |mut pieces| pieces.recv().await.map(|piece| (piece, pieces))));
    let kind = match format {
        Format::Csv => "text/csv; charset=utf-8",
        Format::Jsonl => "application/x-ndjson",
    };
    let mut response = ([(header::CONTENT_TYPE, kind)], body).into_response();
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    response
}
