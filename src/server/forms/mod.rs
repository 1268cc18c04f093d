//! What forms post to, one file per page noun: parse, one service call, then 303, or the page again with what was typed.

pub mod account;
pub mod audit;
pub mod demo;
pub mod first_run;
pub mod flush;
pub mod review;
pub mod sign_in;
pub mod users;

use crate::error::Error;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use std::future::Future;

/// The answer, with the session's cookie in it where that has a new token.
fn with_token(mut response: Response, token: Option<HeaderValue>) -> Response {
    if let Some(token) = token {
        response.headers_mut().insert(header::SET_COOKIE, token);
    }
    response
}

/// Runs a form's work to its end even where the browser hangs up half-way: a dropped future could leave a connection inside a transaction.
pub async fn to_the_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, Error> {
    tokio::spawn(work).await.map_err(|cause| {
        tracing::error!(error.cause = %cause, "a form's work broke down");
        Error::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something broke while doing this. Look whether it was done before you try again.",
        )
    })
}
