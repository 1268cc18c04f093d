//! Events in and figures out, through the public doors: what counts, what is refused, what a repetition changes, and what happens while
//! Postgres is away.

use crate::support::{Answer, TestApp};
use chrono::{DateTime, TimeDelta, Timelike as _, Utc};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection};
use stalewatch::server::clock::Clock;
use stalewatch::server::config::{Config, Environment, TargetUrls};
use stalewatch::server::service::rollups;
use stalewatch::server::store::tokens::Kind;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

const CONFIG: &str = r#"
[[target]]
name = "main"
url = "redis://127.0.0.1:1/0"

[[prefix]]
name = "user:{id}:profile"
target = "main"
owner = "accounts"
objective = { fresh_within = "10s", ratio = 0.99 }

[[prefix]]
name = "cart:{id}"
target = "main"
"#;

async fn start() -> TestApp {
    let config = Config::read(CONFIG, "stalewatch.toml", Path::new(""), &Environment::default(), TargetUrls::Required)
        .unwrap_or_else(|problems| panic!("{problems}"));
    TestApp::with(config, Clock::system()).await
}

/// The begin of a minute ten minutes ago.
fn minute() -> DateTime<Utc> {
    let at = Clock::system().now() - TimeDelta::minutes(10);
    at.with_second(0).unwrap().with_nanosecond(0).unwrap()
}

/// Everything that the arithmetic below is about.
fn events(at: DateTime<Utc>) -> Value {
    let mut events = vec![
        json!({"id": "a-1", "type": "access", "at": at, "key": "user:1:profile", "hits": 80, "misses": 15, "stale_served": 5}),
        json!({"id": "a-2", "type": "access", "at": at + TimeDelta::minutes(1), "prefix": "user:{id}:profile", "hits": null, "misses": 40}),
        json!({"id": "m-1", "type": "mutation", "at": at, "endpoint": "PUT /users/{id}", "mutation_id": "w-1", "params": {"id": "1"}}),
        json!({"id": "n-1", "type": "annotation", "at": at, "kind": "deploy", "text": "accounts-api 4.18.2"}),
        json!({"id": "u-1", "type": "access", "at": at, "key": "nobody:knows:this", "misses": 3}),
    ];
    for place in 0..10 {
        events.push(json!({"id": format!("r-{place}"), "type": "rebuild", "at": at, "key": "user:1:profile", "duration_us": 3_000_000, "outcome": "ok", "trigger": "miss"}));
    }
    for place in 0..20 {
        let outcome = if place < 3 { "error" } else { "ok" };
        events.push(json!({"id": format!("i-{place}"), "type": "invalidation", "at": at, "key": "user:1:profile", "method": "evict", "outcome": outcome}));
    }
    for place in 0..40 {
        let delay_ms = if place < 20 { 1_000 } else { 10_000 };
        events.push(json!({"id": format!("s-{place}"), "type": "stale_read", "at": at, "key": "user:1:profile", "stale": place % 4 == 0, "delay_ms": delay_ms}));
    }
    Value::Array(events)
}

