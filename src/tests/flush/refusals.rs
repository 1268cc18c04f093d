//! What is refused, how it is said, and that it changes nothing.

use super::approval::refusals;
use super::{REASON, ask, config, config_text, confirm, fill, key_count, led_to, planned, wait_for};
use crate::support::{TestApp, TestRedis, attribute, data};
use chrono::{DateTime, TimeDelta};
use reqwest::StatusCode;
use stalewatch::domain::operator::Role;
use stalewatch::server::clock::Clock;
use stalewatch::server::config::{Config, Environment};
use std::io::Write as _;

async fn small(extra: &str, clock: Clock) -> (TestRedis, TestApp) {
    let redis = TestRedis::new().await;
    let app = TestApp::with(config(&redis, extra), clock).await;
    fill(&redis, (0..20).map(|i| format!("cart:7:{i}").into_bytes()).chain([b"session:1:x".to_vec()])).await;
    (redis, app)
}

/// What signed-in people are refused is on record: exactly these codes, in whichever order.
async fn on_record(app: &TestApp, codes: impl IntoIterator<Item = &'static str>) {
    let mut expected: Vec<&str> = codes.into_iter().collect();
    let refused = refusals(app, expected.len()).await;
    let mut found: Vec<&str> = refused.iter().map(|(_, _, code)| code.as_str()).collect();
    expected.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_cannot_flush() {
    let (redis, app) = small("", Clock::system()).await;
    let operator = app.signed_in(Role::Operator).await;
    let (path, _) = planned(&operator, "cart:7:", "fast").await;
    for role in [Role::Viewer, Role::Approver, Role::Auditor] {
        let person = app.signed_in(role).await;
        assert_eq!(ask(&person, "cart:7:", "fast").await.status, StatusCode::FORBIDDEN);
        assert_eq!(confirm(&person, &path, "cart:7:", "20").await.status, StatusCode::FORBIDDEN);
        assert_eq!(person.post(&path, &[("do", "cancel")]).await.status, StatusCode::FORBIDDEN);
        let page = person.page(&path).await;
        assert_eq!(attribute(&page, "[name=typed_count]", "name"), None, "the form is not in their page");
        assert_eq!(attribute(&person.page("/flush").await, "main [name=scope]", "name"), None);
    }
    assert_eq!(key_count(&redis).await, 21);
    assert_eq!(app.anonymous().post("/flush", &[]).await.header("location"), "/sign-in?next=/flush");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_planned_is_said_with_what_was_typed() {
    let (redis, app) = small("", Clock::system()).await;
    let operator = app.signed_in(Role::Operator).await;
    let attempts = [
        ([("target", "other"), ("scope", "cart:7:"), ("mode", "flush")], "unknown_target"),
        ([("target", "main"), ("scope", "cart:7:"), ("mode", "soft")], "bad_window"),
        ([("target", "main"), ("scope", "cart:7:"), ("mode", "version")], "mode_unavailable"),
        ([("target", "main"), ("scope", "session:"), ("mode", "flush")], "protected"),
        ([("target", "main"), ("scope", "session:1:"), ("mode", "flush")], "protected"),
        ([("target", "main"), ("scope", "*"), ("mode", "flush")], "scope_no_delimiter"),
        ([("target", "main"), ("scope", "?*"), ("mode", "flush")], "scope_no_delimiter"),
        ([("target", "main"), ("scope", "[a-z]*"), ("mode", "flush")], "scope_no_delimiter"),
        ([("target", "main"), ("scope", "ab:"), ("mode", "flush")], "scope_too_broad"),
        ([("target", "main"), ("scope", ""), ("mode", "flush")], "scope_empty"),
        ([("target", "main"), ("scope", "cart:\\x4"), ("mode", "flush")], "scope_bad_escape"),
    ];
    for (fields, code) in attempts {
        let refused = operator.post("/flush", &fields).await;
        assert_eq!((refused.status, refused.refusal().as_deref()), (StatusCode::UNPROCESSABLE_ENTITY, Some(code)), "{fields:?}");
        assert_eq!(attribute(&refused.html(), "main [name=scope]", "value").as_deref(), Some(fields[1].1));
    }
    assert_eq!(key_count(&redis).await, 21);
    on_record(&app, attempts.map(|(_, code)| code)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mismatch_is_refused_and_does_not_use_up_the_plan() {
    let (redis, app) = small("", Clock::system()).await;
    let operator = app.signed_in(Role::Operator).await;
    let (path, _) = planned(&operator, "cart:7:", "fast").await;
    let right = [("typed_target", "main"), ("typed_scope", "cart:7:"), ("typed_count", "20"), ("reason", REASON)];
    for (at, wrong, code) in [
        (0, "Main", "wrong_target"),
        (1, "cart:", "wrong_scope"),
        (2, "21", "wrong_count"),
        (2, "", "wrong_count"),
        (3, "fourteen chars", "reason_too_short"),
    ] {
        let mut fields = right;
        fields[at].1 = wrong;
        let refused = operator.post(&path, &fields).await;
        assert_eq!((refused.status, refused.refusal().as_deref()), (StatusCode::UNPROCESSABLE_ENTITY, Some(code)));
        let page = refused.html();
        assert_eq!(data(&page, "main")["state"], "planned");
        assert_eq!(attribute(&page, "[name=typed_scope]", "value").as_deref(), Some(fields[1].1), "what was typed is still there");
    }
    assert_eq!(key_count(&redis).await, 21);
    led_to(&operator.post(&path, &right).await);
    wait_for(&operator, &path, &["completed"]).await;
    let again = operator.post(&path, &right).await;
    assert_eq!((again.status, again.refusal().as_deref()), (StatusCode::CONFLICT, Some("not_planned")));
    let nothing = operator.post(&path, &[("do", "cancel")]).await;
    assert_eq!((nothing.status, nothing.refusal().as_deref()), (StatusCode::CONFLICT, Some("not_active")));
    for (wish, status, code) in [
        ("resume", StatusCode::CONFLICT, "not_resumable"),
        ("start", StatusCode::CONFLICT, "not_approved"),
        ("approve", StatusCode::FORBIDDEN, "role"),
        ("break_glass", StatusCode::FORBIDDEN, "role"),
    ] {
        let refused = operator.post(&path, &[("do", wish)]).await;
        assert_eq!((refused.status, refused.refusal().as_deref()), (status, Some(code)));
    }
    let codes = ["wrong_target", "wrong_scope", "wrong_count", "wrong_count", "reason_too_short", "not_planned", "not_active"];
    on_record(&app, codes.into_iter().chain(["not_resumable", "not_approved", "role", "role"])).await;
    let nonsense = operator.post(&path, &[("do", "everything")]).await;
    assert_eq!((nonsense.status, nonsense.refusal().as_deref()), (StatusCode::UNPROCESSABLE_ENTITY, Some("unknown_do")));
    assert_eq!(operator.post("/flush/999", &right).await.status, StatusCode::NOT_FOUND);
    assert_eq!(operator.get("/flush/nonsense").await.status, StatusCode::NOT_FOUND);
    assert_eq!(key_count(&redis).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_confirmed_by_its_author_within_five_minutes() {
    let clock = Clock::fixed(DateTime::from_timestamp(1_790_000_000, 0).unwrap());
    let (redis, app) = small("", clock.clone()).await;
    let operator = app.signed_in(Role::Operator).await;
    let admin = app.signed_in(Role::Admin).await;
    let (path, _) = planned(&operator, "cart:7:", "fast").await;
    let theirs = confirm(&admin, &path, "cart:7:", "20").await;
    assert_eq!((theirs.status, theirs.refusal().as_deref()), (StatusCode::FORBIDDEN, Some("not_the_author")));
    clock.advance(TimeDelta::minutes(5));
    let late = confirm(&operator, &path, "cart:7:", "20").await;
    assert_eq!((late.status, late.refusal().as_deref()), (StatusCode::CONFLICT, Some("expired")));
    assert_eq!(data(&operator.page(&path).await, "main")["state"], "expired");
    assert_eq!(key_count(&redis).await, 21);
    on_record(&app, ["not_the_author", "expired"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_eleventh_plan_of_an_hour_is_told_when_to_come_back() {
    let (_redis, app) = small("", Clock::system()).await;
    let operator = app.signed_in(Role::Operator).await;
    ask(&operator, "*", "fast").await; // refused, so it does not count
    for _ in 0..10 {
        led_to(&ask(&operator, "cart:7:", "fast").await);
    }
    let refused = ask(&operator, "cart:7:", "fast").await;
    assert_eq!((refused.status, refused.refusal().as_deref()), (StatusCode::TOO_MANY_REQUESTS, Some("too_many_plans")));
    let wait: u32 = refused.header("retry-after").parse().unwrap();
    assert!((3_500..=3_600).contains(&wait), "{wait}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_targets_hourly_number_holds_for_everybody() {
    let (_redis, app) = small("max_flushes_per_hour = 1", Clock::system()).await;
    let operator = app.signed_in(Role::Operator).await;
    let (path, _) = planned(&operator, "cart:7:", "fast").await;
    let (second, _) = planned(&operator, "cart:8:", "fast").await;
    led_to(&confirm(&operator, &path, "cart:7:", "20").await);
    wait_for(&operator, &path, &["completed"]).await;
    let refused = confirm(&operator, &second, "cart:8:", "0").await;
    assert_eq!((refused.status, refused.refusal().as_deref()), (StatusCode::TOO_MANY_REQUESTS, Some("too_many_flushes")));
    let refused = ask(&operator, "cart:7:", "fast").await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_nothing_is_removed() {
    let (redis, app) = small("", Clock::system()).await;
    let operator = app.signed_in(Role::Operator).await;
    let (path, _) = planned(&operator, "cart:7:", "fast").await;
    app.database.stop().await;
    assert_eq!(confirm(&operator, &path, "cart:7:", "20").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(ask(&operator, "cart:7:", "fast").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(key_count(&redis).await, 21);
    app.database.start().await;
    // who is signed in is asked again only after a moment
    let begun = std::time::Instant::now();
    while operator.get("/flush").await.status != StatusCode::OK
        || confirm(&operator, &path, "cart:7:", "20").await.status != StatusCode::SEE_OTHER
    {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "Postgres is back");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    wait_for(&operator, &path, &["completed"]).await;
    assert_eq!(key_count(&redis).await, 1);
}

/// Whoever reads flushes too: that is said on the settings page, with the line for this very Redis that mends it.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_may_do_more_is_told_with_what_mends_it() {
    let redis = TestRedis::new().await;
    let text = config_text(&redis.url, &redis.flush, "");
    let own = text.lines().filter(|line| !line.starts_with("flush = ")).collect::<Vec<_>>().join("\n");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(own.as_bytes()).unwrap();
    let app = TestApp::with(Config::load(Some(file.path()), &Environment::default()).unwrap(), Clock::system()).await;
    stalewatch::server::service::flush::watch_targets(&app.app);
    fill(&redis, [b"cart:7:1".to_vec()]).await;
    let operator = app.signed_in(Role::Operator).await;
    planned(&operator, "cart:7:", "fast").await;
    let admin = app.signed_in(Role::Admin).await;
    let line = "ACL SETUSER sw_flush reset on &gt;SECRET ~user:* resetchannels -@all +ping";
    let begun = std::time::Instant::now();
    while !admin.get("/settings").await.body.contains(line) {
        assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{}", admin.get("/settings").await.body);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}
