//! What the README tells a newcomer to type is run as it stands there.

use crate::support::TestApp;
use serde_json::Value;
use stalewatch::server::clock::Clock;
use stalewatch::server::config::{Config, Environment, TargetUrls};
use stalewatch::server::store::tokens::Kind;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

const README: &str = include_str!("../../README.md");
/// More is not a start but a program.
const LINES: usize = 10;

/// The first block fenced as `language`.
fn block(language: &str) -> String {
    let start = format!("```{language}\n");
    let block = README.split_once(&start).unwrap_or_else(|| panic!("no {language} block")).1.split_once("\n```").unwrap().0;
    assert!(block.lines().count() <= LINES, "{language}: {block}");
    format!("{block}\n")
}

/// Gives `script` to `command` on standard input, as a reader would paste it; what it prints.
fn run(command: &[&str], script: &str, test: &TestApp, token: &str) -> String {
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .env("STALEWATCH_URL", &test.url)
        .env("STALEWATCH_TOKEN", token)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{} is needed to try the README: {error}", command[0]));
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_ways_to_send_events_work_as_written() {
    // The example's own prefixes, without the password file and the address that nobody has here.
    let example = include_str!("../../stalewatch.example.toml");
    let example: String = example
        .lines()
        .filter(|line| !line.starts_with("flush = ") && !line.starts_with("public_url = "))
        .flat_map(|line| [line, "\n"])
        .collect();
    let config = Config::read(&example, "stalewatch.toml", Path::new("."), &Environment::default(), TargetUrls::Required).unwrap();
    let test = TestApp::with(config, Clock::system()).await;
    let token = test.token(Kind::Ingest, "my-app").await;
    for (language, command) in [("sh", &["sh"][..]), ("python", &["python3", "-"]), ("js", &["node", "--input-type=module", "-"])] {
        let script = block(language);
        let said = tokio::task::block_in_place(|| run(command, &script, &test, &token));
        let answer: Value = serde_json::from_str(said.trim()).unwrap_or_else(|error| panic!("{language}: {error}: {said}"));
        assert_eq!((&answer["accepted"], &answer["rejected_total"]), (&5.into(), &0.into()), "{language}: {said}");
    }
}

#[test]
fn what_the_readme_points_to_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut named = 0;
    for path in README
        .split(['`', '(', ')'])
        .filter(|part| part.starts_with("docs/") || part.starts_with("src/") || part.strip_suffix(".toml").is_some())
    {
        // The screenshot is made from a running server.
        if path.contains(' ') || path == "stalewatch.toml" || path.strip_suffix(".png").is_some() {
            continue;
        }
        assert!(root.join(path).exists(), "README.md names {path}");
        named += 1;
    }
    assert!(named >= 6, "only {named} files are named");
}

#[test]
fn the_readme_names_every_variable_that_is_read() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/server/config/load.rs");
    let source = std::fs::read_to_string(source).unwrap();
    let shortened = README.replace(", `_", ", `STALEWATCH_");
    for name in source.split('"').filter(|part| part.starts_with("STALEWATCH_") && !part.contains(' ')) {
        assert!(shortened.contains(&format!("`{name}`")), "{name}");
    }
}
