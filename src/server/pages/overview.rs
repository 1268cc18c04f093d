//! `/`.

use super::{Ranged, frame_at, page};
use crate::server::auth::{Viewer, page_of};
use crate::server::service::overview;
use crate::server::service::sight::Sight;
use crate::server::state::AppState;
use crate::ui::components::frame::Nav;
use crate::ui::pages;
use crate::ui::pages::overview::Filter;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

/// What the URL asks for beside the range.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Asked {
    q: String,
    state: String,
    all: String,
}

impl Asked {
    pub fn filter(self) -> Filter {
        Filter { q: self.q.trim().chars().take(200).collect(), state: self.state, all: !self.all.is_empty() }
    }
}

/// `GET /?range=&q=&state=&all=`.
pub async fn show(State(app): State<AppState>, viewer: Viewer, Query(ranged): Query<Ranged>, Query(asked): Query<Asked>) -> Response {
    let range = match ranged.range(app.clock.now()) {
        Ok(range) => range,
        Err(error) => return page_of(&error),
    };
    let filter = asked.filter();
    let (mut frame, model) = tokio::join!(frame_at(&app, &viewer, Nav::Overview, &range), overview::load(&app, &range, Sight::of(&viewer)));
    frame.search.clone_from(&filter.q);
    match model {
        Ok(model) => page(StatusCode::OK, "Overview", &frame, || pages::overview::main(&model, &filter)),
        Err(error) => page_of(&error),
    }
}
