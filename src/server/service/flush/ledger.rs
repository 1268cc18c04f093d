//! What the engine's thread and the recorder share: the credit, the counts, the lease's deadline, and the word to stop. The engine asks here
//! before each batch and waits here while it may send nothing.

use super::brake::{Watch, WatchNode};
use super::failpoint::failpoint;
use crate::domain::audit::Actor;
use crate::domain::flush::{Credit, Grant};
use crate::server::redis::{Answers, Gate, Stop};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How often a row carries what pages show.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// How long the engine waits before it looks again by itself.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// One run's books.
pub(super) struct Ledger {
    books: Mutex<Books>,
    /// More may be sent, or nothing ever again.
    changed: Condvar,
    /// A row is due.
    due: Notify,
    begun: Instant,
    /// How often the pace is halved.
    halved: AtomicU32,
}

struct Books {
    credit: Credit,
    answers: Answers,
    /// The most keys to be removed (or brought forward) in this run.
    cap: u64,
    /// After this instant nothing is sent: the lease may be somebody else's.
    deadline: Instant,
    stop: Option<Stop>,
    cancelled_by: Option<(String, Option<Actor>)>,
    /// Why the brake stopped it.
    braked: Option<String>,
    watch: Watch,
    /// When what pages show was last given to a row.
    watch_written: Option<Instant>,
    /// The latest speed: when, and keys answered by then.
    speed: (Instant, u64, f64),
}

impl Books {
    /// What of the cap is left: a key that was gone by itself takes nothing of it, one that failed does, and so does one whose answer is not
    /// known (yet).
    fn left(&self) -> u64 {
        self.cap.saturating_sub(self.answers.removed + self.answers.failed + self.credit.open())
    }

    /// Whether answers are under way that may leave more of the cap.
    fn awaits_answers(&self) -> bool {
        self.credit.open() > self.answers.lost
    }
}

/// A row to be written, with what is answered at that moment.
pub(super) struct Due {
    pub grant: Grant,
    pub answers: Answers,
}

