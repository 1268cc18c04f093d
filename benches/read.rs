//! Pages of a large house, at the public door: 500 prefixes, 14 days of events, behind `stalewatch serve`.
//!
//! The past is taken in by the product's own way in, spread evenly, and folded. Then pages are asked for one after the other by a signed-in
//! person, each in turn with an empty request (`/healthz`): p95 in milliseconds, and how many empty requests one overview costs.
//! cold = the first of its kind after a start. `STALEWATCH_BENCH_ROWS` sets the number of raw rows.

mod median;
mod report;
mod serve;

use chrono::{DateTime, TimeDelta, Utc};
use median::median;
use reqwest::header::{COOKIE, ORIGIN, SET_COOKIE};
use serve::Serve;
use stalewatch::domain::event::{Ages, Origin};
use stalewatch::server::clock::Clock;
use stalewatch::server::config::{Config, Environment};
use stalewatch::server::ingest::{Format, NotTaken, Sender};
use stalewatch::server::private::{Claim, DataFolder, Durability, Holder, Servers};
use stalewatch::server::run::Databases;
use stalewatch::server::service::rollups;
use stalewatch::server::state::AppState;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

const PREFIXES: usize = 500;
const DAYS: i64 = 14;
const BODY: usize = 5_000;
/// Requests of each page, and starts of which the first request is timed.
const ASKED: usize = 60;
const STARTS: usize = 5;

#[tokio::main]
async fn main() {
    let environment = Environment::from_process();
    let rows = environment.get("STALEWATCH_BENCH_ROWS").and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let Ok(Claim::Held(held)) = DataFolder::claim(&folder.path().join("servers"), Holder::Server).await else {
        panic!("a new folder is free")
    };
    let servers = Servers::start(held, Durability::None, None).await.expect("Postgres starts");
    let config = folder.path().join("stalewatch.toml");
    let mut text = "[[target]]\nname = \"main\"\nurl = \"redis://127.0.0.1:1/0\"\n".to_owned();
    for i in 0..PREFIXES {
        writeln!(
            text,
            "[[prefix]]\nname = \"family{i}:{{id}}:view\"\ntarget = \"main\"\nobjective = {{ fresh_within = \"10s\", ratio = 0.999 }}\n\
             threshold = {{ miss_rate = 0.3, rebuild_p95 = \"400ms\", invalidation_error_rate = 0.02 }}"
        )
        .expect("a String takes text");
    }
    std::fs::write(&config, text).expect("the folder can be written");
    let databases = Databases::private(servers.postgres.notes()).expect("Postgres runs");
    databases.migrate().await.expect("the schema comes up");
    fill(&databases, &config, rows).await;

    let data = folder.path().join("data");
    let url = servers.postgres.database_url();
    let mut cold = Vec::new();
    for start in 0..STARTS {
        let mut fresh = Reader::start(&url, &config, &data, start).await;
        cold.push(fresh.time("/?range=24h").await);
    }
    let mut reader = Reader::start(&url, &config, &data, STARTS).await;
    let pages = ["/?range=24h", "/?range=14d", "/prefixes/family7:%7Bid%7D:view?range=24h", "/prefixes/family7:%7Bid%7D:view?range=14d"];
    let week = Clock::system().now().format("/review/%G-W%V").to_string();
    let mut times = vec![Vec::new(); pages.len()];
    let (mut empty, mut review) = (Vec::new(), Vec::new());
    for page in pages {
        reader.time(page).await;
    }
    for _ in 0..ASKED {
        for (page, times) in pages.iter().zip(&mut times) {
            times.push(reader.time(page).await);
        }
        empty.push(reader.time("/healthz").await);
    }
    for _ in 0..5 {
        review.push(reader.time(&week).await);
    }
    drop(reader);
    servers.stop().await;

    println!("\n{rows} raw rows, {PREFIXES} prefixes, {DAYS} days");
    for (page, times) in pages.iter().zip(&times) {
        println!("{page:<48} median {:>8.1} ms, p95 {:>8.1} ms", median(times), p95(times));
    }
    report::publish(&[
        ("read.overview_p95_ms", p95(&times[0]), "<= 50: warm, 24 h"),
        ("read.overview_14d_p95_ms", p95(&times[1]), "the same over 14 days"),
        ("read.overview_cold_ms", median(&cold), "<= 400: the first after a start"),
        ("read.prefix_p95_ms", p95(&times[2]), "<= 40: warm, 24 h"),
        ("read.prefix_14d_p95_ms", p95(&times[3]), "the same over 14 days"),
        ("read.overview_x_healthz", median(&times[0]) / median(&empty), "lower is better"),
        ("read.review_s", median(&review) / 1e3, "<= 1"),
    ]);
}