async fn series(test: &TestApp, token: &str, query: &str) -> Value {
    let answer = Answer::of(test.request(Method::GET, &format!("/api/v1/series?{query}")).bearer_auth(token)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.json()
}

/// The totals that arithmetic gives, over an hour of minutes that the events lie in.
async fn check_arithmetic(test: &TestApp, read: &str, at: DateTime<Utc>) {
    let (from, to) = (at - TimeDelta::minutes(29), at + TimeDelta::minutes(31));
    let span = format!("from={}&to={}", from.format("%FT%TZ"), to.format("%FT%TZ"));
    let expected = [
        ("hits", 80.0, 80),
        ("misses", 55.0, 55),
        ("miss_rate", 0.15, 100),
        ("stale_served", 5.0, 5),
        ("rebuilds", 10.0, 10),
        ("cost", 0.5, 10),
        ("invalidations", 20.0, 20),
        ("invalidation_errors", 3.0, 3),
        ("invalidation_error_rate", 0.15, 20),
        ("stale_read_rate", 0.25, 20),
        ("stale_read_rate&delay_ms=1000", 0.25, 20),
    ];
    for step in ["1m", "5m", "1h"] {
        for (metric, value, n) in expected {
            let answer = series(test, read, &format!("prefix=user:%7Bid%7D:profile&metric={metric}&{span}&step={step}")).await;
            let total = &answer["total"];
            let scale = if metric == "cost" { 60.0 * 60.0 / span_s(&answer) } else { 1.0 };
            assert!((total["value"].as_f64().unwrap() - value * scale).abs() < 1e-9, "{metric} {step}: {answer}");
            assert_eq!((&total["n"], &answer["origin"]), (&json!(n), &json!("app")), "{metric} {step}");
        }
    }
    let answer = series(test, read, &format!("prefix=user:%7Bid%7D:profile&metric=rebuild_p95&{span}&step=1m")).await;
    assert!((answer["total"]["value"].as_f64().unwrap() - 3_000.0).abs() <= 30.0, "{answer}");
    let answer = series(test, read, &format!("prefix=user:%7Bid%7D:profile&metric=miss_rate&{span}&step=1m")).await;
    let known: Vec<&Value> = answer["points"].as_array().unwrap().iter().filter(|point| !point["value"].is_null()).collect();
    assert_eq!(known.len(), 1, "a minute without measured hits has no miss rate: {answer}");
    assert!(answer["total"]["low"].as_f64().unwrap() < 0.15 && answer["total"]["high"].as_f64().unwrap() > 0.15);
    let answer = series(test, read, &format!("prefix=unclassified&metric=misses&{span}&step=1m")).await;
    assert_eq!(answer["total"]["value"], json!(3.0));
}

fn span_s(answer: &Value) -> f64 {
    let at = |name: &str| DateTime::parse_from_rfc3339(answer[name].as_str().unwrap()).unwrap();
    f64::from(i32::try_from((at("to") - at("from")).num_seconds()).unwrap())
}

#[tokio::test]
async fn figures_are_what_arithmetic_says_and_a_repetition_changes_nothing() {
    let test = start().await;
    let (ingest, read) = (test.token(Kind::Ingest, "accounts-api").await, test.token(Kind::Read, "grafana").await);
    let at = minute();
    let answer = test.post_events(&ingest, &events(at)).await.json();
    assert_eq!(answer, json!({"accepted": 75, "duplicates": 0, "rejected": [], "rejected_total": 0}));
    check_arithmetic(&test, &read, at).await;
    let again = test.post_events(&ingest, &events(at)).await.json();
    assert_eq!((&again["accepted"], &again["duplicates"]), (&json!(0), &json!(75)));
    check_arithmetic(&test, &read, at).await;
    // Folded into cells of all tiers they say the same, and a recount finds no difference before and after.
    rollups::compact(&test.app).await.unwrap();
    check_arithmetic(&test, &read, at).await;
    let recount = rollups::recount(&test.app.pools.events, test.app.config().retention, test.app.clock.now()).await.unwrap();
    assert_eq!(recount.differences, []);
    // A late event adds to what was folded.
    let late = json!([{"id": "late", "type": "invalidation", "at": at, "key": "cart:1", "method": "evict", "outcome": "ok"}]);
    assert_eq!(test.post_events(&ingest, &late).await.json()["accepted"], json!(1));
    rollups::compact(&test.app).await.unwrap();
    let recount = rollups::recount(&test.app.pools.events, test.app.config().retention, test.app.clock.now()).await.unwrap();
    assert_eq!(recount.differences, []);
}

#[tokio::test]
async fn a_rollup_that_was_tampered_with_is_found() {
    let test = start().await;
    let ingest = test.token(Kind::Ingest, "accounts-api").await;
    test.post_events(&ingest, &events(minute())).await;
    sqlx::query("UPDATE events.deltas SET rated_misses = rated_misses + 1 WHERE rated_reads > 0")
        .execute(&test.app.pools.events)
        .await
        .unwrap();
    let recount = rollups::recount(&test.app.pools.events, test.app.config().retention, test.app.clock.now()).await.unwrap();
    assert!(!recount.differences.is_empty());
}

#[tokio::test]
async fn a_wrong_event_blocks_no_neighbour() {
    let test = start().await;
    let ingest = test.token(Kind::Ingest, "accounts-api").await;
    let at = minute();
    let sent = json!([
        {"id": "1", "type": "access", "at": at, "key": "cart:1", "hits": -1},
        {"id": "2", "type": "access", "at": at, "key": "cart:1", "hits": 1},
        {"id": "2", "type": "access", "at": at, "key": "cart:1", "hits": 9},
        {"id": "3", "type": "access", "at": at, "prefix": "nobody:{x}"},
        {"id": "4", "type": "access", "at": at, "key": "cart:1", "target": "elsewhere"},
        {"id": "5", "type": "access", "at": at, "key": "a", "key_b64": "YQ=="},
        {"id": "6", "type": "annotation", "at": at, "kind": "note", "text": "a\u{0}b"},
        {"id": "7", "type": "access", "at": at, "key": "a\u{0}b", "misses": 1},
        7,
    ]);
    let answer = test.post_events(&ingest, &sent).await.json();
    assert_eq!((&answer["accepted"], &answer["duplicates"], &answer["rejected_total"]), (&json!(2), &json!(1), &json!(6)), "{answer}");
    let codes: Vec<(u64, &str)> =
        answer["rejected"].as_array().unwrap().iter().map(|one| (one["index"].as_u64().unwrap(), one["code"].as_str().unwrap())).collect();
    let expected =
        [(0, "out_of_range"), (3, "unknown_prefix"), (4, "unknown_target"), (5, "malformed"), (6, "bad_characters"), (8, "malformed")];
    assert_eq!(codes, expected);
}

async fn post(test: &TestApp, token: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let mut request = test.request(Method::POST, "/api/v1/events").bearer_auth(token).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request).await
}

