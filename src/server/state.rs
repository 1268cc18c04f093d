//! What every handler and job shares. Cheap to clone; holds no authority: that lives in Postgres.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use sqlx::PgPool;

use crate::server::auth::RememberedTokens;
use crate::server::clock::Clock;
use crate::server::config::Config;
use crate::server::ingest::{Ingest, Registry};
use crate::server::service::accounts::Access;
use crate::server::service::audit::Anchoring;
use crate::server::service::cells::Cells;
use crate::server::service::demo::Switchboard;
use crate::server::service::flush::Flushes;
use crate::server::service::listening::Listening;
use crate::server::service::overview::Overview;
use crate::server::service::prefix::PrefixPage;
use crate::server::service::quality::LastKnown;
use crate::server::service::remembered::Remembered;

/// The connection pools, apart so that load on one cannot starve another.
#[derive(Clone)]
pub struct Pools {
    /// Control tables, for pages and forms.
    pub control: PgPool,
    /// Reserved for audit and flush.
    pub record: PgPool,
    /// Events, writing: group commit, rollups.
    pub events: PgPool,
    /// Events, reading: pages and figures.
    pub events_read: PgPool,
}

/// Shared state, by `Arc`.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// What [`AppState`] points at; reached through `Deref`.
pub struct Shared {
    config: RwLock<Arc<Config>>,
    pub clock: Clock,
    pub pools: Pools,
    /// What this process keeps about people between requests.
    pub access: Access,
    /// What this process keeps about the audit chain between requests.
    pub anchoring: Anchoring,
    /// What this process keeps about flushes at work.
    pub flushes: Flushes,
    /// Tokens that were valid a moment ago.
    pub tokens: RememberedTokens,
    /// The figures that pages are drawn from.
    pub cells: Cells,
    /// The way in for events.
    pub ingest: Ingest,
    /// The data-quality strip as it was last known, for the time that Postgres is away.
    pub last_known: LastKnown,
    /// What this process hears of keyspace events.
    pub listening: Listening,
    pub overviews: Remembered<Overview>,
    pub prefixes: Remembered<PrefixPage>,
    /// The simulated shop, once it is open: only `stalewatch demo` opens one.
    pub shop: OnceLock<Arc<dyn Switchboard>>,
}

impl std::ops::Deref for AppState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl AppState {
    /// Starts the writers of events, so it needs a runtime.
    pub fn new(config: Config, clock: Clock, pools: Pools) -> Self {
        let ingest = Ingest::start(pools.events.clone(), clock.clone(), Registry::of(&config), config.rate);
        Self(Arc::new(Shared {
            config: RwLock::new(Arc::new(config)),
            clock,
            pools,
            access: Access::default(),
            cells: Cells::default(),
            anchoring: Anchoring::default(),
            last_known: LastKnown::default(),
            listening: Listening::default(),
            overviews: Remembered::default(),
            prefixes: Remembered::default(),
            shop: OnceLock::new(),
            flushes: Flushes::default(),
            tokens: RememberedTokens::default(),
            ingest,
        }))
    }
}

impl Shared {
    /// The configuration in force; take it once per request.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a re-read configuration in force (SIGHUP).
    pub fn replace_config(&self, config: Config) {
        self.ingest.replace_registry(Registry::of(&config));
        self.ingest.replace_rate(config.rate);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }
}
