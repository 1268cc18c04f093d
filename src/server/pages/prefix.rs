//! `/prefixes/{name}`, and with `?events=` the events behind a figure.

use super::{Ranged, frame_at, page};
use crate::domain::operator::Permission;
use crate::server::auth::{Viewer, page_of};
use crate::server::service::prefix::{self, Which};
use crate::server::service::sight::Sight;
use crate::server::state::AppState;
use crate::ui::components::frame::Nav;
use crate::ui::pages;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

/// What the URL asks for beside the range.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    target: String,
    events: String,
    before: String,
    numbers: String,
}

/// `GET /prefixes/{name}?target=&range=&numbers=&events=&before=`.
pub async fn show(
    State(app): State<AppState>,
    viewer: Viewer,
    Path(name): Path<String>,
    Query(ranged): Query<Ranged>,
    Query(asked): Query<Asked>,
) -> Response {
    let range = match ranged.range(app.clock.now()) {
        Ok(range) => range,
        Err(error) => return page_of(&error),
    };
    let target = Some(asked.target.as_str()).filter(|target| !target.is_empty());
    let sight = Sight::of(&viewer);
    let which = match asked.events.as_str() {
        "stale" => Some(Which::Stale),
        "failed" => Some(Which::Failed),
        _ => None,
    };
    if let Some(which) = which {
        let frame = frame_at(&app, &viewer, Nav::None, &range).await;
        let before = Some(asked.before.as_str()).filter(|before| !before.is_empty());
        return match prefix::load_events(&app, &range, &name, target, which, before, sight).await {
            Ok(model) => page(StatusCode::OK, &format!("Events of {name}"), &frame, || pages::prefix::events_main(&model)),
            Err(error) => page_of(&error),
        };
    }
    let (frame, model) = tokio::join!(frame_at(&app, &viewer, Nav::None, &range), prefix::load(&app, &range, &name, target, sight));
    match model {
        Ok(model) => page(StatusCode::OK, &name, &frame, || pages::prefix::main(&model, &asked.numbers, viewer.may(Permission::Flush))),
        Err(error) => page_of(&error),
    }
}
