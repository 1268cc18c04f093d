//! The prefix page's read model.

use super::causes;
use super::cells::View;
use super::figures::{Breach, DeclaredWrite, Gap, Mark, MetricChart, Point, RateFigure, Series, Standing, Why};
use super::overview::{figure, is_protected};
use super::series::{Line, Steps, Tracks, find_subject, gaps, tracks};
use super::sight::Sight;
use super::standing::{self, Stand, buckets_of, classes};
use crate::domain::event::packed::Damaged;
use crate::domain::event::tally::ByDelay;
use crate::domain::event::{ErrorClass, Method, Origin};
use crate::domain::figure::{Figure, Value};
use crate::domain::metric::{Bucket, as_f64};
use crate::domain::range::Range;
use crate::error::Error;
use crate::server::config::{Config, Prefix};
use crate::server::state::AppState;
use crate::server::store::events::lists::{self, Failed, Stale};
use crate::server::store::events::prefix_id;
use crate::server::store::events::rollups::{Segment, Tier, cover};
use axum::http::StatusCode;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use sqlx::PgConnection;

/// Events listed on the prefix page, of each kind.
const LATEST: i64 = 10;
/// Events on one page of a list.
const LISTED: i64 = 100;
/// Kinds of events as the store numbers them.
const INVALIDATION: i16 = 3;
const STALE_READ: i16 = 5;

/// Delays of the matrix's columns, seconds; the last column is `unknown`.
pub const DELAYS_S: [u32; 5] = [0, 1, 10, 60, 300];

/// Everything `/prefixes/{name}` shows.
#[derive(Clone, Debug)]
pub struct PrefixPage {
    pub range: Range,
    pub as_of: DateTime<Utc>,
    pub name: String,
    pub target: String,
    pub registered: bool,
    pub protected: bool,
    pub standing: Standing,
    /// Since when it is outside.
    pub outside_since: Option<DateTime<Utc>>,
    pub breaches: Vec<Breach>,
    pub why: Option<Why>,
    /// None for `unclassified` and `overflow`.
    pub policy: Option<Policy>,
    /// Bucket of the stale chart: the objective's `fresh_within`.
    pub stale_delay_s: u32,
    pub stale: MetricChart,
    /// One row a read path, most samples first.
    pub read_paths: Vec<ReadPath>,
    pub all_paths: [RateFigure; 6],
    pub miss: MetricChart,
    /// Misses per minute, where misses were counted and no rate is known because nobody measured hits.
    pub misses_alone: Option<MetricChart>,
    pub hits: u64,
    pub misses: u64,
    pub stale_served: u64,
    pub rebuild: RebuildChart,
    pub invalidation_errors: MetricChart,
    pub invalidations: u64,
    /// Failed ones by error class, most first.
    pub error_classes: Vec<(String, u64)>,
    pub cost: MetricChart,
    /// 1 is the dearest of `cost_of`.
    pub cost_rank: Option<(u32, u32)>,
    pub marks: Vec<Mark>,
    pub gaps: Vec<Gap>,
    /// The latest 10, newest first.
    pub failed: Vec<FailedInvalidation>,
    /// The latest 10 stale ones, newest first.
    pub stale_samples: Vec<StaleSample>,
    /// Declared writes that must invalidate this prefix.
    pub writes: Vec<DeclaredWrite>,
    pub any_events: bool,
}

/// The prefix card: owner, expected outcome, objective, thresholds, as declared.
#[derive(Clone, Debug)]
pub struct Policy {
    pub owner: String,
    /// `critical`, `standard`, `relaxed`
    pub tier: String,
    pub expected: String,
    pub fresh_within_s: u32,
    /// 0.999
    pub ratio: f64,
    /// Over the rolling 7 days; may be negative.
    pub budget_left: Option<f64>,
    /// Samples of the 7 days behind the budget.
    pub budget_n: u64,
    pub stale_threshold: Option<f64>,
    pub miss_threshold: Option<f64>,
    pub rebuild_p95_threshold_ms: Option<f64>,
    pub invalidation_errors_threshold: Option<f64>,
    pub ttl_max_s: Option<u64>,
    pub ttl_jitter: Option<f64>,
    pub ttl_required: bool,
    /// `full`, `masked`, `none`
    pub store_keys: String,
    /// `stalewatch.toml:58`
    pub declared_at: String,
}

