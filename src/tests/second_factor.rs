//! Second factors on `/account`: enrolled, kept, removed, reset. What they are asked for stands with the flushes.

use crate::support::{Answer, Browser, PASSWORD, TestApp, attribute, text};
use chrono::{DateTime, TimeDelta};
use reqwest::StatusCode;
use stalewatch::domain::audit::Actor;
use stalewatch::domain::operator::{Role, Viewer};
use stalewatch::server::clock::Clock;
use stalewatch::server::config::Config;
use stalewatch::server::service::accounts::{self, FactorError, Known};
use stalewatch::server::state::AppState;
use totp_rs::{Builder, Secret, Totp};

/// At the begin of a time step.
pub fn fixed() -> Clock {
    Clock::fixed(DateTime::from_timestamp(1_795_700_010, 0).unwrap())
}

/// An authenticator app.
pub struct Phone(Totp);

impl Phone {
    /// Types the secret off the page.
    pub async fn enrolling(person: &Browser<'_>) -> Self {
        let page = person.page("/account").await;
        let secret = text(&page, "#second-factor pre code").unwrap().replace(' ', "");
        let uri = attribute(&page, "#second-factor a", "href").unwrap();
        assert!(uri.starts_with("otpauth://totp/Stalewatch:") && uri.contains(&format!("secret={secret}&")), "{uri}");
        Self(Builder::new().with_secret(Secret::try_from_base32(&secret).unwrap()).build().unwrap())
    }

    /// What it shows when its own clock is `off` seconds from the server's.
    pub fn code(&self, clock: &Clock, off: i64) -> String {
        self.0.generate(u64::try_from(clock.now().timestamp() + off).unwrap()).to_string()
    }
}

/// Enrols a phone, and gives it with the recovery codes.
pub async fn enrol(app: &TestApp, person: &mut Browser<'_>) -> (Phone, Vec<String>) {
    done(person, &[("do", "enrol"), ("present", PASSWORD)]).await;
    let phone = Phone::enrolling(person).await;
    done(person, &[("do", "enrol_confirm"), ("code", &phone.code(&app.app.clock, 0))]).await;
    (phone, shown_codes(person).await)
}

async fn done(person: &mut Browser<'_>, fields: &[(&str, &str)]) {
    let answer = person.post("/account", fields).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/account#second-factor"), "{}", answer.body);
    person.keep(&answer);
}

async fn shown_codes(person: &Browser<'_>) -> Vec<String> {
    let shown = text(&person.page("/account").await, "#second-factor pre code").unwrap_or_default();
    shown.split_whitespace().map(str::to_owned).collect()
}

fn refused(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.refusal().unwrap_or_default())
}

async fn viewer(app: &TestApp, person: &Browser<'_>) -> Viewer {
    let token = person.cookie.as_deref().unwrap().split_once('=').unwrap().1;
    match accounts::find_viewer(&app.app.access, app.pool(), app.app.clock.now(), token).await {
        Known::Person(viewer) => viewer,
        other => panic!("{other:?}"),
    }
}

/// Another process over the same Postgres.
fn replica(app: &TestApp, config: Config) -> AppState {
    AppState::new(config, app.app.clock.clone(), app.app.pools.clone())
}

