//! Refusals at the door: a plain page for people, problem+json for programs.

use crate::error::Error;
use crate::ui::components::frame::brand;
use crate::ui::components::state::{Glyph, glyph, sprite};
use crate::ui::shell;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use leptos::prelude::*;

/// An error as a page of its own, for where no page can be drawn around it.
pub fn page_of(error: &Error) -> Response {
    let title = match error.status {
        StatusCode::FORBIDDEN => "Not allowed",
        StatusCode::NOT_FOUND => "Not found",
        StatusCode::UNAUTHORIZED => "Signed out",
        StatusCode::SERVICE_UNAVAILABLE => "Not available",
        _ => "Not done",
    };
    let (code, detail) = (error.code, error.detail.clone());
    let mut response = shell::respond(error.status, title, move || {
        view! {
            {sprite()}
            <main id="main" class="gate" data-error=code>
                {brand()}
                <h1>{title}</h1>
                <div class="notice" role="alert">{glyph(Glyph::Out, "g-bad")}<div>{detail}</div></div>
                <p class="actions"><a class="btn" href="/">"To the overview"</a></p>
            </main>
        }
    });
    retry_after(&mut response, error);
    response
}

/// An error as `application/problem+json` (RFC 9457).
pub fn problem(error: &Error) -> Response {
    let body = serde_json::json!({
        "type": "about:blank", "title": error.status.canonical_reason().unwrap_or("Error"), "status": error.status.as_u16(),
        "code": error.code, "detail": error.detail,
    });
    let mut response = (error.status, [(header::CONTENT_TYPE, "application/problem+json")], Body::from(body.to_string())).into_response();
    if error.status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    retry_after(&mut response, error);
    response
}

fn retry_after(response: &mut Response, error: &Error) {
    if let Some(seconds) = error.retry_after_s {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
}
