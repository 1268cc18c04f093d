//! A flush at work, from the committed start to its outcome. Holds the permit; whatever ends it is written under its own lease epoch.

use super::brake;
use super::facts::Facts;
use super::failpoint::failpoint;
use super::ledger::{Ledger, LedgerGate};
use super::planning::{self, BEAT, Looks, keep_alive};
use super::record::{Told, author, in_time, seal};
use super::recorder::{self, Earlier, row_of};
use super::verify::{Seen, verify};
use crate::domain::audit::{Actor, Code};
use crate::domain::flush::{Mode, Permit, RECOUNT_AFTER, State, Transition, VERDICT_AT_MIN, drifted};
use crate::domain::prefix::Scope;
use crate::server::config::Target;
use crate::server::redis::{Answers, Bystanders, Deed, End, Endpoint, Fault, Report, Stop, Surveyed, Work, bump, remove};
use crate::server::state::AppState;
use crate::server::store::flushes::{self, Ended, Flush, LEASE, Row};
use chrono::TimeDelta;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long an outcome is tried to be written where Postgres is away.
const TRIES: u32 = 1_200;
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What a worker needs.
pub(super) struct Job {
    pub app: AppState,
    pub flush: Flush,
    pub scope: Scope,
    pub target: Target,
    pub endpoint: Endpoint,
    pub permit: Arc<Permit>,
    /// When the start was asked of the database: the lease began after it.
    pub begun: Instant,
}

/// Starts the work behind the answer.
pub(super) fn begin(job: Job) {
    let flushes = job.app.flushes.clone();
    let ledger = Ledger::new(Earlier::of(&job.flush).left_of(job.flush.cap.unwrap_or(0)), job.begun + LEASE);
    flushes.running().insert(job.flush.id, (Arc::clone(&ledger), job.flush.clone()));
    if flushes.0.ending.is_cancelled() {
        ledger.stop(Stop::ShuttingDown);
    }
    flushes.0.tasks.clone().spawn(async move {
        let id = job.flush.id;
        job.work(&ledger).await;
        let mut running = flushes.running();
        // A later run of the same flush may have taken the place.
        if running.get(&id).is_some_and(|(held, _)| Arc::ptr_eq(held, &ledger)) {
            running.remove(&id);
        }
    });
}

/// What pages show of the run, as JSON; None where it has shown nothing.
fn watch_of(ledger: &Ledger) -> Option<String> {
    let watch = ledger.watch();
    if watch.nodes.is_empty() && watch.p99_ms.is_none() { None } else { serde_json::to_string(&watch).ok() }
}

/// How an outcome is told.
struct Outcome<'a> {
    step: Option<Transition>,
    code: Code,
    actor: Actor,
    cause: Option<(&'a str, String)>,
    seen: Option<Seen>,
}

impl Job {
    async fn work(&self, ledger: &Arc<Ledger>) {
        let Some(felt_before) = self.still_as_planned(ledger).await else { return };
        if !self.run(ledger).await {
            return;
        }
        let report = self.remove(ledger, felt_before).await;
        let answers = &report.answers;
        match &report.end {
            End::Complete => self.verify(&report, ledger).await,
            End::Stopped(why) => self.stopped(State::Running, *why, ledger, answers).await,
            End::Fault(fault) => self.failed(State::Running, fault, ledger, answers).await,
        }
    }

