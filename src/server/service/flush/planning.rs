//! The planning scan: counts what the scope matches, under a lease, one at a time for each target.

use super::brake::ms;
use super::facts::{Facts, FactsNode, summed_up};
use super::record::{Told, author, in_time, seal};
use super::targets::mending;
use super::{judge, modes};
use crate::domain::audit::{Actor, Code};
use crate::domain::flush::{Mode, PLAN_LIVES, SAMPLE_KEYS, Transition, WideFacts, WideReason, Window, wide_reasons};
use crate::domain::policy::Tier;
use crate::domain::prefix::{Scope, ScopeKind};
use crate::server::config::Target;
use crate::server::redis::{Bystanders, Endpoint, Fault, Survey, Surveyed, survey};
use crate::server::state::AppState;
use crate::server::store::flushes::{self, Flush, Found};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A scan that takes longer gives "at least N", and is wide.
const SCAN_WITHIN: Duration = Duration::from_mins(2);
/// How often a lease is prolonged.
pub(super) const BEAT: Duration = Duration::from_secs(5);
/// How long the outcome of a scan is tried to be written.
const TRIES: u32 = 15;

/// Scans behind the answer.
pub(super) fn begin(app: &AppState, flush: Flush, scope: Scope, target: Target, endpoint: Endpoint) {
    let app = app.clone();
    let tasks = app.flushes.0.tasks.clone();
    tasks.spawn(async move {
        let alive = Arc::new(AtomicBool::new(true));
        let beat = tokio::spawn(keep_alive(app.clone(), flush.id, flush.lease_epoch, Arc::clone(&alive)));
        let outcome = match app.flushes.planning(&target.name).acquire_owned().await {
            Ok(_turn) => scan(&app, &flush, &scope, &endpoint, Looks::PLAN, &alive).await,
            Err(_) => Err(Fault::Garbled),
        };
        match outcome {
            // an unfinished count is no plan
            Ok(_) if !alive.load(Ordering::Relaxed) => {
                write_failure(&app, &flush, &Fault::NotReady("the server was stopped during the scan".to_owned())).await;
            }
            Ok(scanned) => {
                let drawn = draw(&app, &flush, &scope, &target, &scanned, None).await;
                write_plan(&app, &flush, Transition::PLANNED, &scanned, &drawn).await;
            }
            Err(fault) => write_failure(&app, &flush, &fault).await,
        }
        alive.store(false, Ordering::Relaxed);
        beat.abort();
    });
}

/// Prolongs a lease until `alive` is false; makes it false where the lease is lost or the server ends.
pub(super) async fn keep_alive(app: AppState, id: i64, epoch: i32, alive: Arc<AtomicBool>) {
    while alive.load(Ordering::Relaxed) {
        if app.flushes.0.ending.run_until_cancelled(tokio::time::sleep(BEAT)).await.is_none() {
            break;
        }
        let pool = app.pools.record.clone();
        let beat = async move {
            let mut conn = pool.acquire().await?;
            flushes::mark_beat(&mut conn, id, epoch).await
        };
        // Postgres being away is no reason to stop reading Redis; the lease decides.
        if matches!(in_time(BEAT, beat).await, Some(Ok(None))) {
            break;
        }
    }
    alive.store(false, Ordering::Relaxed);
}

/// What a scan looks at besides the number of keys.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Looks {
    /// Sizes and lifetimes of a sample.
    pub sampled: bool,
    /// What others feel meanwhile.
    pub felt: bool,
    /// How many keys live longer than that.
    pub beyond: Option<Duration>,
}

impl Looks {
    pub(super) const PLAN: Self = Self { sampled: true, felt: true, beyond: None };
}

/// One complete scan on a connection of its own.
pub(super) async fn scan(
    app: &AppState,
    flush: &Flush,
    scope: &Scope,
    endpoint: &Endpoint,
    looks: Looks,
    alive: &Arc<AtomicBool>,
) -> Result<Surveyed, Fault> {
    let config = app.config();
    let families = config.families_of(&flush.target);
    let delimiter = config.target(&flush.target).map_or(crate::domain::prefix::DEFAULT_DELIMITER, |target| target.delimiter);
    let (scope, endpoint, pace, alive) = (scope.clone(), endpoint.clone(), flush.pace, Arc::clone(alive));
    let work = move || {
        let stop = || !alive.load(Ordering::Relaxed);
        let bystanders = looks.felt.then(Bystanders::default);
        let bystanders = bystanders.as_ref();
        let ask = Survey {
            scope: &scope,
            families: &families,
            delimiter,
            pace,
            within: SCAN_WITHIN,
            stop: &stop,
            bystanders,
            beyond: looks.beyond,
        };
        survey(&endpoint, &ask, looks.sampled)
    };
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Fault::Garbled))
}

/// What is concluded from a scan.
pub(super) struct Drawn {
    pub wide: Vec<WideReason>,
    pub facts: Facts,
}

