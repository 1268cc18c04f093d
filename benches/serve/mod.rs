//! `stalewatch serve` as a benchmark runs it: the release binary on a free port, ended with the benchmark.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub struct Serve {
    pub child: Child,
    pub url: String,
    database_url: String,
    config: PathBuf,
    data: PathBuf,
}

impl Drop for Serve {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

impl Serve {
    pub fn start(database_url: &str, config: &Path, data: &Path) -> Self {
        let mut child = stalewatch(database_url, config, data)
            .args(["serve", "--json", "--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the server says when it is ready");
        let ready: serde_json::Value = serde_json::from_str(&line).expect("the ready line is JSON");
        let url = ready["url"].as_str().expect("the ready line names the address").trim_end_matches('/').to_owned();
        Self { child, url, database_url: database_url.to_owned(), config: config.to_owned(), data: data.to_owned() }
    }

    /// A further command on the same data, by what it prints as JSON.
    pub fn run(&self, arguments: &[&str]) -> serde_json::Value {
        let done = stalewatch(&self.database_url, &self.config, &self.data).args(arguments).output().expect("the command runs");
        serde_json::from_slice(&done.stdout).expect("the command prints JSON")
    }
}

fn stalewatch(database_url: &str, config: &Path, data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stalewatch"));
    command.arg("--config").arg(config).arg("--data-dir").arg(data).env("DATABASE_URL", database_url);
    command
}