async fn count(app: &TestApp, code: &str) -> usize {
    app.audit_codes().await.iter().filter(|found| *found == code).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_factor_counts_from_its_first_code_and_its_secret_is_shown_once() {
    let clock = fixed();
    let app = TestApp::with(Config::default(), clock.clone()).await;
    let mut operator = app.signed_in(Role::Operator).await;
    let wrong = operator.post("/account", &[("do", "enrol"), ("present", "wrong horse")]).await;
    assert_eq!(refused(&wrong), (422, "wrong_password".into()), "a session alone enrols nothing");
    done(&mut operator, &[("do", "enrol"), ("present", PASSWORD)]).await;
    let page = operator.page("/account").await;
    assert!(attribute(&page, "#second-factor svg.qr path", "d").unwrap().len() > 1_000);
    let phone = Phone::enrolling(&operator).await;
    assert!(!viewer(&app, &operator).await.factor.enrolled);
    // Another session of the same person, a thief's perhaps, does not see it.
    let other = app.signed_in_again(Role::Operator).await;
    assert_eq!(text(&other.page("/account").await, "#second-factor pre code"), None);
    assert_eq!(
        refused(&other.post("/account", &[("do", "enrol_confirm"), ("code", &phone.code(&clock, 0))]).await),
        (409, "enrolment_over".into())
    );

    let wrong = operator.post("/account", &[("do", "enrol_confirm"), ("code", "000000")]).await;
    assert_eq!(refused(&wrong), (422, "wrong_code".into()));
    assert!(text(&wrong.html(), "#second-factor pre code").is_some(), "it is still shown");
    let before = operator.cookie.clone();
    done(&mut operator, &[("do", "enrol_confirm"), ("code", &phone.code(&clock, 0))]).await;
    assert_ne!(operator.cookie, before, "the session has a new token");
    assert!(viewer(&app, &operator).await.factor.enrolled);
    let codes = shown_codes(&operator).await;
    assert_eq!(codes.len(), 10);
    assert!(text(&operator.page("/account").await, "#second-factor").unwrap().contains("10 of 10 recovery codes left"));
    assert_eq!(text(&other.page("/account").await, "#second-factor pre code"), None);
    done(&mut operator, &[("do", "kept")]).await;
    assert_eq!(shown_codes(&operator).await, Vec::<String>::new());
    assert_eq!(refused(&operator.post("/account", &[("do", "enrol"), ("present", PASSWORD)]).await), (409, "already_enrolled".into()));
    assert_eq!(count(&app, "second_factor.enrolled").await, 1);

    // What Postgres holds gives nobody a code.
    let (sealed, hashes): (Vec<u8>, Vec<Vec<u8>>) = sqlx::query_as(
        "SELECT sealed, (SELECT array_agg(code_sha256) FROM control.recovery_codes) FROM control.second_factors WHERE sealed_codes IS NULL",
    )
    .fetch_one(app.pool())
    .await
    .unwrap();
    let held = [sealed, hashes.concat()].concat();
    for code in codes {
        let code = code.replace('-', "");
        assert!(!held.windows(8).any(|part| code.as_bytes().starts_with(part)), "{code}");
    }
    let all: String =
        sqlx::query_scalar("SELECT string_agg(convert_from(canonical, 'UTF8'), ' ') FROM audit.log").fetch_one(app.pool()).await.unwrap();
    assert!(!all.contains("secret") && !all.contains(&phone.code(&clock, 0)), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrolment_that_nobody_finishes_is_over_after_ten_minutes() {
    let clock = fixed();
    let app = TestApp::with(Config::default(), clock.clone()).await;
    let mut operator = app.signed_in(Role::Operator).await;
    done(&mut operator, &[("do", "enrol"), ("present", PASSWORD)]).await;
    let phone = Phone::enrolling(&operator).await;
    clock.advance(TimeDelta::minutes(10));
    assert_eq!(text(&operator.page("/account").await, "#second-factor pre code"), None);
    let late = operator.post("/account", &[("do", "enrol_confirm"), ("code", &phone.code(&clock, 0))]).await;
    assert_eq!(refused(&late), (409, "enrolment_over".into()));
    accounts::tell_of_failures(app.pool(), &clock).await.unwrap();
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM control.second_factors").fetch_one(app.pool()).await.unwrap();
    assert_eq!(left, 0, "and forgotten");
    enrol(&app, &mut operator).await;
    clock.advance(TimeDelta::minutes(10));
    assert_eq!(shown_codes(&operator).await, Vec::<String>::new(), "nor are recovery codes shown for longer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_code_counts_once_and_new_ones_void_the_rest() {
    let clock = fixed();
    let app = TestApp::with(Config::default(), clock.clone()).await;
    let mut operator = app.signed_in(Role::Operator).await;
    let (phone, codes) = enrol(&app, &mut operator).await;
    assert_eq!(refused(&operator.post("/account", &[("do", "recovery"), ("code", "")]).await), (422, "step_up".into()));
    assert_eq!(
        refused(&operator.post("/account", &[("do", "recovery"), ("code", &phone.code(&clock, 0))]).await),
        (422, "used_code".into()),
        "the code that enrolled is used up"
    );
    // As it is read off paper.
    done(&mut operator, &[("do", "recovery"), ("code", &codes[0].to_uppercase())]).await;
    let fresh = shown_codes(&operator).await;
    assert!(fresh.len() == 10 && !codes.iter().any(|code| fresh.contains(code)), "{fresh:?}");
    for void in &codes[..2] {
        assert_eq!(refused(&operator.post("/account", &[("do", "remove"), ("code", void)]).await), (422, "wrong_code".into()));
    }
    let viewer = viewer(&app, &operator).await;
    accounts::step_up(&app.app, &viewer, &fresh[3]).await.unwrap();
    assert!(matches!(accounts::step_up(&app.app, &viewer, &fresh[3]).await, Err(FactorError::Wrong { next_wait_s: 0 })));
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM control.recovery_codes").fetch_one(app.pool()).await.unwrap();
    assert_eq!(left, 9);
    assert_eq!((count(&app, "second_factor.recovery_used").await, count(&app, "second_factor.recovery_renewed").await), (2, 1));
    assert_eq!(count(&app, "step_up.failed").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_factor_is_removed_by_its_owner_with_a_code() {
    let clock = fixed();
    let app = TestApp::with(Config::default(), clock.clone()).await;
    let mut operator = app.signed_in(Role::Operator).await;
    let (phone, _) = enrol(&app, &mut operator).await;
    for (code, refusal) in [("", "step_up"), ("123", "wrong_code")] {
        assert_eq!(refused(&operator.post("/account", &[("do", "remove"), ("code", code)]).await), (422, refusal.into()));
    }
    clock.advance(TimeDelta::seconds(30));
    done(&mut operator, &[("do", "remove"), ("code", &phone.code(&clock, 0))]).await;
    assert!(!viewer(&app, &operator).await.factor.enrolled);
    assert_eq!(count(&app, "second_factor.removed").await, 1);
    assert_eq!(refused(&operator.post("/account", &[("do", "remove"), ("code", "123456")]).await), (409, "not_enrolled".into()));
    enrol(&app, &mut operator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_takes_a_lost_factor_away_but_not_their_own() {
    let app = TestApp::with(Config::default(), fixed()).await;
    let (mut operator, mut admin) = (app.signed_in(Role::Operator).await, app.signed_in(Role::Admin).await);
    enrol(&app, &mut operator).await;
    enrol(&app, &mut admin).await;
    let page = admin.page("/users").await;
    assert_eq!(
        attribute(&page, "button[value=reset_factor]", "aria-label").unwrap(),
        "Take away the second factor of operator@example.com"
    );
    let own = admin.post("/users", &[("do", "reset_factor"), ("email", "admin@example.com")]).await;
    assert_eq!((own.status, attribute(&own.html(), "[data-error]", "data-error").as_deref()), (StatusCode::CONFLICT, Some("own_factor")));
    let fields = [("do", "reset_factor"), ("email", "operator@example.com")];
    for _ in 0..2 {
        assert_eq!(admin.post("/users", &fields).await.status, StatusCode::SEE_OTHER);
    }
    assert_eq!(operator.get("/account").await.status, StatusCode::SEE_OTHER, "their sessions have ended");
    let again = app.signed_in_again(Role::Operator).await;
    assert!(!viewer(&app, &again).await.factor.enrolled);
    // Whoever has the machine can help the last admin.
    let actor = Actor::CommandLine { uid: 0 };
    let mut taken = Vec::new();
    for _ in 0..2 {
        taken.push(accounts::reset_factor(&app.app.access, app.pool(), &actor, "admin@example.com").await.unwrap());
    }
    assert_eq!(taken, [true, false]);
    assert_eq!(count(&app, "second_factor.reset").await, 2);
    let auditor = app.signed_in(Role::Auditor).await;
    assert!(
        text(&auditor.page("/audit").await, "main")
            .unwrap()
            .contains("took away the second factor of operator@example.com, 1 session ended")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_taken_once_whichever_replica_it_comes_to() {
    let clock = fixed();
    let app = TestApp::with(Config::default(), clock.clone()).await;
    let mut operator = app.signed_in(Role::Operator).await;
    let (phone, _) = enrol(&app, &mut operator).await;
    let viewer = viewer(&app, &operator).await;
    let config = Config::clone(&app.app.config());
    let replicas = [app.app.clone(), replica(&app, config.clone())];
    // The phone is a step ahead: its code holds in three steps, and once.
    let code = phone.code(&clock, 30);
    let tries = (0..3).map(|place| accounts::step_up(&replicas[place % 2], &viewer, &code));
    let answers = futures::future::join_all(tries).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(FactorError::Used { .. }))), "{answers:?}");
    clock.advance(TimeDelta::seconds(60));
    for old in [-30, -60] {
        let answer = accounts::step_up(&replicas[1], &viewer, &phone.code(&clock, old)).await;
        assert!(matches!(answer, Err(FactorError::Used { .. } | FactorError::Wrong { .. })), "{old}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_key_only_recovery_codes_work_and_nobody_enrols_under_another() {
    let clock = fixed();
    let app = TestApp::with(Config::default(), clock.clone()).await;
    let mut operator = app.signed_in(Role::Operator).await;
    let (phone, codes) = enrol(&app, &mut operator).await;
    clock.advance(TimeDelta::seconds(30));
    std::fs::rename(app.data_dir.join("secret.key"), app.data_dir.join("lost")).unwrap();
    let lost = operator.post("/account", &[("do", "remove"), ("code", &phone.code(&clock, 0))]).await;
    assert_eq!(refused(&lost), (503, "second_factor_unreadable".into()));
    let mut admin = app.signed_in(Role::Admin).await;
    let other = admin.post("/account", &[("do", "enrol"), ("present", PASSWORD)]).await;
    assert_eq!(refused(&other), (503, "second_factor_unreadable".into()), "a new key would hide the loss");
    assert!(!app.data_dir.join("secret.key").exists());
    done(&mut operator, &[("do", "remove"), ("code", &codes[7])]).await;
    // Now nothing is sealed under the lost one.
    enrol(&app, &mut admin).await;
    assert!(app.data_dir.join("secret.key").exists());
}
