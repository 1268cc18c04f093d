//! The commands and what each hands over to. Standard output is for what was asked; everything else goes to standard error.

mod accounts;
mod audit;
mod check;
mod database;
mod demo;
mod ending;
mod figures;
mod serve;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::server::config::{Config, DEFAULT_FILE, Environment, Problems, TargetUrls};

/// What went wrong, as one sentence.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Operations dashboard and flush console for application caches on Redis.
#[derive(Debug, Parser)]
#[command(name = "stalewatch", version, arg_required_else_help = true, after_help = "Start with: stalewatch demo")]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
struct Common {
    /// The configuration file
    #[arg(long, global = true, value_name = "FILE", env = "STALEWATCH_CONFIG")]
    config: Option<PathBuf>,
    /// The folder of the private Postgres and Redis, and of the audit's checkpoints
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try it: a simulated shop with real cache trouble, private Postgres and Redis, and the server
    Demo(demo::Demo),
    /// Run the server
    Serve(serve::Serve),
    /// Bring the database's schema up
    #[command(after_help = "Example:\n  DATABASE_URL=postgres://stalewatch:SECRET@db.internal/stalewatch stalewatch migrate\n  \
        MIGRATION_DATABASE_URL=postgres://postgres:SECRET@db.internal/stalewatch DATABASE_URL=... stalewatch migrate --roles")]
    Migrate {
        /// Also separate the roles: the audit record belongs to one that cannot sign in; the server's is made if it is missing
        #[arg(long)]
        roles: bool,
    },
    /// Add, list, disable and reset accounts
    #[command(subcommand)]
    User(accounts::User),
    /// Create, list and revoke the tokens of programs
    #[command(subcommand)]
    Token(accounts::Token),
    /// Verify and export the audit record
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Check the configuration
    #[command(subcommand)]
    Config(check::ConfigCommand),
    /// Check the declared contracts
    #[command(subcommand)]
    Contracts(check::ContractsCommand),
    /// Check the rollups against raw events
    #[command(subcommand)]
    Rollups(figures::Rollups),
    /// Print the OpenAPI 3.1 document of the HTTP API
    #[command(after_help = "Example:\n  stalewatch openapi > stalewatch.openapi.json")]
    Openapi,
}

/// The settings that every command starts from.
struct Settings {
    config_file: Option<PathBuf>,
    config: Config,
    environment: Environment,
}

impl Settings {
    /// For a server, each target has to say where its Redis is; other commands do without.
    fn load(common: &Common, urls: TargetUrls) -> Result<Self, Problems> {
        let environment = Environment::from_process();
        let default = Path::new(DEFAULT_FILE);
        let mut config = match common.config.as_deref().or_else(|| default.exists().then_some(default)) {
            Some(file) => Config::load_file(file, &environment, urls)?,
            None => Config::load(None, &environment)?,
        };
        if let Some(data_dir) = &common.data_dir {
            config.data_dir.clone_from(data_dir);
        }
        Ok(Self { config_file: common.config.clone(), config, environment })
    }
}

/// Parses the command line and runs the command.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    match &cli.command {
        Command::Config(config) => return config.run(cli.common.config.as_deref()),
        Command::Contracts(contracts) => return contracts.run(cli.common.config.as_deref()),
        _ => {}
    }
    let quiet = !matches!(cli.command, Command::Demo(_) | Command::Serve(_));
    write_logs(if quiet { "warn" } else { "info,sqlx=warn" });
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start ({error}): check this account's limits on threads and files")),
    };
    let done = runtime.block_on(run(cli));
    runtime.shutdown_timeout(Duration::from_millis(200));
    match done {
        Ok(code) => code,
        Err(failure) => complain(&failure.to_string()),
    }
}

async fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let (common, command) = (cli.common, cli.command);
    let settings = |urls| Settings::load(&common, urls);
    match command {
        Command::Demo(demo) => demo.run(&common).await?,
        Command::Serve(serve) => serve.run(settings(TargetUrls::Required)?).await?,
        Command::Migrate { roles } => database::migrate(&settings(TargetUrls::Optional)?, roles).await?,
        Command::User(user) => user.run(&settings(TargetUrls::Optional)?).await?,
        Command::Token(token) => token.run(&settings(TargetUrls::Optional)?).await?,
        Command::Audit(audit) => return audit.run(&settings(TargetUrls::Optional)?).await,
        Command::Rollups(rollups) => return rollups.run(&settings(TargetUrls::Optional)?).await,
        Command::Openapi => figures::print_openapi(),
        // They ended before a configuration was asked for.
        Command::Config(_) | Command::Contracts(_) => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// A command line that cannot be read: not 2, by which `audit verify` says that the record was tampered with.
const MISUSED: u8 = 64;

/// Help and version were asked for and go to standard output; anything else is said in one sentence.
fn misused(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // A reader that went away is not our error.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
    } else {
        eprintln!("stalewatch: {}", usage_sentence(&error.to_string()));
    }
    ExitCode::from(MISUSED)
}

/// What is wrong, and where to look: clap says it over several lines.
fn usage_sentence(text: &str) -> String {
    let wrong = text.split("\n\nUsage:").next().unwrap_or(text);
    let wrong = wrong.split("\n\nFor more information").next().unwrap_or(wrong);
    let wrong = wrong.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{}; the same command with --help says what there is", wrong.trim_start_matches("error: ").replace(" tip: ", ", "))
}

fn complain(sentence: &str) -> ExitCode {
    eprintln!("stalewatch: {sentence}");
    ExitCode::FAILURE
}

/// Logs to standard error; `STALEWATCH_LOG` says how much (`debug`, `stalewatch::server::ingest=trace`).
fn write_logs(default: &str) {
    let filter = EnvFilter::try_from_env("STALEWATCH_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}

/// One line of JSON on standard output. A reader that went away is not our error.
fn print_json(value: &serde_json::Value) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{value}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn every_command_has_help_with_an_example() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            if command.has_subcommands() {
                command.get_subcommands().filter(|sub| sub.get_name() != "help").for_each(|sub| check(sub, &path));
            } else {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Example:\n  ") && help.contains("stalewatch "), "{path}: {help}");
                assert!(command.get_about().is_some(), "{path}");
            }
        }
        let cli = Cli::command();
        cli.clone().debug_assert();
        cli.get_subcommands().for_each(|command| check(command, "stalewatch"));
    }
}
