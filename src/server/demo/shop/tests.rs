//! The shop against a real Redis, and a door that takes events as they come: what an application of this kind would send.

use super::*;
use axum::{Json, Router, extract::State, routing::post};
use serde_json::Value as Json_;
use std::{
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
};

/// A Redis of its own, gone with the test.
struct Redis {
    process: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Redis {
    async fn start() -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("redis://127.0.0.1:{port}/0");
        for _ in 0..100 {
            if tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Self { process, url, _folder: folder }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

type Taken = Arc<Mutex<Vec<Json_>>>;

/// Takes every event and keeps it.
async fn door() -> (String, Taken) {
    let taken = Taken::default();
    let take = |State(taken): State<Taken>, Json(body): Json<Json_>| async move {
        let events = body["events"].as_array().unwrap().clone();
        let accepted = events.len();
        taken.lock().unwrap_or_else(PoisonError::into_inner).extend(events);
        Json(serde_json::json!({ "accepted": accepted, "duplicates": 0, "rejected": [], "rejected_total": 0 }))
    };
    let router = Router::new().route("/api/v1/events", post(take)).with_state(Arc::clone(&taken));
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, taken)
}

async fn run(bugs: &[Bug], length: Duration) -> Vec<Json_> {
    let redis = Redis::start().await;
    let (door, taken) = door().await;
    let shop = Shop::open(Settings {
        redis_url: redis.url.clone(),
        door,
        tokens: Service::ALL.into_iter().map(|service| (service, service.name().to_owned())).collect(),
        switches: Arc::new(Switches::new(bugs)),
        seed: 42,
        clock: Clock::system(),
    })
    .await
    .unwrap();
    tokio::time::sleep(length).await;
    shop.close().await;
    std::mem::take(&mut *taken.lock().unwrap_or_else(PoisonError::into_inner))
}

fn of<'a>(events: &'a [Json_], kind: &'a str, family: &'a str) -> impl Iterator<Item = &'a Json_> {
    events.iter().filter(move |event| {
        event["type"] == kind && (event["prefix"] == family || event["key"].as_str().is_some_and(|key| matches_family(key, family)))
    })
}

fn matches_family(key: &str, family: &str) -> bool {
    let key: Vec<&str> = key.split(':').collect();
    let family: Vec<&str> = family.split(':').collect();
    key.iter().zip(&family).all(|(key, family)| family.starts_with('{') || key == family) && key.len() >= family.len()
}

fn stale_at(events: &[Json_], family: &str, at_least_ms: u64) -> (usize, usize) {
    let samples: Vec<&Json_> =
        of(events, "stale_read", family).filter(|event| event["delay_ms"].as_u64().unwrap() >= at_least_ms).collect();
    (samples.iter().filter(|event| event["stale"] == true).count(), samples.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bugs_show_and_nothing_else_is_wrong() {
    // Long enough for samples 10 s after a write, and not longer.
    let events = run(&Bug::ALL, Duration::from_secs(16)).await;
    let (stale, samples) = stale_at(&events, accounts::PROFILE, 0);
    assert!(stale == 0 && samples >= 20, "profiles are never stale: {stale} of {samples}");
    let (stale, _) = stale_at(&events, accounts::SUMMARY, 900);
    let at = |event: &Json_| chrono::DateTime::parse_from_rfc3339(event["at"].as_str().unwrap()).unwrap();
    let end = events.iter().map(at).max().unwrap();
    let seen_long_enough = |event: &&Json_| end - at(event) > chrono::TimeDelta::seconds(2);
    let forgotten = events.iter().filter(|event| event["endpoint"] == "PUT /users/{id}/avatar").filter(seen_long_enough).count();
    assert!(forgotten == 0 || stale > 0, "summaries are stale after avatar writes: {stale} stale, {forgotten} writes");
    let (stale, samples) = stale_at(&events, catalog::CATALOG, 0);
    assert!(stale == 0 && samples > 0, "products are never stale: {stale} of {samples}");

    let failed: Vec<&Json_> = events.iter().filter(|event| event["type"] == "invalidation" && event["outcome"] == "error").collect();
    for event in &failed {
        assert!(event["key"].as_str().unwrap().starts_with("billing:"), "{event}");
        assert_eq!(event["error_class"], "timeout", "{event}");
        assert!(event["latency_us"].as_u64().unwrap() >= 300_000, "it really waited: {event}");
    }
    let unknown = events.iter().filter(|event| event["key"].as_str().is_some_and(|key| key.starts_with("promo:"))).count();
    assert!(unknown > 0);
    assert!(of(&events, "access", accounts::SESSION).count() > 0);
    let ids: std::collections::HashSet<&str> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), events.len(), "each event has an id of its own");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_bugs_the_shop_is_right() {
    let events = run(&[], Duration::from_secs(13)).await;
    for family in [accounts::PROFILE, accounts::SUMMARY, carts::CART, catalog::CATALOG, billing::INVOICE] {
        let (stale, samples) = stale_at(&events, family, 900);
        assert!(stale == 0 && samples > 0, "{family}: {stale} of {samples}");
    }
    assert!(events.iter().all(|event| event["type"] != "invalidation" || event["outcome"] == "ok"));
    assert!(events.iter().all(|event| !event["key"].as_str().unwrap_or_default().starts_with("promo:")));
}

/// Each bug alone, driven until it shows: no waiting for chance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_stalls_makes_an_eviction_time_out_and_lose_its_command() {
    let redis = Redis::start().await;
    let info = redis.url.as_str().into_connection_info().unwrap();
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let (switches, dice) = (Arc::new(Switches::default()), Arc::new(Dice::new(3)));
    let line = line_to_billing(&info, &switches, &dice, &tasks, &stop).await.unwrap();
    let cache = Cache::new(info, CACHE_TIMEOUT).unwrap();
    let value = Value { version: 1, fresh_until_ms: 0 };
    let mut timed_out = 0;
    for _ in 0..40 {
        cache.set("billing:1:invoice", value, 0, Duration::from_mins(1)).await.unwrap();
        let evicted = line.evict("billing:1:invoice").await;
        let left = cache.get("billing:1:invoice").await.unwrap();
        match evicted {
            Ok(keys) => assert_eq!((keys, left), (1, None)),
            Err(error) => {
                assert_eq!((cache::error_class(&error), left), ("timeout", Some(value)));
                timed_out += 1;
            }
        }
    }
    assert!(timed_out > 0);
    switches.set(Bug::BillingTimeouts, false);
    // A stall that began before may still hold the connection.
    let _ = line.evict("billing:1:invoice").await;
    for _ in 0..20 {
        line.evict("billing:1:invoice").await.unwrap();
    }
}
