//! The configuration in force, checked: whoever holds a [`Config`] need not ask again whether names exist or templates overlap.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::contract::Contract;
use crate::domain::flush::BrakeLimits;
use crate::domain::metric::Bucket;
use crate::domain::policy::{Objective, Thresholds, Tier, TtlPolicy};
use crate::domain::prefix::{DEFAULT_DELIMITER, Families, Template};

/// The configuration in force.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file's name as it is shown (`stalewatch.toml`), for "declared at"; without a file there is nothing declared.
    pub file: String,
    /// `ADDRESS:PORT`
    pub listen: String,
    /// Where people reach this server; `None`: at the bound address.
    pub public_url: Option<String>,
    pub data_dir: PathBuf,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Whether `/metrics` asks for no token.
    pub metrics_public: bool,
    /// Whether everybody needs a second factor to start and approve flushes.
    pub require_second_factor: bool,
    /// 32 bytes in base64, under which secrets lie in Postgres; `None`: the data folder's own.
    pub secret_key: Option<Secret>,
    /// Of events, for each ingest token.
    pub rate: Rate,
    pub retention: Retention,
    pub review: Review,
    pub targets: Vec<Target>,
    pub prefixes: Vec<Prefix>,
    pub contracts: Vec<Contract>,
    /// SHA-256 of the file, in hex; of nothing where there is no file.
    pub digest: String,
    /// What was accepted and has no effect yet, as `file:line: message`.
    pub warnings: Vec<String>,
}

/// How long what is kept. Rollups by the length of their cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub raw: Duration,
    pub minute: Duration,
    pub five_minutes: Duration,
    pub hour: Duration,
    pub day: Duration,
}

const DAY: u64 = 86_400;

impl Default for Retention {
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * DAY);
        Self { raw: days(14), minute: days(9), five_minutes: days(35), hour: days(396), day: days(1_826) }
    }
}

/// How many events one ingest token may send to one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Events a second, lastingly.
    pub per_second: u32,
    /// Events at once, after a pause; never less than one request's.
    pub burst: u32,
}

impl Default for Rate {
    fn default() -> Self {
        Self { per_second: 200_000, burst: 2_000_000 }
    }
}

/// The weekly review.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Review {
    /// Where weeks begin.
    pub timezone: chrono_tz::Tz,
}

/// One Redis deployment.
#[derive(Clone, Debug)]
pub struct Target {
    pub name: String,
    /// `None` only where the demo's Redis stands in.
    pub location: Option<Location>,
    /// Who reads, where the address does not say so.
    pub login: Option<Login>,
    /// For servers reached by TLS; `None`: the machine's own authorities, and no certificate of ours.
    pub tls: Option<Tls>,
    /// The least-privilege identity; without one `url` is used and called over-privileged.
    pub flush: Option<Login>,
    /// Keys that begin with one of these can never be flushed.
    pub protected: Vec<Vec<u8>>,
    /// Above it a flush is wide and carries its own cap.
    pub max_keys: u64,
    pub approvals: Approvals,
    /// One admin alone may go on with a wide flush.
    pub break_glass: bool,
    /// When a flush slows down, and stops, because others suffer.
    pub brake: BrakeLimits,
    /// In an hour, by everybody together.
    pub max_flushes_per_hour: u32,
    /// The byte between segments of this target's keys.
    pub delimiter: u8,
    /// Its keyspace events are listened to.
    pub notifications: bool,
    pub line: usize,
}

/// Where a target's Redis is. Addresses may hold passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// One server.
    Url(Secret),
    /// Whoever the sentinels name.
    Sentinel { master: String, nodes: Vec<Secret>, db: u16 },
    /// All masters of the cluster that these nodes know.
    Cluster { nodes: Vec<Secret> },
}

impl Location {
    /// `standalone`, `sentinel`, `cluster`
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Url(_) => "standalone",
            Self::Sentinel { .. } => "sentinel",
            Self::Cluster { .. } => "cluster",
        }
    }
}

/// A Redis user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    pub password: Secret,
}

