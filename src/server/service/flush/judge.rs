//! What events say about a scope: before a flush, whether the writer is mended and what rebuilding will cost; after it, the verdict.

use super::facts::Facts;
use super::record::{Told, in_time, seal};
use crate::domain::audit::{Actor, Code};
use crate::domain::event::Origin;
use crate::domain::event::tally::Tally;
use crate::domain::flush::{VERDICT_AT_MIN, Verdict, verdict};
use crate::domain::metric::{Bucket, Rate, as_f64, cost};
use crate::domain::prefix::{Scope, ScopeKind};
use crate::server::config::Prefix;
use crate::server::state::AppState;
use crate::server::store::events::rollups::{Tier, cover, read};
use crate::server::store::events::samples::list_samples;
use crate::server::store::events::{prefix_id, rest_id};
use crate::server::store::flushes::{self, Flush};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// "Before" is this long, up to the plan.
const BEFORE: TimeDelta = TimeDelta::minutes(15);
/// Samples read at most for one judgement.
const SAMPLES: i64 = 200_000;
/// How long events may be asked before a plan goes on without them.
const PATIENCE: Duration = Duration::from_secs(5);

/// A judgement with its figures, as stored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Judgement {
    pub after_min: u32,
    pub judged_at: DateTime<Utc>,
    pub before: (u64, u64),
    pub after: (u64, u64),
    pub threshold: Option<f64>,
    pub fresh_within_s: Option<u32>,
    pub before_from: DateTime<Utc>,
    pub before_to: DateTime<Utc>,
    pub after_from: DateTime<Utc>,
    pub after_to: DateTime<Utc>,
    pub price_before: Price,
    pub price_after: Price,
    /// The strictest limit of the rebuilds' p95 among the prefixes touched, milliseconds.
    pub rebuild_limit_ms: Option<f64>,
    /// How many minutes after the end rebuilds were back under that limit and stayed there; None: not yet, or there is no limit.
    pub rebuild_back_after_min: Option<u32>,
    /// Stale and all samples of each minute from the begin of "before" on.
    pub minutes: Vec<(u64, u64)>,
}

/// What readers and sources pay.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Price {
    pub misses_per_min: Option<f64>,
    pub rebuild_p95_ms: Option<f64>,
    pub cost: Option<f64>,
}

/// The prefixes that a scope can touch, by their numbers.
struct Touched<'a> {
    prefixes: BTreeMap<i64, &'a Prefix>,
    ids: Vec<i64>,
}

impl<'a> Touched<'a> {
    fn by(scope: &Scope, target: &str, registered: impl Iterator<Item = &'a Prefix>) -> Self {
        let prefixes: BTreeMap<_, _> =
            registered.filter(|prefix| scope.touches(&prefix.template)).map(|prefix| (prefix_id(target, prefix.name()), prefix)).collect();
        let mut ids: Vec<i64> = prefixes.keys().copied().collect();
        if scope.kind() == ScopeKind::Literal {
            ids.push(rest_id(target, "unclassified"));
        }
        Self { prefixes, ids }
    }

    /// The strictest limit of stale reads.
    fn threshold(&self) -> Option<f64> {
        self.prefixes.values().filter_map(|prefix| prefix.thresholds.stale_read_rate).reduce(f64::min)
    }

    fn rebuild_limit_ms(&self) -> Option<f64> {
        self.prefixes.values().filter_map(|prefix| prefix.thresholds.rebuild_p95_us).min().map(|limit| as_f64(limit) / 1e3)
    }
}

/// When a sample of the scope was taken, and whether it was stale.
type Seen = (DateTime<Utc>, bool);

fn rate_of(samples: &[Seen]) -> Rate {
    samples.iter().map(|(_, stale)| Rate::new(u64::from(*stale), 1)).sum()
}

/// By the minute from that of `from` to that of `to`.
fn by_minute<'s>(samples: impl Iterator<Item = &'s Seen>, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<(u64, u64)> {
    let minute = |at: DateTime<Utc>| at.timestamp().div_euclid(60);
    let length = usize::try_from(minute(to) - minute(from) + 1).unwrap_or(0);
    let mut minutes = vec![(0, 0); length];
    for (at, stale) in samples {
        if let Some(sum) = usize::try_from(minute(*at) - minute(from)).ok().and_then(|place| minutes.get_mut(place)) {
            sum.0 += u64::from(*stale);
            sum.1 += 1;
        }
    }
    minutes
}

/// The first minute after the end from which on no minute is over the limit, counted from 0; minutes without a rebuild are not over.
fn back_after(minutes: &[Tally], limit_ms: Option<f64>) -> Option<u32> {
    let limit = limit_ms?;
    let over = |tally: &Tally| tally.rebuild.quantile(0.95).is_some_and(|us| as_f64(us) / 1e3 > limit);
    let first = minutes.iter().rposition(over).map_or(0, |last| last + 1);
    (first < minutes.len()).then(|| u32::try_from(first).unwrap_or(u32::MAX))
}

