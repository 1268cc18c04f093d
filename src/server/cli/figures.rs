//! `stalewatch rollups check` and `stalewatch openapi`.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Subcommand;

use super::database::Database;
use super::{Failure, Settings};
use crate::server::clock::Clock;
use crate::server::http::openapi;
use crate::server::service::rollups;

#[derive(Debug, Subcommand)]
pub(super) enum Rollups {
    /// Count raw events again and print where the rollups differ; exit 1 if they do
    #[command(after_help = "Example:\n  stalewatch rollups check --data-dir data")]
    Check,
}

impl Rollups {
    pub async fn run(self, settings: &Settings) -> Result<ExitCode, Failure> {
        let Self::Check = self;
        let database = Database::open(settings).await?;
        let counted = rollups::recount(&database.pools.events, settings.config.retention, Clock::system().now()).await;
        database.close().await;
        let counted = counted?;
        let mut out = std::io::stdout().lock();
        for line in counted.lines() {
            // A reader that went away is not our error.
            let _ = writeln!(out, "{line}");
        }
        Ok(if counted.differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Prints the document.
pub(super) fn print_openapi() {
    let _ = writeln!(std::io::stdout().lock(), "{}", openapi::document());
}