    /// A plan older than a minute is counted again, and so is one of which a part is done. None: it is over, or back to be confirmed again; else
    /// what others felt in the median when it was last counted.
    async fn still_as_planned(&self, ledger: &Arc<Ledger>) -> Option<Option<Duration>> {
        let flush = &self.flush;
        let now = self.app.clock.now();
        if flush.resumed == 0 && flush.scanned_at.is_none_or(|at| now - at <= RECOUNT_AFTER) {
            return Some(Facts::read(flush.plan.as_deref()).bystander_ms.map(|ms| Duration::from_secs_f64(ms / 1e3)));
        }
        let counted = self.scan_while_leased(ledger).await;
        if let Some(why) = ledger.stopped() {
            self.stopped(State::Starting, why, ledger, &Answers::default()).await;
            return None;
        }
        let planned = flush.matched.unwrap_or(0);
        // What a soft flush has dealt with is there still.
        let soft = flush.resumed > 0 && flush.mode.window().is_some();
        let undone = |scanned: &Surveyed| if soft { scanned.census.beyond } else { scanned.census.matched };
        match counted {
            // Keys have gone already, so it cannot be a plan again.
            Ok(scanned) if flush.resumed > 0 && drifted(planned, undone(&scanned)) => {
                let detail = format!(
                    "{} keys of the scope are to be dealt with now, far more than the {planned} of the plan, so it did not go on. Plan the same \
                     scope again.",
                    undone(&scanned)
                );
                let outcome = Outcome {
                    step: State::Starting.to(State::Failed),
                    code: Code::FlushFailed,
                    actor: Actor::System,
                    cause: Some(("drifted", detail)),
                    seen: None,
                };
                self.end(&Answers::default(), None, outcome).await;
                None
            }
            Ok(scanned) if drifted(planned, undone(&scanned)) => {
                let drawn = planning::draw(&self.app, flush, &self.scope, &self.target, &scanned, Some(planned)).await;
                planning::write_plan(&self.app, flush, Transition::DRIFTED, &scanned, &drawn).await;
                None
            }
            // it took long, but all is as it was: the lease was kept all the while
            Ok(scanned) => {
                if flush.resumed > 0 {
                    let whole = (!flush.at_least).then_some(planned);
                    ledger.limit(Earlier::of(flush).left_after(flush.cap.unwrap_or(0), whole, undone(&scanned)));
                }
                Some(scanned.felt)
            }
            Err(fault) => {
                self.failed(State::Starting, &fault, ledger, &Answers::default()).await;
                None
            }
        }
    }

    /// A complete scan, ended early by a cancel.
    async fn scan_while_leased(&self, ledger: &Arc<Ledger>) -> Result<Surveyed, Fault> {
        let alive = Arc::new(AtomicBool::new(true));
        let beat =
            tokio::spawn(keep_leased(self.app.clone(), self.flush.id, self.flush.lease_epoch, Arc::clone(ledger), Arc::clone(&alive)));
        // The keys of a soft flush stay: those that an earlier run has dealt with are told by their expiry.
        let beyond = self.flush.mode.window().filter(|_| self.flush.resumed > 0);
        let looks = Looks { beyond: beyond.map(|window| Duration::from_millis(window.millis())), ..Looks::PLAN };
        let scanned = planning::scan(&self.app, &self.flush, &self.scope, &self.endpoint, looks, &alive).await;
        alive.store(false, Ordering::Relaxed);
        beat.abort();
        scanned
    }

    /// `starting → running`. False: it is not ours any more, or the record is away.
    async fn run(&self, ledger: &Arc<Ledger>) -> bool {
        let flush = &self.flush;
        let told = Told::of(Code::FlushStarted, author(flush), flush, State::Running).with("lease_epoch", flush.lease_epoch);
        while Instant::now() < ledger.deadline() {
            if let Some(why) = ledger.stopped() {
                self.stopped(State::Starting, why, ledger, &Answers::default()).await;
                return false;
            }
            let (pool, told, id, epoch, now) =
                (self.app.pools.record.clone(), told.clone(), flush.id, flush.lease_epoch, self.app.clock.now());
            let begun = Instant::now();
            let done = in_time(BEAT, async move {
                let mut change = pool.begin().await?;
                let made = flushes::mark_running(&mut change, id, epoch, now).await?;
                seal(change, made, &told).await
            });
            match done.await {
                Some(Ok(true)) => {
                    failpoint("running_committed");
                    ledger.prolong(begun + LEASE);
                    return true;
                }
                // Somebody reaped it; or an earlier try, whose answer was lost, has made the step: then the lease decides.
                Some(Ok(false)) => return self.is_at(State::Running).await,
                Some(Err(cause)) => tracing::warn!(flush.id = id, error.cause = %cause, "the start cannot be recorded yet"),
                None => tracing::warn!(flush.id = id, "the start cannot be recorded yet: Postgres is silent"),
            }
            tokio::time::sleep(TRY_AGAIN_AFTER).await;
        }
        self.stopped(State::Starting, Stop::RecordLost, ledger, &Answers::default()).await;
        false
    }

