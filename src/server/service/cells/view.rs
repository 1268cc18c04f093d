//! Figures of one moment, read from memory.

use super::place;
use super::tier::{Series, TierCells};
use crate::domain::event::Origin;
use crate::domain::event::packed::Damaged;
use crate::domain::event::tally::Tally;
use crate::server::config::Config;
use crate::server::service::series::Tracks;
use crate::server::store::events::rollups::{Segment, Tier};
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

/// What is not folded yet, of one prefix and minute.
#[derive(Debug)]
struct Open {
    /// Seconds since 1970.
    begin_s: i64,
    origin: Origin,
    tally: Tally,
}

/// All figures as they were in one snapshot.
#[derive(Debug)]
pub struct View {
    /// When its reading began.
    pub(super) begun: Instant,
    pub(super) config: Arc<Config>,
    pub(super) ids: Vec<i64>,
    /// The newest fold that it shows.
    pub(super) fold: i64,
    pub(super) tiers: [Option<Arc<TierCells>>; Tier::ALL.len()],
    open: HashMap<i64, Vec<Open>>,
}

impl View {
    pub(super) fn new(
        begun: Instant,
        config: Arc<Config>,
        ids: Vec<i64>,
        fold: i64,
        tiers: [Option<Arc<TierCells>>; Tier::ALL.len()],
        deltas: Vec<(i64, i64, Origin, Tally)>,
    ) -> Self {
        let mut open: HashMap<i64, Vec<Open>> = HashMap::new();
        for (prefix_id, begin_s, origin, tally) in deltas {
            open.entry(prefix_id).or_default().push(Open { begin_s, origin, tally });
        }
        Self { begun, config, ids, fold, tiers, open }
    }

    fn tier(&self, tier: Tier) -> Option<&TierCells> {
        self.tiers[place(tier)].as_deref()
    }

    /// Whether all cells of these stretches are here.
    pub fn covers(&self, segments: &[Segment]) -> bool {
        segments.iter().all(|segment| self.tier(segment.tier).is_some_and(|cells| cells.from() <= segment.from))
    }

    /// Whether cells of that tier are here at all.
    pub fn knows(&self, tier: Tier) -> bool {
        self.tier(tier).is_some()
    }

    fn open_within(&self, prefix_id: i64, from: DateTime<Utc>, to: DateTime<Utc>) -> impl Iterator<Item = &Open> {
        let within = from.timestamp()..to.timestamp();
        self.open.get(&prefix_id).into_iter().flatten().filter(move |open| within.contains(&open.begin_s))
    }

    /// The figures of each prefix by steps of `step_s` seconds, the first of which begins at `begin`. The stretches must be covered, and must not
    /// overlap.
    pub fn tracks(
        &self,
        prefix_ids: &[i64],
        segments: &[Segment],
        begin: DateTime<Utc>,
        step_s: i64,
    ) -> Result<BTreeMap<i64, Tracks>, Damaged> {
        let (Some(first), Some(last)) = (segments.first(), segments.last()) else { return Ok(BTreeMap::new()) };
        let begin_s = begin.timestamp();
        let mut found = BTreeMap::new();
        for &id in prefix_ids {
            let mut tracks = Tracks::default();
            for &origin in Origin::ALL {
                for segment in segments {
                    self.add_segment(&mut tracks, (id, origin), segment, begin_s, step_s)?;
                }
            }
            for open in self.open_within(id, first.from, last.to) {
                tracks.add(open.origin, step_of(open.begin_s, begin_s, step_s), open.tally.clone());
            }
            if !tracks.is_empty() {
                found.insert(id, tracks);
            }
        }
        Ok(found)
    }

