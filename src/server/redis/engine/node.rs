//! One master's part of a removal.
//!
//! `UNLINK` (or `PEXPIRE`) what the last page found while the next page is already asked for: Redis scans while this side looks at keys, and this side waits
//! for nothing but Redis. At most one page and one batch are under way. What a page returns is only a proposal; the scope's own byte matcher
//! decides. Before every batch the gate is asked, which knows of the credit, the lease, the cap and a cancel.

use super::route::Routes;
use super::{Gate, Run, Stop};
use crate::domain::flush::{Permit, Stepper};
use crate::server::redis::connect::{Fault, Link, Node};
use crate::server::redis::keys::Seen;
use crate::server::redis::scan::{Page, pack_scan};
use redis::Value;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Keys of one step, however many a page has returned.
pub(super) const KEYS_PER_STEP: usize = 1_500;
/// Steps between two measurements of the round trip.
const PING_EVERY: u32 = 256;

/// How a master's part of a pass ended.
pub(super) enum Ending {
    Complete,
    /// Other processes hold the keys now.
    Moved,
    Stopped(Stop),
    Fault(Fault),
}

/// One master's part of one pass.
pub(super) struct NodeRun<'a, G> {
    run: &'a Run<'a, G>,
    /// Its place among the nodes of the books.
    at: usize,
    node: Node,
    run_id: String,
    /// Keys met: SCAN may return one more than once.
    seen: Seen,
    keys_per_command: usize,
    routes: Routes,
}

/// What is under way, in the order of its replies.
enum UnderWay {
    Page { sent: Instant, count: u32 },
    Batch(Vec<Vec<u8>>),
}

impl<'a, G: Gate> NodeRun<'a, G> {
    pub(super) fn new(run: &'a Run<'a, G>, at: usize, node: Node, run_id: String) -> Self {
        let keys_per_command = run.work.deed.keys_per_command(run.work.endpoint.is_cluster());
        Self { run, at, routes: Routes::new(node.clone()), node, run_id, seen: Seen::default(), keys_per_command }
    }

    /// Scans until the scan came round, beginning anew where the connection is lost.
    pub(super) fn run(mut self, permit: &Permit, link: Link, fingerprint: &str) -> Ending {
        let ending = self.keep_at_it(permit, link, fingerprint);
        let complete = matches!(ending, Ending::Complete);
        self.run.note(0, |books| books.nodes[self.at].complete = complete);
        ending
    }

    fn keep_at_it(&mut self, permit: &Permit, link: Link, fingerprint: &str) -> Ending {
        let mut link = Some(link);
        let (mut away_since, mut heard) = (None::<Instant>, 0);
        loop {
            let open = link.take().map_or_else(|| self.reopen(), |link| Ok(Some(link)));
            let fault = match open {
                Ok(None) => return Ending::Moved,
                Ok(Some(mut link)) => match self.scan(&mut link) {
                    Ok(None) => return Ending::Complete,
                    Ok(Some(stop)) => return Ending::Stopped(stop),
                    Err(fault) => fault,
                },
                Err(fault) => fault,
            };
            let scanned = self.run.books().nodes[self.at].scanned;
            if scanned > heard {
                (heard, away_since) = (scanned, None);
            }
            if !fault.may_pass() || away_since.get_or_insert_with(Instant::now).elapsed() >= self.run.patience() {
                return Ending::Fault(fault);
            }
            if let Err(stop) = self.run.pause(permit, &fault) {
                return Ending::Stopped(stop);
            }
            // Has another server taken over meanwhile?
            if self.run.work.endpoint.fails_over() && self.run.work.endpoint.resolve().is_ok_and(|now| now.fingerprint != fingerprint) {
                return Ending::Moved;
            }
        }
    }

    /// A new connection to the same process; `None`: it is another one now.
    fn reopen(&mut self) -> Result<Option<Link>, Fault> {
        let mut link = Link::open(&self.node)?;
        let is = link.about(self.run.work.endpoint.db())?.run_id;
        Ok((is == self.run_id).then_some(link))
    }

