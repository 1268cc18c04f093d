//! The overview's read model.

use super::causes;
use super::figures::{Breach, Gap, Mark, RateFigure, Standing, Why};
use super::series::{Steps, Subject, Tracks, subjects, tracks};
use super::sight::Sight;
use super::standing::{self, Stand, buckets_of};
use crate::domain::figure::{Figure, miss_rate, stale_rate};
use crate::domain::metric::{Rate, as_f64, cost};
use crate::domain::prefix::{Scope, ScopeKind};
use crate::domain::range::Range;
use crate::error::Error;
use crate::server::config::{Config, Prefix};
use crate::server::state::AppState;
use crate::server::store::events::quality;
use crate::server::store::events::rollups::{Segment, Tier};
use chrono::{DateTime, Utc};

/// Everything `/` shows. Rows come in reading order: outside, at risk, then by cost, `unclassified` and `overflow` last.
#[derive(Clone, Debug)]
pub struct Overview {
    pub range: Range,
    pub as_of: DateTime<Utc>,
    pub rows: Vec<Row>,
    pub marks: Vec<Mark>,
    pub gaps: Vec<Gap>,
    /// Whether any event was ever accepted; without one the page explains how to send the first.
    pub any_events: bool,
    /// Since when this server listens.
    pub listening_since: DateTime<Utc>,
}

/// One prefix. Figures are those of the range; standing and breaches of the last 15 minutes.
#[derive(Clone, Debug)]
pub struct Row {
    /// The template as registered, or `unclassified`, `overflow`.
    pub name: String,
    pub target: String,
    pub owner: Option<String>,
    pub registered: bool,
    /// Can never be flushed.
    pub protected: bool,
    pub standing: Standing,
    /// What is over (outside) or nearly so (at risk), worst first.
    pub breaches: Vec<Breach>,
    /// For outside rows.
    pub why: Option<Why>,
    /// The objective's `fresh_within`, which is the bucket (and later ones) the rate is taken at.
    pub stale_delay_s: Option<u32>,
    pub stale: RateFigure,
    pub stale_threshold: Option<f64>,
    pub miss: RateFigure,
    pub miss_threshold: Option<f64>,
    pub misses_per_min: Option<f64>,
    pub rebuild_p95_ms: Option<f64>,
    pub rebuild_p95_threshold_ms: Option<f64>,
    pub rebuilds: u64,
    /// Rebuild-seconds per minute.
    pub cost: Option<f64>,
    pub invalidation_errors: RateFigure,
    pub invalidation_errors_threshold: Option<f64>,
    /// Share of the 7-day budget left, may be negative; None where there is no objective or no sample.
    pub budget_left: Option<f64>,
    /// At most 60 points over the range, None for a gap.
    pub spark_miss: Vec<Option<f64>>,
    pub spark_stale: Vec<Option<f64>>,
    pub spark_p95_ms: Vec<Option<f64>>,
    pub last_event_at: Option<DateTime<Utc>>,
}

/// The steps of a sparkline: at most 60, each made of whole cells of one tier.
fn spark_steps(range: &Range) -> (Steps, Tier) {
    let hours = range.length().num_minutes().div_euclid(60);
    let (step_s, tier) = match hours {
        ..=1 => (60, Tier::Minute),
        2..=6 => (600, Tier::FiveMinutes),
        7..=24 => (1_800, Tier::FiveMinutes),
        25..=168 => (4 * 3_600, Tier::Hour),
        169..=336 => (8 * 3_600, Tier::Hour),
        337..=1_440 => (86_400, Tier::Day),
        _ => (7 * 86_400, Tier::Day),
    };
    (Steps::covering(range.from, range.to, step_s), tier)
}

/// Loads the overview; the last one known while Postgres is away.
pub async fn load(app: &AppState, range: &Range, sight: Sight) -> Result<Overview, Error> {
    let (own, range) = (app.clone(), *range);
    app.overviews.or_last(format!("{sight:?} {}", range.query()), async move { read(&own, &range, sight).await }).await
}

/// A handful of statements, however many prefixes there are.
async fn read(app: &AppState, range: &Range, sight: Sight) -> Result<Overview, Error> {
    let (config, now) = (app.config(), app.clock.now());
    let subjects = subjects(&config);
    let ids: Vec<i64> = subjects.iter().map(|subject| subject.id).collect();
    let (steps, tier) = spark_steps(range);
    let view = app.cells.view(app).await?;
    let mut conn = app.pools.events_read.acquire().await?;
    let stands = standing::list(&view, &mut conn, &config, now, &subjects).await?;
    let segment = Segment { tier, from: steps.from, to: steps.to() };
    let mut found = tracks(&view, &mut conn, &ids, &[segment], steps.from, steps.step_s).await?;
    let mut breaches: Vec<(Subject, Vec<Breach>)> = stands
        .iter()
        .map(|stand| {
            let prefix = prefix_of(&config, &stand.subject);
            (stand.subject.clone(), prefix.map(|prefix| stand.breaches(prefix)).unwrap_or_default())
        })
        .collect();
    causes::find_since(&view, &mut conn, &config, now, &mut breaches).await?;
    let targets: Vec<&str> = config.targets.iter().map(|target| target.name.as_str()).collect();
    let notes = causes::notes(&mut conn, &config, &targets, range.from, now).await?;
    let gaps = quality::list_gaps(&mut conn, range.from, range.to).await?;
    drop(conn);
    let marks = causes::happened(app, causes::marks(&notes, None), None, range.from, range.to, sight).await?;

    let seconds = (range.to - steps.from).num_seconds().max(1);
    let mut rows: Vec<Row> = stands
        .iter()
        .zip(breaches)
        .map(|(stand, (_, breaches))| {
            let figures = found.remove(&stand.subject.id).unwrap_or_default();
            let prefix = prefix_of(&config, &stand.subject);
            let why =
                prefix.filter(|_| stand.standing() == Standing::Outside).map(|prefix| causes::why(&config, prefix, &breaches, &notes));
            row(&config, stand, prefix, &figures, steps, seconds, breaches, why)
        })
        .collect();
    rows.sort_by(|a, b| {
        place(a).cmp(&place(b)).then_with(|| b.cost.unwrap_or(0.0).total_cmp(&a.cost.unwrap_or(0.0))).then_with(|| a.name.cmp(&b.name))
    });
    Ok(Overview {
        range: *range,
        as_of: now,
        any_events: rows.iter().any(|row| row.last_event_at.is_some()),
        rows,
        marks,
        gaps: gaps.into_iter().map(|gap| Gap { from: gap.from.max(range.from), to: gap.to.min(range.to), why: gap.why }).collect(),
        listening_since: app.ingest.started_at(),
    })
}

