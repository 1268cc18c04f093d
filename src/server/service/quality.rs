//! The data-quality strip's read model: on every view, so that silence is never taken for health.

use super::audit;
use super::figures::Gap;
use super::listening::Heard;
use super::remembered::Remembered;
use crate::error::Error;
use crate::server::state::AppState;
use crate::server::store::events::quality as store;
use chrono::{DateTime, TimeDelta, Utc};
use std::sync::{Mutex, PoisonError};

/// A source that sent within this span says something about the lag.
const LIVELY: TimeDelta = TimeDelta::minutes(5);
/// One that sent nothing for this long is called silent,
const SILENT_AFTER: TimeDelta = TimeDelta::minutes(10);
/// until it has been so for so long that it is gone for good.
const FORGOTTEN_AFTER: TimeDelta = TimeDelta::days(7);
const DAY: TimeDelta = TimeDelta::hours(24);

#[derive(Clone, Debug)]
pub struct Quality {
    pub as_of: DateTime<Utc>,
    /// How far the newest events lay behind their arrival, the worst source; None where nothing came in the last minutes.
    pub lag_ms: Option<u64>,
    /// When the last event was accepted.
    pub last_event_at: Option<DateTime<Utc>>,
    /// Stretches of the last 24 hours in which nothing came although something came before.
    pub gaps: Vec<Gap>,
    /// Events of the last 24 hours.
    pub accepted: u64,
    pub rejected: u64,
    /// Sources that used to send and do not.
    pub silent: Vec<SilentSource>,
    pub targets: Vec<TargetHealth>,
    pub audit: AuditHealth,
    /// Set while Postgres does not answer and these are the last figures known.
    pub store_away_since: Option<DateTime<Utc>>,
    /// First 12 digits of the digest of the configuration this replica runs.
    pub config_digest: String,
    /// Warnings of the configuration (an option that a later release brings).
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct SilentSource {
    pub source: String,
    pub since: DateTime<Utc>,
}

#[derive(Clone, Debug)]
pub struct TargetHealth {
    pub name: String,
    pub reachable: bool,
    /// Since when it is unreachable.
    pub since: Option<DateTime<Utc>>,
    /// One sentence: what it answered instead.
    pub detail: Option<String>,
    /// The flush identity may do more than flush.
    pub over_privileged: bool,
    /// What is heard of its keyspace events; None where nobody is to listen.
    pub heard: Option<Heard>,
}

#[derive(Clone, Debug, Default)]
pub struct AuditHealth {
    /// What of the server's Postgres role would let it rewrite the record, as the end of a sentence; None where nothing does.
    pub not_separated: Option<String>,
    /// What is wrong with the record itself, if anything is.
    pub trouble: Option<String>,
    /// Last number in the checkpoint file, and when it was written.
    pub anchored: Option<(i64, DateTime<Utc>)>,
    pub head_seq: i64,
}

/// The strip as it was last known, and since when Postgres is away.
#[derive(Debug, Default)]
pub struct LastKnown {
    strip: Remembered<Quality>,
    away_since: Mutex<Option<DateTime<Utc>>>,
}

/// The strip now; where Postgres does not answer, the last one known with the time since when. An error only where none was ever known.
pub async fn load(app: &AppState) -> Result<Quality, Error> {
    let (own, asked_at) = (app.clone(), app.clock.now());
    let quality = app.last_known.strip.or_last(String::new(), async move { read(&own).await }).await;
    let mut since = app.last_known.away_since.lock().unwrap_or_else(PoisonError::into_inner);
    match quality {
        Ok(quality) if quality.as_of >= asked_at => {
            *since = None;
            Ok(quality)
        }
        other => {
            let since = *since.get_or_insert(asked_at);
            other.map(|quality| Quality { store_away_since: Some(since), ..quality })
        }
    }
}

async fn read(app: &AppState) -> Result<Quality, Error> {
    let now = app.clock.now();
    let config = app.config();
    let mut conn = app.pools.events_read.acquire().await?;
    let sources = store::list_sources(&mut conn).await?;
    let (accepted, rejected) = store::count_intake(&mut conn, now - DAY).await?;
    let gaps = store::list_gaps(&mut conn, now - DAY, now).await?;
    drop(conn);
    let audit = audit::health(app).await?;
    let lag_ms =
        sources.iter().filter(|source| now - source.last_seen_at < LIVELY).map(|source| u64::try_from(source.lag_ms).unwrap_or(0)).max();
    let silent = sources
        .iter()
        .filter(|source| (SILENT_AFTER..FORGOTTEN_AFTER).contains(&(now - source.last_seen_at)))
        .map(|source| SilentSource { source: source.name.clone(), since: source.last_seen_at })
        .collect();
    Ok(Quality {
        as_of: now,
        lag_ms,
        last_event_at: sources.iter().map(|source| source.last_event_at).max(),
        gaps: gaps.into_iter().map(|gap| Gap { from: gap.from.max(now - DAY), to: gap.to.min(now), why: gap.why }).collect(),
        accepted,
        rejected,
        silent,
        targets: config
            .targets
            .iter()
            .map(|target| {
                let reach = app.flushes.monitor().of(&target.name);
                TargetHealth {
                    name: target.name.clone(),
                    reachable: reach.away_since.is_none(),
                    since: reach.away_since,
                    detail: reach.why,
                    over_privileged: reach.over_privileged == Some(true),
                    heard: target.notifications.then(|| app.listening.of(&target.name)),
                }
            })
            .collect(),
        audit,
        store_away_since: None,
        config_digest: config.digest.clone(),
        warnings: config.warnings.clone(),
    })
}
