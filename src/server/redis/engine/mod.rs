//! Removing the keys of a scope, or having them expire: the only code that does so.
//!
//! A pass scans every master, all at a time, each on a connection and a thread of its own (node.rs). It counts as complete only where the same
//! processes held the same share of the keys before and after it; else another pass follows.

mod bump;
mod deed;
mod node;
mod route;
#[cfg(test)]
mod tests;

use super::bystander::{Bystanders, beside};
use super::connect::Fault;
use super::endpoint::Endpoint;
use super::keys::Seen;
use crate::domain::flush::{Pace, Permit};
use crate::domain::prefix::Scope;
pub use bump::bump;
pub use deed::Deed;
use node::{Ending, NodeRun};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a Redis that is away is tried again, one that another server may stand in for, and how long to wait between tries.
const AWAY_AT_MOST: Duration = Duration::from_secs(15);
const FAILOVER_AT_MOST: Duration = Duration::from_secs(90);
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(250);
/// Passes at most: after that many the outcome is called unproven.
const PASSES: u32 = 3;

/// Why nothing more is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    Cancelled,
    /// The lease is over or belongs to somebody else.
    LeaseLost,
    /// The flush has sent as many keys as it may.
    Cap,
    /// The record could not be written until the lease was over.
    RecordLost,
    /// Others suffered for too long.
    Braked,
    /// This process ends.
    ShuttingDown,
}

/// What is asked before, and told after, each batch, by the threads of all masters.
pub trait Gate: Sync {
    /// How many of `wanted` keys may be sent now; waits while none may. Asked with 0 where a step only scans.
    fn admit(&self, wanted: u64) -> Result<u64, Stop>;
    /// What has been answered so far, in all; `keys` is how many keys that is more than the last time.
    fn answered(&self, keys: u64, so_far: &Answers);
    /// How often the pace is halved at present.
    fn halved(&self) -> u32 {
        0
    }
}

/// The engine's counts, true at any moment for what has been answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Removed, or given an expiry.
    pub removed: u64,
    /// Found by the scan, not there any more when it was its turn; or expiring sooner anyway.
    pub gone: u64,
    pub failed: u64,
    /// Keys sent whose answer was lost with the connection, in all: never answered for.
    pub lost: u64,
    pub failed_by_class: BTreeMap<String, u64>,
    /// Keys that the scans have passed, about: the sum of COUNT.
    pub scanned: u64,
    /// COUNT and server time of the latest step, of whichever master.
    pub count: u32,
    pub step: Duration,
    /// By master, in the order of their addresses, of the pass at work.
    pub nodes: Vec<NodeAnswers>,
}

/// What one master has answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeAnswers {
    pub address: String,
    pub scanned: u64,
    pub removed: u64,
    /// Its scan has come round in this pass.
    pub complete: bool,
}

/// How a removal ended.
#[derive(Clone, Debug)]
pub enum End {
    /// A complete pass.
    Complete,
    Stopped(Stop),
    Fault(Fault),
}

#[derive(Clone, Debug)]
pub struct Report {
    pub answers: Answers,
    pub end: End,
    /// Who held the keys during the last pass, as [`super::Identity::run_id`] says it.
    pub run_id: String,
    /// The last pass was complete on the same processes throughout, and no slot was on its way: it met every key that was there throughout.
    pub steady: bool,
    /// What a generation was raised to.
    pub generation: Option<i64>,
}

/// What is to be done to which keys, where and how fast.
pub struct Work<'a> {
    pub endpoint: &'a Endpoint,
    pub scope: &'a Scope,
    pub deed: Deed,
    pub pace: Pace,
    /// Who feels it meanwhile.
    pub bystanders: Option<&'a Bystanders>,
}

/// Does the work to all of the scope's keys. Blocks; belongs on a thread of its own.
pub fn remove(permit: &Permit, work: &Work<'_>, gate: &impl Gate) -> Report {
    let run = Run { work, gate, books: Mutex::default(), unanswered: Mutex::default(), again: Mutex::default() };
    tracing::info!(flush.id = permit.flush_id(), flush.epoch = permit.lease_epoch(), redis.at = ?work.endpoint, "removal begins");
    let (mut run_id, mut steady, mut passes) = (String::new(), false, 0);
    let end = loop {
        passes += 1;
        match run.pass(permit, &mut run_id) {
            Ok(Pass::Steady) => {
                steady = true;
                break End::Complete;
            }
            // What a pass over moving masters has seen proves nothing; what was removed on one that was replaced may have come back.
            Ok(Pass::Moved) if passes < PASSES => {
                tracing::warn!(flush.id = permit.flush_id(), passes, "the masters changed during the pass: another one follows");
            }
            Ok(Pass::Moved) => break End::Complete,
            Err(end) => break end,
        }
    };
    run.settle(&end);
    let answers = run.books().clone();
    Report { answers, end, run_id, steady, generation: None }
}

