//! What is heard of keyspace events: by whom, since when, and what keeps it from being heard. The collectors tell; strip and settings read.

use crate::server::redis::{Setting, Speaker};
use crate::server::state::AppState;
use crate::server::store::events::{quality, registry, target_id};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// How long a collector's lease is good for; it is renewed well before.
const LEASE_S: i32 = 15;

/// What this process knows of every target that is listened to, by name.
#[derive(Clone, Debug, Default)]
pub struct Listening(Arc<RwLock<BTreeMap<String, Known>>>);

#[derive(Clone, Debug, Default)]
struct Known {
    /// Its masters, by address.
    masters: BTreeMap<String, Master>,
    /// Why its masters cannot be found.
    fault: Option<String>,
}

#[derive(Clone, Debug)]
struct Master {
    setting: Setting,
    line: String,
    state: State,
    last_event_at: Option<DateTime<Utc>>,
}

/// How a collector fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Starting,
    /// Another replica listens.
    Elsewhere,
    /// Everything is counted from this instant on.
    Listening {
        since: DateTime<Utc>,
    },
    Blind {
        since: DateTime<Utc>,
        why: String,
    },
}

/// What is heard of one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Since when every master is listened to by this process; None where one is not.
    pub since: Option<DateTime<Utc>>,
    pub elsewhere: bool,
    pub last_event_at: Option<DateTime<Utc>>,
    pub troubles: Vec<Trouble>,
}

/// Why nothing is heard, in a sentence, and the line that mends it, where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub what: String,
    pub mend: String,
}

impl Listening {
    pub fn of(&self, target: &str) -> Heard {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(target).map_or_else(Heard::default, |known| known.heard(target))
    }

    /// Notes which masters a target has.
    pub fn note_masters(&self, target: &str, speakers: &[Speaker]) {
        self.change(target, |known| {
            known.fault = None;
            let mut before = std::mem::take(&mut known.masters);
            for speaker in speakers {
                let address = speaker.address();
                let before = before.remove(&address);
                let (state, last_event_at) = before.map_or((State::Starting, None), |before| (before.state, before.last_event_at));
                known.masters.insert(address, Master { setting: speaker.setting, line: speaker.line.clone(), state, last_event_at });
            }
        });
    }

    /// Notes that a target's masters cannot be found.
    pub fn note_fault(&self, target: &str, fault: String) {
        self.change(target, |known| known.fault = Some(fault));
    }

    pub fn note(&self, target: &str, address: &str, state: State) {
        self.change(target, |known| {
            if let Some(master) = known.masters.get_mut(address) {
                master.state = state;
            }
        });
    }

    pub fn note_event(&self, target: &str, address: &str, at: DateTime<Utc>) {
        self.change(target, |known| {
            if let Some(master) = known.masters.get_mut(address) {
                master.last_event_at = Some(at);
            }
        });
    }

    /// Whether a master of the target is not heard now.
    pub fn is_blind(&self, target: &str) -> bool {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(target).is_some_and(|known| known.masters.values().any(|master| matches!(master.state, State::Blind { .. })))
    }

    pub fn forget(&self, target: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(target);
    }

    fn change(&self, target: &str, change: impl FnOnce(&mut Known)) {
        change(self.0.write().unwrap_or_else(PoisonError::into_inner).entry(target.to_owned()).or_default());
    }
}

impl Known {
    fn heard(&self, target: &str) -> Heard {
        let since = |master: &Master| match master.state {
            State::Listening { since } => Some(since),
            _ => None,
        };
        let all: Option<Vec<DateTime<Utc>>> = self.masters.values().map(since).collect();
        let mut troubles = Vec::new();
        if let Some(fault) = &self.fault {
            troubles.push(Trouble { what: format!("The keyspace events of {target} are not heard: {fault}."), mend: String::new() });
        }
        for (address, master) in &self.masters {
            let what = match master.setting {
                Setting::Silent => format!("{target} ({address}) does not announce misses, so none is counted. To have it announce them:"),
                Setting::Unreadable if master.last_event_at.is_none() => format!(
                    "No miss is heard from {target} ({address}), and whether it announces any may not be asked. To have it announce them:"
                ),
                _ => continue,
            };
            troubles.push(Trouble { what, mend: master.line.clone() });
        }
        for (address, master) in &self.masters {
            if let State::Blind { since, why } = &master.state {
                let what = format!("Blind on {target} ({address}) since {} UTC: {why}.", since.format("%H:%M:%S"));
                troubles.push(Trouble { what, mend: String::new() });
            }
        }
        Heard {
            since: all.and_then(|all| all.into_iter().max()),
            elsewhere: self.masters.values().any(|master| master.state == State::Elsewhere),
            last_event_at: self.masters.values().filter_map(|master| master.last_event_at).max(),
            troubles,
        }
    }
}

/// What became of asking for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// Ours. `blind_from`: until when somebody else surely held it before.
    Taken {
        blind_from: Option<DateTime<Utc>>,
    },
    Held,
    Elsewhere,
}

/// Takes or keeps the lease on listening to one master.
pub async fn take_lease(app: &AppState, target: &str, address: &str, held: bool) -> Result<Lease, sqlx::Error> {
    let name = lease(target, address);
    let mut conn = app.pools.events.acquire().await?;
    let ended = if held { None } else { registry::find_lease_end(&mut conn, &name).await? };
    let taken = registry::take_lease(&mut conn, &name, app.ingest.writer(), f64::from(LEASE_S)).await?;
    Ok(match taken {
        None => Lease::Elsewhere,
        Some(_) if held => Lease::Held,
        // Whoever did not give it back ended at some time after it was last renewed.
        Some(_) => Lease::Taken {
            blind_from: ended.map(|(ended, given_back)| if given_back { ended } else { ended - TimeDelta::seconds(i64::from(LEASE_S)) }),
        },
    })
}

/// Lets another replica have the lease at once.
pub async fn give_lease_back(app: &AppState, target: &str, address: &str) -> Result<(), sqlx::Error> {
    let mut conn = app.pools.events.acquire().await?;
    registry::release_lease(&mut conn, &lease(target, address), app.ingest.writer()).await
}

fn lease(target: &str, address: &str) -> String {
    format!("keyspace.{target}.{address}")
}

/// Notes a span in which a target was not heard.
pub async fn note_blind(app: &AppState, target: &str, from: DateTime<Utc>, to: DateTime<Utc>, why: &str) -> Result<(), sqlx::Error> {
    let mut conn = app.pools.events.acquire().await?;
    quality::insert_gap(&mut conn, target_id(target), from, to, why).await
}
