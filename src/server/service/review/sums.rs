//! Adding up two weeks of rollups: this one and the one before, by prefix and origin. Origins are never added together: of each week and metric
//! the first with data counts.

use crate::domain::event::tally::Tally;
use crate::domain::event::{ErrorClass, Origin};
use crate::domain::metric::{Bucket, Rate, wilson};
use crate::domain::policy::{self, Observed, State, Thresholds};
use crate::domain::review::Week;
use crate::server::service::figures::{Point, Series};
use crate::server::store::events::rollups::{Figures, Segment, Tier, cover};
use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use std::collections::BTreeMap;
use std::time::Duration;

/// Width of a chart's step.
const BIN_S: i64 = 7_200;
const HOUR_S: i64 = 3_600;

/// The two weeks and how they are cut.
#[derive(Clone, Debug)]
pub struct Weeks {
    pub before: DateTime<Utc>,
    pub start: DateTime<Utc>,
    pub end: DateTime<Utc>,
    /// When the days of each week begin, and when it ends; this week first.
    midnights: [[DateTime<Utc>; 8]; 2],
    pub step_s: i64,
    tier: Tier,
}

impl Weeks {
    pub fn new<Z: TimeZone>(week: Week, zone: &Z, now: DateTime<Utc>, five_minutes_kept: Duration) -> Self {
        let mut midnights = [week.midnights(zone), week.previous().midnights(zone)];
        let on_the_hour = midnights.iter().flatten().all(|at| at.timestamp() % HOUR_S == 0);
        let kept = TimeDelta::from_std(five_minutes_kept).is_ok_and(|kept| midnights[1][0] > now - kept);
        let tier = if on_the_hour || !kept { Tier::Hour } else { Tier::FiveMinutes };
        if !on_the_hour && !kept {
            // Only hours are left of weeks that began on the half: they are cut at the hour before.
            for at in midnights.iter_mut().flatten() {
                *at = DateTime::from_timestamp(at.timestamp().div_euclid(HOUR_S) * HOUR_S, 0).unwrap_or(*at);
            }
        }
        let [this, before] = midnights;
        Self { before: before[0], start: this[0], end: this[7], midnights, step_s: HOUR_S, tier }
    }

    pub fn segments(&self) -> Vec<Segment> {
        cover(self.before, self.end, self.tier, self.tier)
    }

    /// Steps of the chart in this week.
    pub fn bins(&self) -> usize {
        let length = (self.end - self.start).num_seconds();
        usize::try_from((length + BIN_S - 1) / BIN_S).unwrap_or(0)
    }

    /// A chart's line; the week before is drawn where this one is.
    pub fn series(&self, bins: &[Rate]) -> Series {
        let points = bins.iter().map(|rate| {
            let interval = wilson(rate.k, rate.n);
            Point { value: rate.value(), n: rate.n, low: interval.map(|both| both.low), high: interval.map(|both| both.high) }
        });
        Series { from: self.start, step_s: BIN_S, points: points.collect() }
    }

    /// Which week, day of it and step of the chart a step of the figures falls into.
    fn place(&self, step: usize) -> Option<(usize, usize, usize)> {
        let at = self.before + TimeDelta::seconds(self.step_s.checked_mul(i64::try_from(step).ok()?)?);
        let week = usize::from(at < self.start);
        let days = &self.midnights[week];
        let day = days.iter().rposition(|begin| *begin <= at).filter(|day| *day < 7)?;
        let bin = usize::try_from((at - days[0]).num_seconds() / BIN_S).ok()?;
        Some((week, day, bin))
    }
}

/// One week of a prefix, from one origin.
#[derive(Clone, Debug)]
struct Sum {
    days: [Rate; 7],
    bins: Vec<Rate>,
    rebuilds: u64,
    rebuild_us: u64,
    invalidations: Rate,
    failures: [u64; 9],
    /// Outside in at least one hour.
    outside: bool,
}

