//! Figures in memory say what Postgres says, whatever is folded, comes late, or is asked by how many.

use crate::support::TestApp;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use stalewatch::domain::event::Origin;
use stalewatch::domain::figure::Figure;
use stalewatch::server::clock::Clock;
use stalewatch::server::config::{Config, Environment, TargetUrls};
use stalewatch::server::service::cells::{Cells, View};
use stalewatch::server::service::rollups as keeping;
use stalewatch::server::service::series::{Tracks, subjects};
use stalewatch::server::service::standing::{ceil, floor};
use stalewatch::server::store::events::rollups::{self, Segment, Tier, cover};
use stalewatch::server::store::tokens::Kind;
use std::collections::BTreeMap;
use std::path::Path;

const CONFIG: &str = r#"
[[target]]
name = "main"
url = "redis://127.0.0.1:1/0"

[[prefix]]
name = "user:{id}:profile"
target = "main"

[[prefix]]
name = "cart:{id}"
target = "main"
"#;

fn read(text: &str) -> Config {
    Config::read(text, "stalewatch.toml", Path::new(""), &Environment::default(), TargetUrls::Required).unwrap()
}

fn now() -> DateTime<Utc> {
    "2026-11-19T09:17:30Z".parse().unwrap()
}

/// Events of all kinds that rollups hold, spread over so many minutes before `until`.
fn events(round: i64, count: i64, until: DateTime<Utc>, minutes: i64) -> Vec<Value> {
    (0..count)
        .map(|i| {
            // A small generator of its own: the same events every time.
            let dice = ((round * 7_919 + i) * 2_654_435_761) % 1_000_003;
            let (at, key) = (until - TimeDelta::seconds(dice % (minutes * 60)), ["user:1:profile", "cart:2", "nobody:knows"][usize::try_from(dice % 3).unwrap()]);
            let id = format!("{round}-{i}");
            match i % 4 {
                0 => json!({"id": id, "type": "access", "at": at, "key": key, "hits": dice % 50, "misses": dice % 7, "stale_served": dice % 3}),
                1 => json!({"id": id, "type": "rebuild", "at": at, "key": key, "duration_us": dice, "outcome": "ok", "trigger": "miss"}),
                2 => json!({"id": id, "type": "invalidation", "at": at, "key": key, "method": "evict", "outcome": if dice % 5 == 0 { "error" } else { "ok" }}),
                _ => json!({"id": id, "type": "stale_read", "at": at, "key": key, "stale": dice % 4 == 0, "delay_ms": 10_000, "read_path": format!("GET /{}", dice % 3)}),
            }
        })
        .collect()
}

/// Every way in which pages ask: presets, whole ranges in one step, single cells.
fn asked(now: DateTime<Utc>) -> Vec<(Vec<Segment>, i64)> {
    let one = |tier: Tier, back: TimeDelta, step_s: i64| {
        let whole = step_s.max(tier.seconds());
        (vec![Segment { tier, from: floor(now - back, whole), to: ceil(now, whole) }], step_s)
    };
    let (from, to) = (floor(now - TimeDelta::days(6), 3_600), ceil(now, 86_400));
    vec![
        one(Tier::Minute, TimeDelta::hours(1), 60),
        (vec![Segment { tier: Tier::Minute, from: floor(now - TimeDelta::minutes(15), 60), to: ceil(now, 60) }], 86_400),
        one(Tier::FiveMinutes, TimeDelta::hours(6), 600),
        one(Tier::FiveMinutes, TimeDelta::hours(24), 1_800),
        one(Tier::FiveMinutes, TimeDelta::hours(24), 300),
        one(Tier::Hour, TimeDelta::days(7), 4 * 3_600),
        one(Tier::Hour, TimeDelta::days(14), 8 * 3_600),
        one(Tier::Day, TimeDelta::days(30), 86_400),
        (cover(from, to, Tier::Hour, Tier::Day), (to - from).num_seconds()),
    ]
}

async fn check(test: &TestApp, view: &View, now: DateTime<Utc>) -> usize {
    let ids: Vec<i64> = subjects(&test.app.config()).iter().map(|subject| subject.id).collect();
    let mut conn = test.app.pools.events_read.acquire().await.unwrap();
    let mut compared = 0;
    for (segments, step_s) in asked(now) {
        assert!(view.covers(&segments), "{segments:?}");
        let mut stored: BTreeMap<i64, Tracks> = BTreeMap::new();
        for figures in rollups::read(&mut conn, &ids, &segments, segments[0].from, step_s).await.unwrap() {
            compared += 1;
            stored.entry(figures.prefix_id).or_default().add(figures.origin, figures.step, figures.tally);
        }
        let held = view.tracks(&ids, &segments, segments[0].from, step_s).unwrap();
        assert_eq!(format!("{held:?}"), format!("{stored:?}"), "{segments:?} by {step_s} s");
        let mut stale: BTreeMap<i64, Tracks> = BTreeMap::new();
        for figures in rollups::read_stale(&mut conn, &ids, &segments).await.unwrap() {
            stale.entry(figures.prefix_id).or_default().add(figures.origin, 0, figures.tally);
        }
        let whole = (segments[segments.len() - 1].to - segments[0].from).num_seconds();
        let sums = view.tracks(&ids, &segments, segments[0].from, whole).unwrap();
        for &id in &ids {
            let cost = sums.get(&id).and_then(|tracks| Some(tracks.shown(Figure::Cost, &[])?.rebuild.sum_us())).unwrap_or(0);
            assert_eq!(view.rebuild_us(id, &segments).unwrap(), cost, "{segments:?}");
            let samples = |tracks: &Tracks| {
                tracks.total(Some(Origin::App)).map(|total| (total.stale_samples, total.breakdown.delays, total.breakdown.paths.clone()))
            };
            assert_eq!(samples(&view.samples(id, &segments).unwrap()), stale.get(&id).and_then(samples), "{segments:?}");
        }
    }
    let last: BTreeMap<i64, DateTime<Utc>> = rollups::list_last_events(&mut conn, &ids).await.unwrap().into_iter().collect();
    for &id in &ids {
        assert_eq!(view.last_event_at(id), last.get(&id).copied());
    }
    compared
}

