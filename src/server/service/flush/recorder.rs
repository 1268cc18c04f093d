//! Commits the rows that let the engine go on: what is answered, and how much may be sent beyond. Beside the removing, never in its way, and
//! the only thing that gives it credit.

use super::failpoint::failpoint;
use super::ledger::{Due, Ledger};
use super::record::{Told, seal};
use crate::domain::audit::{Actor, Code};
use crate::domain::flush::{State, taken};
use crate::server::redis::{Answers, Stop};
use crate::server::state::AppState;
use crate::server::store::flushes::{self, Flush, LEASE, Row};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How often progress is told in the audit.
const TOLD_EVERY: Duration = Duration::from_mins(1);
/// A row that could not be written is tried again after this.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Longest pause between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// What earlier runs of the same flush did. Counts in the record go on over all runs; those of the engine are of one.
#[derive(Clone, Debug, Default)]
pub(super) struct Earlier {
    pub removed: u64,
    gone: u64,
    failed: u64,
    failed_by_class: BTreeMap<String, u64>,
    scanned: u64,
    /// Keys that may have been removed beyond what is counted.
    carried: u64,
}

impl Earlier {
    /// Of a flush as it starts.
    pub(super) fn of(flush: &Flush) -> Self {
        Self {
            removed: flush.removed,
            gone: flush.gone,
            failed: flush.failed,
            failed_by_class: serde_json::from_str(&flush.failed_by_class).unwrap_or_default(),
            scanned: flush.scanned,
            carried: flush.carried,
        }
    }

    /// All runs, this one with what it has `answered`.
    pub(super) fn with(&self, answered: &Answers) -> Answers {
        let mut all = answered.clone();
        all.removed += self.removed;
        all.gone += self.gone;
        all.failed += self.failed;
        all.scanned += self.scanned;
        for (class, keys) in &self.failed_by_class {
            *all.failed_by_class.entry(class.clone()).or_default() += keys;
        }
        all
    }

    /// Keys that were dealt with.
    pub(super) fn met(&self) -> u64 {
        self.removed + self.gone
    }

    /// What of the cap this run may use at most: a key that was gone by itself took nothing of it.
    pub(super) fn left_of(&self, cap: u64) -> u64 {
        cap.saturating_sub(self.removed + self.failed)
    }

    /// The same, once the scope was counted again: `undone` keys are yet to be dealt with. None `planned`: the plan itself was no complete count.
    pub(super) fn left_after(&self, cap: u64, planned: Option<u64>, undone: u64) -> u64 {
        let known = self.removed + self.failed;
        cap.saturating_sub(planned.map_or(known + self.carried, |planned| taken(known, self.carried, planned, undone)))
    }
}

/// What is answered in this run, as the row of all runs.
pub(super) fn row_of(earlier: &Earlier, answers: &Answers, granted: u64) -> Row {
    let all = earlier.with(answers);
    Row {
        removed: all.removed,
        gone: all.gone,
        failed: all.failed,
        failed_by_class: serde_json::to_string(&all.failed_by_class).unwrap_or_else(|_| "{}".to_owned()),
        granted: earlier.carried + granted,
        scanned: all.scanned,
        watch: None,
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
        failpoint("row_begun");
        let begun = Instant::now();
        let tells = begun.duration_since(told_at) >= TOLD_EVERY;
        let written = tokio::spawn(write(app.clone(), flush.clone(), epoch, due, ledger.watch_to_write(), tells));
        let outcome = tokio::select! {
            () = finished.cancelled() => return,
            outcome = written => outcome,
        };
        match outcome {
            Ok(Ok(Some(cancel_by))) => {
                failpoint("row_committed");
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
async fn write(
    app: AppState,
    flush: Flush,
    epoch: i32,
    due: Due,
    watch: Option<String>,
    tells: bool,
) -> Result<Option<Option<String>>, sqlx::Error> {
    let row = Row { watch, ..row_of(&Earlier::of(&flush), &due.answers, due.grant.granted) };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_on_over_all_runs_and_what_is_unknown_stays_granted() {
        let class = |class: &str, keys| BTreeMap::from([(class.to_owned(), keys)]);
        let earlier = Earlier { removed: 60, gone: 5, failed: 3, failed_by_class: class("unanswered", 3), scanned: 100, carried: 20 };
        let answers = Answers { removed: 7, gone: 1, failed: 1, failed_by_class: class("noperm", 1), scanned: 9, ..Answers::default() };
        let row = row_of(&earlier, &answers, 10_000);
        assert_eq!((row.removed, row.gone, row.failed, row.scanned, row.granted), (67, 6, 4, 109, 10_020));
        assert_eq!(row.failed_by_class, r#"{"noperm":1,"unanswered":3}"#);
        assert_eq!(row_of(&earlier, &Answers::default(), 0).granted, 20, "what is unknown is so at the end too");
        assert_eq!((earlier.left_of(100), earlier.left_of(60)), (37, 0));
        assert_eq!((earlier.left_after(100, Some(90), 15), earlier.left_after(100, None, 15)), (25, 17));
    }
}
