//! Keyspace events: how many misses one listener takes in a second, from the socket to a count by prefix.
//!
//! A Redis of the benchmark's own announces misses as fast as four pipelining clients make them; the listener's connection reads them and the
//! families of 1,000 prefixes classify them. What counts is the time from the first announced miss to the last one heard.
//! `STALEWATCH_BENCH_EVENTS` sets another number of misses a round.

mod median;
mod report;

use median::median;
use stalewatch::domain::prefix::{Families, Template};
use stalewatch::server::config::Environment;
use stalewatch::server::redis::{Ear, Endpoint, speakers};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const CLIENTS: usize = 4;
const PREFIXES: usize = 1_000;
/// Commands sent before the replies are read.
const PIPELINE: usize = 500;

fn main() {
    let events: usize = Environment::from_process().get("STALEWATCH_BENCH_EVENTS").and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let socket = folder.path().join("s");
    let mut server = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--notify-keyspace-events", "Exegmn"])
        // More is made than anybody takes: without a limit what is measured is the taking.
        .args(["--client-output-buffer-limit", "pubsub 0 0 0", "--unixsocket"])
        .arg(&socket)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed");
    let url = format!("redis+unix://{}", socket.display());
    let begun = Instant::now();
    while redis::Client::open(url.as_str()).expect("a URL").get_connection().is_err() {
        assert!(begun.elapsed() < Duration::from_secs(10), "redis-server does not answer");
        std::thread::sleep(Duration::from_millis(20));
    }
    let templates = (0..PREFIXES).map(|i| Template::parse(&format!("family{i}:{{id}}:view"), b':').expect("a template")).collect();
    let families = Families::new(templates);
    let (mut rates, mut latest) = (Vec::new(), Duration::ZERO);
    for _ in 0..ROUNDS {
        let (rate, late) = round(&url, &families, events);
        rates.push(rate);
        latest = latest.max(late);
    }
    let _ = server.kill();
    let _ = server.wait();
    report::publish(&[
        ("notify.events_per_s", median(&rates), ">= 150000"),
        ("notify.late_ms", latest.as_secs_f64() * 1e3, "< 5000: later than that is dropped"),
    ]);
}

/// Misses a second, and the longest that the listener was behind.
fn round(url: &str, families: &Families, events: usize) -> (f64, Duration) {
    let speaker = speakers(&Endpoint::of_url(url).expect("a URL")).expect("redis-server answers").remove(0);
    let mut ear = Ear::open(&speaker).expect("the default user may subscribe");
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let url = url.to_owned();
            std::thread::spawn(move || make(&url, client, events / CLIENTS))
        })
        .collect();
    let wanted = events / CLIENTS * CLIENTS;
    let (mut heard, mut misses, mut begun, mut late) = (0, vec![0_u64; PREFIXES], None, Duration::ZERO);
    while heard < wanted {
        let all = ear.hear(|key| {
            begun.get_or_insert_with(Instant::now);
            heard += 1;
            misses[families.classify(key).expect("every key has a prefix")] += 1;
        });
        all.expect("the connection stays");
        late = late.max(ear.late());
    }
    let took = begun.expect("something was heard").elapsed();
    for client in clients {
        client.join().expect("a client ends");
    }
    assert_eq!(misses.iter().sum::<u64>(), wanted as u64, "every miss counts once");
    #[expect(clippy::cast_precision_loss, reason = "a number of events")]
    let rate = wanted as f64 / took.as_secs_f64();
    (rate, late)
}

/// Asks for keys that are not there.
fn make(url: &str, client: usize, events: usize) {
    let mut con = redis::Client::open(url).expect("a URL").get_connection().expect("redis-server answers");
    let mut made = 0;
    while made < events {
        let count = PIPELINE.min(events - made);
        let mut packed = Vec::with_capacity(count * 48);
        for i in made..made + count {
            redis::cmd("GET").arg(format!("family{}:{client}-{i}:view", i % PREFIXES)).write_packed_command(&mut packed);
        }
        con.send_packed_command(&packed).expect("redis-server takes commands");
        for _ in 0..count {
            con.recv_response().expect("redis-server answers");
        }
        made += count;
    }
}
