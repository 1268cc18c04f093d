//! Signing in and out, and who is let in.

use crate::world::{PASSWORD, World};
use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta};
use stalewatch::domain::operator::Role;
use stalewatch::server::clock::Clock;
use stalewatch::server::config::Config;
use stalewatch::server::service::accounts::{self, Came};
use std::time::{Duration, Instant};

fn came() -> Came {
    Came { address: "10.1.1.1".into(), user_agent: "test".into() }
}

#[tokio::test]
async fn a_person_signs_in_reads_and_signs_out() {
    let world = World::new().await;
    let email = world.add(Role::Auditor).await;
    let refused = world.get("/audit.csv?who=x", "").await;
    assert_eq!(refused.status, StatusCode::SEE_OTHER);
    assert_eq!(refused.header("location"), "/sign-in?next=/audit.csv%3Fwho%3Dx");

    let page = world.get("/sign-in?next=/audit.csv", "").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains("name=\"next\"") && page.body.contains("value=\"/audit.csv\""), "{}", page.body);
    assert_eq!(page.header("cache-control"), "no-store");
    assert!(page.header("content-security-policy").contains("frame-ancestors 'none'"));

    let answer = world.post("/sign-in", "", &[("email", &email), ("password", PASSWORD), ("next", "/audit.csv")]).await;
    assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/audit.csv"));
    assert!(answer.header("set-cookie").contains("HttpOnly; SameSite=Lax"), "{}", answer.header("set-cookie"));
    let cookie = answer.cookie();
    assert_eq!(world.get("/audit.csv", &cookie).await.status, StatusCode::OK);

    let out = world.post("/sign-out", &cookie, &[]).await;
    assert_eq!((out.status, out.header("location")), (StatusCode::SEE_OTHER, "/sign-in"));
    assert_eq!(world.get("/audit.csv", &cookie).await.status, StatusCode::SEE_OTHER);
    assert_eq!(world.codes().await, ["user.created", "sign_in.ok", "audit.exported", "sign_in.out"]);
}

#[tokio::test]
async fn a_wrong_password_is_told_with_what_was_typed_and_stays_out_of_the_chain() {
    let world = World::new().await;
    let email = world.add(Role::Viewer).await;
    for (email, password) in [(email.as_str(), "wrong horse battery"), ("nobody@example.com", PASSWORD), (email.as_str(), "")] {
        let answer = world.sign_in(email, password).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(answer.body.contains("data-error=\"") && answer.body.contains(email), "{}", answer.body);
        assert!(!answer.body.contains("wrong horse"), "{}", answer.body);
        assert_eq!(answer.header("set-cookie"), "");
    }
    assert_eq!(world.codes().await, ["user.created"]);
    accounts::tell_of_failures(world.pool(), &world.app.clock).await.unwrap();
    accounts::tell_of_failures(world.pool(), &world.app.clock).await.unwrap();
    assert_eq!(world.codes().await, ["user.created", "sign_in.failed"]);
}

