//! The brake: a flush that hurts others slows down and stops by itself, says why, counts truly, and can be gone on with.

use super::*;
use crate::support::own_servers;
use serde_json::json;
use stalewatch::server::private::Servers;
use stalewatch::server::store::tokens::Kind;
use tokio_util::sync::CancellationToken;

fn over(servers: &Servers, bystander: &str) -> Config {
    let redis = servers.redis.as_ref().unwrap();
    let (user, password) = redis.flush_identity();
    let limits = format!("brake = {{ bystander = \"{bystander}\", stop_after = \"1s\", rebuild_failures = 0.05 }}");
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let text = config_text(&redis.url(), &(user.to_owned(), password.to_owned()), &limits);
    file.write_all(text.replace("owner = \"accounts\"", "owner = \"accounts\"\nthreshold = { rebuild_p95 = \"50ms\" }").as_bytes())
        .unwrap();
    Config::load(Some(file.path()), &Environment::default()).unwrap()
}

async fn connect(servers: &Servers) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(servers.redis.as_ref().unwrap().url()).unwrap();
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(30)));
    client.get_multiplexed_async_connection_with_config(&patient).await.unwrap()
}

async fn set(conn: &mut redis::aio::MultiplexedConnection, keys: impl Iterator<Item = String>) {
    let mut pipe = redis::pipe();
    for key in keys {
        pipe.cmd("SET").arg(key).arg(1).ignore();
    }
    let () = pipe.query_async(conn).await.unwrap();
}

/// Runs something every `pause` until it is dropped.
struct Meanwhile(CancellationToken);

impl Drop for Meanwhile {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn others_that_wait_too_long_stop_it_and_a_person_goes_on() {
    let (servers, _folder) = own_servers().await;
    let app = TestApp::with(over(&servers, "20ms"), Clock::system()).await;
    let mut conn = connect(&servers).await;
    for part in 0..30 {
        set(&mut conn, (0..10_000).map(|i| format!("cart:{part}:{i}"))).await;
    }
    let operator = app.signed_in(Role::Operator).await;
    let (path, main) = planned(&operator, "cart:", "gentle").await;
    assert_eq!(main["planned"], "300000");
    // A Redis that stands still most of the time, for whatever reason.
    let ending = CancellationToken::new();
    let stalls = tokio::spawn({
        let (ending, mut conn) = (ending.clone(), connect(&servers).await);
        async move {
            while !ending.is_cancelled() {
                let () = redis::cmd("CLIENT").arg("PAUSE").arg(200).arg("ALL").query_async(&mut conn).await.unwrap();
                tokio::time::sleep(Duration::from_millis(240)).await;
            }
        }
    });
    let stalling = Meanwhile(ending);
    led_to(&confirm(&operator, &path, "cart:", "300000").await);
    let main = wait_for(&operator, &path, &["auto_stopped", "completed", "failed"]).await;
    drop(stalling);
    stalls.await.unwrap();
    assert_eq!(main["state"], "auto_stopped", "{main:?}");
    let left: u64 = redis::cmd("DBSIZE").query_async(&mut conn).await.unwrap();
    assert_eq!(main["removed"].parse::<u64>().unwrap(), 300_000 - left, "what is said to be removed is removed");
    let page = operator.get(&path).await.body;
    assert!(page.contains("Stopped by the brake: others wait") && page.contains("over the limit of 20"), "{page}");
    let record = &told(&app, "flush.finished").await[0];
    assert_eq!((&record["state"], &record["cause"]), (&"auto_stopped".into(), &"brake".into()));
    let watch: serde_json::Value = serde_json::from_str(
        &sqlx::query_scalar::<_, String>("SELECT watch::text FROM control.flushes").fetch_one(app.pool()).await.unwrap(),
    )
    .unwrap();
    assert!(watch["worst_ms"].as_f64().unwrap_or(0.0) > 20.0 && watch["halved"].as_u64().unwrap() > 0, "{watch}");

    // On a machine that runs all tests at once others may have to wait again.
    let mut main = main;
    for _ in 0..10 {
        led_to(&operator.post(&path, &[("do", "resume")]).await);
        main = wait_for(&operator, &path, &["completed", "auto_stopped", "failed"]).await;
        if main["state"] != "auto_stopped" {
            break;
        }
    }
    assert_eq!((main["state"].as_str(), main["residue"].as_str()), ("completed", "0"), "{main:?}");
    assert_eq!(redis::cmd("DBSIZE").query_async::<u64>(&mut conn).await.unwrap(), 0);
    servers.stop().await;
}

/// Posts rebuilds of one prefix until it is dropped.
fn rebuilding(app: &TestApp, token: String, key: &'static str, outcome: &'static str, duration_us: u64) -> Meanwhile {
    let ending = CancellationToken::new();
    let clock = app.app.clock.clone();
    let (until, url) = (ending.clone(), format!("{}/api/v1/events", app.url));
    tokio::spawn(async move {
        let client = reqwest::Client::new();
        for round in 0.. {
            let events: Vec<_> = (0..40)
                .map(|i| {
                    json!({"id": format!("{outcome}-{duration_us}-{round}-{i}"), "type": "rebuild", "at": clock.now().to_rfc3339(), "key": key,
                           "duration_us": duration_us, "outcome": outcome, "trigger": "miss"})
                })
                .collect();
            let sent = client.post(&url).bearer_auth(&token).json(&json!({"events": events})).send();
            if until.run_until_cancelled(sent).await.is_none() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    Meanwhile(ending)
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_that_suffer_stop_it_but_the_flushed_prefix_itself_does_not() {
    let (servers, _folder) = own_servers().await;
    // Only the sources count here, however busy the machine is.
    let app = TestApp::with(over(&servers, "1s"), Clock::system()).await;
    let mut conn = connect(&servers).await;
    // A keyspace in which a scan takes some seconds.
    for part in 0..40 {
        let () = redis::cmd("DEBUG").arg("POPULATE").arg(100_000).arg(format!("other{part}")).arg(8).query_async(&mut conn).await.unwrap();
    }
    set(&mut conn, (0..500).map(|i| format!("user:{i}:summary"))).await;
    let token = app.token(Kind::Ingest, "shop").await;
    let operator = app.signed_in(Role::Operator).await;

    let (path, _) = planned(&operator, "user:{id}:summary", "gentle").await;
    let own = rebuilding(&app, token.clone(), "user:7:summary", "ok", 400_000);
    led_to(&confirm(&operator, &path, "user:{id}:summary", "500").await);
    let main = wait_for(&operator, &path, &["completed", "auto_stopped", "failed"]).await;
    drop(own);
    assert_eq!((main["state"].as_str(), main["removed"].as_str()), ("completed", "500"), "its own rebuilds are slow because they must be");

    set(&mut conn, (0..500).map(|i| format!("user:{i}:summary"))).await;
    let (path, _) = planned(&operator, "user:{id}:summary", "gentle").await;
    led_to(&confirm(&operator, &path, "user:{id}:summary", "500").await);
    wait_for(&operator, &path, &["running"]).await;
    let others = rebuilding(&app, token, "user:7:profile", "timeout", 30_000);
    let main = wait_for(&operator, &path, &["completed", "auto_stopped", "failed"]).await;
    drop(others);
    assert_eq!(main["state"], "auto_stopped", "{main:?}");
    let page = operator.get(&path).await.body;
    assert!(page.contains("rebuilds of user:{id}:profile failed or timed out"), "{page}");
    servers.stop().await;
}
