//! The weekly review's rules: ISO weeks in a time zone, and what an action must say to be one.

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc, Weekday};
use std::fmt;

/// Longest text of an action, and of what came of it, in characters.
pub const TEXT_CHARS: usize = 500;
/// Longest name of an owner, in characters.
pub const OWNER_CHARS: usize = 100;
/// An action due later than this is a wish.
const LATEST_DUE: Days = Days::new(2 * 366);

/// An ISO 8601 week: Monday to Sunday, week 1 is the one with the year's first Thursday.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Week {
    /// Its Monday; ordered and unique.
    monday: NaiveDate,
}

impl Week {
    /// The week `day` falls in.
    pub fn of(day: NaiveDate) -> Self {
        let back = Days::new(u64::from(day.weekday().num_days_from_monday()));
        Self { monday: day.checked_sub_days(back).unwrap_or(day) }
    }

    /// The week it is at `now` in `zone`.
    pub fn at<Z: TimeZone>(now: DateTime<Utc>, zone: &Z) -> Self {
        Self::of(now.with_timezone(zone).date_naive())
    }

    /// Reads `2026-W47`, exactly as [`Week`] is written: a week has one address.
    pub fn parse(text: &str) -> Option<Self> {
        let (year, week) = text.split_once("-W")?;
        let digits = |text: &str, length: usize| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(year, 4) || !digits(week, 2) {
            return None;
        }
        // A week 53 of a year that has none is refused by chrono.
        let monday = NaiveDate::from_isoywd_opt(year.parse().ok()?, week.parse().ok()?, Weekday::Mon)?;
        (monday.year() >= 1970).then_some(Self { monday })
    }

    pub fn first_day(self) -> NaiveDate {
        self.monday
    }

    /// Its Sunday.
    pub fn last_day(self) -> NaiveDate {
        self.day(6)
    }

    #[must_use]
    pub fn previous(self) -> Self {
        Self::of(self.monday.checked_sub_days(Days::new(7)).unwrap_or(self.monday))
    }

    #[must_use]
    pub fn next(self) -> Self {
        Self::of(self.day(7))
    }

    /// The number within its year, 1 to 53.
    pub fn number(self) -> u32 {
        self.monday.iso_week().week()
    }

    fn day(self, index: u64) -> NaiveDate {
        self.monday.checked_add_days(Days::new(index)).unwrap_or(self.monday)
    }

    /// The instants at which its seven days begin in `zone`, and the one at which it ends: eight.
    pub fn midnights<Z: TimeZone>(self, zone: &Z) -> [DateTime<Utc>; 8] {
        [0, 1, 2, 3, 4, 5, 6, 7].map(|index| midnight(self.day(index), zone))
    }
}

/// When `day` begins in `zone`. Where a clock that jumps leaves no midnight, an hour later.
fn midnight<Z: TimeZone>(day: NaiveDate, zone: &Z) -> DateTime<Utc> {
    let local = day.and_time(NaiveTime::MIN);
    zone.from_local_datetime(&local)
        .earliest()
        .or_else(|| zone.from_local_datetime(&(local + TimeDelta::hours(1))).earliest())
        .map_or_else(|| local.and_utc(), |at| at.with_timezone(&Utc))
}

impl fmt::Display for Week {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let week = self.monday.iso_week();
        write!(f, "{:04}-W{:02}", week.year(), week.week())
    }
}

/// An action to be added: somebody does something by a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAction {
    pub text: String,
    pub owner: String,
    pub due: NaiveDate,
}

/// What is wrong with a form of the review, by the field it is about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Mistake {
    pub field: &'static str,
    /// Stable, for `data-error`.
    pub code: &'static str,
    pub detail: String,
}

impl Mistake {
    fn new(field: &'static str, code: &'static str, detail: impl Into<String>) -> Self {
        Self { field, code, detail: detail.into() }
    }
}