fn prefix_of<'c>(config: &'c Config, subject: &Subject) -> Option<&'c Prefix> {
    if subject.registered { config.prefix(&subject.target, &subject.name) } else { None }
}

/// Outside first, at risk next; what has no policy last.
fn place(row: &Row) -> u8 {
    match (row.registered, row.standing) {
        (false, _) => 3,
        (_, Standing::Outside) => 0,
        (_, Standing::AtRisk) => 1,
        _ => 2,
    }
}

/// Whether no flush may touch any key of this prefix.
pub fn is_protected(config: &Config, prefix: &Prefix) -> bool {
    let Some(target) = config.target(&prefix.target) else { return false };
    let own = std::slice::from_ref(&prefix.template);
    Scope::parse(prefix.name(), Some(ScopeKind::Template), target.delimiter, own)
        .is_ok_and(|scope| target.protected.iter().any(|protected| scope.may_contain_under(protected)))
}

/// A rate with its weight, as pages show it.
pub fn figure(rate: Rate) -> RateFigure {
    RateFigure { k: rate.k, n: rate.n, interval: rate.interval().map(|interval| (interval.low, interval.high)) }
}

fn row(
    config: &Config,
    stand: &Stand,
    prefix: Option<&Prefix>,
    figures: &Tracks,
    steps: Steps,
    seconds: i64,
    breaches: Vec<Breach>,
    why: Option<Why>,
) -> Row {
    let buckets = buckets_of(prefix);
    let spark = |of: Figure| -> Vec<Option<f64>> {
        let points = figures.line(of, figures.origin(of, &buckets), steps, &buckets).points;
        if points.iter().all(|point| point.value.is_none()) { Vec::new() } else { points.into_iter().map(|point| point.value).collect() }
    };
    let rate = |of: Figure, rate: &dyn Fn(&crate::domain::event::tally::Tally) -> Rate| {
        figure(figures.shown(of, &buckets).map(rate).unwrap_or_default())
    };
    let rebuilds = figures.shown(Figure::Rebuilds, &buckets);
    let misses = figures.shown(Figure::Misses, &buckets).and_then(|tally| tally.misses);
    let thresholds = prefix.map(|prefix| prefix.thresholds).unwrap_or_default();
    Row {
        name: stand.subject.name.clone(),
        target: stand.subject.target.clone(),
        owner: prefix.and_then(|prefix| prefix.owner.clone()),
        registered: stand.subject.registered,
        protected: prefix.is_some_and(|prefix| is_protected(config, prefix)),
        standing: stand.standing(),
        breaches,
        why,
        stale_delay_s: prefix.and_then(|prefix| prefix.fresh_within().seconds()),
        stale: rate(Figure::StaleReadRate, &|tally| stale_rate(tally, &buckets)),
        stale_threshold: thresholds.stale_read_rate,
        miss: rate(Figure::MissRate, &miss_rate),
        miss_threshold: thresholds.miss_rate,
        misses_per_min: misses.map(|misses| as_f64(misses) * 60.0 / as_f64(seconds.unsigned_abs())),
        rebuild_p95_ms: rebuilds.and_then(|tally| tally.rebuild.quantile(0.95)).map(|us| as_f64(us) / 1e3),
        rebuild_p95_threshold_ms: thresholds.rebuild_p95_us.map(|us| as_f64(us) / 1e3),
        rebuilds: rebuilds.map_or(0, |tally| tally.rebuilds),
        cost: rebuilds.and_then(|tally| cost(tally.rebuild.sum_us(), seconds)),
        invalidation_errors: rate(Figure::InvalidationErrorRate, &|tally| Rate::new(tally.invalidation_errors, tally.invalidations)),
        invalidation_errors_threshold: thresholds.invalidation_error_rate,
        budget_left: stand.observed.budget_left,
        spark_miss: spark(Figure::MissRate),
        spark_stale: spark(Figure::StaleReadRate),
        spark_p95_ms: spark(Figure::Rebuild(95)),
        last_event_at: stand.last_event_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::range::Preset;

    #[test]
    fn a_sparkline_has_at_most_sixty_steps_of_whole_cells() {
        let now = DateTime::from_timestamp(1_764_000_123, 0).unwrap();
        for preset in Preset::ALL {
            let (steps, tier) = spark_steps(&Range::last(preset, now));
            assert!(steps.count <= 61, "{preset:?}: {}", steps.count);
            assert_eq!(steps.step_s % tier.seconds(), 0, "{preset:?}");
            assert!(steps.to() >= now && steps.from <= now - preset.length());
        }
    }
}
