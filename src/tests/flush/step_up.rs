//! The second factor before a flush starts or is approved.

use super::{REASON, config, confirm, fill, key_count, led_to, planned, told, wait_for};
use crate::second_factor::{Phone, enrol, fixed};
use crate::support::{Answer, Browser, TestApp, TestRedis, attribute, data, text};
use chrono::TimeDelta;
use reqwest::StatusCode;
use stalewatch::domain::operator::Role;
use stalewatch::server::clock::Clock;
use stalewatch::server::config::Config;

const SCOPE: &str = "cart:7:";
const KEYS: u64 = 40;

async fn start(extra: &str, clock: &Clock, required: bool) -> (TestRedis, TestApp) {
    let redis = TestRedis::new().await;
    let config = Config { require_second_factor: required, ..config(&redis, extra) };
    let app = TestApp::with(config, clock.clone()).await;
    fill(&redis, (0..KEYS).map(|i| format!("cart:7:{i}").into_bytes())).await;
    (redis, app)
}

fn refused(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.refusal().unwrap_or_default())
}

/// The confirmation, with a code.
async fn confirm_with(person: &Browser<'_>, path: &str, count: &str, code: &str) -> Answer {
    let fields = [("typed_target", "main"), ("typed_scope", SCOPE), ("typed_count", count), ("reason", REASON), ("code", code)];
    person.post(path, &fields).await
}

async fn asks_for_a_code(person: &Browser<'_>, path: &str) -> bool {
    attribute(&person.page(path).await, "form [name=code]", "name").is_some()
}