/// Both weeks of a prefix, this one first.
#[derive(Clone, Debug)]
pub struct PrefixSums {
    weeks: [BTreeMap<Origin, Sum>; 2],
    bins: usize,
}

/// What a week of a prefix shows.
pub struct WeekSum<'a> {
    pub stale: Rate,
    pub days: [Rate; 7],
    pub bins: &'a [Rate],
    /// None where nothing was rebuilt.
    pub rebuild_us: Option<u64>,
    pub invalidations: Rate,
    /// The error class of most failed invalidations.
    pub worst_class: Option<&'static str>,
    pub outside: bool,
}

impl PrefixSums {
    pub fn new(weeks: &Weeks) -> Self {
        Self { weeks: [BTreeMap::new(), BTreeMap::new()], bins: weeks.bins() }
    }

    pub fn add(&mut self, weeks: &Weeks, found: &Figures, fresh_within: Bucket, thresholds: &Thresholds) {
        let Some((week, day, bin)) = weeks.place(found.step) else { return };
        let bins = self.bins;
        let sum = self.weeks[week].entry(found.origin).or_insert_with(|| Sum {
            days: [Rate::default(); 7],
            bins: vec![Rate::default(); bins],
            rebuilds: 0,
            rebuild_us: 0,
            invalidations: Rate::default(),
            failures: [0; 9],
            outside: false,
        });
        let tally = &found.tally;
        let stale = stale_of(tally, fresh_within);
        sum.days[day] = sum.days[day] + stale;
        if let Some(into) = sum.bins.get_mut(bin) {
            *into = *into + stale;
        }
        sum.rebuilds += tally.rebuilds;
        sum.rebuild_us += tally.rebuild.sum_us();
        sum.invalidations = sum.invalidations + Rate::new(tally.invalidation_errors, tally.invalidations);
        for (into, more) in sum.failures.iter_mut().zip(tally.breakdown.failures) {
            *into += more;
        }
        let mut hour = Observed::default();
        observe(&mut hour, tally, fresh_within);
        sum.outside |= policy::state(thresholds, &hour) == State::Outside;
    }

    pub fn any_data(&self) -> bool {
        self.weeks.iter().any(|origins| !origins.is_empty())
    }

    /// This week (0) or the one before (1).
    pub fn week(&self, week: usize) -> WeekSum<'_> {
        let first = |has: fn(&Sum) -> bool| self.weeks[week].values().find(|sum| has(sum));
        let stale = first(|sum| sum.days.iter().any(|day| day.n > 0));
        let rebuilt = first(|sum| sum.rebuilds > 0);
        let invalidated = first(|sum| sum.invalidations.n > 0);
        let most =
            invalidated.and_then(|sum| sum.failures.iter().enumerate().max_by_key(|(_, count)| **count).filter(|(_, count)| **count > 0));
        WeekSum {
            stale: stale.map(|sum| sum.days.iter().copied().sum()).unwrap_or_default(),
            days: stale.map(|sum| sum.days).unwrap_or_default(),
            bins: stale.map(|sum| sum.bins.as_slice()).unwrap_or_default(),
            rebuild_us: rebuilt.map(|sum| sum.rebuild_us),
            invalidations: invalidated.map(|sum| sum.invalidations).unwrap_or_default(),
            worst_class: most.and_then(|(place, _)| ErrorClass::ALL.get(place)).map(|class| class.as_str()),
            outside: first(|_| true).is_some_and(|sum| sum.outside),
        }
    }
}

/// Samples at or past the objective's delay.
fn stale_of(tally: &Tally, fresh_within: Bucket) -> Rate {
    Bucket::ALL
        .into_iter()
        .filter(|bucket| bucket.is_at_least(fresh_within))
        .filter_map(|bucket| tally.breakdown.delays.get(bucket.index()))
        .copied()
        .sum()
}