/// Concludes a plan from what a scan found. `drifted_from`: the count of the plan that this one replaces.
pub(super) async fn draw(
    app: &AppState,
    flush: &Flush,
    scope: &Scope,
    target: &Target,
    scanned: &Surveyed,
    drifted_from: Option<u64>,
) -> Drawn {
    let config = app.config();
    let Surveyed { identity, census, measured, nodes, felt } = scanned;
    let registered: Vec<_> = config.prefixes_of(&target.name).collect();
    let touched: Vec<_> =
        census.by_family.iter().enumerate().filter(|(_, keys)| **keys > 0).map(|(at, keys)| (registered.get(at), *keys)).collect();
    let wide = wide_reasons(&WideFacts {
        keys: census.matched,
        at_least: !census.complete,
        keyspace: identity.keys,
        max_keys: target.max_keys,
        critical: touched.iter().any(|(prefix, _)| prefix.is_some_and(|prefix| prefix.tier == Tier::Critical)),
        one_segment: scope.kind() == ScopeKind::Literal && scope.segments() == 1,
    });
    let (memory_bytes, ttl) = summed_up(measured, census.matched);
    let scan_ms = u64::try_from(census.took.as_millis()).unwrap_or(u64::MAX);
    let mut facts = Facts {
        memory_bytes,
        ttl,
        ttl_sample: measured.len() as u64,
        prefixes: touched
            .iter()
            .map(|(prefix, keys)| (prefix.map_or_else(String::new, |prefix| prefix.name().to_owned()), *keys))
            .collect(),
        nodes: nodes.iter().map(FactsNode::of).collect(),
        version: identity.version.clone(),
        scan_ms,
        bystander_ms: felt.map(ms),
        // one scan to remove, one to verify, and about a microsecond for each key
        estimated_ms: scan_ms * 2 + census.matched / 1_000,
        over_privileged: identity.over_privileged.then(|| mending(&config, target, &identity.version)),
        has_generation: modes::generation_key(&config, &target.name, &flush.scope, flush.scope_kind).is_some(),
        generation_key: (flush.mode == Mode::Version)
            .then(|| modes::generation_key(&config, &target.name, &flush.scope, flush.scope_kind))
            .flatten()
            .map(ToOwned::to_owned),
        drifted_from,
        ..Facts::default()
    };
    judge::look_before(app, flush, scope, &mut facts).await;
    modes::advise(&mut facts, census.matched);
    Drawn { wide, facts }
}

/// Stores a plan with its record. The scan was not for nothing: a Postgres that is away for a moment is tried again.
pub(super) async fn write_plan(app: &AppState, flush: &Flush, step: Transition, scanned: &Surveyed, drawn: &Drawn) {
    let now = app.clock.now();
    let (code, actor) = match step {
        Transition::DRIFTED => (Code::FlushDrifted, Actor::System),
        _ => (Code::FlushPlanned, author(flush)),
    };
    let Surveyed { identity, census, .. } = scanned;
    let wide: Vec<&str> = drawn.wide.iter().map(|reason| reason.as_str()).collect();
    let told = Told::of(code, actor, flush, step.to())
        .with("window_s", json!(flush.mode.window().map(Window::seconds)))
        .with("pace", flush.pace.as_str())
        .with("count", census.matched)
        .with("versioned", census.versioned)
        .with("at_least", !census.complete)
        .with("keyspace", identity.keys)
        .with("wide", json!(wide))
        .with("run_id", identity.run_id.as_str())
        .with("db", identity.db)
        .with("prefixes", json!(drawn.facts.prefixes))
        .with("drifted_from", json!(drawn.facts.drifted_from));
    // Of the confirmation and the approval of the count before nothing is left.
    let told = match &flush.decision {
        Some(decision) => told.with("void_approval_of", decision.by.as_str()),
        None => told,
    };
    let facts = serde_json::to_string(&drawn.facts).unwrap_or_else(|_| "{}".to_owned());
    let samples: Vec<Vec<u8>> = census.sample.iter().take(SAMPLE_KEYS).cloned().collect();
    for attempt in 0..TRIES {
        let (pool, told, facts, samples, wide) =
            (app.pools.record.clone(), told.clone(), facts.clone(), samples.clone(), drawn.wide.clone());
        let (id, epoch, run_id, keys) = (flush.id, flush.lease_epoch, identity.run_id.clone(), identity.keys);
        let (matched, versioned, at_least) = (census.matched, census.versioned, !census.complete);
        let written = in_time(BEAT, async move {
            let mut change = pool.begin().await?;
            let found = Found {
                scanned_at: now,
                expires_at: now + PLAN_LIVES,
                matched,
                versioned,
                at_least,
                keyspace: keys,
                wide: &wide,
                run_id: &run_id,
                plan: &facts,
                sample_keys: &samples,
            };
            let made = flushes::mark_planned(&mut change, id, epoch, step, &found).await?;
            seal(change, made, &told).await
        });
        match written.await {
            Some(Ok(_)) => return,
            Some(Err(cause)) => tracing::warn!(flush.id = id, attempt, error.cause = %cause, "a plan could not be stored yet"),
            None => tracing::warn!(flush.id = id, attempt, "a plan could not be stored yet: Postgres is silent"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// `planning → plan_failed`.
async fn write_failure(app: &AppState, flush: &Flush, fault: &Fault) {
    let now = app.clock.now();
    let detail = format!("Redis could not be scanned: {fault}. Nothing was removed.");
    let code = fault.code();
    let told = Told::of(Code::FlushPlanFailed, Actor::System, flush, crate::domain::flush::State::PlanFailed).with("cause", code);
    for _ in 0..TRIES {
        let (pool, told, detail, id, epoch) = (app.pools.record.clone(), told.clone(), detail.clone(), flush.id, flush.lease_epoch);
        let written = in_time(BEAT, async move {
            let mut change = pool.begin().await?;
            let made = flushes::mark_plan_failed(&mut change, id, epoch, (code, &detail), now).await?;
            seal(change, made, &told).await
        });
        if let Some(Ok(_)) = written.await {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