/// What all threads of a removal share.
struct Run<'a, G> {
    work: &'a Work<'a>,
    gate: &'a G,
    books: Mutex<Answers>,
    /// Keys sent whose answer was lost with the connection.
    unanswered: Mutex<Seen>,
    /// Keys that this pass may still meet again (see [`Deed::met_before`]): those that expire sooner anyway do so because of this flush.
    again: Mutex<u64>,
}

/// How a pass went that nothing stopped.
enum Pass {
    Steady,
    Moved,
}

impl<G: Gate> Run<'_, G> {
    fn books(&self) -> MutexGuard<'_, Answers> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unanswered(&self) -> MutexGuard<'_, Seen> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of these keys, which expire sooner anyway, do so for another reason than this flush.
    fn gone_otherwise(&self, keys: u64) -> u64 {
        let mut again = self.again.lock().unwrap_or_else(PoisonError::into_inner);
        let met = keys.min(*again);
        *again -= met;
        keys - met
    }

    /// Notes what a step was answered and tells the gate.
    fn note(&self, keys: u64, change: impl FnOnce(&mut Answers)) {
        let mut books = self.books();
        change(&mut books);
        self.gate.answered(keys, &books);
    }

    /// One pass over every master, each from cursor 0: SCAN cursors do not survive a change of servers, and what one has let go another may
    /// hold again, so nothing counts as dealt with that an earlier pass has met.
    fn pass(&self, permit: &Permit, run_id: &mut String) -> Result<Pass, End> {
        let before = self.patiently(permit, || self.work.endpoint.resolve())?;
        run_id.clone_from(&before.fingerprint);
        let fingerprint = before.fingerprint.as_str();
        let mut masters = before.masters;
        masters.sort_by_key(|master| master.node.address());
        let mut books = self.books();
        *self.again.lock().unwrap_or_else(PoisonError::into_inner) = self.work.deed.met_before(books.removed + books.gone);
        books.nodes = masters.iter().map(|master| NodeAnswers { address: master.node.address(), ..NodeAnswers::default() }).collect();
        drop(books);
        let nodes: Vec<_> = masters.iter().map(|master| master.node.clone()).collect();
        let endings: Vec<Ending> = beside(self.work.bystanders, &nodes, || {
            std::thread::scope(|threads| {
                let threads: Vec<_> = masters
                    .into_iter()
                    .enumerate()
                    .map(|(at, master)| {
                        let work = NodeRun::new(self, at, master.node, master.run_id);
                        threads.spawn(move || work.run(permit, master.link, fingerprint))
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap_or(Ending::Fault(Fault::Garbled))).collect()
            })
        });
        let mut moved = false;
        let mut worst = None;
        for ending in endings {
            match ending {
                Ending::Complete => {}
                Ending::Moved => moved = true,
                Ending::Stopped(stop) => worst = Some(End::Stopped(stop)),
                Ending::Fault(fault) => worst = worst.or(Some(End::Fault(fault))),
            }
        }
        if let Some(end) = worst {
            return Err(end);
        }
        let after = self.patiently(permit, || self.work.endpoint.resolve())?;
        let steady = !moved && after.fingerprint == fingerprint && before.settled && after.settled;
        Ok(if steady { Pass::Steady } else { Pass::Moved })
    }

    /// Tries again what Redis did not answer but may answer soon.
    fn patiently<T>(&self, permit: &Permit, mut what: impl FnMut() -> Result<T, Fault>) -> Result<T, End> {
        let begun = Instant::now();
        loop {
            match what() {
                Ok(done) => return Ok(done),
                Err(fault) if fault.may_pass() && begun.elapsed() < self.patience() => self.pause(permit, &fault).map_err(End::Stopped)?,
                Err(fault) => return Err(End::Fault(fault)),
            }
        }
    }

    fn patience(&self) -> Duration {
        if self.work.endpoint.fails_over() { FAILOVER_AT_MOST } else { AWAY_AT_MOST }
    }

    /// Connecting again is asked for too: a cancelled flush does not come back.
    fn pause(&self, permit: &Permit, fault: &Fault) -> Result<(), Stop> {
        tracing::warn!(flush.id = permit.flush_id(), error.cause = %fault, "removal was interrupted by Redis");
        std::thread::sleep(TRY_AGAIN_AFTER);
        self.gate.admit(0).map(drop)
    }

    /// Keys whose answer was lost: after a complete pass they are known to be gone; else nobody knows.
    fn settle(&self, end: &End) {
        let lost = self.unanswered().len();
        if lost == 0 {
            return;
        }
        self.note(0, |books| {
            if matches!(end, End::Complete) {
                books.gone += lost;
            } else {
                books.failed += lost;
                books.failed_by_class.insert("unanswered".to_owned(), lost);
            }
        });
    }
}
