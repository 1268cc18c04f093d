//! Files beside pages: `/review/2026-W47.md`, `.csv`, `.json`, `/flush/1204.md`, `.json`. The router cannot match a suffix, so [`rewrite`] turns it into a segment before
//! the router looks.

use crate::error::Error;
use crate::server::auth::{Viewer, page_of};
use crate::server::service::sight::Sight;
use crate::server::service::{flush, review};
use crate::server::state::AppState;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::uri::{PathAndQuery, Uri};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// The endings of a review's files.
const ENDINGS: [&str; 3] = ["md", "csv", "json"];

/// The endings of a flush's evidence.
const EVIDENCE: [&str; 2] = ["md", "json"];

/// `/review/2026-W47.md` → `/review/2026-W47/md`, and the same for a flush. Every other request stays as it is.
pub fn rewrite(mut request: Request) -> Request {
    if let Some(uri) = rewritten(request.uri()) {
        *request.uri_mut() = uri;
    }
    request
}

fn rewritten(uri: &Uri) -> Option<Uri> {
    let (page, endings, name) = match (uri.path().strip_prefix("/review/"), uri.path().strip_prefix("/flush/")) {
        (Some(name), _) => ("review", ENDINGS.as_slice(), name),
        (_, Some(name)) => ("flush", EVIDENCE.as_slice(), name),
        (None, None) => return None,
    };
    let (of, ending) = name.rsplit_once('.')?;
    if of.is_empty() || name.contains('/') || !endings.contains(&ending) {
        return None;
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(format!("/{page}/{of}/{ending}{query}")).ok()?);
    Uri::from_parts(parts).ok()
}

/// `GET /review/{week}.{ending}`.
pub async fn week(State(app): State<AppState>, viewer: Viewer, Path((week, ending)): Path<(String, String)>) -> Response {
    match file(&app, &week, &ending, Sight::of(&viewer)).await {
        Ok(response) => response,
        Err(error) => page_of(&error),
    }
}

/// `GET /flush/{id}.{ending}`: the evidence of a flush.
pub async fn flush_evidence(State(app): State<AppState>, viewer: Viewer, Path((id, ending)): Path<(String, String)>) -> Response {
    match evidence(&app, &viewer, &id, &ending).await {
        Ok(response) => response,
        Err(error) => page_of(&error),
    }
}

async fn evidence(app: &AppState, viewer: &Viewer, id: &str, ending: &str) -> Result<Response, Error> {
    if !EVIDENCE.contains(&ending) {
        return Err(Error::not_found(format!("flush as .{}; there are .md and .json", ending.chars().take(20).collect::<String>())));
    }
    let page = flush::load(app, viewer, id).await?;
    let (kind, body) = match ending {
        "md" => ("text/markdown; charset=utf-8", flush::evidence::markdown(&page)),
        _ => ("application/json", format!("{:#}\n", flush::evidence::json(&page))),
    };
    let mut response = ([(header::CONTENT_TYPE, kind)], body).into_response();
    if let Ok(name) = HeaderValue::try_from(format!("attachment; filename=\"flush-{}.{ending}\"", page.id)) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

async fn file(app: &AppState, week: &str, ending: &str, sight: Sight) -> Result<Response, Error> {
    let week = review::find_week(app, week)?;
    if !ENDINGS.contains(&ending) {
        return Err(Error::not_found(format!("review as .{}; there are .md, .csv and .json", ending.chars().take(20).collect::<String>())));
    }
    let page = review::load(app, week, sight).await?;
    let broken = |cause: &dyn std::fmt::Display| {
        tracing::error!(error.cause = %cause, "a review could not be written");
        Error::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The review could not be written as a file. Read it on its page.")
    };
    let (kind, body) = match ending {
        "md" => ("text/markdown; charset=utf-8", review::markdown(&page).into_bytes()),
        "csv" => ("text/csv; charset=utf-8", review::csv(&page).map_err(|cause| broken(&cause))?),
        _ => ("application/json", serde_json::to_vec_pretty(&review::json(&page)).map_err(|cause| broken(&cause))?),
    };
    let mut response = ([(header::CONTENT_TYPE, kind)], Body::from(body)).into_response();
    if let Ok(name) = HeaderValue::try_from(format!("attachment; filename=\"review-{week}.{ending}\"")) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_files_of_reviews_and_flushes_are_rewritten() {
        let to = |path: &str| rewritten(&path.parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(to("/review/2026-W47.md").as_deref(), Some("/review/2026-W47/md"));
        assert_eq!(to("/review/2026-W47.json?x=1").as_deref(), Some("/review/2026-W47/json?x=1"));
        assert_eq!(to("/flush/12.md").as_deref(), Some("/flush/12/md"));
        for other in [
            "/flush/12",
            "/flush/12.csv",
            "/flush/.json",
            "/review/2026-W47",
            "/review/.md",
            "/review/2026-W47.pdf",
            "/review/a/b.md",
            "/audit.csv",
            "/prefixes/review/x.md",
        ] {
            assert_eq!(to(other), None, "{other}");
        }
    }
}
