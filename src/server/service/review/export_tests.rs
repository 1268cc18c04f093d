//! What the review's files say, to the letter.

use super::*;
use crate::server::service::figures::{Series, Standing};
use crate::server::service::flush::FlushLine;
use crate::server::service::review::ReviewContract;

fn rate_of(k: u64, n: u64, low: f64, high: f64) -> RateFigure {
    RateFigure { k, n, interval: Some((low, high)) }
}

fn flush() -> FlushLine {
    let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    FlushLine {
        id: "3".to_owned(),
        at: at("2026-11-19T03:14:00Z"),
        target: "main".to_owned(),
        scope: "user:{id=7}:summary".to_owned(),
        mode: "flush".to_owned(),
        state: "completed".to_owned(),
        by: "mara@example.com".to_owned(),
        reason: Some("saved | but <b>old</b> values [see](http://x)".to_owned()),
        planned: Some(3_412),
        removed: 3_400,
        residue: Some(7),
        wide: true,
        break_glass: false,
        verdict: Some("too_little_data".to_owned()),
    }
}

fn page() -> ReviewPage {
    let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    let empty = Series { from: at("2026-11-16T00:00:00Z"), step_s: 7_200, points: Vec::new() };
    let row = |name: &str| ReviewRow {
        name: name.to_owned(),
        target: "main".to_owned(),
        owner: Some("accounts".to_owned()),
        standing: Standing::Outside,
        fresh_within_s: Some(10),
        ratio: Some(0.999),
        budget_left: Some(-17.2),
        budget_before: Some(0.5),
        stale: rate_of(182, 10_000, 0.0158, 0.0210),
        stale_before: rate_of(5, 10_000, 0.0002, 0.0012),
        cost: Some(12.345),
        cost_before: None,
        budget_by_day: [Some(0.25), None, None, None, None, None, None],
        say: Some("budget spent".to_owned()),
    };
    ReviewPage {
        week: "2026-W47".to_owned(),
        previous: "2026-W46".to_owned(),
        next: None,
        first_day: "2026-11-16".parse().unwrap(),
        last_day: "2026-11-22".parse().unwrap(),
        timezone: "Europe/Berlin".to_owned(),
        as_of: at("2026-11-20T10:00:00Z"),
        running: true,
        outside_ever: (2, 1),
        flushes_count: (1, 0),
        failed_invalidations: (40, 3),
        without_data_s: (23_400, 0),
        stale: rate_of(182, 10_004, 0.0157, 0.0210),
        stale_before: rate_of(5, 10_000, 0.0002, 0.0012),
        chart: empty.clone(),
        chart_before: empty,
        marks: Vec::new(),
        gaps: Vec::new(),
        rows: vec![
            row("user:{id}:summary"),
            ReviewRow {
                name: "odd|`name`".to_owned(),
                owner: None,
                standing: Standing::NotProven { needed: 3_842 },
                budget_left: None,
                budget_before: None,
                stale: RateFigure { k: 0, n: 4, interval: Some((0.0, 0.49)) },
                stale_before: RateFigure::default(),
                cost: None,
                say: None,
                ..row("")
            },
        ],
        flushes: vec![flush()],
        contracts: vec![ReviewContract {
            endpoint: "PUT /users/{id}".to_owned(),
            prefix: "user:{id}:summary".to_owned(),
            how: "evict".to_owned(),
            within_s: 2.0,
            writes: Some(120),
            last_invalidation: None,
        }],
        actions: vec![
            Action {
                id: 1,
                text: "Evict the summary too".to_owned(),
                owner: "Lea Brandt".to_owned(),
                due: "2026-11-18".parse().unwrap(),
                week: "2026-W46".to_owned(),
                closed_at: None,
                closed_by: None,
                outcome: None,
            },
            Action {
                id: 2,
                text: "Jitter 10 %".to_owned(),
                owner: "Jonas".to_owned(),
                due: "2026-11-30".parse().unwrap(),
                week: "2026-W47".to_owned(),
                closed_at: Some(at("2026-11-20T09:00:00Z")),
                closed_by: Some("mara@example.com".to_owned()),
                outcome: Some("shipped in 4.18".to_owned()),
            },
        ],
        today: "2026-11-20".parse().unwrap(),
    }
}

#[test]
fn markdown_says_what_the_page_says() {
    insta::assert_snapshot!("markdown", markdown(&page()));
}

#[test]
fn csv_has_a_line_for_each_prefix() {
    insta::assert_snapshot!("csv", String::from_utf8(csv(&page()).unwrap()).unwrap());
}

#[test]
fn json_keeps_unknown_apart_from_zero() {
    let document = json(&page());
    assert_eq!(document["status"], "provisional");
    assert_eq!(document["prefixes"][1]["budget"]["left"], Value::Null);
    assert_eq!(document["prefixes"][1]["stale"]["samples"], 4);
    assert_eq!(document["actions"][0]["state"], "overdue");
    insta::assert_snapshot!("json", serde_json::to_string_pretty(&document).unwrap());
}

#[test]
fn an_empty_week_is_a_whole_document() {
    let empty = ReviewPage { rows: Vec::new(), flushes: Vec::new(), contracts: Vec::new(), actions: Vec::new(), ..page() };
    let text = markdown(&empty);
    assert!(text.contains("## Flushes\n\nNone.\n") && text.contains("None declared."), "{text}");
    assert_eq!(String::from_utf8(csv(&empty).unwrap()).unwrap().lines().count(), 1);
}
