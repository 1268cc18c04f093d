//! `stalewatch audit`: whether the record is whole, and the record itself.

use std::io::Write as _;
use std::process::ExitCode;

use chrono::NaiveDate;
use clap::{Args, Subcommand};
use serde_json::json;

use super::database::{Database, explain};
use super::{Failure, Settings, print_json};
use crate::domain::audit::{Actor, Verdict};
use crate::server::clock::Clock;
use crate::server::service::audit::{self, AuditFilter, Format, Verification};

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Check every link of the record against itself and its checkpoints
    #[command(after_help = "Exit codes: 0 whole, 2 tampered, 3 truncated, 4 cannot tell; the lowest that is true.\n\n\
        Example:\n  stalewatch audit verify --json")]
    Verify {
        /// Print what was found as one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Write the record to standard output
    #[command(after_help = "Example:\n  stalewatch audit export --format jsonl > audit.jsonl && python3 docs/audit-verify.py audit.jsonl")]
    Export(Export),
    /// Accept a record that was restored from an older backup, and begin new checkpoints
    #[command(
        name = "re-anchor",
        after_help = "The old checkpoints are kept beside the new ones. A record that was tampered with is not accepted.\n\n\
        Example:\n  stalewatch audit re-anchor --reason \"restored from the backup of Monday, disk failure, INC-214\""
    )]
    ReAnchor {
        /// Why; becomes part of the record
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// jsonl, which the independent verifier reads, or csv
    #[arg(long, default_value = "jsonl", value_parser = format)]
    format: Format,
    /// Only what this actor did
    #[arg(long)]
    who: Option<String>,
    /// Only this code (flush.planned), or all of a kind (flush)
    #[arg(long)]
    code: Option<String>,
    #[arg(long)]
    target: Option<String>,
    /// Only where the scope contains this text
    #[arg(long)]
    scope: Option<String>,
    /// Only what tells of this flush
    #[arg(long, value_name = "ID")]
    flush: Option<i64>,
    /// From this day on (UTC)
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: Option<NaiveDate>,
    /// Up to and with this day (UTC)
    #[arg(long, value_name = "YYYY-MM-DD")]
    to: Option<NaiveDate>,
}

fn format(text: &str) -> Result<Format, String> {
    Format::parse(text).ok_or_else(|| "it is one of jsonl, csv".to_owned())
}

impl Audit {
    pub async fn run(self, settings: &Settings) -> Result<ExitCode, Failure> {
        let reads_only = matches!(self, Audit::Verify { .. });
        let opened = if reads_only { Database::open_as_it_is(settings).await } else { Database::open(settings).await };
        let database = match (opened, &self) {
            (Ok(database), _) => database,
            // Without a database nothing can be told, which is an answer too.
            (Err(failure), Audit::Verify { json }) => return Ok(tell(&audit::cannot_tell(failure.to_string()), *json)),
            (Err(failure), _) => return Err(failure),
        };
        let done = match self {
            Audit::Verify { json } => verify(settings, &database, json).await,
            Audit::Export(export) => export.run(&database).await,
            Audit::ReAnchor { reason } => re_anchor(settings, &database, &reason).await,
        };
        database.close().await;
        done
    }
}

fn actor() -> Actor {
    Actor::CommandLine { uid: rustix::process::getuid().as_raw() }
}

async fn verify(settings: &Settings, database: &Database, json: bool) -> Result<ExitCode, Failure> {
    let pool = &database.pools.record;
    let found = audit::verify(pool, &settings.config.data_dir).await;
    if let Err(cause) = audit::record_verification(pool, &actor(), &found).await {
        eprintln!("stalewatch: this verification could not be recorded: {}", explain(&cause));
    }
    Ok(tell(&found, json))
}

fn tell(found: &Verification, json: bool) -> ExitCode {
    if json {
        print_json(&json!(found));
    } else {
        println!("{}", found.verdict.as_str());
        if let (Verdict::Whole, Some(anchored)) = (found.verdict, found.last_anchored) {
            println!("anchored up to record {anchored} of {}", found.last_seq);
        }
        if let (Verdict::Whole, Some(again)) = (found.verdict, found.reanchored) {
            println!("anchored anew at record {again}");
        }
    }
    eprintln!("{}", found.detail);
    ExitCode::from(found.verdict.exit_code())
}

impl Export {
    async fn run(self, database: &Database) -> Result<ExitCode, Failure> {
        let Export { format, who, code, target, scope, flush, from, to } = self;
        let filter = AuditFilter { who, code, target, scope, flush, from, to, before: None };
        let mut pieces = audit::export(&database.pools.record, &actor(), &filter, format).await.map_err(|cause| explain(&cause))?;
        let mut out = std::io::stdout().lock();
        while let Some(piece) = pieces.recv().await {
            let piece = piece.map_err(|cause| format!("the export ends early: {}", explain(&cause)))?;
            if out.write_all(&piece).is_err() {
                // The reader has seen enough.
                return Ok(ExitCode::SUCCESS);
            }
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn re_anchor(settings: &Settings, database: &Database, reason: &str) -> Result<ExitCode, Failure> {
    let now = Clock::system().now();
    let checkpoint = audit::re_anchor(&database.pools.record, &settings.config.data_dir, &actor(), reason, now).await?;
    eprintln!("The record is anchored anew at {}. The old checkpoints are kept beside the new ones.", checkpoint.seq);
    Ok(ExitCode::SUCCESS)
}
