//! Keyspace events: what a Redis says by itself of keys that were asked for and were not there.
//!
//! ```text
//! run        which targets are to be listened to, by the configuration in force
//! └ follow   which masters a target has now; looks again every ten seconds, and sooner while one is not heard
//!   └ collector   one master: its lease, its thread (listen), what it counted (window) into ingest
//! ```

mod collector;
mod listen;
mod window;

use crate::server::config::{Location, Login, Target, Tls};
use crate::server::redis::{Endpoint, speakers};
use crate::server::service::flush;
use crate::server::state::AppState;
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the configuration is looked at, and the health of collectors.
const LOOK: Duration = Duration::from_secs(1);
/// How often a target's masters are.
const LOOK_AROUND: Duration = Duration::from_secs(10);

/// What decides where a target is and as whom it is listened to.
type Place = (Option<Location>, Option<Login>, Option<Tls>);

fn place(target: &Target) -> Place {
    (target.location.clone(), target.login.clone(), target.tls.clone())
}

/// Listens to exactly the targets that the configuration in force names, until the server ends.
pub(super) async fn run(app: AppState, ending: CancellationToken) {
    let mut followed: BTreeMap<String, (Place, CancellationToken, Option<JoinHandle<()>>)> = BTreeMap::new();
    let mut ticks = tokio::time::interval(LOOK);
    while ending.run_until_cancelled(ticks.tick()).await.is_some() {
        let config = app.config();
        let wanted: BTreeMap<&str, &Target> =
            config.targets.iter().filter(|target| target.notifications).map(|target| (target.name.as_str(), target)).collect();
        let gone: Vec<String> = followed
            .iter()
            .filter(|(name, (was, ..))| wanted.get(name.as_str()).is_none_or(|target| place(target) != *was))
            .map(|(name, _)| name.clone())
            .collect();
        for name in gone {
            if let Some((_, end, task)) = followed.remove(&name) {
                end.cancel();
                if let Some(task) = task {
                    let _ = task.await;
                }
                app.listening.forget(&name);
            }
        }
        for (name, target) in wanted {
            if followed.contains_key(name) {
                continue;
            }
            let end = ending.child_token();
            let task = match flush::reader(target) {
                Ok(endpoint) => Some(tokio::spawn(follow(app.clone(), name.to_owned(), endpoint, end.clone()))),
                Err(fault) => {
                    app.listening.note_fault(name, fault.to_string());
                    None
                }
            };
            followed.insert(name.to_owned(), (place(target), end, task));
        }
    }
    for task in followed.into_values().filter_map(|(.., task)| task) {
        let _ = task.await;
    }
}

/// A collector at work; ends with the instant up to which it heard everything.
type Collector = (CancellationToken, JoinHandle<Option<DateTime<Utc>>>);

/// One collector for each master that the target has, as they come and go.
async fn follow(app: AppState, target: String, endpoint: Endpoint, ending: CancellationToken) {
    let mut collectors: BTreeMap<String, Collector> = BTreeMap::new();
    // Up to when a master was heard whose place another one may have taken.
    let mut heard_until: Option<DateTime<Utc>> = None;
    let mut looked: Option<Instant> = None;
    let mut ticks = tokio::time::interval(LOOK);
    while ending.run_until_cancelled(ticks.tick()).await.is_some() {
        if looked.is_some_and(|looked| looked.elapsed() < LOOK_AROUND) && !app.listening.is_blind(&target) {
            continue;
        }
        looked = Some(Instant::now());
        let place = endpoint.clone();
        let found = match tokio::task::spawn_blocking(move || speakers(&place)).await {
            Ok(Ok(found)) => found,
            Ok(Err(fault)) => {
                app.listening.note_fault(&target, fault.to_string());
                continue;
            }
            Err(_) => break, // the runtime ends
        };
        let addresses: BTreeSet<String> = found.iter().map(crate::server::redis::Speaker::address).collect();
        let gone: Vec<String> = collectors.keys().filter(|address| !addresses.contains(*address)).cloned().collect();
        for address in gone {
            if let Some((end, task)) = collectors.remove(&address) {
                end.cancel();
                heard_until = task.await.ok().flatten().or(heard_until);
            }
        }
        app.listening.note_masters(&target, &found);
        for speaker in found {
            collectors.entry(speaker.address()).or_insert_with(|| {
                let end = ending.child_token();
                let task = collector::collect(app.clone(), target.clone(), speaker, heard_until, end.clone());
                (end, tokio::spawn(task))
            });
        }
        heard_until = None;
    }
    for (end, task) in collectors.into_values() {
        end.cancel();
        let _ = task.await;
    }
}
