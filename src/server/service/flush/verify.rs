//! Looking again after the removal: a fresh, complete scan on a connection of its own.

use super::planning;
use crate::domain::prefix::Scope;
use crate::server::redis::{Endpoint, Fault, Report, Surveyed};
use crate::server::state::AppState;
use crate::server::store::flushes::Flush;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// A Redis that is away is tried again for this long.
const AWAY_AT_MOST: Duration = Duration::from_secs(15);

/// What the second look says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Keys of the scope that are there now; None: could not be counted to the end.
    pub residue: Option<u64>,
    /// What is there now was written after: SCAN returns every key that was there throughout, the removal's scan was complete, no reply was
    /// an error, and it was the same server all the time.
    pub proven: bool,
}

impl Seen {
    fn of(scanned: &Surveyed, removal: &Report) -> Self {
        let residue = scanned.census.complete.then_some(scanned.census.matched);
        let undisturbed = removal.answers.failed == 0 && removal.steady && removal.run_id == scanned.identity.run_id;
        // Where nothing is left there is nothing to explain, if all of it was seen.
        let nothing = residue == Some(0) && scanned.identity.settled;
        Self { residue, proven: residue.is_some() && (nothing || undisturbed && scanned.identity.settled) }
    }
}

pub(super) async fn verify(
    app: &AppState,
    flush: &Flush,
    scope: &Scope,
    endpoint: &Endpoint,
    removal: &Report,
    alive: &Arc<AtomicBool>,
) -> Seen {
    let begun = Instant::now();
    loop {
        match planning::scan(app, flush, scope, endpoint, false, alive).await {
            Ok(scanned) => return Seen::of(&scanned, removal),
            Err(fault) if fault.may_pass() && begun.elapsed() < AWAY_AT_MOST => {
                tracing::warn!(flush.id = flush.id, error.cause = %fault, "the verifying scan begins anew");
            }
            Err(fault) => {
                log_fault(flush, &fault);
                return Seen { residue: None, proven: false };
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn log_fault(flush: &Flush, fault: &Fault) {
    tracing::warn!(flush.id = flush.id, error.cause = %fault, "the verifying scan could not be finished");
}
