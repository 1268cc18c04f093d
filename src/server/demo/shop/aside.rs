//! Cache-aside as every service of the shop does it: look in the cache, else read the source and store what was found.

use super::{
    cache::{Cache, Value, error_class},
    event::{About, What},
    report::{Counted, Outcome, Reporter},
    source::{Row, Source},
};
use redis::RedisError;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// One cached representation.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    /// The registered prefix it belongs to.
    pub prefix: &'static str,
    /// What it is made from.
    pub row: Row,
    pub ttl: Duration,
    /// For what may be served stale while it is refreshed: how long it is fresh.
    pub fresh_for: Duration,
    /// About how heavy it is.
    pub bytes: usize,
}

/// How a fill is kept from storing what a write has outdated while the fill was reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Not at all.
    None,
    /// Where writes store the new value: the newer one stays.
    Newer,
    /// Where writes evict: look at the source's version again after storing, and evict what is outdated. A write that commits after the
    /// look evicts after it, too.
    LookAgain,
}

/// How a service fills its cache.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    pub guard: Guard,
    /// Readers of a key that is being rebuilt wait for that rebuild.
    pub coalesce: bool,
}

/// What a service needs to cache aside.
#[derive(Clone)]
pub struct Aside {
    pub cache: Arc<Cache>,
    pub source: Arc<Source>,
    pub reporter: Arc<Reporter>,
    flights: Arc<Flights>,
}

impl Aside {
    pub fn new(cache: Arc<Cache>, source: Arc<Source>, reporter: Arc<Reporter>) -> Self {
        Self { cache, source, reporter, flights: Arc::default() }
    }

    /// Reads through the cache: the version that the reader gets.
    pub async fn read(&self, entry: &Entry, fill: Fill, read_path: &'static str) -> u64 {
        let found = self.cache.get(&entry.key).await;
        match found {
            Ok(Some(value)) => {
                self.count(entry, read_path, Outcome::Hit);
                value.version
            }
            Ok(None) => {
                self.count(entry, read_path, Outcome::Miss);
                self.rebuild(entry, fill, "miss").await
            }
            Err(_) => {
                // Redis away: the source answers, and nothing is stored.
                self.count(entry, read_path, Outcome::Error);
                self.source.read(entry.row).await.version
            }
        }
    }

    pub fn count(&self, entry: &Entry, read_path: &'static str, outcome: Outcome) {
        self.reporter.count(Counted::Prefix(entry.prefix), read_path, outcome, 1);
    }

    /// Reads the source and stores what it says; the version found.
    pub async fn rebuild(&self, entry: &Entry, fill: Fill, trigger: &'static str) -> u64 {
        if !fill.coalesce {
            return self.fill(entry, fill.guard, trigger, None).await;
        }
        match self.flights.board(&entry.key) {
            Seat::Pilot(flight) => {
                let version = self.fill(entry, fill.guard, trigger, Some(&flight.waiters)).await;
                flight.land(version);
                version
            }
            Seat::Passenger(mut landed) => {
                let version = landed.wait_for(Option::is_some).await.ok().and_then(|version| *version);
                match version {
                    Some(version) => version,
                    // The pilot was cancelled.
                    None => self.source.read(entry.row).await.version,
                }
            }
        }
    }

    /// After a write: evicts what it outdated, over `line`, and tells how that went.
    pub async fn evict(&self, line: &Cache, key: &str, mutation_id: &str) {
        self.flights.forget(key);
        let begun = Instant::now();
        let evicted = line.evict(key).await;
        self.invalidated(key, "evict", begun, evicted.map(Some), mutation_id, None, None);
    }

    /// Tells of an invalidation: `keys` as far as it is known.
    pub fn invalidated(
        &self,
        key: &str,
        method: &'static str,
        begun: Instant,
        keys: Result<Option<u64>, RedisError>,
        mutation_id: &str,
        key_new: Option<String>,
        ttl: Option<Duration>,
    ) {
        let latency_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let failure = keys.as_ref().err();
        self.reporter.send(
            About::Key(key.to_owned()),
            What::Invalidation {
                method,
                outcome: if failure.is_none() { "ok" } else { "error" },
                error_class: failure.map(error_class),
                error: failure.map(ToString::to_string),
                latency_us,
                keys: keys.ok().flatten(),
                mutation_id: mutation_id.to_owned(),
                key_new,
                ttl_seconds: ttl.map(|ttl| ttl.as_secs()),
            },
        );
    }

    async fn fill(&self, entry: &Entry, guard: Guard, trigger: &'static str, waiters: Option<&AtomicU64>) -> u64 {
        let begun = Instant::now();
        let found = self.source.read(entry.row).await;
        let fresh_until_ms = if entry.fresh_for.is_zero() {
            0
        } else {
            found.read_at.timestamp_millis() + i64::try_from(entry.fresh_for.as_millis()).unwrap_or(i64::MAX)
        };
        let value = Value { version: found.version, fresh_until_ms };
        let stored = match guard {
            Guard::None | Guard::LookAgain => self.cache.set(&entry.key, value, entry.bytes, entry.ttl).await,
            Guard::Newer => self.cache.set_if_newer(&entry.key, value, entry.bytes, entry.ttl).await.map(drop),
        };
        let duration_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        if guard == Guard::LookAgain && stored.is_ok() && self.source.version(entry.row) > found.version {
            // If this fails the write's own eviction is still under way.
            let _ = self.cache.evict(&entry.key).await;
        }
        let outcome = match &stored {
            Ok(()) => "ok",
            Err(error) if error_class(error) == "timeout" => "timeout",
            Err(_) => "error",
        };
        self.reporter.send(
            About::Key(entry.key.clone()),
            What::Rebuild {
                duration_us,
                outcome,
                trigger,
                source_read_at: found.read_at,
                waiters: waiters.map_or(0, |waiters| waiters.load(Ordering::Relaxed)),
            },
        );
        found.version
    }
}

/// Rebuilds under way, by key.
#[derive(Default)]
struct Flights(Mutex<HashMap<String, UnderWay>>);

/// Where a rebuild's result will be, and how many wait for it.
type UnderWay = (watch::Receiver<Option<u64>>, Arc<AtomicU64>);

enum Seat {
    Pilot(Flight),
    Passenger(watch::Receiver<Option<u64>>),
}

struct Flight {
    flights: Arc<Flights>,
    key: String,
    landed: watch::Sender<Option<u64>>,
    waiters: Arc<AtomicU64>,
}

impl Flights {
    /// A write has outdated what the rebuild under way is reading: readers that come from now on begin another.
    fn forget(&self, key: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    fn board(self: &Arc<Self>, key: &str) -> Seat {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((landed, waiters)) = flights.get(key) {
            waiters.fetch_add(1, Ordering::Relaxed);
            return Seat::Passenger(landed.clone());
        }
        let (sender, receiver) = watch::channel(None);
        let waiters = Arc::<AtomicU64>::default();
        flights.insert(key.to_owned(), (receiver, Arc::clone(&waiters)));
        Seat::Pilot(Flight { flights: Arc::clone(self), key: key.to_owned(), landed: sender, waiters })
    }
}

impl Flight {
    fn land(self, version: u64) {
        // Passengers may all have left.
        let _ = self.landed.send(Some(version));
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let mut flights = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Unless it was forgotten, and the place is another's.
        if flights.get(&self.key).is_some_and(|(_, waiters)| Arc::ptr_eq(waiters, &self.waiters)) {
            flights.remove(&self.key);
        }
    }
}