impl NewAction {
    /// Checks what was typed. `today` is the day it is where the review is held.
    pub fn parse(text: &str, owner: &str, due: &str, today: NaiveDate) -> Result<Self, Mistake> {
        let text = line("text", text, TEXT_CHARS, "The action is empty. Say what is to be done.")?;
        let owner = line("owner", owner, OWNER_CHARS, "The action has no owner. Name one person or team who does it.")?;
        let Ok(due) = NaiveDate::parse_from_str(due.trim(), "%Y-%m-%d") else {
            let detail = if due.trim().is_empty() { "The action has no due date." } else { "The due date is not a day." };
            return Err(Mistake::new("due", "bad_date", format!("{detail} Write it as {today}.")));
        };
        if due < today {
            return Err(Mistake::new("due", "due_past", format!("The due date {due} is over. Give one from today, {today}, on.")));
        }
        if due > today.checked_add_days(LATEST_DUE).unwrap_or(today) {
            return Err(Mistake::new("due", "due_far", format!("The due date {due} is more than two years away. Give a nearer one.")));
        }
        Ok(Self { text, owner, due })
    }
}

/// What came of an action, said on closing it; nothing is fine.
pub fn outcome(text: &str) -> Result<Option<String>, Mistake> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    line("outcome", text, TEXT_CHARS, "").map(Some)
}

/// One line of text: white space folded, not empty, not too long, no control characters.
fn line(field: &'static str, text: &str, longest: usize, empty: &str) -> Result<String, Mistake> {
    let folded = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if folded.is_empty() {
        return Err(Mistake::new(field, "missing", empty));
    }
    let length = folded.chars().count();
    if length > longest {
        return Err(Mistake::new(field, "too_long", format!("That is {length} characters long; {longest} are allowed. Shorten it.")));
    }
    if folded.chars().any(char::is_control) {
        return Err(Mistake::new(field, "bad_characters", "That holds control characters. Type it as plain text."));
    }
    Ok(folded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        NaiveDate::parse_from_str(text, "%Y-%m-%d").unwrap()
    }

    #[test]
    fn a_week_is_written_one_way() {
        let week = Week::parse("2026-W47").unwrap();
        assert_eq!(week.to_string(), "2026-W47");
        assert_eq!((week.first_day(), week.last_day()), (day("2026-11-16"), day("2026-11-22")));
        for wrong in ["", "2026", "2026-47", "2026-w47", "2026-W7", "2026-W00", "2026-W54", "2025-W53", "+026-W47", "2026-W47 ", "1969-W40"]
        {
            assert_eq!(Week::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn weeks_follow_each_other_over_the_year() {
        let last = Week::parse("2026-W53").unwrap();
        assert_eq!(last.next().to_string(), "2027-W01");
        assert_eq!(last.next().previous(), last);
        assert_eq!(Week::of(day("2027-01-01")), last);
        assert!(last < last.next());
    }

    #[test]
    fn a_week_begins_where_the_review_is_held() {
        let now = "2026-11-22T23:30:00Z".parse().unwrap();
        assert_eq!(Week::at(now, &Utc).to_string(), "2026-W47");
        let east = chrono::FixedOffset::east_opt(3_600).unwrap();
        let week = Week::at(now, &east);
        assert_eq!(week.to_string(), "2026-W48");
        let midnights = week.midnights(&east);
        assert_eq!(midnights[0].to_rfc3339(), "2026-11-22T23:00:00+00:00");
        assert_eq!(midnights[7] - midnights[0], TimeDelta::days(7));
    }

    #[test]
    fn an_action_needs_text_owner_and_a_day_to_come() {
        let today = day("2026-11-23");
        let wrong = |text: &str, owner: &str, due: &str| NewAction::parse(text, owner, due, today).unwrap_err();
        assert_eq!((wrong(" ", "Lea", "2026-11-30").field, wrong(" ", "Lea", "2026-11-30").code), ("text", "missing"));
        assert_eq!(wrong("x", "", "2026-11-30").field, "owner");
        assert_eq!(wrong("x", "Lea", "30.11.2026").code, "bad_date");
        assert_eq!(wrong("x", "Lea", "2026-11-22").code, "due_past");
        assert_eq!(wrong("x", "Lea", "2036-11-22").code, "due_far");
        assert_eq!(wrong(&"x".repeat(501), "Lea", "2026-11-30").code, "too_long");
        assert_eq!(wrong("a\u{0}b", "Lea", "2026-11-30").code, "bad_characters");
        let action = NewAction::parse("  Jitter\r\n10 %  ", " Lea  Brandt", "2026-11-23", today).unwrap();
        assert_eq!((action.text.as_str(), action.owner.as_str(), action.due), ("Jitter 10 %", "Lea Brandt", today));
    }
}
