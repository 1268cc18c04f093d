//! What dies or freezes in the middle: the server that works on the flush, Redis' connections, and the record.

use super::{REASON, config, config_text, confirm, fill, key_count, led_to, planned, told, wait_for};
use crate::support::{Answer, TestApp, TestRedis, data, own_servers};
use reqwest::{Method, StatusCode};
use sqlx::{Connection as _, Executor as _, PgConnection};
use stalewatch::domain::operator::Role;
use stalewatch::server::clock::Clock;
use stalewatch::server::config::{Config, Environment};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Another replica, as a process of its own, over the same database.
pub(super) struct Replica {
    pub child: Child,
    url: String,
    client: reqwest::Client,
    cookie: String,
    _folder: tempfile::TempDir,
}

impl Replica {
    pub fn start(app: &TestApp, redis: &TestRedis, cookie: &str) -> Self {
        Self::start_with(app, &config_text(&redis.url, &redis.flush, ""), cookie, &[])
    }

    pub fn start_with(app: &TestApp, config: &str, cookie: &str, environment: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("stalewatch.toml");
        std::fs::write(&file, config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_stalewatch"))
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--config"])
            .arg(&file)
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .env("DATABASE_URL", &app.database.url)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { child, url: ready["url"].as_str().unwrap().to_owned(), client, cookie: cookie.to_owned(), _folder: folder }
    }

    /// Whether it answers is nobody's business: it may die first.
    pub async fn try_ask(&self, path: &str, fields: &[(&str, &str)]) {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.client.post(format!("{}{path}", self.url)).header("origin", &self.url).header("cookie", &self.cookie);
        let _ = request.header("content-type", "application/x-www-form-urlencoded").body(body).send().await;
    }

    pub async fn ask(&self, method: Method, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.client.request(method, format!("{}{path}", self.url)).header("origin", &self.url).header("cookie", &self.cookie);
        Answer::of(request.header("content-type", "application/x-www-form-urlencoded").body(body)).await
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_the_record_bounds_the_truth_and_another_replica_says_interrupted() {
    const KEYS: u64 = 400_000;
    let redis = TestRedis::new().await;
    let app = TestApp::with(config(&redis, ""), Clock::system()).await;
    fill(&redis, (0..KEYS).map(|i| format!("cart:7:{i}").into_bytes())).await;
    let operator = app.signed_in(Role::Operator).await;
    let mut replica = Replica::start(&app, &redis, operator.cookie.as_deref().unwrap());
    let (path, _) = planned(&operator, "cart:7:", "normal").await;
    let fields = [("typed_target", "main"), ("typed_scope", "cart:7:"), ("typed_count", "400000"), ("reason", REASON)];
    led_to(&replica.ask(Method::POST, &path, &fields).await);
    let begun = Instant::now();
    while key_count(&redis).await > KEYS - 60_000 {
        assert!(begun.elapsed() < Duration::from_secs(30), "the flush does not begin");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    replica.child.kill().unwrap();
    replica.child.wait().unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let truth = KEYS - key_count(&redis).await;
    let (removed, granted): (i64, i64) = sqlx::query_as("SELECT removed, granted FROM control.flushes WHERE id = $1")
        .bind(path.rsplit('/').next().unwrap().parse::<i64>().unwrap())
        .fetch_one(app.pool())
        .await
        .unwrap();
    let (removed, granted) = (removed.cast_unsigned(), granted.cast_unsigned());
    assert!(truth < KEYS, "killed in the middle");
    assert!(removed <= truth && truth <= removed + granted, "{removed} ≤ {truth} ≤ {removed} + {granted}");
    let main = wait_for(&operator, &path, &["interrupted"]).await;
    assert_eq!(main["removed"], removed.to_string());
    assert_eq!(KEYS - key_count(&redis).await, truth, "nothing resumes by itself");
    let record = &told(&app, "flush.interrupted").await[0];
    assert_eq!((&record["removed_at_least"], &record["granted"]), (&removed.into(), &granted.into()));
    // a person goes on, with a new plan
    let again = led_to(&operator.post(&path, &[("do", "replan")]).await);
    let rest = wait_for(&operator, &again, &["planned"]).await["planned"].clone();
    led_to(&confirm(&operator, &again, "cart:7:", &rest).await);
    assert_eq!(wait_for(&operator, &again, &["completed"]).await["removed"], rest);
}

/// A record that answers nothing, not even an error, for a while.
async fn freeze(app: &TestApp) -> PgConnection {
    let mut admin = PgConnection::connect(&app.database.admin_url).await.unwrap();
    admin.execute("BEGIN; LOCK TABLE control.flushes IN ACCESS EXCLUSIVE MODE").await.unwrap();
    admin
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_not_committed_in_time_removes_nothing_ever() {
    let redis = TestRedis::new().await;
    let app = TestApp::with(config(&redis, ""), Clock::system()).await;
    fill(&redis, (0..20).map(|i| format!("cart:7:{i}").into_bytes())).await;
    let operator = app.signed_in(Role::Operator).await;
    let (path, _) = planned(&operator, "cart:7:", "fast").await;
    let mut frozen = freeze(&app).await;
    let refused = confirm(&operator, &path, "cart:7:", "20").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    frozen.execute("ROLLBACK").await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(key_count(&redis).await, 20);
    let main = wait_for(&operator, &path, &["planned", "failed"]).await;
    assert_eq!(main["removed"].parse().unwrap_or(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_freezes_pauses_the_flush_and_it_goes_on_when_it_thaws() {
    let redis = TestRedis::new().await;
    let app = TestApp::with(config(&redis, ""), Clock::system()).await;
    fill(&redis, (0..300_000).map(|i| format!("cart:7:{i}").into_bytes())).await;
    let operator = app.signed_in(Role::Operator).await;
    let (path, _) = planned(&operator, "cart:7:", "gentle").await;
    led_to(&confirm(&operator, &path, "cart:7:", "300000").await);
    while key_count(&redis).await > 290_000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut frozen = freeze(&app).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (before, begun) = (key_count(&redis).await, Instant::now());
    let main = data(&operator.page(&path).await, "main");
    assert_eq!(main["state"], "paused", "shown from memory");
    assert!(before > 0, "the credit has an end");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(key_count(&redis).await, before, "nothing more is sent");
    frozen.execute("ROLLBACK").await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(14));
    assert_eq!(wait_for(&operator, &path, &["completed", "failed", "interrupted"]).await["state"], "completed");
    assert_eq!(key_count(&redis).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_stays_away_past_the_lease_fails_the_flush() {
    let redis = TestRedis::new().await;
    let app = TestApp::with(config(&redis, ""), Clock::system()).await;
    fill(&redis, (0..300_000).map(|i| format!("cart:7:{i}").into_bytes())).await;
    let operator = app.signed_in(Role::Operator).await;
    let (path, _) = planned(&operator, "cart:7:", "gentle").await;
    led_to(&confirm(&operator, &path, "cart:7:", "300000").await);
    while key_count(&redis).await > 290_000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    app.database.stop().await;
    tokio::time::sleep(Duration::from_secs(24)).await;
    let left = key_count(&redis).await;
    assert!(left > 0);
    app.database.start().await;
    let main = wait_for(&operator, &path, &["failed", "interrupted", "completed"]).await;
    assert_eq!((main["state"].as_str(), main["removed"].as_str()), ("failed", (300_000 - left).to_string().as_str()));
    assert_eq!(key_count(&redis).await, left);
    assert_eq!(told(&app, "flush.failed").await[0]["cause"], "audit_unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_connections_that_are_cut_are_made_again_and_nothing_is_lost() {
    let redis = TestRedis::new().await;
    let app = TestApp::with(config(&redis, ""), Clock::system()).await;
    fill(&redis, (0..100_000).map(|i| format!("cart:7:{i}").into_bytes())).await;
    let operator = app.signed_in(Role::Operator).await;
    let (path, _) = planned(&operator, "cart:7:", "gentle").await;
    led_to(&confirm(&operator, &path, "cart:7:", "100000").await);
    let mut conn = redis.connect().await;
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let () = redis::cmd("CLIENT").arg("KILL").arg("USER").arg("sw_flush").query_async::<i64>(&mut conn).await.map(drop).unwrap();
    }
    let main = wait_for(&operator, &path, &["completed", "completed_with_residue", "failed"]).await;
    assert_eq!((main["state"].as_str(), main["residue"].as_str()), ("completed", "0"));
    assert_eq!(main["removed"].parse::<u64>().unwrap() + main["gone"].parse::<u64>().unwrap(), 100_000);
    assert_eq!(key_count(&redis).await, 0);
}

/// The server dies at every place between two steps of the record and of Redis: the bound holds each time, and nothing is called completed.
#[tokio::test(flavor = "multi_thread")]
async fn wherever_the_server_dies_the_record_bounds_the_truth() {
    const KEYS: u64 = 30_000;
    let redis = TestRedis::new().await;
    let app = TestApp::with(config(&redis, ""), Clock::system()).await;
    let operator = app.signed_in(Role::Operator).await;
    let places = [
        "intent_committed",
        "running_committed",
        "keys_admitted",
        "keys_answered",
        "row_begun",
        "row_committed",
        "verifying_committed",
        "outcome_due",
    ];
    for (round, place) in places.into_iter().enumerate() {
        let scope = format!("cart{round}:");
        fill(&redis, (0..KEYS).map(|i| format!("{scope}{i}").into_bytes())).await;
        let before = key_count(&redis).await;
        let (path, _) = planned(&operator, &scope, "normal").await;
        let text = config_text(&redis.url, &redis.flush, "");
        let mut replica = Replica::start_with(&app, &text, operator.cookie.as_deref().unwrap(), &[("STALEWATCH_FAILPOINT", place)]);
        let fields = [("typed_target", "main"), ("typed_scope", scope.as_str()), ("typed_count", &KEYS.to_string()), ("reason", REASON)];
        replica.try_ask(&path, &fields).await;
        let begun = Instant::now();
        while replica.child.try_wait().unwrap().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(30), "{place} is never reached");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // What was sent is carried out, whoever sent it.
        let mut truth = before - key_count(&redis).await;
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = before - key_count(&redis).await;
            if now == truth {
                break;
            }
            truth = now;
        }
        let id: i64 = path.rsplit('/').next().unwrap().parse().unwrap();
        let (removed, granted): (i64, i64) =
            sqlx::query_as("SELECT removed, granted FROM control.flushes WHERE id = $1").bind(id).fetch_one(app.pool()).await.unwrap();
        let (removed, granted) = (removed.cast_unsigned(), granted.cast_unsigned());
        assert!(removed <= truth && truth <= removed + granted, "{place}: {removed} ≤ {truth} ≤ {removed} + {granted}");
        // The lease is over.
        let expire = "UPDATE control.flushes SET lease_until = clock_timestamp() - interval '1 s' WHERE id = $1";
        sqlx::query(expire).bind(id).execute(app.pool()).await.unwrap();
        let main = wait_for(&operator, &path, &["interrupted"]).await;
        assert_eq!(main["removed"].parse::<u64>().unwrap_or(0), removed, "{place}");
        let record = told(&app, "flush.interrupted").await.pop().unwrap();
        let most = record["removed_at_least"].as_u64().unwrap_or(0) + record["granted"].as_u64().unwrap_or(0);
        assert!(record["removed_at_least"].as_u64().unwrap_or(0) <= truth && truth <= most, "{place}: {record}");
        if place == "intent_committed" || place == "running_committed" || place == "keys_admitted" {
            assert_eq!(truth, 0, "{place}");
        }
    }
}

/// Twenty plans of one target are confirmed at the same time at two replicas.
#[tokio::test(flavor = "multi_thread")]
async fn of_twenty_starts_at_once_on_two_replicas_one_runs() {
    let (servers, _folder) = own_servers().await;
    let redis = servers.redis.as_ref().unwrap();
    let (user, password) = redis.flush_identity();
    let text = config_text(&redis.url(), &(user.to_owned(), password.to_owned()), "");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &text).unwrap();
    let app = TestApp::with(Config::load(Some(file.path()), &Environment::default()).unwrap(), Clock::system()).await;
    let mut conn = redis::Client::open(redis.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let mut pipe = redis::pipe();
    for i in 0..1_000 {
        pipe.cmd("SET").arg(format!("cart:{i}")).arg(1).ignore();
    }
    let () = pipe.query_async(&mut conn).await.unwrap();
    let (operator, admin) = (app.signed_in(Role::Operator).await, app.signed_in(Role::Admin).await);
    let mut plans = Vec::new();
    for browser in [&operator, &admin] {
        for _ in 0..10 {
            plans.push((browser, planned(browser, "cart:", "normal").await.0));
        }
    }
    let others = [&operator, &admin].map(|browser| Replica::start_with(&app, &text, browser.cookie.as_deref().unwrap(), &[]));
    // Whichever starts has to wait, so that none can follow it.
    let () = redis::cmd("CLIENT").arg("PAUSE").arg(60_000).arg("WRITE").query_async(&mut conn).await.unwrap();
    let fields = [("typed_target", "main"), ("typed_scope", "cart:"), ("typed_count", "1000"), ("reason", REASON)];
    let starts = plans.iter().enumerate().map(|(i, (browser, path))| {
        let (others, fields) = (&others, &fields);
        async move {
            let answer = if i % 2 == 0 { browser.post(path, fields).await } else { others[i / 10].ask(Method::POST, path, fields).await };
            (path.clone(), answer.status, answer.refusal())
        }
    });
    let answers = futures::future::join_all(starts).await;
    let () = redis::cmd("CLIENT").arg("UNPAUSE").query_async(&mut conn).await.unwrap();
    let (started, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, status, _)| *status == StatusCode::SEE_OTHER);
    assert_eq!(started.len(), 1, "{started:?}");
    for (path, status, code) in &refused {
        assert_eq!((*status, code.as_deref()), (StatusCode::CONFLICT, Some("another_active")), "{path}");
    }
    wait_for(&operator, &started[0].0, &["completed"]).await;
    assert_eq!(redis::cmd("DBSIZE").query_async::<u64>(&mut conn).await.unwrap(), 0);
    assert_eq!(told(&app, "flush.started").await.len(), 1);
    servers.stop().await;
}

/// A worker that was stopped for longer than its lease does nothing after the batch in flight once it goes on.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "waits for a lease of 20 s to run out: make test-faults"]
async fn a_worker_that_slept_past_its_lease_removes_nothing_more() {
    const KEYS: u64 = 400_000;
    let redis = TestRedis::new().await;
    let app = TestApp::with(config(&redis, ""), Clock::system()).await;
    fill(&redis, (0..KEYS).map(|i| format!("cart:{i}").into_bytes())).await;
    let operator = app.signed_in(Role::Operator).await;
    let replica = Replica::start(&app, &redis, operator.cookie.as_deref().unwrap());
    let (path, _) = planned(&operator, "cart:", "gentle").await;
    let fields = [("typed_target", "main"), ("typed_scope", "cart:"), ("typed_count", "400000"), ("reason", REASON)];
    led_to(&replica.ask(Method::POST, &path, &fields).await);
    let begun = Instant::now();
    while key_count(&redis).await > KEYS - 20_000 {
        assert!(begun.elapsed() < Duration::from_secs(30), "the flush does not begin");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let pid = rustix::process::Pid::from_child(&replica.child);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    assert!(key_count(&redis).await > 0, "it was stopped in the middle");
    wait_for(&operator, &path, &["interrupted"]).await;
    let left = key_count(&redis).await;
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    // Long enough for all of the rest, had it gone on.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let after = key_count(&redis).await;
    assert!(left - after <= 1_500, "{} keys went after the lease was over", left - after);
    assert_eq!(wait_for(&operator, &path, &["interrupted"]).await["state"], "interrupted");
}

/// The identity that may remove has a connection only while something is planned or removed.
#[tokio::test(flavor = "multi_thread")]
async fn the_flush_identity_is_connected_only_while_it_works() {
    let redis = TestRedis::new().await;
    let app = TestApp::with(config(&redis, ""), Clock::system()).await;
    fill(&redis, (0..200_000).map(|i| format!("cart:{i}").into_bytes())).await;
    let connected = async || {
        let list: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut redis.connect().await).await.unwrap();
        let own = format!(" db={} ", redis.database());
        list.lines().filter(|line| line.contains("user=sw_flush") && line.contains(&own)).count()
    };
    // Redis notices a closed connection a moment later.
    let leaves = async |when: &str| {
        let begun = Instant::now();
        while connected().await > 0 {
            assert!(begun.elapsed() < Duration::from_secs(3), "{when}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let operator = app.signed_in(Role::Operator).await;
    operator.page("/flush").await;
    assert_eq!(connected().await, 0, "a console that is only looked at");
    let (path, _) = planned(&operator, "cart:", "gentle").await;
    leaves("a plan that waits").await;
    led_to(&confirm(&operator, &path, "cart:", "200000").await);
    wait_for(&operator, &path, &["running"]).await;
    assert!(connected().await > 0, "at work");
    wait_for(&operator, &path, &["completed"]).await;
    leaves("done").await;
}
