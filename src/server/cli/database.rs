//! The Postgres of a command: the one that `DATABASE_URL` names, or the data folder's own, which runs already or is started for the command.

use super::{Failure, Settings};
use crate::server::private::{Claim, DataFolder, Durability, Holder, Servers};
use crate::server::run::Databases;
use crate::server::state::Pools;

/// Open pools, and the server behind them if it was started for this command.
pub(super) struct Database {
    pub pools: Pools,
    servers: Option<Servers>,
}

impl Database {
    /// Opens it. The schema of a private one is brought up; a given one belongs to its operator, who runs `migrate`.
    pub async fn open(settings: &Settings) -> Result<Self, Failure> {
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
            let url = notes.database_url().ok_or("the data folder's Postgres has not started yet: try again in a few seconds")?;
            Ok((Databases::one(url), None))
        }
        Claim::Held(folder) => {
            let servers = Servers::start(folder, Durability::Full, None).await?;
            Ok((Databases::private(&servers.postgres), Some(servers)))
        }
    }
}

/// `stalewatch migrate`.
pub(super) async fn migrate(settings: &Settings) -> Result<(), Failure> {
    if let Some(databases) = Databases::given(&settings.environment) {
        databases.migrate().await?;
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
