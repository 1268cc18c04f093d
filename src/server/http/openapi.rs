//! The OpenAPI 3.1 document of the HTTP API: at `/api/v1/openapi.json`, and by `stalewatch openapi`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(title = "Stalewatch", description = "Events in, figures out. Flushes are not part of the API: only a signed-in person can plan, approve or run one."),
    paths(super::ingest::submit, super::series::show, super::prefixes::list, super::health::live, super::health::ready, super::metrics::show, show),
    modifiers(&Tokens)
)]
struct Document;

struct Tokens;

impl Modify for Tokens {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        for (name, about) in [
            ("ingest", "An ingest token, `sw_in_…`: `stalewatch token create --source NAME`"),
            ("read", "A read token: `stalewatch token create --source NAME --read`. A signed-in person's session does too."),
        ] {
            let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(about)).build();
            components.add_security_scheme(name, SecurityScheme::Http(scheme));
        }
    }
}

/// The document, indented, as `stalewatch openapi` prints it.
pub fn document() -> String {
    Document::openapi().to_pretty_json().unwrap_or_default()
}

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", tag = "health", responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)))]
pub async fn show() -> Response {
    Json(Document::openapi()).into_response()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_document_is_openapi_3_1_and_names_every_door_for_programs() {
        let document: serde_json::Value = serde_json::from_str(&super::document()).expect("JSON");
        assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
        for path in ["/api/v1/events", "/api/v1/series", "/api/v1/prefixes", "/api/v1/openapi.json", "/healthz", "/readyz", "/metrics"] {
            assert!(document["paths"][path].is_object(), "{path}");
        }
    }
}
