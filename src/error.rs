//! What a person is told: the one error that leaves the server. Causes are logged once, where they are handled, and never sent.

use axum::http::StatusCode;

/// An error as its reader sees it: a status, a stable code and one sentence that says what to do.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{detail}")]
pub struct Error {
    pub status: StatusCode,
    /// Stable, lower case with underscores: `not_found`, `unavailable`, …
    pub code: &'static str,
    /// What happened, what was and was not done, what to do.
    pub detail: String,
    /// Seconds after which trying again makes sense (`Retry-After`).
    pub retry_after_s: Option<u32>,
}

impl Error {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), retry_after_s: None }
    }

    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("There is no {what}. Check the address."))
    }

    /// The store did not answer. The cause is logged here, once.
    pub fn store(cause: &sqlx::Error) -> Self {
        tracing::error!(error.cause = %cause, "store failed");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "store_unavailable",
            "Postgres does not answer; nothing was changed. It is tried again by itself: reload in a few seconds.",
        )
        .retry_after(5)
    }
}

impl From<sqlx::Error> for Error {
    fn from(cause: sqlx::Error) -> Self {
        Self::store(&cause)
    }
}
