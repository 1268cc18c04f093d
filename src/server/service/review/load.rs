//! Putting a week together: figures from rollups, flushes and actions from the control tables.

use super::sums::{PrefixSums, Weeks};
use super::{Action, ReviewContract, ReviewPage, ReviewRow};
use crate::domain::metric::{Bucket, Rate, cost};
use crate::domain::number::count;
use crate::domain::policy::{self, MIN_SAMPLES, Observed, State, Thresholds};
use crate::domain::review::Week;
use crate::error::Error;
use crate::server::config::{Config, Prefix};
use crate::server::ingest::{OVERFLOW, UNCLASSIFIED};
use crate::server::service::figures::{Gap, Mark, MarkKind, RateFigure, Standing};
use crate::server::service::flush::FlushLine;
use crate::server::service::sight::Sight;
use crate::server::service::{causes, contracts};
use crate::server::state::AppState;
use crate::server::store::events::lists;
use crate::server::store::events::quality;
use crate::server::store::events::rollups::{self, Tier};
use crate::server::store::events::{prefix_id, rest_id, target_id};
use crate::server::store::reviews;
use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::HashMap;

/// A state speaks of this much.
const STATE: TimeDelta = TimeDelta::minutes(15);
/// Most annotations of a week that its chart carries, the latest.
const MARKS: i64 = 200;

/// The week of an address, if it has begun where the review is held.
pub fn find_week(app: &AppState, text: &str) -> Result<Week, Error> {
    let current = current_week(app);
    let Some(week) = Week::parse(text) else {
        let shown: String = text.chars().take(40).collect();
        let detail = format!("“{shown}” is not an ISO week. Write one as {current}; /review opens the current one.");
        return Err(Error::new(StatusCode::NOT_FOUND, "no_such_week", detail));
    };
    if week > current {
        let detail = format!("Week {week} has not begun. The current one is {current}; /review opens it.");
        return Err(Error::new(StatusCode::NOT_FOUND, "no_such_week", detail));
    }
    Ok(week)
}

/// The week it is where the review is held.
pub fn current_week(app: &AppState) -> Week {
    Week::at(app.clock.now(), &app.config().review.timezone)
}

/// A line of the review: a registered prefix, or what no prefix counts.
struct Line<'a> {
    id: i64,
    name: &'a str,
    target: &'a str,
    declared: Option<&'a Prefix>,
}

fn lines(config: &Config) -> Vec<Line<'_>> {
    let declared = config.prefixes.iter().map(|prefix| Line {
        id: prefix_id(&prefix.target, prefix.name()),
        name: prefix.name(),
        target: &prefix.target,
        declared: Some(prefix),
    });
    let rest = config.targets.iter().flat_map(|target| {
        [UNCLASSIFIED, OVERFLOW].map(|name| Line { id: rest_id(&target.name, name), name, target: &target.name, declared: None })
    });
    declared.chain(rest).collect()
}

