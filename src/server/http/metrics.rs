//! `/metrics`: Prometheus' view, so that Alertmanager can page.

use crate::error::Error;
use crate::server::auth::problem;
use crate::server::service::monitoring::{self, Reading};
use crate::server::state::AppState;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use std::fmt::Write as _;

/// Prometheus text format.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Figures for Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "health",
    responses((status = 200, description = "Prometheus text format", content_type = "text/plain", body = String), (status = 401, description = "No valid token."), (status = 503, description = "Postgres does not answer.")),
    security(("read" = []), ())
)]
pub async fn show(State(app): State<AppState>) -> Response {
    match monitoring::load(&app).await {
        Ok(families) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], written(&families)).into_response(),
        Err(cause) => problem(&Error::store(&cause)),
    }
}

fn written(families: &[monitoring::Family]) -> String {
    let mut text = String::new();
    for family in families {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {} {}\n# TYPE {} {}", family.name, family.help, family.name, family.kind);
        for Reading { labels, value } in &family.readings {
            let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
            let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
            let _ = writeln!(text, "{}{labels} {value}", family.name);
        }
    }
    text
}

/// As label values are written: backslash, quote and newline.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_break_out_of_its_quotes() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
