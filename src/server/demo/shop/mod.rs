//! The simulated shop: real cache-aside code over the demo's real Redis, real bugs that can be switched, simulated users.
//!
//! It knows Stalewatch only from outside: its five services send their events through the HTTP door, each with its own token. The one
//! thing it shares with the server's memory are the [`Switches`], so that the demo page can turn them.

mod accounts;
mod aside;
mod billing;
mod cache;
mod carts;
mod catalog;
mod dice;
mod event;
pub mod fault;
mod freshness;
pub mod history;
mod people;
mod report;
mod search;
mod source;
mod switches;

pub use dice::Dice;
pub use switches::{Bug, Switches};

use crate::server::clock::Clock;
use cache::{Cache, Value};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The services of the shop; each is a source of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    AccountsApi,
    CartApi,
    CatalogWorker,
    BillingWorker,
    SearchApi,
}

impl Service {
    pub const ALL: [Service; 5] =
        [Service::AccountsApi, Service::CartApi, Service::CatalogWorker, Service::BillingWorker, Service::SearchApi];

    /// The name of its source, for which its ingest token is made.
    pub fn name(self) -> &'static str {
        match self {
            Service::AccountsApi => "accounts-api",
            Service::CartApi => "cart-api",
            Service::CatalogWorker => "catalog-worker",
            Service::BillingWorker => "billing-worker",
            Service::SearchApi => "search-api",
        }
    }
}

/// The client's time-out towards Redis, where nothing is wrong with the line.
const CACHE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the line to billing's cache stalls, and how long.
const STALL_PROBABILITY: f64 = 0.15;
const STALL: Duration = Duration::from_secs(4);
/// When the catalogue's entries expire for the first time.
const FIRST_IMPORT: Duration = Duration::from_secs(25);

/// What the shop is given.
pub struct Settings {
    /// The Redis that it caches in: TCP, any database.
    pub redis_url: String,
    /// Where Stalewatch listens, without a path.
    pub door: String,
    /// An ingest token for each service.
    pub tokens: HashMap<Service, String>,
    pub switches: Arc<Switches>,
    pub seed: u64,
    pub clock: Clock,
}

