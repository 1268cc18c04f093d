//! The overview: what it says about a prefix that is outside.

use crate::support::{TestApp, text};
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::StatusCode;
use serde_json::{Value, json};
use stalewatch::domain::operator::Role;
use stalewatch::server::clock::Clock;
use stalewatch::server::config::{Config, Environment, TargetUrls};
use stalewatch::server::store::tokens::Kind;
use std::path::Path;

const CONFIG: &str = r#"
[[target]]
name = "main"
url = "redis://127.0.0.1:6379/0"

[[prefix]]
name = "user:{id}:summary"
target = "main"
owner = "accounts"
tier = "standard"
expected = "edits show within seconds"
objective = { fresh_within = "10s", ratio = 0.99 }
threshold = { stale_read_rate = 0.02 }
"#;

fn at(instant: &str) -> DateTime<Utc> {
    instant.parse().unwrap()
}

fn config() -> Config {
    read(CONFIG)
}

fn read(text: &str) -> Config {
    let nothing: Environment = std::iter::empty::<(String, String)>().collect();
    Config::read(text, "stalewatch.toml", Path::new("."), &nothing, TargetUrls::Required).unwrap()
}

/// Ten samples in each minute from `from` on, `stale` of them stale.
fn minutes(from: &str, count: i64, stale: i64) -> Vec<Value> {
    (0..count * 10)
        .map(|place| {
            let moment = at(from) + TimeDelta::seconds(place * 6);
            json!({"id": format!("{from}-{place}"), "type": "stale_read", "at": moment, "prefix": "user:{id}:summary", "stale": place % 10 < stale,
                   "delay_ms": 10_000})
        })
        .collect()
}

fn deploy(moment: &str, name: &str) -> Value {
    json!({"id": name, "type": "annotation", "at": moment, "kind": "deploy", "text": name})
}

#[tokio::test]
async fn a_breach_begins_to_the_minute_and_names_no_deploy_after_it() {
    let test = TestApp::with(config(), Clock::fixed(at("2026-11-19T09:17:30Z"))).await;
    let token = test.token(Kind::Ingest, "accounts-api").await;
    let mut events = minutes("2026-11-19T08:30:00Z", 32, 0);
    events.extend(minutes("2026-11-19T09:02:00Z", 15, 3));
    events.push(deploy("2026-11-19T07:00:00Z", "accounts-api 4.18.0"));
    events.push(deploy("2026-11-19T09:01:40Z", "accounts-api 4.18.1"));
    events.push(deploy("2026-11-19T09:03:00Z", "billing 2.0.0"));
    let answer = test.post_events(&token, &Value::Array(events)).await;
    assert_eq!((answer.status, &answer.json()["rejected_total"]), (StatusCode::OK, &json!(0)), "{}", answer.body);
    let viewer = test.signed_in(Role::Viewer).await;
    for page in ["/", "/prefixes/user:%7Bid%7D:summary"] {
        let said = text(&viewer.page(page).await, "main").unwrap();
        assert!(said.contains("at 10 s since 09:02"), "{page}: {said}");
        assert!(said.contains("Last deploy before it: accounts-api 4.18.1 at 09:01"), "{page}: {said}");
    }
}

#[tokio::test]
async fn a_prefix_page_says_how_dear_it_is_beside_the_others() {
    let more = ["cart:{id}", "catalog:{id}", "search:{hash}"].map(|name| format!("[[prefix]]\nname = \"{name}\"\ntarget = \"main\"\n"));
    let test = TestApp::with(read(&format!("{CONFIG}{}", more.concat())), Clock::fixed(at("2026-11-19T09:17:30Z"))).await;
    let token = test.token(Kind::Ingest, "accounts-api").await;
    let rebuild = |place: usize, key: &str, moment: &str, ms: u64| json!({"id": place.to_string(), "type": "rebuild", "at": moment, "key": key, "duration_us": ms * 1_000, "outcome": "ok", "trigger": "miss"});
    let events = [
        rebuild(1, "user:1:summary", "2026-11-19T09:00:00Z", 400),
        rebuild(2, "cart:1", "2026-11-19T09:00:00Z", 300),
        rebuild(3, "cart:1", "2026-11-19T03:00:00Z", 300),
        rebuild(4, "catalog:1", "2026-11-19T09:00:00Z", 100),
        // No prefix counts this one, and it is in nobody's way.
        rebuild(5, "nowhere:1", "2026-11-19T09:00:00Z", 9_000),
    ];
    assert_eq!(test.post_events(&token, &Value::Array(events.to_vec())).await.json()["accepted"], 5);
    let viewer = test.signed_in(Role::Viewer).await;
    for (path, rank) in [
        ("user:%7Bid%7D:summary?range=1h", Some("number 1 of 3")),
        ("cart:%7Bid%7D?range=1h", Some("number 2 of 3")),
        ("cart:%7Bid%7D?range=24h", Some("number 1 of 3")),
        ("catalog:%7Bid%7D?range=24h", Some("number 3 of 3")),
        ("search:%7Bhash%7D?range=24h", None),
        ("unclassified?range=24h", None),
    ] {
        let said = text(&viewer.page(&format!("/prefixes/{path}")).await, "#cost figcaption").unwrap();
        assert_eq!(said.contains("number"), rank.is_some(), "{path}: {said}");
        assert!(said.contains(rank.unwrap_or_default()), "{path}: {said}");
    }
}

#[tokio::test]
async fn a_breach_of_days_begins_to_the_minute_too() {
    let test = TestApp::with(config(), Clock::fixed(at("2026-11-19T09:17:30Z"))).await;
    let token = test.token(Kind::Ingest, "accounts-api").await;
    let mut events = minutes("2026-11-16T10:00:00Z", 64, 0);
    for hour in 11..24 {
        let from = if hour == 11 { "2026-11-16T11:04:00Z".to_owned() } else { format!("2026-11-16T{hour}:10:00Z") };
        events.extend(minutes(&from, 2, 3));
    }
    for day in 17..=19 {
        for hour in 0..if day == 19 { 10 } else { 24 } {
            events.extend(minutes(&format!("2026-11-{day}T{hour:02}:10:00Z"), 5, 3));
        }
    }
    events.push(deploy("2026-11-16T11:03:50Z", "accounts-api 4.18.1"));
    events.push(deploy("2026-11-16T11:06:00Z", "billing 2.0.0"));
    for events in events.chunks(4_000) {
        let answer = test.post_events(&token, &Value::Array(events.to_vec())).await;
        assert_eq!((answer.status, &answer.json()["rejected_total"]), (StatusCode::OK, &json!(0)), "{}", answer.body);
    }
    let viewer = test.signed_in(Role::Viewer).await;
    let said = text(&viewer.page("/").await, "main").unwrap();
    assert!(said.contains("since Mon 16 Nov 11:04"), "{said}");
    assert!(said.contains("Last deploy before it: accounts-api 4.18.1 at Mon 16 Nov 11:03"), "{said}");
}
