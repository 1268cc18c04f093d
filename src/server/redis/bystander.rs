//! What others feel while Redis is worked on: a PING every 20 ms on a connection of its own, to each master at work. PINGs are due on time
//! whether or not the last one is answered, so that a stall of T shows as T.

use super::connect::{Fault, Link, Node};
use crate::domain::flush::{FELT_OVER, Felt, PING_EVERY, felt_at};
use redis::cmd;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A connection that was refused is tried again after this.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// The bystanders of one piece of work.
#[derive(Debug)]
pub struct Bystanders {
    begun: Instant,
    /// By address.
    nodes: Mutex<BTreeMap<String, Watched>>,
}

#[derive(Debug, Default)]
struct Watched {
    felt: Felt,
    answered: u64,
    /// Why nothing is felt there.
    fault: Option<Fault>,
}

/// What was felt in the last two seconds on the master where it was worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorstFelt {
    pub p50: Duration,
    pub p99: Duration,
}

impl Default for Bystanders {
    fn default() -> Self {
        Self { begun: Instant::now(), nodes: Mutex::default() }
    }
}

impl Bystanders {
    fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, Watched>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// PINGs until `done`; whoever sets that unparks this thread.
    pub(super) fn watch(&self, node: &Node, done: &AtomicBool) {
        let address = node.address();
        let mut link = None;
        let mut due = self.begun.elapsed();
        while !done.load(Ordering::Acquire) {
            let now = self.begun.elapsed();
            if now < due {
                std::thread::park_timeout(due.saturating_sub(now));
                continue;
            }
            let asked = match link.take().map_or_else(|| Link::open(node), Ok) {
                Ok(mut open) => {
                    self.nodes().entry(address.clone()).or_default().felt.sent(due);
                    open.ask(&cmd("PING")).map(|_| open)
                }
                Err(fault) => Err(fault),
            };
            let now = self.begun.elapsed();
            let mut nodes = self.nodes();
            let watched = nodes.entry(address.clone()).or_default();
            match asked {
                Ok(open) => {
                    watched.felt.answered(now);
                    watched.answered += 1;
                    watched.fault = None;
                    link = Some(open);
                    due = (due + PING_EVERY).max(now);
                }
                Err(fault) => {
                    // Nobody knows what others feel of a server that cannot be reached; the work itself finds that out.
                    watched.felt = Felt::default();
                    watched.fault = Some(fault);
                    due = now + TRY_AGAIN_AFTER;
                }
            }
        }
    }

    /// What is felt now, where it is worst; None: nothing is known.
    pub fn worst(&self) -> Option<WorstFelt> {
        let now = self.begun.elapsed();
        let nodes = self.nodes();
        let felt = nodes.values().filter_map(|watched| {
            let mut felt = watched.felt.lately(now, FELT_OVER);
            Some(WorstFelt { p99: felt_at(&mut felt, 99)?, p50: felt_at(&mut felt, 50)? })
        });
        felt.max_by_key(|felt| felt.p99)
    }

    /// The median of all that was felt in the last five seconds, on all masters.
    pub fn median(&self) -> Option<Duration> {
        let now = self.begun.elapsed();
        let mut felt: Vec<Duration> = self.nodes().values().flat_map(|watched| watched.felt.lately(now, Duration::from_secs(5))).collect();
        felt_at(&mut felt, 50)
    }

    /// The fewest answers that any master gave; one that cannot be watched does not count.
    pub(super) fn least_answered(&self) -> Option<u64> {
        self.nodes().values().filter(|watched| watched.fault.is_none()).map(|watched| watched.answered).min()
    }

    /// Where nothing is felt, and why.
    pub fn blind(&self) -> Option<String> {
        self.nodes().iter().find_map(|(address, watched)| watched.fault.as_ref().map(|fault| format!("{address}: {fault}")))
    }
}

/// Runs `work` with a bystander at each of these masters.
pub(super) fn beside<T>(bystanders: Option<&Bystanders>, nodes: &[Node], work: impl FnOnce() -> T) -> T {
    let Some(bystanders) = bystanders else { return work() };
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let watches: Vec<_> = nodes.iter().map(|node| threads.spawn(|| bystanders.watch(node, &done))).collect();
        let result = work();
        done.store(true, Ordering::Release);
        for watch in &watches {
            watch.thread().unpark();
        }
        result
    })
}