/// Why the shop did not open.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the shop's Redis: {0}")]
    Redis(#[from] redis::RedisError),
    #[error("the shop's Redis must be reached over TCP")]
    NotTcp,
    #[error("the shop's Redis: no address for {0}")]
    Address(String),
    #[error("the fault proxy: {0}")]
    Proxy(#[from] std::io::Error),
    #[error("no ingest token for {0}")]
    Token(&'static str),
}

/// What all services stand on.
struct Ground {
    dice: Arc<Dice>,
    switches: Arc<Switches>,
    freshness: freshness::Freshness,
    tasks: TaskTracker,
    stop: CancellationToken,
}

struct Services {
    accounts: Arc<accounts::Accounts>,
    carts: Arc<carts::Carts>,
    catalog: Arc<catalog::Catalog>,
    billing: Arc<billing::Billing>,
    search: Arc<search::Search>,
}

/// A shop that is open.
pub struct Shop {
    ground: Arc<Ground>,
    reporters: HashMap<Service, Arc<report::Reporter>>,
}

impl Shop {
    /// Opens the shop; everything it does runs in tasks of its own.
    pub async fn open(settings: Settings) -> Result<Self, StartError> {
        let Settings { redis_url, door, mut tokens, switches, seed, clock } = settings;
        let dice = Arc::new(Dice::new(seed));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let info = redis_url.as_str().into_connection_info()?;
        let cache = Arc::new(Cache::new(info.clone(), CACHE_TIMEOUT)?);
        let line = line_to_billing(&info, &switches, &dice, &tasks, &stop).await?;
        for cart in 1..=carts::CARTS {
            // A cart of an earlier run may be newer than this run's source.
            cache.evict(&carts::key(cart)).await?;
        }
        cache.fill(&morning(&dice)).await?;

        let mut reporters = HashMap::new();
        for service in Service::ALL {
            let token = tokens.remove(&service).ok_or(StartError::Token(service.name()))?;
            reporters.insert(service, report::Reporter::start(service, &door, token, clock.clone(), &tasks, stop.clone()));
        }
        let source = Arc::new(source::Source::new(Arc::clone(&dice), clock));
        let freshness = freshness::Freshness::new(Arc::clone(&source), tasks.clone(), stop.clone());
        let ground = Arc::new(Ground { dice, switches, freshness, tasks, stop });
        let aside = |service: Service| aside::Aside::new(Arc::clone(&cache), Arc::clone(&source), Arc::clone(&reporters[&service]));
        let services = Arc::new(Services {
            accounts: Arc::new(accounts::Accounts::new(aside(Service::AccountsApi), Arc::clone(&ground))),
            carts: Arc::new(carts::Carts::new(aside(Service::CartApi), Arc::clone(&ground))),
            catalog: Arc::new(catalog::Catalog::new(aside(Service::CatalogWorker), Arc::clone(&ground), Instant::now() + FIRST_IMPORT)),
            billing: Arc::new(billing::Billing::new(aside(Service::BillingWorker), Arc::clone(&ground), line)),
            search: Arc::new(search::Search::new(aside(Service::SearchApi), Arc::clone(&ground))),
        });
        people::open(&ground, &services);
        Ok(Self { ground, reporters })
    }

    pub fn is_on(&self, bug: Bug) -> bool {
        self.ground.switches.is_on(bug)
    }

    /// Turns a switch and, as whoever turns one deploys something, sends the annotation; `true` if that changed anything.
    pub fn switch(&self, bug: Bug, on: bool) -> bool {
        let changed = self.ground.switches.set(bug, on);
        if changed {
            let (service, with, without) = bug.releases();
            let kind = if bug == Bug::BillingTimeouts { "config" } else { "deploy" };
            let text = if on { with } else { without };
            self.reporters[&service].send(event::About::Nothing {}, event::What::Annotation { kind, text: text.to_owned() });
        }
        changed
    }

    /// Closes the shop: nobody comes any more, what is counted and waiting is sent if the server still answers, all tasks end.
    pub async fn close(&self) {
        self.ground.stop.cancel();
        self.ground.tasks.close();
        self.ground.tasks.wait().await;
    }
}

/// Billing's own client, over a proxy that stalls while its switch is on.
async fn line_to_billing(
    info: &ConnectionInfo,
    switches: &Arc<Switches>,
    dice: &Arc<Dice>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Cache, StartError> {
    let ConnectionAddr::Tcp(host, port) = info.addr() else { return Err(StartError::NotTcp) };
    let upstream: SocketAddr =
        tokio::net::lookup_host((host.as_str(), *port)).await?.next().ok_or_else(|| StartError::Address(host.clone()))?;
    let switches = Arc::clone(switches);
    let fault = fault::Stalls {
        is_on: move || switches.is_on(Bug::BillingTimeouts),
        probability: STALL_PROBABILITY,
        length: STALL,
        dice: Arc::clone(dice),
    };
    let proxy = fault::start(upstream, Arc::new(fault), tasks, stop.clone()).await?;
    let through = info.clone().set_addr(ConnectionAddr::Tcp(proxy.ip().to_string(), proxy.port()));
    Ok(Cache::new(through, billing::LINE_TIMEOUT)?)
}

/// What is in the cache when the shop opens: it did not open today.
fn morning(dice: &Dice) -> Vec<(String, Value, usize, Duration)> {
    let value = Value { version: 1, fresh_until_ms: 0 };
    let left = |whole_s: u64| Duration::from_millis(1_000 + dice.below(whole_s * 1_000));
    let mut entries = Vec::new();
    for user in 1..=accounts::USERS {
        entries.push((accounts::profile_key(user, 1), value, 700, left(3_600)));
        entries.push((accounts::summary_key(user), value, 220, left(3_600)));
        entries.push((accounts::session_key(user), value, 160, left(1_800)));
    }
    entries.extend((1..=carts::CARTS).filter(|_| dice.chance(0.4)).map(|cart| (carts::key(cart), value, 420, left(240))));
    entries.extend((1..=catalog::PRODUCTS).map(|product| (catalog::key(product), value, 900, FIRST_IMPORT)));
    entries.extend((1..=billing::ACCOUNTS).map(|account| (billing::key(account), value, 1_200, left(270))));
    entries.extend((1..=search::QUERIES).map(|query| (search::key(query), value, 1_600, left(1_200))));
    entries
}

#[cfg(test)]
mod tests;