#[tokio::test]
async fn from_the_fourth_failure_a_try_waits_but_the_right_password_gets_in() {
    let world = World::new().await;
    let email = world.add(Role::Viewer).await;
    for _ in 0..4 {
        let started = Instant::now();
        assert_eq!(world.sign_in(&email.to_uppercase(), "wrong horse battery").await.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(started.elapsed() < Duration::from_millis(950), "the first tries do not wait");
    }
    let started = Instant::now();
    assert_eq!(world.sign_in(&email, PASSWORD).await.status, StatusCode::SEE_OTHER);
    let waited = started.elapsed();
    assert!(waited >= Duration::from_secs(1) && waited < Duration::from_secs(4), "{waited:?}");
}

#[tokio::test]
async fn where_twenty_wait_the_next_is_sent_away() {
    let world = World::new().await;
    for _ in 0..7 {
        sqlx::query("INSERT INTO control.failed_sign_ins (at, account_sha256, address, reason) VALUES (now(), sha256('x@example.com'), 'a', 'unknown_account')")
            .execute(world.pool())
            .await
            .unwrap();
    }
    let tries = (0..24).map(|_| world.sign_in("x@example.com", PASSWORD));
    let answers = futures::future::join_all(tries).await;
    let away: Vec<_> = answers.iter().filter(|answer| answer.status == StatusCode::TOO_MANY_REQUESTS).collect();
    assert_eq!(away.len(), 4);
    assert!(away.iter().all(|answer| !answer.header("retry-after").is_empty() && answer.body.contains("data-error=\"too_many\"")));
}

#[tokio::test]
async fn next_never_leads_elsewhere() {
    let world = World::new().await;
    let email = world.add(Role::Viewer).await;
    for next in ["//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nset-cookie: b=c"] {
        let answer = world.post("/sign-in", "", &[("email", &email), ("password", PASSWORD), ("next", next)]).await;
        assert_eq!((answer.status, answer.header("location")), (StatusCode::SEE_OTHER, "/"));
    }
}

#[tokio::test]
async fn other_sites_and_requests_from_nowhere_are_refused() {
    let world = World::new().await;
    let cookie = world.signed_in(Role::Auditor).await;
    let before = world.codes().await;
    for (path, headers, code) in [
        ("/audit", &[("origin", "https://evil.example")][..], "cross_site"),
        ("/audit", &[("origin", "null")], "cross_site"),
        ("/audit", &[("sec-fetch-site", "cross-site"), ("origin", "http://127.0.0.1:3000.evil.example")], "cross_site"),
        ("/audit", &[("sec-fetch-site", "same-site")], "cross_site"),
        ("/sign-out", &[("origin", "https://evil.example")], "cross_site"),
        ("/audit", &[], "no_origin"),
        ("/sign-in", &[], "no_origin"),
    ] {
        let answer = world.post_from(path, &cookie, &[("email", "a@b.c"), ("password", "x")], headers).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {headers:?}");
        assert!(answer.body.contains(code), "{path} {headers:?}: {}", answer.body);
    }
    assert_eq!(world.codes().await, before);
    // A browser that sends only Sec-Fetch-Site is understood too.
    let answer = world.post_from("/audit", &cookie, &[], &[("sec-fetch-site", "same-origin")]).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_session_ends_after_thirty_idle_minutes_and_after_twelve_hours() {
    let clock = Clock::fixed(DateTime::UNIX_EPOCH + TimeDelta::days(20_000));
    let world = World::with(Config::default(), clock.clone()).await;
    let cookie = world.signed_in(Role::Auditor).await;
    clock.advance(TimeDelta::minutes(29));
    assert_eq!(world.get("/audit.csv", &cookie).await.status, StatusCode::OK);
    clock.advance(TimeDelta::minutes(30));
    assert_eq!(world.get("/audit.csv", &cookie).await.status, StatusCode::SEE_OTHER);

    let cookie = world.sign_in("auditor@example.com", PASSWORD).await.cookie();
    for _ in 0..28 {
        clock.advance(TimeDelta::minutes(25));
        assert_eq!(world.get("/audit.csv", &cookie).await.status, StatusCode::OK);
    }
    clock.advance(TimeDelta::minutes(21));
    assert_eq!(world.get("/audit.csv", &cookie).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn disabling_a_person_or_changing_role_or_password_ends_their_sessions() {
    let world = World::new().await;
    let (access, clock, pool) = (&world.app.access, &world.app.clock, world.pool());
    let system = stalewatch::domain::audit::Actor::System;
    let email = world.add(Role::Auditor).await;
    let again = || async { world.sign_in(&email, PASSWORD).await.cookie() };

    let cookie = again().await;
    accounts::change_role(access, pool, &system, &email, Role::Operator).await.unwrap();
    assert_eq!(world.get("/audit.csv", &cookie).await.status, StatusCode::SEE_OTHER);
    assert_eq!(world.get("/audit.csv", &again().await).await.status, StatusCode::FORBIDDEN);
    accounts::change_role(access, pool, &system, &email, Role::Auditor).await.unwrap();

    let cookie = again().await;
    accounts::reset_password(access, pool, clock.now(), &system, &email, PASSWORD).await.unwrap();
    assert_eq!(world.get("/audit.csv", &cookie).await.status, StatusCode::SEE_OTHER);

    let cookie = again().await;
    accounts::disable_user(access, pool, clock.now(), &system, &email).await.unwrap();
    assert_eq!(world.get("/audit.csv", &cookie).await.status, StatusCode::SEE_OTHER);
    let answer = world.sign_in(&email, PASSWORD).await;
    assert!(answer.status == StatusCode::UNPROCESSABLE_ENTITY && answer.body.contains("data-error=\"disabled\""));
}

#[tokio::test]
async fn signing_in_again_gives_a_new_token_and_ends_the_old_session() {
    let world = World::new().await;
    let cookie = world.signed_in(Role::Auditor).await;
    let again = world.post("/sign-in", &cookie, &[("email", "auditor@example.com"), ("password", PASSWORD)]).await.cookie();
    assert_ne!(cookie, again);
    assert_eq!(world.get("/audit.csv", &cookie).await.status, StatusCode::SEE_OTHER);
    assert_eq!(world.get("/audit.csv", &again).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_last_admin_stays_and_an_address_is_one_person() {
    let world = World::new().await;
    let (access, clock, pool) = (&world.app.access, &world.app.clock, world.pool());
    let system = stalewatch::domain::audit::Actor::System;
    let email = world.add(Role::Admin).await;
    let refused = accounts::disable_user(access, pool, clock.now(), &system, &email).await.unwrap_err();
    assert_eq!(refused.code(), "last_admin");
    let refused = accounts::change_role(access, pool, &system, &email, Role::Viewer).await.unwrap_err();
    assert_eq!(refused.code(), "last_admin");
    let twice = accounts::add_user(access, pool, clock.now(), &system, "ADMIN@example.com", None, Role::Viewer, PASSWORD).await;
    assert_eq!(twice.unwrap_err().code(), "exists");
    assert_eq!(world.codes().await, ["user.created"]);
}

#[tokio::test]
async fn while_postgres_is_away_those_seen_lately_are_known_and_others_get_a_plain_503() {
    let clock = Clock::fixed(DateTime::UNIX_EPOCH + TimeDelta::days(20_000));
    let world = World::with(Config::default(), clock.clone()).await;
    let cookie = world.signed_in(Role::Auditor).await;
    let token = cookie.split_once('=').unwrap().1.to_owned();
    assert_eq!(world.get("/audit.csv", &cookie).await.status, StatusCode::OK);

    world.stop_postgres().await;
    let known = accounts::find_viewer(&world.app.access, world.pool(), clock.now(), &token).await;
    assert!(matches!(known, accounts::Known::Person(viewer) if viewer.read_only));
    // Changing anything is refused,
    let answer = world.post("/audit", &cookie, &[]).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    // a session not seen lately is nobody anybody knows,
    let answer = world.get("/audit.csv", "stalewatch-loopback=unknown").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!answer.header("retry-after").is_empty() && answer.body.contains("store_unavailable"));
    // nor is one seen five minutes ago,
    clock.advance(TimeDelta::minutes(5));
    assert_eq!(world.get("/audit.csv", &cookie).await.status, StatusCode::SERVICE_UNAVAILABLE);
    // and nobody signs in.
    let answer = world.sign_in("auditor@example.com", PASSWORD).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);

    world.start_postgres().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(world.get("/audit.csv", &cookie).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_token_is_checked_by_kind_life_and_secret() {
    let world = World::new().await;
    let (pool, now) = (world.pool(), world.app.clock.now());
    let system = stalewatch::domain::audit::Actor::System;
    let request = |kind, expires_at| accounts::TokenRequest { kind, source: "shop", target: Some("main"), expires_at };
    let token = accounts::create_token(pool, now, &system, &request(accounts::Kind::Ingest, None)).await.unwrap();
    assert!(token.text.starts_with(&format!("sw_in_{}_", token.id)));
    let found = accounts::check_token(pool, now, &token.text).await.unwrap();
    assert_eq!((found.source.as_str(), found.target.as_deref()), ("shop", Some("main")));
    for wrong in ["", "sw_in_", &format!("{}0", token.text), &token.text.replace("sw_in_", "sw_rd_"), "sw_in_aaaaaaaaaaaa_bb"] {
        assert!(accounts::check_token(pool, now, wrong).await.is_err(), "{wrong}");
    }
    let brief = accounts::create_token(pool, now, &system, &request(accounts::Kind::Read, Some(now + TimeDelta::days(1)))).await.unwrap();
    assert!(accounts::check_token(pool, now, &brief.text).await.is_ok());
    assert!(accounts::check_token(pool, now + TimeDelta::days(1), &brief.text).await.is_err());
    accounts::revoke_token(pool, now, &system, &token.id).await.unwrap();
    accounts::revoke_token(pool, now, &system, &token.id).await.unwrap();
    assert!(accounts::check_token(pool, now, &token.text).await.is_err());
    assert_eq!(world.codes().await, ["token.created", "token.created", "token.revoked"]);
}

#[tokio::test]
async fn a_password_is_changed_by_its_owner_only_with_the_present_one() {
    let world = World::new().await;
    let cookie = world.signed_in(Role::Auditor).await;
    let token = cookie.split_once('=').unwrap().1.to_owned();
    let (access, clock, pool) = (&world.app.access, &world.app.clock, world.pool());
    let accounts::Known::Person(viewer) = accounts::find_viewer(access, pool, clock.now(), &token).await else { panic!("not known") };
    let change = |present: &'static str, new: &'static str| {
        let (viewer, came) = (viewer.clone(), came());
        async move { accounts::change_own_password(access, pool, clock.now(), &viewer, &came, present, new).await }
    };
    assert_eq!(change("wrong horse battery", "another horse").await.unwrap_err().code(), "wrong_password");
    assert_eq!(change(PASSWORD, "short").await.unwrap_err().code(), "password_too_short");
    change(PASSWORD, "another horse").await.unwrap();
    assert_eq!(world.get("/audit.csv", &cookie).await.status, StatusCode::SEE_OTHER);
    assert_eq!(world.sign_in("auditor@example.com", "another horse").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn an_admin_adds_changes_disables_and_enables_accounts() {
    let world = World::new().await;
    let cookie = world.signed_in(Role::Admin).await;
    let page = world.get("/users", &cookie).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains("admin@example.com"), "{}", page.body);
    let mara = [("email", "mara@example.com"), ("name", "Mara"), ("role", "operator"), ("password", PASSWORD)];
    let with = |action: &'static str| [&[("do", action)], &mara[..]].concat();
    let done = world.post("/users", &cookie, &with("add")).await;
    assert_eq!((done.status, done.header("location")), (StatusCode::SEE_OTHER, "/users"), "{}", done.body);
    let again = world.post("/users", &cookie, &with("add")).await;
    assert_eq!(again.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(again.body.contains("data-error=\"exists\"") && again.body.contains("value=\"mara@example.com\""), "{}", again.body);
    assert!(!again.body.contains(PASSWORD));
    for (action, code) in
        [("role", "user.role_changed"), ("reset", "user.password_reset"), ("disable", "user.disabled"), ("enable", "user.enabled")]
    {
        let fields = [("do", action), ("email", "mara@example.com"), ("role", "auditor"), ("password", "another horse battery")];
        for _ in 0..2 {
            let done = world.post("/users", &cookie, &fields).await;
            assert_eq!(done.status, StatusCode::SEE_OTHER, "{action}: {}", done.body);
        }
        assert_eq!(world.codes().await.iter().filter(|found| *found == code).count(), if action == "reset" { 2 } else { 1 }, "{action}");
    }
    for (fields, status, code) in [
        (&[("do", "disable"), ("email", "admin@example.com")][..], StatusCode::CONFLICT, "last_admin"),
        (&[("do", "disable"), ("email", "nobody@example.com")], StatusCode::UNPROCESSABLE_ENTITY, "unknown_account"),
        (&[("do", "role"), ("email", "mara@example.com"), ("role", "king")], StatusCode::UNPROCESSABLE_ENTITY, "unknown_role"),
        (&[("do", "reset"), ("email", "mara@example.com"), ("password", "short")], StatusCode::UNPROCESSABLE_ENTITY, "password_too_short"),
        (&[("do", "reign")], StatusCode::UNPROCESSABLE_ENTITY, "unknown_action"),
    ] {
        let answer = world.post("/users", &cookie, fields).await;
        assert_eq!(answer.status, status, "{fields:?}");
        assert!(answer.body.contains(&format!("data-error=\"{code}\"")), "{fields:?}: {}", answer.body);
    }
    // A viewer's try is refused, and that is part of the record.
    let viewer = world.signed_in(Role::Viewer).await;
    assert_eq!(world.post("/users", &viewer, &with("add")).await.status, StatusCode::FORBIDDEN);
    for _ in 0..50 {
        if world.codes().await.last().is_some_and(|code| code == "access.refused") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{:?}", world.codes().await);
}

#[tokio::test]
async fn a_person_ends_their_own_sessions_and_changes_their_password() {
    let world = World::new().await;
    let cookie = world.signed_in(Role::Viewer).await;
    let other = world.sign_in("viewer@example.com", PASSWORD).await.cookie();
    let page = world.get("/account", &cookie).await;
    assert_eq!(page.status, StatusCode::OK);
    let ids: Vec<&str> = page.body.split("name=\"session\" value=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(ids.len(), 2, "{}", page.body);
    // Somebody else's session is not theirs to end.
    let stranger = world.signed_in(Role::Auditor).await;
    assert_eq!(world.post("/account", &stranger, &[("do", "end"), ("session", ids[0])]).await.status, StatusCode::SEE_OTHER);
    assert_eq!(world.get("/account", &cookie).await.status, StatusCode::OK);
    for id in ids {
        world.post("/account", &cookie, &[("do", "end"), ("session", id)]).await;
    }
    assert_eq!(world.get("/account", &other).await.status, StatusCode::SEE_OTHER);

    let cookie = world.sign_in("viewer@example.com", PASSWORD).await.cookie();
    let change = |present, new, again| [("do", "password"), ("present", present), ("new", new), ("again", again)];
    for (fields, code) in [
        (change(PASSWORD, "another horse", "other horse"), "not_the_same"),
        (change("wrong horse", "another horse", "another horse"), "wrong_password"),
    ] {
        let answer = world.post("/account", &cookie, &fields).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(answer.body.contains(&format!("data-error=\"{code}\"")), "{}", answer.body);
    }
    let done = world.post("/account", &cookie, &change(PASSWORD, "another horse", "another horse")).await;
    assert_eq!((done.status, done.header("location")), (StatusCode::SEE_OTHER, "/sign-in"));
    assert_eq!(world.get("/account", &cookie).await.status, StatusCode::SEE_OTHER);
}
