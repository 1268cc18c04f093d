//! The time range of a page: `?range=24h` or `?from=…&to=…`, and the step its charts are drawn with. In the URL, so that a link shown in
//! chat opens the same view.

use chrono::{DateTime, NaiveDate, SecondsFormat, TimeDelta, Utc};

/// Ranges that have a name, shortest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Preset {
    H1,
    H6,
    H24,
    D7,
    D14,
    D30,
}

impl Preset {
    pub const ALL: [Preset; 6] = [Preset::H1, Preset::H6, Preset::H24, Preset::D7, Preset::D14, Preset::D30];

    /// As written in the URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Preset::H1 => "1h",
            Preset::H6 => "6h",
            Preset::H24 => "24h",
            Preset::D7 => "7d",
            Preset::D14 => "14d",
            Preset::D30 => "30d",
        }
    }

    /// As shown, with a space before the unit.
    pub fn label(self) -> &'static str {
        match self {
            Preset::H1 => "1 h",
            Preset::H6 => "6 h",
            Preset::H24 => "24 h",
            Preset::D7 => "7 d",
            Preset::D14 => "14 d",
            Preset::D30 => "30 d",
        }
    }

    pub fn length(self) -> TimeDelta {
        match self {
            Preset::H1 => TimeDelta::hours(1),
            Preset::H6 => TimeDelta::hours(6),
            Preset::H24 => TimeDelta::hours(24),
            Preset::D7 => TimeDelta::days(7),
            Preset::D14 => TimeDelta::days(14),
            Preset::D30 => TimeDelta::days(30),
        }
    }

    pub fn parse(text: &str) -> Option<Preset> {
        Preset::ALL.into_iter().find(|preset| preset.as_str() == text)
    }
}

/// The longest range a page shows: what day cells are kept for is far more, but no chart has use for it.
const LONGEST: TimeDelta = TimeDelta::days(400);

/// A half-open stretch of time, `from` up to but without `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    /// Set when the range ends now and is one of the named ones.
    pub preset: Option<Preset>,
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
}

/// Why a range in a URL cannot be shown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    #[error("“{0}” is not a range: take 1h, 6h, 24h, 7d, 14d or 30d")]
    Unknown(String),
    #[error("“{0}” is not an instant: write it as 2026-11-23T03:14:00Z or 2026-11-23")]
    Instant(String),
    #[error("the range ends before it begins, or is longer than 400 days")]
    Length,
}

impl Range {
    /// The last `preset` up to `now`.
    pub fn last(preset: Preset, now: DateTime<Utc>) -> Self {
        Self { preset: Some(preset), from: now - preset.length(), to: now }
    }

    /// Reads the URL's `range`, `from` and `to`; the last 24 hours where none is given. `from` and `to` win over `range`.
    pub fn parse(range: Option<&str>, from: Option<&str>, to: Option<&str>, now: DateTime<Utc>) -> Result<Self, RangeError> {
        let given = |text: Option<&str>| text.map(str::trim).filter(|text| !text.is_empty()).map(ToOwned::to_owned);
        if let Some(from) = given(from) {
            let from = instant(&from)?;
            let to = given(to).map_or(Ok(now), |to| instant(&to))?.min(now);
            if to <= from || to - from > LONGEST {
                return Err(RangeError::Length);
            }
            return Ok(Self { preset: None, from, to });
        }
        match given(range) {
            None => Ok(Self::last(Preset::H24, now)),
            Some(text) => Preset::parse(&text).map(|preset| Self::last(preset, now)).ok_or(RangeError::Unknown(text)),
        }
    }

    /// The query that opens this range again, without the question mark.
    pub fn query(&self) -> String {
        match self.preset {
            Some(preset) => format!("range={}", preset.as_str()),
            None => format!(
                "from={}&to={}",
                self.from.to_rfc3339_opts(SecondsFormat::Secs, true),
                self.to.to_rfc3339_opts(SecondsFormat::Secs, true)
            ),
        }
    }

    pub fn length(&self) -> TimeDelta {
        self.to - self.from
    }

    /// Seconds between two points of a chart: at most 336 points up to 14 days, days beyond (`GET /series` does the same).
    pub fn step_s(&self) -> i64 {
        let length = self.length();
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

    /// The same range with `from` floored and `to` ceiled to the step, and the number of steps between them.
    pub fn steps(&self) -> (DateTime<Utc>, DateTime<Utc>, i64) {
        let step = self.step_s();
        let first = self.from.timestamp().div_euclid(step);
        let end = self.to.timestamp() + i64::from(self.to.timestamp_subsec_nanos() > 0);
        let last = end.div_euclid(step) + i64::from(end.rem_euclid(step) > 0);
        let at = |index: i64| DateTime::from_timestamp(index * step, 0).unwrap_or(self.from);
        (at(first), at(last), last - first)
    }
}

fn instant(text: &str) -> Result<DateTime<Utc>, RangeError> {
    // A `+` of a zone offset is a space after form decoding; people also paste it that way.
    let text = text.replacen(' ', "+", usize::from(text.contains('T')));
    DateTime::parse_from_rfc3339(&text)
        .map(|at| at.with_timezone(&Utc))
        .ok()
        .or_else(|| NaiveDate::parse_from_str(&text, "%Y-%m-%d").ok().and_then(|day| day.and_hms_opt(0, 0, 0)).map(|at| at.and_utc()))
        .or_else(|| chrono::NaiveDateTime::parse_from_str(&text, "%Y-%m-%dT%H:%M").ok().map(|at| at.and_utc()))
        .ok_or(RangeError::Instant(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        instant(text).unwrap()
    }

    #[test]
    fn without_a_range_the_last_day_is_shown() {
        let now = at("2026-11-23T03:14:20Z");
        let range = Range::parse(None, None, None, now).unwrap();
        assert_eq!((range.preset, range.from), (Some(Preset::H24), at("2026-11-22T03:14:20Z")));
        assert_eq!(range.query(), "range=24h");
    }

    #[test]
    fn from_and_to_open_the_same_view_again() {
        let now = at("2026-11-23T03:14:20Z");
        let range = Range::parse(Some("7d"), Some("2026-11-20T10:00:00Z"), Some("2026-11-20T12:00:00Z"), now).unwrap();
        assert_eq!(range.query(), "from=2026-11-20T10:00:00Z&to=2026-11-20T12:00:00Z");
        assert_eq!(range.step_s(), 60);
    }

    #[test]
    fn nonsense_says_what_would_do() {
        let now = at("2026-11-23T03:14:20Z");
        assert!(Range::parse(Some("2y"), None, None, now).unwrap_err().to_string().contains("24h"));
        assert_eq!(Range::parse(None, Some("2026-11-23"), Some("2026-11-22"), now), Err(RangeError::Length));
    }

    #[test]
    fn no_chart_has_more_than_336_points_up_to_14_days() {
        let now = at("2026-11-23T03:14:20Z");
        for preset in Preset::ALL {
            let (_, _, steps) = Range::last(preset, now).steps();
            assert!(steps <= 337, "{preset:?} has {steps}");
        }
    }
}
