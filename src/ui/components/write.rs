//! How numbers, times and names are written on pages: one way for each, everywhere.

pub use crate::domain::number::count;
use crate::server::service::figures::{Metric, RateFigure};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use leptos::prelude::*;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Under this many samples a rate gives way to "k of n".
pub const FEW: u64 = 30;
/// Nothing known.
pub const NONE: &str = "–";

/// A share 0…1 in percent: `1.82 %`, `18.2 %`, `< 0.01 %`.
pub fn percent(share: f64) -> String {
    format!("{} %", percent_number(share))
}

fn percent_number(share: f64) -> String {
    let value = share * 100.0;
    if value > 0.0 && value < 0.005 {
        "< 0.01".to_owned()
    } else if value.abs() < 9.995 {
        format!("{value:.2}")
    } else if value.abs() < 99.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// A limit, without needless digits: `0.5 %`, `25 %`.
pub fn percent_limit(share: f64) -> String {
    let text = format!("{:.3}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A rate with its weight in mind: a percentage from 30 samples on, `k of n` below, a dash where nothing is known.
pub fn rate(figure: RateFigure) -> String {
    match figure.value() {
        None => NONE.to_owned(),
        Some(_) if figure.n < FEW => format!("{} of {}", count(figure.k), count(figure.n)),
        Some(value) => percent(value),
    }
}

/// `1.34–2.46`, in percent.
pub fn interval((low, high): (f64, f64)) -> String {
    format!("{:.2}–{:.2}", low * 100.0, high * 100.0)
}

/// A number of no fixed size, to three digits or so: `0.8`, `12.6`, `212`.
pub fn amount(value: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be large and positive")]
    if value >= 1_000.0 {
        count(value.round() as u64)
    } else if value.abs() >= 99.95 {
        format!("{value:.0}")
    } else if value == 0.0 {
        "0".to_owned()
    } else if value.abs() < 0.095 {
        format!("{value:.2}")
    } else {
        format!("{value:.1}")
    }
}

/// Milliseconds: `0.6 ms`, `214 ms`, `1.24 s`.
pub fn millis(value: f64) -> String {
    if value >= 999.5 {
        format!("{:.2} s", value / 1_000.0)
    } else if value >= 9.95 {
        format!("{value:.0} ms")
    } else {
        format!("{value:.1} ms")
    }
}

/// Seconds of a declared delay: `10 s`, `2 s`, `0.5 s`.
pub fn seconds(value: f64) -> String {
    let text = format!("{value:.2}");
    format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
}

/// `12.9 MiB`
#[expect(clippy::cast_precision_loss, reason = "an estimate, shown to three digits")]
pub fn bytes(value: u64) -> String {
    let mut size = value as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if size < 1_024.0 {
            return if unit == "B" { format!("{size:.0} {unit}") } else { format!("{size:.1} {unit}") };
        }
        size /= 1_024.0;
    }
    format!("{size:.1} TiB")
}

/// `26 s`, `43 min`, `2 h 5 min`, `3 d 4 h`.
pub fn span(length: TimeDelta) -> String {
    let total = length.num_seconds().max(0);
    let (days, hours, minutes) = (total / 86_400, total / 3_600 % 24, total / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{total} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, 0, _) => format!("{days} d"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// A time on a page: absolute in UTC, the day only where it is not today's; machine-readable beside it.
pub fn time(at: DateTime<Utc>, now: DateTime<Utc>) -> AnyView {
    timed(at, &moment(at, now))
}

/// The same with seconds, for records.
pub fn time_exact(at: DateTime<Utc>, now: DateTime<Utc>) -> AnyView {
    let text = if at.date_naive() == now.date_naive() { at.format("%H:%M:%S") } else { at.format("%a %-d %b %H:%M:%S") };
    timed(at, &text.to_string())
}

/// A time written as the page wants it.
pub fn timed(at: DateTime<Utc>, text: &str) -> AnyView {
    view! { <time datetime=at.to_rfc3339_opts(SecondsFormat::Millis, true)>{text.to_owned()}</time> }.into_any()
}

/// `02:31` today, `Sun 22 Nov 02:31` another day.
pub fn moment(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let format = if at.date_naive() == now.date_naive() { "%H:%M" } else { "%a %-d %b %H:%M" };
    at.format(format).to_string()
}

/// `43 min ago`
pub fn ago(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    if now - at < TimeDelta::seconds(5) { "just now".to_owned() } else { format!("{} ago", span(now - at)) }
}

/// What a metric is called in a sentence.
pub fn metric(metric: Metric) -> &'static str {
    match metric {
        Metric::StaleReads => "stale reads",
        Metric::MissRate => "miss rate",
        Metric::RebuildP95 => "rebuild p95",
        Metric::InvalidationErrors => "invalidation errors",
        Metric::Budget => "budget left",
    }
}

/// A value of that metric.
pub fn value(of: Metric, value: f64) -> String {
    match of {
        Metric::RebuildP95 => millis(value),
        Metric::Budget => budget(value),
        _ => percent(value),
    }
}

/// A limit of that metric.
pub fn limit(of: Metric, value: f64) -> String {
    match of {
        Metric::RebuildP95 => millis(value),
        _ => percent_limit(value),
    }
}

/// Budget left: whole percents; a spent one says how far over.
pub fn budget(left: f64) -> String {
    if left < -9.99 { "< −999 %".to_owned() } else { format!("{:.0} %", left * 100.0).replace('-', "−") }
}

/// `#48,216`
pub fn seq(number: i64) -> String {
    format!("#{}", count(number.unsigned_abs()))
}

/// Text as it may stand in drawn markup, between tags and in attributes in double quotes.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            letter => safe.push(letter),
        }
    }
    safe
}

/// What may stand bare in a path segment of ours, beside letters and digits.
const PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// The address of a prefix, at a range.
pub fn prefix_href(name: &str, target: &str, range_query: &str) -> String {
    format!("/prefixes/{}?target={}&{range_query}", utf8_percent_encode(name, PATH), utf8_percent_encode(target, PATH))
}

/// Text as it may stand in a query.
pub fn query(text: &str) -> String {
    utf8_percent_encode(text, PATH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_rate_is_never_shown_as_zero() {
        assert_eq!(percent(0.00001), "< 0.01 %");
        assert_eq!((percent(0.0182), percent(0.182), percent(1.0)), ("1.82 %".into(), "18.2 %".into(), "100 %".into()));
    }

    #[test]
    fn under_thirty_samples_there_is_no_percentage() {
        assert_eq!(rate(RateFigure { k: 1, n: 18, interval: None }), "1 of 18");
        assert_eq!(rate(RateFigure { k: 0, n: 0, interval: None }), NONE);
        assert_eq!(rate(RateFigure { k: 1, n: 100, interval: None }), "1.00 %");
    }

    #[test]
    fn counts_are_grouped() {
        assert_eq!((count(0), count(999), count(1_840_221)), ("0".into(), "999".into(), "1,840,221".into()));
    }

    #[test]
    fn limits_have_no_needless_digits() {
        assert_eq!((percent_limit(0.005), percent_limit(0.25), percent_limit(0.001)), ("0.5 %".into(), "25 %".into(), "0.1 %".into()));
    }

    #[test]
    fn spans_use_two_units() {
        assert_eq!((span(TimeDelta::seconds(26)), span(TimeDelta::minutes(125))), ("26 s".into(), "2 h 5 min".into()));
    }

    #[test]
    fn a_prefix_address_survives_its_braces() {
        assert_eq!(prefix_href("user:{id}:profile", "main", "range=1h"), "/prefixes/user:%7Bid%7D:profile?target=main&range=1h");
    }
}
