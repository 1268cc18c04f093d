//! Going on with a flush that was cut off: who, how long, how far, and that the counts stay true over all its runs.

use super::approval::refusals;
use super::crash::Replica;
use super::{REASON, config, confirm, fill, key_count, led_to, planned, told, wait_for};
use crate::support::{Answer, Browser, TestApp, TestRedis, attribute, data, text};
use chrono::{DateTime, TimeDelta};
use reqwest::{Method, StatusCode};
use stalewatch::domain::operator::Role;
use stalewatch::server::clock::Clock;
use std::time::{Duration, Instant};

fn refused(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.refusal().unwrap_or_default())
}

async fn resume(person: &Browser<'_>, path: &str) -> Answer {
    person.post(path, &[("do", "resume")]).await
}

/// Where a flush of 20 keys may take 120.
async fn stopped(clock: Clock) -> (TestRedis, TestApp) {
    let redis = TestRedis::new().await;
    let app = TestApp::with(config(&redis, "max_keys = 100"), clock).await;
    fill(&redis, (0..20).map(|i| format!("cart:7:{i}").into_bytes())).await;
    (redis, app)
}

/// It has stopped at its cap: by its start there were `keys`.
async fn stop_at_cap(redis: &TestRedis, operator: &Browser<'_>, keys: u64) -> String {
    let (path, main) = planned(operator, "cart:7:", "fast").await;
    assert_eq!(main["wide"], "false");
    fill(redis, (20..keys).map(|i| format!("cart:7:{i}").into_bytes())).await;
    led_to(&confirm(operator, &path, "cart:7:", "20").await);
    let main = wait_for(operator, &path, &["stopped_at_cap", "completed"]).await;
    assert_eq!((main["state"].as_str(), main["removed"].as_str()), ("stopped_at_cap", "120"));
    assert_eq!(key_count(redis).await, keys - 120);
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_goes_on_with_its_counts_within_its_cap() {
    let (redis, app) = stopped(Clock::system()).await;
    let operator = app.signed_in(Role::Operator).await;
    let path = stop_at_cap(&redis, &operator, 240).await;
    assert_eq!(attribute(&operator.page(&path).await, "button[value=resume]", "name"), None, "its cap is used up");
    assert_eq!(refused(&resume(&operator, &path).await), (409, "cap_used_up".into()));
    assert_eq!(key_count(&redis).await, 120);
    // the target takes more now
    app.app.replace_config(config(&redis, "max_keys = 180"));
    assert!(text(&operator.page(&path).await, "main").unwrap().contains("at most 60 more keys (its cap is 180 over all runs)"));
    led_to(&resume(&operator, &path).await);
    let main = wait_for(&operator, &path, &["stopped_at_cap", "completed"]).await;
    assert_eq!((main["state"].as_str(), main["removed"].as_str()), ("stopped_at_cap", "180"));
    assert_eq!(key_count(&redis).await, 60);
    app.app.replace_config(config(&redis, "max_keys = 1000"));
    led_to(&resume(&operator, &path).await);
    let main = wait_for(&operator, &path, &["completed"]).await;
    assert_eq!((main["removed"].as_str(), main["residue"].as_str(), main["planned"].as_str()), ("240", "0", "20"));
    assert_eq!(key_count(&redis).await, 0);
    let resumed = told(&app, "flush.resumed").await;
    let of = |field: &str| resumed.iter().map(|record| record[field].as_i64().unwrap()).collect::<Vec<_>>();
    assert_eq!((of("lease_epoch"), of("removed_at_least"), of("left")), (vec![3, 4], vec![120, 180], vec![60, 820]));
    assert_eq!((&resumed[0]["actor"], &resumed[0]["from"]), (&"operator@example.com".into(), &"stopped_at_cap".into()));
    assert_eq!(told(&app, "flush.finished").await.last().unwrap()["removed"], 240);
    // there is nothing left to go on with
    assert_eq!(refused(&resume(&operator, &path).await), (409, "not_resumable".into()));
    let told = refusals(&app, 2).await;
    assert_eq!(told[1], ("operator@example.com".into(), "resume".into(), "not_resumable".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_its_author_resumes_it_and_only_once() {
    let (redis, app) = stopped(Clock::system()).await;
    let operator = app.signed_in(Role::Operator).await;
    let path = stop_at_cap(&redis, &operator, 240).await;
    app.app.replace_config(config(&redis, "max_keys = 1000"));
    for (role, refusal) in [(Role::Admin, "not_the_author"), (Role::Viewer, "role"), (Role::Approver, "role")] {
        let person = app.signed_in(role).await;
        assert_eq!(attribute(&person.page(&path).await, "button[value=resume]", "name"), None, "{role:?}");
        assert_eq!(refused(&resume(&person, &path).await), (403, refusal.into()), "{role:?}");
    }
    assert_eq!(key_count(&redis).await, 120);
    let answers = futures::future::join_all((0..10).map(|_| resume(&operator, &path))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == StatusCode::SEE_OTHER).count(), 1);
    wait_for(&operator, &path, &["completed"]).await;
    assert_eq!(told(&app, "flush.resumed").await.len(), 1);
    assert_eq!(refusals(&app, 12).await.len(), 12);
    assert_eq!(key_count(&redis).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn later_the_button_is_gone_and_the_state_stays() {
    let clock = Clock::fixed(DateTime::from_timestamp(1_795_700_000, 0).unwrap());
    let (redis, app) = stopped(clock.clone()).await;
    let operator = app.signed_in(Role::Operator).await;
    let path = stop_at_cap(&redis, &operator, 240).await;
    app.app.replace_config(config(&redis, "max_keys = 1000"));
    clock.advance(TimeDelta::minutes(15) - TimeDelta::seconds(1));
    assert_eq!(attribute(&operator.page(&path).await, "button[value=resume]", "name").as_deref(), Some("do"));
    clock.advance(TimeDelta::seconds(1));
    assert_eq!(refused(&resume(&operator, &path).await), (409, "resume_too_late".into()));
    let page = operator.page(&path).await;
    assert_eq!(data(&page, "main")["state"], "stopped_at_cap");
    assert_eq!(attribute(&page, "button[value=resume]", "name"), None);
    assert_eq!(attribute(&page, "button[value=replan]", "name").as_deref(), Some("do"));
    assert_eq!(refusals(&app, 1).await[0].2, "resume_too_late");
    assert_eq!(key_count(&redis).await, 120);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wide_flush_is_not_resumed_beyond_what_was_approved() {
    let redis = TestRedis::new().await;
    let app = TestApp::with(config(&redis, "approvals = \"wide\""), Clock::system()).await;
    fill(&redis, (0..1_000).map(|i| format!("cart:{i}").into_bytes())).await;
    let (operator, approver) = (app.signed_in(Role::Operator).await, app.signed_in(Role::Approver).await);
    let (path, _) = planned(&operator, "cart:", "fast").await;
    led_to(&confirm(&operator, &path, "cart:", "1000").await);
    let hash = attribute(&approver.page(&path).await, "[name=scope_hash]", "value").unwrap();
    led_to(&approver.post(&path, &[("do", "approve"), ("scope_hash", &hash)]).await);
    fill(&redis, (1_000..1_500).map(|i| format!("cart:{i}").into_bytes())).await;
    led_to(&operator.post(&path, &[("do", "start")]).await);
    assert_eq!(wait_for(&operator, &path, &["stopped_at_cap", "completed"]).await["state"], "stopped_at_cap");
    app.app.replace_config(config(&redis, "approvals = \"wide\"\nmax_keys = 1_000_000"));
    assert_eq!(refused(&resume(&operator, &path).await), (409, "cap_used_up".into()));
    assert_eq!(key_count(&redis).await, 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_that_finds_far_more_keys_than_planned_does_not_go_on() {
    let (redis, app) = stopped(Clock::system()).await;
    let operator = app.signed_in(Role::Operator).await;
    let path = stop_at_cap(&redis, &operator, 320).await;
    app.app.replace_config(config(&redis, "max_keys = 1000"));
    led_to(&resume(&operator, &path).await);
    let main = wait_for(&operator, &path, &["failed", "planned", "completed"]).await;
    assert_eq!((main["state"].as_str(), main["removed"].as_str()), ("failed", "120"), "200 keys are more than 20 and 100");
    assert_eq!(told(&app, "flush.failed").await[0]["cause"], "drifted");
    assert_eq!(key_count(&redis).await, 200);
}

async fn until_below(redis: &TestRedis, keys: u64) {
    let begun = Instant::now();
    while key_count(redis).await > keys {
        assert!(begun.elapsed() < Duration::from_mins(1), "the flush does not begin");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_two_crashes_the_record_still_bounds_the_truth() {
    const KEYS: u64 = 500_000;
    let redis = TestRedis::new().await;
    let app = TestApp::with(config(&redis, ""), Clock::system()).await;
    fill(&redis, (0..KEYS).map(|i| format!("cart:7:{i}").into_bytes())).await;
    let operator = app.signed_in(Role::Operator).await;
    let cookie = operator.cookie.clone().unwrap();
    let (path, _) = planned(&operator, "cart:7:", "normal").await;
    let id: i64 = path.rsplit('/').next().unwrap().parse().unwrap();
    let confirmation = [("typed_target", "main"), ("typed_scope", "cart:7:"), ("typed_count", "500000"), ("reason", REASON)];
    let (mut least, mut known) = (0, 0);
    for (fields, stop_below) in [(&confirmation[..], KEYS - 60_000), (&[("do", "resume")], KEYS - 250_000)] {
        let mut replica = Replica::start(&app, &redis, &cookie);
        led_to(&replica.ask(Method::POST, &path, fields).await);
        until_below(&redis, stop_below).await;
        replica.child.kill().unwrap();
        replica.child.wait().unwrap();
        let main = wait_for(&operator, &path, &["interrupted"]).await;
        let truth = KEYS - key_count(&redis).await;
        assert!(truth < KEYS, "killed in the middle");
        let (removed, granted): (i64, i64) =
            sqlx::query_as("SELECT removed, granted FROM control.flushes WHERE id = $1").bind(id).fetch_one(app.pool()).await.unwrap();
        let (removed, granted) = (removed.cast_unsigned(), granted.cast_unsigned());
        assert!(removed <= truth && truth <= removed + granted, "{removed} ≤ {truth} ≤ {removed} + {granted}");
        assert!(removed >= least, "the count never goes backwards: {removed} after {least}");
        assert!(granted > known, "what an earlier run left unknown stays unknown");
        assert_eq!(main["removed"], removed.to_string());
        let record = told(&app, "flush.interrupted").await.pop().unwrap();
        assert_eq!((&record["removed_at_least"], &record["granted"]), (&removed.into(), &granted.into()));
        (least, known) = (removed, granted);
    }
    led_to(&resume(&operator, &path).await);
    let main = wait_for(&operator, &path, &["completed", "failed", "stopped_at_cap"]).await;
    assert_eq!((main["state"].as_str(), main["residue"].as_str()), ("completed", "0"));
    assert_eq!(key_count(&redis).await, 0);
    let removed: u64 = main["removed"].parse().unwrap();
    assert!(removed >= least && removed <= KEYS && KEYS <= removed + known, "{removed} ≤ {KEYS} ≤ {removed} + {known}");
    let sentence = text(&operator.page(&path).await, "main").unwrap();
    assert!(sentence.contains("and at most"), "{sentence}");
    let epochs: Vec<_> = told(&app, "flush.resumed").await.iter().map(|record| record["lease_epoch"].as_i64().unwrap()).collect();
    // planning 1, start 2, reaped 3, resume 4, reaped 5, resume 6
    assert_eq!(epochs, [4, 6]);
    let end = told(&app, "flush.finished").await.pop().unwrap();
    assert_eq!((&end["removed_at_least"], &end["granted"]), (&removed.into(), &known.into()));
}

/// Keys of the scope that expire or have done so, as Redis says.
async fn expiring(redis: &TestRedis, keys: u64) -> u64 {
    let mut conn = redis.connect().await;
    let mut count = 0;
    for from in (0..keys).step_by(5_000) {
        let mut pipe = redis::pipe();
        for i in from..keys.min(from + 5_000) {
            pipe.cmd("PTTL").arg(format!("cart:7:{i}"));
        }
        let ttls: Vec<i64> = pipe.query_async(&mut conn).await.unwrap();
        assert!(ttls.iter().all(|ttl| *ttl <= 3_600_000), "a key expires within the window or never");
        count += ttls.iter().filter(|ttl| **ttl != -1).count() as u64;
    }
    count
}

async fn plan_soft(operator: &Browser<'_>) -> String {
    let fields = [("target", "main"), ("scope", "cart:7:"), ("mode", "soft"), ("window_s", "3600"), ("pace", "normal")];
    let path = led_to(&operator.post("/flush", &fields).await);
    assert_eq!(wait_for(operator, &path, &["planned", "plan_failed"]).await["state"], "planned");
    path
}

/// The keys of a soft flush stay where they are, so that a later run meets them again.
#[tokio::test(flavor = "multi_thread")]
async fn a_soft_flush_that_is_resumed_spends_its_cap_on_new_keys_and_counts_none_twice() {
    let (redis, app) = stopped(Clock::system()).await;
    let operator = app.signed_in(Role::Operator).await;
    let path = plan_soft(&operator).await;
    fill(&redis, (20..240).map(|i| format!("cart:7:{i}").into_bytes())).await;
    led_to(&confirm(&operator, &path, "cart:7:", "20").await);
    for (max_keys, removed, state) in [(0, 120, "stopped_at_cap"), (180, 180, "stopped_at_cap"), (1_000, 240, "completed")] {
        if max_keys > 0 {
            app.app.replace_config(config(&redis, &format!("max_keys = {max_keys}")));
            led_to(&resume(&operator, &path).await);
        }
        let main = wait_for(&operator, &path, &["stopped_at_cap", "completed", "completed_with_residue", "failed"]).await;
        assert_eq!(["state", "removed", "gone", "failed"].map(|name| main[name].as_str()), [state, &removed.to_string(), "0", "0"]);
        assert_eq!(expiring(&redis, 240).await, removed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soft_flush_goes_on_to_its_end_after_a_crash() {
    const KEYS: u64 = 200_000;
    let redis = TestRedis::new().await;
    let app = TestApp::with(config(&redis, ""), Clock::system()).await;
    fill(&redis, (0..KEYS).map(|i| format!("cart:7:{i}").into_bytes())).await;
    let operator = app.signed_in(Role::Operator).await;
    let path = plan_soft(&operator).await;
    let id: i64 = path.rsplit('/').next().unwrap().parse().unwrap();
    let mut replica = Replica::start(&app, &redis, operator.cookie.as_ref().unwrap());
    let confirmation = [("typed_target", "main"), ("typed_scope", "cart:7:"), ("typed_count", "200000"), ("reason", REASON)];
    led_to(&replica.ask(Method::POST, &path, &confirmation).await);
    let recorded = async || {
        let (removed, granted): (i64, i64) =
            sqlx::query_as("SELECT removed, granted FROM control.flushes WHERE id = $1").bind(id).fetch_one(app.pool()).await.unwrap();
        (removed.cast_unsigned(), granted.cast_unsigned())
    };
    let begun = Instant::now();
    while recorded().await.0 < 20_000 {
        assert!(begun.elapsed() < Duration::from_mins(1), "the flush does not begin");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    replica.child.kill().unwrap();
    replica.child.wait().unwrap();
    wait_for(&operator, &path, &["interrupted"]).await;
    let (removed, granted) = recorded().await;
    let truth = expiring(&redis, KEYS).await;
    assert!(truth < KEYS, "killed in the middle");
    assert!(removed <= truth && truth <= removed + granted, "{removed} ≤ {truth} ≤ {removed} + {granted}");
    led_to(&resume(&operator, &path).await);
    let main = wait_for(&operator, &path, &["completed", "completed_with_residue", "failed", "stopped_at_cap"]).await;
    assert_eq!((main["state"].as_str(), main["residue"].as_str()), ("completed", "0"), "{main:?}");
    assert_eq!(expiring(&redis, KEYS).await, KEYS);
    let (done, gone): (u64, u64) = (main["removed"].parse().unwrap(), main["gone"].parse().unwrap());
    assert_eq!(done, KEYS - (truth - removed));
    assert!(gone <= truth - removed, "what the crashed run had done beyond its record expires sooner anyway: {gone}");
}
