//! Finding programs and processes, running them without privileges, and ending them by id.

use super::PrivateError;
use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};

/// The account that the servers run as when we are root.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub uid: u32,
    pub gid: u32,
}

impl Account {
    /// `None` when we are nobody special ourselves.
    pub fn find() -> Result<Option<Self>, PrivateError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let table = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let of = |wanted: &str| {
            table.lines().find_map(|line| {
                let mut fields = line.split(':');
                let name = fields.next()?;
                let uid = fields.nth(1)?.parse().ok()?;
                let gid = fields.next()?.parse().ok()?;
                (name == wanted && uid != 0).then_some(Account { uid, gid })
            })
        };
        of("postgres").or_else(|| of("nobody")).map(Some).ok_or(PrivateError::NoAccount)
    }

    /// Whether this account can enter `folder`, with everything above it.
    pub fn can_enter(&self, folder: &Path) -> bool {
        let mut probe = command(Path::new("/bin/sh"), Some(self));
        probe.args(["-c", "cd \"$1\"", "sh"]).arg(folder).stdout(Stdio::null()).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    }
}

/// A command that inherits nothing from us but its standard streams: no environment, no terminal signals, no privileges.
pub(super) fn command(program: &Path, account: Option<&Account>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LC_ALL", "C").env("TZ", "UTC");
    // A group of its own: Ctrl-C reaches us only, and we end the servers after the last write.
    command.current_dir("/").stdin(Stdio::null()).process_group(0);
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    command
}

/// The folder that holds `program`: Debian's versioned folders first, newest version first (or `version` only), then wherever the shell finds it.
pub(super) fn find_program(program: &str, version: Option<&str>) -> Option<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort();
    let versioned = versions.into_iter().rev().filter(|(number, _)| version.is_none_or(|wanted| wanted == number.to_string()));
    if let Some(bin) = versioned.map(|(_, bin)| bin).find(|bin| bin.join(program).is_file()) {
        return Some(bin);
    }
    let found = Command::new("/bin/sh").args(["-c", "command -v \"$1\"", "sh", program]).stdin(Stdio::null()).output().ok()?;
    let path = PathBuf::from(String::from_utf8(found.stdout).ok()?.trim());
    // Follow links: Postgres finds its libraries beside its real place.
    Some(path.canonicalize().ok()?.parent()?.to_owned())
}

/// The processes named `name` whose working folder is `folder`. Both servers work in their data folder, whoever started them and however,
/// so this finds what is really there, where a pid file may be stale.
pub(super) fn living_in(name: &str, folder: &Path) -> Vec<Pid> {
    let Ok(folder) = folder.canonicalize() else { return Vec::new() };
    std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let is_it = std::fs::read_to_string(entry.path().join("comm")).ok()?.trim_end() == name
                && std::fs::read_link(entry.path().join("cwd")).ok()? == folder;
            is_it.then(|| Pid::from_raw(pid)).flatten()
        })
        .collect()
}

/// Signals what [`living_in`] finds, ever harder, until nothing lives there. `first` goes to `leader` (else to all).
pub(super) async fn end_all(name: &'static str, folder: &Path, leader: Option<Pid>, first: Signal) {
    for (signal, patience) in
        [(first, Duration::from_secs(7)), (Signal::QUIT, Duration::from_secs(2)), (Signal::KILL, Duration::from_secs(3))]
    {
        let alive = living_in(name, folder);
        if alive.is_empty() {
            return;
        }
        let chosen: Vec<Pid> = match leader.filter(|leader| signal != Signal::KILL && alive.contains(leader)) {
            Some(leader) => vec![leader],
            None => alive.clone(),
        };
        for pid in chosen {
            // One that ended meanwhile is what we wanted.
            let _ = rustix::process::kill_process(pid, signal);
        }
        for pid in alive {
            // A frozen process hears nothing until it is woken.
            let _ = rustix::process::kill_process(pid, Signal::CONT);
        }
        let until = tokio::time::Instant::now() + patience;
        while tokio::time::Instant::now() < until {
            if living_in(name, folder).is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    tracing::error!(server = name, folder = %folder.display(), "could not be ended");
}

/// A process that waits for ours to be gone, by the pipe that only we hold, and then signals the server, if it still lives in its folder.
#[derive(Debug)]
pub(super) struct Watchdog(Child);

impl Watchdog {
    pub fn set(server: u32, folder: &Path, signal: &str) -> Result<Self, PrivateError> {
        let script = "cat; [ \"$(readlink /proc/$1/cwd)\" = \"$2\" ] && kill -s \"$3\" \"$1\"";
        let shell = Path::new("/bin/sh");
        let child = command(shell, None)
            .args(["-c", script, "sh", &server.to_string()])
            .arg(folder)
            .arg(signal)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(PrivateError::file("start", shell))?;
        Ok(Self(child))
    }

    /// Calls it off, once the server is gone.
    pub fn call_off(mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A log file to append to; one that has grown past 16 MiB makes room first.
pub(super) fn open_log(path: &Path) -> Result<File, PrivateError> {
    const FULL: u64 = 16 << 20;
    if path.metadata().is_ok_and(|meta| meta.len() > FULL) {
        std::fs::rename(path, path.with_extension("log.1")).map_err(PrivateError::file("move", path))?;
    }
    File::options().create(true).append(true).open(path).map_err(PrivateError::file("open", path))
}

/// What was written to `log` after its first `from` bytes.
pub(super) fn read_log(log: &Path, from: u64) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let from = usize::try_from(from).unwrap_or(0).min(bytes.len());
    String::from_utf8_lossy(&bytes[from..]).into_owned()
}

/// A port of the loopback address that nobody uses: `wanted` if that one is free.
pub(super) fn free_port(wanted: Option<u16>) -> std::io::Result<u16> {
    let try_port = |port| std::net::TcpListener::bind(("127.0.0.1", port))?.local_addr().map(|address| address.port());
    match wanted {
        Some(port) if try_port(port).is_ok() => Ok(port),
        _ => try_port(0),
    }
}
