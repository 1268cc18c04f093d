//! Looking again after the removal: a fresh, complete scan on a connection of its own.

use super::planning::{self, Looks};
use crate::domain::flush::Mode;
use crate::domain::prefix::Scope;
use crate::server::redis::{Endpoint, Fault, Report, Sampled, Surveyed};
use crate::server::state::AppState;
use crate::server::store::flushes::Flush;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// A Redis that is away is tried again for this long.
const AWAY_AT_MOST: Duration = Duration::from_secs(15);

/// What the second look says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Keys of the scope that are there now; after a soft flush, those of a sample that outlive the window. None: could not be counted to the end.
    pub residue: Option<u64>,
    /// How many keys the sample has; None: all keys were looked at.
    pub sampled: Option<u64>,
    /// What a generation was raised to.
    pub generation: Option<i64>,
    /// What is there now was written after: SCAN returns every key that was there throughout, the removal's scan was complete, no reply was
    /// an error, and it was the same server all the time.
    pub proven: bool,
}

impl Seen {
    /// A generation was raised, which Redis itself has answered.
    pub(super) fn raised(generation: i64) -> Self {
        Self { generation: Some(generation), proven: true, ..Self::default() }
    }

    fn of(scanned: &Surveyed, removal: &Report, mode: Mode) -> Self {
        let whole = scanned.census.complete;
        let (residue, sampled) = match mode.window() {
            None => (whole.then_some(scanned.census.matched), None),
            Some(window) => {
                let outlives = |key: &&Sampled| key.ttl.is_none_or(|ttl| ttl.as_millis() > u128::from(window.millis()));
                let (outlive, sampled) = (scanned.measured.iter().filter(outlives).count(), scanned.measured.len());
                (whole.then_some(outlive as u64), Some(sampled as u64))
            }
        };
        let undisturbed = removal.answers.failed == 0 && removal.steady && removal.run_id == scanned.identity.run_id;
        // Where nothing is left there is nothing to explain, if all of it was seen.
        let nothing = residue == Some(0) && sampled.is_none_or(|sampled| sampled == scanned.census.matched) && scanned.identity.settled;
        let proven = residue.is_some() && (nothing || undisturbed && scanned.identity.settled);
        Self { residue, sampled, proven, ..Self::default() }
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
        let sampled = flush.mode.window().is_some();
        match planning::scan(app, flush, scope, endpoint, Looks { sampled, ..Looks::default() }, alive).await {
            Ok(scanned) => return Seen::of(&scanned, removal, flush.mode),
            Err(fault) if fault.may_pass() && begun.elapsed() < AWAY_AT_MOST => {
                tracing::warn!(flush.id = flush.id, error.cause = %fault, "the verifying scan begins anew");
            }
            Err(fault) => {
                log_fault(flush, &fault);
                return Seen::default();
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn log_fault(flush: &Flush, fault: &Fault) {
    tracing::warn!(flush.id = flush.id, error.cause = %fault, "the verifying scan could not be finished");
}
