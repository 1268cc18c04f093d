//! Removing the keys of a scope: the only code that removes anything.
//!
//! One loop: `UNLINK` what the last page found, in one pipeline with the next `SCAN`. What a page returns is only a proposal; the scope's own
//! byte matcher decides. Before every batch the gate is asked, which knows of the credit, the lease, the cap and a cancel.

#[cfg(test)]
mod tests;

use super::connect::{Endpoint, Fault, Link};
use super::keys::Seen;
use super::scan::{Page, pack_scan};
use crate::domain::flush::{Pace, Permit, Stepper};
use crate::domain::prefix::Scope;
use redis::{Value, cmd};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Keys of one `UNLINK`: 100 small ones take Redis 80 µs, 100 large hashes well under a millisecond.
const KEYS_PER_COMMAND: usize = 100;
/// Keys of one step, however many a page has returned.
const KEYS_PER_STEP: usize = 1_500;
/// Steps between two measurements of the round trip.
const PING_EVERY: u32 = 256;
/// How long a Redis that is away is tried again, and how long to wait between tries.
const AWAY_AT_MOST: Duration = Duration::from_secs(15);
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(250);
/// Passes begun because the server turned out to be another one.
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
    /// This process ends.
    ShuttingDown,
}

/// What is asked before, and told after, each batch.
pub trait Gate {
    /// How many of `wanted` keys may be sent now; waits while none may. Asked with 0 where a step only scans.
    fn admit(&mut self, wanted: u64) -> Result<u64, Stop>;
    /// What has been answered so far, in all; `keys` is how many keys that is more than the last time.
    fn answered(&mut self, keys: u64, so_far: &Answers);
}

/// The engine's counts, true at any moment for what has been answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    pub removed: u64,
    /// Found by the scan, not there any more when it was its turn.
    pub gone: u64,
    pub failed: u64,
    pub failed_by_class: BTreeMap<String, u64>,
    /// Pages read.
    pub pages: u64,
    /// COUNT and server time of the latest step.
    pub count: u32,
    pub step: Duration,
}

/// How a removal ended.
#[derive(Clone, Debug)]
pub enum End {
    /// A complete pass, on one server throughout.
    Complete,
    Stopped(Stop),
    Fault(Fault),
}

#[derive(Clone, Debug)]
pub struct Report {
    pub answers: Answers,
    pub end: End,
    /// The run id of the server on which the last pass began.
    pub run_id: String,
}

/// What is to be removed, where and how fast.
pub struct Work<'a> {
    pub endpoint: &'a Endpoint,
    pub scope: &'a Scope,
    pub pace: Pace,
}

/// Removes the scope's keys. Blocks; belongs on a thread of its own.
pub fn remove(permit: &Permit, work: &Work<'_>, gate: &mut impl Gate) -> Report {
    let mut run =
        Run { scope: work.scope, pace: work.pace, seen: Seen::default(), unanswered: Seen::default(), answers: Answers::default() };
    let (mut run_id, mut passes) = (String::new(), 0);
    let mut away_since = None::<Instant>;
    tracing::info!(flush.id = permit.flush_id(), flush.epoch = permit.lease_epoch(), redis.at = ?work.endpoint, "removal begins");
    let end = loop {
        let before = run.answers.pages;
        let outcome = Link::open(work.endpoint).and_then(|mut link| {
            let begun_on = link.run_id()?;
            let ended = run.pass(&mut link, gate)?;
            Ok((begun_on, ended, link.run_id()))
        });
        if run.answers.pages > before {
            away_since = None;
        }
        let fault = match outcome {
            Ok((id, Some(stop), _)) => {
                run_id = id;
                break End::Stopped(stop);
            }
            Ok((id, None, Ok(now))) if id == now => {
                run_id = id;
                break End::Complete;
            }
            // another server at the end than at the beginning: what the pass has seen proves nothing
            Ok((id, None, Ok(_))) => {
                run_id = id;
                passes += 1;
                if passes >= PASSES {
                    break End::Fault(Fault::NotReady("it was replaced during each pass".to_owned()));
                }
                continue;
            }
            Ok((_, None, Err(fault))) | Err(fault) => fault,
        };
        tracing::warn!(flush.id = permit.flush_id(), error.cause = %fault, "removal was interrupted by Redis");
        if !fault.may_pass() || away_since.get_or_insert_with(Instant::now).elapsed() >= AWAY_AT_MOST {
            break End::Fault(fault);
        }
        std::thread::sleep(TRY_AGAIN_AFTER);
        // Connecting again is asked for too: a cancelled flush does not come back.
        if let Err(stop) = gate.admit(0) {
            break End::Stopped(stop);
        }
    };
    run.settle(&end, gate);
    Report { answers: run.answers, end, run_id }
}

struct Run<'a> {
    scope: &'a Scope,
    pace: Pace,
    seen: Seen,
    /// Sent, but the connection was lost before the answer.
    unanswered: Seen,
    answers: Answers,
}

