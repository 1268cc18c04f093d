//! The binary itself: its ready line, what ends it, what it survives, what it refuses.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::TestRedis;
use serde_json::Value;

/// A running `stalewatch`, killed with the test.
struct Running {
    child: Child,
    ready: Value,
}

fn command(arguments: &[&str], data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stalewatch"));
    for name in ["DATABASE_URL", "EVENTS_DATABASE_URL", "MIGRATION_DATABASE_URL", "STALEWATCH_CONFIG"] {
        command.env_remove(name);
    }
    command.args(arguments).arg("--data-dir").arg(data_dir).current_dir(data_dir).stdin(Stdio::null());
    command
}

fn start(arguments: &[&str], data_dir: &Path) -> Running {
    let mut child = command(arguments, data_dir).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Running { ready: serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}")), child }
}

impl Running {
    fn url(&self) -> &str {
        self.ready["url"].as_str().unwrap()
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Ends it with SIGTERM; how long that took.
    fn end(mut self) -> Duration {
        let began = Instant::now();
        self.signal("TERM");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
        began.elapsed()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command that is to fail: what it says on standard error.
fn refused(arguments: &[&str], data_dir: &Path) -> String {
    let output = command(arguments, data_dir).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap().lines().last().unwrap_or_default().to_owned()
}

async fn status(url: &str) -> u16 {
    reqwest::get(format!("{url}/healthz")).await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_single_in_its_folder_and_at_its_port_and_ends_when_told() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = start(&["serve", "--json", "--listen", "127.0.0.1:0"], folder.path());
    assert_eq!(status(server.url()).await, 200);
    let said = refused(&["serve", "--listen", "127.0.0.1:0"], folder.path());
    assert!(said.contains("is in use by process"), "{said}");
    let said = refused(&["serve", "--listen", server.url().strip_prefix("http://").unwrap()], other.path());
    assert!(said.contains("is in use by another program"), "{said}");
    let added =
        command(&["user", "add", "--email", "a@example.com", "--role", "viewer", "--generate", "--json"], folder.path()).output().unwrap();
    let added: Value = serde_json::from_slice(&added.stdout).unwrap();
    assert_eq!(added["role"], "viewer");
    // Somebody who never finishes a request does not hold the end up.
    let _idle = std::net::TcpStream::connect(server.url().strip_prefix("http://").unwrap()).unwrap();
    assert!(server.end() < Duration::from_secs(25));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn demos_live_side_by_side_and_recover_from_a_kill() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let arguments = ["demo", "--json", "--listen", "127.0.0.1:0", "--history", "0", "--no-shop"];
    let demo = start(&arguments, first.path());
    let beside = start(&arguments, second.path());
    assert_eq!((status(demo.url()).await, status(beside.url()).await), (200, 200));
    assert_eq!(demo.ready["users"].as_array().unwrap().len(), 5);
    for name in ["ingest_token", "read_token", "redis_url", "database_url", "admin_database_url"] {
        assert!(demo.ready[name].is_string(), "{name}");
    }
    let before = demo.ready.clone();
    drop(demo);
    let again = start(&arguments, first.path());
    assert_eq!(again.ready["users"], before["users"]);
    assert_eq!(again.ready["ingest_token"], before["ingest_token"]);
    assert_eq!(status(again.url()).await, 200);
    assert!(again.end() < Duration::from_secs(25));
    beside.end();
}

#[test]
fn a_command_line_that_cannot_be_read_is_no_verdict_of_the_audit() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, says) in [
        (&["audit", "verify", "--jsn"][..], "'--jsn'"),
        (&["audit", "verfy"][..], "'verfy'"),
        (&["user", "add", "--role", "viewer"][..], "--email"),
        (&["user", "add", "--email", "a@example.com", "--role", "king"][..], "king"),
        (&["serve", "--listen"][..], "--listen"),
        (&["nonsense"][..], "'nonsense'"),
    ] {
        // The folder goes first: the rest is what is wrong.
        let output =
            Command::new(env!("CARGO_BIN_EXE_stalewatch")).args(["--data-dir"]).arg(folder.path()).args(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {said}");
        assert!(output.stdout.is_empty() && said.lines().count() == 1, "{said}");
        assert!(said.starts_with("stalewatch: ") && said.contains(says) && said.contains("--help"), "{said}");
    }
    let alone = Command::new(env!("CARGO_BIN_EXE_stalewatch")).output().unwrap();
    assert_eq!(alone.status.code(), Some(64));
    assert!(String::from_utf8(alone.stderr).unwrap().contains("stalewatch demo"));
}

/// What `/readyz` says of targets, once `is_so` holds of it.
async fn targets_until(url: &str, is_so: impl Fn(&[String]) -> bool) {
    let began = Instant::now();
    loop {
        let ready: Value = reqwest::get(format!("{url}/readyz")).await.unwrap().json().await.unwrap();
        let notes = ready["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap().to_owned());
        let away: Vec<String> = notes.filter(|note| note.contains("does not answer since")).collect();
        if is_so(&away) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(40), "{away:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn targets_come_go_and_move_with_the_configuration_that_is_read_again() {
    let (folder, redis) = (tempfile::tempdir().unwrap(), TestRedis::new().await);
    let write = |targets: &[(&str, &str)]| {
        let text =
            targets.iter().map(|(name, url)| format!("[[target]]\nname = \"{name}\"\nurl = \"{url}\"\n")).collect::<Vec<_>>().concat();
        std::fs::write(folder.path().join("stalewatch.toml"), text).unwrap();
    };
    let nowhere = "redis://127.0.0.1:1/0";
    write(&[("main", nowhere)]);
    let server = start(&["serve", "--json", "--listen", "127.0.0.1:0"], folder.path());
    let named = |away: &[String], name: &str| away.iter().any(|note| note.contains(&format!("target {name}:")));
    targets_until(server.url(), |away| named(away, "main")).await;
    // It moves to where a Redis is, and another one comes.
    write(&[("main", &redis.url), ("second", nowhere)]);
    server.signal("HUP");
    targets_until(server.url(), |away| !named(away, "main") && named(away, "second")).await;
    write(&[("main", &redis.url)]);
    server.signal("HUP");
    targets_until(server.url(), <[String]>::is_empty).await;
    // What cannot be read changes nothing.
    std::fs::write(folder.path().join("stalewatch.toml"), "[[target]]\nnme = \"main\"\n").unwrap();
    server.signal("HUP");
    write(&[("main", nowhere)]);
    server.signal("HUP");
    targets_until(server.url(), |away| named(away, "main")).await;
    server.end();
}

#[test]
fn a_server_without_people_prints_a_link_on_its_console_until_somebody_has_an_account() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["serve", "--json", "--listen", "127.0.0.1:0"];
    let start = || {
        let mut child = command(&arguments, folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Running { ready: serde_json::from_str(&line).unwrap(), child }
    };
    let mut server = start();
    // Open until the server has ended.
    let mut console = BufReader::new(server.child.stderr.take().unwrap());
    let link = console.by_ref().lines().map(Result::unwrap).find(|line| line.contains("/first-run?token=")).unwrap();
    assert!(link.trim().starts_with(server.url()), "{link}");
    server.end();
    let add = ["user", "add", "--email", "a@example.com", "--role", "admin", "--generate"];
    assert!(command(&add, folder.path()).output().unwrap().status.success());
    let mut server = start();
    let mut console = server.child.stderr.take().unwrap();
    server.end();
    let mut said = String::new();
    console.read_to_string(&mut said).unwrap();
    assert!(said.contains("ready") && !said.contains("first-run"), "{said}");
}

#[test]
fn help_is_on_standard_output() {
    let mut text = String::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_stalewatch")).arg("--help").stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(text.contains("demo") && text.contains("serve"));
}
