//! The private Redis: its settings, its three users, start and end.

use super::PrivateError;
use super::folder::{self, DataFolder, Notes};
use super::process::{self, Watchdog};
use rustix::process::Signal;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

const NAME: &str = "redis-server";
/// Reading a large dump takes a while.
const START_PATIENCE: Duration = Duration::from_mins(1);
/// Nobody but the flush engine's self-check writes below this, and the check wants to be refused.
const SELF_CHECK: &str = "sw-selfcheck:";

/// What `sw_flush` may do on this Redis beside the usual, and what not.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    /// Literal prefixes that it gets no right to.
    pub untouchable: Vec<Vec<u8>>,
    /// Keys whose number it may raise.
    pub generations: Vec<String>,
}

/// A running Redis.
#[derive(Debug)]
pub struct Redis {
    room: PathBuf,
    notes: Notes,
    watchdog: Watchdog,
}

impl Redis {
    /// Ends what an earlier process left running and starts it.
    pub async fn start(folder: &mut DataFolder, rights: &Rights) -> Result<Self, PrivateError> {
        let bin = process::find_program(NAME, None).ok_or(PrivateError::Missing { program: NAME, package: "redis-server" })?;
        let room = folder.room("redis")?;
        process::end_all(NAME, &room, None, Signal::TERM).await;
        let log = folder.path().join("redis.log");
        let mut wanted = folder.notes.redis_port;
        for attempt in 1.. {
            let port = process::free_port(wanted).map_err(PrivateError::file("find a free port for", &room))?;
            let settings = settings(&folder.notes, &room, port, rights);
            folder::write_secret(&room.join("redis.conf"), settings.as_bytes())?;
            folder.give(&room.join("redis.conf"))?;
            match launch(folder, &bin, &room, port, &log).await {
                Ok(watchdog) => {
                    folder.notes.redis_port = Some(port);
                    folder.save()?;
                    return Ok(Self { room, notes: folder.notes.clone(), watchdog });
                }
                Err(detail) if attempt < 4 && detail.contains("Address already in use") => wanted = None,
                Err(detail) => return Err(PrivateError::Start { server: "the private Redis", detail, log }),
            }
        }
        unreachable!("the loop above returns")
    }

    /// May do anything: the application's side.
    pub fn url(&self) -> String {
        self.url_of("default", &self.notes.redis_password)
    }

    /// Looks, and changes nothing: what the dashboard reads with.
    pub fn read_url(&self) -> String {
        self.url_of("sw_read", &self.notes.read_password)
    }

    /// The flush identity's name and password.
    pub fn flush_identity(&self) -> (&'static str, &str) {
        ("sw_flush", &self.notes.flush_password)
    }

    fn url_of(&self, user: &str, password: &str) -> String {
        format!("redis://{user}:{password}@127.0.0.1:{}/0", self.notes.redis_port.unwrap_or_default())
    }

    /// Its folder; the process works there.
    pub fn room(&self) -> &Path {
        &self.room
    }

    /// Ends it; what it holds is written to `dump.rdb`.
    pub async fn stop(self) {
        process::end_all(NAME, &self.room, None, Signal::TERM).await;
        self.watchdog.call_off();
    }
}

/// The whole of `redis.conf`.
fn settings(notes: &Notes, room: &Path, port: u16, rights: &Rights) -> String {
    let Notes { redis_password, flush_password, read_password, .. } = notes;
    let mut allowed = String::new();
    let forbidden: Vec<&[u8]> = rights.untouchable.iter().map(Vec::as_slice).chain([SELF_CHECK.as_bytes()]).collect();
    for pattern in all_keys_but(&forbidden) {
        let _ = write!(allowed, " {}", quoted(&[b"~", pattern.as_slice()].concat()));
    }
    let mut raises = String::new();
    if !rights.generations.is_empty() {
        let keys: Vec<String> = rights.generations.iter().map(|key| key.bytes().flat_map(escaped).map(char::from).collect()).collect();
        let _ = write!(raises, " {}", quoted(format!("(+incr ~{})", keys.join(" ~")).as_bytes()));
    }
    // It works where it keeps its dump, which is also how a later start finds it.
    let room = quoted(room.as_os_str().as_encoded_bytes());
    format!(
        "# Written by stalewatch at every start.\n\
         bind 127.0.0.1\nport {port}\ndir {room}\ndaemonize no\nsave 900 1\nappendonly no\nstop-writes-on-bgsave-error no\n\
         enable-debug-command local\n\
         user default reset on >{redis_password} ~* &* +@all\n\
         user sw_read reset on >{read_password} ~* resetchannels -@all +ping +hello +auth +select +role +info +acl|whoami \
         +client|setname +client|id +scan +type +exists +pttl +memory|usage +dbsize +wait\n\
         user sw_flush reset on >{flush_password}{allowed} resetchannels -@all +ping +hello +auth +select +role +info +acl|whoami \
         +client|setname +client|id +scan +type +exists +pttl +pexpire +unlink +memory|usage +wait \
         +cluster|slots +cluster|shards +cluster|nodes +asking +readonly{raises}\n"
    )
}

