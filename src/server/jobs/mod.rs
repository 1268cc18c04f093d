//! Background loops: one service call a tick. [`start`] lists them all.

mod events;
mod flush;

use std::future::Future;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::server::service::{accounts, audit};
use crate::server::state::AppState;

/// Everything that runs beside the requests, and the way to end it.
#[derive(Clone, Debug, Default)]
pub struct Jobs {
    tasks: TaskTracker,
    ending: CancellationToken,
}

/// Starts every background loop of the server.
pub fn start(app: &AppState) -> Jobs {
    let jobs = Jobs::default();
    events::start(&jobs, app);
    flush::start(&jobs, app);
    jobs.spawn(audit::keep_anchored(app.clone(), jobs.ending()));
    let state = app.clone();
    jobs.every("queued audit records", Duration::from_secs(2), move || {
        let app = state.clone();
        async move { accounts::move_queued_records(&app.pools.record).await }
    });
    let state = app.clone();
    jobs.every("failed sign-ins", Duration::from_mins(5), move || {
        let app = state.clone();
        async move {
            if let Err(cause) = accounts::tell_of_failures(&app.pools.record, &app.clock).await {
                tracing::warn!(error.cause = %cause, "failed sign-ins could not be told of");
            }
        }
    });
    jobs
}

impl Jobs {
    /// Cancelled when the server ends; long work looks at it.
    pub fn ending(&self) -> CancellationToken {
        self.ending.clone()
    }

    /// Runs `work` now and every `period` until the end. A tick that takes longer delays the next; one that panics is logged and followed
    /// by the next.
    pub fn every<Work, Tick>(&self, name: &'static str, period: Duration, work: Work)
    where
        Work: Fn() -> Tick + Send + 'static,
        Tick: Future<Output = ()> + Send + 'static,
    {
        let ending = self.ending();
        self.tasks.spawn(async move {
            let mut ticks = tokio::time::interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while ending.run_until_cancelled(ticks.tick()).await.is_some() {
                if let Err(error) = tokio::spawn(work()).await {
                    tracing::error!(job = name, %error, "a job's tick failed");
                }
            }
        });
    }

    /// Runs a loop of its own kind, which ends by itself once [`Jobs::ending`] is cancelled.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// Ends everything; whatever has not ended within `patience` is left where it is.
    pub async fn end(&self, patience: Duration) {
        self.ending.cancel();
        self.tasks.close();
        if tokio::time::timeout(patience, self.tasks.wait()).await.is_err() {
            tracing::warn!(jobs = self.tasks.len(), "some jobs did not end in time");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn a_tick_that_panics_is_followed_by_the_next() {
        let (jobs, ticks) = (Jobs::default(), Arc::new(AtomicU32::new(0)));
        let seen = Arc::clone(&ticks);
        jobs.every("panics once", Duration::from_millis(10), move || {
            let tick = seen.fetch_add(1, Ordering::SeqCst);
            async move { assert!(tick > 0, "the first tick fails") }
        });
        while ticks.load(Ordering::SeqCst) < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        jobs.end(Duration::from_secs(1)).await;
    }
}