#[tokio::test]
async fn the_door_has_limits_and_says_which() {
    const JSON: (&str, &str) = ("content-type", "application/json");
    let test = start().await;
    let (ingest, read) = (test.token(Kind::Ingest, "accounts-api").await, test.token(Kind::Read, "grafana").await);
    let status = |answer: &Answer| (answer.status.as_u16(), answer.header("content-type").to_owned());
    let problem = |status: u16| (status, "application/problem+json".to_owned());
    assert_eq!(status(&post(&test, "nonsense", &[JSON], b"{\"events\":[]}".to_vec()).await), problem(401));
    assert_eq!(status(&post(&test, &read, &[JSON], b"{\"events\":[]}".to_vec()).await), problem(403));
    assert_eq!(status(&post(&test, &ingest, &[JSON], b"{\"events\":".to_vec()).await), problem(400));
    assert_eq!(status(&post(&test, &ingest, &[("content-type", "text/plain")], b"{\"events\":[]}".to_vec()).await), problem(415));
    assert_eq!(status(&post(&test, &ingest, &[JSON, ("content-encoding", "br")], b"{\"events\":[]}".to_vec()).await), problem(415));
    assert_eq!(status(&post(&test, &ingest, &[JSON], vec![b' '; 2 * 1024 * 1024 + 1]).await), problem(413));
    let many = format!("{{\"events\":[{}]}}", vec!["{}"; 5_001].join(","));
    assert_eq!(status(&post(&test, &ingest, &[JSON], many.into_bytes()).await), problem(413));
    let gzip = |plain: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    };
    let zipped = [JSON, ("content-encoding", "gzip")];
    assert_eq!(status(&post(&test, &ingest, &zipped, gzip(&vec![b' '; 2 * 1024 * 1024 + 1])).await), problem(413));
    let body = serde_json::to_vec(&json!({"events": events(minute())})).unwrap();
    assert_eq!(post(&test, &ingest, &zipped, gzip(&body)).await.json()["accepted"], json!(75));
    let zstd = [JSON, ("content-encoding", "zstd")];
    let again = post(&test, &ingest, &zstd, zstd::encode_all(&*body, 3).unwrap()).await.json();
    assert_eq!((&again["accepted"], &again["duplicates"]), (&json!(0), &json!(75)));
    assert_eq!(status(&post(&test, &ingest, &zstd, zstd::encode_all(&*vec![b' '; 64 * 1024 * 1024], 3).unwrap()).await), problem(413));
    assert_eq!(status(&post(&test, &ingest, &zstd, body).await), problem(400));
    let lines = format!("{}\nnot json\n", json!({"id": "x", "type": "access", "at": minute(), "key": "cart:1"}));
    let answer = post(&test, &ingest, &[("content-type", "application/x-ndjson")], lines.into_bytes()).await.json();
    assert_eq!(
        (&answer["accepted"], &answer["rejected"][0]["index"], &answer["rejected"][0]["code"]),
        (&json!(1), &json!(1), &json!("malformed"))
    );
}

