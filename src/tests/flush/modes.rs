//! The gentler modes through the door: a soft flush that only brings expiries forward, and a generation that is raised.

use super::*;
use crate::support::data;
use chrono::Utc;
use stalewatch::server::redis::acl_line;

const CATALOG: &str = "[[prefix]]\nname = \"catalog:{id}\"\ntarget = \"main\"\ngeneration_key = \"gen:catalog\"";

/// A target whose `catalog:{id}` has a generation.
fn with_catalog(redis: &TestRedis, extra: &str) -> Config {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let text = config_text(&redis.url, &redis.flush, extra);
    file.write_all(format!("{text}{CATALOG}\n").as_bytes()).unwrap();
    Config::load(Some(file.path()), &Environment::default()).unwrap()
}

async fn plan(browser: &Browser<'_>, scope: &str, mode: &[(&str, &str)]) -> (String, BTreeMap<String, String>) {
    let fields = [&[("target", "main"), ("scope", scope)], mode].concat();
    let path = led_to(&browser.post("/flush", &fields).await);
    let main = wait_for(browser, &path, &["planned", "plan_failed"]).await;
    assert_eq!(main["state"], "planned");
    (path, main)
}

async fn ttl_of(redis: &TestRedis, key: &str) -> i64 {
    redis::cmd("PTTL").arg(key).query_async(&mut redis.connect().await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soft_flush_lets_the_scope_expire_within_its_window_and_says_so() {
    let redis = TestRedis::new().await;
    let app = TestApp::with(config(&redis, ""), Clock::system()).await;
    let names = |i: u32| [format!("user:{i}:summary"), format!("user:{i}:profile")];
    fill(&redis, (0..400).flat_map(names).map(String::into_bytes)).await;
    let operator = app.signed_in(Role::Operator).await;
    let (path, main) = plan(&operator, "user:{id}:summary", &[("mode", "soft"), ("window_s", "120")]).await;
    assert_eq!(main["planned"], "400");
    let page = operator.get(&path).await.body;
    assert!(page.contains("let 400 keys expire within 2 min") && page.contains("Nothing has been changed yet."), "{page}");
    led_to(&confirm(&operator, &path, "user:{id}:summary", "400").await);
    let main = wait_for(&operator, &path, &["completed", "completed_with_residue", "failed"]).await;
    let figures = ["state", "removed", "gone", "failed", "residue"].map(|name| main[name].as_str());
    assert_eq!(figures, ["completed", "400", "0", "0", "0"]);
    assert_eq!(key_count(&redis).await, 800, "nothing is removed");
    for i in 0..400 {
        let [summary, profile] = names(i);
        let ttl = ttl_of(&redis, &summary).await;
        assert!((1..=120_000).contains(&ttl), "{summary}: {ttl}");
        assert_eq!(ttl_of(&redis, &profile).await, -1, "{profile} is not in scope");
    }
    let finished = told(&app, "flush.finished").await.remove(0);
    assert_eq!((&finished["mode"], &finished["removed"], &finished["sampled"]), (&"soft".into(), &400.into(), &400.into()));
    let asked = told(&app, "flush.confirmed").await.remove(0);
    assert_eq!((&asked["mode"], &asked["window_s"]), (&"soft".into(), &120.into()));
    // Its verdict's clock starts when the window has passed.
    let (due, ended): (DateTime<Utc>, DateTime<Utc>) =
        sqlx::query_as("SELECT verdict_due, ended_at FROM control.flushes").fetch_one(app.pool()).await.unwrap();
    assert_eq!((due - ended).num_seconds(), 120 + 60);
    // The same again: everything expires sooner anyway.
    let again = led_to(&operator.post(&path, &[("do", "replan")]).await);
    wait_for(&operator, &again, &["planned"]).await;
    let planned = data(&operator.page(&again).await, "main")["planned"].clone();
    led_to(&confirm(&operator, &again, "user:{id}:summary", &planned).await);
    let main = wait_for(&operator, &again, &["completed"]).await;
    let met = main["removed"].parse::<u32>().unwrap() + main["gone"].parse::<u32>().unwrap();
    assert!((350..=400).contains(&met), "{met}: some have expired by now");
    let body = operator.get(&again).await.body;
    assert!(body.contains("Sooner anyway") && !body.contains("Removed"), "a soft flush removes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_outlives_the_window_is_said_to() {
    let redis = TestRedis::new().await;
    let app = TestApp::with(config(&redis, ""), Clock::system()).await;
    fill(&redis, (0..50).map(|i| format!("cart:{i}:x").into_bytes())).await;
    let operator = app.signed_in(Role::Operator).await;
    let (path, _) = plan(&operator, "cart:", &[("mode", "soft"), ("window_s", "600"), ("pace", "gentle")]).await;
    // Writes go on all the while: without an expiry, so they outlive the window.
    let writing = tokio_util::sync::CancellationToken::new();
    let writer = tokio::spawn({
        let (writing, mut conn) = (writing.clone(), redis.connect().await);
        async move {
            while !writing.is_cancelled() {
                let () = redis::cmd("SET").arg("cart:7:x").arg(1).query_async(&mut conn).await.unwrap();
            }
        }
    });
    led_to(&confirm(&operator, &path, "cart:", "50").await);
    let main = wait_for(&operator, &path, &["completed", "completed_with_residue"]).await;
    writing.cancel();
    writer.await.unwrap();
    assert_eq!((main["state"].as_str(), main["residue"].as_str()), ("completed", "1"), "{main:?}");
    let body = operator.get(&path).await.body;
    assert!(body.contains("Outlive the window") && body.contains("of 50 sampled, so written since"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_bump_raises_one_number_and_is_not_done_twice() {
    let redis = TestRedis::new().await;
    let app = TestApp::with(with_catalog(&redis, ""), Clock::system()).await;
    fill(&redis, (0..300).map(|i| format!("catalog:{i}").into_bytes())).await;
    let operator = app.signed_in(Role::Operator).await;
    for (scope, mode) in [("catalog:{id=7}", "version"), ("catalog:", "version"), ("user:{id}:summary", "version")] {
        let refused = operator.post("/flush", &[("target", "main"), ("scope", scope), ("mode", mode)]).await;
        assert_eq!((refused.status, refused.refusal().as_deref()), (StatusCode::UNPROCESSABLE_ENTITY, Some("mode_unavailable")), "{scope}");
    }
    let (path, main) = plan(&operator, "catalog:{id}", &[("mode", "version")]).await;
    assert_eq!(main["planned"], "300");
    led_to(&confirm(&operator, &path, "catalog:{id}", "300").await);
    let main = wait_for(&operator, &path, &["completed", "completed_with_residue", "failed"]).await;
    let figures = ["state", "removed", "gone", "failed", "residue"].map(|name| main[name].as_str());
    assert_eq!(figures, ["completed", "1", "0", "0", ""]);
    assert_eq!(key_count(&redis).await, 301, "nothing is removed, and the generation is there");
    let generation: String = redis::cmd("GET").arg("gen:catalog").query_async(&mut redis.connect().await).await.unwrap();
    assert_eq!(generation, "1");
    assert!(operator.get(&path).await.body.contains("Raised the generation to 1"));
    let intent = told(&app, "flush.confirmed").await.remove(0);
    assert_eq!((&intent["mode"], &intent["cap"], &intent["granted"]), (&"version".into(), &1.into(), &1.into()));
    let finished = told(&app, "flush.finished").await.remove(0);
    assert_eq!((&finished["generation"], &finished["removed"]), (&1.into(), &1.into()));
    let used = confirm(&operator, &path, "catalog:{id}", "300").await;
    assert_eq!((used.status, used.refusal().as_deref()), (StatusCode::CONFLICT, Some("not_planned")));
}

/// Without the number an application would count from the beginning, and find the values of years ago.
#[tokio::test(flavor = "multi_thread")]
async fn a_generation_is_never_flushed_whatever_the_mode() {
    let redis = TestRedis::new().await;
    let app = TestApp::with(with_catalog(&redis, ""), Clock::system()).await;
    fill(&redis, ["gen:catalog", "gen:catalog:x", "gen:other"].map(|key| key.as_bytes().to_vec())).await;
    let operator = app.signed_in(Role::Operator).await;
    for (scope, mode) in [("gen:", "flush"), ("gen:", "soft")] {
        let fields = [("target", "main"), ("scope", scope), ("mode", mode), ("window_s", "600")];
        let refused = operator.post("/flush", &fields).await;
        assert_eq!((refused.status, refused.refusal().as_deref()), (StatusCode::UNPROCESSABLE_ENTITY, Some("protected")), "{scope}");
        assert!(refused.body.contains("is in this scope: the generation of"), "{}", refused.body);
    }
    // A neighbour is no generation; and what has become one since the plan is left alone.
    let (path, _) = planned(&operator, "gen:catalog:", "fast").await;
    led_to(&confirm(&operator, &path, "gen:catalog:", "1").await);
    assert_eq!(wait_for(&operator, &path, &["completed"]).await["removed"], "1");
    app.app.replace_config(config(&redis, ""));
    let (path, _) = planned(&operator, "gen:", "fast").await;
    app.app.replace_config(with_catalog(&redis, ""));
    let refused = confirm(&operator, &path, "gen:", "2").await;
    assert_eq!((refused.status, refused.refusal().as_deref()), (StatusCode::UNPROCESSABLE_ENTITY, Some("protected")));
    assert_eq!(key_count(&redis).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_cannot_be_raised_fails_truly_and_is_not_resumed() {
    let redis = TestRedis::new().await;
    let app = TestApp::with(with_catalog(&redis, ""), Clock::system()).await;
    fill(&redis, (0..30).map(|i| format!("catalog:{i}").into_bytes())).await;
    let () = redis::cmd("SET").arg("gen:catalog").arg("seven").query_async(&mut redis.connect().await).await.unwrap();
    let operator = app.signed_in(Role::Operator).await;
    let (path, _) = plan(&operator, "catalog:{id}", &[("mode", "version")]).await;
    led_to(&confirm(&operator, &path, "catalog:{id}", "30").await);
    let main = wait_for(&operator, &path, &["completed", "failed"]).await;
    assert_eq!(["state", "removed", "failed"].map(|name| main[name].as_str()), ["failed", "0", "1"]);
    let resumed = operator.post(&path, &[("do", "resume")]).await;
    assert_eq!((resumed.status, resumed.refusal().as_deref()), (StatusCode::CONFLICT, Some("not_resumable")));
    let generation: String = redis::cmd("GET").arg("gen:catalog").query_async(&mut redis.connect().await).await.unwrap();
    assert_eq!(generation, "seven");
}

/// What an approver says yes to is this mode with this window.
#[tokio::test(flavor = "multi_thread")]
async fn the_window_is_bound_by_the_approval() {
    let redis = TestRedis::new().await;
    let app = TestApp::with(config(&redis, "approvals = \"wide\""), Clock::system()).await;
    fill(&redis, (0..60).map(|i| format!("cart:{i}:x").into_bytes())).await;
    let (operator, approver) = (app.signed_in(Role::Operator).await, app.signed_in(Role::Approver).await);
    let (path, main) = plan(&operator, "cart:", &[("mode", "soft"), ("window_s", "300")]).await;
    assert_eq!(main["wide"], "true");
    led_to(&confirm(&operator, &path, "cart:", "60").await);
    let page = approver.page(&path).await;
    let hash = attribute(&page, "[name=scope_hash]", "value").unwrap();
    assert!(approver.get(&path).await.body.contains("Approve letting 60 keys expire within 5 min under"));
    sqlx::query("UPDATE control.flushes SET window_s = 10").execute(app.pool()).await.unwrap();
    let edited = approver.post(&path, &[("do", "approve"), ("scope_hash", &hash)]).await;
    assert_eq!((edited.status, edited.refusal().as_deref()), (StatusCode::CONFLICT, Some("hash_changed")));
    sqlx::query("UPDATE control.flushes SET window_s = 300").execute(app.pool()).await.unwrap();
    led_to(&approver.post(&path, &[("do", "approve"), ("scope_hash", &hash)]).await);
    led_to(&operator.post(&path, &[("do", "start")]).await);
    let main = wait_for(&operator, &path, &["completed"]).await;
    assert_eq!((main["removed"].as_str(), main["residue"].as_str()), ("60", "0"));
    assert_eq!(key_count(&redis).await, 60);
}

#[test]
fn the_generated_line_lets_exactly_the_generations_be_raised() {
    let line = acl_line("7.2.4", "sw_flush", &[b"catalog".to_vec()], b':', &["gen:catalog", "gen:catalog", "gen:a*"]);
    assert!(line.ends_with(" (+incr ~gen:a\\* ~gen:catalog)"), "{line}");
}
