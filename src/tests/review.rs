//! The weekly review: its figures, its files, and the two forms that change something.

use crate::support::{Answer, TestApp, attribute, text};
use chrono::{DateTime, TimeDelta, Utc};
use reqwest::{Method, StatusCode};
use scraper::{Html, Selector};
use serde_json::{Value, json};
use stalewatch::domain::operator::Role;
use stalewatch::server::clock::Clock;
use stalewatch::server::config::{Config, Environment, TargetUrls};
use stalewatch::server::store::tokens::Kind;
use std::path::Path;

const CONFIG: &str = r#"
[review]
timezone = "Europe/Berlin"

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
threshold = { stale_read_rate = 0.02, invalidation_error_rate = 0.01 }

[[prefix]]
name = "cart:{id}"
target = "main"
owner = "checkout"
tier = "critical"
expected = "what is in the cart is paid"
objective = { fresh_within = "1s", ratio = 0.999 }

[[contract]]
write = "PUT /users/{id}"
within = "2s"
affects = [{ key = "user:{id}:summary", how = "evict" }]
"#;

/// Thursday of week 47.
const NOW: &str = "2026-11-19T10:00:00Z";

fn at(instant: &str) -> DateTime<Utc> {
    instant.parse().unwrap()
}

async fn start() -> TestApp {
    let nothing: Environment = std::iter::empty::<(String, String)>().collect();
    let config = Config::read(CONFIG, "stalewatch.toml", Path::new("."), &nothing, TargetUrls::Required).unwrap();
    TestApp::with(config, Clock::fixed(at(NOW))).await
}

/// `n` samples of the summary 10 s after the write, `stale` of them stale, a second apart.
fn samples(from: &str, stale: usize, n: usize) -> Vec<Value> {
    (0..n)
        .map(|place| {
            let moment = at(from) + TimeDelta::seconds(i64::try_from(place).unwrap());
            json!({"id": format!("s-{from}-{place}"), "type": "stale_read", "at": moment, "key": format!("user:{place}:summary"), "stale": place < stale,
                   "delay_ms": 10_000})
        })
        .collect()
}

async fn with_two_weeks() -> TestApp {
    let test = start().await;
    let token = test.token(Kind::Ingest, "accounts-api").await;
    let mut events = samples("2026-11-18T08:00:00Z", 5, 1_000);
    // Sunday 23:30 UTC is Monday already where the review is held.
    events.extend(samples("2026-11-15T23:30:00Z", 0, 200));
    events.extend(samples("2026-11-13T12:00:00Z", 1, 500));
    for place in 0..4 {
        let (id, moment) = (format!("w-{place}"), at("2026-11-17T12:00:00Z") + TimeDelta::minutes(place));
        events.push(json!({"id": id, "type": "mutation", "at": moment, "endpoint": "PUT /users/{id}", "mutation_id": format!("m-{place}"), "params": {"id": "7"}}));
    }
    for (place, outcome) in [(0, "ok"), (2, "error")] {
        let moment = at("2026-11-17T12:00:01Z") + TimeDelta::minutes(place);
        let mut event = json!({"id": format!("i-{place}"), "type": "invalidation", "at": moment, "key": "user:7:summary", "method": "evict",
                               "outcome": outcome, "mutation_id": format!("m-{place}")});
        if outcome == "error" {
            event["error_class"] = "timeout".into();
        }
        events.push(event);
    }
    // 7,200 s of rebuilding since Monday 00:00 in Berlin, 83 hours ago.
    for place in 0..10 {
        let moment = at("2026-11-18T09:00:00Z") + TimeDelta::seconds(place);
        events
            .push(json!({"id": format!("r-{place}"), "type": "rebuild", "at": moment, "key": "user:7:summary", "duration_us": 720_000_000,
                           "outcome": "ok", "trigger": "miss"}));
    }
    for (id, moment) in [("4.18.1", "2026-11-17T11:58:00Z"), ("4.17.0", "2026-11-13T11:00:00Z")] {
        events.push(json!({"id": id, "type": "annotation", "at": moment, "kind": "deploy", "text": format!("accounts-api {id}")}));
    }
    let answer = test.post_events(&token, &Value::Array(events)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.json()["rejected_total"], 0, "{}", answer.body);
    test
}

fn close_to(value: &Value, expected: f64) {
    let value = value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    assert!((value - expected).abs() < 1e-9, "{value} is not {expected}");
}

