//! `stalewatch demo`: a private Postgres and Redis, the simulated shop with its past, and the server, in one command.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{Common, Failure, ending, print_json};
use crate::server::clock::Clock;
use crate::server::config::{Config, Environment};
use crate::server::demo::{self, Credentials, DemoError, Notes, history};
use crate::server::door;
use crate::server::private::{Claim, DataFolder, Durability, Holder, Redis, Servers};
use crate::server::run::{Databases, Server};

/// What the shop gets to send what it has counted.
const SHOP_END: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  stalewatch demo --data-dir /tmp/stalewatch-demo --listen 127.0.0.1:0\n\n\
    Ctrl-C ends everything; the data folder is kept, and the next start goes on with it.")]
pub(super) struct Demo {
    /// Address and port to listen on; port 0 picks a free one
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// Days of the shop's past to tell at the first start
    #[arg(long, value_name = "DAYS", default_value_t = 14, value_parser = clap::value_parser!(u32).range(0..=60))]
    history: u32,
    /// Only the servers: nobody reads or writes the cache
    #[arg(long)]
    no_shop: bool,
    /// When ready, print one line of JSON with all addresses and credentials to standard output
    #[arg(long)]
    json: bool,
}

impl Demo {
    pub async fn run(self, common: &Common) -> Result<(), Failure> {
        // A closed terminal ends the demo: there is nobody left to see it.
        let ending = ending::watch(true)?;
        let mut config = demo::config(common.config.as_deref(), &Environment::from_process())?;
        if let Some(data_dir) = &common.data_dir {
            config.data_dir.clone_from(data_dir);
        }
        if let Some(listen) = &self.listen {
            config.listen.clone_from(listen);
        }
        let listener = door::listen(&config.listen).await?;
        let folder = match DataFolder::claim(&config.data_dir, Holder::Server).await? {
            Claim::Held(folder) => folder,
            Claim::Running(_) => return Err("the data folder is in use".into()),
        };
        let servers = Servers::start(folder, Durability::Full, Some(&demo::rights(&config))).await?;
        let done = match &servers.redis {
            Some(redis) => self.serve(listener, config, &servers, redis, &ending).await,
            None => Ok(()),
        };
        servers.stop().await;
        done
    }

    async fn serve(
        &self,
        listener: tokio::net::TcpListener,
        mut config: Config,
        servers: &Servers,
        redis: &Redis,
        ending: &CancellationToken,
    ) -> Result<(), Failure> {
        demo::fill_targets(&mut config, redis);
        let clock = Clock::system();
        let databases = Databases::private(servers.postgres.notes()).ok_or("the private Postgres has no port")?;
        let server = Server::prepare(listener, config, clock.clone(), &databases).await?;
        let (app, url, door) = (server.app.clone(), server.url(), server.door());
        let mut notes = Notes::read(servers.folder(), clock.now())?;
        let credentials = notes.credentials(&app).await?;
        notes.save(servers.folder())?;

        let close = CancellationToken::new();
        let serving = tokio::spawn(server.run(close.clone().cancelled_owned()));
        let opened = async {
            if self.history > 0 && !notes.past_told {
                let told = history::tell(&app, notes.seed, notes.opened_at, self.history).await.map_err(DemoError::from)?;
                tracing::info!(events = told.accepted, days = self.history, took_ms = told.took.as_millis(), "the shop's past is told");
                notes.past_told = true;
                notes.save(servers.folder())?;
            }
            if self.no_shop {
                return Ok(None);
            }
            demo::open_shop(&app, &notes, &credentials, door, redis.url()).await.map(Some)
        };
        let shop = match ending.run_until_cancelled(opened).await {
            Some(Ok(shop)) => {
                self.tell(&url, &credentials, servers, redis);
                ending.cancelled().await;
                shop
            }
            Some(Err(error)) => {
                close.cancel();
                let _ = serving.await;
                return Err(error.into());
            }
            None => None,
        };
        if let Some(shop) = shop {
            let _ = tokio::time::timeout(SHOP_END, shop.close()).await;
        }
        close.cancel();
        let _ = serving.await;
        Ok(())
    }

    /// Says where everything is, and lets people in.
    fn tell(&self, url: &str, credentials: &Credentials, servers: &Servers, redis: &Redis) {
        let Credentials { users, ingest_token, read_token, .. } = credentials;
        let (redis_url, database_url, admin_database_url) =
            (redis.url(), servers.postgres.database_url(), servers.postgres.admin_database_url());
        if self.json {
            print_json(&json!({
                "url": url, "users": users, "ingest_token": ingest_token, "read_token": read_token,
                "redis_url": redis_url, "database_url": database_url, "admin_database_url": admin_database_url,
            }));
            return;
        }
        println!("\nStalewatch is ready: {url}\n\n  {:<10} {:<24} password", "role", "e-mail");
        for user in users {
            println!("  {:<10} {:<24} {}", user.role.as_str(), user.email, user.password);
        }
        println!("\n  events in  {ingest_token}\n  figures    {read_token}\n  Redis      {redis_url}\n  Postgres   {database_url}");
        println!("\nCtrl-C ends everything; {} is kept for the next start.", servers.folder().display());
    }
}
