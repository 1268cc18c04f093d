//! search-api: results that may be served stale while they are refreshed, as declared; and a client of it that caches banners under keys
//! that no prefix describes.

use super::{
    Ground,
    aside::{Aside, Entry, Fill, Guard},
    cache::Value,
    report::{Counted, Outcome},
    source::{Row, Table},
    switches::Bug,
};
use std::{sync::Arc, time::Duration};

pub const QUERIES: u64 = 150;
pub const SEARCH: &str = "search:{hash}";
pub const RESULTS_PAGE: &str = "GET /search";
pub const BANNERS: u64 = 5;
pub const BANNER_SLOT: &str = "storefront";

const FRESH_FOR: Duration = Duration::from_mins(3);
const TTL: Duration = Duration::from_mins(20);
const BANNER_TTL: Duration = Duration::from_mins(1);

pub fn row(query: u64) -> Row {
    Row { table: Table::Queries, id: query }
}

pub fn key(query: u64) -> String {
    format!("search:{:012x}", query.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16)
}

pub struct Search {
    aside: Aside,
    ground: Arc<Ground>,
}

impl Search {
    pub fn new(aside: Aside, ground: Arc<Ground>) -> Self {
        Self { aside, ground }
    }

    pub async fn read(self: &Arc<Self>, query: u64) {
        let ttl = TTL.mul_f64(0.9 + 0.2 * self.ground.dice.unit());
        let entry = Entry { key: key(query), prefix: SEARCH, row: row(query), ttl, fresh_for: FRESH_FOR, bytes: 1_600 };
        let fill = Fill { guard: Guard::LookAgain, coalesce: true };
        match self.aside.cache.get(&entry.key).await {
            Ok(Some(value)) if value.fresh_until_ms > self.aside.reporter.now().timestamp_millis() => {
                self.aside.count(&entry, RESULTS_PAGE, Outcome::Hit);
            }
            Ok(Some(_)) => {
                self.aside.count(&entry, RESULTS_PAGE, Outcome::StaleServed);
                let search = Arc::clone(self);
                self.ground.tasks.spawn(async move { search.aside.rebuild(&entry, fill, "refresh").await });
            }
            Ok(None) => {
                self.aside.count(&entry, RESULTS_PAGE, Outcome::Miss);
                self.aside.rebuild(&entry, fill, "miss").await;
            }
            Err(_) => self.aside.count(&entry, RESULTS_PAGE, Outcome::Error),
        }
    }

    /// The banner that the storefront's client shows, if that client is the one that caches it.
    pub async fn banner(&self) {
        if !self.ground.switches.is_on(Bug::UnknownKeys) {
            return;
        }
        let key = format!("promo:{}:banner", self.ground.dice.popular(BANNERS));
        let outcome = match self.aside.cache.get(&key).await {
            Ok(Some(_)) => Outcome::Hit,
            Ok(None) => {
                // It is a picture's address; if it is not kept it is made again.
                let _ = self.aside.cache.set(&key, Value { version: 1, fresh_until_ms: 0 }, 90, BANNER_TTL).await;
                Outcome::Miss
            }
            Err(_) => Outcome::Error,
        };
        self.aside.reporter.count(Counted::Key(key), BANNER_SLOT, outcome, 1);
    }
}
