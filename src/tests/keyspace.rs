//! Keyspace events of a real Redis: misses are counted once, and what could not be heard is said.

use crate::support::{TestApp, TestDatabase, text};
use stalewatch::domain::operator::Role;
use stalewatch::server::clock::Clock;
use stalewatch::server::config::{Config, Environment, TargetUrls};
use stalewatch::server::run::{Databases, Server};
use stalewatch::server::service::listening::Heard;
use stalewatch::server::state::AppState;
use std::fmt::Write as _;
use std::future::Future;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const LINE: &str = "CONFIG SET notify-keyspace-events Exegmn";

/// Redis servers of one test alone, on sockets or, as a cluster, on ports.
struct Own {
    children: Vec<Child>,
    folder: tempfile::TempDir,
    ports: Vec<u16>,
}

impl Own {
    async fn start(notify: &str) -> Self {
        let mut own = Self { children: Vec::new(), folder: tempfile::tempdir().unwrap(), ports: Vec::new() };
        let socket = own.folder.path().join("s");
        own.spawn(&["--port", "0", "--unixsocket", socket.to_str().unwrap(), "--notify-keyspace-events", notify]);
        let url = own.url();
        until("redis-server", || ready(open(&url).is_ok())).await;
        own
    }

    /// Three masters.
    async fn cluster(notify: &str) -> Self {
        let mut own = Self { children: Vec::new(), folder: tempfile::tempdir().unwrap(), ports: Vec::new() };
        for _ in 0..3 {
            let port = free_port();
            own.ports.push(port);
            let (text, file) = (port.to_string(), format!("nodes-{port}.conf"));
            own.spawn(&["--port", &text, "--cluster-enabled", "yes", "--cluster-config-file", &file, "--notify-keyspace-events", notify]);
        }
        for port in &own.ports {
            until("redis-server", || ready(open(&format!("redis://127.0.0.1:{port}")).is_ok())).await;
        }
        let nodes = own.ports.iter().map(|port| format!("127.0.0.1:{port}"));
        let made = Command::new("redis-cli").args(["--cluster", "create"]).args(nodes).arg("--cluster-yes").output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        own
    }

    fn spawn(&mut self, arguments: &[&str]) {
        let mut server = Command::new("redis-server");
        server.args(["--save", "", "--appendonly", "no", "--dir"]).arg(self.folder.path()).args(arguments);
        self.children.push(server.stdout(Stdio::null()).spawn().unwrap());
    }

    fn url(&self) -> String {
        format!("redis+unix://{}", self.folder.path().join("s").display())
    }

    /// As an application reads: each key once, which is not there.
    fn miss(&self, keys: impl IntoIterator<Item = String>) {
        let mut con = open(&self.url()).unwrap();
        for key in keys {
            assert_eq!(redis::cmd("GET").arg(key).query::<Option<String>>(&mut con).unwrap(), None);
        }
    }

