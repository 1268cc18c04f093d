//! Whether a target answers, and since when not. One task per target asks every two seconds; pages read what it last found.

use super::connect::Fault;
use super::endpoint::Endpoint;
use crate::server::clock::Clock;
use chrono::{DateTime, Utc};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(2);
/// Ticks after which the masters of a target that fails over are looked for anew.
const LOOK_AROUND: u32 = 5;

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
    /// The oldest master's version, when it last answered.
    pub version: Option<String>,
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
                (reach.away_since, reach.why, reach.seen_at, reach.keys) = (None, None, Some(now), Some(*keys));
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

    /// Drops what is known of a target that is gone, or is another one under the same name.
    pub fn forget(&self, target: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(target);
    }

    /// Notes what the flush identity's self-check found.
    pub fn note_privilege(&self, target: &str, over_privileged: bool) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).entry(target.to_owned()).or_default().over_privileged =
            Some(over_privileged);
    }

    fn note_version(&self, target: &str, version: Option<String>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).entry(target.to_owned()).or_default().version = version;
    }

    /// Asks one target for ever, every master of it. Keeps its connections.
    pub async fn watch(self, target: String, endpoint: Endpoint, clock: Clock) {
        let mut kept = None;
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut asked = 0_u32;
        loop {
            ticks.tick().await;
            asked = asked.wrapping_add(1);
            // Where another server may take over, the old one may go on answering: who the masters are is asked anew now and then.
            if endpoint.fails_over() && asked.is_multiple_of(LOOK_AROUND) {
                kept = None;
            }
            let place = endpoint.clone();
            let asked = tokio::task::spawn_blocking(move || {
                let mut topology = match kept {
                    Some(topology) => topology,
                    None => place.resolve()?,
                };
                let mut keys = 0;
                for master in &mut topology.masters {
                    keys += master.link.count_keys(place.db())?;
                }
                Ok::<_, Fault>((topology, keys))
            });
            let found = match asked.await {
                Ok(Ok((topology, keys))) => {
                    self.note_version(&target, topology.oldest_version());
                    kept = Some(topology);
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
