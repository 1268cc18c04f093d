//! Flushes over plain forms, against real Postgres and Redis: what goes, what stays, what is refused, and what the record says.

mod approval;
mod brake;
mod crash;
mod modes;
mod refusals;
mod resume;
mod step_up;
mod verdict;

use crate::support::{Answer, Browser, TestApp, TestRedis, attribute, data};
use chrono::DateTime;
use reqwest::StatusCode;
use stalewatch::domain::operator::Role;
use stalewatch::server::clock::Clock;
use stalewatch::server::config::{Config, Environment};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::{Duration, Instant};

pub const REASON: &str = "summaries show old names since the release";

/// The configuration of one target over `redis`, with `extra` lines in it.
pub fn config(redis: &TestRedis, extra: &str) -> Config {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(config_text(&redis.url, &redis.flush, extra).as_bytes()).unwrap();
    Config::load(Some(file.path()), &Environment::default()).unwrap()
}

/// Where `extra` does not say otherwise, nobody is asked for an approval.
pub fn config_text(url: &str, flush: &(String, String), extra: &str) -> String {
    let approvals = if extra.contains("approvals") { "" } else { "approvals = \"never\"\n" };
    // A machine that runs all tests at once is no quiet neighbour.
    let brake = if extra.contains("brake") { "" } else { "brake = { bystander = \"1s\", stop_after = \"60s\" }\n" };
    let folder = std::env::temp_dir().join(format!("stalewatch-test-secrets-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let password = folder.join(&flush.1[..8]);
    // Whole or not at all: other tests read the same file meanwhile.
    let mut draft = tempfile::NamedTempFile::new_in(&folder).unwrap();
    draft.write_all(flush.1.as_bytes()).unwrap();
    draft.persist(&password).unwrap();
    format!(
        "[[target]]\nname = \"main\"\nurl = \"{url}\"\nflush = {{ user = \"{}\", password_file = \"{}\" }}\nprotected = [\"session:\"]\n{approvals}{brake}{extra}\n\
         [[prefix]]\nname = \"user:{{id}}:profile\"\ntarget = \"main\"\nowner = \"accounts\"\ntier = \"critical\"\n\
         [[prefix]]\nname = \"user:{{id}}:summary\"\ntarget = \"main\"\nowner = \"accounts\"\n",
        flush.0,
        password.display()
    )
}

pub async fn fill(redis: &TestRedis, keys: impl IntoIterator<Item = Vec<u8>>) {
    let mut conn = redis.connect().await;
    let keys: Vec<Vec<u8>> = keys.into_iter().collect();
    for some in keys.chunks(5_000) {
        let mut pipe = redis::pipe();
        for key in some {
            pipe.cmd("SET").arg(key).arg(1).ignore();
        }
        let () = pipe.query_async(&mut conn).await.unwrap();
    }
}

pub async fn keys(redis: &TestRedis) -> BTreeSet<Vec<u8>> {
    redis::cmd("KEYS").arg("*").query_async(&mut redis.connect().await).await.unwrap()
}

pub async fn key_count(redis: &TestRedis) -> u64 {
    redis::cmd("DBSIZE").query_async(&mut redis.connect().await).await.unwrap()
}

/// Keys that a careless program would take for ours.
fn nasty_neighbours(count: usize) -> Vec<Vec<u8>> {
    let bytes: [&[u8]; 9] = [b"*", b"?", b"[", b"]", b"\\", b"{", b"}", b"\0", b"\xff \xfe"];
    let shapes = ["user:X:summaryY", "user:X:summary:Y", "userX:Y:summary", "Xuser:Y:summary", "user:X:Y:summary", "user:XY:summari"];
    (0..count)
        .map(|i| {
            let (x, y) = (bytes[i % 9], [bytes[i / 9 % 9], i.to_string().as_bytes()].concat());
            shapes[i / 81 % shapes.len()].bytes().flat_map(move |byte| match byte {
                b'X' => x.to_vec(),
                b'Y' => y.clone(),
                byte => vec![byte],
            })
        })
        .map(Iterator::collect)
        .collect()
}

/// Where a 303 leads.
pub fn led_to(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::SEE_OTHER, "{:?} {}", answer.refusal(), answer.body);
    answer.header("location").to_owned()
}

pub async fn ask(browser: &Browser<'_>, scope: &str, pace: &str) -> Answer {
    browser.post("/flush", &[("target", "main"), ("scope", scope), ("mode", "flush"), ("pace", pace)]).await
}

/// Looks at a flush's page until its state is one of `states`.
pub async fn wait_for(browser: &Browser<'_>, path: &str, states: &[&str]) -> BTreeMap<String, String> {
    let begun = Instant::now();
    loop {
        let page = browser.page(path).await;
        let main = data(&page, "main");
        if states.contains(&main["state"].as_str()) {
            return main;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "{path} stays {main:?}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// A plan, counted.
pub async fn planned(browser: &Browser<'_>, scope: &str, pace: &str) -> (String, BTreeMap<String, String>) {
    let path = led_to(&ask(browser, scope, pace).await);
    let main = wait_for(browser, &path, &["planned", "plan_failed"]).await;
    assert_eq!(main["state"], "planned", "{}", browser.get(&path).await.body);
    (path, main)
}

pub async fn confirm(browser: &Browser<'_>, path: &str, scope: &str, count: &str) -> Answer {
    let fields = [("typed_target", "main"), ("typed_scope", scope), ("typed_count", count), ("reason", REASON)];
    browser.post(path, &fields).await
}

/// The bodies of the audit's records of one code.
pub async fn told(app: &TestApp, code: &str) -> Vec<serde_json::Value> {
    let rows: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT canonical FROM audit.log WHERE code = $1 ORDER BY seq").bind(code).fetch_all(app.pool()).await.unwrap();
    rows.iter().map(|row| serde_json::from_slice(row).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_scope_goes_and_every_step_is_on_record() {
    let redis = TestRedis::new().await;
    let app = TestApp::with(config(&redis, ""), Clock::system()).await;
    let neighbours: BTreeSet<Vec<u8>> = nasty_neighbours(2_000).into_iter().collect();
    let mine: Vec<Vec<u8>> = (0..3_412).map(|i| format!("user:{i}:summary{}", if i % 4 == 0 { ":v7" } else { "" }).into_bytes()).collect();
    let scope = stalewatch::domain::prefix::Template::parse("user:{id}:summary", b':').unwrap();
    let (also_mine, others): (BTreeSet<_>, BTreeSet<_>) = neighbours.into_iter().partition(|key| scope.matches(key));
    fill(&redis, mine.iter().cloned().chain(also_mine.iter().cloned()).chain(others.iter().cloned())).await;
    let all = mine.len() + also_mine.len();

    let operator = app.signed_in(Role::Operator).await;
    let form = operator.page("/flush").await;
    assert_eq!(attribute(&form, "form[action=\"/flush\"] [name=scope]", "name").as_deref(), Some("scope"));
    let (path, main) = planned(&operator, "user:{id}:summary", "normal").await;
    assert_eq!((main["planned"].as_str(), main["removed"].as_str(), main["wide"].as_str()), (all.to_string().as_str(), "", "true"));
    assert_eq!(key_count(&redis).await, (all + others.len()) as u64, "planning only reads");
    let page = operator.page(&path).await;
    for name in ["typed_target", "typed_scope", "typed_count", "reason", "incident"] {
        assert_eq!(attribute(&page, &format!("form[method=post] [name={name}]"), "name").as_deref(), Some(name));
    }

    let grouped = format!("{},{:03}", all / 1_000, all % 1_000);
    assert_eq!(led_to(&confirm(&operator, &path, "user:{id}:summary", &grouped).await), path);
    let main = wait_for(&operator, &path, &["completed", "completed_with_residue", "failed", "interrupted"]).await;
    let figures = ["state", "planned", "removed", "gone", "failed", "residue", "verdict"].map(|name| main[name].as_str());
    assert_eq!(figures, ["completed", all.to_string().as_str(), all.to_string().as_str(), "0", "0", "0", ""]);
    assert_eq!(keys(&redis).await, others);

    let codes: Vec<String> = app.audit_codes().await.into_iter().filter(|code| code.starts_with("flush.")).collect();
    assert_eq!(codes, ["flush.requested", "flush.planned", "flush.confirmed", "flush.started", "flush.verifying", "flush.finished"]);
    let intent = &told(&app, "flush.confirmed").await[0];
    assert_eq!(intent["reason"], REASON);
    assert_eq!((&intent["target"], &intent["scope"], &intent["count"]), (&"main".into(), &"user:{id}:summary".into(), &all.into()));
    assert_eq!((&intent["actor"], &intent["granted"]), (&"operator@example.com".into(), &intent["cap"]), "no more is granted than may go");
    assert!(!intent.to_string().contains("user:1:"), "no key names in the audit");
    let outcome = &told(&app, "flush.finished").await[0];
    assert_eq!((&outcome["state"], &outcome["removed"], &outcome["residue"]), (&"completed".into(), &all.into(), &0.into()));

    let list = operator.page("/flush").await;
    assert!(list.html().contains("user:{id}:summary"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_takes_effect_and_another_start_waits_its_turn() {
    let redis = TestRedis::new().await;
    let app = TestApp::with(config(&redis, ""), Clock::system()).await;
    fill(&redis, (0..120_000).map(|i| format!("cart:{i}:x").into_bytes()).chain((0..50).map(|i| format!("page:{i}:x").into_bytes()))).await;
    let operator = app.signed_in(Role::Operator).await;
    let (first, _) = planned(&operator, "cart:", "gentle").await;
    let (second, _) = planned(&operator, "page:1:", "normal").await;
    led_to(&confirm(&operator, &first, "cart:", "120000").await);
    let refused = confirm(&operator, &second, "page:1:", "1").await;
    assert_eq!((refused.status, refused.refusal().as_deref()), (StatusCode::CONFLICT, Some("another_active")));
    led_to(&operator.post(&first, &[("do", "cancel")]).await);
    let main = wait_for(&operator, &first, &["cancelled", "completed"]).await;
    let left = key_count(&redis).await;
    assert_eq!(main["state"], "cancelled");
    assert_eq!(main["removed"].parse::<u64>().unwrap(), 120_050 - left, "what is said to be removed is removed");
    assert!(left > 50, "a cancelled flush leaves the rest");
    assert_eq!(told(&app, "flush.cancelled").await[0]["actor"], "operator@example.com");
    // its turn has come, and the refusal did not use up the plan
    led_to(&confirm(&operator, &second, "page:1:", "1").await);
    assert_eq!(wait_for(&operator, &second, &["completed"]).await["removed"], "1");
    let again = led_to(&operator.post(&first, &[("do", "replan")]).await);
    assert_eq!(wait_for(&operator, &again, &["planned"]).await["planned"], (left - 50).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_more_keys_than_planned_are_confirmed_again() {
    let redis = TestRedis::new().await;
    let clock = Clock::fixed(DateTime::from_timestamp(1_790_000_000, 0).unwrap());
    let app = TestApp::with(config(&redis, ""), clock.clone()).await;
    fill(&redis, (0..100).map(|i| format!("cart:7:{i}").into_bytes())).await;
    let operator = app.signed_in(Role::Operator).await;
    let (path, _) = planned(&operator, "cart:7:", "fast").await;
    fill(&redis, (0..400).map(|i| format!("cart:7:{i}").into_bytes())).await;
    clock.advance(chrono::TimeDelta::seconds(61));
    led_to(&confirm(&operator, &path, "cart:7:", "100").await);
    let page = loop {
        let page = operator.page(&path).await;
        if data(&page, "main")["planned"] == "400" {
            break page;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    };
    assert_eq!(data(&page, "main")["state"], "planned");
    assert_eq!(key_count(&redis).await, 400, "nothing was removed");
    assert_eq!(told(&app, "flush.drifted").await[0]["drifted_from"], 100);
    let stale = confirm(&operator, &path, "cart:7:", "100").await;
    assert_eq!((stale.status, stale.refusal().as_deref()), (StatusCode::UNPROCESSABLE_ENTITY, Some("wrong_count")));
    led_to(&confirm(&operator, &path, "cart:7:", "400").await);
    assert_eq!(wait_for(&operator, &path, &["completed"]).await["removed"], "400");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_verdict_comes_by_itself_and_says_too_little_data_where_that_is_true() {
    let redis = TestRedis::new().await;
    let clock = Clock::fixed(Clock::system().now());
    let app = TestApp::with(config(&redis, ""), clock.clone()).await;
    fill(&redis, (0..10).map(|i| format!("user:{i}:summary").into_bytes())).await;
    let operator = app.signed_in(Role::Operator).await;
    let (path, _) = planned(&operator, "user:{id}:summary", "fast").await;
    led_to(&confirm(&operator, &path, "user:{id}:summary", "10").await);
    assert_eq!(wait_for(&operator, &path, &["completed"]).await["verdict"], "");
    clock.advance(chrono::TimeDelta::seconds(61));
    stalewatch::server::service::flush::sweep(&app.app, &stalewatch::server::service::flush::Sweeper::default()).await;
    assert_eq!(data(&operator.page(&path).await, "main")["verdict"], "too_little_data");
    assert_eq!(told(&app, "flush.verdict").await[0]["after_min"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_again_is_told_apart_from_what_was_left() {
    let redis = TestRedis::new().await;
    let app = TestApp::with(config(&redis, ""), Clock::system()).await;
    fill(&redis, (0..20_000).map(|i| format!("cart:{i}:x").into_bytes())).await;
    let operator = app.signed_in(Role::Operator).await;
    let (path, _) = planned(&operator, "cart:", "gentle").await;
    let writer = tokio::spawn({
        let mut conn = redis.connect().await;
        async move {
            for i in 0_u64.. {
                let _: Result<(), _> = redis::cmd("SET").arg(format!("cart:{}:x", i % 50)).arg(2).query_async(&mut conn).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    led_to(&confirm(&operator, &path, "cart:", "20000").await);
    let main = wait_for(&operator, &path, &["completed", "completed_with_residue"]).await;
    writer.abort();
    assert_eq!(main["state"], "completed", "the scan was complete, so what is there was written after");
    assert!((1..=50).contains(&main["residue"].parse::<u64>().unwrap()), "{main:?}");
}

/// Every source file under `folder`, with its path.
fn sources(folder: &std::path::Path) -> Vec<(std::path::PathBuf, String)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let here = files.into_iter().filter(|path| path.extension().is_some_and(|end| end == "rs"));
    let here = here.map(|path| (path.clone(), std::fs::read_to_string(path).unwrap()));
    here.chain(folders.iter().flat_map(|folder| sources(folder))).collect()
}

#[test]
fn only_a_committed_start_gives_the_permission_to_remove_and_only_the_engine_removes() {
    let all = sources(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let holding = |needle: &str| -> Vec<String> {
        let found = all
            .iter()
            .filter(|(path, text)| text.contains(needle) && !path.ends_with("tests.rs") && !path.to_string_lossy().contains("/tests/"));
        found.map(|(path, _)| path.to_string_lossy().rsplit_once("/src/").unwrap().1.to_owned()).collect()
    };
    assert_eq!(holding("Permit::after_commit("), ["server/store/flushes/runs.rs"]);
    let mut unlinking: Vec<_> = holding("\"UNLINK\"").into_iter().filter(|path| path.starts_with("server/")).collect();
    unlinking.sort();
    // the self-check tries to remove what it may not
    assert_eq!(unlinking, ["server/redis/connect.rs", "server/redis/engine/deed.rs"]);
    for forbidden in ["KEYS", "FLUSHDB", "FLUSHALL", "EVAL", "SWAPDB"] {
        let found: Vec<_> = holding(&format!("\"{forbidden}\"")).into_iter().filter(|path| !path.starts_with("server/demo/")).collect();
        assert_eq!(found, Vec::<String>::new(), "{forbidden} is never sent");
    }
}
