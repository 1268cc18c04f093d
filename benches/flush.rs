//! A flush against what Redis could do if we did nothing else, and against two other ways to do it: 1 M small keys, 10 % of them in scope, one
//! Redis. Ours goes through its public door: plan, confirmation, audit, progress, verification.
//!
//! floor = a SCAN of the whole keyspace (COUNT 10000, MATCH nothing) + an UNLINK of the same keys already known (1,000 a command, 8 in flight).
//! Every figure is a ratio of medians over rounds in which all ways take turns. `STALEWATCH_BENCH_KEYS` sets another size.

mod median;
mod report;
mod serve;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use median::median;
use redis::{Connection, Value, cmd};
use reqwest::header::{COOKIE, HeaderMap, LOCATION, ORIGIN, RETRY_AFTER, SET_COOKIE};
use scraper::{Html, Selector};
use serve::Serve;
use stalewatch::server::config::Environment;
use stalewatch::server::private::{Claim, DataFolder, Durability, Holder, Rights, Servers};
use stalewatch::server::run::Databases;

const ROUNDS: usize = 5;
/// One key in ten is in scope.
const SHARE: usize = 10;
const SCOPE: &str = "user:{id}:summary";

fn key(i: usize) -> String {
    if i.is_multiple_of(SHARE) { format!("user:{i}:summary") } else { format!("other:{i}:value") }
}