/// Stale-read samples of the scope in `from..to`: of keys in the scope, as long after the write as the prefix's objective says.
async fn stale_reads(
    app: &AppState,
    scope: &Scope,
    touched: &Touched<'_>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<Seen>, sqlx::Error> {
    let mut conn = app.pools.events_read.acquire().await?;
    let text = scope.to_string();
    let counts = |sample: &crate::server::store::events::samples::Sample| {
        let prefix = touched.prefixes.get(&sample.prefix_id);
        let ours = match &sample.key {
            Some(key) => scope.contains(key),
            // keys are not kept: known to be ours only where the whole prefix is
            None => prefix.is_some_and(|prefix| prefix.name() == text),
        };
        let least = prefix.map_or(Bucket::B0, |prefix| prefix.fresh_within());
        ours && Bucket::of_delay_ms(sample.delay_ms).is_at_least(least)
    };
    let samples = list_samples(&mut conn, &touched.ids, from, to, SAMPLES).await?;
    Ok(samples.iter().filter(|sample| counts(sample)).map(|sample| (sample.at, sample.stale)).collect())
}

/// The figures of the prefixes touched, in steps of a minute; per prefix the first origin that has any.
async fn minutes(app: &AppState, touched: &Touched<'_>, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Vec<Tally>, sqlx::Error> {
    let floor = |at: DateTime<Utc>| DateTime::from_timestamp(at.timestamp().div_euclid(60) * 60, 0).unwrap_or(at);
    let (from, to) = (floor(from), floor(to + TimeDelta::seconds(59)));
    let steps = usize::try_from((to - from).num_minutes().max(1)).unwrap_or(1);
    let mut conn = app.pools.events_read.acquire().await?;
    let figures = read(&mut conn, &touched.ids, &cover(from, to, Tier::Minute, Tier::Minute), from, 60).await?;
    let mut first: BTreeMap<i64, Origin> = BTreeMap::new();
    for part in &figures {
        first.entry(part.prefix_id).and_modify(|origin| *origin = (*origin).min(part.origin)).or_insert(part.origin);
    }
    let mut tallies = vec![Tally::default(); steps];
    for part in &figures {
        if first.get(&part.prefix_id) == Some(&part.origin)
            && let Some(tally) = tallies.get_mut(part.step)
        {
            tally.merge(&part.tally);
        }
    }
    Ok(tallies)
}

/// Before a flush: stale reads of the last minutes, and what its removal will make readers rebuild. Where events do not answer, the plan goes
/// on without.
pub(super) async fn look_before(app: &AppState, flush: &Flush, scope: &Scope, facts: &mut Facts) {
    let (seeker, scope, target) = (app.clone(), scope.clone(), flush.target.clone());
    let looked = in_time(PATIENCE, async move {
        let now = seeker.clock.now();
        let config = seeker.config();
        let touched = Touched::by(&scope, &target, config.prefixes_of(&target));
        let stale = rate_of(&stale_reads(&seeker, &scope, &touched, now - BEFORE, now).await?);
        let lately = minutes(&seeker, &touched, now - BEFORE, now).await?;
        let day = minutes(&seeker, &touched, now - TimeDelta::hours(24), now).await?;
        Ok::<_, sqlx::Error>((stale, lately, day))
    });
    match looked.await {
        Some(Ok((stale, lately, day))) => {
            facts.stale_lately = Some((stale.k, stale.n));
            facts.rebuild_load_per_s = reads_per_s(&lately);
            facts.rebuild_peak_per_s =
                day.iter().map(|minute| minute.rebuilds).max().filter(|peak| *peak > 0).map(|peak| as_f64(peak) / 60.0);
        }
        Some(Err(cause)) => tracing::warn!(flush.id = flush.id, error.cause = %cause, "events could not be asked for a plan"),
        None => tracing::warn!(flush.id = flush.id, "events did not answer in time for a plan"),
    }
}

/// Reads a second: right after a flush each of them is a miss until its key is rebuilt, so this is the most that is rebuilt at first. Measured
/// over whole prefixes, so a scope that is part of one gives an upper bound.
fn reads_per_s(minutes: &[Tally]) -> Option<f64> {
    let measured: Vec<u64> =
        minutes.iter().filter_map(|minute| Some(minute.hits? + minute.misses.unwrap_or(0) + minute.stale_served.unwrap_or(0))).collect();
    let all: u64 = measured.iter().sum();
    (!measured.is_empty()).then(|| as_f64(all) / 60.0 / as_f64(measured.len() as u64))
}

fn price(minutes: &[Tally]) -> Price {
    let mut all = Tally::default();
    for minute in minutes {
        all.merge(minute);
    }
    let length = i64::try_from(minutes.len()).unwrap_or(1).max(1);
    Price {
        misses_per_min: all.misses.map(|misses| as_f64(misses) / as_f64(length.cast_unsigned())),
        rebuild_p95_ms: all.rebuild.quantile(0.95).map(|us| as_f64(us) / 1e3),
        cost: if all.rebuilds > 0 { cost(all.rebuild.sum_us(), length * 60) } else { None },
    }
}

