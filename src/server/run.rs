//! A server from its parts: schema, pools, state, jobs and the open door. `serve`, `demo` and the tests all start here.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use sqlx::migrate::MigrateError;
use tokio::net::TcpListener;

use crate::domain::audit::Actor;
use crate::server::clock::Clock;
use crate::server::collect;
use crate::server::config::{Config, Environment};
use crate::server::door;
use crate::server::jobs::{self, Jobs};
use crate::server::private::Notes;
use crate::server::router::router;
use crate::server::service::audit;
use crate::server::service::configuration;
use crate::server::service::rollups;
use crate::server::state::{AppState, Pools};
use crate::server::store::migrations;
use crate::server::store::pools::{self, Purpose};
use crate::server::store::roles::{self, Moment, ServerRole};

/// What requests under way get when the server ends,
const DRAIN: Duration = Duration::from_secs(6);
/// and the jobs after them,
const JOBS_END: Duration = Duration::from_secs(4);
/// and the pools. With the private servers' 12 s this stays within the 25 s that an ending may take.
const POOLS_END: Duration = Duration::from_secs(1);

/// Where the two databases are; they may be one.
#[derive(Clone, Debug)]
pub struct Databases {
    pub control: String,
    pub events: String,
    /// The first, as whoever may change its schema. Events belong to the server's own role.
    pub migration: String,
    /// Whether bringing the schema up also separates the roles; where they are, they are kept so in any case.
    pub separate: bool,
}

impl Databases {
    /// Those that the environment names, if it does.
    pub fn given(environment: &Environment) -> Option<Self> {
        let control = environment.get("DATABASE_URL")?.to_owned();
        let events = environment.get("EVENTS_DATABASE_URL").map_or_else(|| control.clone(), str::to_owned);
        let migration = environment.get("MIGRATION_DATABASE_URL").map_or_else(|| control.clone(), str::to_owned);
        Some(Self { control, events, migration, separate: false })
    }

    /// One database for both.
    pub fn one(url: String) -> Self {
        Self { control: url.clone(), events: url.clone(), migration: url, separate: false }
    }

    pub fn private(notes: &Notes) -> Option<Self> {
        Some(Self { migration: notes.admin_database_url()?, separate: true, ..Self::one(notes.database_url()?) })
    }

    /// Brings both schemas up, each part as whoever owns it.
    pub async fn migrate(&self) -> Result<(), StartError> {
        migrations::run_control(&self.migration).await.map_err(StartError::Migrate)?;
        let apart = self.migration != self.control;
        if self.separate || (apart && roles::are_separated(&self.migration).await.map_err(StartError::Roles)?) {
            let server = ServerRole::of(&self.control).map_err(StartError::Url)?;
            let here = self.events == self.control;
            roles::separate(&self.migration, &server, here, Moment::BeforeEvents).await.map_err(StartError::Roles)?;
            migrations::run_events(&self.events).await.map_err(StartError::Migrate)?;
            roles::separate(&self.migration, &server, here, Moment::AfterEvents).await.map_err(StartError::Roles)
        } else {
            migrations::run_events(&self.events).await.map_err(StartError::Migrate)
        }
    }

    pub fn pools(&self) -> Result<Pools, StartError> {
        let open = |url: &str, purpose| pools::open(url, purpose).map_err(StartError::Url);
        Ok(Pools {
            control: open(&self.control, Purpose::Web)?,
            record: open(&self.control, Purpose::Record)?,
            events: open(&self.events, Purpose::Ingest)?,
            events_read: open(&self.events, Purpose::Read)?,
        })
    }
}

/// Why a server did not come up.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("DATABASE_URL or EVENTS_DATABASE_URL cannot be used ({0}): write it as postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    Url(sqlx::Error),
    #[error(
        "cannot bring the schema up: {0}; check DATABASE_URL and that its role may create schemas there or, where the roles are separated, \
        run `stalewatch migrate` with MIGRATION_DATABASE_URL, then try again"
    )]
    Migrate(MigrateError),
    #[error(
        "cannot separate the roles ({0}); let MIGRATION_DATABASE_URL name a superuser, or a role that may create roles and owns the database, \
        and DATABASE_URL an ordinary role (made if it is missing), then try again"
    )]
    Roles(sqlx::Error),
    #[error("cannot record which configuration comes into force ({0}); check that Postgres answers, then try again")]
    Record(sqlx::Error),
    #[error("Postgres refused what has to be there before events come in ({0}): check its log, then try again")]
    Store(sqlx::Error),
}

/// A server that is ready and whose door is not open yet.
pub struct Server {
    pub app: AppState,
    pub jobs: Jobs,
    listener: TcpListener,
}

impl Server {
    /// Brings the schema up, opens the pools and starts the jobs.
    pub async fn prepare(listener: TcpListener, config: Config, clock: Clock, databases: &Databases) -> Result<Self, StartError> {
        databases.migrate().await?;
        let pools = databases.pools()?;
        // Before the first record of this process: from then on a restored backup and a tampered record look alike.
        if let Err(cause) = audit::notice_cut(&pools.record, &config.data_dir).await {
            tracing::error!(error.cause = %cause, "it could not be recorded that the end of the audit record is missing");
        }
        configuration::record_loaded(&pools.record, &Actor::System, &config).await.map_err(StartError::Record)?;
        let app = AppState::new(config, clock, pools);
        tell_separation(&app).await;
        rollups::keep(&app).await.map_err(StartError::Store)?;
        let jobs = jobs::start(&app);
        collect::start(&jobs, &app);
        Ok(Self { app, jobs, listener })
    }

    /// Where people find it, as far as this machine knows.
    pub fn url(&self) -> String {
        self.app.config().public_url.clone().unwrap_or_else(|| self.door())
    }

    /// The bound address as a URL: where programs on this machine reach it, whatever its public name.
    pub fn door(&self) -> String {
        self.listener.local_addr().map_or_else(|_| String::new(), local_url)
    }

    /// Answers requests until `ending` resolves, then ends within [`DRAIN`] + [`JOBS_END`] + [`POOLS_END`].
    pub async fn run(self, ending: impl Future<Output = ()>) {
        let Self { app, jobs, listener } = self;
        door::serve(listener, router(app.clone()), ending, DRAIN).await;
        jobs.end(JOBS_END).await;
        let pools = &app.pools;
        let closed = async { tokio::join!(pools.control.close(), pools.record.close(), pools.events.close(), pools.events_read.close()) };
        let _ = tokio::time::timeout(POOLS_END, closed).await;
    }
}

/// Says so where the server could rewrite the record that it is held to.
async fn tell_separation(app: &AppState) {
    let Ok(mut conn) = app.pools.record.acquire().await else { return };
    if let Ok(Some(why)) = roles::why_not_separated(&mut conn).await {
        tracing::warn!(
            "the audit record is not separated: the server's role in Postgres {why}; `stalewatch migrate --roles` with MIGRATION_DATABASE_URL mends it"
        );
    }
}

/// The URL of a bound address; one that means "every address" is named by loopback.
fn local_url(address: SocketAddr) -> String {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
    }
    format!("http://{address}")
}