/// Loads a week's review.
pub async fn load(app: &AppState, week: Week, sight: Sight) -> Result<ReviewPage, Error> {
    let (config, now) = (app.config(), app.clock.now());
    let zone = config.review.timezone;
    let weeks = Weeks::new(week, &zone, now, config.retention.five_minutes);
    let lines = lines(&config);
    let mut conn = app.pools.events_read.acquire().await?;
    let mut sums = read_sums(&mut conn, &lines, &weeks).await?;
    let states = read_states(&mut conn, &lines, weeks.end.min(now)).await?;
    let gaps = quality::list_gaps(&mut conn, weeks.before, weeks.end).await?;
    // Seen from the week's end, so that later ones cannot crowd them out.
    let targets: Vec<i64> = config.targets.iter().map(|target| target_id(&target.name)).collect();
    let notes = lists::list_notes(&mut conn, &targets, weeks.start, weeks.end.min(now), MARKS).await?;
    let seen = contracts::see(&mut conn, &config, weeks.start, weeks.end.min(now), now).await?;
    drop(conn);
    let mut conn = app.pools.control.acquire().await?;
    let mut flushes = reviews::list_flushes(&mut conn, weeks.start, weeks.end).await?;
    for flush in &mut flushes {
        flush.scope = sight.scope(&config, &flush.target, &flush.scope);
    }
    let flushes_before = reviews::count_flushes(&mut conn, weeks.before, weeks.start).await?;
    let actions = reviews::list_actions(&mut conn, &week.to_string(), weeks.start).await?;
    drop(conn);

    let contracts: Vec<ReviewContract> = config
        .contracts
        .iter()
        .zip(seen)
        .flat_map(|(contract, seen)| {
            // What raw events no longer tell is not zero.
            let kept = weeks.start >= now - TimeDelta::from_std(config.retention.raw).unwrap_or_default();
            let writes = kept.then_some(seen.writes.count);
            contract.affects.iter().zip(seen.edges).map(move |(edge, last)| ReviewContract {
                endpoint: contract.write.clone(),
                prefix: edge.prefix.clone(),
                how: edge.how.as_str().to_owned(),
                within_s: contract.within.as_secs_f64(),
                writes,
                last_invalidation: last.map(|last| last.at),
            })
        })
        .collect();

    let mut rows = Vec::new();
    let mut all = Totals::new(&weeks);
    for line in &lines {
        let sum = sums.remove(&line.id).unwrap_or_else(|| PrefixSums::new(&weeks));
        all.add(line, &sum);
        if line.declared.is_some() || sum.any_data() {
            rows.push(row(line, &sum, &weeks, states.get(&line.id).copied(), now));
        }
    }
    rows.sort_by(|a, b| {
        let left = |row: &ReviewRow| row.budget_left.unwrap_or(f64::INFINITY);
        left(a).total_cmp(&left(b)).then_with(|| b.cost.unwrap_or(0.0).total_cmp(&a.cost.unwrap_or(0.0))).then_with(|| a.name.cmp(&b.name))
    });

    let clipped = |from: DateTime<Utc>, to: DateTime<Utc>| {
        covered(gaps.iter().filter(|gap| gap.from < to && gap.to > from).map(|gap| (gap.from.max(from), gap.to.min(to))))
    };
    let mut marks: Vec<Mark> = causes::marks(&notes, None).into_iter().filter(|mark| mark.at < weeks.end).collect();
    marks.extend(flushes.iter().map(mark));
    marks.sort_by_key(|mark| mark.at);
    let without_data_s = (clipped(weeks.start, weeks.end), clipped(weeks.before, weeks.start));
    Ok(ReviewPage {
        week: week.to_string(),
        previous: week.previous().to_string(),
        next: (week < current_week(app)).then(|| week.next().to_string()),
        first_day: week.first_day(),
        last_day: week.last_day(),
        timezone: zone.name().to_owned(),
        as_of: now,
        running: now < weeks.end,
        outside_ever: all.outside_ever,
        flushes_count: (u32::try_from(flushes.len()).unwrap_or(u32::MAX), flushes_before),
        failed_invalidations: all.failed,
        without_data_s,
        stale: figure(all.stale.0),
        stale_before: figure(all.stale.1),
        chart: weeks.series(&all.bins.0),
        chart_before: weeks.series(&all.bins.1),
        marks,
        gaps: gaps
            .into_iter()
            .filter(|gap| gap.to > weeks.start)
            .map(|gap| Gap { from: gap.from.max(weeks.start), to: gap.to.min(weeks.end), why: gap.why })
            .collect(),
        rows,
        flushes: flushes.into_iter().map(FlushLine::from).collect(),
        contracts,
        actions: actions.into_iter().map(Action::from).collect(),
        today: now.with_timezone(&zone).date_naive(),
    })
}