    fn add_segment(
        &self,
        tracks: &mut Tracks,
        (id, origin): (i64, Origin),
        segment: &Segment,
        begin_s: i64,
        step_s: i64,
    ) -> Result<(), Damaged> {
        let length = segment.tier.seconds();
        let Some(series) = self.tier(segment.tier).and_then(|cells| cells.series(id, origin)) else { return Ok(()) };
        let (from, to) = (segment.from.timestamp(), segment.to.timestamp());
        let whole = [step_s % length, begin_s % step_s, from % step_s, to % step_s] == [0; 4];
        if whole && step_s > length {
            return series.each_step(step_s, from / step_s..to / step_s, length, |step, sum| {
                let mut tally = Tally::default();
                sum.add_to(&mut tally)?;
                tracks.add(origin, step_of(step * step_s, begin_s, step_s), tally);
                Ok(())
            });
        }
        let mut current: Option<(usize, Tally)> = None;
        for (number, cell) in series.cells(from.div_euclid(length)..to.div_euclid(length)) {
            let step = step_of(number * length, begin_s, step_s);
            let tally = match &mut current {
                Some((at, tally)) if *at == step => tally,
                _ => {
                    if let Some((at, tally)) = current.take() {
                        tracks.add(origin, at, tally);
                    }
                    &mut current.insert((step, Tally::default())).1
                }
            };
            cell.add_to(tally)?;
        }
        if let Some((at, tally)) = current {
            tracks.add(origin, at, tally);
        }
        Ok(())
    }

    /// Only the stale-read samples of covered stretches, all in one step: what budgets are reckoned from.
    pub fn samples(&self, prefix_id: i64, segments: &[Segment]) -> Result<Tracks, Damaged> {
        let mut tracks = Tracks::default();
        let (Some(first), Some(last)) = (segments.first(), segments.last()) else { return Ok(tracks) };
        for &origin in Origin::ALL {
            let mut sum = Tally::default();
            for segment in segments {
                let length = segment.tier.seconds();
                let Some(series) = self.tier(segment.tier).and_then(|cells| cells.series(prefix_id, origin)) else { continue };
                for (_, cell) in series.cells(segment.from.timestamp().div_euclid(length)..segment.to.timestamp().div_euclid(length)) {
                    if cell.has_samples() {
                        cell.add_samples_to(&mut sum)?;
                    }
                }
            }
            for open in self.open_within(prefix_id, first.from, last.to).filter(|open| open.origin == origin) {
                sum.stale_samples += open.tally.stale_samples;
                sum.breakdown.merge(&open.tally.breakdown);
            }
            if sum.stale_samples > 0 {
                tracks.add(origin, 0, sum);
            }
        }
        Ok(tracks)
    }

    /// The sum of a prefix's rebuild durations over covered stretches, microseconds, from the first origin that has any; 0 without.
    pub fn rebuild_us(&self, prefix_id: i64, segments: &[Segment]) -> Result<u64, Damaged> {
        let (Some(first), Some(last)) = (segments.first(), segments.last()) else { return Ok(0) };
        for &origin in Origin::ALL {
            let (mut sum, mut any) = (0, false);
            for segment in segments {
                let length = segment.tier.seconds();
                let Some(series) = self.tier(segment.tier).and_then(|cells| cells.series(prefix_id, origin)) else { continue };
                for (_, cell) in series.cells(segment.from.timestamp().div_euclid(length)..segment.to.timestamp().div_euclid(length)) {
                    if let Some(us) = cell.rebuild_us()? {
                        (sum, any) = (sum + us, true);
                    }
                }
            }
            let open = self.open_within(prefix_id, first.from, last.to).filter(|open| open.origin == origin && open.tally.rebuilds > 0);
            for open in open {
                (sum, any) = (sum + open.tally.rebuild.sum_us(), true);
            }
            if any {
                return Ok(sum);
            }
        }
        Ok(0)
    }

    /// When the newest event of a prefix was, of those that are kept. Days must be here ([`View::knows`]).
    pub fn last_event_at(&self, prefix_id: i64) -> Option<DateTime<Utc>> {
        let days =
            self.tier(Tier::Day).into_iter().flat_map(|days| Origin::ALL.iter().filter_map(|&origin| days.series(prefix_id, origin)));
        let closed = days.filter_map(Series::last_at_us);
        let open = self.open.get(&prefix_id).into_iter().flatten().map(|open| open.tally.last_at_us);
        DateTime::from_timestamp_micros(closed.chain(open).max()?)
    }
}

fn step_of(at_s: i64, begin_s: i64, step_s: i64) -> usize {
    usize::try_from((at_s - begin_s).div_euclid(step_s)).unwrap_or(0)
}
