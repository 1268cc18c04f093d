//! Events in, from the socket to the disk, against what Postgres could take if we did nothing else.
//!
//! Ours: `stalewatch serve` over its public door, eight clients that send bodies of 500 events (six types, 1,000 prefixes) one after the other;
//! every answer comes after a durable commit. floor = COPY BINARY of the very same rows into the same tables and indexes, 50,000 a transaction.
//! Both in turn, medians over the rounds. `STALEWATCH_BENCH_EVENTS` sets another number of events a round.

mod median;
mod report;
mod serve;

use median::median;
use serve::Serve;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use stalewatch::server::config::Environment;
use stalewatch::server::private::{Claim, DataFolder, Durability, Holder, Servers};
use stalewatch::server::run::Databases;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const CLIENTS: usize = 8;
const BODY: usize = 500;
const PREFIXES: usize = 1_000;
/// Rows of one transaction of the floor.
const COPIED: usize = 50_000;
/// How long answers are timed at half the rate.
const TIMED: Duration = Duration::from_secs(8);

#[tokio::main]
async fn main() {
    let events = Environment::from_process().get("STALEWATCH_BENCH_EVENTS").and_then(|text| text.parse().ok()).unwrap_or(200_000);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let Ok(Claim::Held(held)) = DataFolder::claim(&folder.path().join("servers"), Holder::Server).await else {
        panic!("a new folder is free")
    };
    let servers = Servers::start(held, Durability::Full, None).await.expect("Postgres starts");
    let config = folder.path().join("stalewatch.toml");
    let mut text = "[[target]]\nname = \"main\"\nurl = \"redis://127.0.0.1:1/0\"\n".to_owned();
    for i in 0..PREFIXES {
        writeln!(text, "[[prefix]]\nname = \"family{i}:{{id}}:view\"\ntarget = \"main\"").expect("a String takes text");
    }
    std::fs::write(&config, text).expect("the folder can be written");
    let databases = Databases::private(servers.postgres.notes()).expect("Postgres runs");
    databases.migrate().await.expect("the schema comes up");
    let serve = Serve::start(&servers.postgres.database_url(), &config, &folder.path().join("data"));
    let made = serve.run(&["token", "create", "--source", "bench", "--json"]);
    let token = made["token"].as_str().expect("a token").to_owned();
    let door = Arc::new(Door { client: reqwest::Client::new(), url: format!("{}/api/v1/events", serve.url), token });
    let mut admin = PgConnection::connect(&servers.postgres.admin_database_url()).await.expect("Postgres answers");

    // Once unmeasured: partitions are made, pages of the process touched.
    send_all(&door, bodies("warm", events / 4)).await;
    let resident = resident_kib(serve.child.id());
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        clear(&mut admin).await;
        let bodies = bodies(&format!("r{round}"), events);
        let begun = Instant::now();
        send_all(&door, bodies).await;
        ours.push(begun.elapsed().as_secs_f64());
        floor.push(copy_again(&mut admin, events).await);
        println!("round {} of {ROUNDS}: ours {:.2} s, floor {:.2} s", round + 1, ours[round], floor[round]);
    }
    let grown = resident_kib(serve.child.id()).saturating_sub(resident);
    #[expect(clippy::cast_precision_loss, reason = "numbers of events and KiB")]
    let (rate, grown_mib) = (events as f64 / median(&ours), grown as f64 / 1024.0);
    clear(&mut admin).await;
    let p99 = ack_p99_ms(&door, rate / 2.0).await;
    drop(serve);
    drop(admin);
    servers.stop().await;

    println!("\n{events} events a round, {rate:.0} a second; memory over {} events", events * ROUNDS);
    report::publish(&[
        ("ingest.floor_ratio", median(&floor) / median(&ours), ">= 0.5 (0.35): 8 clients, bodies of 500, durable"),
        ("ingest.ack_p99_ms", p99, "<= 100: open loop at half that rate"),
        ("ingest.rss_growth_mib", grown_mib, "<= 32 (over 10 M events: STALEWATCH_BENCH_EVENTS=2000000)"),
    ]);
}

struct Door {
    client: reqwest::Client,
    url: String,
    token: String,
}

impl Door {
    async fn send(&self, body: String) {
        let request = self.client.post(&self.url).bearer_auth(&self.token).header("content-type", "application/json").body(body);
        let response = request.send().await.expect("the server answers");
        let status = response.status();
        let answer: serde_json::Value = response.json().await.expect("an answer in JSON");
        assert_eq!((status.as_u16(), &answer["accepted"]), (200, &serde_json::json!(BODY)), "{answer}");
    }
}

