//! One figure over time: what `GET /api/v1/series` answers, and how charts get their points.

use super::cells::View;
use crate::domain::event::Origin;
use crate::domain::event::tally::Tally;
use crate::domain::figure::{Figure, Value, buckets_from};
use crate::domain::metric::Bucket;
use crate::error::Error;
use crate::server::config::Config;
use crate::server::ingest::{OVERFLOW, UNCLASSIFIED};
use crate::server::state::AppState;
use crate::server::store::events::rollups::{self, Segment, Tier};
use crate::server::store::events::{self as store, quality};
use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// Most points of one answer.
const POINTS_MAX: i64 = 20_000;

/// A prefix as figures know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub id: i64,
    pub name: String,
    pub target: String,
    pub registered: bool,
}

/// All prefixes of a configuration: each target's in the order of the file, then its `unclassified` and `overflow`.
pub fn subjects(config: &Config) -> Vec<Subject> {
    let mut subjects = Vec::new();
    for target in &config.targets {
        let subject = |id, name: &str, registered| Subject { id, name: name.to_owned(), target: target.name.clone(), registered };
        for prefix in config.prefixes_of(&target.name) {
            subjects.push(subject(store::prefix_id(&target.name, prefix.name()), prefix.name(), true));
        }
        for rest in [UNCLASSIFIED, OVERFLOW] {
            subjects.push(subject(store::rest_id(&target.name, rest), rest, false));
        }
    }
    subjects
}

/// The prefix of that name; a target is needed where several have one.
pub fn find_subject(config: &Config, name: &str, target: Option<&str>) -> Result<Subject, Error> {
    if let Some(target) = target.filter(|target| config.target(target).is_none()) {
        return Err(Error::not_found(format!("target “{}”", shown(target))));
    }
    let mut found: Vec<Subject> = subjects(config)
        .into_iter()
        .filter(|subject| subject.name == name && target.is_none_or(|target| subject.target == target))
        .collect();
    // A template may be called `unclassified` too; the one that somebody registered is meant.
    if found.iter().any(|subject| subject.registered) {
        found.retain(|subject| subject.registered);
    }
    if found.len() > 1 {
        let targets: Vec<&str> = found.iter().map(|subject| subject.target.as_str()).collect();
        let detail = format!("Several targets have this prefix: add `target=` with one of {}.", targets.join(", "));
        return Err(Error::new(StatusCode::BAD_REQUEST, "ambiguous_target", detail));
    }
    found.pop().ok_or_else(|| Error::not_found(format!("prefix “{}”", shown(name))))
}

fn shown(name: &str) -> String {
    name.chars().take(120).collect()
}

/// The steps of a chart: `count` of `step_s` seconds from `from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    pub from: DateTime<Utc>,
    pub step_s: i64,
    pub count: usize,
}

impl Steps {
    /// `from` floored and `to` ceiled to the step.
    pub fn covering(from: DateTime<Utc>, to: DateTime<Utc>, step_s: i64) -> Self {
        let first = from.timestamp().div_euclid(step_s);
        let end = to.timestamp() + i64::from(to.timestamp_subsec_nanos() > 0);
        let last = end.div_euclid(step_s) + i64::from(end.rem_euclid(step_s) > 0);
        let from = DateTime::from_timestamp(first * step_s, 0).unwrap_or(from);
        Self { from, step_s, count: usize::try_from((last - first).max(0)).unwrap_or(0) }
    }

    /// The step that is taken where none is asked for.
    pub fn default_step_s(from: DateTime<Utc>, to: DateTime<Utc>) -> i64 {
        let length = to - from;
        if length <= TimeDelta::hours(3) {
            60
        } else if length <= TimeDelta::hours(24) {
            300
        } else if length <= TimeDelta::days(14) {
            3_600
        } else {
            86_400
        }
    }

    pub fn seconds(&self) -> i64 {
        self.step_s * i64::try_from(self.count).unwrap_or(0)
    }

    pub fn to(&self) -> DateTime<Utc> {
        self.at(self.count)
    }

    /// Where a step begins.
    pub fn at(&self, step: usize) -> DateTime<Utc> {
        self.from + TimeDelta::seconds(self.step_s * i64::try_from(step).unwrap_or(0))
    }
}

/// The figures of one prefix, by origin and step.
#[derive(Clone, Debug, Default)]
pub struct Tracks {
    steps: BTreeMap<Origin, BTreeMap<usize, Tally>>,
    totals: BTreeMap<Origin, Tally>,
}

/// A figure's way through the steps.
#[derive(Clone, Debug)]
pub struct Line {
    pub origin: Option<Origin>,
    pub points: Vec<Value>,
    pub total: Value,
}

impl Tracks {
    pub fn add(&mut self, origin: Origin, step: usize, tally: Tally) {
        self.totals.entry(origin).or_default().merge(&tally);
        match self.steps.entry(origin).or_default().entry(step) {
            Entry::Vacant(place) => {
                place.insert(tally);
            }
            Entry::Occupied(mut place) => place.get_mut().merge(&tally),
        }
    }

    /// Whose figure is shown.
    pub fn origin(&self, figure: Figure, buckets: &[Bucket]) -> Option<Origin> {
        figure.choose(self.totals.iter().map(|(&origin, total)| (origin, total)), buckets)
    }

    /// Everything of the range from that origin.
    pub fn total(&self, origin: Option<Origin>) -> Option<&Tally> {
        self.totals.get(&origin?)
    }