/// Puts an origin's figures in where no origin before it had any.
pub fn observe(seen: &mut Observed, tally: &Tally, fresh_within: Bucket) {
    let first = |seen: &mut Rate, found: Rate| {
        if seen.n == 0 {
            *seen = found;
        }
    };
    first(&mut seen.stale, stale_of(tally, fresh_within));
    first(&mut seen.miss, Rate::new(tally.rated_misses, tally.rated_reads));
    first(&mut seen.invalidation_errors, Rate::new(tally.invalidation_errors, tally.invalidations));
    if seen.rebuilds == 0 {
        seen.rebuilds = tally.rebuilds;
        seen.rebuild_p95_us = tally.rebuild.quantile(0.95);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::tally::Measure;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn weeks(zone: &str) -> Weeks {
        let zone: chrono_tz::Tz = zone.parse().unwrap();
        Weeks::new(Week::parse("2026-W44").unwrap(), &zone, at("2026-11-02T00:00:00Z"), Duration::from_hours(35 * 24))
    }

    fn samples(step: usize, origin: Origin, stale: u64, n: u64) -> Figures {
        let mut tally = Tally::default();
        for place in 0..n {
            tally.record(0, &Measure::Stale { bucket: Bucket::B10, stale: place < stale, read_path: None });
        }
        Figures { prefix_id: 1, step, origin, tally }
    }

    #[test]
    fn the_week_a_clock_goes_back_has_169_hours() {
        let weeks = weeks("Europe/Berlin");
        assert_eq!((weeks.before, weeks.start), (at("2026-10-18T22:00:00Z"), at("2026-10-25T23:00:00Z")));
        assert_eq!((weeks.start - weeks.before).num_hours(), 169);
        // The last hour before and the first of this week.
        assert_eq!(weeks.place(168), Some((1, 6, 84)));
        assert_eq!(weeks.place(169), Some((0, 0, 0)));
        assert_eq!(weeks.place(169 + 24), Some((0, 1, 12)));
        assert_eq!(weeks.place(169 + 168), None);
    }

    #[test]
    fn a_zone_on_the_half_hour_is_read_by_five_minutes() {
        let weeks = weeks("Asia/Kolkata");
        assert_eq!(weeks.start, at("2026-10-25T18:30:00Z"));
        assert!(weeks.segments().iter().all(|segment| segment.tier == Tier::FiveMinutes));
        assert_eq!(weeks.place(168), Some((0, 0, 0)));
    }

    #[test]
    fn origins_are_never_added_together() {
        let weeks = weeks("UTC");
        let mut sums = PrefixSums::new(&weeks);
        for found in [samples(168, Origin::Probe, 9, 10), samples(169, Origin::App, 1, 40), samples(0, Origin::Probe, 2, 10)] {
            sums.add(&weeks, &found, Bucket::B10, &Thresholds::default());
        }
        assert_eq!(sums.week(0).stale, Rate::new(1, 40));
        assert_eq!(sums.week(1).stale, Rate::new(2, 10));
        assert_eq!(sums.week(0).days[0], Rate::new(1, 40));
        assert_eq!(sums.week(0).rebuild_us, None);
    }

    #[test]
    fn samples_before_the_objectives_delay_do_not_count() {
        let found = samples(0, Origin::App, 5, 10);
        assert_eq!(stale_of(&found.tally, Bucket::B60), Rate::default());
        assert_eq!(stale_of(&found.tally, Bucket::B10), Rate::new(5, 10));
        assert_eq!(stale_of(&found.tally, Bucket::B0), Rate::new(5, 10));
    }

    #[test]
    fn one_hour_outside_is_remembered() {
        let weeks = weeks("UTC");
        let thresholds = Thresholds { stale_read_rate: Some(0.01), ..Thresholds::default() };
        let mut sums = PrefixSums::new(&weeks);
        sums.add(&weeks, &samples(168, Origin::App, 20, 40), Bucket::B10, &thresholds);
        sums.add(&weeks, &samples(169, Origin::App, 0, 4_000), Bucket::B10, &thresholds);
        assert!(sums.week(0).outside);
        assert!(!sums.week(1).outside);
    }
}
