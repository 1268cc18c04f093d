//! The route table: what each door does to nobody and to every role.

use crate::world::World;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use stalewatch::domain::audit::Actor;
use stalewatch::domain::operator::Role;
use stalewatch::server::auth::Needs;
use stalewatch::server::clock::Clock;
use stalewatch::server::config::{Config, Environment, TargetUrls};
use stalewatch::server::router::doors;
use stalewatch::server::service::configuration;
use std::path::Path;

/// A path in which each placeholder is filled with something that exists nowhere.
fn fill(path: &str) -> String {
    path.split('/').map(|segment| if segment.starts_with('{') { "0" } else { segment }).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_door_lets_in_exactly_whom_it_names() {
    let world = World::new().await;
    let mut people = vec![(None, String::new())];
    for role in Role::ALL {
        people.push((Some(role), world.signed_in(role).await));
    }
    for door in doors() {
        assert!(door.why.len() > 5, "{} does not say why it asks for what it asks", door.path);
        if door.path == "/sign-out" {
            // It would end the sessions that the rest of the walk needs; it asks for nothing.
            assert_eq!(door.needs, Needs::Nothing);
            continue;
        }
        for (role, cookie) in &people {
            let request = Request::builder()
                .method(door.method.clone())
                .uri(fill(door.path))
                .header(header::HOST, "127.0.0.1:3000")
                .header(header::ORIGIN, "http://127.0.0.1:3000")
                .header(header::COOKIE, cookie)
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(Body::empty())
                .unwrap();
            let answer = world.ask(request).await;
            let at = format!("{} {} as {role:?}: {}", door.method, door.path, answer.status);
            let to_sign_in = answer.status == StatusCode::SEE_OTHER && answer.header("location").starts_with("/sign-in");
            let refused_role = answer.status == StatusCode::FORBIDDEN && answer.body.contains("\"role\"");
            let signed_out = answer.status == StatusCode::UNAUTHORIZED;
            match (door.needs, role) {
                (Needs::Nothing, _) => assert!(!to_sign_in && !refused_role && !signed_out, "{at}"),
                (Needs::Person(_), None) => assert!(to_sign_in, "{at}"),
                (Needs::Fetch(_) | Needs::Figures | Needs::Metrics, None) | (Needs::Ingest, _) => assert!(signed_out, "{at}"),
                (Needs::Person(permission) | Needs::Fetch(permission), Some(role)) => {
                    assert_eq!(refused_role, !role.may(permission), "{at}");
                    assert!(!to_sign_in && !signed_out, "{at}");
                }
                (Needs::Figures | Needs::Metrics, Some(_)) => assert!(!refused_role && !signed_out, "{at}"),
            }
        }
    }
}

#[tokio::test]
async fn the_settings_show_what_is_in_force_and_no_secret() {
    let text = "[[target]]\nname = \"main\"\nurl = \"redis://reader:s3cret-of-url@cache.internal:6379/2\"\nprotected = [\"session:\"]\n\
                [[prefix]]\nname = \"user:{id}:profile\"\ntarget = \"main\"\nowner = \"accounts\"\nthreshold = { rebuild_p95 = \"400ms\" }\n";
    let nothing: Environment = std::iter::empty::<(String, String)>().collect();
    let read = |text: &str| Config::read(text, "stalewatch.toml", Path::new("."), &nothing, TargetUrls::Required).unwrap();
    let (before, config) = (read("[review]\ntimezone = \"UTC\"\n"), read(text));
    let world = World::with(config.clone(), Clock::system()).await;
    for config in [&before, &config] {
        configuration::record_loaded(&world.app.pools.record, &Actor::System, config).await.unwrap();
    }
    let admin = world.signed_in(Role::Admin).await;
    let answer = world.get("/settings", &admin).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    for said in [
        "redis://cache.internal:6379/2",
        "session:",
        "accounts",
        "400 ms",
        "in force since",
        &config.digest[..12],
        &before.digest[..12],
        "config check",
    ] {
        assert!(answer.body.contains(said), "{said}: {}", answer.body);
    }
    assert!(!answer.body.contains("s3cret") && !answer.body.contains("reader"), "{}", answer.body);
    assert!(world.get("/account", &admin).await.body.contains("href=\"/settings\""));
    let operator = world.signed_in(Role::Operator).await;
    assert_eq!(world.get("/settings", &operator).await.status, StatusCode::FORBIDDEN);
    for path in ["/account", "/"] {
        assert!(!world.get(path, &operator).await.body.contains("href=\"/settings\""), "{path}");
    }
}

#[tokio::test]
async fn what_has_no_door_is_not_found_and_every_answer_carries_the_headers() {
    let world = World::new().await;
    let cookie = world.signed_in(Role::Viewer).await;
    for path in ["/no-such-page", "/sign-in", "/favicon.svg", "/audit.csv"] {
        let answer = world.get(path, &cookie).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("referrer-policy"), "same-origin", "{path}");
        assert!(answer.header("content-security-policy").contains("default-src 'none'"), "{path}");
        assert!(!answer.header("cache-control").is_empty(), "{path}");
    }
    assert_eq!(world.get("/no-such-page", "").await.status, StatusCode::NOT_FOUND);
}