    fn say(&self, words: &[&str]) {
        let mut con = open(&self.url()).unwrap();
        let () = redis::cmd(words[0]).arg(&words[1..]).query(&mut con).unwrap();
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Free, and free 10,000 above, where cluster nodes talk.
fn free_port() -> u16 {
    loop {
        let port = rand::random_range(20_000..30_000);
        if [port, port + 10_000].iter().all(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()) {
            return port;
        }
    }
}

fn open(url: &str) -> redis::RedisResult<redis::Connection> {
    redis::Client::open(url).unwrap().get_connection()
}

fn ready(holds: bool) -> std::future::Ready<bool> {
    std::future::ready(holds)
}

async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let begun = std::time::Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_mins(1), "{what} did not come");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn config(place: &str) -> Config {
    let mut text = format!("[[target]]\nname = \"main\"\n{place}\nnotifications = true\n");
    for prefix in ["user:{id}:profile", "cart:{id}"] {
        write!(text, "[[prefix]]\nname = \"{prefix}\"\ntarget = \"main\"\n").unwrap();
    }
    let nothing: Environment = std::iter::empty::<(String, String)>().collect();
    Config::read(&text, "stalewatch.toml", Path::new("."), &nothing, TargetUrls::Required).unwrap()
}

fn config_of(own: &Own) -> Config {
    config(&format!("url = \"{}\"", own.url()))
}

fn heard(app: &AppState) -> Heard {
    app.listening.of("main")
}

/// Waits until whatever is missed from now on is counted.
async fn until_listening(app: &AppState) {
    until("listening", || ready(heard(app).since.is_some_and(|since| since <= app.clock.now()))).await;
}

/// Misses by prefix, as raw events hold them; no prefix is `unclassified`.
async fn misses(app: &AppState) -> Vec<(String, i64)> {
    sqlx::query_as(
        "SELECT p.name, sum(misses)::bigint FROM events.raw r JOIN events.prefixes p USING (prefix_id)
         WHERE kind = 1 AND origin = 5 AND hits IS NULL AND stale_served IS NULL AND errors IS NULL GROUP BY 1 ORDER BY 1",
    )
    .fetch_all(&app.pools.events)
    .await
    .unwrap()
}

async fn gaps(app: &AppState) -> Vec<String> {
    sqlx::query_scalar("SELECT why FROM events.gaps WHERE target_id <> 0 ORDER BY from_at").fetch_all(&app.pools.events).await.unwrap()
}

fn expected(profile: i64, cart: i64, unclassified: i64) -> Vec<(String, i64)> {
    let all = [("cart:{id}", cart), ("unclassified", unclassified), ("user:{id}:profile", profile)];
    all.into_iter().filter(|(_, misses)| *misses > 0).map(|(name, misses)| (name.to_owned(), misses)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn misses_are_counted_by_prefix_and_pages_invent_no_rate() {
    let own = Own::start("Exegmn").await;
    let test = TestApp::with(config_of(&own), Clock::system()).await;
    until_listening(&test.app).await;
    own.say(&["SET", "cart:there", "1"]);
    own.miss((0..30).map(|id| format!("user:{id}:profile")).chain((0..7).map(|id| format!("cart:{id}"))));
    own.miss((0..5).map(|id| format!("nowhere:{id}")));
    until("the window", || async { misses(&test.app).await == expected(30, 7, 5) }).await;
    assert_eq!(gaps(&test.app).await, [] as [&str; 0]);
    let now = heard(&test.app);
    assert!(now.troubles.is_empty() && now.last_event_at.is_some(), "{now:?}");

    let admin = test.signed_in(Role::Admin).await;
    assert!(text(&admin.page("/settings").await, "[data-listening=true]").unwrap().contains("listening since"));
    let page = admin.page("/?range=1h").await;
    let rows = scraper::Selector::parse("tbody tr").unwrap();
    let rows = page.select(&rows).map(|row| row.text().collect::<String>());
    let profile: Vec<String> = rows.filter(|row| row.contains("profile")).collect();
    // 30 misses in an hour, and no rate.
    assert!(profile.len() == 1 && profile[0].contains("0.5") && !profile[0].contains('%'), "{profile:?}");
    let chart = text(&admin.page("/prefixes/user:%7Bid%7D:profile?range=1h").await, "#miss figcaption").unwrap();
    assert!(chart.contains("30 misses; hits not measured, so no rate · from keyspace") && !chart.contains('%'), "{chart}");
    let series = |metric: &str| format!("/api/v1/series?prefix=user:%7Bid%7D:profile&from=-1h&metric={metric}");
    let counted = admin.get(&series("misses")).await.json();
    assert_eq!((&counted["origin"], &counted["total"]["value"]), (&"keyspace".into(), &30.0.into()));
    for unknown in ["hits", "miss_rate", "stale_served", "access_errors"] {
        let answer = admin.get(&series(unknown)).await.json();
        assert_eq!((&answer["origin"], &answer["total"]["value"]), (&serde_json::Value::Null, &serde_json::Value::Null), "{unknown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_redis_does_not_announce_is_said_with_the_line_that_mends_it() {
    let own = Own::start("").await;
    let test = TestApp::with(config_of(&own), Clock::system()).await;
    until_listening(&test.app).await;
    own.miss((0..3).map(|id| format!("cart:{id}")));
    let admin = test.signed_in(Role::Admin).await;
    assert_eq!(heard(&test.app).troubles[0].mend, LINE);
    for (path, place) in [("/settings", "main"), ("/", "ul.strip")] {
        let said = text(&admin.page(path).await, place).unwrap();
        assert!(said.contains("does not announce misses") && said.contains(LINE), "{path}: {said}");
    }
    assert_eq!(
        redis::cmd("CONFIG").arg("GET").arg("notify-keyspace-events").query::<(String, String)>(&mut open(&own.url()).unwrap()).unwrap().1,
        ""
    );

    own.say(&["CONFIG", "SET", "notify-keyspace-events", "Exegmn"]);
    own.miss((0..4).map(|id| format!("cart:{id}")));
    until("the window", || async { misses(&test.app).await == expected(0, 4, 0) }).await;
    until("the notice", || ready(heard(&test.app).troubles.is_empty())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_disconnect_the_gap_is_noted_and_counting_goes_on() {
    let own = Own::start("Exegmn").await;
    let test = TestApp::with(config_of(&own), Clock::system()).await;
    until_listening(&test.app).await;
    own.miss((0..6).map(|id| format!("cart:{id}")));
    until("the misses", || ready(heard(&test.app).last_event_at.is_some())).await;
    let since = heard(&test.app).since;
    own.say(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    until("the next connection", || ready(heard(&test.app).since.is_some_and(|now| Some(now) > since))).await;
    own.miss((0..5).map(|id| format!("user:{id}:profile")));
    until("the window", || async { misses(&test.app).await == expected(5, 6, 0) }).await;
    let gaps = gaps(&test.app).await;
    assert!(gaps.len() == 1 && gaps[0].starts_with("keyspace events were not heard"), "{gaps:?}");
}

/// A second replica over the same database.
async fn replica(database: &TestDatabase, config: Config) -> (AppState, CancellationToken) {
    let listener = stalewatch::server::door::listen("127.0.0.1:0").await.unwrap();
    let server = Server::prepare(listener, config, Clock::system(), &Databases::one(database.url.clone())).await.unwrap();
    let (app, ending) = (server.app.clone(), CancellationToken::new());
    tokio::spawn(server.run(ending.clone().cancelled_owned()));
    (app, ending)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_count_once_and_the_second_takes_over() {
    let own = Own::start("Exegmn").await;
    let test = TestApp::with(config_of(&own), Clock::system()).await;
    until_listening(&test.app).await;
    let folder = tempfile::tempdir().unwrap();
    let (second, _ending) = replica(&test.database, Config { data_dir: folder.path().to_owned(), ..config_of(&own) }).await;
    until("the second looks on", || ready(heard(&second).elsewhere)).await;
    own.miss((0..9).map(|id| format!("cart:{id}")));
    until("the window", || async { misses(&second).await == expected(0, 9, 0) }).await;

    test.end();
    until_listening(&second).await;
    own.miss((0..2).map(|id| format!("cart:{id}")));
    until("the window", || async { misses(&second).await == expected(0, 11, 0) }).await;
    assert_eq!(gaps(&second).await, ["nobody listened to its keyspace events"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_master_of_a_cluster_is_listened_to() {
    let own = Own::cluster("Exegmn").await;
    let nodes = own.ports.iter().map(|port| format!("\"127.0.0.1:{port}\"")).collect::<Vec<_>>().join(", ");
    let test = TestApp::with(config(&format!("cluster = [{nodes}]")), Clock::system()).await;
    until_listening(&test.app).await;
    // Each master knows whose the key is; only the owner misses it.
    let mut missed = 0;
    for port in &own.ports {
        let mut con = open(&format!("redis://127.0.0.1:{port}")).unwrap();
        for id in 0..40 {
            missed += i64::from(redis::cmd("GET").arg(format!("cart:{id}")).query::<Option<String>>(&mut con).is_ok());
        }
    }
    assert_eq!(missed, 40);
    until("the window", || async { misses(&test.app).await == expected(0, 40, 0) }).await;
    let leases: i64 = sqlx::query_scalar("SELECT count(*) FROM events.leases WHERE name LIKE 'keyspace.main.%'")
        .fetch_one(&test.app.pools.events)
        .await
        .unwrap();
    assert_eq!(leases, 3);
}
