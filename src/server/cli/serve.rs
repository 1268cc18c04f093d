//! `stalewatch serve`: the server, over the given Postgres or a private one.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Failure, Settings, ending, print_json};
use crate::domain::audit::Actor;
use crate::server::clock::Clock;
use crate::server::config::{Config, Environment};
use crate::server::door;
use crate::server::private::{Claim, DataFolder, Durability, Holder, Servers};
use crate::server::run::{Databases, Server};
use crate::server::service::{accounts, configuration};
use crate::server::state::AppState;

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  DATABASE_URL=postgres://stalewatch:SECRET@db.internal/stalewatch stalewatch serve --config stalewatch.toml\n\n\
    Without DATABASE_URL it runs a Postgres of its own in the data folder. SIGHUP reads the configuration again."
)]
pub(super) struct Serve {
    /// Address and port to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// When ready, print one line of JSON to standard output
    #[arg(long)]
    json: bool,
}

impl Serve {
    pub async fn run(self, settings: Settings) -> Result<(), Failure> {
        let ending = ending::watch(false)?;
        let Settings { config_file, mut config, environment } = settings;
        if let Some(listen) = self.listen {
            config.listen = listen;
        }
        // Before anything slow: a port in use should be known at once.
        let listener = door::listen(&config.listen).await?;
        let (databases, servers) = match Databases::given(&environment) {
            Some(databases) => (databases, None),
            None => match DataFolder::claim(&config.data_dir, Holder::Server).await? {
                Claim::Held(folder) => {
                    let servers = Servers::start(folder, Durability::Full, None).await?;
                    (Databases::private(servers.postgres.notes()).ok_or("the private Postgres has no port")?, Some(servers))
                }
                Claim::Running(_) => return Err("the data folder is in use".into()),
            },
        };
        let served = async {
            let (listen, data_dir) = (config.listen.clone(), config.data_dir.clone());
            let server = Server::prepare(listener, config, Clock::system(), &databases).await?;
            if self.json {
                print_json(&json!({ "url": server.url() }));
            }
            tracing::info!(url = server.url(), "ready");
            hint_at_first_user(&server.app, server.url().trim_end_matches('/')).await;
            let reload = Reload { config_file, environment, listen, data_dir, app: server.app.clone() };
            server.jobs.spawn(reload.at_hangup(server.jobs.ending(), signal(SignalKind::hangup())?));
            server.run(ending.cancelled_owned()).await;
            Ok::<(), Failure>(())
        }
        .await;
        if let Some(servers) = servers {
            servers.stop().await;
        }
        served
    }
}

/// What it takes to read the configuration again. Address and data folder stay as they were at start.
struct Reload {
    config_file: Option<PathBuf>,
    environment: Environment,
    listen: String,
    data_dir: PathBuf,
    app: AppState,
}

impl Reload {
    async fn at_hangup(self, ending: CancellationToken, mut hangups: Signal) {
        while let Some(Some(())) = ending.run_until_cancelled(hangups.recv()).await {
            match Config::load(self.config_file.as_deref(), &self.environment) {
                Ok(mut config) => {
                    config.listen.clone_from(&self.listen);
                    config.data_dir.clone_from(&self.data_dir);
                    let digest = config.digest.clone();
                    match configuration::put_in_force(&self.app, &Actor::System, config).await {
                        Ok(()) => tracing::info!(config.digest = digest, "the configuration was read again and is in force"),
                        Err(error) => {
                            tracing::error!(%error, "the configuration was read again, but that could not be recorded, so it changes nothing");
                        }
                    }
                }
                Err(problems) => tracing::error!("the configuration was read again, is not valid and changes nothing: {problems}"),
            }
        }
    }
}

/// There is no default password: until somebody has an account, say how to make one. The link is a secret, so it goes to the console and not
/// into the log.
async fn hint_at_first_user(app: &AppState, url: &str) {
    match accounts::issue_link(&app.pools.control, app.clock.now()).await {
        Ok(Some(token)) => {
            let minutes = accounts::LINK_LIVES.num_minutes();
            eprintln!(
                "Nobody has an account yet. Make the first, an admin's, by this link; it works once, within {minutes} minutes:\n  \
                 {url}/first-run?token={token}\nOr here: stalewatch user add --email you@example.com --role admin --generate"
            );
        }
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "cannot tell whether anybody has an account"),
    }
}
