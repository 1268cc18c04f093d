//! The brake of a flush at work: looks ten times a second at what bystanders feel, every second at the sources behind the cache, and slows
//! the engine down or stops it. What it saw is kept for the pages, on this replica and, by the progress rows, on the others.

use super::harm::Sources;
use super::ledger::Ledger;
use crate::domain::flush::{Brake, BrakeLimits, Braked};
use crate::server::redis::{Bystanders, WorstFelt};
use crate::server::state::AppState;
use crate::server::store::flushes::Flush;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

const LOOK_EVERY: Duration = Duration::from_millis(100);
const SOURCES_EVERY: Duration = Duration::from_secs(1);
/// Points that pages show, one a second.
const POINTS: usize = 180;

/// What the brake saw, as pages show it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Watch {
    /// How often the pace is halved, and why.
    pub halved: u32,
    pub why: Option<String>,
    /// What bystanders feel now, what they felt before, and the limit, milliseconds.
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub before_ms: Option<f64>,
    pub limit_ms: Option<f64>,
    /// Where nothing is felt, or events do not answer.
    pub blind: Option<String>,
    /// p99 of each second from then on; null where nothing was felt.
    pub from: Option<DateTime<Utc>>,
    pub points_ms: VecDeque<Option<f64>>,
    /// Over the whole run: the worst p99, and the median of them.
    pub worst_ms: Option<f64>,
    pub median_ms: Option<f64>,
    pub nodes: Vec<WatchNode>,
}

/// One master's counts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct WatchNode {
    pub address: String,
    pub scanned: u64,
    pub removed: u64,
    pub complete: bool,
}

impl Watch {
    pub(super) fn read(json: Option<&str>) -> Self {
        json.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    fn note(&mut self, felt: Option<WorstFelt>) {
        self.p50_ms = felt.map(|felt| ms(felt.p50));
        self.p99_ms = felt.map(|felt| ms(felt.p99));
    }

    /// A second has passed.
    fn add_point(&mut self, now: DateTime<Utc>, all: &mut Vec<f64>) {
        self.from.get_or_insert(now);
        self.points_ms.push_back(self.p99_ms);
        while self.points_ms.len() > POINTS {
            self.points_ms.pop_front();
            self.from = self.from.map(|from| from + chrono::TimeDelta::seconds(1));
        }
        self.sum_up(all);
    }

    fn sum_up(&mut self, all: &mut Vec<f64>) {
        all.extend(self.p99_ms);
        all.sort_by(f64::total_cmp);
        self.worst_ms = all.last().copied();
        self.median_ms = all.get(all.len() / 2).copied();
    }
}

pub(super) fn ms(felt: Duration) -> f64 {
    (felt.as_secs_f64() * 1e5).round() / 1e2
}

/// Watches until the engine has `finished`.
pub(super) async fn keep(
    app: AppState,
    flush: Flush,
    scope: crate::domain::prefix::Scope,
    limits: BrakeLimits,
    before: Option<Duration>,
    ledger: Arc<Ledger>,
    bystanders: Arc<Bystanders>,
    finished: CancellationToken,
) {
    let (begun, started_at) = (Instant::now(), app.clock.now());
    let limit = limits.of_bystander(before);
    let sources = Sources::before(&app, &flush, &scope, limits.rebuild_failures).await;
    let (mut brake, mut harm, mut all) = (Brake::default(), None, Vec::new());
    let (mut sources_at, mut point_at) = (begun, begun);
    let mut watch = Watch { before_ms: before.map(ms), limit_ms: Some(ms(limit)), ..Watch::default() };
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while finished.run_until_cancelled(ticks.tick()).await.is_some() {
        let mut deaf = sources.is_none();
        if let Some(sources) = &sources
            && sources_at.elapsed() >= SOURCES_EVERY
        {
            sources_at = Instant::now();
            match finished.run_until_cancelled(sources.harm(&app, started_at)).await {
                Some(Some(found)) => harm = found,
                Some(None) => (harm, deaf) = (None, true),
                None => break,
            }
        }
        let felt = bystanders.worst();
        watch.note(felt);
        watch.blind = bystanders
            .blind()
            .map(|where_| format!("Nobody feels what others feel: {where_}."))
            .or_else(|| deaf.then(|| "Events do not answer, so rebuilds do not brake it.".to_owned()));
        let why = match felt {
            Some(felt) if felt.p99 > limit => Some(format!("others wait {} ms at p99, over the limit of {} ms", ms(felt.p99), ms(limit))),
            _ => harm.clone(),
        };
        match brake.look(begun.elapsed(), why.is_some(), &limits) {
            Braked::Halved(halved) => {
                watch.halved = halved;
                watch.why = why.or_else(|| watch.why.take().filter(|_| halved > 0));
                ledger.slow_down(halved);
            }
            Braked::Stop => {
                let why = why.unwrap_or_default();
                tracing::warn!(flush.id = flush.id, brake.why = %why, "a flush is stopped by its brake");
                watch.why = Some(why.clone());
                ledger.watched(&watch);
                ledger.brake(format!("Stopped by the brake: {why}, for {} s. What is done stays done.", limits.stop_after.as_secs()));
                return;
            }
        }
        if point_at.elapsed() >= Duration::from_secs(1) {
            point_at = Instant::now();
            watch.add_point(app.clock.now(), &mut all);
        }
        ledger.watched(&watch);
    }
    // What a short run felt is known at its end only.
    watch.note(bystanders.worst());
    watch.sum_up(&mut all);
    ledger.watched(&watch);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_points_are_kept_and_the_worst_of_all() {
        let at = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let (mut watch, mut all) = (Watch::default(), Vec::new());
        for second in 0..200 {
            watch.note(Some(WorstFelt { p50: Duration::from_millis(1), p99: Duration::from_millis(if second == 3 { 90 } else { 2 }) }));
            watch.add_point(at + chrono::TimeDelta::seconds(second), &mut all);
        }
        assert_eq!((watch.points_ms.len(), watch.from), (POINTS, Some(at + chrono::TimeDelta::seconds(20))));
        assert_eq!((watch.worst_ms, watch.median_ms, watch.p50_ms), (Some(90.0), Some(2.0), Some(1.0)));
        let json = serde_json::to_string(&watch).unwrap();
        assert_eq!(Watch::read(Some(&json)).points_ms, watch.points_ms);
    }
}