    /// Whether the flush stands there under our own epoch.
    async fn is_at(&self, state: State) -> bool {
        let (pool, id, epoch) = (self.app.pools.record.clone(), self.flush.id, self.flush.lease_epoch);
        let found = in_time(BEAT, async move { flushes::find(&mut *pool.acquire().await?, id).await });
        matches!(found.await, Some(Ok(Some(flush))) if flush.state == state && flush.lease_epoch == epoch)
    }

    /// The work itself, on a thread of its own, with the recorder and the brake beside it.
    async fn remove(&self, ledger: &Arc<Ledger>, felt_before: Option<Duration>) -> Report {
        let finished = CancellationToken::new();
        let recorder = tokio::spawn(recorder::keep(
            self.app.clone(),
            self.flush.clone(),
            self.flush.lease_epoch,
            Arc::clone(ledger),
            finished.clone(),
        ));
        let bystanders = Arc::new(Bystanders::default());
        let brake = tokio::spawn(brake::keep(
            self.app.clone(),
            self.flush.clone(),
            self.scope.clone(),
            self.target.brake,
            felt_before,
            Arc::clone(ledger),
            Arc::clone(&bystanders),
            finished.clone(),
        ));
        let (endpoint, scope, pace, gate) = (self.endpoint.clone(), self.scope.clone(), self.flush.pace, LedgerGate(Arc::clone(ledger)));
        let permit = Arc::clone(&self.permit);
        let deed = match self.flush.mode {
            Mode::Flush => Some(Deed::Remove),
            Mode::Soft(window) => {
                Some(Deed::Expire { window, seed: self.flush.id.cast_unsigned(), before: Earlier::of(&self.flush).met() })
            }
            Mode::Version => None,
        };
        // The key that the plan named, which the start has found to be the configuration's still.
        let generation_key = Facts::read(self.flush.plan.as_deref()).generation_key.unwrap_or_default();
        let removal = tokio::task::spawn_blocking(move || match deed {
            Some(deed) => remove(&permit, &Work { endpoint: &endpoint, scope: &scope, deed, pace, bystanders: Some(&bystanders) }, &gate),
            None => bump(&permit, &endpoint, generation_key.as_bytes(), &gate),
        });
        let report = removal.await;
        finished.cancel();
        let _ = recorder.await;
        let _ = brake.await;
        report.unwrap_or_else(|panic| {
            tracing::error!(flush.id = self.flush.id, error.cause = %panic, "the removal broke down");
            let (answers, end) = (ledger.answers(), End::Fault(Fault::Garbled));
            Report { answers, end, run_id: String::new(), steady: false, generation: None }
        })
    }

