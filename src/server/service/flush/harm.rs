//! What a flush may do to the source behind the cache: rebuilds that fail, and rebuilds of prefixes that the flush does not touch getting slow.
//! The flushed prefixes' own misses and latency must rise after a `flush`, so they never count; a `soft` flush is there so that they do not.

use super::record::in_time;
use crate::domain::flush::Mode;
use crate::domain::metric::{Rate, as_f64};
use crate::domain::prefix::Scope;
use crate::server::config::Config;
use crate::server::state::AppState;
use crate::server::store::events::lately::{Lately, list_lately};
use crate::server::store::events::prefix_id;
use crate::server::store::flushes::Flush;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

/// What is looked at.
const LATELY: TimeDelta = TimeDelta::seconds(10);
/// What was over in this stretch before the start is not the flush's doing.
const BEFORE: TimeDelta = TimeDelta::minutes(1);
/// Fewer rebuilds than this say nothing, and fewer reads.
const REBUILDS_LEAST: i64 = 20;
const READS_LEAST: i64 = 100;
/// Events that do not answer in this time are done without.
const PATIENCE: Duration = Duration::from_secs(2);

/// The watch over the sources of one flush.
pub(super) struct Sources {
    target: String,
    failures: f64,
    soft: bool,
    scope: Scope,
    /// Prefix and figure that were over before.
    before: BTreeSet<(i64, Figure)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Figure {
    Failures,
    Slow,
    Misses,
}

impl Sources {
    /// Looks at how things are at the start. None: events do not answer, so they brake nothing.
    pub(super) async fn before(app: &AppState, flush: &Flush, scope: &Scope, failures: f64) -> Option<Self> {
        let mut sources = Self {
            target: flush.target.clone(),
            failures,
            soft: matches!(flush.mode, Mode::Soft(_)),
            scope: scope.clone(),
            before: BTreeSet::new(),
        };
        let now = app.clock.now();
        let lately = look(app, &sources.target, now - BEFORE, now).await?;
        sources.before = sources.over(&app.config(), &lately).into_iter().map(|(id, figure, _)| (id, figure)).collect();
        Some(sources)
    }

    /// What is over now and was not before, as a sentence's end; the outer None: events do not answer.
    pub(super) async fn harm(&self, app: &AppState, since: DateTime<Utc>) -> Option<Option<String>> {
        let now = app.clock.now();
        let lately = look(app, &self.target, (now - LATELY).max(since), now).await?;
        let over = self.over(&app.config(), &lately).into_iter().find(|(id, figure, _)| !self.before.contains(&(*id, *figure)));
        Some(over.map(|(_, _, why)| why))
    }

    fn over(&self, config: &Config, lately: &[Lately]) -> Vec<(i64, Figure, String)> {
        let mut over = Vec::new();
        for prefix in config.prefixes_of(&self.target) {
            let id = prefix_id(&self.target, prefix.name());
            let Some(seen) = lately.iter().find(|seen| seen.prefix_id == id) else { continue };
            let own = self.scope.touches(&prefix.template);
            let name = prefix.name();
            let failed = Rate::new(seen.failed.unsigned_abs(), seen.rebuilds.unsigned_abs());
            if seen.rebuilds >= REBUILDS_LEAST && failed.interval().is_some_and(|interval| interval.low > self.failures) {
                let why = format!("{} of {} rebuilds of {name} failed or timed out within 10 s", seen.failed, seen.rebuilds);
                over.push((id, Figure::Failures, why));
            }
            if (!own || self.soft)
                && seen.rebuilds >= REBUILDS_LEAST
                && let (Some(p95), Some(limit)) = (seen.rebuild_p95_us.map(i64::unsigned_abs), prefix.thresholds.rebuild_p95_us)
                && p95 > limit
            {
                let (p95, limit) = (as_f64(p95) / 1e3, as_f64(limit) / 1e3);
                over.push((id, Figure::Slow, format!("rebuilds of {name} take {p95:.0} ms at p95, over their limit of {limit:.0} ms")));
            }
            if own
                && self.soft
                && seen.reads >= READS_LEAST
                && let Some(limit) = prefix.thresholds.miss_rate
                && as_f64(seen.misses.unsigned_abs()) > limit * as_f64(seen.reads.unsigned_abs())
            {
                let mut why = String::new();
                let _ = write!(why, "{} of {} reads of {name} miss, over the limit of {:.0} %", seen.misses, seen.reads, limit * 100.0);
                over.push((id, Figure::Misses, why));
            }
        }
        over
    }
}

async fn look(app: &AppState, target: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> Option<Vec<Lately>> {
    let (pool, target) = (app.pools.events_read.clone(), target.to_owned());
    let looked = in_time(PATIENCE, async move { list_lately(&mut *pool.acquire().await?, &target, from, to).await });
    match looked.await {
        Some(Ok(lately)) => Some(lately),
        Some(Err(cause)) => {
            tracing::warn!(error.cause = %cause, "events could not be asked whether a flush does harm");
            None
        }
        None => None,
    }
}