/// Stale reads of one read path by delay: 0, 1, 10, 60, 300 s and unknown.
#[derive(Clone, Debug)]
pub struct ReadPath {
    /// `GET /me`; events without one are under `not named`.
    pub name: String,
    pub by_delay: [RateFigure; 6],
}

#[derive(Clone, Debug)]
pub struct RebuildChart {
    pub origin: Option<String>,
    /// Milliseconds, all three with the same steps.
    pub p50: Series,
    pub p95: Series,
    pub p99: Series,
    /// Over the range: p50, p95, p99.
    pub total: [Option<f64>; 3],
    pub rebuilds: u64,
    /// Rebuilds that ended in error or time-out.
    pub failed: u64,
    pub threshold_p95_ms: Option<f64>,
}

/// A failed invalidation. `key` is escaped text, already masked or left out as policy and role ask.
#[derive(Clone, Debug)]
pub struct FailedInvalidation {
    pub at: DateTime<Utc>,
    pub key: Option<String>,
    pub method: String,
    pub error_class: String,
    pub error: Option<String>,
    pub latency_us: Option<u64>,
    pub mutation_id: Option<String>,
    pub source: String,
}

/// A stale-read sample that was stale.
#[derive(Clone, Debug)]
pub struct StaleSample {
    pub at: DateTime<Utc>,
    pub key: Option<String>,
    pub delay_ms: Option<u64>,
    pub read_path: Option<String>,
    pub cached_version: Option<String>,
    pub source_version: Option<String>,
    pub mutation_id: Option<String>,
    pub source: String,
}

/// `?events=stale|failed`: the events behind a figure, newest first.
#[derive(Clone, Debug)]
pub struct EventList {
    pub range: Range,
    pub as_of: DateTime<Utc>,
    pub name: String,
    pub target: String,
    pub events: Events,
    /// How many there are in the range; more than are listed where the list was cut.
    pub total: u64,
    /// Raw events are kept this long; before it only figures are left.
    pub raw_since: DateTime<Utc>,
    /// Opens the next older ones (`&before=`), None at the end.
    pub older: Option<String>,
}

#[derive(Clone, Debug)]
pub enum Events {
    Stale(Vec<StaleSample>),
    Failed(Vec<FailedInvalidation>),
}

/// Which events a list is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    Stale,
    Failed,
}

/// Loads the page of one prefix; the last one known while Postgres is away. `sight`: what the reader sees of key names.
pub async fn load(app: &AppState, range: &Range, name: &str, target: Option<&str>, sight: Sight) -> Result<PrefixPage, Error> {
    let (own, range, name, target) = (app.clone(), *range, name.to_owned(), target.map(ToOwned::to_owned));
    let key = format!("{sight:?} {} {} {name}", range.query(), target.as_deref().unwrap_or("-"));
    app.prefixes.or_last(key, async move { read(&own, &range, &name, target.as_deref(), sight).await }).await
}