/// The figures of both weeks, hour by hour, by prefix.
async fn read_sums(conn: &mut sqlx::PgConnection, lines: &[Line<'_>], weeks: &Weeks) -> Result<HashMap<i64, PrefixSums>, sqlx::Error> {
    let by_id: HashMap<i64, &Line<'_>> = lines.iter().map(|line| (line.id, line)).collect();
    let ids: Vec<i64> = lines.iter().map(|line| line.id).collect();
    let mut sums: HashMap<i64, PrefixSums> = HashMap::new();
    for found in rollups::read(conn, &ids, &weeks.segments(), weeks.before, weeks.step_s).await? {
        let Some(line) = by_id.get(&found.prefix_id) else { continue };
        let (fresh_within, thresholds) =
            line.declared.map_or((Bucket::B0, Thresholds::default()), |prefix| (prefix.fresh_within(), prefix.thresholds));
        sums.entry(found.prefix_id).or_insert_with(|| PrefixSums::new(weeks)).add(weeks, &found, fresh_within, &thresholds);
    }
    Ok(sums)
}

/// Figures of the last 15 minutes up to `end`, by prefix.
async fn read_states(conn: &mut sqlx::PgConnection, lines: &[Line<'_>], end: DateTime<Utc>) -> Result<HashMap<i64, Observed>, sqlx::Error> {
    let minute = |at: i64| DateTime::from_timestamp(at.div_euclid(60) * 60, 0).unwrap_or(end);
    let (from, to) = (minute((end - STATE).timestamp()), minute(end.timestamp() + 59));
    let by_id: HashMap<i64, &Line<'_>> = lines.iter().map(|line| (line.id, line)).collect();
    let ids: Vec<i64> = lines.iter().map(|line| line.id).collect();
    let segments = rollups::cover(from, to, Tier::Minute, Tier::Minute);
    let mut states: HashMap<i64, Observed> = HashMap::new();
    // One step; origins come in their order of preference.
    for found in rollups::read(conn, &ids, &segments, from, (to - from).num_seconds().max(1)).await? {
        let fresh_within = by_id.get(&found.prefix_id).and_then(|line| line.declared).map_or(Bucket::B0, Prefix::fresh_within);
        super::sums::observe(states.entry(found.prefix_id).or_default(), &found.tally, fresh_within);
    }
    Ok(states)
}

fn row(line: &Line<'_>, sum: &PrefixSums, weeks: &Weeks, state: Option<Observed>, now: DateTime<Utc>) -> ReviewRow {
    let objective = line.declared.and_then(|prefix| prefix.objective);
    let (this, before) = (sum.week(0), sum.week(1));
    let budget = |stale: Rate| objective.and_then(|objective| policy::budget(stale, objective.ratio));
    let budget_left = budget(this.stale);
    let mut spent = Rate::default();
    let by_day = this.days.map(|day| {
        spent = spent + day;
        if day.n == 0 { None } else { budget(spent) }
    });
    let standing = line.declared.map_or(Standing::NoPolicy, |prefix| {
        let seen = Observed { budget_left, ..state.unwrap_or_default() };
        match policy::state(&prefix.thresholds, &seen) {
            State::Outside => Standing::Outside,
            State::AtRisk => Standing::AtRisk,
            State::Within => Standing::Within,
            State::NotProven { needed } => Standing::NotProven { needed },
        }
    });
    let elapsed = (weeks.end.min(now) - weeks.start).num_seconds();
    ReviewRow {
        name: line.name.to_owned(),
        target: line.target.to_owned(),
        owner: line.declared.and_then(|prefix| prefix.owner.clone()),
        standing,
        fresh_within_s: objective.map(|objective| objective.fresh_within_s()),
        ratio: objective.map(|objective| objective.ratio),
        budget_left,
        budget_before: budget(before.stale),
        stale: figure(this.stale),
        stale_before: figure(before.stale),
        cost: this.rebuild_us.and_then(|sum_us| cost(sum_us, elapsed)),
        cost_before: before.rebuild_us.and_then(|sum_us| cost(sum_us, (weeks.start - weeks.before).num_seconds())),
        budget_by_day: by_day,
        say: say(this.invalidations, this.worst_class, objective.is_some().then_some(this.stale.n)),
    }
}

/// What is worth a word: failing invalidations, or too few samples to judge.
fn say(invalidations: Rate, worst: Option<&'static str>, samples: Option<u64>) -> Option<String> {
    if let Some(class) = worst
        && invalidations.k.saturating_mul(100) >= invalidations.n
    {
        return Some(format!("{} of {} invalidations failed, mostly {class}", count(invalidations.k), count(invalidations.n)));
    }
    match samples {
        Some(0) => Some("no stale-read samples in the week".to_owned()),
        Some(n) if n < MIN_SAMPLES => Some(format!("too little data: {n} samples in the week")),
        _ => None,
    }
}

/// Figures over all prefixes.
struct Totals {
    stale: (Rate, Rate),
    failed: (u64, u64),
    outside_ever: (u32, u32),
    bins: (Vec<Rate>, Vec<Rate>),
}

impl Totals {
    fn new(weeks: &Weeks) -> Self {
        let bins = vec![Rate::default(); weeks.bins()];
        Self { stale: (Rate::default(), Rate::default()), failed: (0, 0), outside_ever: (0, 0), bins: (bins.clone(), bins) }
    }

    fn add(&mut self, line: &Line<'_>, sum: &PrefixSums) {
        let (this, before) = (sum.week(0), sum.week(1));
        self.failed.0 += this.invalidations.k;
        self.failed.1 += before.invalidations.k;
        self.outside_ever.0 += u32::from(this.outside);
        self.outside_ever.1 += u32::from(before.outside);
        // Without an objective there is no delay from which stale counts.
        if line.declared.is_some_and(|prefix| prefix.objective.is_some()) {
            self.stale.0 = self.stale.0 + this.stale;
            self.stale.1 = self.stale.1 + before.stale;
            for (bins, week) in [(&mut self.bins.0, this.bins), (&mut self.bins.1, before.bins)] {
                for (bin, more) in bins.iter_mut().zip(week) {
                    *bin = *bin + *more;
                }
            }
        }
    }
}

fn figure(rate: Rate) -> RateFigure {
    RateFigure { k: rate.k, n: rate.n, interval: rate.interval().map(|interval| (interval.low, interval.high)) }
}

fn mark(flush: &reviews::Flushed) -> Mark {
    Mark { kind: MarkKind::Flush, at: flush.at, label: format!("flush {}", flush.scope), href: Some(format!("/flush/{}", flush.id)) }
}

impl From<reviews::Flushed> for FlushLine {
    fn from(row: reviews::Flushed) -> Self {
        let count = |value: i64| u64::try_from(value).unwrap_or(0);
        Self {
            id: row.id.to_string(),
            at: row.at,
            target: row.target,
            scope: row.scope,
            mode: row.mode,
            state: row.state,
            by: row.by,
            reason: row.reason,
            planned: row.planned.map(count),
            removed: count(row.removed),
            residue: row.residue.map(count),
            wide: row.wide,
            break_glass: row.break_glass,
            verdict: row.verdict,
        }
    }
}

/// Seconds under spans that come by their begin and may overlap.
fn covered(spans: impl Iterator<Item = (DateTime<Utc>, DateTime<Utc>)>) -> u64 {
    let mut end = DateTime::<Utc>::MIN_UTC;
    let mut seconds = 0;
    for (from, to) in spans {
        if to > end {
            seconds += (to - from.max(end)).num_seconds();
            end = to;
        }
    }
    u64::try_from(seconds).unwrap_or(0)
}
