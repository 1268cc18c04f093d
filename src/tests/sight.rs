//! Key names can be personal data: wherever a scope or a key reaches a page or a file, a viewer sees it masked.

use crate::flush::{ask, config, confirm, fill, planned, wait_for};
use crate::support::{TestApp, TestRedis, attribute};
use reqwest::StatusCode;
use serde_json::json;
use stalewatch::domain::operator::Role;
use stalewatch::server::clock::Clock;
use stalewatch::server::store::tokens::Kind;

const SOMEBODY: &str = "ann@example.org";

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_sees_no_value_of_a_key_anywhere_and_an_operator_does() {
    let redis = TestRedis::new().await;
    let app = TestApp::with(config(&redis, ""), Clock::system()).await;
    fill(&redis, [format!("user:{SOMEBODY}:profile").into_bytes(), format!("user:{SOMEBODY}:summary").into_bytes()]).await;
    let token = app.token(Kind::Ingest, "accounts-api").await;
    let now = app.app.clock.now();
    let events = json!([
        {"id": "s-1", "type": "stale_read", "at": now, "key": format!("user:{SOMEBODY}:profile"), "stale": true, "delay_ms": 10_000},
        {"id": "i-1", "type": "invalidation", "at": now, "key": format!("user:{SOMEBODY}:profile"), "method": "evict", "outcome": "error",
         "error_class": "timeout"},
    ]);
    assert_eq!(app.post_events(&token, &events).await.json()["accepted"], 2);
    let operator = app.signed_in(Role::Operator).await;
    let bound = format!("user:{{id={SOMEBODY}}}:profile");
    let (removed, main) = planned(&operator, &bound, "fast").await;
    assert_eq!(confirm(&operator, &removed, &bound, &main["planned"]).await.status, StatusCode::SEE_OTHER);
    wait_for(&operator, &removed, &["completed"]).await;
    let (left, _) = planned(&operator, &format!("user:{SOMEBODY}:"), "fast").await;
    let refused = ask(&operator, &format!("user:{SOMEBODY}"), "fast").await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    while !app.audit_codes().await.contains(&"flush.refused".to_owned()) {
        tokio::task::yield_now().await;
    }

    let viewer = app.signed_in(Role::Viewer).await;
    let week = operator.get("/review").await.header("location").to_owned();
    let (files, profile) = (["md", "json"].map(|ending| format!("{week}.{ending}")), "/prefixes/user:%7Bid%7D:profile");
    let table = viewer.get(&format!("{week}.csv")).await;
    assert!(table.status == StatusCode::OK && !table.body.contains(SOMEBODY), "{}", table.body);
    let mut places = vec![
        "/?range=1h".to_owned(),
        format!("{profile}?range=1h"),
        format!("{profile}?events=stale&range=1h"),
        format!("{profile}?events=failed&range=1h"),
        "/live?of=overview&range=1h".to_owned(),
        "/live?of=prefix&name=user:%7Bid%7D:profile&target=main&range=1h".to_owned(),
        "/flush".to_owned(),
        removed.clone(),
        left.clone(),
        format!("/live?of=flush&part=head&id={}", removed.trim_start_matches("/flush/")),
        week,
        "/audit".to_owned(),
    ];
    places.extend(files);
    for place in &places {
        let (seen, masked) = (operator.get(place).await, viewer.get(place).await);
        assert_eq!((seen.status, masked.status), (StatusCode::OK, StatusCode::OK), "{place}");
        assert!(seen.body.contains(SOMEBODY), "{place} hides it from an operator: {}", seen.body);
        assert!(!masked.body.contains(SOMEBODY), "{place} tells a viewer: {}", masked.body);
        assert!(
            masked.body.contains("***") || masked.body.contains("\\*\\*\\*"),
            "{place} shows a viewer that something is masked: {}",
            masked.body
        );
    }
    assert_eq!(viewer.get("/audit.csv").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_cannot_find_out_by_searching_the_audit() {
    let redis = TestRedis::new().await;
    let app = TestApp::with(config(&redis, ""), Clock::system()).await;
    fill(&redis, [format!("user:{SOMEBODY}:profile").into_bytes()]).await;
    let operator = app.signed_in(Role::Operator).await;
    planned(&operator, &format!("user:{SOMEBODY}:"), "fast").await;
    let viewer = app.signed_in(Role::Viewer).await;
    for (browser, rows, field) in [(&operator, 0, true), (&viewer, 4, false)] {
        let page = browser.page("/audit?scope=nobody@example.org").await;
        let shown = page.select(&scraper::Selector::parse("tr[id^=r]").unwrap()).count();
        assert!(if rows == 0 { shown == 0 } else { shown >= rows }, "{shown}");
        assert_eq!(attribute(&page, "form.filters [name=scope]", "name").is_some(), field);
    }
}