    /// `running → verifying → completed…`.
    async fn verify(&self, report: &Report, ledger: &Ledger) {
        let flush = &self.flush;
        let earlier = Earlier::of(flush);
        let row = Row { watch: watch_of(ledger), ..row_of(&earlier, &report.answers, 0) };
        let told = with_counts(Told::of(Code::FlushVerifying, Actor::System, flush, State::Verifying), &earlier.with(&report.answers));
        let written = self.write(State::Verifying, |app, id, epoch| {
            let (row, told) = (row.clone(), told.clone());
            async move {
                let mut change = app.pools.record.begin().await?;
                let made = flushes::mark_verifying(&mut change, id, epoch, &row, app.clock.now()).await?;
                seal(change, made, &told).await
            }
        });
        if !written.await {
            return;
        }
        failpoint("verifying_committed");
        let alive = Arc::new(AtomicBool::new(true));
        let beat = tokio::spawn(keep_alive(self.app.clone(), flush.id, flush.lease_epoch, Arc::clone(&alive)));
        let seen = match report.generation {
            // Redis's answer says all that there is to know.
            Some(generation) => Seen::raised(generation),
            None => verify(&self.app, flush, &self.scope, &self.endpoint, report, &alive).await,
        };
        beat.abort();
        if self.app.flushes.0.ending.is_cancelled() {
            let cause =
                ("server_stopped", "The server was stopped while the outcome was being verified; all removing had ended.".to_owned());
            let step = State::Verifying.to(State::Interrupted);
            let outcome = Outcome { step, code: Code::FlushInterrupted, actor: Actor::System, cause: Some(cause), seen: None };
            return self.end(&report.answers, Some(ledger), outcome).await;
        }
        failpoint("outcome_due");
        let step = if seen.proven { Transition::COMPLETED } else { Transition::COMPLETED_WITH_RESIDUE };
        let outcome = Outcome { step: Some(step), code: Code::FlushFinished, actor: Actor::System, cause: None, seen: Some(seen) };
        self.end(&report.answers, Some(ledger), outcome).await;
    }

    /// Something said stop.
    async fn stopped(&self, at: State, why: Stop, ledger: &Ledger, answers: &Answers) {
        let (to, code, cause) = match why {
            Stop::Cancelled => (State::Cancelled, Code::FlushCancelled, None),
            Stop::Cap => (
                State::StoppedAtCap,
                Code::FlushFinished,
                Some(("cap", "There are more keys than its cap allows. What is done stays done.".to_owned())),
            ),
            Stop::RecordLost | Stop::LeaseLost => (
                State::Failed,
                Code::FlushFailed,
                Some((
                    "audit_unavailable",
                    "Progress could not be recorded for longer than the lease, so nothing more was removed.".to_owned(),
                )),
            ),
            Stop::Braked => (State::AutoStopped, Code::FlushFinished, Some(("brake", ledger.braked().unwrap_or_default()))),
            Stop::ShuttingDown => {
                (State::Interrupted, Code::FlushInterrupted, Some(("server_stopped", "The server was stopped.".to_owned())))
            }
        };
        let by = (why == Stop::Cancelled).then(|| ledger.cancelled_by()).flatten();
        let (cause, actor) = match by {
            Some((by, actor)) => {
                (Some(("cancelled", format!("Cancelled by {by}. What is removed stays removed."))), actor.unwrap_or(Actor::System))
            }
            None => (cause, Actor::System),
        };
        let outcome = Outcome { step: at.to(to), code, actor, cause, seen: None };
        self.end(answers, Some(ledger), outcome).await;
    }

    async fn failed(&self, at: State, fault: &Fault, ledger: &Ledger, answers: &Answers) {
        let detail = format!("Redis could not be used any more: {fault}. What is removed stays removed.");
        let outcome = Outcome {
            step: at.to(State::Failed),
            code: Code::FlushFailed,
            actor: Actor::System,
            cause: Some((fault.code(), detail)),
            seen: None,
        };
        self.end(answers, Some(ledger), outcome).await;
    }