impl Run<'_> {
    /// One pass over the keyspace, from cursor 0: SCAN cursors do not survive a change of servers.
    fn pass(&mut self, link: &mut Link, gate: &mut impl Gate) -> Result<Option<Stop>, Fault> {
        let pattern = self.scope.match_pattern();
        let mut stepper = Stepper::new(self.pace);
        let mut waiting: VecDeque<Vec<u8>> = VecDeque::new();
        let (mut cursor, mut scanned, mut steps, mut packed) = (0, false, 0_u32, Vec::new());
        while !(scanned && waiting.is_empty()) {
            let wanted = waiting.len().min(KEYS_PER_STEP);
            let admitted = match gate.admit(wanted as u64) {
                Ok(admitted) => usize::try_from(admitted).unwrap_or(wanted).min(wanted),
                Err(stop) => {
                    for key in &waiting {
                        self.seen.remove(key);
                    }
                    return Ok(Some(stop));
                }
            };
            let batch: Vec<Vec<u8>> = waiting.drain(..admitted).collect();
            // No further page while the last one is not dealt with: what is held stays small, whatever Redis returns.
            let scan = !scanned && waiting.len() < KEYS_PER_STEP;
            packed.clear();
            for keys in batch.chunks(KEYS_PER_COMMAND) {
                cmd("UNLINK").arg(keys).write_packed_command(&mut packed);
            }
            if scan {
                pack_scan(&mut packed, cursor, pattern.as_bytes(), stepper.count());
            }
            let sent = Instant::now();
            let page = self.step(link, &packed, &batch, scan, gate)?;
            let took = sent.elapsed().saturating_sub(link.round_trip());
            self.answers.step = took;
            if let Some(page) = page {
                self.answers.count = stepper.count();
                stepper.took(took);
                cursor = page.next;
                scanned = cursor == 0;
                for key in page.keys {
                    if self.scope.contains(&key) && self.seen.insert(&key) {
                        waiting.push_back(key);
                    }
                }
            }
            std::thread::sleep(self.pace.rest(took));
            steps += 1;
            if steps.is_multiple_of(PING_EVERY) {
                link.ping()?;
            }
        }
        Ok(None)
    }

    /// One pipeline: the batch's UNLINKs, then perhaps a SCAN. Whatever is answered is counted, also where the connection is lost midway.
    fn step(&mut self, link: &mut Link, packed: &[u8], batch: &[Vec<u8>], scan: bool, gate: &mut impl Gate) -> Result<Option<Page>, Fault> {
        let mut chunks = batch.chunks(KEYS_PER_COMMAND);
        let (mut page, mut dealt_with, mut not_ready) = (None, 0, None);
        let replies = batch.len().div_ceil(KEYS_PER_COMMAND) + usize::from(scan);
        let exchanged = link.exchange(packed, replies, |_, value| {
            let Some(keys) = chunks.next() else {
                page = Some(Page::parse(value)?);
                return Ok(());
            };
            dealt_with += keys.len();
            match value {
                Value::Int(removed) => {
                    let removed = u64::try_from(removed).unwrap_or(0).min(keys.len() as u64);
                    self.answers.removed += removed;
                    self.answers.gone += keys.len() as u64 - removed;
                }
                Value::ServerError(error) => {
                    let fault = Link::refusal(error.code());
                    if matches!(fault, Fault::NotReady(_)) {
                        // Not carried out, and may pass: these keys are met again in the next pass.
                        for key in keys {
                            self.seen.remove(key);
                        }
                        not_ready.get_or_insert(fault);
                    } else {
                        self.answers.failed += keys.len() as u64;
                        *self.answers.failed_by_class.entry(error.code().to_ascii_lowercase()).or_default() += keys.len() as u64;
                    }
                }
                _ => return Err(Fault::Garbled),
            }
            Ok(())
        });
        for key in &batch[dealt_with..] {
            self.seen.remove(key);
            self.unanswered.insert(key);
        }
        if !self.unanswered.is_empty() {
            for key in &batch[..dealt_with] {
                self.unanswered.remove(key);
            }
        }
        self.answers.pages += u64::from(page.is_some());
        gate.answered(dealt_with as u64, &self.answers);
        exchanged?;
        not_ready.map_or(Ok(page), Err)
    }

    /// Keys whose answer was lost: after a complete pass they are known to be gone; else nobody knows.
    fn settle(&mut self, end: &End, gate: &mut impl Gate) {
        let lost = self.unanswered.len();
        if lost == 0 {
            return;
        }
        if matches!(end, End::Complete) {
            self.answers.gone += lost;
        } else {
            self.answers.failed += lost;
            self.answers.failed_by_class.insert("unanswered".to_owned(), lost);
        }
        gate.answered(0, &self.answers);
    }
}
