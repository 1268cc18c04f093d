//! Pages by GET: load the read model, draw it inside the frame. One file per page noun; nothing here changes anything.

pub mod account;
pub mod audit;
pub mod contracts;
pub mod demo;
pub mod flush;
pub mod review;
pub mod users;

use crate::domain::operator::Viewer;
use crate::server::state::AppState;
use crate::ui::components::frame::{Frame, Nav, body};
use crate::ui::shell;
use axum::http::StatusCode;
use axum::response::Response;
use leptos::prelude::AnyView;

/// What stands around a page of this person.
pub fn frame(app: &AppState, viewer: &Viewer, at: Nav) -> Frame {
    Frame {
        viewer: Some(viewer.clone()),
        quality: None,
        demo: app.shop.get().is_some(),
        at,
        range_query: "range=24h".to_owned(),
        search: String::new(),
        now: app.clock.now(),
    }
}

/// The page as a response. `main` runs where islands may be made.
pub fn page(status: StatusCode, title: &str, frame: &Frame, main: impl FnOnce() -> AnyView) -> Response {
    shell::respond(status, title, || body(frame, main()))
}
