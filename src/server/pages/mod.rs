//! Pages by GET: load the read model, draw it inside the frame. One file per page noun; nothing here changes anything.

pub mod account;
pub mod audit;
pub mod contracts;
pub mod demo;
pub mod flush;
pub mod overview;
pub mod prefix;
pub mod review;
pub mod settings;
pub mod users;

use crate::domain::operator::Viewer;
use crate::domain::range::{Preset, Range};
use crate::domain::second_factor::Due;
use crate::error::Error;
use crate::server::service::{flush::waiting, quality};
use crate::server::state::AppState;
use crate::ui::components::frame::{Frame, Nav, body};
use crate::ui::shell;
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use leptos::prelude::AnyView;
use serde::Deserialize;

/// What stands around a page of this person that has no range of its own.
pub async fn frame(app: &AppState, viewer: &Viewer, at: Nav) -> Frame {
    frame_at(app, viewer, at, &Range::last(Preset::H24, app.clock.now())).await
}

/// What stands around a page of this person; its links carry `range` on.
pub async fn frame_at(app: &AppState, viewer: &Viewer, at: Nav, range: &Range) -> Frame {
    Frame {
        viewer: Some(viewer.clone()),
        quality: quality::load(app).await.ok(),
        waiting: waiting(app, viewer).await,
        enrol_first: viewer.factor.due(app.config().require_second_factor, app.clock.now()) == Due::Enrolment,
        demo: app.shop.get().is_some(),
        at,
        range_query: range.query(),
        search: String::new(),
        now: app.clock.now(),
    }
}

/// The page as a response. `main` runs where islands may be made.
pub fn page(status: StatusCode, title: &str, frame: &Frame, main: impl FnOnce() -> AnyView) -> Response {
    shell::respond(status, title, || body(frame, main()))
}

/// The range in a page's URL.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Ranged {
    range: String,
    from: String,
    to: String,
}

impl Ranged {
    /// The range, or what would do.
    pub fn range(&self, now: DateTime<Utc>) -> Result<Range, Error> {
        let given = |text| Some(text).filter(|text: &&str| !text.is_empty());
        Range::parse(given(&self.range), given(&self.from), given(&self.to), now)
            .map_err(|cause| Error::new(StatusCode::BAD_REQUEST, "bad_range", format!("This range cannot be shown: {cause}.")))
    }
}
