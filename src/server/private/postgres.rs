//! The private Postgres: made once, started, given its two roles and its database, ended.

use super::folder::{DataFolder, Notes};
use super::process::{self, Watchdog};
use super::{PrivateError, folder};
use rustix::process::{Pid, Signal};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// The program, the Debian package, and the word in messages.
const NAME: &str = "postgres";
/// Recovery after a crash reads up to `max_wal_size` of log.
const START_PATIENCE: Duration = Duration::from_mins(2);

/// Whether a crash of the machine may lose what was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    Full,
    /// For tests: nothing is forced to disk.
    None,
}

/// A running cluster.
#[derive(Debug)]
pub struct Postgres {
    cluster: PathBuf,
    notes: Notes,
    watchdog: Watchdog,
}

impl Postgres {
    /// Makes the cluster if there is none, ends what an earlier process left running, and starts it.
    pub async fn start(folder: &mut DataFolder, durability: Durability) -> Result<Self, PrivateError> {
        let room = folder.room(NAME)?;
        let cluster = room.join("cluster");
        let bin = if cluster.join("PG_VERSION").exists() {
            let found =
                std::fs::read_to_string(cluster.join("PG_VERSION")).map_err(PrivateError::file("read", &cluster))?.trim().to_owned();
            process::find_program(NAME, Some(&found)).ok_or(PrivateError::OtherVersion { folder: cluster.clone(), found })?
        } else {
            let bin = process::find_program(NAME, None).ok_or(PrivateError::Missing { program: NAME, package: "postgresql" })?;
            create(folder, &bin, &room, &cluster, durability).await?;
            bin
        };
        let leader =
            std::fs::read_to_string(cluster.join("postmaster.pid")).ok().and_then(|text| Pid::from_raw(text.lines().next()?.parse().ok()?));
        process::end_all(NAME, &cluster, leader, Signal::INT).await;
        // What it named is gone, or is a stranger that has the number now.
        let _ = std::fs::remove_file(cluster.join("postmaster.pid"));

        let log = folder.path().join("postgres.log");
        let mut wanted = folder.notes.postgres_port;
        for attempt in 1.. {
            let port = process::free_port(wanted).map_err(PrivateError::file("find a free port for", &cluster))?;
            write_settings(folder, &cluster, port, durability)?;
            match launch(folder, &bin, &cluster, &log).await {
                Ok(watchdog) => {
                    folder.notes.postgres_port = Some(port);
                    prepare(&folder.notes).await?;
                    folder.save()?;
                    return Ok(Self { cluster, notes: folder.notes.clone(), watchdog });
                }
                Err(detail) if attempt < 4 && detail.contains("could not create any TCP/IP sockets") => wanted = None,
                Err(detail) => return Err(PrivateError::Start { server: "the private Postgres", detail, log }),
            }
        }
        unreachable!("the loop above returns")
    }

    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// The application's own database, as a role without privileges.
    pub fn database_url(&self) -> String {
        self.notes.database_url().unwrap_or_default()
    }

    /// The same database as the superuser.
    pub fn admin_database_url(&self) -> String {
        self.notes.admin_database_url().unwrap_or_default()
    }

    /// The cluster's folder, with its `postmaster.pid`.
    pub fn cluster(&self) -> &Path {
        &self.cluster
    }

    /// Ends it: sessions are cut, what was committed is kept.
    pub async fn stop(self) {
        let leader = std::fs::read_to_string(self.cluster.join("postmaster.pid"))
            .ok()
            .and_then(|text| Pid::from_raw(text.lines().next()?.parse().ok()?));
        process::end_all(NAME, &self.cluster, leader, Signal::INT).await;
        self.watchdog.call_off();
    }
}

