//! Private Postgres and Redis: the machine's installed binaries, run over a data folder for `demo`, for `serve` without `DATABASE_URL`, and for tests.
//!
//! What lies in a data folder:
//! ```text
//! lock           held by the process that runs this folder; names it
//! private.json   ports and generated passwords, readable by its owner only; written once, ports change if another program took one
//! postgres/      cluster/ (the Postgres cluster) and what its creation left behind
//! redis/         redis.conf and dump.rdb
//! *.log          what the two servers say
//! ```
//! Neither server runs as root: started by root, they run as `postgres`, else as `nobody`. Where that account cannot reach the data folder
//! (a folder above it is closed to others, like `/root`), `postgres` and `redis` are links into `/var/lib/stalewatch/`, and nobody's rights change.
//!
//! The servers end with us: by [`Servers::stop`] when we leave in order, by a watchdog process when we are killed. Should even that fail,
//! the next start finds them by their working folder and ends them first.
//!
//! Both read their settings from a file in their folder, so that an operator can stop one and start it again by hand on the same port.
//! We never restart a server that ended: it may have been stopped on purpose.

mod folder;
mod postgres;
mod process;
mod redis;

pub use folder::{Claim, DataFolder, Holder, Notes, write_secret};
pub use postgres::{Durability, Postgres};
pub use redis::{Redis, Rights};

use std::path::{Path, PathBuf};

/// Why a private server or its folder is not to be had. Each is one sentence that says what to do next.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    #[error("`{program}` is not installed here: run `make setup`, or install the package {package} (apt-get install {package})")]
    Missing { program: &'static str, package: &'static str },
    #[error(
        "the data folder {} is in use by process {pid}: stop that one, or give this one a folder of its own with --data-dir",
        folder.display()
    )]
    InUse { folder: PathBuf, pid: String },
    #[error("cannot {doing} {}: {cause}", path.display())]
    File { doing: &'static str, path: PathBuf, cause: std::io::Error },
    #[error("{server} did not start: {detail} (its log is {})", log.display())]
    Start { server: &'static str, detail: String, log: PathBuf },
    #[error("no account without privileges to run Postgres as: create one (useradd --system postgres), or start this as an ordinary user")]
    NoAccount,
    #[error("{} was made by Postgres {found}, which is not installed here: install postgresql-{found}, or give another --data-dir", folder.display())]
    OtherVersion { folder: PathBuf, found: String },
    #[error("{} is damaged ({detail}): restore it from a backup, or give another --data-dir", path.display())]
    Damaged { path: PathBuf, detail: String },
    #[error("the private Postgres does not answer as it should: {0}")]
    Postgres(#[from] sqlx::Error),
}

impl PrivateError {
    fn file(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |cause| Self::File { doing, path, cause }
    }
}

/// The running servers of one data folder and the folder itself.
#[derive(Debug)]
pub struct Servers {
    pub postgres: Postgres,
    pub redis: Option<Redis>,
    // Last, so that the lock is let go only when both servers are gone.
    folder: DataFolder,
}

impl Servers {
    /// Starts Postgres, and Redis too if `redis` says what its flush identity may never touch.
    pub async fn start(folder: DataFolder, durability: Durability, redis: Option<&Rights>) -> Result<Self, PrivateError> {
        let mut folder = folder;
        let postgres = Postgres::start(&mut folder, durability).await?;
        let redis = match redis {
            None => None,
            Some(rights) => match Redis::start(&mut folder, rights).await {
                Ok(redis) => Some(redis),
                Err(error) => {
                    postgres.stop().await;
                    return Err(error);
                }
            },
        };
        Ok(Self { postgres, redis, folder })
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Ends both servers, orderly if they let us: at most about 12 seconds.
    pub async fn stop(self) {
        let redis = async {
            if let Some(redis) = self.redis {
                redis.stop().await;
            }
        };
        tokio::join!(self.postgres.stop(), redis);
        drop(self.folder);
    }
}

#[cfg(test)]
mod tests;
