//! Who is asking: sessions and their cookies, the guard against other sites, and what each door asks for.

mod answer;
pub mod cookie;
mod cross_site;
mod door;
pub mod origin;
mod remembered;

pub use crate::domain::operator::Viewer;
pub use answer::{page_of, problem};
pub use cross_site::{cross_site, guard};
pub use door::{Arrived, Door, Needs, require};
pub use remembered::RememberedTokens;

use crate::error::Error;
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use std::convert::Infallible;

/// The person as the door let them in. A handler behind a door that asks for nobody must take an `Option`.
impl<S: Send + Sync> FromRequestParts<S> for Viewer {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Response> {
        parts.extensions.get::<Viewer>().cloned().ok_or_else(|| {
            page_of(&Error::new(StatusCode::UNAUTHORIZED, "signed_out", "You are not signed in. Sign in and try again.")).into_response()
        })
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Viewer {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<Viewer>().cloned())
    }
}
