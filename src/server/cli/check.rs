//! `config check` and `contracts check`. They need no database and no valid configuration: that is what they look for.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;

use crate::server::config::Environment;
use crate::server::config::check::{self, Checked};

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say everything that is wrong with the configuration, with file and line
    #[command(after_help = "Example:\n  stalewatch config check --config stalewatch.toml")]
    Check,
}

#[derive(Debug, Subcommand)]
pub enum ContractsCommand {
    /// Say everything that is wrong with the contracts, with file and line; what is right is listed edge by edge
    #[command(after_help = "Example:\n  stalewatch contracts check --config stalewatch.toml\n  stalewatch contracts check contracts.toml")]
    Check {
        /// The file with the contracts, where it is not the configuration itself
        file: Option<PathBuf>,
    },
}

impl ConfigCommand {
    pub fn run(&self, config: Option<&Path>) -> ExitCode {
        let Self::Check = self;
        end(&check::config(config, &Environment::from_process()))
    }
}

impl ContractsCommand {
    pub fn run(&self, config: Option<&Path>) -> ExitCode {
        let Self::Check { file } = self;
        end(&check::contracts(file.as_deref(), config, &Environment::from_process()))
    }
}

fn end(checked: &Checked) -> ExitCode {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    // A reader that went away is not our error.
    let _ = out.write_all(checked.output.as_bytes()).and_then(|()| out.flush());
    if !checked.advice.is_empty() {
        eprintln!("stalewatch: {}", checked.advice);
    }
    ExitCode::from(checked.exit_code)
}