/// PEM texts for TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    pub authority: Option<Secret>,
    /// Certificate and key.
    pub client: Option<(Secret, Secret)>,
}

/// Whether a wide flush needs a second person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Approvals {
    #[default]
    Wide,
    Never,
}

/// One registered family of keys.
#[derive(Clone, Debug)]
pub struct Prefix {
    pub template: Template,
    pub target: String,
    pub owner: Option<String>,
    pub tier: Tier,
    /// What its owner expects of it, in a sentence.
    pub expected: Option<String>,
    pub objective: Option<Objective>,
    /// Without `stale_read_rate` of its own, that is 1 − the objective's ratio.
    pub thresholds: Thresholds,
    pub ttl: TtlPolicy,
    pub generation_key: Option<String>,
    pub store_keys: StoreKeys,
    pub line: usize,
}

impl Prefix {
    /// The template as registered.
    pub fn name(&self) -> &str {
        self.template.as_str()
    }

    /// The objective's bucket; without an objective every known delay counts.
    pub fn fresh_within(&self) -> Bucket {
        self.objective.map_or(Bucket::B0, |objective| objective.fresh_within)
    }
}

/// What of a key name is kept with an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreKeys {
    #[default]
    Full,
    Masked,
    None,
}

impl StoreKeys {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Masked => "masked",
            Self::None => "none",
        }
    }
}

/// What must not be printed. `Debug` hides it; [`Secret::expose`] is the only way to it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Config {
    /// The port that is listened on unless another is named.
    pub const DEFAULT_LISTEN: &'static str = "127.0.0.1:3000";
    /// Where the private Postgres, Redis and the audit's anchor live unless elsewhere.
    pub const DEFAULT_DATA_DIR: &'static str = "data";
    pub const DEFAULT_MAX_KEYS: u64 = 1_000_000;
    pub const DEFAULT_MAX_FLUSHES_PER_HOUR: u32 = 20;

    pub fn target(&self, name: &str) -> Option<&Target> {
        self.targets.iter().find(|target| target.name == name)
    }

    /// The prefixes of one target, in the order of the file.
    pub fn prefixes_of<'a>(&'a self, target: &'a str) -> impl Iterator<Item = &'a Prefix> {
        self.prefixes.iter().filter(move |prefix| prefix.target == target)
    }

    pub fn prefix(&self, target: &str, name: &str) -> Option<&Prefix> {
        self.prefixes.iter().find(|prefix| prefix.target == target && prefix.name() == name)
    }

    /// For classification: places in the answer are places in [`Config::prefixes_of`].
    pub fn families_of(&self, target: &str) -> Families {
        Families::new(self.prefixes_of(target).map(|prefix| prefix.template.clone()).collect())
    }

    /// Where a line of the file is, as people look it up: `stalewatch.toml:41`.
    pub fn declared_at(&self, line: usize) -> String {
        format!("{}:{line}", self.file)
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            file: "stalewatch.toml".to_owned(),
            listen: Self::DEFAULT_LISTEN.to_owned(),
            public_url: None,
            data_dir: PathBuf::from(Self::DEFAULT_DATA_DIR),
            trusted_proxies: Vec::new(),
            metrics_public: false,
            require_second_factor: false,
            secret_key: None,
            rate: Rate::default(),
            retention: Retention::default(),
            review: Review::default(),
            targets: Vec::new(),
            prefixes: Vec::new(),
            contracts: Vec::new(),
            digest: super::digest(b""),
            warnings: Vec::new(),
        }
    }
}

impl Default for Review {
    fn default() -> Self {
        Self { timezone: chrono_tz::UTC }
    }
}

impl Target {
    /// A target with every default, at line 0.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            location: None,
            login: None,
            tls: None,
            flush: None,
            protected: Vec::new(),
            max_keys: Config::DEFAULT_MAX_KEYS,
            approvals: Approvals::default(),
            break_glass: false,
            brake: BrakeLimits::default(),
            max_flushes_per_hour: Config::DEFAULT_MAX_FLUSHES_PER_HOUR,
            delimiter: DEFAULT_DELIMITER,
            notifications: false,
            line: 0,
        }
    }
}
