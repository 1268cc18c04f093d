//! The data folder: who holds it, where each server's files lie, and the ports and passwords remembered in it.

use super::PrivateError;
use super::process::Account;
use rand::distr::{Alphanumeric, SampleString as _};
use serde::{Deserialize, Serialize};
use std::fs::{File, Permissions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where servers live whose data folder their account cannot reach.
const ELSEWHERE: &str = "/var/lib/stalewatch";

/// Ports and passwords, in `private.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Notes {
    pub postgres_port: Option<u16>,
    pub redis_port: Option<u16>,
    pub admin_password: String,
    pub app_password: String,
    pub redis_password: String,
    pub flush_password: String,
    pub read_password: String,
}

impl Notes {
    fn generate() -> Self {
        Self {
            postgres_port: None,
            redis_port: None,
            admin_password: secret(),
            app_password: secret(),
            redis_password: secret(),
            flush_password: secret(),
            read_password: secret(),
        }
    }

    /// The application's own database, as a role without privileges. Empty until Postgres has once run.
    pub fn database_url(&self) -> Option<String> {
        self.postgres_port.map(|port| format!("postgres://stalewatch:{}@127.0.0.1:{port}/stalewatch", self.app_password))
    }

    /// The same database as the superuser.
    pub fn admin_database_url(&self) -> Option<String> {
        self.postgres_port.map(|port| format!("postgres://stalewatch_admin:{}@127.0.0.1:{port}/stalewatch", self.admin_password))
    }
}

/// 32 letters and digits: 190 bits, and safe in a URL and in a shell.
pub fn secret() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), 32)
}

/// What a process wants with a data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// `serve`, `demo`: refused where another one is; waits for a command to end.
    Server,
    /// Any other command: uses the servers of a [`Holder::Server`] that runs, else holds the folder for a moment.
    Command,
}

/// The answer to a claim.
#[derive(Debug)]
pub enum Claim {
    /// The folder is ours.
    Held(DataFolder),
    /// A server holds it; these are its ports and passwords.
    Running(Notes),
}

/// A data folder that this process holds.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    lock: File,
    pub(super) account: Option<Account>,
    pub(super) notes: Notes,
}

impl DataFolder {
    /// Takes hold of the folder at `path`, made if missing.
    pub async fn claim(path: &Path, holder: Holder) -> Result<Claim, PrivateError> {
        let account = Account::find()?;
        std::fs::create_dir_all(path).map_err(PrivateError::file("create the data folder", path))?;
        let path = path.canonicalize().map_err(PrivateError::file("open the data folder", path))?;
        // As root, others may pass through to the servers' own folders, which are theirs alone; nobody else may look around.
        let mode = if account.is_some() { 0o711 } else { 0o700 };
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(PrivateError::file("set the rights of", &path))?;
        let Some(mut lock) = wait_for_lock(&path, holder).await? else {
            return running_notes(&path).await.map(Claim::Running);
        };
        let failed = PrivateError::file("write", &path.join("lock"));
        let word = if holder == Holder::Server { "server" } else { "command" };
        lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{word} {}", std::process::id())).map_err(failed)?;
        let notes = match read_notes(&path)? {
            Some(notes) => notes,
            None => Notes::generate(),
        };
        let folder = Self { path, lock, account, notes };
        folder.save()?;
        Ok(Claim::Held(folder))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Writes `private.json` anew, whole or not at all.
    pub(super) fn save(&self) -> Result<(), PrivateError> {
        let path = self.path.join("private.json");
        let text = serde_json::to_vec_pretty(&self.notes)
            .map_err(|error| PrivateError::Damaged { path: path.clone(), detail: error.to_string() })?;
        write_secret(&path, &text)
    }

    /// The folder in which the server `name` keeps its files, made if missing and owned by its account.
    pub(super) fn room(&self, name: &str) -> Result<PathBuf, PrivateError> {
        let link = self.path.join(name);
        if let Ok(room) = link.canonicalize() {
            return Ok(room);
        }
        let room = match &self.account {
            Some(account) if !account.can_enter(&self.path) => {
                let room = Path::new(ELSEWHERE).join(format!("{name}-{}", &secret()[..12]));
                std::fs::create_dir_all(&room).map_err(PrivateError::file("create", &room))?;
                std::os::unix::fs::symlink(&room, &link).map_err(PrivateError::file("link", &link))?;
                room
            }
            _ => {
                std::fs::create_dir(&link).map_err(PrivateError::file("create", &link))?;
                link
            }
        };
        std::fs::set_permissions(&room, Permissions::from_mode(0o700)).map_err(PrivateError::file("set the rights of", &room))?;
        self.give(&room)?;
        Ok(room)
    }

    /// Makes the servers' account the owner of `path`.
    pub(super) fn give(&self, path: &Path) -> Result<(), PrivateError> {
        let Some(Account { uid, gid }) = self.account else { return Ok(()) };
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).map_err(PrivateError::file("give away", path))
    }
}

impl Drop for DataFolder {
    fn drop(&mut self) {
        // The lock goes with the file; its text should not name a process that is gone.
        let _ = self.lock.set_len(0);
    }
}

/// Writes a file that only its owner may read, by way of a temporary one, so that a reader sees the old text or the new.
pub fn write_secret(path: &Path, text: &[u8]) -> Result<(), PrivateError> {
    let new = path.with_extension("new");
    let write = || -> std::io::Result<()> {
        let mut file = File::options().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    write().map_err(PrivateError::file("write", path))
}

fn read_notes(folder: &Path) -> Result<Option<Notes>, PrivateError> {
    let path = folder.join("private.json");
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| PrivateError::Damaged { path, detail: error.to_string() }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(PrivateError::File { doing: "read", path, cause }),
    }
}

/// The notes of a server that holds the folder; one that is starting for the first time has not written its port yet.
async fn running_notes(folder: &Path) -> Result<Notes, PrivateError> {
    for _ in 0..300 {
        if let Some(notes) = read_notes(folder)?.filter(|notes| notes.postgres_port.is_some()) {
            return Ok(notes);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(PrivateError::Damaged { path: folder.join("private.json"), detail: "the process that holds the folder writes no port".to_owned() })
}

/// The lock, or `None` where a server holds it and a command asks.
async fn wait_for_lock(folder: &Path, holder: Holder) -> Result<Option<File>, PrivateError> {
    let path = folder.join("lock");
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(PrivateError::file("open", &path))?;
    let mut held_by = String::new();
    for _ in 0..300 {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(cause)) => return Err(PrivateError::File { doing: "lock", path, cause }),
            Err(TryLockError::WouldBlock) => {}
        }
        held_by.clear();
        file.rewind().and_then(|()| file.read_to_string(&mut held_by)).map_err(PrivateError::file("read", &path))?;
        // Empty, or a process that is gone: someone has just taken the lock, or is just letting go of it.
        if let Some(pid) = held_by.trim().strip_prefix("server ").filter(|pid| Path::new("/proc").join(pid).exists()) {
            return match holder {
                Holder::Command => Ok(None),
                Holder::Server => Err(PrivateError::InUse { folder: folder.to_owned(), pid: pid.to_owned() }),
            };
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let pid = held_by.trim().trim_start_matches("command ").to_owned();
    Err(PrivateError::InUse { folder: folder.to_owned(), pid })
}
