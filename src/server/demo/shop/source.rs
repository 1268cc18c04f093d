//! The source of truth: what the shop's databases hold, as versions, with the latencies and the limits of a real one.

use super::dice::Dice;
use crate::server::clock::Clock;
use chrono::{DateTime, Utc};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::Semaphore;

/// What a row is; each kind has its own database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    Users,
    Carts,
    Products,
    Invoices,
    /// The search index: one row per query.
    Queries,
}

impl Table {
    /// The median of a read, as long as a connection is free.
    fn read_median(self) -> Duration {
        Duration::from_millis(match self {
            Table::Users => 28,
            Table::Carts => 110,
            Table::Products => 70,
            Table::Invoices => 60,
            Table::Queries => 120,
        })
    }

    /// Connections to its database. The catalogue's is small: that is what a stampede runs into.
    fn connections(self) -> usize {
        if self == Table::Products { 3 } else { 64 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    pub table: Table,
    pub id: u64,
}

/// What a read found, and when the read began.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub version: u64,
    pub read_at: DateTime<Utc>,
}

/// The databases of the shop.
#[derive(Debug)]
pub struct Source {
    /// Versions begin at 1; only rows that were written are here.
    versions: Mutex<HashMap<Row, u64>>,
    products: Semaphore,
    others: Semaphore,
    dice: Arc<Dice>,
    clock: Clock,
}

impl Source {
    pub fn new(dice: Arc<Dice>, clock: Clock) -> Self {
        Self {
            versions: Mutex::default(),
            products: Semaphore::new(Table::Products.connections()),
            others: Semaphore::new(Table::Users.connections()),
            dice,
            clock,
        }
    }

    /// The committed version, without the price of a query: for measuring staleness, never for serving a reader.
    pub fn version(&self, row: Row) -> u64 {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).get(&row).copied().unwrap_or(1)
    }

    /// Reads a row for a cache fill. What is returned is the state at the time the query began, as under snapshot isolation.
    pub async fn read(&self, row: Row) -> Found {
        let pool = if row.table == Table::Products { &self.products } else { &self.others };
        let asked_at = self.clock.now();
        // Nobody closes these semaphores; without a permit the read would merely not queue.
        let _connection = pool.acquire().await.ok();
        let version = self.version(row);
        tokio::time::sleep(self.dice.around(row.table.read_median(), 0.35)).await;
        Found { version, read_at: asked_at }
    }

    /// Commits a new version and says which.
    pub async fn write(&self, row: Row) -> u64 {
        tokio::time::sleep(self.dice.around(Duration::from_millis(18), 0.3)).await;
        let version = {
            let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
            let version = versions.entry(row).or_insert(1);
            *version += 1;
            *version
        };
        tokio::time::sleep(self.dice.around(Duration::from_millis(2), 0.3)).await;
        version
    }
}
