//! Figures as they were last known, for the time that Postgres is away or does not answer. What is remembered is only ever shown with its age.

use crate::error::Error;
use axum::http::StatusCode;
use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Views kept; the one that was read longest ago goes first.
const KEPT: usize = 32;
/// A page waits this long for its figures.
const PATIENCE: Duration = Duration::from_secs(4);

/// The last read models of a page, by what was asked for.
#[derive(Debug)]
pub struct Remembered<T>(Mutex<VecDeque<(String, T)>>);

impl<T> Default for Remembered<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone + Send + 'static> Remembered<T> {
    /// What `read` gives; where the store is away, what it gave last for the same `key`, if it ever did.
    ///
    /// The reading is a task of its own: it is left to end by itself, since a dropped one could hold on to a connection.
    pub async fn or_last(&self, key: String, read: impl Future<Output = Result<T, Error>> + Send + 'static) -> Result<T, Error> {
        let done = match tokio::time::timeout(PATIENCE, tokio::spawn(read)).await {
            Ok(Ok(done)) => done,
            Ok(Err(cause)) => {
                tracing::error!(error.cause = %cause, "reading figures broke down");
                Err(Error::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal",
                    "Something broke while reading the figures. Reload the page.",
                ))
            }
            Err(_) => Err(Error::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store_unavailable",
                "Postgres does not answer; nothing was changed. It is tried again by itself: reload in a few seconds.",
            )
            .retry_after(5)),
        };
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match done {
            Ok(model) => {
                held.retain(|(other, _)| *other != key);
                held.push_back((key, model.clone()));
                while held.len() > KEPT {
                    held.pop_front();
                }
                Ok(model)
            }
            Err(error) if error.status == StatusCode::SERVICE_UNAVAILABLE => {
                held.iter().find(|(other, _)| *other == key).map(|(_, model)| model.clone()).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> Error {
        Error::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "away")
    }

    #[tokio::test]
    async fn while_the_store_is_away_the_last_figures_are_shown() {
        let kept = Remembered::default();
        assert_eq!(kept.or_last("24h".into(), async { Ok(1) }).await.unwrap(), 1);
        assert_eq!(kept.or_last("24h".into(), async { Err(away()) }).await.unwrap(), 1);
        assert_eq!(kept.or_last("1h".into(), async { Err(away()) }).await.unwrap_err().code, "store_unavailable");
    }

    #[tokio::test]
    async fn an_address_that_leads_nowhere_is_not_covered_up() {
        let kept = Remembered::default();
        kept.or_last("a".into(), async { Ok(1) }).await.unwrap();
        assert_eq!(kept.or_last("a".into(), async { Err(Error::not_found("prefix")) }).await.unwrap_err().code, "not_found");
    }
}