/// Somebody enrolled, whose showing is more than 5 minutes old.
async fn stale(app: &TestApp, person: &mut Browser<'_>, clock: &Clock) -> Phone {
    let (phone, _) = enrol(app, person).await;
    clock.advance(TimeDelta::seconds(301));
    phone
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_second_factor_shows_it_before_a_flush_starts() {
    let clock = fixed();
    let (redis, app) = start("", &clock, false).await;
    let mut operator = app.signed_in(Role::Operator).await;
    let phone = stale(&app, &mut operator, &clock).await;
    let (path, _) = planned(&operator, SCOPE, "fast").await;
    assert!(asks_for_a_code(&operator, &path).await);

    let count = KEYS.to_string();
    let none = confirm(&operator, &path, SCOPE, &count).await;
    assert_eq!(refused(&none), (403, "step_up".into()));
    assert_eq!(text(&none.html(), "form [name=reason]").as_deref(), Some(REASON), "what was typed is given back");
    let wrong = confirm_with(&operator, &path, &count, "12 34 56").await;
    assert_eq!(refused(&wrong), (403, "wrong_code".into()));
    assert_eq!(attribute(&wrong.html(), "form [name=typed_count]", "value").as_deref(), Some(count.as_str()));
    assert_eq!(attribute(&wrong.html(), "form [name=code]", "value"), None, "the code is not");
    assert_eq!(attribute(&wrong.html(), "form [name=code]", "aria-invalid").as_deref(), Some("true"));
    assert!(wrong.header("set-cookie").is_empty() && data(&wrong.html(), "main")["state"] == "planned");

    // The right code holds although something else was mistyped, and is not asked for again.
    let code = phone.code(&clock, 0);
    let mistyped = confirm_with(&operator, &path, "41", &code).await;
    assert_eq!(refused(&mistyped), (422, "wrong_count".into()));
    assert_eq!(attribute(&mistyped.html(), "form [name=code]", "name"), None);
    let old = operator.cookie.clone();
    operator.keep(&mistyped);
    assert_ne!(operator.cookie, old, "the session goes on under a new token");
    let mut with_old = app.anonymous();
    with_old.cookie = old;
    assert!(with_old.get("/account").await.header("location").starts_with("/sign-in"), "the old one is worth nothing");
    let thief = app.signed_in_again(Role::Operator).await;
    assert_eq!(refused(&confirm_with(&thief, &path, &count, &code).await), (403, "used_code".into()));
    assert_eq!(key_count(&redis).await, KEYS);
    led_to(&confirm(&operator, &path, SCOPE, &count).await);
    wait_for(&operator, &path, &["completed"]).await;
    assert_eq!(key_count(&redis).await, 0);

    // Five minutes later it is asked for again.
    fill(&redis, [b"cart:7:again".to_vec()]).await;
    clock.advance(TimeDelta::minutes(5));
    let (path, _) = planned(&operator, SCOPE, "fast").await;
    assert!(!asks_for_a_code(&operator, &path).await, "five minutes to the second");
    clock.advance(TimeDelta::seconds(1));
    assert_eq!(refused(&confirm(&operator, &path, SCOPE, "1").await), (403, "step_up".into()));
    // The phone's clock is a step behind.
    let done = confirm_with(&operator, &path, "1", &phone.code(&clock, -30)).await;
    operator.keep(&done);
    led_to(&done);
    wait_for(&operator, &path, &["completed"]).await;
    assert_eq!(told(&app, "step_up.ok").await.len(), 2);
    let reasons: Vec<_> = told(&app, "step_up.failed").await.iter().map(|record| record["reason"].as_str().unwrap().to_owned()).collect();
    assert_eq!(reasons, ["wrong_code", "used_code"]);
    let attempts = super::approval::refusals(&app, 5).await;
    assert_eq!(attempts.iter().filter(|(_, attempt, code)| attempt == "confirm" && code == "step_up").count(), 2, "{attempts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_asks_for_the_second_factor_and_a_rejection_does_not() {
    let clock = fixed();
    let (redis, app) = start("approvals = \"wide\"", &clock, false).await;
    let (operator, mut approver) = (app.signed_in(Role::Operator).await, app.signed_in(Role::Approver).await);
    let phone = stale(&app, &mut approver, &clock).await;
    let asked = async || {
        let (path, _) = planned(&operator, "cart:", "fast").await;
        led_to(&confirm(&operator, &path, "cart:", &KEYS.to_string()).await);
        path
    };
    let path = asked().await;
    let page = approver.page(&path).await;
    let hash = attribute(&page, "form [name=scope_hash]", "value").unwrap();
    assert_eq!(attribute(&page, "form [name=code]", "autocomplete").as_deref(), Some("one-time-code"));
    let approve = |code: String| {
        let (approver, path, hash) = (&approver, path.clone(), hash.clone());
        async move { approver.post(&path, &[("do", "approve"), ("scope_hash", &hash), ("code", &code)]).await }
    };
    assert_eq!(refused(&approve(String::new()).await), (403, "step_up".into()));
    assert_eq!(data(&operator.page(&path).await, "main")["state"], "awaiting_approval");
    let answer = approve(phone.code(&clock, 0)).await;
    led_to(&answer);
    assert_eq!(data(&operator.page(&path).await, "main")["state"], "approved");
    approver.keep(&answer);
    // Who has enrolled none is asked for none.
    assert!(!asks_for_a_code(&operator, &path).await);
    led_to(&operator.post(&path, &[("do", "cancel")]).await);
    let path = asked().await;
    clock.advance(TimeDelta::seconds(301));
    assert!(asks_for_a_code(&approver, &path).await);
    led_to(&approver.post(&path, &[("do", "reject")]).await);
    assert_eq!(key_count(&redis).await, KEYS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_and_a_broken_glass_ask_for_it_too() {
    let clock = fixed();
    let (redis, app) = start("approvals = \"wide\"\nbreak_glass = true", &clock, false).await;
    let mut admin = app.signed_in(Role::Admin).await;
    let (path, _) = planned(&admin, "cart:", "fast").await;
    led_to(&confirm(&admin, &path, "cart:", &KEYS.to_string()).await);
    let phone = stale(&app, &mut admin, &clock).await;
    let reason = ("reason", "nobody else answers the phone");
    let broken = admin.post(&path, &[("do", "break_glass"), reason]).await;
    assert_eq!(refused(&broken), (403, "step_up".into()));
    assert_eq!(text(&broken.html(), "form [name=reason]").as_deref(), Some(reason.1));
    let broken = admin.post(&path, &[("do", "break_glass"), reason, ("code", &phone.code(&clock, 0))]).await;
    led_to(&broken);
    admin.keep(&broken);
    clock.advance(TimeDelta::seconds(301));
    let page = admin.page(&path).await;
    assert!(!page.html().contains("http-equiv"), "a page where something is typed does not refresh");
    assert_eq!(refused(&admin.post(&path, &[("do", "start")]).await), (403, "step_up".into()));
    let started = admin.post(&path, &[("do", "start"), ("code", &phone.code(&clock, 0))]).await;
    led_to(&started);
    admin.keep(&started);
    wait_for(&admin, &path, &["completed"]).await;
    assert_eq!(key_count(&redis).await, 0);
    // One that is over needs no code to be refused.
    clock.advance(TimeDelta::seconds(301));
    assert_eq!(refused(&admin.post(&path, &[("do", "start")]).await), (409, "not_approved".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_everybody_needs_one_who_has_none_enrols_first() {
    let clock = fixed();
    let (redis, app) = start("", &clock, true).await;
    let mut operator = app.signed_in(Role::Operator).await;
    let strip = ".strip a[href=\"/account#second-factor\"]";
    for path in ["/", "/contracts", "/account"] {
        assert!(text(&operator.page(path).await, strip).unwrap().contains("Enrol a second factor"), "{path}");
    }
    let (path, _) = planned(&operator, SCOPE, "fast").await;
    let page = operator.page(&path).await;
    assert_eq!(attribute(&page, "form.danger a[href=\"/account#second-factor\"]", "href").as_deref(), Some("/account#second-factor"));
    let count = KEYS.to_string();
    for code in ["", "123456"] {
        assert_eq!(refused(&confirm_with(&operator, &path, &count, code).await), (403, "enrol_first".into()));
    }
    assert_eq!(key_count(&redis).await, KEYS);
    enrol(&app, &mut operator).await;
    assert_eq!(text(&operator.page("/").await, strip), None);
    led_to(&confirm(&operator, &path, SCOPE, &count).await);
    wait_for(&operator, &path, &["completed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_fourth_wrong_code_tries_wait_and_nobody_is_locked_out() {
    let clock = fixed();
    let (_redis, app) = start("", &clock, false).await;
    let mut operator = app.signed_in(Role::Operator).await;
    let phone = stale(&app, &mut operator, &clock).await;
    let (path, _) = planned(&operator, SCOPE, "fast").await;
    let count = KEYS.to_string();
    for _ in 0..4 {
        assert_eq!(refused(&confirm_with(&operator, &path, &count, "000000").await), (403, "wrong_code".into()));
    }
    for (wait, code) in [(1, "000000"), (2, "000000"), (4, "000000"), (8, "000000"), (8, phone.code(&clock, 0).as_str())] {
        let soon = confirm_with(&operator, &path, &count, &phone.code(&clock, 0)).await;
        assert_eq!((soon.status, soon.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, wait.to_string().as_str()));
        assert_eq!(text(&soon.html(), "form [name=reason]").as_deref(), Some(REASON));
        clock.advance(TimeDelta::seconds(wait));
        let answer = confirm_with(&operator, &path, &count, code).await;
        if code == "000000" {
            assert_eq!(refused(&answer), (403, "wrong_code".into()));
        } else {
            led_to(&answer);
            operator.keep(&answer);
        }
    }
    wait_for(&operator, &path, &["completed"]).await;
    assert_eq!(told(&app, "step_up.failed").await.len(), 8);
}
