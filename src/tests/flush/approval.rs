//! Wide flushes: the second person, what their approval is bound to, how long it holds, and one admin going on alone.

use super::{REASON, config, confirm, fill, key_count, led_to, planned, told, wait_for};
use crate::support::{Answer, Browser, PASSWORD, TestApp, TestRedis, attribute, data, text};
use chrono::{DateTime, TimeDelta};
use reqwest::StatusCode;
use stalewatch::domain::flush::ScopeHash;
use stalewatch::domain::operator::Role;
use stalewatch::server::clock::Clock;
use stalewatch::server::service::flush::{Sweeper, sweep};
use std::time::{Duration, Instant};

const SCOPE: &str = "cart:";
const KEYS: u64 = 120;

/// A target that asks a second person for wide flushes, as is the default.
async fn wide(extra: &str, clock: Clock) -> (TestRedis, TestApp) {
    let redis = TestRedis::new().await;
    let app = TestApp::with(config(&redis, &format!("approvals = \"wide\"\n{extra}")), clock).await;
    fill(&redis, (0..KEYS).map(|i| format!("cart:{i}:x").into_bytes()).chain([b"session:1:x".to_vec()])).await;
    (redis, app)
}

fn fixed() -> Clock {
    Clock::fixed(DateTime::from_timestamp(1_795_700_000, 0).unwrap())
}

/// A wide flush that waits for its approval.
async fn asked(operator: &Browser<'_>) -> String {
    let (path, main) = planned(operator, SCOPE, "fast").await;
    assert_eq!(main["wide"], "true", "a literal of one segment");
    led_to(&confirm(operator, &path, SCOPE, &KEYS.to_string()).await);
    assert_eq!(data(&operator.page(&path).await, "main")["state"], "awaiting_approval");
    path
}

/// What the approver's page would send.
async fn hash(person: &Browser<'_>, path: &str) -> String {
    attribute(&person.page(path).await, "form [name=scope_hash]", "value").unwrap()
}

async fn approve(approver: &Browser<'_>, path: &str) -> Answer {
    let hash = hash(approver, path).await;
    approver.post(path, &[("do", "approve"), ("scope_hash", &hash)]).await
}

async fn press(person: &Browser<'_>, path: &str, button: &str) -> Answer {
    person.post(path, &[("do", button)]).await
}

fn refused(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.refusal().unwrap_or_default())
}

async fn state(person: &Browser<'_>, path: &str) -> String {
    data(&person.page(path).await, "main")["state"].clone()
}

