//! Commits the rows that let the engine go on: what is answered, and how much may be sent beyond. Beside the removing, never in its way, and
//! the only thing that gives it credit.

use super::ledger::{Due, Ledger};
use super::record::{Told, seal};
use crate::domain::audit::{Actor, Code};
use crate::domain::flush::State;
use crate::server::redis::{Answers, Stop};
use crate::server::state::AppState;
use crate::server::store::flushes::{self, Flush, LEASE, Row};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often progress is told in the audit.
const TOLD_EVERY: Duration = Duration::from_mins(1);
/// A row that could not be written is tried again after this.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Longest pause between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// What is answered, as a row of the store.
pub(super) fn row_of(answers: &Answers, granted: u64) -> Row {
    Row {
        removed: answers.removed,
        gone: answers.gone,
        failed: answers.failed,
        failed_by_class: serde_json::to_string(&answers.failed_by_class).unwrap_or_else(|_| "{}".to_owned()),
        granted,
        scanned: answers.scanned,
    }
}

/// Writes rows until the engine has `finished`.
pub(super) async fn keep(app: AppState, flush: Flush, epoch: i32, ledger: Arc<Ledger>, finished: CancellationToken) {
    let mut told_at = Instant::now();
    while !finished.is_cancelled() {
        let Some(due) = ledger.row_due() else {
            // A row may have been asked for before its time.
            let look = async {
                ledger.wait(LOOK).await;
                tokio::time::sleep(ledger.next_look().min(Duration::from_millis(60))).await;
            };
            tokio::select! {
                () = finished.cancelled() => return,
                () = look => {}
            }
            continue;
        };
        let begun = Instant::now();
        let tells = begun.duration_since(told_at) >= TOLD_EVERY;
        let written = tokio::spawn(write(app.clone(), flush.clone(), epoch, due, tells));
        let outcome = tokio::select! {
            () = finished.cancelled() => return,
            outcome = written => outcome,
        };
        match outcome {
            Ok(Ok(Some(cancel_by))) => {
                // The database's lease runs from a moment after `begun`.
                ledger.row_committed(begun + LEASE);
                if tells {
                    told_at = begun;
                }
                if let Some(by) = cancel_by {
                    ledger.cancel(&by, None);
                }
            }
            Ok(Ok(None)) => ledger.stop(Stop::LeaseLost),
            Ok(Err(cause)) => {
                ledger.row_failed();
                tracing::warn!(flush.id = flush.id, error.cause = %cause, "progress cannot be recorded: nothing more is sent");
                tokio::time::sleep(TRY_AGAIN_AFTER).await;
            }
            Err(panic) => {
                ledger.row_failed();
                tracing::error!(flush.id = flush.id, error.cause = %panic, "recording progress broke down");
                tokio::time::sleep(TRY_AGAIN_AFTER).await;
            }
        }
    }
}

/// One row; the inner `Option` says who wants it cancelled. None: the flush is not ours any more.
async fn write(app: AppState, flush: Flush, epoch: i32, due: Due, tells: bool) -> Result<Option<Option<String>>, sqlx::Error> {
    let row = row_of(&due.answers, due.grant.granted);
    if !tells {
        let mut conn = app.pools.record.acquire().await?;
        return Ok(flushes::mark_progress(&mut conn, flush.id, epoch, &row).await?.map(|progress| progress.cancel_by));
    }
    let mut change = app.pools.record.begin().await?;
    let progress = flushes::mark_progress(&mut change, flush.id, epoch, &row).await?;
    let told = Told::of(Code::FlushProgress, Actor::System, &flush, State::Running)
        .with("removed", row.removed)
        .with("gone", row.gone)
        .with("failed", row.failed)
        .with("granted", row.granted);
    seal(change, progress.is_some(), &told).await?;
    Ok(progress.map(|progress| progress.cancel_by))
}
