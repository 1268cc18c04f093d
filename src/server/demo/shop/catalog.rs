//! catalog-worker: products, read one at a time and by category. All entries share one expiry, so they are all missed at once.

use super::{
    Ground,
    accounts::look,
    aside::{Aside, Entry, Fill, Guard},
    event::{About, What},
    freshness::Watched,
    report::Outcome,
    source::{Row, Table},
    switches::Bug,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;

pub const PRODUCTS: u64 = 150;
pub const CATALOG: &str = "catalog:{id}";
pub const PRODUCT_PAGE: &str = "GET /products/{id}";
pub const CATEGORY_PAGE: &str = "GET /categories/{id}";
/// Products on a category page.
pub const PAGE: u64 = 25;
/// How long prices hold.
pub const TTL: Duration = Duration::from_mins(3);
const BYTES: usize = 900;

pub fn row(id: u64) -> Row {
    Row { table: Table::Products, id }
}

pub fn key(id: u64) -> String {
    format!("catalog:{id}")
}

pub struct Catalog {
    aside: Aside,
    ground: Arc<Ground>,
    /// The next import of prices: until then all of them hold.
    first_import: Instant,
}

impl Catalog {
    pub fn new(aside: Aside, ground: Arc<Ground>, first_import: Instant) -> Self {
        Self { aside, ground, first_import }
    }

    fn ttl(&self) -> Duration {
        if !self.ground.switches.is_on(Bug::SharedTtl) {
            return TTL.mul_f64(0.75 + 0.5 * self.ground.dice.unit());
        }
        let now = Instant::now();
        let mut import = self.first_import;
        if now >= import {
            let passed = (now - import).as_millis() / TTL.as_millis();
            import += TTL * (u32::try_from(passed).unwrap_or(u32::MAX - 1) + 1);
        }
        (import - now).max(Duration::from_millis(1))
    }

    fn entry(&self, id: u64) -> Entry {
        Entry { key: key(id), prefix: CATALOG, row: row(id), ttl: self.ttl(), fresh_for: Duration::ZERO, bytes: BYTES }
    }

    fn fill(&self) -> Fill {
        Fill { guard: Guard::LookAgain, coalesce: !self.ground.switches.is_on(Bug::SharedTtl) }
    }

    pub async fn read_product(&self, id: u64) -> u64 {
        self.aside.read(&self.entry(id), self.fill(), PRODUCT_PAGE).await
    }

    /// One page of a category, with one MGET; what is missing is rebuilt side by side. The version of its `asked` product.
    pub async fn read_category(&self, asked: u64) -> u64 {
        let first = (asked - 1) / PAGE * PAGE + 1;
        let ids: Vec<u64> = (first..first + PAGE).collect();
        let keys: Vec<String> = ids.iter().copied().map(key).collect();
        let Ok(found) = self.aside.cache.get_many(&keys).await else {
            self.aside.count(&self.entry(asked), CATEGORY_PAGE, Outcome::Error);
            return self.aside.source.read(row(asked)).await.version;
        };
        let read = ids.iter().zip(found).map(|(&id, found)| async move {
            let version = if let Some(value) = found {
                self.aside.count(&self.entry(id), CATEGORY_PAGE, Outcome::Hit);
                value.version
            } else {
                self.aside.count(&self.entry(id), CATEGORY_PAGE, Outcome::Miss);
                self.aside.rebuild(&self.entry(id), self.fill(), "miss").await
            };
            (id, version)
        });
        let versions = futures::future::join_all(read).await;
        versions.into_iter().find(|(id, _)| *id == asked).map_or(0, |(_, version)| version)
    }

    /// `PUT /products/{id}`.
    pub async fn write(self: &Arc<Self>, id: u64) {
        let reporter = &self.aside.reporter;
        self.aside.source.write(row(id)).await;
        let committed = Instant::now();
        let mutation_id = reporter.id();
        let params = BTreeMap::from([("id", id.to_string())]);
        reporter.send(About::Nothing {}, What::Mutation { endpoint: "PUT /products/{id}", mutation_id: mutation_id.clone(), params });
        self.aside.evict(&self.aside.cache, &key(id), &mutation_id).await;

        let paths = [
            (PRODUCT_PAGE, look(self, move |catalog| async move { catalog.read_product(id).await })),
            (CATEGORY_PAGE, look(self, move |catalog| async move { catalog.read_category(id).await })),
        ];
        let watched = paths.into_iter().map(|(read_path, look)| Watched { key: key(id), read_path, look }).collect();
        self.ground.freshness.watch(reporter, row(id), committed, &mutation_id, watched);
    }
}
