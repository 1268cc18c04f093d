//! cart-api: a write stores the new cart. A reader that missed before it may store the old one after it: the late fill.

use super::{
    Ground,
    accounts::look,
    aside::{Aside, Entry, Fill, Guard},
    cache::Value,
    event::{About, What},
    freshness::Watched,
    source::{Row, Table},
    switches::Bug,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;

pub const CARTS: u64 = 300;
pub const CART: &str = "cart:{id}";
pub const CART_PAGE: &str = "GET /carts/{id}";
pub const MINI_CART: &str = "mini cart";

const TTL: Duration = Duration::from_mins(4);
const BYTES: usize = 420;

pub fn row(id: u64) -> Row {
    Row { table: Table::Carts, id }
}

pub fn key(id: u64) -> String {
    format!("cart:{id}")
}

pub struct Carts {
    aside: Aside,
    ground: Arc<Ground>,
}

impl Carts {
    pub fn new(aside: Aside, ground: Arc<Ground>) -> Self {
        Self { aside, ground }
    }

    fn ttl(&self) -> Duration {
        TTL.mul_f64(0.9 + 0.2 * self.ground.dice.unit())
    }

    pub async fn read(&self, id: u64, read_path: &'static str) -> u64 {
        let guard = if self.ground.switches.is_on(Bug::LateFill) { Guard::None } else { Guard::Newer };
        let entry = Entry { key: key(id), prefix: CART, row: row(id), ttl: self.ttl(), fresh_for: Duration::ZERO, bytes: BYTES };
        self.aside.read(&entry, Fill { guard, coalesce: false }, read_path).await
    }

    /// `POST /carts/{id}/items`.
    pub async fn add_item(self: &Arc<Self>, id: u64) {
        let reporter = &self.aside.reporter;
        let version = self.aside.source.write(row(id)).await;
        let committed = Instant::now();
        let mutation_id = reporter.id();
        let params = BTreeMap::from([("id", id.to_string())]);
        reporter.send(About::Nothing {}, What::Mutation { endpoint: "POST /carts/{id}/items", mutation_id: mutation_id.clone(), params });
        let ttl = self.ttl();
        let begun = Instant::now();
        let stored = self.aside.cache.set_if_newer(&key(id), Value { version, fresh_until_ms: 0 }, BYTES, ttl).await;
        self.aside.invalidated(&key(id), "update", begun, stored.map(|stored| Some(u64::from(stored))), &mutation_id, None, Some(ttl));

        let paths = [
            (CART_PAGE, look(self, move |carts| async move { carts.read(id, CART_PAGE).await })),
            (MINI_CART, look(self, move |carts| async move { carts.read(id, MINI_CART).await })),
        ];
        let watched = paths.into_iter().map(|(read_path, look)| Watched { key: key(id), read_path, look }).collect();
        self.ground.freshness.watch(reporter, row(id), committed, &mutation_id, watched);
    }
}
