//! Where prefixes stand: what was seen in their last 15 minutes and what is left of their budget, whatever range a page shows.

use super::cells::View;
use super::figures::{Breach, Metric, Standing};
use super::series::{Subject, Tracks, tracks};
use crate::domain::event::ErrorClass;
use crate::domain::event::tally::Tally;
use crate::domain::figure::{Figure, buckets_from, miss_rate, stale_rate};
use crate::domain::metric::{Bucket, Rate};
use crate::domain::policy::{self, Assessment, Measure, Observed, State};
use crate::server::config::{Config, Prefix};
use crate::server::store::events::rollups::{self, Segment, Tier, cover};
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use std::collections::BTreeMap;

/// What a state rests on.
pub const WINDOW: TimeDelta = TimeDelta::minutes(15);
/// What a budget is reckoned over.
pub const BUDGET_WINDOW: TimeDelta = TimeDelta::days(7);

/// Where one prefix stands.
#[derive(Clone, Debug)]
pub struct Stand {
    pub subject: Subject,
    pub observed: Observed,
    /// `None` for `unclassified` and `overflow`, which have no policy.
    pub assessment: Option<Assessment>,
    /// Samples behind the budget.
    pub budget_n: u64,
    /// Failed invalidations of the window by class, most first.
    pub classes: Vec<(String, u64)>,
    pub last_event_at: Option<DateTime<Utc>>,
}

impl Stand {
    pub fn standing(&self) -> Standing {
        match self.assessment.as_ref().map(|assessment| assessment.state) {
            None => Standing::NoPolicy,
            Some(State::Outside) => Standing::Outside,
            Some(State::AtRisk) => Standing::AtRisk,
            Some(State::Within) => Standing::Within,
            Some(State::NotProven { needed }) => Standing::NotProven { needed },
        }
    }

    /// What is over or nearly so, worst first; since when is for who asks further.
    pub fn breaches(&self, prefix: &Prefix) -> Vec<Breach> {
        let findings = self.assessment.iter().flat_map(|assessment| &assessment.findings);
        findings
            .map(|finding| {
                let metric = metric_of(finding.measure);
                // Findings speak of microseconds, pages of milliseconds.
                let scale = if metric == Metric::RebuildP95 { 1e-3 } else { 1.0 };
                Breach {
                    metric,
                    value: finding.value * scale,
                    threshold: finding.threshold * scale,
                    n: finding.n,
                    interval: finding.interval.map(|interval| (interval.low, interval.high)),
                    delay_s: (metric == Metric::StaleReads).then(|| prefix.fresh_within().seconds()).flatten(),
                    classes: if metric == Metric::InvalidationErrors { self.classes.clone() } else { Vec::new() },
                    since: None,
                    since_about: false,
                }
            })
            .collect()
    }
}

fn metric_of(measure: Measure) -> Metric {
    match measure {
        Measure::StaleReadRate => Metric::StaleReads,
        Measure::InvalidationErrorRate => Metric::InvalidationErrors,
        Measure::RebuildP95 => Metric::RebuildP95,
        Measure::MissRate => Metric::MissRate,
        Measure::Budget => Metric::Budget,
    }
}

/// The buckets that speak about a prefix's objective.
pub fn buckets_of(prefix: Option<&Prefix>) -> Vec<Bucket> {
    buckets_from(prefix.map_or(Bucket::B0, Prefix::fresh_within))
}

/// Failed invalidations by class, most first.
pub fn classes(tally: &Tally) -> Vec<(String, u64)> {
    let mut classes: Vec<(String, u64)> =
        ErrorClass::ALL.iter().map(|&class| (class.as_str().to_owned(), tally.failures(class))).filter(|(_, count)| *count > 0).collect();
    classes.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    classes
}