    /// One scan from cursor 0.
    fn scan(&mut self, link: &mut Link) -> Result<Option<Stop>, Fault> {
        let mut waiting = VecDeque::new();
        let mut under_way = VecDeque::with_capacity(2);
        let ended = self.steps(link, &mut waiting, &mut under_way);
        // Whatever ended it: what still waits was not sent; of what is under way the answers count, as far as they come.
        self.give_back(&waiting);
        let mut lost = ended.as_ref().is_err_and(is_lost);
        for what in under_way {
            match what {
                UnderWay::Page { .. } => lost = lost || link.receive().is_err(),
                UnderWay::Batch(keys) if lost => self.lose(&keys),
                UnderWay::Batch(keys) => lost = self.receive_batch(link, &keys).is_err_and(|fault| is_lost(&fault)),
            }
        }
        ended
    }

    fn steps(
        &mut self,
        link: &mut Link,
        waiting: &mut VecDeque<Vec<u8>>,
        under_way: &mut VecDeque<UnderWay>,
    ) -> Result<Option<Stop>, Fault> {
        let scope = self.run.work.scope;
        let pattern = scope.match_pattern();
        let mut stepper = Stepper::new(self.run.work.pace);
        let (mut cursor, mut scanned, mut steps, mut packed) = (0, false, 0_u32, Vec::new());
        let mut found: Vec<Vec<u8>> = Vec::new();
        // What the reply of the page under way waited here for, not there.
        let mut held = Duration::ZERO;
        loop {
            let asked = under_way.iter().any(|what| matches!(what, UnderWay::Page { .. }));
            // No further page while the last one is not dealt with: what is held stays small, whatever Redis returns.
            if !scanned && !asked && waiting.len() < KEYS_PER_STEP {
                if let Err(stop) = self.run.gate.admit(0) {
                    return Ok(Some(stop));
                }
                packed.clear();
                pack_scan(&mut packed, cursor, pattern.as_bytes(), stepper.count());
                link.send(&packed)?;
                held = Duration::ZERO;
                under_way.push_back(UnderWay::Page { sent: Instant::now(), count: stepper.count() });
            }
            for key in found.drain(..) {
                if scope.contains(&key) && self.seen.insert(&key) {
                    waiting.push_back(key);
                }
            }
            let sending = under_way.iter().any(|what| matches!(what, UnderWay::Batch(_)));
            if !sending && !waiting.is_empty() {
                let begun = Instant::now();
                let wanted = waiting.len().min(KEYS_PER_STEP);
                let admitted = match self.run.gate.admit(wanted as u64) {
                    Ok(admitted) => usize::try_from(admitted).unwrap_or(wanted).min(wanted),
                    Err(stop) => return Ok(Some(stop)),
                };
                held += begun.elapsed();
                let batch: Vec<Vec<u8>> = waiting.drain(..admitted).collect();
                packed.clear();
                for keys in batch.chunks(self.keys_per_command) {
                    self.run.work.deed.pack(&mut packed, keys);
                }
                under_way.push_back(UnderWay::Batch(batch));
                link.send(&packed)?;
            }
            match under_way.front() {
                None => return Ok(None),
                Some(UnderWay::Batch(_)) => {
                    let Some(UnderWay::Batch(keys)) = under_way.pop_front() else { return Err(Fault::Garbled) };
                    self.receive_batch(link, &keys)?;
                }
                Some(&UnderWay::Page { sent, count }) => {
                    let page = Page::parse(link.receive()?);
                    under_way.pop_front();
                    let page = page?;
                    let took = sent.elapsed().saturating_sub(link.round_trip());
                    // A reply that lay here while the record was waited for says nothing about Redis.
                    if held < took / 8 {
                        stepper.took(took);
                    }
                    cursor = page.next;
                    scanned = cursor == 0;
                    found = page.keys;
                    let at = self.at;
                    self.run.note(0, |books| {
                        books.scanned += u64::from(count);
                        books.nodes[at].scanned += u64::from(count);
                        (books.count, books.step) = (count, took);
                    });
                    steps += 1;
                    std::thread::sleep(self.run.work.pace.rest(took, self.run.gate.halved()));
                    if steps.is_multiple_of(PING_EVERY) && under_way.is_empty() {
                        link.ping()?;
                    }
                }
            }
        }
    }

