//! The first account of a fresh installation, by the one-time link on the server's console.

use crate::world::{Answer, PASSWORD, World};
use axum::http::StatusCode;
use chrono::{DateTime, TimeDelta, Utc};
use stalewatch::domain::operator::Role;
use stalewatch::server::clock::Clock;
use stalewatch::server::config::Config;
use stalewatch::server::service::accounts;

const EMAIL: &str = "mara.lind@example.com";

async fn start() -> World {
    let now: DateTime<Utc> = "2026-11-19T09:00:00Z".parse().unwrap();
    World::with(Config::default(), Clock::fixed(now)).await
}

async fn issue(world: &World) -> Option<String> {
    accounts::issue_link(world.pool(), world.app.clock.now()).await.unwrap()
}

async fn look(world: &World, token: &str) -> Answer {
    world.get(&format!("/first-run?token={token}"), "").await
}

async fn make(world: &World, token: &str, email: &str, password: &str, again: &str) -> Answer {
    world.post("/first-run", "", &[("token", token), ("email", email), ("password", password), ("again", again)]).await
}

fn refused(answer: &Answer, status: StatusCode, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.body);
    assert!(answer.body.contains(&format!("data-error=\"{code}\"")), "{code}: {}", answer.body);
}

#[tokio::test]
async fn the_link_makes_one_admin_once() {
    let world = start().await;
    let token = issue(&world).await.unwrap();
    assert_eq!(token.len(), 43, "256 bits");
    let stored: Vec<u8> = sqlx::query_scalar("SELECT token_sha256 FROM control.first_run_links").fetch_one(world.pool()).await.unwrap();
    assert!(stored.len() == 32 && !stored.windows(8).any(|part| token.as_bytes().starts_with(part)), "only a hash is kept");
    let page = look(&world, &token).await;
    assert_eq!((page.status, page.header("cache-control")), (StatusCode::OK, "no-store"));
    assert!(page.body.contains("name=\"email\"") && page.body.contains("name=\"again\""), "{}", page.body);
    let made = make(&world, &token, EMAIL, PASSWORD, PASSWORD).await;
    assert_eq!((made.status, made.header("location")), (StatusCode::SEE_OTHER, "/sign-in"), "{}", made.body);
    assert_eq!(world.codes().await, ["user.created"]);
    let signed_in = world.sign_in(EMAIL, PASSWORD).await;
    assert_eq!(signed_in.status, StatusCode::SEE_OTHER);
    let cookie = signed_in.cookie();
    assert_eq!(world.get("/users", &cookie).await.status, StatusCode::OK, "an admin");
    assert!(world.get("/audit", &cookie).await.body.contains("added mara.lind@example.com as admin by the first-run link"));

    refused(&look(&world, &token).await, StatusCode::CONFLICT, "link_over");
    refused(&make(&world, &token, "other@example.com", PASSWORD, PASSWORD).await, StatusCode::CONFLICT, "link_over");
    assert_eq!(issue(&world).await, None, "no further link");
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM control.first_run_links").fetch_one(world.pool()).await.unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn of_many_at_once_one_gets_the_account() {
    let world = start().await;
    // Two replicas of a fresh installation print one each.
    let links = [issue(&world).await.unwrap(), issue(&world).await.unwrap()];
    let emails: Vec<String> = (0..6).map(|place| format!("person-{place}@example.com")).collect();
    let tries = emails.iter().enumerate().map(|(place, email)| make(&world, &links[place % 2], email, PASSWORD, PASSWORD));
    let answers = futures::future::join_all(tries).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == StatusCode::SEE_OTHER).count(), 1);
    assert_eq!(world.codes().await, ["user.created"]);
}

#[tokio::test]
async fn the_link_is_good_for_thirty_minutes() {
    let world = start().await;
    let token = issue(&world).await.unwrap();
    world.app.clock.advance(TimeDelta::minutes(30) - TimeDelta::seconds(1));
    assert_eq!(look(&world, &token).await.status, StatusCode::OK);
    world.app.clock.advance(TimeDelta::seconds(1));
    refused(&look(&world, &token).await, StatusCode::FORBIDDEN, "link_expired");
    refused(&make(&world, &token, EMAIL, PASSWORD, PASSWORD).await, StatusCode::FORBIDDEN, "link_expired");
    assert!(world.codes().await.is_empty());
    let next = issue(&world).await.unwrap();
    assert_eq!(make(&world, &next, EMAIL, PASSWORD, PASSWORD).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn what_is_typed_wrongly_comes_back_and_does_not_use_the_link_up() {
    let world = start().await;
    let token = issue(&world).await.unwrap();
    for (email, password, again, code) in [
        ("", PASSWORD, PASSWORD, "missing"),
        (EMAIL, "", "", "missing"),
        (EMAIL, PASSWORD, "correct horse", "not_the_same"),
        (EMAIL, "kurz7", "kurz7", "password_too_short"),
        ("nobody", PASSWORD, PASSWORD, "bad_email"),
    ] {
        let answer = make(&world, &token, email, password, again).await;
        refused(&answer, StatusCode::UNPROCESSABLE_ENTITY, code);
        assert!(answer.body.contains(&format!("value=\"{token}\"")) && answer.body.contains(email), "{}", answer.body);
        assert!(password.is_empty() || !answer.body.contains(password), "{}", answer.body);
    }
    assert_eq!(make(&world, &token, EMAIL, PASSWORD, PASSWORD).await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_wrong_link_makes_nothing_and_counts_as_a_failed_sign_in() {
    let world = World::new().await;
    issue(&world).await.unwrap();
    for token in ["", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "x' OR true --"] {
        refused(&make(&world, token, EMAIL, PASSWORD, PASSWORD).await, StatusCode::FORBIDDEN, "link_unknown");
    }
    refused(&look(&world, "nonsense").await, StatusCode::FORBIDDEN, "link_unknown");
    let failures: i64 = sqlx::query_scalar("SELECT count(*) FROM control.failed_sign_ins").fetch_one(world.pool()).await.unwrap();
    assert_eq!((failures, world.codes().await.len()), (3, 0));
    refused(&make(&world, "y", EMAIL, PASSWORD, PASSWORD).await, StatusCode::FORBIDDEN, "link_unknown");
    let began = std::time::Instant::now();
    refused(&make(&world, "z", EMAIL, PASSWORD, PASSWORD).await, StatusCode::FORBIDDEN, "link_unknown");
    assert!(began.elapsed() >= std::time::Duration::from_secs(1), "the fifth try waits, as at the sign-in");
}

#[tokio::test]
async fn once_somebody_has_an_account_no_link_makes_one() {
    let world = start().await;
    let token = issue(&world).await.unwrap();
    world.add(Role::Viewer).await;
    refused(&look(&world, &token).await, StatusCode::CONFLICT, "link_over");
    refused(&make(&world, &token, EMAIL, PASSWORD, PASSWORD).await, StatusCode::CONFLICT, "link_over");
    assert_eq!(world.codes().await, ["user.created"]);
}

#[tokio::test]
async fn another_site_cannot_send_the_form() {
    let world = start().await;
    let token = issue(&world).await.unwrap();
    let fields = [("token", token.as_str()), ("email", EMAIL), ("password", PASSWORD), ("again", PASSWORD)];
    for headers in [&[("origin", "https://evil.example")][..], &[]] {
        assert_eq!(world.post_from("/first-run", "", &fields, headers).await.status, StatusCode::FORBIDDEN);
    }
    assert!(world.codes().await.is_empty());
}
