//! The one place that reads the wall clock. Everything else takes a [`Clock`] or an instant, so that tests can say what time it is.

use chrono::{DateTime, TimeDelta, Utc};
use std::sync::{Arc, Mutex};

/// The time, as the system tells it or as a test sets it.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<Mutex<DateTime<Utc>>>>);

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands at `now` until it is moved.
    pub fn fixed(now: DateTime<Utc>) -> Self {
        Self(Some(Arc::new(Mutex::new(now))))
    }

    pub fn now(&self) -> DateTime<Utc> {
        match &self.0 {
            Some(held) => *held.lock().unwrap_or_else(std::sync::PoisonError::into_inner),
            #[expect(clippy::disallowed_methods, reason = "this is the room that may read the clock")]
            None => Utc::now(),
        }
    }

    /// Moves a fixed clock by `by`; the system's clock stays as it is.
    pub fn advance(&self, by: TimeDelta) {
        if let Some(held) = &self.0 {
            *held.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += by;
        }
    }
}