impl Ledger {
    pub(super) fn new(cap: u64, deadline: Instant) -> Arc<Self> {
        let now = Instant::now();
        let books = Books {
            credit: Credit::default(),
            answers: Answers::default(),
            cap,
            deadline,
            stop: None,
            cancelled_by: None,
            braked: None,
            watch: Watch::default(),
            watch_written: None,
            speed: (now, 0, 0.0),
        };
        Arc::new(Self { books: Mutex::new(books), changed: Condvar::new(), due: Notify::new(), begun: now, halved: AtomicU32::new(0) })
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing more is sent after the batch in flight. The first word counts.
    pub(super) fn stop(&self, why: Stop) {
        self.books().stop.get_or_insert(why);
        self.changed.notify_all();
        self.due.notify_one();
    }

    pub(super) fn cancel(&self, by: &str, actor: Option<Actor>) {
        self.books().cancelled_by.get_or_insert_with(|| (by.to_owned(), actor));
        self.stop(Stop::Cancelled);
    }

    /// Who wants it cancelled, and as what, where that is known.
    pub(super) fn cancelled_by(&self) -> Option<(String, Option<Actor>)> {
        self.books().cancelled_by.clone()
    }

    /// Others suffered for too long: nothing more goes.
    pub(super) fn brake(&self, why: String) {
        self.books().braked.get_or_insert(why);
        self.stop(Stop::Braked);
    }

    pub(super) fn braked(&self) -> Option<String> {
        self.books().braked.clone()
    }

    pub(super) fn slow_down(&self, halved: u32) {
        self.halved.store(halved, Ordering::Relaxed);
    }

    /// What the brake sees, for pages.
    pub(super) fn watched(&self, watch: &Watch) {
        self.books().watch.clone_from(watch);
    }

    /// The same with the masters' counts.
    pub(super) fn watch(&self) -> Watch {
        let books = self.books();
        let nodes = books.answers.nodes.iter().map(|node| WatchNode {
            address: node.address.clone(),
            scanned: node.scanned,
            removed: node.removed,
            complete: node.complete,
        });
        Watch { nodes: nodes.collect(), ..books.watch.clone() }
    }

    /// The same as JSON, for a row, where a second has passed since the last time.
    pub(super) fn watch_to_write(&self) -> Option<String> {
        {
            let mut books = self.books();
            if books.watch_written.is_some_and(|at| at.elapsed() < WRITE_EVERY) {
                return None;
            }
            books.watch_written = Some(Instant::now());
        }
        serde_json::to_string(&self.watch()).ok()
    }

    pub(super) fn stopped(&self) -> Option<Stop> {
        self.books().stop
    }

    /// The lease holds until then.
    pub(super) fn prolong(&self, deadline: Instant) {
        let mut books = self.books();
        books.deadline = books.deadline.max(deadline);
    }

    /// No more keys than that are removed in this run.
    pub(super) fn limit(&self, cap: u64) {
        let mut books = self.books();
        books.cap = books.cap.min(cap);
    }

    pub(super) fn deadline(&self) -> Instant {
        self.books().deadline
    }

    pub(super) fn answers(&self) -> Answers {
        self.books().answers.clone()
    }

    /// Nothing is sent because the record cannot be written.
    pub(super) fn is_paused(&self) -> bool {
        self.books().credit.is_broken()
    }

    /// Keys answered in a second, lately.
    pub(super) fn speed(&self) -> Option<f64> {
        let speed = self.books().speed.2;
        (speed > 0.0).then_some(speed)
    }

    /// Returns when a row may be due; not later than `at_most`.
    pub(super) async fn wait(&self, at_most: Duration) {
        let _ = tokio::time::timeout(at_most, self.due.notified()).await;
    }

    /// The row to be written now, if one is due; one that failed is due again as it was.
    pub(super) fn row_due(&self) -> Option<Due> {
        let now = self.begun.elapsed();
        let mut books = self.books();
        let grant = match (books.credit.is_broken(), books.credit.retry_row()) {
            (true, Some(grant)) => grant,
            _ if books.credit.row_is_due(now) => books.credit.begin_row(now),
            _ => return None,
        };
        // What the cap forbids is never sent, so it is not granted either.
        let done = books.answers.removed + books.answers.failed;
        let granted = grant.granted.min(books.cap.saturating_sub(done));
        Some(Due { grant: Grant { granted, ..grant }, answers: books.answers.clone() })
    }

    /// Until when it makes no sense to look for a row.
    pub(super) fn next_look(&self) -> Duration {
        self.books().credit.next_look(self.begun.elapsed())
    }

    pub(super) fn row_committed(&self, deadline: Instant) {
        let mut books = self.books();
        books.credit.commit_row();
        books.deadline = books.deadline.max(deadline);
        drop(books);
        self.changed.notify_all();
    }

    pub(super) fn row_failed(&self) {
        self.books().credit.fail_row();
    }
}

/// The engine's side.
pub(super) struct LedgerGate(pub Arc<Ledger>);

impl Gate for LedgerGate {
    fn admit(&self, wanted: u64) -> Result<u64, Stop> {
        let mut books = self.0.books();
        loop {
            if let Some(stop) = books.stop {
                return Err(stop);
            }
            if Instant::now() >= books.deadline {
                let why = if books.credit.is_broken() { Stop::RecordLost } else { Stop::LeaseLost };
                return Err(*books.stop.insert(why));
            }
            if wanted == 0 && !books.credit.is_broken() {
                return Ok(0);
            }
            let left = books.left();
            if left == 0 && wanted > 0 && !books.awaits_answers() {
                return Err(*books.stop.insert(Stop::Cap));
            }
            let admitted = wanted.min(left).min(books.credit.allowance());
            if admitted > 0 {
                failpoint("keys_admitted");
                books.credit.send(admitted);
                if books.credit.row_is_due(self.0.begun.elapsed()) {
                    self.0.due.notify_one();
                }
                return Ok(admitted);
            }
            self.0.due.notify_one();
            books = self.0.changed.wait_timeout(books, LOOK_AGAIN).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn halved(&self) -> u32 {
        self.0.halved.load(Ordering::Relaxed)
    }

    fn answered(&self, keys: u64, so_far: &Answers) {
        if keys > 0 {
            failpoint("keys_answered");
        }
        let mut books = self.0.books();
        books.credit.answer(keys, self.0.begun.elapsed());
        books.answers.clone_from(so_far);
        let done = so_far.removed + so_far.gone + so_far.failed;
        let since = books.speed.0.elapsed();
        if since >= Duration::from_secs(1) {
            #[expect(clippy::cast_precision_loss, reason = "a speed for people")]
            let speed = done.saturating_sub(books.speed.1) as f64 / since.as_secs_f64();
            books.speed = (Instant::now(), done, speed);
        }
        drop(books);
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::flush::GRANT_FIRST;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    #[test]
    fn no_more_than_the_committed_credit_is_admitted() {
        let ledger = Ledger::new(1_000_000, soon());
        let gate = LedgerGate(Arc::clone(&ledger));
        assert_eq!(gate.admit(GRANT_FIRST + 5), Ok(GRANT_FIRST));
        let waiting = std::thread::spawn(move || gate.admit(1));
        std::thread::sleep(Duration::from_millis(120));
        assert!(!waiting.is_finished(), "nothing is admitted without a new row");
        // Only a row that tells of what was answered gives room for more.
        LedgerGate(Arc::clone(&ledger)).answered(GRANT_FIRST, &Answers { removed: GRANT_FIRST, ..Answers::default() });
        assert!(ledger.row_due().is_some());
        ledger.row_committed(soon());
        assert!(waiting.join().unwrap().is_ok());
    }

    #[test]
    fn a_worker_that_slept_past_its_lease_sends_nothing() {
        let ledger = Ledger::new(10, Instant::now());
        assert_eq!(LedgerGate(ledger).admit(1), Err(Stop::LeaseLost));
    }

    #[test]
    fn a_cancel_is_heard_before_the_next_batch_and_while_waiting() {
        let ledger = Ledger::new(u64::MAX, soon());
        let gate = LedgerGate(Arc::clone(&ledger));
        assert_eq!(gate.admit(GRANT_FIRST), Ok(GRANT_FIRST));
        let waiting = std::thread::spawn(move || gate.admit(1));
        ledger.cancel("mara@example.com", None);
        assert_eq!(waiting.join().unwrap(), Err(Stop::Cancelled));
        assert_eq!(ledger.cancelled_by().map(|by| by.0).as_deref(), Some("mara@example.com"));
    }

    #[test]
    fn the_cap_holds() {
        let ledger = Ledger::new(3, soon());
        let gate = LedgerGate(ledger);
        assert_eq!(gate.admit(5), Ok(3));
        let all = |removed, gone| Answers { removed, gone, ..Answers::default() };
        gate.answered(2, &all(1, 1));
        assert_eq!(gate.admit(5), Ok(1), "a key that was gone by itself took nothing of the cap");
        gate.answered(2, &all(3, 1));
        assert_eq!(gate.admit(0), Ok(0));
        assert_eq!(gate.admit(1), Err(Stop::Cap));
    }

    #[test]
    fn what_is_left_of_the_cap_is_known_once_all_is_answered() {
        let ledger = Ledger::new(3, soon());
        let gate = LedgerGate(Arc::clone(&ledger));
        assert_eq!(gate.admit(3), Ok(3));
        let (waits, asked) = (LedgerGate(ledger), std::sync::mpsc::channel());
        let other = std::thread::spawn(move || asked.0.send(waits.admit(1)));
        assert!(asked.1.recv_timeout(Duration::from_millis(150)).is_err(), "another master's answers are under way");
        // Two of them were gone by themselves, one answer will never come.
        gate.answered(0, &Answers { lost: 1, ..Answers::default() });
        gate.answered(2, &Answers { gone: 2, lost: 1, ..Answers::default() });
        assert_eq!(asked.1.recv_timeout(Duration::from_secs(5)), Ok(Ok(1)));
        other.join().unwrap().unwrap();
        assert_eq!(gate.admit(2), Ok(1));
        gate.answered(2, &Answers { removed: 2, gone: 2, lost: 1, ..Answers::default() });
        assert_eq!(gate.admit(1), Err(Stop::Cap), "what nobody knows counts as taken");
    }
}