/// Judges one flush whose appointment has come, and makes the next one.
pub(super) async fn judge(app: &AppState, flush: &Flush) -> Result<(), sqlx::Error> {
    let now = app.clock.now();
    let config = app.config();
    let (Some(ended), Some(planned)) = (flush.ended_at, flush.scanned_at) else { return give_up(app, flush).await };
    // Keys that are to expire within a window are out of the way at its end.
    let ended = ended + TimeDelta::seconds(flush.mode.takes_effect_after_s().into());
    let families = config.families_of(&flush.target);
    let delimiter = config.target(&flush.target).map_or(crate::domain::prefix::DEFAULT_DELIMITER, |target| target.delimiter);
    let Ok(scope) = Scope::parse(&flush.scope, Some(flush.scope_kind), delimiter, families.templates()) else {
        // its template is not registered any more
        return give_up(app, flush).await;
    };
    let touched = Touched::by(&scope, &flush.target, config.prefixes_of(&flush.target));
    let seen_before = stale_reads(app, &scope, &touched, planned - BEFORE, planned).await?;
    let seen_between = stale_reads(app, &scope, &touched, planned, ended).await?;
    let seen_after = stale_reads(app, &scope, &touched, ended, now).await?;
    let (before, after) = (rate_of(&seen_before), rate_of(&seen_after));
    let ends = |rate: Rate| rate.interval().map(|interval| (interval.low, interval.high));
    let found = verdict(ends(before), ends(after), after.n, touched.threshold());
    let passed = (now - ended).num_minutes();
    let at = VERDICT_AT_MIN.iter().rev().find(|at| **at <= passed).unwrap_or(&VERDICT_AT_MIN[0]);
    let next = VERDICT_AT_MIN.iter().find(|at| **at > passed).map(|at| ended + TimeDelta::minutes(*at));
    let minutes_after = minutes(app, &touched, ended, now).await?;
    let judgement = Judgement {
        after_min: u32::try_from(*at).unwrap_or(0),
        judged_at: now,
        before: (before.k, before.n),
        after: (after.k, after.n),
        threshold: touched.threshold(),
        fresh_within_s: touched.prefixes.values().map(|prefix| prefix.fresh_within()).filter_map(Bucket::seconds).min(),
        before_from: planned - BEFORE,
        before_to: planned,
        after_from: ended,
        after_to: now,
        price_before: price(&minutes(app, &touched, planned - BEFORE, planned).await?),
        price_after: price(&minutes_after),
        rebuild_limit_ms: touched.rebuild_limit_ms(),
        rebuild_back_after_min: back_after(&minutes_after, touched.rebuild_limit_ms()),
        minutes: by_minute(seen_before.iter().chain(&seen_between).chain(&seen_after), planned - BEFORE, now),
    };
    let told = Told::of(Code::FlushVerdict, Actor::System, flush, flush.state)
        .with("verdict", found.as_str())
        .with("after_min", judgement.after_min)
        .with("before", json!({"stale": before.k, "samples": before.n}))
        .with("after", json!({"stale": after.k, "samples": after.n}))
        .with("threshold", json!(judgement.threshold));
    let text = serde_json::to_string(&judgement).unwrap_or_else(|_| "{}".to_owned());
    let mut change = app.pools.record.begin().await?;
    let after_min = i32::try_from(judgement.after_min).unwrap_or(0);
    let made = flushes::mark_judged(&mut change, flush, found, after_min, &text, next, now).await?;
    seal(change, made, &told).await.map(drop)
}

/// Nothing can be said about this one, now or later.
async fn give_up(app: &AppState, flush: &Flush) -> Result<(), sqlx::Error> {
    let told = Told::of(Code::FlushVerdict, Actor::System, flush, flush.state).with("verdict", Verdict::TooLittleData.as_str());
    let mut change = app.pools.record.begin().await?;
    let made = flushes::mark_judged(&mut change, flush, Verdict::TooLittleData, 0, "{}", None, app.clock.now()).await?;
    seal(change, made, &told).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Outcome;
    use crate::domain::event::tally::Measure;

    #[test]
    fn samples_are_counted_by_the_minute_they_were_taken_in() {
        let at = |seconds: i64| DateTime::from_timestamp(1_790_000_000 - 1_790_000_000 % 60 + seconds, 0).unwrap();
        let samples = [(at(10), true), (at(59), false), (at(60), true), (at(170), false)];
        assert_eq!(by_minute(samples.iter(), at(5), at(150)), [(1, 2), (1, 1), (0, 1)]);
    }

    #[test]
    fn back_is_from_when_on_nothing_is_over_any_more() {
        let minute = |ms: Option<u64>| {
            let mut tally = Tally::default();
            if let Some(ms) = ms {
                tally.record(0, &Measure::Rebuild { duration_us: ms * 1_000, outcome: Outcome::Ok });
            }
            tally
        };
        let minutes = [Some(900), None, Some(900), Some(20), None].map(minute);
        assert_eq!(back_after(&minutes, Some(400.0)), Some(3));
        assert_eq!(back_after(&minutes, Some(1_000.0)), Some(0));
        assert_eq!(back_after(&minutes[..3], Some(400.0)), None, "not yet");
        assert_eq!(back_after(&minutes, None), None);
    }
}
