//! The cells of one tier, by prefix and origin, and the sums of several that charts ask for again and again.

use crate::domain::event::Origin;
use crate::domain::event::packed::{Damaged, Packed};
use crate::domain::event::tally::Tally;
use crate::server::store::events::rollups::{Cell, Tier};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Copied where it changes while somebody still looks at it; what has not changed is shared.
#[derive(Clone, Debug)]
pub(super) struct TierCells {
    tier: Tier,
    /// The number of the first cell that is kept.
    first: i64,
    series: HashMap<(i64, Origin), Arc<Series>>,
    bytes: usize,
}

impl TierCells {
    pub(super) fn new(tier: Tier, from: DateTime<Utc>) -> Self {
        Self { tier, first: from.timestamp().max(0).div_euclid(tier.seconds()), series: HashMap::new(), bytes: 0 }
    }

    pub(super) fn tier(&self) -> Tier {
        self.tier
    }

    /// Everything from this instant on is here.
    pub(super) fn from(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.first * self.tier.seconds(), 0).unwrap_or_default()
    }

    /// What it takes in memory, about.
    pub(super) fn size(&self) -> usize {
        self.bytes
    }

    pub(super) fn series(&self, prefix_id: i64, origin: Origin) -> Option<&Series> {
        self.series.get(&(prefix_id, origin)).map(Arc::as_ref)
    }

    /// Adds a cell, or puts it in the place of what it was.
    pub(super) fn put(&mut self, cell: Cell) {
        if cell.number < self.first {
            return;
        }
        let series = Arc::make_mut(self.series.entry((cell.prefix_id, cell.origin)).or_default());
        self.bytes += cell.figures.size() + ENTRY;
        self.bytes -= series.put(cell.number, cell.figures, self.tier.seconds());
    }

    /// Lets go of what is older, once it is worth the while.
    pub(super) fn forget_before(&mut self, from: DateTime<Utc>) {
        let slack = match self.tier {
            Tier::Minute => TimeDelta::minutes(15),
            Tier::FiveMinutes => TimeDelta::hours(1),
            Tier::Hour => TimeDelta::hours(12),
            Tier::Day => TimeDelta::days(1),
        };
        if from - self.from() < slack {
            return;
        }
        self.first = from.timestamp().max(0).div_euclid(self.tier.seconds());
        for series in self.series.values_mut() {
            if series.cells.first_key_value().is_some_and(|(number, _)| *number < self.first) {
                self.bytes -= Arc::make_mut(series).forget_before(self.first);
            }
        }
        self.series.retain(|_, series| !series.cells.is_empty());
    }
}

/// What a cell takes beside its bytes, about.
const ENTRY: usize = 32;

/// The cells of one prefix and origin, by number.
#[derive(Debug, Default)]
pub(super) struct Series {
    cells: BTreeMap<i64, Packed>,
    /// Sums of whole steps, by the step's seconds and number; `None` where there is no cell. Made when asked for.
    sums: Mutex<BTreeMap<i64, BTreeMap<i64, Option<Packed>>>>,
}

impl Clone for Series {
    fn clone(&self) -> Self {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self { cells: self.cells.clone(), sums: Mutex::new(sums) }
    }
}

impl Series {
    /// Gives how many bytes less there are.
    fn put(&mut self, number: i64, figures: Packed, length_s: i64) -> usize {
        for (step_s, sums) in self.sums.get_mut().unwrap_or_else(PoisonError::into_inner) {
            sums.remove(&(number * length_s).div_euclid(*step_s));
        }
        self.cells.insert(number, figures).map_or(0, |old| old.size() + ENTRY)
    }

    fn forget_before(&mut self, first: i64) -> usize {
        let kept = self.cells.split_off(&first);
        let gone = std::mem::replace(&mut self.cells, kept);
        // A step of which only a part is left must not be shown, and is not: a view covers whole steps or none.
        self.sums.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        gone.values().map(|cell| cell.size() + ENTRY).sum()
    }

    pub(super) fn cells(&self, numbers: Range<i64>) -> impl Iterator<Item = (i64, &Packed)> {
        self.cells.range(numbers).map(|(number, cell)| (*number, cell))
    }

    /// The newest event of the newest cell, in microseconds since 1970.
    pub(super) fn last_at_us(&self) -> Option<i64> {
        self.cells.last_key_value().map(|(_, cell)| cell.last_at_us())
    }

    /// Calls back with each step that has a cell, and its sum. A step is as long as several cells.
    pub(super) fn each_step(
        &self,
        step_s: i64,
        numbers: Range<i64>,
        length_s: i64,
        mut each: impl FnMut(i64, &Packed) -> Result<(), Damaged>,
    ) -> Result<(), Damaged> {
        let mut held = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let sums = held.entry(step_s).or_default();
        let cells = step_s / length_s;
        for step in numbers {
            let sum = match sums.entry(step) {
                Entry::Occupied(held) => held.into_mut(),
                Entry::Vacant(place) => place.insert(self.sum(step * cells..(step + 1) * cells)?),
            };
            if let Some(sum) = sum {
                each(step, sum)?;
            }
        }
        Ok(())
    }

    /// All of these cells together; `None` where there is none.
    fn sum(&self, numbers: Range<i64>) -> Result<Option<Packed>, Damaged> {
        let mut cells = self.cells.range(numbers).map(|(_, cell)| cell);
        let (first, second) = match (cells.next(), cells.next()) {
            (first, None) => return Ok(first.cloned()),
            (first, second) => (first, second),
        };
        let mut sum = Tally::default();
        for cell in first.into_iter().chain(second).chain(cells) {
            cell.add_to(&mut sum)?;
        }
        Ok(Some(Packed::of(&sum)))
    }
}
