//! The contracts page: what is declared, read-only, with the last invalidation of each edge.

use super::figures::LastInvalidation;
use crate::error::Error;
use crate::server::config::Config;
use crate::server::state::AppState;
use crate::server::store::events::writes::{self, Caused, Endpoint, Writes};
use crate::server::store::events::{prefix_id, target_id};
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

#[derive(Clone, Debug)]
pub struct ContractsPage {
    pub as_of: DateTime<Utc>,
    /// First 12 digits of the digest of the configuration.
    pub config_digest: String,
    pub contracts: Vec<ContractLine>,
    /// Registered prefixes that no contract affects.
    pub uncovered: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct ContractLine {
    /// `PUT /users/{id}`
    pub endpoint: String,
    pub within_s: f64,
    /// `stalewatch.toml:41`
    pub declared_at: String,
    pub last_write: Option<DateTime<Utc>>,
    /// Writes of the last 24 hours.
    pub writes_24h: u64,
    pub edges: Vec<Edge>,
}

#[derive(Clone, Debug)]
pub struct Edge {
    /// The prefix (its template), and its target.
    pub prefix: String,
    pub target: String,
    /// `evict`, `expire`, `update`, `version`
    pub how: String,
    /// The last invalidation of that prefix by a mutation of this endpoint.
    pub last: Option<LastInvalidation>,
}

/// What was seen of the declared writes: one entry a contract, in the order of the file.
pub(super) struct Seen {
    pub writes: Writes,
    /// One a declared edge.
    pub edges: Vec<Option<LastInvalidation>>,
}

/// Loads the page.
pub async fn load(app: &AppState) -> Result<ContractsPage, Error> {
    let (config, now) = (app.config(), app.clock.now());
    let mut conn = app.pools.events_read.acquire().await?;
    let seen = see(&mut conn, &config, now - TimeDelta::hours(24), now, now).await?;
    let contracts = config
        .contracts
        .iter()
        .zip(seen)
        .map(|(contract, seen)| ContractLine {
            endpoint: contract.write.clone(),
            within_s: contract.within.as_secs_f64(),
            declared_at: config.declared_at(contract.line),
            last_write: seen.writes.last_at,
            writes_24h: seen.writes.count,
            edges: contract
                .affects
                .iter()
                .zip(seen.edges)
                .map(|(edge, last)| Edge {
                    prefix: edge.prefix.clone(),
                    target: contract.target.clone(),
                    how: edge.how.as_str().to_owned(),
                    last,
                })
                .collect(),
        })
        .collect();
    let covered = |target: &str, prefix: &str| {
        config.contracts.iter().any(|contract| contract.target == target && contract.affects.iter().any(|edge| edge.prefix == prefix))
    };
    let uncovered =
        config.prefixes.iter().filter(|prefix| !covered(&prefix.target, prefix.name())).map(|prefix| prefix.name().to_owned()).collect();
    Ok(ContractsPage { as_of: now, config_digest: config.digest.chars().take(12).collect(), contracts, uncovered })
}

/// Writes from `from` up to `to` and the newest invalidation of each edge before `to`.
pub(super) async fn see(
    conn: &mut PgConnection,
    config: &Config,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Vec<Seen>, sqlx::Error> {
    let oldest = now - TimeDelta::from_std(config.retention.raw).unwrap_or(TimeDelta::days(14));
    let endpoint =
        |contract: &crate::domain::contract::Contract| Endpoint { target_id: target_id(&contract.target), name: contract.write.clone() };
    let endpoints: Vec<Endpoint> = config.contracts.iter().map(endpoint).collect();
    let edges: Vec<(Endpoint, i64)> = config
        .contracts
        .iter()
        .flat_map(|contract| contract.affects.iter().map(move |edge| (endpoint(contract), prefix_id(&contract.target, &edge.prefix))))
        .collect();
    let writes = writes::list_writes(conn, &endpoints, from, to, oldest).await?;
    let mut caused = writes::list_caused(conn, &edges, to, oldest).await?.into_iter();
    let seen = config.contracts.iter().zip(writes).map(|(contract, writes)| Seen {
        writes,
        edges: caused.by_ref().take(contract.affects.len()).map(|found| found.map(last)).collect(),
    });
    Ok(seen.collect())
}

fn last(caused: Caused) -> LastInvalidation {
    LastInvalidation {
        at: caused.at,
        ok: caused.ok,
        method: caused.method.as_str().to_owned(),
        error_class: caused.class.map(|class| class.as_str().to_owned()),
    }
}
