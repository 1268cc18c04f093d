//! The simulated shop against the real server: its history, and what it shows within seconds.

use crate::support::{TestApp, TestRedis};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stalewatch::server::clock::Clock;
use stalewatch::server::config::{Config, Environment, TargetUrls};
use stalewatch::server::demo::history;
use stalewatch::server::demo::shop::{Bug, Service, Settings, Shop, Switches};
use stalewatch::server::service::rollups;
use stalewatch::server::store::tokens::Kind;

/// The configuration that the demo embeds.
fn demo_config() -> Config {
    let text = include_str!("../server/demo/stalewatch.toml");
    Config::read(text, "stalewatch.toml", Path::new(""), &Environment::default(), TargetUrls::Optional)
        .unwrap_or_else(|problems| panic!("{problems}"))
}

pub async fn open_shop(test: &TestApp, redis: &TestRedis, bugs: &[Bug]) -> Shop {
    let mut tokens = HashMap::new();
    for service in Service::ALL {
        tokens.insert(service, test.token(Kind::Ingest, service.name()).await);
    }
    let settings = Settings {
        redis_url: redis.url.clone(),
        door: test.url.clone(),
        tokens,
        switches: Arc::new(Switches::new(bugs)),
        seed: 42,
        clock: Clock::system(),
    };
    Shop::open(settings).await.unwrap()
}

async fn number(test: &TestApp, sql: &'static str) -> i64 {
    sqlx::query_scalar::<_, i64>(sql).fetch_one(&test.app.pools.events_read).await.unwrap()
}

#[test]
fn the_demos_configuration_is_whole_and_names_the_shops_prefixes() {
    let config = demo_config();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let names: Vec<&str> = config.prefixes.iter().map(stalewatch::server::config::Prefix::name).collect();
    for name in ["user:{id}:profile", "user:{id}:summary", "cart:{id}", "catalog:{id}", "billing:{account}:invoice", "search:{hash}"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert_eq!(config.targets[0].protected, [b"session:".to_vec()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_is_taken_in_once_and_counts_exactly() {
    let test = TestApp::with(demo_config(), Clock::system()).await;
    let opens_at = test.app.clock.now();
    let told = history::tell(&test.app, 42, opens_at, 2).await.unwrap();
    println!("{told:?}");
    assert!(told.accepted > 10_000 && told.rejected == 0, "{told:?}");
    assert_eq!(number(&test, "SELECT count(*) FROM events.raw").await, i64::try_from(told.accepted).unwrap());
    let recount = rollups::recount(&test.app.pools.events, test.app.config().retention, test.app.clock.now()).await.unwrap();
    assert!(recount.differences.is_empty(), "{:?}", recount.differences.first());
    test.app.ingest.note_down().await.unwrap();
    history::tell(&test.app, 42, opens_at, 2).await.unwrap();
    let after = number(&test, "SELECT count(*) FROM events.raw").await;
    assert_eq!(after, i64::try_from(told.accepted).unwrap(), "told twice, each event counts once");
}

/// How long the shop may take to show what it promises; it is four times what it usually needs.
const SEEN_WITHIN: Duration = Duration::from_secs(100);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn within_seconds_the_shop_shows_its_bugs_through_the_door() {
    let (test, redis) = (TestApp::with(demo_config(), Clock::system()).await, TestRedis::new().await);
    let shop = open_shop(&test, &redis, &Bug::ALL).await;
    let stale = |prefix: &'static str| {
        let test = &test;
        async move {
            let row: (i64, i64) = sqlx::query_as(
                "SELECT count(*) FILTER (WHERE stale), count(*) FROM events.raw r JOIN events.prefixes p USING (prefix_id)
                 WHERE p.name = $1 AND kind = 5 AND delay_ms >= 9500",
            )
            .bind(prefix)
            .fetch_one(&test.app.pools.events_read)
            .await
            .unwrap();
            row
        }
    };
    let unclassified = "SELECT count(*) FROM events.raw r JOIN events.prefixes p USING (prefix_id) WHERE p.name = 'unclassified'";
    // People come by chance: wait for what they leave behind, not for a time.
    let deadline = tokio::time::Instant::now() + SEEN_WITHIN;
    while tokio::time::Instant::now() < deadline
        && (stale("user:{id}:profile").await.1 <= 10 || stale("user:{id}:summary").await.1 <= 10 || number(&test, unclassified).await == 0)
    {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    shop.close().await;

    let (profile_stale, profile_samples) = stale("user:{id}:profile").await;
    assert!(profile_stale == 0 && profile_samples > 10, "{profile_stale} of {profile_samples}");
    let (_, summary_samples) = stale("user:{id}:summary").await;
    assert!(summary_samples > 10);
    let failed = "SELECT count(*) FROM events.raw r JOIN events.prefixes p USING (prefix_id) WHERE kind = 3 AND notable";
    let elsewhere = "SELECT count(*) FROM events.raw r JOIN events.prefixes p USING (prefix_id)
                     WHERE kind = 3 AND notable AND p.name <> 'billing:{account}:invoice'";
    println!("{} evictions failed", number(&test, failed).await);
    assert_eq!(number(&test, elsewhere).await, 0, "only billing's evictions fail");
    assert!(number(&test, unclassified).await > 0);
    let sources = "SELECT count(DISTINCT source_id) FROM events.raw";
    assert_eq!(number(&test, sources).await, 5);
    test.app.ingest.note_down().await.unwrap();
    let refused = "SELECT coalesce(sum(n), 0)::bigint FROM events.intake WHERE code <> 'accepted'";
    assert_eq!(number(&test, refused).await, 0, "everything that the shop sends is taken");
}