async fn read(app: &AppState, range: &Range, name: &str, target: Option<&str>, sight: Sight) -> Result<PrefixPage, Error> {
    let (config, now) = (app.config(), app.clock.now());
    let subject = find_subject(&config, name, target)?;
    let prefix = if subject.registered { config.prefix(&subject.target, &subject.name) } else { None };
    let steps = Steps::covering(range.from, range.to, range.step_s());
    let tier = Tier::of_step(steps.step_s).unwrap_or(Tier::Day);
    let view = app.cells.view(app).await?;
    let mut conn = app.pools.events_read.acquire().await?;
    let stand = standing::list(&view, &mut conn, &config, now, std::slice::from_ref(&subject)).await?.pop();
    let segment = Segment { tier, from: steps.from, to: steps.to() };
    let figures =
        tracks(&view, &mut conn, &[subject.id], &[segment], steps.from, steps.step_s).await?.remove(&subject.id).unwrap_or_default();
    let found = stand.as_ref().zip(prefix).map(|(stand, prefix)| stand.breaches(prefix)).unwrap_or_default();
    let mut breaches = vec![(subject.clone(), found)];
    causes::find_since(&view, &mut conn, &config, now, &mut breaches).await?;
    let breaches = breaches.pop().map(|(_, breaches)| breaches).unwrap_or_default();
    let cost_rank = if subject.registered { rank_by_cost(&view, &mut conn, &config, steps, tier, subject.id).await? } else { None };
    let notes = causes::notes(&mut conn, &config, &[&subject.target], range.from, now).await?;
    let gaps = gaps(&mut conn, &subject.target, range.from, range.to).await?;
    let failed = lists::list_failed(&mut conn, subject.id, range.from, range.to, LATEST).await?;
    let stale = lists::list_stale(&mut conn, subject.id, range.from, range.to, LATEST).await?;
    let mut writes = prefix.map(|prefix| causes::declared_writes(&config, prefix)).unwrap_or_default();
    if let Some(prefix) = prefix {
        causes::observe_writes(&mut conn, prefix, now, &mut writes).await?;
    }
    drop(conn);
    let own = causes::marks(&notes, subject.registered.then_some(subject.id));
    let marks = causes::happened(app, own, Some(&subject.target), range.from, range.to, sight).await?;
    let standing = stand.as_ref().map_or(Standing::NoPolicy, Stand::standing);
    let drawn = Drawn::of(&figures, steps, prefix);
    let invalidations = figures.shown(Figure::Invalidations, &drawn.buckets);
    let reads = figures.shown(Figure::MissRate, &drawn.buckets);
    let samples = figures.shown(Figure::StaleReadRate, &Bucket::ALL);
    let mut read_paths: Vec<ReadPath> = samples
        .iter()
        .flat_map(|tally| &tally.breakdown.paths)
        .map(|(path, rates)| ReadPath {
            name: if path.is_empty() { "not named".to_owned() } else { path.to_string() },
            by_delay: by_delay(rates),
        })
        .collect();
    read_paths.sort_by_key(|path| std::cmp::Reverse(path.by_delay.iter().map(|rate| rate.n).sum::<u64>()));
    let thresholds = prefix.map(|prefix| prefix.thresholds).unwrap_or_default();
    Ok(PrefixPage {
        range: *range,
        as_of: now,
        protected: prefix.is_some_and(|prefix| is_protected(&config, prefix)),
        standing,
        outside_since: breaches.iter().filter_map(|breach| breach.since).min().filter(|_| standing == Standing::Outside),
        why: prefix.filter(|_| standing == Standing::Outside).map(|prefix| causes::why(&config, prefix, &breaches, &notes)),
        breaches,
        policy: prefix.zip(stand.as_ref()).map(|(prefix, stand)| policy(&config, prefix, stand)),
        stale_delay_s: prefix.and_then(|prefix| prefix.fresh_within().seconds()).unwrap_or(0),
        stale: drawn.chart(Figure::StaleReadRate, thresholds.stale_read_rate),
        all_paths: samples.map(|tally| by_delay(&tally.breakdown.delays)).unwrap_or_default(),
        read_paths,
        miss: drawn.chart(Figure::MissRate, thresholds.miss_rate),
        misses_alone: drawn.misses_alone(),
        hits: reads.and_then(|tally| tally.hits).unwrap_or(0),
        misses: reads.and_then(|tally| tally.misses).unwrap_or(0),
        stale_served: reads.and_then(|tally| tally.stale_served).unwrap_or(0),
        rebuild: drawn.rebuild(thresholds.rebuild_p95_us),
        invalidation_errors: drawn.chart(Figure::InvalidationErrorRate, thresholds.invalidation_error_rate),
        invalidations: invalidations.map_or(0, |tally| tally.invalidations),
        error_classes: invalidations.map(classes).unwrap_or_default(),
        cost: drawn.chart(Figure::Cost, None),
        cost_rank,
        marks,
        gaps,
        failed: failed.into_iter().map(|event| failed_line(event, prefix, sight)).collect(),
        stale_samples: stale.into_iter().map(|event| stale_line(event, prefix, sight)).collect(),
        writes,
        any_events: stand.is_some_and(|stand| stand.last_event_at.is_some()),
        name: subject.name,
        target: subject.target,
        registered: subject.registered,
    })
}

