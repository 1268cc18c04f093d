//! Whether a target answers, and since when not. One task per target asks every two seconds; pages read what it last found.

use super::connect::{Endpoint, Fault, Link};
use crate::server::clock::Clock;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(2);

/// What is known of one target.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// Not answering since; None: it answers, or has not been asked yet.
    pub away_since: Option<DateTime<Utc>>,
    /// Why not, for people.
    pub why: Option<String>,
    /// When it last answered.
    pub seen_at: Option<DateTime<Utc>>,
    /// Keys in the database, when it last answered.
    pub keys: Option<u64>,
    /// Whether the flush identity may do more than flush, as its last self-check found.
    pub over_privileged: Option<bool>,
}

/// What is known of all targets, by name.
#[derive(Clone, Debug, Default)]
pub struct Monitor(Arc<RwLock<BTreeMap<String, Reach>>>);

impl Monitor {
    pub fn of(&self, target: &str) -> Reach {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(target).cloned().unwrap_or_default()
    }

    /// Notes what somebody found out about a target.
    pub fn note(&self, target: &str, found: &Result<u64, Fault>, now: DateTime<Utc>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let reach = all.entry(target.to_owned()).or_default();
        match found {
            Ok(keys) => {
                *reach =
                    Reach { away_since: None, why: None, seen_at: Some(now), keys: Some(*keys), over_privileged: reach.over_privileged };
            }
            Err(fault) => {
                if reach.away_since.is_none() {
                    tracing::warn!(redis.target = target, error.cause = %fault, "target does not answer");
                }
                reach.away_since.get_or_insert(now);
                reach.why = Some(fault.to_string());
            }
        }
    }

    /// Notes what the flush identity's self-check found.
    pub fn note_privilege(&self, target: &str, over_privileged: bool) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).entry(target.to_owned()).or_default().over_privileged =
            Some(over_privileged);
    }

    /// Asks one target for ever. Keeps its connection.
    pub async fn watch(self, target: String, endpoint: Endpoint, clock: Clock) {
        let mut kept = None;
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let place = endpoint.clone();
            let asked = tokio::task::spawn_blocking(move || {
                let mut link = match kept {
                    Some(link) => link,
                    None => Link::open(&place)?,
                };
                let keys = link.count_keys(place.db())?;
                Ok::<_, Fault>((link, keys))
            });
            let found = match asked.await {
                Ok(Ok((link, keys))) => {
                    kept = Some(link);
                    Ok(keys)
                }
                Ok(Err(fault)) => {
                    kept = None;
                    Err(fault)
                }
                Err(_) => return, // the runtime ends
            };
            self.note(&target, &found, clock.now());
        }
    }
}