#[tokio::test]
async fn a_week_says_what_arithmetic_says_beside_the_week_before() {
    let test = with_two_weeks().await;
    let viewer = test.signed_in(Role::Viewer).await;
    let answer = viewer.get("/review/2026-W47.json").await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "application/json"), "{}", answer.body);
    let week = answer.json();
    assert_eq!((&week["status"], &week["running"], &week["timezone"]), (&json!("provisional"), &json!(true), &json!("Europe/Berlin")));
    assert_eq!((&week["first_day"], &week["last_day"]), (&json!("2026-11-16"), &json!("2026-11-22")));
    let row = week["prefixes"].as_array().unwrap().iter().find(|row| row["prefix"] == "user:{id}:summary").unwrap();
    // 5 of 1,200: the 200 of Sunday night UTC are Monday's. 1 − 5 ÷ (0.01 · 1,200)
    assert_eq!((&row["stale"]["stale"], &row["stale"]["samples"]), (&json!(5), &json!(1_200)));
    close_to(&row["budget"]["left"], 1.0 - 5.0 / 12.0);
    assert_eq!((&row["stale_before"]["stale"], &row["stale_before"]["samples"]), (&json!(1), &json!(500)));
    close_to(&row["budget"]["before"], 0.8);
    close_to(&row["budget"]["by_day"][0], 1.0);
    assert_eq!(row["budget"]["by_day"][1], Value::Null);
    close_to(&row["budget"]["by_day"][2], 1.0 - 5.0 / 12.0);
    close_to(&row["cost_s_per_min"], 7_200.0 / (83.0 * 60.0));
    assert_eq!(row["cost_s_per_min_before"], Value::Null);
    assert_eq!(row["note"], "1 of 2 invalidations failed, mostly timeout");
    assert_eq!(week["worst_movers"][0]["prefix"], "user:{id}:summary");
    assert_eq!(week["totals"]["failed_invalidations"], json!({"value": 1, "before": 0}));
    assert_eq!(week["contracts"][0]["writes"], 4);
    assert_eq!(week["contracts"][0]["last_invalidation"], "2026-11-17T12:02:01Z");
    let cart = week["prefixes"].as_array().unwrap().iter().find(|row| row["prefix"] == "cart:{id}").unwrap();
    assert_eq!((&cart["budget"]["left"], &cart["stale"]["rate"]), (&Value::Null, &Value::Null));

    let page = viewer.page("/review/2026-W47").await;
    let said = text(&page, "main").unwrap();
    assert!(said.contains("provisional") && said.contains("58 %") && said.contains("80 %"), "{said}");
    assert!(text(&page, "form[action='/review/2026-W47']").is_none(), "a viewer adds nothing");
    let drawn = page.select(&Selector::parse("figure.chart").unwrap()).next().unwrap().html();
    assert!(drawn.contains("accounts-api 4.18.1") && !drawn.contains("4.17.0"), "{drawn}");
    let markdown = viewer.get("/review/2026-W47.md").await;
    assert!(
        markdown.header("content-type").starts_with("text/markdown") && markdown.body.contains("| 58.3 % | 80.0 % | −21.7 |"),
        "{}",
        markdown.body
    );
    let csv = viewer.get("/review/2026-W47.csv").await;
    assert!(csv.header("content-disposition").contains("review-2026-W47.csv"), "{:?}", csv.headers);
    assert!(csv.body.contains(",main,user:{id}:summary,accounts,"), "{}", csv.body);
    let before = viewer.get("/review/2026-W46.json").await.json();
    assert_eq!((&before["running"], &before["totals"]["stale"]["samples"]), (&json!(false), &json!(500)));
}

#[tokio::test]
async fn contracts_show_the_last_invalidation_of_each_edge() {
    let test = with_two_weeks().await;
    let viewer = test.signed_in(Role::Viewer).await;
    let said = text(&viewer.page("/contracts").await, "main").unwrap();
    assert!(said.contains("PUT /users/{id}") && said.contains("failed, timeout") && said.contains("stalewatch.toml:"), "{said}");
    assert!(said.contains("cart:{id}"), "no contract names it: {said}");
}

#[tokio::test]
async fn the_review_opens_at_the_current_week_and_no_other_than_weeks_exist() {
    let test = start().await;
    let viewer = test.signed_in(Role::Viewer).await;
    let answer = viewer.get("/review").await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/review/2026-W47"));
    for wrong in ["2026-W60", "2026-W48", "2025-W53", "today", "2026-W47.pdf", "2026-w47"] {
        let answer = viewer.get(&format!("/review/{wrong}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{wrong}");
        let said = text(&answer.html(), "main").unwrap();
        assert!(said.contains("/review"), "{wrong}: {said}");
        assert_eq!(attribute(&answer.html(), "main", "data-error").as_deref(), Some("no_such_week"));
    }
    assert_eq!(viewer.get("/review/2026-W60.json").await.status, StatusCode::NOT_FOUND);
    let nobody = test.anonymous().get("/review/2026-W47.csv").await;
    assert_eq!((nobody.status, nobody.header("location").starts_with("/sign-in")), (StatusCode::SEE_OTHER, true));
}

async fn actions(test: &TestApp) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM control.review_actions").fetch_one(test.pool()).await.unwrap()
}

/// Codes of the record about the review.
async fn recorded(test: &TestApp) -> Vec<String> {
    test.audit_codes().await.into_iter().filter(|code| code.starts_with("review.")).collect()
}

fn value_of(page: &Html, field: &str) -> String {
    page.select(&Selector::parse(&format!("#actions input[name={field}]")).unwrap()).filter_map(|input| input.attr("value")).collect()
}

const PAGE: &str = "/review/2026-W47";
const NEW: [(&str, &str); 4] = [("do", "add"), ("text", "Evict the summary in PUT /users"), ("owner", "Lea Brandt"), ("due", "2026-11-25")];

