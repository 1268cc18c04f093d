//! Whether it helped: each judgement at its time and once, kept for good, drawn, and given out as evidence.

use super::*;
use chrono::TimeDelta;
use serde_json::json;
use stalewatch::server::service::flush::{Sweeper, sweep};
use stalewatch::server::store::tokens::Kind;

/// `stale` of `n` comparisons of `user:{id}:summary`, taken one a second up to now.
async fn compare(app: &TestApp, token: &str, name: &str, stale: i64, n: i64) {
    let now = app.app.clock.now();
    let events: Vec<_> = (0..n)
        .map(|i| {
            let at = (now - TimeDelta::seconds(n - i)).to_rfc3339();
            json!({"id": format!("{name}-{i}"), "type": "stale_read", "at": at, "key": format!("user:{i}:summary"), "stale": i < stale, "delay_ms": 10_000})
        })
        .collect();
    let answer = app.post_events(token, &json!(events)).await;
    assert_eq!((answer.status, answer.body.contains(&format!("\"accepted\":{n}"))), (StatusCode::OK, true), "{}", answer.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_judged_four_times_once_each_and_the_evidence_says_so() {
    let redis = TestRedis::new().await;
    let clock = Clock::fixed(Clock::system().now());
    let app = TestApp::with(config(&redis, ""), clock.clone()).await;
    fill(&redis, (0..10).map(|i| format!("user:{i}:summary").into_bytes())).await;
    let token = app.token(Kind::Ingest, "shop").await;
    let operator = app.signed_in(Role::Operator).await;
    compare(&app, &token, "before", 45, 60).await;
    let (path, _) = planned(&operator, "user:{id}:summary", "fast").await;
    assert_eq!(operator.get(&format!("{path}.md")).await.status, StatusCode::OK, "a plan has a record too");
    led_to(&confirm(&operator, &path, "user:{id}:summary", "10").await);
    wait_for(&operator, &path, &["completed"]).await;

    clock.advance(TimeDelta::seconds(61));
    compare(&app, &token, "at-one", 0, 20).await;
    sweep(&app.app, &Sweeper::default()).await;
    assert_eq!(data(&operator.page(&path).await, "main")["verdict"], "too_little_data", "20 samples prove no recovery");
    for (minutes, expected) in [(4, "recovered"), (10, "recovered"), (45, "recovered")] {
        clock.advance(TimeDelta::minutes(minutes));
        compare(&app, &token, &format!("after-{minutes}"), 0, 40).await;
        // Twice at the same time: whichever replica comes second finds nothing to do.
        sweep(&app.app, &Sweeper::default()).await;
        sweep(&app.app, &Sweeper::default()).await;
        let verdict: String = sqlx::query_scalar("SELECT verdict FROM control.flushes").fetch_one(app.pool()).await.unwrap();
        assert_eq!(verdict, expected, "+{minutes}");
    }
    clock.advance(TimeDelta::hours(5));
    sweep(&app.app, &Sweeper::default()).await;
    // Hours later, by somebody else.
    let operator = app.signed_in(Role::Admin).await;
    let at: Vec<_> = told(&app, "flush.verdict").await.iter().map(|record| record["after_min"].as_i64().unwrap()).collect();
    assert_eq!(at, [1, 5, 15, 60]);
    let kept: Vec<(i32, String)> =
        sqlx::query_as("SELECT after_min, verdict FROM control.verdicts ORDER BY after_min").fetch_all(app.pool()).await.unwrap();
    let expected = [(1, "too_little_data"), (5, "recovered"), (15, "recovered"), (60, "recovered")];
    assert_eq!(kept, expected.map(|(at, verdict)| (at, verdict.to_owned())));

    let page = operator.get(&path).await;
    assert!(page.body.contains("Stale reads around the flush") && page.body.contains("+5 min"), "{}", page.body);
    let markdown = operator.get(&format!("{path}.md")).await;
    assert!(markdown.header("content-type").starts_with("text/markdown"));
    for head in ["Request signature", "Baseline signal", "Change applied", "Post-change validation", "Before and after", "Audit"] {
        assert!(markdown.body.contains(&format!("\n## {head}\n")), "{head}: {}", markdown.body);
    }
    assert!(markdown.body.contains("45 of 60 stale") && markdown.body.contains(REASON), "{}", markdown.body);
    assert!(markdown.body.contains("| 60 min |") && markdown.body.contains("| 10 removed |"), "{}", markdown.body);
    let json: serde_json::Value = serde_json::from_str(&operator.get(&format!("{path}.json")).await.body).unwrap();
    assert_eq!((&json["baseline"]["stale_reads"]["stale"], &json["change"]["outcome"]["removed"]), (&45.into(), &10.into()));
    assert_eq!(json["validation"].as_array().unwrap().len(), 4);
    let hashes: Vec<String> = sqlx::query_scalar("SELECT encode(hash, 'hex') FROM audit.log WHERE code LIKE 'flush.%' ORDER BY seq")
        .fetch_all(app.pool())
        .await
        .unwrap();
    let told: Vec<&str> = json["audit"]["records"].as_array().unwrap().iter().map(|record| record["hash"].as_str().unwrap()).collect();
    assert_eq!(told, hashes.iter().map(String::as_str).collect::<Vec<_>>(), "the evidence names the very records");
    assert_eq!(operator.get(&format!("{path}.csv")).await.status, StatusCode::NOT_FOUND);
    assert_eq!(operator.get("/flush/999.md").await.status, StatusCode::NOT_FOUND);
    assert_eq!(app.anonymous().get(&format!("{path}.md")).await.status, StatusCode::SEE_OTHER);
}

/// A viewer reads no key names, on the page or in its file.
#[tokio::test(flavor = "multi_thread")]
async fn the_evidence_is_masked_as_the_page_is() {
    let redis = TestRedis::new().await;
    let app = TestApp::with(config(&redis, ""), Clock::system()).await;
    fill(&redis, [b"user:4711:summary".to_vec()]).await;
    let (operator, viewer) = (app.signed_in(Role::Operator).await, app.signed_in(Role::Viewer).await);
    let (path, _) = planned(&operator, "user:4711:", "fast").await;
    led_to(&confirm(&operator, &path, "user:4711:", "1").await);
    wait_for(&operator, &path, &["completed"]).await;
    for ending in ["", ".md", ".json"] {
        let (seen, masked) = (operator.get(&format!("{path}{ending}")).await.body, viewer.get(&format!("{path}{ending}")).await.body);
        assert!(seen.contains("user:4711:") && !masked.contains("4711"), "{ending}: {masked}");
    }
}