/// Where all the given prefixes stand, in their order: from memory where it is there, else by a statement each.
pub async fn list(
    view: &View,
    conn: &mut PgConnection,
    config: &Config,
    now: DateTime<Utc>,
    subjects: &[Subject],
) -> Result<Vec<Stand>, sqlx::Error> {
    let ids: Vec<i64> = subjects.iter().map(|subject| subject.id).collect();
    let window = Segment { tier: Tier::Minute, from: floor(now - WINDOW, 60), to: ceil(now, 60) };
    let recent = tracks(view, &mut *conn, &ids, &[window], window.from, 86_400).await?;
    let week = cover(floor(now - BUDGET_WINDOW, 3_600), ceil(now, 86_400), Tier::Hour, Tier::Day);
    let mut budgets: BTreeMap<i64, Tracks> = BTreeMap::new();
    if view.covers(&week) {
        for &id in &ids {
            budgets.insert(id, view.samples(id, &week).map_err(|damaged| sqlx::Error::Decode(Box::new(damaged)))?);
        }
    } else {
        for figures in rollups::read_stale(&mut *conn, &ids, &week).await? {
            budgets.entry(figures.prefix_id).or_default().add(figures.origin, figures.step, figures.tally);
        }
    }
    let last: BTreeMap<i64, DateTime<Utc>> = if view.knows(Tier::Day) {
        ids.iter().filter_map(|&id| Some((id, view.last_event_at(id)?))).collect()
    } else {
        rollups::list_last_events(conn, &ids).await?.into_iter().collect()
    };
    let nothing = Tracks::default();
    Ok(subjects
        .iter()
        .map(|subject| {
            let prefix = if subject.registered { config.prefix(&subject.target, &subject.name) } else { None };
            let recent = recent.get(&subject.id).unwrap_or(&nothing);
            let week = budgets.get(&subject.id).unwrap_or(&nothing);
            stand(subject, prefix, recent, week, last.get(&subject.id).copied())
        })
        .collect())
}

fn stand(subject: &Subject, prefix: Option<&Prefix>, recent: &Tracks, week: &Tracks, last_event_at: Option<DateTime<Utc>>) -> Stand {
    let buckets = buckets_of(prefix);
    let rate = |figure: Figure, of: &dyn Fn(&Tally) -> Rate| recent.shown(figure, &buckets).map(of).unwrap_or_default();
    let week = week.shown(Figure::StaleReadRate, &buckets).map(|tally| stale_rate(tally, &buckets)).unwrap_or_default();
    let rebuilds = recent.shown(Figure::Rebuilds, &buckets);
    let invalidations = recent.shown(Figure::Invalidations, &buckets);
    let observed = Observed {
        stale: rate(Figure::StaleReadRate, &|tally| stale_rate(tally, &buckets)),
        miss: rate(Figure::MissRate, &miss_rate),
        invalidation_errors: rate(Figure::InvalidationErrorRate, &|tally| Rate::new(tally.invalidation_errors, tally.invalidations)),
        rebuild_p95_us: rebuilds.and_then(|tally| tally.rebuild.quantile(0.95)),
        rebuilds: rebuilds.map_or(0, |tally| tally.rebuilds),
        budget_left: prefix.and_then(|prefix| prefix.objective).and_then(|objective| policy::budget(week, objective.ratio)),
    };
    Stand {
        subject: subject.clone(),
        assessment: prefix.map(|prefix| policy::assess(&prefix.thresholds, &observed)),
        observed,
        budget_n: week.n,
        classes: invalidations.map(classes).unwrap_or_default(),
        last_event_at,
    }
}

/// The begin of the span of `length` seconds that an instant lies in.
pub fn floor(at: DateTime<Utc>, length: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(at.timestamp().div_euclid(length) * length, 0).unwrap_or(at)
}

/// The begin of the first such span that does not begin before the instant.
pub fn ceil(at: DateTime<Utc>, length: i64) -> DateTime<Utc> {
    let floored = floor(at, length);
    if floored == at { at } else { floored + TimeDelta::seconds(length) }
}
