//! The weekly review: what happened in an ISO week by prefix, beside the week before, and what is to be done about it.

mod actions;
mod export;
mod load;
mod sums;

pub use actions::{ActionError, add_action, close_action};
pub use export::{csv, json, markdown};
pub use load::{current_week, find_week, load};

use super::figures::{Gap, Mark, RateFigure, Series, Standing};
use super::flush::FlushLine;
use chrono::{DateTime, NaiveDate, Utc};

/// Everything `/review/{ISO week}` shows. "Before" is the week before.
#[derive(Clone, Debug)]
pub struct ReviewPage {
    /// `2026-W47`
    pub week: String,
    pub previous: String,
    /// None where the week shown is the current one.
    pub next: Option<String>,
    /// First and last day, both inclusive.
    pub first_day: NaiveDate,
    pub last_day: NaiveDate,
    pub timezone: String,
    pub as_of: DateTime<Utc>,
    /// The week is not over.
    pub running: bool,
    /// Prefixes that were outside at some time of the week, and before.
    pub outside_ever: (u32, u32),
    pub flushes_count: (u32, u32),
    /// Invalidations that failed, and before.
    pub failed_invalidations: (u64, u64),
    pub without_data_s: (u64, u64),
    /// All prefixes, at their own `fresh_within`.
    pub stale: RateFigure,
    pub stale_before: RateFigure,
    pub chart: Series,
    /// The week before, shifted by a week.
    pub chart_before: Series,
    pub marks: Vec<Mark>,
    pub gaps: Vec<Gap>,
    /// By remaining budget, least first; without budget last.
    pub rows: Vec<ReviewRow>,
    pub flushes: Vec<FlushLine>,
    pub contracts: Vec<ReviewContract>,
    /// Those of this week and earlier ones that were not closed before it began; open ones first, the earliest due first.
    pub actions: Vec<Action>,
    pub today: NaiveDate,
}

/// Prefixes named as the worst movers.
const MOVERS: usize = 5;
/// A budget that fell by less has hardly moved.
const MOVED: f64 = 0.05;

impl ReviewPage {
    /// The prefixes whose budget fell most against the week before, worst first.
    pub fn worst_movers(&self) -> Vec<&ReviewRow> {
        let mut fallen: Vec<(f64, &ReviewRow)> =
            self.rows.iter().filter_map(|row| row.change().map(|change| (change, row))).filter(|(change, _)| *change <= -MOVED).collect();
        fallen.sort_by(|a, b| a.0.total_cmp(&b.0));
        fallen.into_iter().take(MOVERS).map(|(_, row)| row).collect()
    }
}

#[derive(Clone, Debug)]
pub struct ReviewRow {
    pub name: String,
    pub target: String,
    pub owner: Option<String>,
    pub standing: Standing,
    pub fresh_within_s: Option<u32>,
    pub ratio: Option<f64>,
    /// Of the ISO week.
    pub budget_left: Option<f64>,
    pub budget_before: Option<f64>,
    pub stale: RateFigure,
    pub stale_before: RateFigure,
    pub cost: Option<f64>,
    pub cost_before: Option<f64>,
    /// Budget left at the end of each day, Monday first; None for days without samples or still to come.
    pub budget_by_day: [Option<f64>; 7],
    /// What to say about it, if anything: one of the worst movers, too few samples, …
    pub say: Option<String>,
}

impl ReviewRow {
    /// Budget left against the week before, in shares of the whole budget.
    pub fn change(&self) -> Option<f64> {
        Some(self.budget_left? - self.budget_before?)
    }
}

#[derive(Clone, Debug)]
pub struct ReviewContract {
    pub endpoint: String,
    pub prefix: String,
    pub how: String,
    pub within_s: f64,
    /// In the week; None where raw events do not reach back to its beginning.
    pub writes: Option<u64>,
    pub last_invalidation: Option<DateTime<Utc>>,
}

/// A review action. Added and closed by anyone but viewers, both audited.
#[derive(Clone, Debug)]
pub struct Action {
    pub id: i64,
    pub text: String,
    pub owner: String,
    pub due: NaiveDate,
    /// The week it was added in, `2026-W46`.
    pub week: String,
    pub closed_at: Option<DateTime<Utc>>,
    pub closed_by: Option<String>,
    /// What came of it, said on closing.
    pub outcome: Option<String>,
}