/// The refusals on record, once there are as many: they are written beside the answer.
pub async fn refusals(app: &TestApp, count: usize) -> Vec<(String, String, String)> {
    let begun = Instant::now();
    loop {
        let told = told(app, "flush.refused").await;
        if told.len() >= count {
            let text = |record: &serde_json::Value, field: &str| record[field].as_str().unwrap().to_owned();
            return told.iter().map(|record| (text(record, "actor"), text(record, "attempt"), text(record, "code"))).collect();
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{told:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_person_approves_and_the_requester_starts() {
    let (redis, app) = wide("", Clock::system()).await;
    let (operator, approver) = (app.signed_in(Role::Operator).await, app.signed_in(Role::Approver).await);
    let path = asked(&operator).await;
    let id = path.rsplit('/').next().unwrap();
    assert_eq!(key_count(&redis).await, KEYS + 1, "a confirmation alone removes nothing");

    // on every page of whoever can decide, and of whoever waits
    let mark = format!("[data-waits=\"{id}\"]");
    assert_eq!(attribute(&approver.page("/contracts").await, &format!("{mark} a"), "href").as_deref(), Some(path.as_str()));
    assert!(text(&approver.page("/").await, &mark).unwrap().starts_with("Waits for your approval: cart: on main"));
    assert!(text(&operator.page("/").await, &mark).unwrap().starts_with("Your flush waits for an approver"));
    assert_eq!(text(&app.signed_in(Role::Viewer).await.page("/").await, &mark), None);

    let page = approver.page(&path).await;
    let main = text(&page, "main").unwrap();
    for part in
        ["operator@example.com asks to remove 120 keys", REASON, "a literal of one segment", "cap of 220 keys", "the request expires"]
    {
        assert!(main.contains(part), "{part} is missing in {main}");
    }
    let shown = hash(&approver, &path).await;
    assert!(main.contains(&shown), "the hash is shown");
    assert_eq!(attribute(&page, "button[value=start]", "name"), None);
    assert_eq!(attribute(&operator.page(&path).await, "button[value=approve]", "name"), None, "who asked finds no approval in the page");

    led_to(&approve(&approver, &path).await);
    assert!(text(&operator.page("/").await, &mark).unwrap().starts_with("Approved, waits for your start"));
    assert_eq!(attribute(&operator.page(&path).await, "button[value=start]", "name").as_deref(), Some("do"));
    assert_eq!(key_count(&redis).await, KEYS + 1, "nor does an approval");
    led_to(&press(&operator, &path, "start").await);
    let main = wait_for(&operator, &path, &["completed", "failed"]).await;
    assert_eq!((main["state"].as_str(), main["removed"].as_str()), ("completed", "120"));
    assert_eq!(key_count(&redis).await, 1);
    assert_eq!(text(&approver.page("/").await, &mark), None);

    let codes: Vec<String> = app.audit_codes().await.into_iter().filter(|code| code.starts_with("flush.")).collect();
    assert_eq!(
        codes,
        [
            "flush.requested",
            "flush.planned",
            "flush.confirmed",
            "flush.approved",
            "flush.starting",
            "flush.started",
            "flush.verifying",
            "flush.finished"
        ]
    );
    let (asking, yes, starting) =
        (&told(&app, "flush.confirmed").await[0], &told(&app, "flush.approved").await[0], &told(&app, "flush.starting").await[0]);
    assert_eq!(
        (&asking["state"], &yes["state"], &starting["state"]),
        (&"awaiting_approval".into(), &"approved".into(), &"starting".into())
    );
    assert_eq!((&yes["actor"], &yes["scope_hash"]), (&"approver@example.com".into(), &shown.as_str().into()));
    assert_eq!((&starting["scope_hash"], &asking["scope_hash"]), (&yes["scope_hash"], &yes["scope_hash"]));
    assert_eq!((&starting["approved_by"], &starting["cap"]), (&"approver@example.com".into(), &220.into()));
    assert!(text(&operator.page(&path).await, "main").unwrap().contains("Approved by"));

    // replayed
    assert_eq!(refused(&approver.post(&path, &[("do", "approve"), ("scope_hash", &shown)]).await), (409, "not_awaiting".into()));
    assert_eq!(refused(&press(&operator, &path, "start").await), (409, "not_approved".into()));
    assert_eq!(
        refusals(&app, 2).await,
        [
            ("approver@example.com".into(), "approve".into(), "not_awaiting".into()),
            ("operator@example.com".into(), "start".into(), "not_approved".into())
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_decide_is_refused_and_that_is_on_record() {
    let (redis, app) = wide("", Clock::system()).await;
    let operator = app.signed_in(Role::Operator).await;
    let path = asked(&operator).await;
    let approver = app.signed_in(Role::Approver).await;
    let shown = hash(&approver, &path).await;
    let yes = [("do", "approve"), ("scope_hash", shown.as_str())];
    let mut expected = 0;
    for role in [Role::Viewer, Role::Auditor, Role::Admin] {
        let person = app.signed_in(role).await;
        for button in [&yes[..], &[("do", "reject")]] {
            assert_eq!(refused(&person.post(&path, button).await), (403, "role".into()), "{role:?} {button:?}");
            expected += 1;
        }
        assert_eq!(attribute(&person.page(&path).await, "[name=scope_hash]", "name"), None);
    }
    assert_eq!(refused(&operator.post(&path, &yes).await), (403, "role".into()));
    assert_eq!(refused(&press(&approver, &path, "start").await), (403, "role".into()));
    assert_eq!(refused(&press(&operator, &path, "start").await), (409, "not_approved".into()));
    // an edited hash, and none
    let edited = format!("{}{}", if shown.starts_with('0') { "1" } else { "0" }, &shown[1..]);
    assert_eq!(refused(&approver.post(&path, &[("do", "approve"), ("scope_hash", &edited)]).await), (409, "hash_changed".into()));
    assert_eq!(refused(&press(&approver, &path, "approve").await), (409, "hash_changed".into()));
    // from another site
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(yes).finish();
    let foreign = app.request(reqwest::Method::POST, &path).header("origin", "https://elsewhere.example").body(body);
    let foreign = foreign.header("cookie", approver.cookie.as_deref().unwrap()).header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(Answer::of(foreign).await.status, StatusCode::FORBIDDEN);
    // what is asked for is changed behind its back: another cap, another count
    for change in ["cap = cap + 1", "matched = matched + 1", "pace = 'gentle'", "reason = reason || '.'"] {
        let sql = format!("UPDATE control.flushes SET {change}");
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(app.pool()).await.unwrap();
        assert_eq!(refused(&approver.post(&path, &yes).await), (409, "hash_changed".into()), "{change}");
    }
    assert_eq!(state(&operator, &path).await, "awaiting_approval");
    assert_eq!(key_count(&redis).await, KEYS + 1);
    let told = refusals(&app, expected + 9).await;
    assert_eq!(told.len(), expected + 9);
    assert!(told.contains(&("viewer@example.com".into(), "approve".into(), "role".into())));
    assert!(!app.audit_codes().await.contains(&"flush.approved".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_approves_their_own() {
    let (redis, app) = wide("", Clock::system()).await;
    let operator = app.signed_in(Role::Operator).await;
    let path = asked(&operator).await;
    // the requester becomes an approver
    sqlx::query("UPDATE control.users SET role = 'approver' WHERE email = 'operator@example.com'").execute(app.pool()).await.unwrap();
    let answer = app.anonymous().post("/sign-in", &[("email", "operator@example.com"), ("password", PASSWORD)]).await;
    let mut again = app.anonymous();
    again.cookie = Some(answer.header("set-cookie").split(';').next().unwrap().to_owned());
    assert_eq!(attribute(&again.page(&path).await, "[name=scope_hash]", "name"), None);
    let hash: Vec<u8> = sqlx::query_scalar("SELECT scope_hash FROM control.flushes").fetch_one(app.pool()).await.unwrap();
    let hash = ScopeHash(hash.try_into().unwrap()).to_string();
    assert_eq!(refused(&again.post(&path, &[("do", "approve"), ("scope_hash", &hash)]).await), (403, "own_flush".into()));
    assert_eq!(refused(&press(&again, &path, "reject").await), (403, "own_flush".into()));
    assert_eq!(refusals(&app, 2).await[0], ("operator@example.com".into(), "approve".into(), "own_flush".into()));
    // and the database refuses it whatever the code does
    let forged = "UPDATE control.flushes SET state = 'approved', decision = 'approved', decided_at = now(), decided_by = author, decided_by_id = author_id";
    let error = sqlx::query(forged).execute(app.pool()).await.unwrap_err();
    assert!(error.to_string().contains("flushes_nobody_approves_their_own"), "{error}");
    for forged in ["state = 'approved'", "state = 'starting'", "state = 'running'"] {
        let sql = format!("UPDATE control.flushes SET {forged}");
        let error = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(app.pool()).await.unwrap_err();
        assert!(error.to_string().contains("flushes_start_approved"), "{error}");
    }
    assert_eq!(key_count(&redis).await, KEYS + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wait_has_its_own_end_with_or_without_the_sweep() {
    let clock = fixed();
    let (redis, app) = wide("", clock.clone()).await;
    let (operator, approver) = (app.signed_in(Role::Operator).await, app.signed_in(Role::Approver).await);
    let (plan, _) = planned(&operator, SCOPE, "fast").await;
    clock.advance(TimeDelta::minutes(5));
    assert_eq!(refused(&confirm(&operator, &plan, SCOPE, "120").await), (409, "expired".into()));

    let request = asked(&operator).await;
    let shown = hash(&approver, &request).await;
    clock.advance(TimeDelta::minutes(30) - TimeDelta::seconds(1));
    assert_eq!(state(&operator, &request).await, "awaiting_approval");
    // What is seen here must not depend on whether the server's own sweep came first.
    let (operator, approver) = (sign_in(&app, Role::Operator).await, sign_in(&app, Role::Approver).await);
    clock.advance(TimeDelta::seconds(1));
    assert_eq!(refused(&approver.post(&request, &[("do", "approve"), ("scope_hash", &shown)]).await), (409, "approval_expired".into()));
    assert_eq!(refused(&press(&approver, &request, "reject").await), (409, "approval_expired".into()));
    assert_eq!(state(&operator, &request).await, "expired");

    let approval = asked(&operator).await;
    led_to(&approve(&approver, &approval).await);
    clock.advance(TimeDelta::minutes(15));
    assert_eq!(refused(&press(&operator, &approval, "start").await), (409, "start_expired".into()));
    assert_eq!(state(&operator, &approval).await, "expired");
    assert!(text(&operator.page(&approval).await, "h1").unwrap().starts_with("The approval has expired"));

    sweep(&app.app, &Sweeper::default()).await;
    let causes: Vec<_> = told(&app, "flush.expired").await.iter().map(|record| record["cause"].as_str().unwrap().to_owned()).collect();
    assert_eq!(causes, ["plan_expired", "approval_expired", "start_expired"]);
    assert_eq!(state(&operator, &approval).await, "expired");
    assert_eq!(refused(&press(&operator, &approval, "start").await), (409, "start_expired".into()));
    assert_eq!(key_count(&redis).await, KEYS + 1);
}

/// A new session of somebody who has an account: a fixed clock that moves ends the old one.
async fn sign_in(app: &TestApp, role: Role) -> Browser<'_> {
    let email = format!("{}@example.com", role.as_str());
    let answer = app.anonymous().post("/sign-in", &[("email", &email), ("password", PASSWORD)]).await;
    let mut browser = app.anonymous();
    browser.cookie = Some(answer.header("set-cookie").split(';').next().unwrap().to_owned());
    browser
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_worth_as_much_as_its_approver() {
    let (redis, app) = wide("", Clock::system()).await;
    let (operator, approver) = (app.signed_in(Role::Operator).await, app.signed_in(Role::Approver).await);
    let path = asked(&operator).await;
    led_to(&approve(&approver, &path).await);
    for change in ["role = 'viewer'", "disabled_at = now(), role = 'approver'"] {
        let sql = format!("UPDATE control.users SET {change} WHERE email = 'approver@example.com'");
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(app.pool()).await.unwrap();
        assert_eq!(refused(&press(&operator, &path, "start").await), (409, "approver_gone".into()), "{change}");
    }
    assert_eq!(refusals(&app, 2).await[1], ("operator@example.com".into(), "start".into(), "approver_gone".into()));
    assert_eq!(key_count(&redis).await, KEYS + 1);
    led_to(&press(&operator, &path, "cancel").await);
    assert_eq!(state(&operator, &path).await, "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_starts_at_once_one_runs() {
    let (redis, app) = wide("", Clock::system()).await;
    let (operator, approver) = (app.signed_in(Role::Operator).await, app.signed_in(Role::Approver).await);
    let path = asked(&operator).await;
    led_to(&approve(&approver, &path).await);
    let answers = futures::future::join_all((0..20).map(|_| press(&operator, &path, "start"))).await;
    let started = answers.iter().filter(|answer| answer.status == StatusCode::SEE_OTHER).count();
    assert_eq!(started, 1);
    assert!(answers.iter().filter(|answer| answer.status != StatusCode::SEE_OTHER).all(|answer| answer.status == StatusCode::CONFLICT));
    wait_for(&operator, &path, &["completed"]).await;
    assert_eq!(refusals(&app, 19).await.len(), 19);
    assert_eq!((told(&app, "flush.starting").await.len(), told(&app, "flush.started").await.len()), (1, 1));
    assert_eq!(key_count(&redis).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_waits_its_turn_and_keeps_its_approval() {
    let (redis, app) = wide("", Clock::system()).await;
    fill(&redis, (0..9_000).map(|i| format!("page:7:{i}").into_bytes())).await;
    fill(&redis, (0..200_000).map(|i| format!("other:{i}").into_bytes())).await;
    let (operator, approver) = (app.signed_in(Role::Operator).await, app.signed_in(Role::Approver).await);
    let path = asked(&operator).await;
    led_to(&approve(&approver, &path).await);
    let (narrow, main) = planned(&operator, "page:7:", "gentle").await;
    assert_eq!(main["wide"], "false");
    led_to(&confirm(&operator, &narrow, "page:7:", "9000").await);
    assert_eq!(refused(&press(&operator, &path, "start").await), (409, "another_active".into()));
    wait_for(&operator, &narrow, &["completed"]).await;
    assert_eq!(key_count(&redis).await, 200_000 + KEYS + 1);
    led_to(&press(&operator, &path, "start").await);
    wait_for(&operator, &path, &["completed"]).await;
    assert_eq!(key_count(&redis).await, 200_001);
    assert_eq!(refusals(&app, 1).await, [("operator@example.com".into(), "start".into(), "another_active".into())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_more_keys_after_the_approval_void_it() {
    let clock = fixed();
    let (redis, app) = wide("", clock.clone()).await;
    let (operator, approver) = (app.signed_in(Role::Operator).await, app.signed_in(Role::Approver).await);
    let path = asked(&operator).await;
    led_to(&approve(&approver, &path).await);
    fill(&redis, (0..500).map(|i| format!("cart:new:{i}").into_bytes())).await;
    clock.advance(TimeDelta::seconds(61));
    led_to(&press(&operator, &path, "start").await);
    let main = wait_for(&operator, &path, &["planned", "completed"]).await;
    assert_eq!((main["state"].as_str(), main["planned"].as_str()), ("planned", "620"));
    assert_eq!(key_count(&redis).await, KEYS + 501);
    assert_eq!(told(&app, "flush.drifted").await[0]["void_approval_of"], "approver@example.com");
    // neither the confirmation nor the approval is left
    assert_eq!(refused(&press(&operator, &path, "start").await), (409, "not_approved".into()));
    led_to(&confirm(&operator, &path, SCOPE, "620").await);
    assert_eq!(refused(&press(&operator, &path, "start").await), (409, "not_approved".into()));
    led_to(&approve(&approver, &path).await);
    led_to(&press(&operator, &path, "start").await);
    assert_eq!(wait_for(&operator, &path, &["completed"]).await["removed"], "620");
    assert_eq!(key_count(&redis).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_configured_since_holds_at_the_start() {
    let (redis, app) = wide("", Clock::system()).await;
    let (operator, approver) = (app.signed_in(Role::Operator).await, app.signed_in(Role::Approver).await);
    let path = asked(&operator).await;
    led_to(&approve(&approver, &path).await);
    let (narrow, _) = planned(&operator, "cart:7:", "fast").await;
    led_to(&confirm(&operator, &narrow, "cart:7:", "1").await);
    wait_for(&operator, &narrow, &["completed"]).await;
    let as_before = config(&redis, "approvals = \"wide\"");
    let (mut protecting, mut few, mut none) = (as_before.clone(), as_before.clone(), as_before.clone());
    protecting.targets[0].protected.push(b"cart:8:".to_vec());
    few.targets[0].max_flushes_per_hour = 1;
    none.targets.clear();
    for (changed, refusal) in [(protecting, (422, "protected")), (few, (429, "too_many_flushes")), (none, (409, "unknown_target"))] {
        app.app.replace_config(changed);
        assert_eq!(refused(&press(&operator, &path, "start").await), (refusal.0, refusal.1.into()));
    }
    app.app.replace_config(as_before);
    assert_eq!(key_count(&redis).await, KEYS);
    assert_eq!(refusals(&app, 3).await.len(), 3);
    led_to(&press(&operator, &path, "start").await);
    wait_for(&operator, &path, &["completed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_rejected_or_taken_back() {
    let (redis, app) = wide("", Clock::system()).await;
    let (operator, approver, admin) =
        (app.signed_in(Role::Operator).await, app.signed_in(Role::Approver).await, app.signed_in(Role::Admin).await);
    let path = asked(&operator).await;
    let why = "mend the writer first";
    let control = approver.post(&path, &[("do", "reject"), ("reason", "a bell \u{7}")]).await;
    assert_eq!(refused(&control), (422, "reason_unfit".into()));
    led_to(&approver.post(&path, &[("do", "reject"), ("reason", why)]).await);
    let page = operator.page(&path).await;
    assert_eq!(data(&page, "main")["state"], "rejected");
    assert!(text(&page, "main").unwrap().contains(why));
    assert_eq!(told(&app, "flush.rejected").await[0]["reason"], why);
    assert_eq!(attribute(&page, "button[value=replan]", "name").as_deref(), Some("do"));
    for withdrawn_by in [&operator, &admin] {
        let path = asked(&operator).await;
        led_to(&press(withdrawn_by, &path, "cancel").await);
        assert_eq!(state(&operator, &path).await, "cancelled");
        let shown = "0".repeat(64);
        assert_eq!(refused(&approver.post(&path, &[("do", "approve"), ("scope_hash", &shown)]).await), (409, "not_awaiting".into()));
    }
    let by: Vec<_> = told(&app, "flush.cancelled").await.iter().map(|record| record["actor"].as_str().unwrap().to_owned()).collect();
    assert_eq!(by, ["operator@example.com", "admin@example.com"]);
    assert_eq!(key_count(&redis).await, KEYS + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_glass_is_whole_unless_configured() {
    let (redis, app) = wide("", Clock::system()).await;
    let admin = app.signed_in(Role::Admin).await;
    let path = asked(&admin).await;
    let broken = [("do", "break_glass"), ("reason", "nobody else answers the phone")];
    assert_eq!(attribute(&admin.page(&path).await, "button[value=break_glass]", "name"), None);
    assert_eq!(refused(&admin.post(&path, &broken).await), (403, "break_glass_off".into()));
    assert_eq!(refusals(&app, 1).await[0], ("admin@example.com".into(), "break_glass".into(), "break_glass_off".into()));
    assert_eq!((key_count(&redis).await, state(&admin, &path).await), (KEYS + 1, "awaiting_approval".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_admin_alone_goes_on_and_everybody_sees_it() {
    let (redis, app) = wide("break_glass = true", Clock::system()).await;
    let (admin, operator) = (app.signed_in(Role::Admin).await, app.signed_in(Role::Operator).await);
    let why = "nobody else answers the phone";
    let theirs = asked(&operator).await;
    let broken = [("do", "break_glass"), ("reason", why)];
    assert_eq!(refused(&operator.post(&theirs, &broken).await), (403, "role".into()));
    assert_eq!(refused(&admin.post(&theirs, &broken).await), (403, "not_the_author".into()));
    led_to(&press(&operator, &theirs, "cancel").await);

    let path = asked(&admin).await;
    let short = admin.post(&path, &[("do", "break_glass"), ("reason", "3 a.m.")]).await;
    assert_eq!(refused(&short), (422, "reason_too_short".into()));
    assert_eq!(text(&short.html(), "form [name=reason]").as_deref(), Some("3 a.m."), "what was typed is given back");
    led_to(&admin.post(&path, &broken).await);
    assert_eq!((state(&admin, &path).await, key_count(&redis).await), ("approved".to_owned(), KEYS + 1));
    led_to(&press(&admin, &path, "start").await);
    wait_for(&admin, &path, &["completed"]).await;
    assert_eq!(key_count(&redis).await, 1);
    let record = &told(&app, "flush.break_glass").await[0];
    assert_eq!((&record["actor"], &record["reason"], &record["state"]), (&"admin@example.com".into(), &why.into(), &"approved".into()));
    assert_eq!(told(&app, "flush.starting").await[0]["break_glass"], true);
    assert!(text(&operator.page(&path).await, "main").unwrap().contains(&format!("“{why}”")));
    assert!(text(&operator.page("/flush").await, "main").unwrap().contains("wide, break-glass"));
    let week = led_to(&operator.get("/review").await);
    assert!(text(&operator.page(&week).await, "main").unwrap().contains("break-glass"));
    assert!(operator.get(&format!("{week}.md")).await.body.contains("break-glass"));
    let exported = operator.get(&format!("{week}.json")).await.json();
    let flushes = exported["flushes"].as_array().unwrap();
    assert_eq!(flushes.iter().filter(|flush| flush["break_glass"] == true).count(), 1, "{exported}");
}
