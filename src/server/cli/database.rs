//! The Postgres of a command: the one that `DATABASE_URL` names, or the data folder's own, which runs already or is started for the command.

use super::{Failure, Settings};
use crate::server::private::{Claim, DataFolder, Durability, Holder, Servers};
use crate::server::run::Databases;
use crate::server::service::audit;
use crate::server::state::Pools;

/// Open pools, and the server behind them if it was started for this command.
pub(super) struct Database {
    pub pools: Pools,
    servers: Option<Servers>,
}

impl Database {
    /// Opens it for a command that may append to the audit record: that its end is missing has to be said first, if it is.
    pub async fn open(settings: &Settings) -> Result<Self, Failure> {
        let database = Self::open_as_it_is(settings).await?;
        if let Err(cause) = audit::notice_cut(&database.pools.record, &settings.config.data_dir).await {
            // The command itself meets the same Postgres and says it better.
            tracing::debug!(error.cause = %cause, "cannot tell whether the end of the audit record is missing");
        }
        Ok(database)
    }

    /// Opens it. The schema of a private one is brought up; a given one belongs to its operator, who runs `migrate`.
    pub async fn open_as_it_is(settings: &Settings) -> Result<Self, Failure> {
        if let Some(databases) = Databases::given(&settings.environment) {
            return Ok(Self { pools: databases.pools()?, servers: None });
        }
        let (databases, servers) = private(settings).await?;
        if servers.is_some() {
            databases.migrate().await?;
        }
        Ok(Self { pools: databases.pools()?, servers })
    }

    /// Closes the pools and ends what was started.
    pub async fn close(self) {
        let Pools { control, record, events, events_read } = &self.pools;
        tokio::join!(control.close(), record.close(), events.close(), events_read.close());
        if let Some(servers) = self.servers {
            servers.stop().await;
        }
    }
}

/// The data folder's Postgres, and its servers if they are ours to end.
async fn private(settings: &Settings) -> Result<(Databases, Option<Servers>), Failure> {
    match DataFolder::claim(&settings.config.data_dir, Holder::Command).await? {
        Claim::Running(notes) => {
            let databases =
                Databases::private(&notes).ok_or("the data folder's Postgres has not started yet: try again in a few seconds")?;
            Ok((databases, None))
        }
        Claim::Held(folder) => {
            let servers = Servers::start(folder, Durability::Full, None).await?;
            let databases = Databases::private(servers.postgres.notes()).ok_or("the data folder's Postgres has no port")?;
            Ok((databases, Some(servers)))
        }
    }
}

/// `stalewatch migrate [--roles]`. A private Postgres has separated roles in any case.
pub(super) async fn migrate(settings: &Settings, separate: bool) -> Result<(), Failure> {
    if let Some(databases) = Databases::given(&settings.environment) {
        let databases = Databases { separate, ..databases };
        if separate && databases.migration == databases.control {
            return Err("the server's role cannot be separated from itself: let MIGRATION_DATABASE_URL name a role that may create roles \
                        (a superuser, most simply), and DATABASE_URL the server's own"
                .into());
        }
        databases.migrate().await?;
        if separate {
            tell_separation(&databases).await?;
        }
    } else {
        let (databases, servers) = private(settings).await?;
        let done = databases.migrate().await;
        if let Some(servers) = servers {
            servers.stop().await;
        }
        done?;
    }
    eprintln!("The schema is up to date.");
    Ok(())
}

/// Says what came of it, as the server's own role sees it.
async fn tell_separation(databases: &Databases) -> Result<(), Failure> {
    let pools = databases.pools()?;
    let mut conn = pools.control.acquire().await.map_err(|error| explain(&error))?;
    let found = audit::why_not_separated(&mut conn).await.map_err(|error| explain(&error))?;
    drop(conn);
    pools.control.close().await;
    match found {
        None => {
            eprintln!("The roles are separated: the server's may read the audit record and append to it.");
            Ok(())
        }
        Some(why) => Err(format!("the roles are not separated, because the server's {why}; take that from it and try again").into()),
    }
}

/// A sentence for what a store answered a command.
pub(super) fn explain(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(cause) if matches!(cause.code().as_deref(), Some("42P01" | "3F000" | "42883")) => {
            "the database has no schema yet, or an old one: run `stalewatch migrate`".to_owned()
        }
        sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) => {
            "Postgres does not answer: check DATABASE_URL and that it runs, then try again".to_owned()
        }
        other => format!("Postgres refused ({other}); nothing was changed"),
    }
}