/// Loads the events behind a figure, newest first. `before` is where the page before ended.
pub async fn load_events(
    app: &AppState,
    range: &Range,
    name: &str,
    target: Option<&str>,
    which: Which,
    before: Option<&str>,
    sight: Sight,
) -> Result<EventList, Error> {
    let (config, now) = (app.config(), app.clock.now());
    let subject = find_subject(&config, name, target)?;
    let prefix = if subject.registered { config.prefix(&subject.target, &subject.name) } else { None };
    let end = match before {
        None => range.to,
        Some(text) => DateTime::parse_from_rfc3339(text)
            .map_err(|_| Error::new(StatusCode::BAD_REQUEST, "bad_instant", "`before` is an instant, as the page's own link writes it."))?
            .with_timezone(&Utc),
    };
    let mut conn = app.pools.events_read.acquire().await?;
    let (events, shown, last, total) = match which {
        Which::Failed => {
            let rows = lists::list_failed(&mut conn, subject.id, range.from, end, LISTED).await?;
            let total = lists::count_notable(&mut conn, subject.id, INVALIDATION, range.from, range.to).await?;
            let (shown, last) = (rows.len(), rows.last().map(|row| row.at));
            (Events::Failed(rows.into_iter().map(|event| failed_line(event, prefix, sight)).collect()), shown, last, total)
        }
        Which::Stale => {
            let rows = lists::list_stale(&mut conn, subject.id, range.from, end, LISTED).await?;
            let total = lists::count_notable(&mut conn, subject.id, STALE_READ, range.from, range.to).await?;
            let (shown, last) = (rows.len(), rows.last().map(|row| row.at));
            (Events::Stale(rows.into_iter().map(|event| stale_line(event, prefix, sight)).collect()), shown, last, total)
        }
    };
    let full = i64::try_from(shown).is_ok_and(|shown| shown == LISTED);
    let word = if which == Which::Stale { "stale" } else { "failed" };
    Ok(EventList {
        range: *range,
        as_of: now,
        name: subject.name,
        target: subject.target.clone(),
        events,
        total,
        raw_since: now - TimeDelta::from_std(config.retention.raw).unwrap_or_default(),
        // Relative to the page's own path; the target was found, so it is named.
        older: last.filter(|_| full).map(|last| {
            format!(
                "?target={}&{}&events={word}&before={}",
                subject.target,
                range.query(),
                last.to_rfc3339_opts(SecondsFormat::Micros, true)
            )
        }),
    })
}

/// The prefix's place among all registered ones by what their rebuilds cost in the range, and of how many that is known.
async fn rank_by_cost(
    view: &View,
    conn: &mut PgConnection,
    config: &Config,
    steps: Steps,
    tier: Tier,
    id: i64,
) -> Result<Option<(u32, u32)>, sqlx::Error> {
    let registered: Vec<i64> = config.prefixes.iter().map(|prefix| prefix_id(&prefix.target, prefix.name())).collect();
    // One step of the whole range, from as few cells as make it up.
    let segments = cover(steps.from, steps.to(), tier, Tier::Day);
    let mut costs: Vec<(i64, u64)> = if view.covers(&segments) {
        let costs = registered.iter().map(|&id| Ok((id, view.rebuild_us(id, &segments)?)));
        costs.collect::<Result<_, Damaged>>().map_err(|damaged| sqlx::Error::Decode(Box::new(damaged)))?
    } else {
        let read = tracks(view, conn, &registered, &segments, steps.from, steps.seconds().max(1)).await?;
        read.iter().filter_map(|(id, track)| Some((*id, track.shown(Figure::Cost, &[])?.rebuild.sum_us()))).collect()
    };
    costs.retain(|(_, sum)| *sum > 0);
    let own = costs.iter().find(|(of, _)| *of == id).map(|(_, sum)| *sum);
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Ok(own.map(|own| (number(1 + costs.iter().filter(|(_, sum)| *sum > own).count()), number(costs.len()))))
}

fn by_delay(rates: &ByDelay) -> [RateFigure; 6] {
    rates.map(figure)
}

fn policy(config: &Config, prefix: &Prefix, stand: &Stand) -> Policy {
    Policy {
        owner: prefix.owner.clone().unwrap_or_else(|| "none".to_owned()),
        tier: prefix.tier.as_str().to_owned(),
        expected: prefix.expected.clone().unwrap_or_else(|| "not said".to_owned()),
        fresh_within_s: prefix.fresh_within().seconds().unwrap_or(0),
        ratio: prefix.objective.map_or(1.0, |objective| objective.ratio),
        budget_left: stand.observed.budget_left,
        budget_n: stand.budget_n,
        stale_threshold: prefix.thresholds.stale_read_rate,
        miss_threshold: prefix.thresholds.miss_rate,
        rebuild_p95_threshold_ms: prefix.thresholds.rebuild_p95_us.map(|us| as_f64(us) / 1e3),
        invalidation_errors_threshold: prefix.thresholds.invalidation_error_rate,
        ttl_max_s: prefix.ttl.max_s,
        ttl_jitter: prefix.ttl.jitter,
        ttl_required: prefix.ttl.required,
        store_keys: prefix.store_keys.as_str().to_owned(),
        declared_at: config.declared_at(prefix.line),
    }
}