/// Glob patterns that together match every key that begins with none of `forbidden`. Redis's key rights can only allow, so what is forbidden
/// is described by where a key first departs from it: for each proper beginning of a forbidden prefix, the key is that beginning itself, or goes
/// on with a byte that no forbidden prefix goes on with.
fn all_keys_but(forbidden: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut beginnings: Vec<&[u8]> = forbidden.iter().flat_map(|prefix| (0..prefix.len()).map(|length| &prefix[..length])).collect();
    beginnings.sort_unstable();
    beginnings.dedup();
    beginnings.retain(|beginning| !forbidden.iter().any(|prefix| beginning.starts_with(prefix)));
    let mut patterns = Vec::new();
    for beginning in beginnings {
        let mut nexts: Vec<u8> =
            forbidden.iter().filter(|prefix| prefix.starts_with(beginning)).map(|prefix| prefix[beginning.len()]).collect();
        nexts.sort_unstable();
        nexts.dedup();
        let literal: Vec<u8> = beginning.iter().flat_map(|&byte| escaped(byte)).collect();
        if !literal.is_empty() {
            patterns.push(literal.clone());
        }
        let class: Vec<u8> = nexts.into_iter().flat_map(escaped).collect();
        patterns.push([literal.as_slice(), b"[^", &class, b"]*"].concat());
    }
    patterns
}

/// A byte of a glob pattern that stands for itself.
fn escaped(byte: u8) -> Vec<u8> {
    if byte.is_ascii_alphanumeric() || byte == b':' { vec![byte] } else { vec![b'\\', byte] }
}

/// An argument as `redis.conf` reads it.
fn quoted(argument: &[u8]) -> String {
    let mut text = String::from("\"");
    for &byte in argument {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text.push('"');
    text
}

/// Starts the server and waits until it answers. The error is what its log complains of.
async fn launch(folder: &DataFolder, bin: &Path, room: &Path, port: u16, log: &Path) -> Result<Watchdog, String> {
    let file = process::open_log(log).map_err(|error| error.to_string())?;
    let from = file.metadata().map_or(0, |meta| meta.len());
    let second = file.try_clone().map_err(|error| error.to_string())?;
    let mut server = process::command(&bin.join(NAME), folder.account.as_ref());
    server.arg(room.join("redis.conf")).stdout(Stdio::from(file)).stderr(Stdio::from(second));
    let mut child = tokio::process::Command::from(server).spawn().map_err(|error| error.to_string())?;
    let watchdog = Watchdog::set(child.id().unwrap_or_default(), room, "TERM").map_err(|error| error.to_string())?;
    let url = format!("redis://default:{}@127.0.0.1:{port}/0", folder.notes.redis_password);
    let until = tokio::time::Instant::now() + START_PATIENCE;
    loop {
        if answers(&url).await {
            return Ok(watchdog);
        }
        if let Ok(Some(_)) = child.try_wait() {
            watchdog.call_off();
            let said = process::read_log(log, from);
            let complaint = said.lines().rev().find(|line| line.contains(" # ") || line.contains("Fatal") || line.contains(">>>"));
            let address = said.lines().find(|line| line.contains("Address already in use"));
            return Err(address.or(complaint).unwrap_or("it ended at once").trim().to_owned());
        }
        if tokio::time::Instant::now() > until {
            process::end_all(NAME, room, None, Signal::TERM).await;
            watchdog.call_off();
            return Err(format!("not ready within {} s", START_PATIENCE.as_secs()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn answers(url: &str) -> bool {
    let Ok(client) = redis::Client::open(url) else { return false };
    let Ok(mut connection) = client.get_multiplexed_async_connection().await else { return false };
    redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patterns_depart_from_every_forbidden_prefix() {
        let patterns: Vec<String> =
            all_keys_but(&[b"se:", b"sw-"]).into_iter().map(|pattern| String::from_utf8(pattern).unwrap()).collect();
        assert_eq!(patterns, ["[^s]*", "s", "s[^ew]*", "se", "se[^:]*", "sw", r"sw[^\-]*"]);
    }

    #[test]
    fn a_prefix_inside_another_adds_nothing() {
        assert_eq!(all_keys_but(&[b"a", b"ab"]), [b"[^a]*".to_vec()]);
    }

    #[test]
    fn arguments_survive_the_settings_file() {
        assert_eq!(quoted(b"~a\\*\"\x01"), r#""~a\\*\"\x01""#);
    }
}