    /// The replies of one batch. Whatever is answered is counted, also where the connection is lost midway.
    fn receive_batch(&mut self, link: &mut Link, batch: &[Vec<u8>]) -> Result<(), Fault> {
        let (mut removed, mut gone, mut failed, mut unknown) = (0, 0, Vec::new(), Vec::new());
        let (mut dealt_with, mut not_ready) = (0, None);
        let mut lost = None;
        for keys in batch.chunks(self.keys_per_command) {
            let value = match link.receive() {
                Ok(value) => value,
                Err(fault) => {
                    lost = Some(fault);
                    break;
                }
            };
            dealt_with += keys.len();
            let value = match value {
                Value::ServerError(error) => match Link::refusal(&error) {
                    Fault::Moved(redirect) => {
                        let mut command = Vec::new();
                        self.run.work.deed.pack(&mut command, keys);
                        self.routes.follow(redirect, &command)
                    }
                    fault @ Fault::NotReady(_) => Err(fault),
                    _ => {
                        failed.push((error.code().to_ascii_lowercase(), keys.len() as u64));
                        continue;
                    }
                },
                value => Ok(value),
            };
            match value {
                Ok(Value::Int(count)) => {
                    let count = u64::try_from(count).unwrap_or(0).min(keys.len() as u64);
                    removed += count;
                    gone += keys.len() as u64 - count;
                }
                Ok(_) => {
                    lost = Some(Fault::Garbled);
                    dealt_with -= keys.len();
                    break;
                }
                // Sent to another master, whose answer was lost.
                Err(fault @ Fault::Unreachable(_)) => {
                    unknown.extend_from_slice(keys);
                    not_ready.get_or_insert(fault);
                }
                // Not carried out, and may pass: these keys are met again in the next scan.
                Err(fault) if fault.may_pass() => {
                    self.give_back(keys);
                    not_ready.get_or_insert(fault);
                }
                Err(fault) => failed.push((fault.code().to_owned(), keys.len() as u64)),
            }
        }
        let mut unanswered = self.run.unanswered();
        if !unanswered.is_empty() {
            for key in &batch[..dealt_with] {
                unanswered.remove(key);
            }
        }
        drop(unanswered);
        unknown.extend_from_slice(&batch[dealt_with..]);
        self.lose(&unknown);
        let (at, gone) = (self.at, self.run.gone_otherwise(gone));
        self.run.note((batch.len() - unknown.len()) as u64, |books| {
            books.removed += removed;
            books.gone += gone;
            books.nodes[at].removed += removed;
            for (class, keys) in failed {
                books.failed += keys;
                *books.failed_by_class.entry(class).or_default() += keys;
            }
        });
        match (lost, not_ready) {
            (Some(fault), _) | (None, Some(fault)) => Err(fault),
            (None, None) => Ok(()),
        }
    }

    /// Not dealt with: to be taken when it is met again.
    fn give_back<'k>(&mut self, keys: impl IntoIterator<Item = &'k Vec<u8>>) {
        for key in keys {
            self.seen.remove(key);
        }
    }

    /// Sent, and nobody knows what became of it.
    fn lose(&mut self, keys: &[Vec<u8>]) {
        self.give_back(keys);
        let mut unanswered = self.run.unanswered();
        for key in keys {
            unanswered.insert(key);
        }
        drop(unanswered);
        self.run.note(0, |books| books.lost += keys.len() as u64);
    }
}

/// Whether nothing more comes over the connection, or nobody knows what.
fn is_lost(fault: &Fault) -> bool {
    !matches!(fault, Fault::NotReady(_) | Fault::Moved(_))
}