/// `initdb` beside the final place, then a rename: a half-made cluster is never taken for one.
async fn create(folder: &DataFolder, bin: &Path, room: &Path, cluster: &Path, durability: Durability) -> Result<(), PrivateError> {
    let making = room.join("cluster.making");
    if making.exists() {
        std::fs::remove_dir_all(&making).map_err(PrivateError::file("remove", &making))?;
    }
    let password = room.join("admin-password");
    folder::write_secret(&password, folder.notes.admin_password.as_bytes())?;
    folder.give(&password)?;
    let mut initdb = process::command(&bin.join("initdb"), folder.account.as_ref());
    initdb.arg("-D").arg(&making).arg("--pwfile").arg(&password);
    initdb.args(["--username=stalewatch_admin", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"]);
    if durability == Durability::None {
        initdb.arg("--no-sync");
    }
    let made = tokio::process::Command::from(initdb).output().await;
    let _ = std::fs::remove_file(&password);
    let made = made.map_err(PrivateError::file("run", &bin.join("initdb")))?;
    if !made.status.success() {
        let log = folder.path().join("postgres.log");
        let said = String::from_utf8_lossy(&made.stderr).into_owned();
        std::fs::write(&log, &said).map_err(PrivateError::file("write", &log))?;
        let detail = said.lines().rev().find(|line| line.contains("error") || line.contains("FATAL")).unwrap_or("initdb failed").to_owned();
        return Err(PrivateError::Start { server: "the private Postgres", detail, log });
    }
    std::fs::rename(&making, cluster).map_err(PrivateError::file("name", cluster))
}

/// The whole of `postgresql.conf`: loopback only, no socket file (its path has a length limit that data folders exceed).
fn write_settings(folder: &DataFolder, cluster: &Path, port: u16, durability: Durability) -> Result<(), PrivateError> {
    let careless = match durability {
        Durability::Full => "",
        Durability::None => "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n",
    };
    let text = format!(
        "# Written by stalewatch at every start.\n\
         listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\n\
         max_connections = 100\npassword_encryption = 'scram-sha-256'\n\
         shared_buffers = '128MB'\nmax_wal_size = '1GB'\nwal_compression = on\njit = off\n\
         timezone = 'UTC'\nlog_timezone = 'UTC'\nlc_messages = 'C'\ndatestyle = 'iso, mdy'\n{careless}"
    );
    let path = cluster.join("postgresql.conf");
    folder::write_secret(&path, text.as_bytes())?;
    folder.give(&path)
}

/// Starts the server and waits until it says `ready` in its pid file. The error is the log's own last complaint.
async fn launch(folder: &DataFolder, bin: &Path, cluster: &Path, log: &Path) -> Result<Watchdog, String> {
    let file = process::open_log(log).map_err(|error| error.to_string())?;
    let from = file.metadata().map_or(0, |meta| meta.len());
    let second = file.try_clone().map_err(|error| error.to_string())?;
    let mut server = process::command(&bin.join(NAME), folder.account.as_ref());
    server.arg("-D").arg(cluster).stdout(Stdio::from(file)).stderr(Stdio::from(second));
    let mut child = tokio::process::Command::from(server).spawn().map_err(|error| error.to_string())?;
    let watchdog = Watchdog::set(child.id().unwrap_or_default(), cluster, "INT").map_err(|error| error.to_string())?;
    let until = tokio::time::Instant::now() + START_PATIENCE;
    loop {
        let status = std::fs::read_to_string(cluster.join("postmaster.pid")).unwrap_or_default();
        if status.lines().nth(7).is_some_and(|word| word.trim() == "ready") {
            return Ok(watchdog);
        }
        if let Ok(Some(_)) = child.try_wait() {
            watchdog.call_off();
            let said = process::read_log(log, from);
            let complaint = said.lines().rev().find(|line| line.contains("FATAL")).unwrap_or("it ended at once");
            return Err(complaint.split_once("FATAL:").map_or(complaint, |(_, text)| text).trim().to_owned());
        }
        if tokio::time::Instant::now() > until {
            process::end_all(NAME, cluster, None, Signal::QUIT).await;
            watchdog.call_off();
            return Err(format!("not ready within {} s", START_PATIENCE.as_secs()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The application's role and its database, made at the first start.
async fn prepare(notes: &Notes) -> Result<(), PrivateError> {
    let port = notes.postgres_port.unwrap_or_default();
    let options = sqlx::postgres::PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(port)
        .username("stalewatch_admin")
        .password(&notes.admin_password)
        .database("postgres")
        .ssl_mode(sqlx::postgres::PgSslMode::Disable)
        .disable_statement_logging();
    let mut admin = PgConnection::connect_with(&options).await?;
    let exists = |sql| sqlx::query_scalar::<_, bool>(sql);
    if !exists("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'stalewatch')").fetch_one(&mut admin).await? {
        // A generated password holds letters and digits only, so it needs no quoting.
        let create = format!("CREATE ROLE stalewatch LOGIN PASSWORD '{}'", notes.app_password);
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut admin).await?;
    }
    if !exists("SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'stalewatch')").fetch_one(&mut admin).await? {
        // Of the superuser: what owns a database may drop it, and the record with it.
        sqlx::raw_sql("CREATE DATABASE stalewatch").execute(&mut admin).await?;
    }
    admin.close().await?;
    Ok(())
}
