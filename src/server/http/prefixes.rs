//! `GET /api/v1/prefixes`: every prefix, what it promises and where it stands.

use crate::domain::metric::as_f64;
use crate::error::Error;
use crate::server::auth::problem;
use crate::server::config::{Config, Prefix};
use crate::server::service::series::subjects;
use crate::server::service::standing::{self, Stand};
use crate::server::state::AppState;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::SecondsFormat;
use serde::Serialize;

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Answer {
    pub prefixes: Vec<Entry>,
}

/// One prefix. `unclassified` and `overflow` are not registered and have neither owner nor policy.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Entry {
    pub name: String,
    pub target: String,
    pub owner: Option<String>,
    /// `critical`, `standard` or `relaxed`.
    pub tier: Option<&'static str>,
    pub registered: bool,
    /// `outside`, `at_risk`, `within`, `not_proven`, from the last 15 minutes; `no_policy` where nothing is registered.
    pub state: &'static str,
    pub last_event_at: Option<String>,
    pub objective: Option<Objective>,
    pub threshold: Option<Threshold>,
}

/// At least `ratio` of reads fresh `fresh_within` after the write.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Objective {
    /// `0s`, `1s`, `10s`, `60s` or `300s`.
    pub fresh_within: String,
    pub ratio: f64,
}

/// Where a prefix is outside; null is not watched.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Threshold {
    pub miss_rate: Option<f64>,
    /// Milliseconds.
    pub rebuild_p95: Option<f64>,
    pub invalidation_error_rate: Option<f64>,
    pub stale_read_rate: Option<f64>,
}

/// Every prefix and where it stands.
#[utoipa::path(
    get, path = "/api/v1/prefixes", tag = "figures",
    responses((status = 200, body = Answer), (status = 401, description = "No valid token."), (status = 503, description = "Postgres does not answer.")),
    security(("read" = []))
)]
pub async fn list(State(app): State<AppState>) -> Response {
    let config = app.config();
    let stands = async {
        let view = app.cells.view(&app).await?;
        let mut conn = app.pools.events_read.acquire().await?;
        standing::list(&view, &mut conn, &config, app.clock.now(), &subjects(&config)).await
    };
    match stands.await {
        Ok(stands) => Json(Answer { prefixes: stands.iter().map(|stand| entry(&config, stand)).collect() }).into_response(),
        Err(cause) => problem(&Error::store(&cause)),
    }
}

fn entry(config: &Config, stand: &Stand) -> Entry {
    let subject = &stand.subject;
    let prefix: Option<&Prefix> = if subject.registered { config.prefix(&subject.target, &subject.name) } else { None };
    Entry {
        name: subject.name.clone(),
        target: subject.target.clone(),
        owner: prefix.and_then(|prefix| prefix.owner.clone()),
        tier: prefix.map(|prefix| prefix.tier.as_str()),
        registered: subject.registered,
        state: stand.standing().as_str(),
        last_event_at: stand.last_event_at.map(|at| at.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        objective: prefix
            .and_then(|prefix| prefix.objective)
            .map(|objective| Objective { fresh_within: format!("{}s", objective.fresh_within_s()), ratio: objective.ratio }),
        threshold: prefix.map(|prefix| Threshold {
            miss_rate: prefix.thresholds.miss_rate,
            rebuild_p95: prefix.thresholds.rebuild_p95_us.map(|us| as_f64(us) / 1e3),
            invalidation_error_rate: prefix.thresholds.invalidation_error_rate,
            stale_read_rate: prefix.thresholds.stale_read_rate,
        }),
    }
}