    /// The figures of one step from that origin.
    pub fn step(&self, origin: Option<Origin>, step: usize) -> Option<&Tally> {
        self.steps.get(&origin?)?.get(&step)
    }

    /// The range's total of the figure, from whoever has it.
    pub fn shown(&self, figure: Figure, buckets: &[Bucket]) -> Option<&Tally> {
        self.total(self.origin(figure, buckets))
    }

    pub fn line(&self, figure: Figure, origin: Option<Origin>, steps: Steps, buckets: &[Bucket]) -> Line {
        // A figure that is known nowhere in the range is not zero anywhere in it.
        let known = self.total(origin).filter(|total| figure.is_known(total, buckets));
        let points = (0..steps.count)
            .map(|step| match (known, self.step(origin, step)) {
                (Some(_), Some(tally)) => figure.of(tally, steps.step_s, buckets),
                _ => Value::default(),
            })
            .collect();
        Line { origin, points, total: known.map(|total| figure.of(total, steps.seconds(), buckets)).unwrap_or_default() }
    }

    pub fn is_empty(&self) -> bool {
        self.totals.is_empty()
    }
}

/// The figures of prefixes for a chart whose first step begins at `origin`: from memory where they are there. `segments` cover the steps.
pub async fn tracks(
    view: &View,
    conn: &mut PgConnection,
    prefix_ids: &[i64],
    segments: &[Segment],
    origin: DateTime<Utc>,
    step_s: i64,
) -> Result<BTreeMap<i64, Tracks>, sqlx::Error> {
    if view.covers(segments) {
        return view.tracks(prefix_ids, segments, origin, step_s).map_err(|damaged| sqlx::Error::Decode(Box::new(damaged)));
    }
    let mut tracks: BTreeMap<i64, Tracks> = BTreeMap::new();
    for figures in rollups::read(conn, prefix_ids, segments, origin, step_s).await? {
        tracks.entry(figures.prefix_id).or_default().add(figures.origin, figures.step, figures.tally);
    }
    Ok(tracks)
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Query {
    pub subject: Subject,
    pub figure: Figure,
    /// `None`: the first with data.
    pub origin: Option<Origin>,
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    /// `None`: by the length of the range.
    pub tier: Option<Tier>,
    /// `None`: those that speak about the objective.
    pub bucket: Option<Bucket>,
}

/// A figure over time.
#[derive(Clone, Debug)]
pub struct Series {
    pub steps: Steps,
    pub line: Line,
    pub gaps: Vec<super::figures::Gap>,
}

pub async fn load(app: &AppState, query: &Query) -> Result<Series, Error> {
    let config = app.config();
    if query.from >= query.to {
        return Err(Error::new(StatusCode::BAD_REQUEST, "range", "`from` must lie before `to`."));
    }
    let length = query.tier.map_or_else(|| Steps::default_step_s(query.from, query.to), Tier::seconds);
    if (query.to - query.from).num_seconds() / length > POINTS_MAX {
        let detail = format!("That would be more than {POINTS_MAX} points: ask for a longer `step` or a shorter range.");
        return Err(Error::new(StatusCode::BAD_REQUEST, "range", detail));
    }
    let steps = Steps::covering(query.from, query.to, length);
    let tier = Tier::of_step(length).unwrap_or(Tier::Day);
    let segments = [Segment { tier, from: steps.from, to: steps.to() }];
    let view = app.cells.view(app).await?;
    let mut conn = app.pools.events_read.acquire().await?;
    let tracks =
        tracks(&view, &mut conn, &[query.subject.id], &segments, steps.from, length).await?.remove(&query.subject.id).unwrap_or_default();
    let buckets = match query.bucket {
        Some(bucket) => vec![bucket],
        None => buckets_from(
            config.prefix(&query.subject.target, &query.subject.name).map_or(Bucket::B0, crate::server::config::Prefix::fresh_within),
        ),
    };
    let origin = query.origin.or_else(|| tracks.origin(query.figure, &buckets));
    let line = tracks.line(query.figure, origin, steps, &buckets);
    let mut gaps = gaps(&mut conn, &query.subject.target, steps.from, steps.to()).await?;
    let kept = app.clock.now() - TimeDelta::from_std(kept(&config, tier)).unwrap_or(TimeDelta::MAX);
    if kept > steps.from {
        let why = "figures this fine are not kept so long".to_owned();
        gaps.insert(0, super::figures::Gap { from: steps.from, to: kept.min(steps.to()), why });
    }
    Ok(Series { steps, line, gaps })
}

fn kept(config: &Config, tier: Tier) -> std::time::Duration {
    match tier {
        Tier::Minute => config.retention.minute,
        Tier::FiveMinutes => config.retention.five_minutes,
        Tier::Hour => config.retention.hour,
        Tier::Day => config.retention.day,
    }
}

/// Spans of a target in which events may be missing, cut to the range.
pub async fn gaps(
    conn: &mut PgConnection,
    target: &str,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<super::figures::Gap>, sqlx::Error> {
    let target_id = store::target_id(target);
    let gaps = quality::list_gaps(conn, from, to).await?;
    Ok(gaps
        .into_iter()
        .filter(|gap| gap.target_id == 0 || gap.target_id == target_id)
        .map(|gap| super::figures::Gap { from: gap.from.max(from), to: gap.to.min(to), why: gap.why })
        .collect())
}