fn p95(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() * 95 / 100).min(sorted.len() - 1)]
}

/// A signed-in person.
struct Reader {
    serve: Serve,
    client: reqwest::Client,
    cookie: String,
}

impl Reader {
    async fn start(database_url: &str, config: &Path, data: &Path, number: usize) -> Self {
        let serve = Serve::start(database_url, config, data);
        let email = format!("reader{number}@example.com");
        let user = serve.run(&["user", "add", "--email", &email, "--role", "operator", "--generate", "--json"]);
        let password = user["password"].as_str().expect("a password");
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a plain client");
        let body =
            form_urlencoded::Serializer::new(String::new()).extend_pairs([("email", email.as_str()), ("password", password)]).finish();
        let request = client.post(format!("{}/sign-in", serve.url)).header(ORIGIN, &serve.url);
        let answer = request.header("content-type", "application/x-www-form-urlencoded").body(body).send().await.expect("sign-in answers");
        assert_eq!(answer.status(), 303, "sign-in is accepted");
        let cookie = answer.headers()[SET_COOKIE].to_str().expect("a cookie").split(';').next().expect("name and value").to_owned();
        Self { serve, client, cookie }
    }

    /// Milliseconds until the whole page is here.
    async fn time(&mut self, path: &str) -> f64 {
        let begun = Instant::now();
        let request = self.client.get(format!("{}{path}", self.serve.url)).header(COOKIE, &self.cookie);
        let response = request.send().await.expect("the server answers");
        assert_eq!(response.status(), 200, "{path}");
        response.bytes().await.expect("a whole page");
        begun.elapsed().as_secs_f64() * 1e3
    }
}

/// Takes `rows` events in, evenly over the days and the prefixes, and folds them.
async fn fill(databases: &Databases, config: &Path, rows: usize) {
    let config = Config::load(Some(config), &Environment::from_iter::<[(String, String); 0]>([])).expect("a sound configuration");
    let clock = Clock::system();
    let app = AppState::new(config, clock.clone(), databases.pools().expect("Postgres answers"));
    rollups::keep(&app).await.expect("the tables are readied");
    let (begun, now) = (Instant::now(), clock.now());
    let sender = Sender::new("bench", None, Origin::App);
    let ages = Ages { behind: TimeDelta::days(DAYS + 2), ..Ages::LIVE };
    for first in (0..rows).step_by(BODY) {
        let body = body(first, rows.min(first + BODY), rows, now);
        loop {
            let patience = tokio::time::Instant::now() + Duration::from_secs(30);
            match app.ingest.submit(&sender, body.as_bytes(), Format::Ndjson, ages, patience).await {
                Ok(taken) => {
                    assert!(taken.rejected.is_empty(), "{:?}", taken.rejected.first());
                    break;
                }
                Err(NotTaken::Busy) => tokio::time::sleep(Duration::from_millis(100)).await,
                Err(error) => panic!("{error}"),
            }
        }
    }
    let taken_in = begun.elapsed();
    rollups::compact(&app).await.expect("figures are folded");
    println!("{rows} events taken in within {:.0} s, folded after {:.0} s", taken_in.as_secs_f64(), begun.elapsed().as_secs_f64());
}

/// Oldest first; what type an event has does not depend on its prefix.
fn body(first: usize, end: usize, rows: usize, now: DateTime<Utc>) -> String {
    let mut text = String::with_capacity((end - first) * 200);
    for i in first..end {
        let seconds = DAYS * 86_400 * i64::try_from(rows - i).expect("fits") / i64::try_from(rows).expect("fits");
        let at = (now - TimeDelta::seconds(seconds)).to_rfc3339();
        let key = format!("family{}:{}:view", i % PREFIXES, i % 5_000);
        let rest = match i / PREFIXES % 10 {
            0..=5 => format!(r#""type":"access","key":"{key}","hits":{},"misses":3,"read_path":"GET /views/{{id}}""#, 10 + i % 17),
            6 | 7 => format!(r#""type":"rebuild","key":"{key}","duration_us":{},"outcome":"ok","trigger":"miss""#, 20_000 + i % 90_000),
            8 => format!(r#""type":"invalidation","key":"{key}","method":"evict","outcome":"ok","latency_us":900"#),
            _ => format!(r#""type":"stale_read","key":"{key}","stale":{},"delay_ms":10000"#, i % 4_000 == 9),
        };
        writeln!(text, r#"{{"id":"r{i}","at":"{at}",{rest}}}"#).expect("a String takes text");
    }
    text
}
