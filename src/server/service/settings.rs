//! The settings' read model: the configuration in force as it was parsed, without its secrets, and what is known of how it came to be.

use super::flush::mending;
use super::listening::Heard;
use super::quality;
use crate::domain::audit::Code;
use crate::domain::flush::BrakeLimits;
use crate::domain::metric::as_f64;
use crate::domain::prefix::escape;
use crate::error::Error;
use crate::server::config::{Approvals, Config, Location, Prefix, Secret, Target};
use crate::server::state::AppState;
use crate::server::store::audit;
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::time::Duration;

/// Everything `/settings` shows.
#[derive(Clone, Debug)]
pub struct SettingsPage {
    pub as_of: DateTime<Utc>,
    /// `stalewatch.toml`; empty without a file.
    pub file: String,
    pub digest: String,
    /// Since when the record says that this configuration is in force; None where the record names another one last.
    pub since: Option<DateTime<Utc>>,
    pub digest_before: Option<String>,
    /// What an operator should know about how this server runs, each with what mends it.
    pub shortcomings: Vec<Shortcoming>,
    /// Name and value of what stands at the top of the file.
    pub server: Vec<(&'static str, String)>,
    /// What is kept, and how long.
    pub retention: Vec<(&'static str, Duration)>,
    pub targets: Vec<TargetLine>,
    pub prefixes: Vec<PrefixLine>,
    pub contracts: Vec<ContractLine>,
}

#[derive(Clone, Debug)]
pub struct Shortcoming {
    pub what: String,
    pub mend: String,
    /// What to type for it.
    pub command: Option<String>,
}

#[derive(Clone, Debug)]
pub struct TargetLine {
    pub name: String,
    /// `standalone`, `sentinel`, `cluster`
    pub kind: &'static str,
    /// Addresses, without user or password.
    pub places: Vec<String>,
    /// The Redis user that flushes; None: whoever reads.
    pub flush_user: Option<String>,
    pub over_privileged: bool,
    /// Escaped texts.
    pub protected: Vec<String>,
    pub max_keys: u64,
    /// `wide`, `never`
    pub approvals: &'static str,
    pub max_flushes_per_hour: u32,
    pub brake: BrakeLimits,
    /// What is heard of its keyspace events; None where nobody is to listen.
    pub heard: Option<Heard>,
    pub declared_at: String,
}

#[derive(Clone, Debug)]
pub struct PrefixLine {
    pub name: String,
    pub target: String,
    pub owner: Option<String>,
    pub tier: &'static str,
    /// Fresh within so many seconds, for this share of reads.
    pub objective: Option<(u32, f64)>,
    pub stale_threshold: Option<f64>,
    pub miss_threshold: Option<f64>,
    pub rebuild_p95_threshold_ms: Option<f64>,
    pub invalidation_errors_threshold: Option<f64>,
    pub ttl_max_s: Option<u64>,
    pub ttl_jitter: Option<f64>,
    pub ttl_required: bool,
    pub generation_key: Option<String>,
    pub store_keys: &'static str,
    pub declared_at: String,
}

#[derive(Clone, Debug)]
pub struct ContractLine {
    pub write: String,
    pub target: String,
    pub within_s: f64,
    /// Template and how.
    pub affects: Vec<(String, &'static str)>,
    pub declared_at: String,
}

pub async fn load(app: &AppState) -> Result<SettingsPage, Error> {
    let config = app.config();
    let mut conn = app.pools.control.acquire().await?;
    let last = audit::find_last(&mut conn, Code::ConfigLoaded).await?;
    drop(conn);
    let quality = quality::load(app).await?;
    let told = last.map(|record| (record.at, serde_json::from_slice::<Value>(&record.canonical).unwrap_or_default()));
    let told = told.filter(|(_, body)| body.get("digest").and_then(Value::as_str) == Some(config.digest.as_str()));
    let is_over = |name: &str| quality.targets.iter().any(|target| target.name == name && target.over_privileged);
    let heard_of = |name: &str| quality.targets.iter().find(|target| target.name == name).and_then(|target| target.heard.clone());
    let mut shortcomings = Vec::new();
    if let Some(why) = &quality.audit.not_separated {
        shortcomings.push(Shortcoming {
            what: format!(
                "The audit is not separated: the server's Postgres role {why}, and so could switch off what protects the record."
            ),
            mend: "This separates it:".to_owned(),
            command: Some("stalewatch migrate --roles".to_owned()),
        });
    }
    for target in config.targets.iter().filter(|target| is_over(&target.name)) {
        shortcomings.push(Shortcoming {
            what: format!("The flush identity of {} may do more than flush.", target.name),
            mend: match (&target.flush, app.flushes.monitor().of(&target.name).version) {
                (Some(_), Some(_)) => "This takes from it what it does not need:".to_owned(),
                (Some(login), None) => format!("Take from the Redis user {} what it does not need.", login.user),
                (None, Some(_)) => {
                    "Declare flush = { user, password_file } with a Redis user of its own. This makes one; put a password in:".to_owned()
                }
                (None, None) => "Declare flush = { user, password_file } with a Redis user that may only scan and unlink.".to_owned(),
            },
            command: app.flushes.monitor().of(&target.name).version.map(|version| mending(&config, target, &version)),
        });
    }
    for target in &quality.targets {
        let unheard = target.heard.iter().flat_map(|heard| &heard.troubles);
        shortcomings.extend(unheard.map(|trouble| Shortcoming { what: trouble.what.clone(), mend: trouble.mend.clone(), command: None }));
    }
    shortcomings.extend(config.warnings.iter().map(|warning| Shortcoming { what: warning.clone(), mend: String::new(), command: None }));
    Ok(SettingsPage {
        as_of: app.clock.now(),
        file: config.file.clone(),
        digest: config.digest.clone(),
        since: told.as_ref().map(|(at, _)| *at),
        digest_before: told.and_then(|(_, body)| body.get("digest_before").and_then(Value::as_str).map(ToOwned::to_owned)),
        shortcomings,
        server: server(&config),
        retention: vec![
            ("single events", config.retention.raw),
            ("minutes", config.retention.minute),
            ("5 minutes", config.retention.five_minutes),
            ("hours", config.retention.hour),
            ("days", config.retention.day),
        ],
        targets: config.targets.iter().map(|target| target_line(&config, target, is_over(&target.name), heard_of(&target.name))).collect(),
        prefixes: config.prefixes.iter().map(|prefix| prefix_line(&config, prefix)).collect(),
        contracts: config
            .contracts
            .iter()
            .map(|contract| ContractLine {
                write: contract.write.clone(),
                target: contract.target.clone(),
                within_s: contract.within.as_secs_f64(),
                affects: contract.affects.iter().map(|edge| (edge.prefix.clone(), edge.how.as_str())).collect(),
                declared_at: config.declared_at(contract.line),
            })
            .collect(),
    })
}

fn server(config: &Config) -> Vec<(&'static str, String)> {
    let proxies: Vec<String> = config.trusted_proxies.iter().map(ToString::to_string).collect();
    vec![
        ("listen", config.listen.clone()),
        ("public_url", config.public_url.clone().unwrap_or_else(|| "the bound address".to_owned())),
        ("data_dir", config.data_dir.display().to_string()),
        ("trusted_proxies", if proxies.is_empty() { "none".to_owned() } else { proxies.join(", ") }),
        (
            "require_second_factor",
            if config.require_second_factor { "yes, of everybody" } else { "no, of whoever has enrolled one" }.to_owned(),
        ),
        ("secret_key_file", if config.secret_key.is_some() { "named" } else { "the data folder's own key" }.to_owned()),
        ("metrics_public", if config.metrics_public { "yes" } else { "no, a read token" }.to_owned()),
        ("review.timezone", config.review.timezone.name().to_owned()),
    ]
}

fn target_line(config: &Config, target: &Target, over_privileged: bool, heard: Option<Heard>) -> TargetLine {
    let all = |nodes: &[Secret]| nodes.iter().map(|node| place(node.expose())).collect::<Vec<_>>();
    TargetLine {
        name: target.name.clone(),
        kind: target.location.as_ref().map_or("standalone", Location::kind),
        places: match &target.location {
            None => vec!["the demo's own Redis".to_owned()],
            Some(Location::Url(url)) => vec![place(url.expose())],
            Some(Location::Sentinel { master, nodes, db }) => {
                let mut places = vec![format!("{master}, database {db}, by")];
                places.extend(all(nodes));
                places
            }
            Some(Location::Cluster { nodes }) => all(nodes),
        },
        flush_user: target.flush.as_ref().map(|login| login.user.clone()),
        over_privileged,
        protected: target.protected.iter().map(|protected| escape(protected)).collect(),
        max_keys: target.max_keys,
        approvals: if target.approvals == Approvals::Wide { "wide" } else { "never" },
        max_flushes_per_hour: target.max_flushes_per_hour,
        brake: target.brake,
        heard,
        declared_at: config.declared_at(target.line),
    }
}

/// An address without anything that may be secret: neither who nor with what password, nor what stands in a query.
fn place(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    // A password may hold any of the other marks: only what follows the last `@` is an address.
    let rest = rest.rsplit_once('@').map_or(rest, |(_, after)| after);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    if scheme.is_empty() { rest.to_owned() } else { format!("{scheme}://{rest}") }
}

fn prefix_line(config: &Config, prefix: &Prefix) -> PrefixLine {
    PrefixLine {
        name: prefix.name().to_owned(),
        target: prefix.target.clone(),
        owner: prefix.owner.clone(),
        tier: prefix.tier.as_str(),
        objective: prefix.objective.map(|objective| (objective.fresh_within_s(), objective.ratio)),
        stale_threshold: prefix.thresholds.stale_read_rate,
        miss_threshold: prefix.thresholds.miss_rate,
        rebuild_p95_threshold_ms: prefix.thresholds.rebuild_p95_us.map(|us| as_f64(us) / 1e3),
        invalidation_errors_threshold: prefix.thresholds.invalidation_error_rate,
        ttl_max_s: prefix.ttl.max_s,
        ttl_jitter: prefix.ttl.jitter,
        ttl_required: prefix.ttl.required,
        generation_key: prefix.generation_key.clone(),
        store_keys: prefix.store_keys.as_str(),
        declared_at: config.declared_at(prefix.line),
    }
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        assert_eq!(place("redis://127.0.0.1:6379/0"), "redis://127.0.0.1:6379/0");
        assert_eq!(place("rediss://:s3cret@cache.internal:6380/2"), "rediss://cache.internal:6380/2");
        assert_eq!(place("redis://reader:s3/c?r#e@t@cache.internal:6379"), "redis://cache.internal:6379");
        assert_eq!(place("redis://cache.internal/0?password=s3cret"), "redis://cache.internal/0");
        assert_eq!(place("reader:s3cret@10.0.0.7:26379"), "10.0.0.7:26379");
    }
}
