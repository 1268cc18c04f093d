//! The contracts page's read model: what is declared, read-only, with the last invalidation of each edge.

use super::figures::LastInvalidation;
use chrono::{DateTime, Utc};

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