    /// Writes how it ended.
    async fn end(&self, answers: &Answers, ledger: Option<&Ledger>, outcome: Outcome<'_>) {
        let Some(step) = outcome.step else { return };
        let flush = &self.flush;
        let earlier = Earlier::of(flush);
        let all = earlier.with(answers);
        let row = Row { watch: ledger.and_then(watch_of), ..row_of(&earlier, answers, 0) };
        let mut told =
            with_counts(Told::of(outcome.code, outcome.actor.clone(), flush, step.to()), &all).with("planned", json!(flush.matched));
        if row.granted > 0 {
            // What earlier runs left unknown.
            told = told.with("removed_at_least", row.removed).with("granted", row.granted);
        }
        if let Some((code, detail)) = &outcome.cause {
            told = told.with("cause", *code).with("detail", detail.as_str());
        }
        let seen = outcome.seen.unwrap_or_default();
        if matches!(step.from(), State::Verifying) {
            told = told.with("residue", json!(seen.residue)).with("proven", seen.proven);
        }
        if let Some(sampled) = seen.sampled {
            told = told.with("sampled", sampled);
        }
        if let Some(generation) = seen.generation {
            told = told.with("generation", generation);
        }
        let began = step.from() != State::Starting || flush.resumed > 0;
        self.write(step.to(), |app, id, epoch| {
            let (row, told) = (row.clone(), told.clone());
            let cause = outcome.cause.as_ref().map(|(code, detail)| ((*code).to_owned(), detail.clone()));
            let effective = TimeDelta::seconds(flush.mode.takes_effect_after_s().into());
            async move {
                let now = app.clock.now();
                let ended = Ended {
                    residue: seen.residue,
                    sampled: seen.sampled,
                    generation: seen.generation,
                    proven: seen.proven,
                    cause: cause.as_ref().map(|(code, detail)| (code.as_str(), detail.as_str())),
                    verdict_due: began.then(|| now + effective + TimeDelta::minutes(VERDICT_AT_MIN[0])),
                };
                let mut change = app.pools.record.begin().await?;
                let made = flushes::mark_ended(&mut change, id, epoch, step, &row, &ended, now).await?;
                seal(change, made, &told).await
            }
        })
        .await;
        // The end of a flush is anchored at once.
        self.app.anchoring.request();
        tracing::info!(flush.id = flush.id, flush.state = step.to().as_str(), flush.removed = all.removed, "flush ended");
    }

    /// Writes until it is written. False: the flush is not ours any more, or the server ends while Postgres is away.
    async fn write<F>(&self, to: State, mut change: impl FnMut(AppState, i64, i32) -> F) -> bool
    where
        F: Future<Output = Result<bool, sqlx::Error>> + Send + 'static,
    {
        let id = self.flush.id;
        for attempt in 0..TRIES {
            match in_time(BEAT, change(self.app.clone(), id, self.flush.lease_epoch)).await {
                Some(Ok(true)) => return true,
                Some(Ok(false)) => {
                    // An earlier try whose answer was lost may have done it.
                    let done = attempt > 0 && self.is_at(to).await;
                    if !done {
                        tracing::warn!(flush.id = id, "the flush has been taken over: its outcome is not ours to write");
                    }
                    return done;
                }
                Some(Err(cause)) => tracing::warn!(flush.id = id, attempt, error.cause = %cause, "an outcome cannot be recorded yet"),
                None => tracing::warn!(flush.id = id, attempt, "an outcome cannot be recorded yet: Postgres is silent"),
            }
            if self.app.flushes.0.ending.is_cancelled() && attempt > 4 {
                return false;
            }
            tokio::time::sleep(TRY_AGAIN_AFTER).await;
        }
        false
    }
}

fn with_counts(told: Told, answers: &Answers) -> Told {
    told.with("removed", answers.removed)
        .with("gone", answers.gone)
        .with("failed", answers.failed)
        .with("failed_by_class", json!(answers.failed_by_class))
}

/// Beats for a start that counts again, and passes on a cancel.
async fn keep_leased(app: AppState, id: i64, epoch: i32, ledger: Arc<Ledger>, alive: Arc<AtomicBool>) {
    let mut beat_at = Instant::now() + Duration::from_secs(2);
    while alive.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if ledger.stopped().is_some() || Instant::now() >= ledger.deadline() {
            alive.store(false, Ordering::Relaxed);
        }
        if Instant::now() < beat_at {
            continue;
        }
        let (pool, begun) = (app.pools.record.clone(), Instant::now());
        let beat = async move { flushes::mark_beat(&mut *pool.acquire().await?, id, epoch).await };
        match in_time(BEAT, beat).await {
            Some(Ok(Some(beat))) => {
                ledger.prolong(begun + LEASE);
                if let Some(by) = beat.cancel_by {
                    ledger.cancel(&by, None);
                }
            }
            Some(Ok(None)) => ledger.stop(Stop::LeaseLost),
            _ => {}
        }
        beat_at = Instant::now() + BEAT;
    }
}