#[tokio::test]
async fn figures_in_memory_are_those_of_postgres_through_folds_and_late_events() {
    let clock = Clock::fixed(now());
    let test = TestApp::with(read(CONFIG), clock.clone()).await;
    let token = test.token(Kind::Ingest, "accounts-api").await;
    // Six days at once, then the last minutes while time goes by, now and then folded, now and then with something that comes late.
    let spans = [(400, 8_000), (60, 2), (60, 3), (40, 1_500), (60, 2), (5, 9_000), (60, 40), (60, 2)];
    for (round, (count, minutes)) in (0_i64..).zip(spans) {
        let answer = test.post_events(&token, &Value::Array(events(round, count, clock.now(), minutes))).await.json();
        assert_eq!(answer["accepted"], json!(count), "{answer}");
        let before = test.app.cells.view(&test.app).await.unwrap();
        assert!(check(&test, &before, clock.now()).await > 20);
        if round % 3 != 1 {
            keeping::compact(&test.app).await.unwrap();
        }
        let after = test.app.cells.view(&test.app).await.unwrap();
        check(&test, &after, clock.now()).await;
        // One that starts now finds the same.
        check(&test, &Cells::default().view(&test.app).await.unwrap(), clock.now()).await;
        clock.advance(TimeDelta::minutes(37));
    }
}

#[tokio::test]
async fn a_crowd_of_viewers_is_one_reading_and_nobody_sees_less_than_was_there() {
    let test = TestApp::with(read(CONFIG), Clock::fixed(now())).await;
    let views = futures::future::join_all((0..50).map(|_| test.app.cells.view(&test.app))).await;
    let mut views: Vec<*const View> = views.into_iter().map(|view| std::sync::Arc::as_ptr(&view.unwrap())).collect();
    views.sort_unstable();
    views.dedup();
    assert!(views.len() <= 2, "{} readings for 50 viewers", views.len());
    // What was accepted is in the next view, every time.
    let token = test.token(Kind::Ingest, "accounts-api").await;
    for round in 0..20 {
        let event = json!([{"id": format!("e-{round}"), "type": "access", "at": now(), "key": "cart:2", "hits": 1, "misses": 0}]);
        assert_eq!(test.post_events(&token, &event).await.json()["accepted"], 1);
        let view = test.app.cells.view(&test.app).await.unwrap();
        let ids: Vec<i64> = subjects(&test.app.config()).iter().map(|subject| subject.id).collect();
        let segment = Segment { tier: Tier::Minute, from: floor(now(), 60), to: ceil(now(), 60) };
        let tracks = view.tracks(&ids, &[segment], segment.from, 60).unwrap();
        let hits: u64 = tracks.values().filter_map(|tracks| tracks.total(Some(Origin::App))?.hits).sum();
        assert_eq!(hits, round + 1);
    }
}

/// Another configuration speaks of other prefixes; another database, of another past.
#[tokio::test]
async fn a_new_configuration_and_a_restored_database_are_read_anew() {
    let test = TestApp::with(read(CONFIG), Clock::fixed(now())).await;
    let token = test.token(Kind::Ingest, "accounts-api").await;
    test.post_events(&token, &Value::Array(events(1, 200, now(), 600))).await;
    keeping::compact(&test.app).await.unwrap();
    check(&test, &test.app.cells.view(&test.app).await.unwrap(), now()).await;
    test.app.replace_config(read(&format!("{CONFIG}\n[[prefix]]\nname = \"nobody:{{what}}\"\ntarget = \"main\"\n")));
    test.post_events(&token, &Value::Array(events(2, 200, now(), 600))).await;
    check(&test, &test.app.cells.view(&test.app).await.unwrap(), now()).await;
    // As it was before, from a backup.
    sqlx::raw_sql("TRUNCATE events.cells, events.deltas; UPDATE events.folds SET number = 0")
        .execute(&test.app.pools.events)
        .await
        .unwrap();
    let view = test.app.cells.view(&test.app).await.unwrap();
    assert_eq!(check(&test, &view, now()).await, 0);
}
