//! `stalewatch demo`: everything in one folder, with a simulated shop. What it is made of: its configuration, its people and tokens, the shop's
//! past. Credentials are generated once and kept in the data folder, so that the next start knows them.

pub mod history;
pub mod shop;
mod switchboard;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::audit::Actor;
use crate::domain::operator::Role;
use crate::server::config::{Config, Environment, Location, Login, Problems, Secret, TargetUrls};
use crate::server::private::{self, PrivateError, Redis, Rights};
use crate::server::service::accounts::{self, AccountError, TokenError, TokenRequest};
use crate::server::state::AppState;
use crate::server::store::tokens::Kind;
use shop::{Service, Settings, Shop, Switches};

/// The configuration of the demo unless another is given.
const CONFIG: &str = include_str!("stalewatch.toml");
const NOTES: &str = "demo.json";

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error(transparent)]
    Folder(#[from] PrivateError),
    #[error("{} is damaged ({cause}): give another --data-dir, or remove that file for new credentials", path.display())]
    Notes { path: PathBuf, cause: String },
    #[error("cannot make the demo's accounts: {0}")]
    Account(#[from] AccountError),
    #[error("cannot make the demo's tokens: {0}")]
    Token(#[from] TokenError),
    #[error("cannot look up the demo's accounts: {0}")]
    Store(#[from] sqlx::Error),
    #[error(transparent)]
    History(#[from] history::HistoryError),
    #[error("the simulated shop did not open: {0}")]
    Shop(#[from] shop::StartError),
}

/// The demo's own configuration, or `file`'s.
pub fn config(file: Option<&Path>, environment: &Environment) -> Result<Config, Problems> {
    match file {
        Some(file) => Config::load_file(file, environment, TargetUrls::Optional),
        None => Config::read(CONFIG, "stalewatch.toml", Path::new(""), environment, TargetUrls::Optional),
    }
}

/// The rights of the flush identity on the demo's Redis: never what is protected in a target that is this Redis, and the generations there.
pub fn rights(config: &Config) -> Rights {
    let here = || config.targets.iter().filter(|target| target.location.is_none());
    Rights {
        untouchable: here().flat_map(|target| target.protected.clone()).collect(),
        generations: here()
            .flat_map(|target| config.prefixes_of(&target.name))
            .filter_map(|prefix| prefix.generation_key.clone())
            .collect(),
    }
}

/// Puts the demo's Redis, with its two restricted users, where a target names none.
pub fn fill_targets(config: &mut Config, redis: &Redis) {
    let (user, password) = redis.flush_identity();
    for target in config.targets.iter_mut().filter(|target| target.location.is_none()) {
        target.location = Some(Location::Url(Secret::new(redis.read_url())));
        target.flush = Some(Login { user: user.to_owned(), password: Secret::new(password) });
    }
}

/// What is remembered from one start to the next.
#[derive(Debug, Serialize, Deserialize)]
pub struct Notes {
    /// When the shop first opened; its past lies before.
    pub opened_at: DateTime<Utc>,
    pub seed: u64,
    /// Whether the past was told to its end.
    pub past_told: bool,
    /// By role.
    passwords: BTreeMap<String, String>,
    /// By name: `ingest`, `read`, and each of the shop's services.
    tokens: BTreeMap<String, String>,
}

/// Somebody of the demo.
#[derive(Clone, Debug, Serialize)]
pub struct Person {
    pub email: String,
    pub role: Role,
    pub password: String,
}

/// Who may come in.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub users: Vec<Person>,
    pub ingest_token: String,
    pub read_token: String,
    services: BTreeMap<Service, String>,
}

impl Notes {
    pub fn read(folder: &Path, now: DateTime<Utc>) -> Result<Self, DemoError> {
        let path = folder.join(NOTES);
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|cause| DemoError::Notes { path, cause: cause.to_string() }),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self { opened_at: now, seed: 7, past_told: false, passwords: BTreeMap::new(), tokens: BTreeMap::new() })
            }
            Err(cause) => Err(DemoError::Notes { path, cause: cause.to_string() }),
        }
    }

    pub fn save(&self, folder: &Path) -> Result<(), DemoError> {
        let path = folder.join(NOTES);
        let text = serde_json::to_vec_pretty(self).map_err(|cause| DemoError::Notes { path: path.clone(), cause: cause.to_string() })?;
        Ok(private::write_secret(&path, &text)?)
    }

    /// Makes the accounts and tokens that are not there yet.
    pub async fn credentials(&mut self, app: &AppState) -> Result<Credentials, DemoError> {
        let mut users = Vec::new();
        for role in Role::ALL {
            users.push(self.person(app, role).await?);
        }
        let ingest_token = self.token(app, "ingest", Kind::Ingest, "demo").await?;
        let read_token = self.token(app, "read", Kind::Read, "demo").await?;
        let mut services = BTreeMap::new();
        for service in Service::ALL {
            services.insert(service, self.token(app, service.name(), Kind::Ingest, service.name()).await?);
        }
        Ok(Credentials { users, ingest_token, read_token, services })
    }

    async fn person(&mut self, app: &AppState, role: Role) -> Result<Person, DemoError> {
        let email = format!("{}@example.com", role.as_str());
        let (now, pool) = (app.clock.now(), &app.pools.control);
        let known = accounts::list_users(pool).await?.iter().any(|user| user.email == email);
        let password = match self.passwords.get(role.as_str()) {
            Some(password) if known => return Ok(Person { email, role, password: password.clone() }),
            Some(password) => password.clone(),
            None => accounts::generate_password(),
        };
        if known {
            accounts::reset_password(&app.access, pool, now, &Actor::System, &email, &password).await?;
        } else {
            accounts::add_user(&app.access, pool, now, &Actor::System, &email, None, role, &password).await?;
        }
        self.passwords.insert(role.as_str().to_owned(), password.clone());
        Ok(Person { email, role, password })
    }

    async fn token(&mut self, app: &AppState, name: &str, kind: Kind, source: &str) -> Result<String, DemoError> {
        let (now, pool) = (app.clock.now(), &app.pools.control);
        if let Some(text) = self.tokens.get(name) {
            match accounts::check_token(pool, now, text).await {
                Ok(_) => return Ok(text.clone()),
                Err(TokenError::NotValid) => {}
                Err(other) => return Err(other.into()),
            }
        }
        let request = TokenRequest { kind, source, target: None, expires_at: None };
        let token = accounts::create_token(pool, now, &Actor::System, &request).await?;
        self.tokens.insert(name.to_owned(), token.text.clone());
        Ok(token.text)
    }
}

/// Opens the shop, with all its bugs on, and gives the demo page its switches.
pub async fn open_shop(
    app: &AppState,
    notes: &Notes,
    credentials: &Credentials,
    door: String,
    redis_url: String,
) -> Result<Arc<Shop>, DemoError> {
    let settings = Settings {
        redis_url,
        door,
        tokens: credentials.services.iter().map(|(service, token)| (*service, token.clone())).collect(),
        switches: Arc::new(Switches::default()),
        seed: notes.seed,
        clock: app.clock.clone(),
    };
    let shop = Arc::new(Shop::open(settings).await?);
    // The first and only shop of this process.
    let _ = app.shop.set(shop.clone());
    Ok(shop)
}
