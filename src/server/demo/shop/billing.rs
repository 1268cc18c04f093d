//! billing-worker: invoices. Its evictions go over a line of their own, which stalls; its reads do not.

use super::{
    Ground,
    accounts::look,
    aside::{Aside, Entry, Fill, Guard},
    cache::Cache,
    event::{About, What},
    freshness::Watched,
    source::{Row, Table},
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;

pub const ACCOUNTS: u64 = 200;
pub const INVOICE: &str = "billing:{account}:invoice";
pub const INVOICE_PAGE: &str = "GET /invoices/{account}";
pub const STATEMENT: &str = "statement mail";

/// The time-out of the client that evicts.
pub const LINE_TIMEOUT: Duration = Duration::from_millis(300);
const TTL: Duration = Duration::from_secs(270);

pub fn row(account: u64) -> Row {
    Row { table: Table::Invoices, id: account }
}

pub fn key(account: u64) -> String {
    format!("billing:{account}:invoice")
}

pub struct Billing {
    aside: Aside,
    ground: Arc<Ground>,
    /// Passes the fault proxy.
    line: Cache,
}

impl Billing {
    pub fn new(aside: Aside, ground: Arc<Ground>, line: Cache) -> Self {
        Self { aside, ground, line }
    }

    pub async fn read(&self, account: u64, read_path: &'static str) -> u64 {
        let ttl = TTL.mul_f64(0.9 + 0.18 * self.ground.dice.unit());
        let entry = Entry { key: key(account), prefix: INVOICE, row: row(account), ttl, fresh_for: Duration::ZERO, bytes: 1_200 };
        self.aside.read(&entry, Fill { guard: Guard::LookAgain, coalesce: true }, read_path).await
    }

    /// `POST /invoices/{account}/payments`.
    pub async fn pay(self: &Arc<Self>, account: u64) {
        let reporter = &self.aside.reporter;
        self.aside.source.write(row(account)).await;
        let committed = Instant::now();
        let mutation_id = reporter.id();
        let params = BTreeMap::from([("account", account.to_string())]);
        reporter.send(
            About::Nothing {},
            What::Mutation { endpoint: "POST /invoices/{account}/payments", mutation_id: mutation_id.clone(), params },
        );
        self.aside.evict(&self.line, &key(account), &mutation_id).await;

        let paths = [
            (INVOICE_PAGE, look(self, move |billing| async move { billing.read(account, INVOICE_PAGE).await })),
            (STATEMENT, look(self, move |billing| async move { billing.read(account, STATEMENT).await })),
        ];
        let watched = paths.into_iter().map(|(read_path, look)| Watched { key: key(account), read_path, look }).collect();
        self.ground.freshness.watch(reporter, row(account), committed, &mutation_id, watched);
    }
}