#[tokio::test]
async fn a_token_over_its_rate_is_refused_whole_and_others_are_not() {
    let slow = format!("{CONFIG}\n[ingest]\nrate = 1_000\nburst = 5_000\n");
    let config = Config::read(&slow, "stalewatch.toml", Path::new(""), &Environment::default(), TargetUrls::Required).unwrap();
    let test = TestApp::with(config, Clock::system()).await;
    let (busy, other) = (test.token(Kind::Ingest, "busy").await, test.token(Kind::Ingest, "other").await);
    let at = minute();
    let batch = |name: &str, n: usize| {
        let event = |place| json!({"id": format!("{name}-{place}"), "type": "access", "at": at, "key": "cart:1", "hits": 1});
        Value::Array((0..n).map(event).collect())
    };
    assert_eq!(test.post_events(&busy, &batch("first", 5_000)).await.json()["accepted"], json!(5_000));
    let refused = test.post_events(&busy, &batch("second", 5_000)).await;
    assert_eq!((refused.status, &refused.json()["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("too_fast")), "{}", refused.body);
    let wait_s: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=5).contains(&wait_s), "{wait_s}");
    assert_eq!(test.post_events(&other, &batch("other", 5_000)).await.json()["accepted"], json!(5_000));
    tokio::time::sleep(Duration::from_secs(wait_s)).await;
    // Nothing of the refused request was taken, so all of it is new now.
    assert_eq!(test.post_events(&busy, &batch("second", 5_000)).await.json()["accepted"], json!(5_000));
}

#[tokio::test]
async fn overlapping_retries_of_two_writers_count_each_event_once() {
    let test = start().await;
    let ingest = test.token(Kind::Ingest, "accounts-api").await;
    let at = minute();
    let all: Vec<Value> =
        (0..600).map(|place| json!({"id": format!("o-{place}"), "type": "access", "at": at, "key": "cart:1", "hits": 1})).collect();
    let sends = (0..8usize).map(|shift| {
        let mut part: Vec<Value> = all.iter().skip(shift * 25).take(400).cloned().collect();
        if shift % 2 == 0 {
            part.reverse();
        }
        let (test, ingest) = (&test, &ingest);
        async move { test.post_events(ingest, &Value::Array(part)).await.json()["accepted"].as_u64().unwrap() }
    });
    let accepted: u64 = futures::future::join_all(sends).await.into_iter().sum();
    assert_eq!(accepted, 575);
    let recount = rollups::recount(&test.app.pools.events, test.app.config().retention, test.app.clock.now()).await.unwrap();
    assert_eq!(recount.differences, []);
}

#[tokio::test]
async fn while_postgres_is_away_events_are_refused_promptly_and_taken_when_it_is_back() {
    let test = start().await;
    let ingest = test.token(Kind::Ingest, "accounts-api").await;
    let event = |id: &str| json!([{"id": id, "type": "access", "at": minute(), "key": "cart:1", "hits": 1}]);
    assert_eq!(test.post_events(&ingest, &event("before")).await.status, StatusCode::OK);
    test.database.stop().await;
    for allowed in [Duration::from_secs(5), Duration::from_secs(1)] {
        let asked = Instant::now();
        let answer = test.post_events(&ingest, &event("meanwhile")).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
        assert!(!answer.header("retry-after").is_empty() && asked.elapsed() < allowed, "{:?}", asked.elapsed());
    }
    test.database.start().await;
    let mut back = false;
    for _ in 0..100 {
        back = test.post_events(&ingest, &event("meanwhile")).await.status == StatusCode::OK;
        if back {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(back, "events are taken in again");
    let read = test.token(Kind::Read, "grafana").await;
    let answer = series(&test, &read, "prefix=cart:%7Bid%7D&metric=hits&from=-1h").await;
    assert_eq!(answer["total"]["value"], json!(2.0));
    assert!(!answer["gaps"].as_array().unwrap().is_empty(), "{answer}");
}

#[tokio::test]
async fn a_postgres_that_freezes_under_load_holds_nobody_longer_than_five_seconds() {
    let test = start().await;
    let ingest = test.token(Kind::Ingest, "accounts-api").await;
    let body = |sender: usize| {
        let event = |place| json!({"id": format!("f-{sender}-{place}"), "type": "access", "at": minute(), "key": "cart:1", "hits": 1});
        Value::Array((0..300).map(event).collect())
    };
    assert_eq!(test.post_events(&ingest, &body(0)).await.status, StatusCode::OK);
    // Nothing that needs these tables gets an answer: the token's check and the writers both hang.
    let mut frozen = PgConnection::connect(&test.database.admin_url).await.unwrap();
    frozen.execute("BEGIN; LOCK TABLE events.raw, control.tokens IN ACCESS EXCLUSIVE MODE").await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await; // what is remembered of the token has to be asked for again
    let sends = (1..=50).map(|sender| {
        let (test, ingest, events) = (&test, &ingest, body(sender));
        async move {
            let asked = Instant::now();
            (test.post_events(ingest, &events).await, asked.elapsed())
        }
    });
    for (answer, took) in futures::future::join_all(sends).await {
        assert!(matches!(answer.status.as_u16(), 429 | 503), "{}", answer.body);
        assert!(!answer.header("retry-after").is_empty() && took < Duration::from_secs(5), "{took:?}");
    }
    let asked = Instant::now();
    assert_eq!(test.post_events(&ingest, &body(51)).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(asked.elapsed() < Duration::from_secs(1), "later ones are told at once: {:?}", asked.elapsed());
    frozen.execute("ROLLBACK").await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while test.post_events(&ingest, &body(51)).await.status != StatusCode::OK {
        assert!(Instant::now() < deadline, "events are taken in again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let recount = rollups::recount(&test.app.pools.events, test.app.config().retention, test.app.clock.now()).await.unwrap();
    assert_eq!(recount.differences, []);
}

#[tokio::test]
async fn each_unique_key_holds_its_tables_distribution_column_and_nothing_needs_a_serial_or_a_trigger() {
    let test = start().await;
    let pool = &test.app.pools.events;
    // Partitions repeat their parent.
    let keys: Vec<(String, Vec<String>)> = sqlx::query_as(
        "SELECT c.relname::text, array_agg(a.attname::text) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey)
         WHERE c.relnamespace = 'events'::regnamespace AND i.indisunique AND NOT c.relispartition AND c.relname <> '_sqlx_migrations' GROUP BY c.relname, i.indexrelid",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let column = |table: &str| match table {
        "raw" | "sources" | "intake" => "source_id",
        "deltas" | "cells" | "prefixes" | "read_paths" => "prefix_id",
        "targets" | "gaps" => "target_id",
        "leases" | "folds" => "name",
        "heartbeats" => "writer",
        other => panic!("{other}: name its distribution column here"),
    };
    assert!(keys.len() >= 12, "{keys:?}");
    for (table, columns) in &keys {
        assert!(columns.iter().any(|name| name == column(table)), "{table}: {columns:?}");
    }
    let others: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM pg_class WHERE relnamespace = 'events'::regnamespace AND relkind = 'S')
              + (SELECT count(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = 'events'::regnamespace)
              + (SELECT count(*) FROM pg_constraint WHERE connamespace = 'events'::regnamespace AND contype = 'f')",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(others, 0);
}

#[tokio::test]
async fn a_query_that_names_its_days_looks_into_those_partitions_alone() {
    let test = start().await;
    rollups::keep(&test.app).await.unwrap();
    let day = test.app.clock.now().date_naive();
    let plan: Vec<String> = sqlx::query_scalar("EXPLAIN SELECT * FROM events.raw WHERE day = $1 AND at > now() - interval '1 hour'")
        .bind(day)
        .fetch_all(&test.app.pools.events)
        .await
        .unwrap();
    let plan = plan.join("\n");
    assert_eq!(plan.matches("on raw_2").count(), 1, "{plan}");
}
