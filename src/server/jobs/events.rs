//! The loops behind events: noting what came in, trying Postgres again, folding, keeping.

use super::Jobs;
use crate::server::service::rollups;
use crate::server::state::AppState;
use std::future::Future;
use std::time::Duration;

/// How often intake and heartbeat are written down, whether Postgres is back is tried, closed minutes are folded, and days are kept.
const NOTE: Duration = Duration::from_secs(2);
const TRY: Duration = Duration::from_millis(500);
const FOLD: Duration = Duration::from_secs(10);
const KEEP: Duration = Duration::from_mins(10);
/// How often figures in memory catch up, also where nobody looks.
const CATCH_UP: Duration = Duration::from_mins(1);

pub(super) fn start(jobs: &Jobs, app: &AppState) {
    let once = std::sync::Arc::new(tokio::sync::OnceCell::new());
    every(jobs, app, "events.note", NOTE, move |app| {
        let once = std::sync::Arc::clone(&once);
        async move {
            once.get_or_try_init(|| rollups::note_absence(&app)).await?;
            app.ingest.note_down().await
        }
    });
    every(jobs, app, "events.try_again", TRY, |app| async move { app.ingest.try_again().await });
    every(jobs, app, "events.fold", FOLD, |app| async move { rollups::compact(&app).await.map(drop) });
    every(jobs, app, "events.catch_up", CATCH_UP, |app| async move { app.cells.view(&app).await.map(drop) });
    every(jobs, app, "events.keep", KEEP, |app| async move { rollups::keep(&app).await });
}

fn every<Work, Tick>(jobs: &Jobs, app: &AppState, name: &'static str, period: Duration, work: Work)
where
    Work: Fn(AppState) -> Tick + Send + 'static,
    Tick: Future<Output = Result<(), sqlx::Error>> + Send + 'static,
{
    let app = app.clone();
    jobs.every(name, period, move || {
        let tick = work(app.clone());
        async move {
            if let Err(cause) = tick.await {
                tracing::warn!(job = name, error.cause = %cause, "a tick failed; it is tried again");
            }
        }
    });
}
