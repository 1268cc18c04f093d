//! How many records a second the audit chain takes from 8 writers at once: each in a transaction of its own, committed to disk before the next,
//! through the server's role and the one function that appends. Whoever appends holds the head until its commit, so this is a rate of commits.

mod median;
mod report;

use std::time::{Duration, Instant};

use median::median;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use stalewatch::domain::audit::{Actor, Code, Verdict};
use stalewatch::server::private::{Claim, DataFolder, Durability, Holder, Servers};
use stalewatch::server::run::Databases;
use stalewatch::server::service::audit::verify;
use stalewatch::server::store::audit;

const WRITERS: u32 = 8;
const ROUNDS: u32 = 5;
const ROUND: Duration = Duration::from_secs(3);

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let claimed = DataFolder::claim(folder.path(), Holder::Server).await.expect("a new folder is free");
    let Claim::Held(held) = claimed else { panic!("a new folder is free") };
    let servers = Servers::start(held, Durability::Full, None).await.expect("Postgres starts");
    let databases = Databases::private(servers.postgres.notes()).expect("Postgres runs");
    databases.migrate().await.expect("the schema comes up");

    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let until = Instant::now() + ROUND;
        let writers = (0..WRITERS).map(|writer| tokio::spawn(write(databases.control.clone(), writer, until)));
        let appended: u32 = futures::future::join_all(writers).await.into_iter().map(|done| done.expect("a writer ends")).sum();
        rates.push(f64::from(appended) / ROUND.as_secs_f64());
    }
    let pools = databases.pools().expect("the pools open");
    let found = verify(&pools.record, folder.path()).await;
    assert_eq!(found.verdict, Verdict::Whole, "{}", found.detail);
    pools.record.close().await;
    servers.stop().await;
    report::publish(&[("audit.appends_per_s", median(&rates), ">= 300")]);
}

/// Appends until then and says how often.
async fn write(url: String, writer: u32, until: Instant) -> u32 {
    let mut conn = PgConnection::connect(&url).await.expect("Postgres answers");
    let mut n = 0;
    while Instant::now() < until {
        let body = json!({
            "writer": writer, "target": "main", "scope": "user:{id}:profile", "scanned": 48_000, "removed": 31_250, "gone": 12, "failed": 0, "n": n,
        });
        let mut tx = conn.begin().await.expect("a transaction begins");
        audit::append(&mut tx, Code::AccessRefused, &Actor::System, &body).await.expect("it is appended");
        tx.commit().await.expect("it is committed");
        n += 1;
    }
    n
}
