//! Flushes, from the asking to the verdict. Combines the store (states, leases, credit, audit) with Redis (scanning, removing).
//!
//! ```text
//! ask      ── planning ── planned          ask.rs, planning.rs
//! confirm  ── starting ── running          confirm.rs, start.rs, worker.rs   the intent is committed before the first removing command
//!          ── awaiting_approval ── approved ── starting   approve.rs   wide: a second person, then its requester
//! resume   ── starting ── running          resume.rs      one that was cut off
//!             running: ledger.rs lets the engine's thread send no more than the committed credit, recorder.rs commits the next
//! verify   ── completed, …                 worker.rs, verify.rs
//! sweep    ── expired, interrupted, verdicts   sweep.rs, judge.rs
//! ```
//! Every change of state is one transaction with its audit record (record.rs). Redis being away, or Postgres, refuses; nothing is guessed.

mod approve;
mod ask;
mod brake;
mod can;
mod confirm;
pub mod evidence;
mod facts;
mod failpoint;
mod harm;
mod judge;
mod ledger;
mod load;
mod modes;
mod pages;
mod planning;
mod press;
mod progress;
mod record;
mod recorder;
mod resume;
mod start;
mod step_up;
mod sweep;
mod targets;
mod verdict;
mod verify;
mod waiting;
mod worker;

pub use ask::{Asked, ask};
pub use load::{list, load, load_plan_page};
pub use pages::*;
pub use press::{Answered, Pressed, press};
pub use sweep::{Sweeper, sweep};
pub use targets::{mending, reader, watch_targets};
pub use waiting::{Waiting, WaitsFor, waiting};

use crate::error::Error;
use crate::server::redis::Monitor;
use crate::server::store::flushes::Flush;
use axum::http::StatusCode;
use ledger::Ledger;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// What this process keeps about flushes: nothing that decides, only what reaches a worker faster than the store does.
#[derive(Clone, Default)]
pub struct Flushes(Arc<Held>);

#[derive(Default)]
struct Held {
    running: Mutex<HashMap<i64, (Arc<Ledger>, Flush)>>,
    planning: Mutex<HashMap<String, Arc<Semaphore>>>,
    monitor: Monitor,
    watched: targets::Watched,
    ending: CancellationToken,
    tasks: tokio_util::task::TaskTracker,
}

impl Flushes {
    /// Whether targets answer.
    pub fn monitor(&self) -> &Monitor {
        &self.0.monitor
    }

    /// Ends what runs: a flush stops after its batch and is `interrupted`. Returns once all of it is written down.
    pub async fn end(&self) {
        self.0.ending.cancel();
        for (ledger, _) in self.running().values() {
            ledger.stop(crate::server::redis::Stop::ShuttingDown);
        }
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<i64, (Arc<Ledger>, Flush)>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One planning scan of a target at a time.
    fn planning(&self, target: &str) -> Arc<Semaphore> {
        let mut all = self.0.planning.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(target.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(1))))
    }
}

/// A form that was not accepted. Nothing was changed.
#[derive(Clone, Debug)]
pub struct Refused {
    pub error: Error,
    /// The field it is about, if it is about one.
    pub field: Option<&'static str>,
}

impl Refused {
    fn typed(code: &'static str, field: &'static str, detail: impl Into<String>) -> Self {
        Self { error: Error::new(StatusCode::UNPROCESSABLE_ENTITY, code, detail), field: Some(field) }
    }

    fn state(code: &'static str, detail: impl Into<String>) -> Self {
        Self { error: Error::new(StatusCode::CONFLICT, code, detail), field: None }
    }

    fn forbidden(code: &'static str, detail: impl Into<String>) -> Self {
        Self { error: Error::new(StatusCode::FORBIDDEN, code, detail), field: None }
    }

    fn too_many(code: &'static str, detail: impl Into<String>, retry_after_s: u32) -> Self {
        Self { error: Error::new(StatusCode::TOO_MANY_REQUESTS, code, detail).retry_after(retry_after_s), field: None }
    }

    /// Redis or the record is away.
    fn away(code: &'static str, detail: impl Into<String>) -> Self {
        Self { error: Error::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).retry_after(5), field: None }
    }

    /// Postgres did not take or give what was needed.
    fn no_record() -> Self {
        Self::away(
            "audit_unavailable",
            "Postgres does not answer, so nothing can be recorded, and without a record nothing is flushed. Nothing was removed. Try again in a few seconds.",
        )
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error, field: None }
    }
}
