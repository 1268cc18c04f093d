//! Nothing that another site's page sends is acted upon: tower-http's layer compares `Sec-Fetch-Site` and `Origin`, and since that one lets
//! requests with neither through, a guard stands behind it.

use super::answer::page_of;
use super::{cookie, origin};
use crate::error::Error;
use crate::server::state::AppState;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tower_http::csrf::{CsrfLayer, ProtectionError};

/// The layer against other sites' forms. Doors that only take bearer tokens (`exempt`) need none: no browser sends those by itself.
pub fn cross_site(app: &AppState, exempt: &'static [&'static str]) -> CsrfLayer<fn(ProtectionError) -> Response<Body>> {
    let mut layer = CsrfLayer::new().with_insecure_bypass(move |_: &Method, uri: &Uri| exempt.contains(&uri.path()));
    if let Some(public) = origin::public_origin(&app.config()) {
        layer = match layer.clone().add_trusted_origin(&public) {
            Ok(layer) => layer,
            Err(cause) => {
                tracing::warn!(error.cause = %cause, "public_url is no origin; only requests that name the same host are taken");
                layer
            }
        };
    }
    layer.with_rejection_response(refuse as fn(ProtectionError) -> Response<Body>)
}

fn refuse(_why: ProtectionError) -> Response<Body> {
    page_of(&Error::new(
        StatusCode::FORBIDDEN,
        "cross_site",
        "This request came from a page of another site. Nothing was done. Open Stalewatch itself and try again.",
    ))
    .into_response()
}

/// Where a session begins, so no cookie tells who sent the form.
const WAYS_IN: [&str; 2] = ["/sign-in", "/first-run"];

/// Refuses what would change something with a session, or sign in, and says not where it comes from.
pub async fn guard(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let told = headers.contains_key("sec-fetch-site") || headers.contains_key(header::ORIGIN);
    if changes && !told && (WAYS_IN.contains(&request.uri().path()) || cookie::token(&app.config(), headers).is_some()) {
        return page_of(&Error::new(
            StatusCode::FORBIDDEN,
            "no_origin",
            "This request does not say from where it comes. Nothing was done. Browsers say so by themselves; other clients send an Origin header.",
        ))
        .into_response();
    }
    next.run(request).await
}