fn failed_line(event: Failed, prefix: Option<&Prefix>, sight: Sight) -> FailedInvalidation {
    FailedInvalidation {
        at: event.at,
        key: event.key.as_deref().and_then(|key| sight.key(key, prefix)),
        method: event.method.and_then(Method::from_code).map_or("", Method::as_str).to_owned(),
        error_class: event.error_class.and_then(ErrorClass::from_code).map_or("other", ErrorClass::as_str).to_owned(),
        error: event.error,
        latency_us: event.latency_us.and_then(|us| u64::try_from(us).ok()),
        mutation_id: event.mutation_id,
        source: event.source.unwrap_or_default(),
    }
}

fn stale_line(event: Stale, prefix: Option<&Prefix>, sight: Sight) -> StaleSample {
    StaleSample {
        at: event.at,
        key: event.key.as_deref().and_then(|key| sight.key(key, prefix)),
        delay_ms: event.delay_ms.and_then(|ms| u64::try_from(ms).ok()),
        read_path: event.read_path,
        cached_version: event.cached_version,
        source_version: event.source_version,
        mutation_id: event.mutation_id,
        source: event.source.unwrap_or_default(),
    }
}

/// The figures of one prefix as lines of charts.
struct Drawn<'f> {
    figures: &'f Tracks,
    steps: Steps,
    buckets: Vec<Bucket>,
}

impl<'f> Drawn<'f> {
    fn of(figures: &'f Tracks, steps: Steps, prefix: Option<&Prefix>) -> Self {
        Self { figures, steps, buckets: buckets_of(prefix) }
    }

    fn line(&self, of: Figure) -> Line {
        self.figures.line(of, self.figures.origin(of, &self.buckets), self.steps, &self.buckets)
    }

    fn series(&self, line: &Line) -> Series {
        Series { from: self.steps.from, step_s: self.steps.step_s, points: line.points.iter().map(point).collect() }
    }

    fn chart(&self, of: Figure, threshold: Option<f64>) -> MetricChart {
        let line = self.line(of);
        MetricChart { origin: name_of(line.origin), series: self.series(&line), total: point(&line.total), threshold }
    }

    fn misses_alone(&self) -> Option<MetricChart> {
        if self.figures.shown(Figure::MissRate, &self.buckets).is_some() {
            return None;
        }
        let mut chart = self.chart(Figure::Misses, None);
        let per_minute = |value: Option<f64>, seconds: i64| value.map(|misses| misses * 60.0 / as_f64(seconds.unsigned_abs().max(1)));
        chart.total.value = per_minute(chart.total.value, self.steps.seconds());
        for point in &mut chart.series.points {
            point.value = per_minute(point.value, self.steps.step_s);
        }
        chart.total.value.is_some().then_some(chart)
    }

    fn rebuild(&self, threshold_us: Option<u64>) -> RebuildChart {
        let [p50, p95, p99] = [50, 95, 99].map(|hundredths| self.line(Figure::Rebuild(hundredths)));
        let total = self.figures.shown(Figure::Rebuilds, &self.buckets);
        RebuildChart {
            origin: name_of(p95.origin),
            total: [p50.total.value, p95.total.value, p99.total.value],
            rebuilds: total.map_or(0, |tally| tally.rebuilds),
            failed: total.map_or(0, |tally| tally.rebuild_errors + tally.rebuild_timeouts),
            threshold_p95_ms: threshold_us.map(|us| as_f64(us) / 1e3),
            p50: self.series(&p50),
            p95: self.series(&p95),
            p99: self.series(&p99),
        }
    }
}

fn point(value: &Value) -> Point {
    Point { value: value.value, n: value.n, low: value.low, high: value.high }
}

fn name_of(origin: Option<Origin>) -> Option<String> {
    origin.map(|origin| origin.as_str().to_owned())
}