/// What each way took, in seconds, and what a bystander felt, in milliseconds: p50 and p99.
#[derive(Default)]
struct Taken(BTreeMap<&'static str, Vec<f64>>);

impl Taken {
    fn note(&mut self, way: &'static str, value: f64) {
        self.0.entry(way).or_default().push(value);
    }

    fn median(&self, way: &str) -> f64 {
        median(&self.0[way])
    }
}

/// The server with sessions of several people: each may plan ten flushes an hour.
struct Console {
    serve: Serve,
    client: reqwest::Client,
    cookies: Vec<String>,
    database: sqlx::PgPool,
    planned: usize,
}

#[tokio::main]
async fn main() {
    let keys = Environment::from_process().get("STALEWATCH_BENCH_KEYS").and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let Ok(Claim::Held(held)) = DataFolder::claim(&folder.path().join("servers"), Holder::Server).await else {
        panic!("a new folder is free")
    };
    let servers = Servers::start(held, Durability::Full, Some(&Rights::default())).await.expect("Postgres and Redis start");
    let redis = servers.redis.as_ref().expect("a Redis was asked for");
    let (url, read_url) = (redis.url(), redis.read_url());
    let (user, password) = redis.flush_identity();
    let secret = folder.path().join("password");
    std::fs::write(&secret, password).expect("the folder can be written");
    let config = folder.path().join("stalewatch.toml");
    let text = format!(
        "[[target]]\nname = \"main\"\nurl = \"{read_url}\"\nflush = {{ user = \"{user}\", password_file = \"{}\" }}\nmax_flushes_per_hour = 1000\napprovals = \"never\"\n\
         [[prefix]]\nname = \"{SCOPE}\"\ntarget = \"main\"\n",
        secret.display()
    );
    std::fs::write(&config, text).expect("the folder can be written");
    let databases = Databases::private(servers.postgres.notes()).expect("Postgres runs");
    databases.migrate().await.expect("the schema comes up");
    let mut console = Console::start(&servers.postgres.database_url(), &config, &folder.path().join("data")).await;

    let mut taken = Taken::default();
    let mut con = connect(&url);
    for round in 0..ROUNDS {
        for way in ["floor", "ours", "redis_cli", "insight", "ours_normal", "ours_bystander", "insight_bystander"] {
            fill(&mut con, keys);
            match way {
                "floor" => {
                    let (scan, all) = floor(&mut con, keys);
                    taken.note("scan", scan);
                    taken.note("floor", all);
                }
                "redis_cli" => taken.note(way, redis_cli(&url)),
                "insight" => taken.note(way, insight(&url)),
                "insight_bystander" => {
                    let (p50, p99) = beside(&url, async || insight(&url)).await;
                    taken.note("insight_p50", p50);
                    taken.note("insight_p99", p99);
                }
                "ours_bystander" => {
                    let plan = console.plan("normal").await;
                    let (p50, p99) = beside(&url, async || console.flush(&plan).await.0).await;
                    taken.note("ours_p50", p50);
                    taken.note("ours_p99", p99);
                }
                way => {
                    let plan = console.plan(if way == "ours" { "fast" } else { "normal" }).await;
                    let (removal, whole) = console.flush(&plan).await;
                    taken.note(way, removal);
                    taken.note(if way == "ours" { "ours_verified" } else { "ours_normal_verified" }, whole);
                }
            }
            let left: usize = cmd("DBSIZE").query(&mut con).expect("Redis answers");
            assert_eq!(left, keys - keys.div_ceil(SHARE), "{way} removes exactly the scope");
        }
        println!("round {} of {ROUNDS} done", round + 1);
    }
    drop(console);
    servers.stop().await;

    println!("\nmedians over {ROUNDS} rounds, {keys} keys, {} in scope", keys.div_ceil(SHARE));
    println!("{:<28} {:>10} {:>14}", "way", "seconds", "speed, floor=1");
    let floor = taken.median("floor");
    for way in ["floor", "ours", "ours_normal", "ours_verified", "redis_cli", "insight"] {
        println!("{way:<28} {:>10.3} {:>14.2}", taken.median(way), floor / taken.median(way));
    }
    for way in ["ours_p50", "ours_p99", "insight_p50", "insight_p99"] {
        println!("bystander {way:<18} {:>10.2} ms", taken.median(way));
    }
    println!();
    report::publish(&[
        ("flush.floor_ratio", floor / taken.median("ours"), ">= 0.9 (0.8): removal with audit and progress, pace fast"),
        ("flush.verified_ratio", (floor + taken.median("scan")) / taken.median("ours_verified"), ">= 0.85 (0.75): start to outcome"),
        ("flush.vs_redis_cli", taken.median("redis_cli") / taken.median("ours"), ">= 4.5 (4)"),
        ("flush.vs_insight", taken.median("insight") / taken.median("ours"), ">= 1.3 (1.15)"),
        ("flush.bystander_p99_ratio", taken.median("ours_p99") / taken.median("insight_p99"), "<= 0.1 (0.2): pace normal"),
    ]);
}

fn connect(url: &str) -> Connection {
    redis::Client::open(url).and_then(|client| client.get_connection()).expect("the private Redis answers")
}

/// Brings every key (back).
fn fill(con: &mut Connection, keys: usize) {
    let size: usize = cmd("DBSIZE").query(con).expect("Redis answers");
    let step = if size == 0 { 1 } else { SHARE };
    let all: Vec<usize> = (0..keys).step_by(step).collect();
    for some in all.chunks(10_000) {
        let mut pipe = redis::pipe();
        for i in some {
            pipe.cmd("SET").arg(key(*i)).arg("a small value").ignore();
        }
        pipe.query::<()>(con).expect("Redis takes what it is given");
    }
    // the server has a moment to itself
    std::thread::sleep(Duration::from_millis(200));
}

/// One SCAN page.
fn scan(con: &mut Connection, cursor: u64, pattern: &str, count: u32) -> (u64, Vec<Vec<u8>>) {
    cmd("SCAN").arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(count).query(con).expect("SCAN answers")
}

/// Seconds of the scan alone, and of all.
fn floor(con: &mut Connection, keys: usize) -> (f64, f64) {
    let known: Vec<String> = (0..keys).step_by(SHARE).map(key).collect();
    let commands: Vec<Vec<u8>> = known.chunks(1_000).map(|some| cmd("UNLINK").arg(some).get_packed_command()).collect();
    let begun = Instant::now();
    let mut cursor = 0;
    loop {
        cursor = scan(con, cursor, "no such key", 10_000).0;
        if cursor == 0 {
            break;
        }
    }
    let scanned = begun.elapsed().as_secs_f64();
    let mut in_flight = 0;
    for command in &commands {
        if in_flight == 8 {
            con.recv_response().expect("UNLINK answers");
            in_flight -= 1;
        }
        con.send_packed_command(command).expect("UNLINK is sent");
        in_flight += 1;
    }
    for _ in 0..in_flight {
        con.recv_response().expect("UNLINK answers");
    }
    (scanned, begun.elapsed().as_secs_f64())
}

/// What a runbook says.
fn redis_cli(url: &str) -> f64 {
    let begun = Instant::now();
    let pipe = format!(
        "redis-cli --no-auth-warning -u '{url}' --scan --pattern 'user:*:summary' | xargs redis-cli --no-auth-warning -u '{url}' unlink"
    );
    let done = Command::new("sh").args(["-c", &pipe]).stdout(Stdio::null()).status().expect("sh runs");
    assert!(done.success(), "redis-cli works");
    begun.elapsed().as_secs_f64()
}

/// `RedisInsight`'s bulk delete: COUNT 10000, then one UNLINK for each key found, in turn.
fn insight(url: &str) -> f64 {
    let mut con = connect(url);
    let begun = Instant::now();
    let mut cursor = 0;
    loop {
        let (next, found) = scan(&mut con, cursor, "user:*:summary", 10_000);
        if !found.is_empty() {
            let mut pipe = redis::pipe();
            for key in &found {
                pipe.cmd("UNLINK").arg(key);
            }
            pipe.query::<Vec<Value>>(&mut con).expect("UNLINK answers");
        }
        cursor = next;
        if cursor == 0 {
            return begun.elapsed().as_secs_f64();
        }
    }
}

/// What an open-loop client with 1,000 GETs a second on its own connection feels beside `work`: p50 and p99 in milliseconds. It sends on time
/// whether or not the last one was answered, so that a stall of T shows as T.
async fn beside(url: &str, mut work: impl AsyncFnMut() -> f64) -> (f64, f64) {
    const REPLY: &[u8] = b"$13\r\na small value\r\n";
    let (address, password) = {
        let info = redis::IntoConnectionInfo::into_connection_info(url).expect("a Redis URL");
        (info.addr().to_string(), info.redis_settings().password().expect("a password").to_owned())
    };
    let mut sending = TcpStream::connect(address).expect("the private Redis answers");
    sending.set_nodelay(true).expect("a socket takes options");
    sending.write_all(&cmd("AUTH").arg(password).get_packed_command()).expect("AUTH is sent");
    sending.read_exact(&mut [0; 5]).expect("+OK");
    let mut receiving = sending.try_clone().expect("a socket has two ends");
    receiving.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket takes options");
    let (sent, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let begun = Instant::now();
    let due = move |i: usize| begun + Duration::from_millis(i as u64);
    let sender = std::thread::spawn({
        let (sent, done) = (Arc::clone(&sent), Arc::clone(&done));
        let get = cmd("GET").arg("other:1:value").get_packed_command();
        move || {
            for i in 0.. {
                std::thread::sleep(due(i).saturating_duration_since(Instant::now()));
                sending.write_all(&get).expect("GET is sent");
                sent.store(i + 1, Ordering::SeqCst);
                if done.load(Ordering::SeqCst) {
                    return;
                }
            }
        }
    });
    let receiver = std::thread::spawn({
        let (sent, done) = (Arc::clone(&sent), Arc::clone(&done));
        move || {
            let (mut felt, mut reply) = (Vec::new(), [0; REPLY.len()]);
            while !(done.load(Ordering::SeqCst) && felt.len() >= sent.load(Ordering::SeqCst)) {
                if receiving.read_exact(&mut reply).is_err() {
                    // it waited for one more than was sent
                    assert!(done.load(Ordering::SeqCst), "GET answers");
                    break;
                }
                assert_eq!(reply, REPLY, "a bystander's key stays");
                felt.push(due(felt.len()).elapsed().as_secs_f64() * 1e3);
            }
            felt
        }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    work().await;
    done.store(true, Ordering::SeqCst);
    sender.join().expect("the sender ends");
    let mut felt = receiver.join().expect("the receiver ends");
    felt.sort_by(f64::total_cmp);
    let at = |share: usize| felt[(felt.len() * share / 100).min(felt.len() - 1)];
    (at(50), at(99))
}

impl Console {
    async fn start(database_url: &str, config: &std::path::Path, data: &std::path::Path) -> Self {
        let serve = Serve::start(database_url, config, data);
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a plain client");
        let database = sqlx::PgPool::connect(database_url).await.expect("Postgres answers");
        let mut console = Self { serve, client, cookies: Vec::new(), database, planned: 0 };
        for email in ["a@example.com", "b@example.com", "c@example.com"] {
            let user = console.serve.run(&["user", "add", "--email", email, "--role", "operator", "--generate", "--json"]);
            let password = user["password"].as_str().expect("a password");
            let answer = console.post("/sign-in", "", &[("email", email), ("password", password)]).await;
            console.cookies.push(answer[SET_COOKIE].to_str().expect("a cookie").split(';').next().expect("name and value").to_owned());
        }
        console
    }

    /// A form that has to be accepted.
    async fn post(&self, path: &str, cookie: &str, fields: &[(&str, &str)]) -> HeaderMap {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.client.post(format!("{}{path}", self.serve.url)).header(ORIGIN, &self.serve.url).header(COOKIE, cookie);
        let response =
            request.header("content-type", "application/x-www-form-urlencoded").body(body).send().await.expect("the server answers");
        assert_eq!(response.status(), 303, "{path} is accepted; Retry-After: {:?}", response.headers().get(RETRY_AFTER));
        response.headers().clone()
    }

    /// `data-…` of the flush's page.
    async fn look(&self, path: &str, cookie: &str) -> BTreeMap<String, String> {
        let response =
            self.client.get(format!("{}{path}", self.serve.url)).header(COOKIE, cookie).send().await.expect("the server answers");
        let page = Html::parse_document(&response.text().await.expect("a whole page"));
        let main = page.select(&Selector::parse("main").expect("a selector")).next().expect("a page has a main part");
        main.value().attrs().filter_map(|(name, value)| Some((name.strip_prefix("data-")?.to_owned(), value.to_owned()))).collect()
    }

    /// A fresh plan: path, cookie of its author, and count.
    async fn plan(&mut self, pace: &str) -> (String, String, String) {
        let cookie = self.cookies[self.planned / 10 % self.cookies.len()].clone();
        self.planned += 1;
        let fields = [("target", "main"), ("scope", SCOPE), ("mode", "flush"), ("pace", pace)];
        let path = self.post("/flush", &cookie, &fields).await[LOCATION].to_str().expect("a path").to_owned();
        loop {
            let shown = self.look(&path, &cookie).await;
            if shown["state"] == "planned" {
                return (path, cookie, shown["planned"].clone());
            }
            assert_eq!(shown["state"], "planning", "the plan succeeds");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Confirms and waits for the outcome: seconds of the removal alone, and from the confirmation's form to the outcome, by the record.
    async fn flush(&self, (path, cookie, count): &(String, String, String)) -> (f64, f64) {
        let sent: f64 = self.clock().await;
        let reason = "a benchmark of the whole way through the public door";
        self.post(path, cookie, &[("typed_target", "main"), ("typed_scope", SCOPE), ("typed_count", count), ("reason", reason)]).await;
        let number: i64 = path.rsplit('/').next().and_then(|id| id.parse().ok()).expect("a flush has a number");
        loop {
            let times: Vec<(String, f64)> = sqlx::query_as(
                "SELECT code, extract(epoch FROM at)::float8 FROM audit.log
                 WHERE code IN ('flush.started', 'flush.verifying', 'flush.finished') AND convert_from(canonical, 'UTF8')::jsonb -> 'flush' = to_jsonb($1)",
            )
            .bind(number)
            .fetch_all(&self.database)
            .await
            .expect("the record can be read");
            let at: BTreeMap<_, _> = times.into_iter().collect();
            if let Some(finished) = at.get("flush.finished") {
                let page = self.look(path, cookie).await;
                assert_eq!((page["state"].as_str(), page["removed"].as_str()), ("completed", count.as_str()), "{page:?}");
                return (at["flush.verifying"] - at["flush.started"], finished - sent);
            }
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }

    /// The database's time, by which the record goes.
    async fn clock(&self) -> f64 {
        sqlx::query_scalar("SELECT extract(epoch FROM clock_timestamp())::float8")
            .fetch_one(&self.database)
            .await
            .expect("Postgres answers")
    }
}
