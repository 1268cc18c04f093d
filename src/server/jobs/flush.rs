//! Beside the flushes: whether targets answer, what the passing of time does, and an end in order.

use super::Jobs;
use crate::server::service::flush::{self, Sweeper};
use crate::server::state::AppState;
use std::sync::Arc;
use std::time::Duration;

const SWEEP_EVERY: Duration = Duration::from_secs(10);

pub fn start(jobs: &Jobs, app: &AppState) {
    flush::watch_targets(app);
    let (state, sweeper) = (app.clone(), Arc::new(Sweeper::default()));
    jobs.every("flush sweep", SWEEP_EVERY, move || {
        let (app, sweeper) = (state.clone(), Arc::clone(&sweeper));
        async move { flush::sweep(&app, &sweeper).await }
    });
    // A flush at work stops after its batch, and what it did is written down before the pools close.
    let (app, ending) = (app.clone(), jobs.ending());
    jobs.spawn(async move {
        ending.cancelled().await;
        app.flushes.end().await;
    });
}
