//! `GET /live?of=…&since=V`: one live region of a page, drawn by the same functions as the page; 204 while nothing moved. The version is a
//! hash of what is shown, so that it moves exactly when that moves, whichever replica answers.

use crate::error::Error;
use crate::server::auth::{Viewer, problem};
use crate::server::pages::Ranged;
use crate::server::pages::overview::Asked as OverviewAsked;
use crate::server::service::sight::Sight;
use crate::server::service::{flush, overview, prefix, quality};
use crate::server::state::AppState;
use crate::ui::components::frame::{strip_items, version};
use crate::ui::{pages, shell};
use axum::extract::{Query, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;

/// Which region, and what its page shows now.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// `quality`, `overview`, `prefix`, `flush`
    of: String,
    /// `head` or nothing.
    part: String,
    since: String,
    name: String,
    target: String,
    id: String,
    numbers: String,
}

/// A drawn region, when its data was read, and a flush's state.
struct Drawn {
    html: String,
    as_of: DateTime<Utc>,
    state: Option<String>,
}

/// `GET /live`.
pub async fn show(
    State(app): State<AppState>,
    viewer: Viewer,
    Query(asked): Query<Asked>,
    Query(ranged): Query<Ranged>,
    Query(filter): Query<OverviewAsked>,
) -> Response {
    match draw(&app, &viewer, &asked, &ranged, filter).await {
        Ok(drawn) => answer(&drawn, &asked.since),
        Err(error) => problem(&error),
    }
}

async fn draw(app: &AppState, viewer: &Viewer, asked: &Asked, ranged: &Ranged, filter: OverviewAsked) -> Result<Drawn, Error> {
    let head = asked.part == "head";
    match asked.of.as_str() {
        "quality" => {
            let model = quality::load(app).await?;
            let waiting = flush::waiting(app, viewer).await;
            Ok(Drawn { html: shell::fragment(|| strip_items(&model, &waiting)), as_of: model.as_of, state: None })
        }
        "overview" => {
            let model = overview::load(app, &ranged.range(app.clock.now())?, Sight::of(viewer)).await?;
            let filter = filter.filter();
            let html = shell::fragment(|| if head { pages::overview::head(&model) } else { pages::overview::body(&model, &filter) });
            Ok(Drawn { html, as_of: model.as_of, state: None })
        }
        "prefix" => {
            let target = Some(asked.target.as_str()).filter(|target| !target.is_empty());
            let range = ranged.range(app.clock.now())?;
            let model = prefix::load(app, &range, &asked.name, target, Sight::of(viewer)).await?;
            let html = shell::fragment(|| if head { pages::prefix::head(&model) } else { pages::prefix::body(&model, &asked.numbers) });
            Ok(Drawn { html, as_of: model.as_of, state: None })
        }
        "flush" => {
            let model = flush::load(app, viewer, &asked.id).await?;
            let html = shell::fragment(|| if head { pages::flush::head(&model) } else { pages::flush::rest(&model, &asked.numbers) });
            Ok(Drawn { html, as_of: model.as_of, state: Some(model.state) })
        }
        _ => Err(Error::not_found("such live region")),
    }
}

fn answer(drawn: &Drawn, since: &str) -> Response {
    let version = version(&drawn.html);
    let mut response = if version == since {
        StatusCode::NO_CONTENT.into_response()
    } else {
        ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], drawn.html.clone()).into_response()
    };
    let facts = [
        ("x-version", version),
        ("x-as-of", drawn.as_of.to_rfc3339_opts(SecondsFormat::Secs, true)),
        ("x-as-of-text", drawn.as_of.format("%a %-d %b %H:%M:%S UTC").to_string()),
        ("x-state", drawn.state.clone().unwrap_or_default()),
    ];
    for (name, value) in facts {
        if let Ok(value) = HeaderValue::from_str(&value)
            && !value.is_empty()
        {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moved_is_204_with_its_time() {
        let at = DateTime::from_timestamp(1_764_000_000, 0).unwrap();
        let drawn = Drawn { html: "<p>a</p>".into(), as_of: at, state: Some("running".into()) };
        let first = answer(&drawn, "");
        assert_eq!(first.status(), StatusCode::OK);
        let version = first.headers()["x-version"].to_str().unwrap().to_owned();
        let again = answer(&drawn, &version);
        assert_eq!(again.status(), StatusCode::NO_CONTENT);
        assert_eq!((again.headers()["x-state"].to_str().unwrap(), again.headers().contains_key("x-as-of")), ("running", true));
    }
}