/// Bodies of all six types, with ids that begin with `name`.
fn bodies(name: &str, events: usize) -> Vec<String> {
    let now = stalewatch::server::clock::Clock::system().now();
    (0..events / BODY)
        .map(|body| {
            let mut text = String::with_capacity(BODY * 200);
            text.push_str("{\"events\":[");
            for place in 0..BODY {
                let i = body * BODY + place;
                let at = (now - chrono::TimeDelta::milliseconds(i64::try_from(i % 600_000).expect("fits"))).to_rfc3339();
                let comma = if place == 0 { "" } else { "," };
                let key = format!("family{}:{}:view", i * 7 % PREFIXES, i % 5_000);
                let rest = match i % 12 {
                    0..=5 => format!(r#""type":"access","key":"{key}","hits":17,"misses":3,"read_path":"GET /views/{{id}}""#),
                    6 | 7 => {
                        format!(r#""type":"rebuild","key":"{key}","duration_us":{},"outcome":"ok","trigger":"miss""#, 20_000 + i % 9_000)
                    }
                    8 => format!(
                        r#""type":"invalidation","key":"{key}","method":"evict","outcome":"ok","latency_us":900,"mutation_id":"m{i}""#
                    ),
                    9 => format!(r#""type":"mutation","endpoint":"PUT /views/{{id}}","mutation_id":"m{i}","params":{{"id":"{i}"}}"#),
                    10 => format!(r#""type":"stale_read","key":"{key}","stale":{},"delay_ms":10000,"mutation_id":"m{i}""#, i % 40 == 10),
                    _ => format!(r#""type":"annotation","kind":"note","text":"note {i}""#),
                };
                write!(text, r#"{comma}{{"id":"{name}-{i}","at":"{at}",{rest}}}"#).expect("a String takes text");
            }
            text.push_str("]}");
            text
        })
        .collect()
}

/// Sends all of it by so many clients, each one body after the other.
async fn send_all(door: &Arc<Door>, bodies: Vec<String>) {
    let (bodies, next) = (Arc::new(bodies), Arc::new(AtomicUsize::new(0)));
    let clients = (0..CLIENTS).map(|_| {
        let (door, bodies, next) = (Arc::clone(door), Arc::clone(&bodies), Arc::clone(&next));
        tokio::spawn(async move {
            while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                door.send(body.clone()).await;
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("every body is taken");
    }
}

/// Memory of a process, in KiB.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says so");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

async fn clear(admin: &mut PgConnection) {
    admin.execute("TRUNCATE events.raw, events.deltas, events.cells; CHECKPOINT").await.expect("the superuser may");
}

/// Takes the rows out and puts the same ones in again: seconds of the latter alone.
async fn copy_again(admin: &mut PgConnection, events: usize) -> f64 {
    use futures::TryStreamExt as _;
    let mut parts = Vec::new();
    admin.execute("CREATE TEMPORARY TABLE taken AS SELECT * FROM events.raw").await.expect("rows can be read");
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM taken").fetch_one(&mut *admin).await.expect("rows can be counted");
    assert_eq!(usize::try_from(stored).ok(), Some(events / BODY * BODY), "every event is a row");
    for from in (0..events).step_by(COPIED) {
        let sql = format!("COPY (SELECT * FROM taken OFFSET {from} LIMIT {COPIED}) TO STDOUT (FORMAT binary)");
        let stream = admin.copy_out_raw(&sql).await.expect("rows can be copied out");
        let chunks: Vec<_> = stream.try_collect().await.expect("rows can be copied out");
        parts.push(chunks.concat());
    }
    admin.execute("DROP TABLE taken").await.expect("it was ours");
    clear(admin).await;
    let begun = Instant::now();
    for part in parts {
        let mut tx = admin.begin().await.expect("Postgres answers");
        let mut copy = tx.copy_in_raw("COPY events.raw FROM STDIN (FORMAT binary)").await.expect("rows can be copied in");
        copy.send(part).await.expect("rows are taken");
        copy.finish().await.expect("rows are taken");
        tx.commit().await.expect("a durable commit");
    }
    let taken = begun.elapsed().as_secs_f64();
    admin.execute(AssertSqlSafe("SELECT 1")).await.expect("Postgres answers");
    taken
}

/// At so many events a second, sent on time whether or not the last answer is there: the 99th of a hundred answers, in milliseconds.
async fn ack_p99_ms(door: &Arc<Door>, events_per_s: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "500")]
    let pause = Duration::from_secs_f64(BODY as f64 / events_per_s);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number")]
    let count = (TIMED.as_secs_f64() / pause.as_secs_f64()) as usize;
    let bodies = bodies("timed", count * BODY);
    let begun = Instant::now();
    let mut sends = Vec::new();
    for (i, body) in bodies.into_iter().enumerate() {
        let due = begun + pause * u32::try_from(i).expect("a small number");
        tokio::time::sleep_until(due.into()).await;
        let door = Arc::clone(door);
        sends.push(tokio::spawn(async move {
            door.send(body).await;
            due.elapsed().as_secs_f64() * 1e3
        }));
    }
    let mut felt = Vec::new();
    for send in sends {
        felt.push(send.await.expect("every body is taken"));
    }
    felt.sort_by(f64::total_cmp);
    felt[(felt.len() * 99 / 100).min(felt.len() - 1)]
}