#[tokio::test]
async fn an_action_is_added_closed_and_recorded() {
    let test = start().await;
    let approver = test.signed_in(Role::Approver).await;
    let added = approver.post(PAGE, &NEW).await;
    assert_eq!((added.status, added.header("location")), (StatusCode::SEE_OTHER, "/review/2026-W47#actions"), "{}", added.body);
    assert_eq!(recorded(&test).await, ["review.action_added"]);
    let page = approver.page(PAGE).await;
    assert!(text(&page, "#actions").unwrap().contains("Evict the summary in PUT /users"));
    let id = attribute(&page, "#actions input[name=action]", "value").unwrap();

    let again = approver.post(PAGE, &NEW).await;
    assert_eq!((again.status, again.refusal().as_deref()), (StatusCode::CONFLICT, Some("exists")));
    assert_eq!((value_of(&again.html(), "text"), value_of(&again.html(), "owner")), (NEW[1].1.to_owned(), NEW[2].1.to_owned()));
    assert_eq!(actions(&test).await, 1);

    // An action of an earlier week is still open in this one.
    let closed = approver.post(PAGE, &[("do", "close"), ("action", &id), ("outcome", "shipped in 4.18.3")]).await;
    assert_eq!(closed.status, StatusCode::SEE_OTHER, "{}", closed.body);
    assert_eq!(recorded(&test).await, ["review.action_added", "review.action_closed"]);
    assert!(text(&approver.page(PAGE).await, "#actions").unwrap().contains("shipped in 4.18.3"));
    let again = approver.post(PAGE, &[("do", "close"), ("action", &id)]).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    assert_eq!(attribute(&again.html(), "[data-error]", "data-error").as_deref(), Some("already_closed"));
    let unknown = approver.post(PAGE, &[("do", "close"), ("action", "4711")]).await;
    assert_eq!(unknown.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(recorded(&test).await.len(), 2);
    let body: Vec<u8> =
        sqlx::query_scalar("SELECT canonical FROM audit.log WHERE code = 'review.action_added'").fetch_one(test.pool()).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&body["actor"], &body["due"], &body["week"]), (&json!("approver@example.com"), &json!("2026-11-25"), &json!("2026-W47")));
}

#[tokio::test]
async fn an_action_typed_wrongly_comes_back_as_it_was_typed() {
    let test = start().await;
    let operator = test.signed_in(Role::Operator).await;
    for (field, wrong, code) in [
        ("text", " ", "missing"),
        ("owner", "", "missing"),
        ("due", "soon", "bad_date"),
        ("due", "2026-11-18", "due_past"),
        ("do", "drop", "unknown_do"),
    ] {
        let fields = NEW.map(|(name, value)| if name == field { (name, wrong) } else { (name, value) });
        let answer = operator.post(PAGE, &fields).await;
        assert_eq!((answer.status, answer.refusal().as_deref()), (StatusCode::UNPROCESSABLE_ENTITY, Some(code)), "{field}");
        if field != "text" {
            assert_eq!(value_of(&answer.html(), "text"), NEW[1].1, "{field}");
        }
    }
    let long = "x".repeat(501);
    let answer = operator.post(PAGE, &[("text", &long), NEW[2], NEW[3]]).await;
    assert_eq!((answer.refusal().as_deref(), value_of(&answer.html(), "text")), (Some("too_long"), long));
    assert_eq!(operator.post("/review/2026-W48", &NEW).await.status, StatusCode::NOT_FOUND);
    assert_eq!((actions(&test).await, recorded(&test).await.len()), (0, 0));
}

#[tokio::test]
async fn nobody_else_adds_an_action() {
    let test = start().await;
    let viewer = test.signed_in(Role::Viewer).await;
    let refused = viewer.post(PAGE, &NEW).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let nobody = test.anonymous().post(PAGE, &NEW).await;
    assert_eq!((nobody.status, nobody.header("location")), (StatusCode::SEE_OTHER, "/sign-in?next=/review/2026-W47"));
    let admin = test.signed_in(Role::Admin).await;
    for origin in [Some("https://evil.example"), None] {
        let mut request = test.request(Method::POST, PAGE).header("cookie", admin.cookie.clone().unwrap());
        request = request.header("content-type", "application/x-www-form-urlencoded").body("do=add&text=x&owner=y&due=2026-11-25");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        assert_eq!(Answer::of(request).await.status, StatusCode::FORBIDDEN, "{origin:?}");
    }
    assert_eq!((actions(&test).await, recorded(&test).await.len()), (0, 0));
}

#[tokio::test]
async fn without_postgres_nothing_is_added_and_the_page_says_so() {
    let test = start().await;
    let operator = test.signed_in(Role::Operator).await;
    assert_eq!(operator.get(PAGE).await.status, StatusCode::OK);
    test.database.stop().await;
    let answer = operator.post(PAGE, &NEW).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
    assert!(!answer.header("retry-after").is_empty());
    test.database.start().await;
    assert_eq!(actions(&test).await, 0);
}
