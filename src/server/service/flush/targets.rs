//! From a configured target to its Redis.

use crate::server::config::{Config, Location, Login, Secret, Target, Tls};
use crate::server::redis::{Certificates, Endpoint, Fault, acl_line};
use crate::server::state::AppState;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// Where a target is, as whoever reads.
pub fn reader(target: &Target) -> Result<Endpoint, Fault> {
    let expose = |nodes: &[Secret]| nodes.iter().map(|node| node.expose().to_owned()).collect::<Vec<_>>();
    let place = match &target.location {
        None => return Err(Fault::Address("no url is configured".to_owned())),
        Some(Location::Url(url)) => Endpoint::of_url(url.expose())?,
        Some(Location::Sentinel { master, nodes, db }) => {
            let tls = target.tls.is_some() || nodes.iter().any(|node| node.expose().starts_with("rediss://"));
            Endpoint::of_sentinel(master, &expose(nodes), i64::from(*db), tls)?
        }
        Some(Location::Cluster { nodes }) => Endpoint::of_cluster(&expose(nodes), target.tls.is_some())?,
    };
    let place = match &target.tls {
        Some(tls) => place.with_certificates(Certificates {
            authority: tls.authority.as_ref().map(|pem| pem.expose().as_bytes().to_vec()),
            client: tls.client.as_ref().map(|(cert, key)| (cert.expose().as_bytes().to_vec(), key.expose().as_bytes().to_vec())),
        }),
        None => place,
    };
    Ok(as_login(place, target.login.as_ref()))
}

/// Where a target is, as the flush identity; without one, as whoever reads (and that is called over-privileged).
pub(super) fn flusher(target: &Target) -> Result<Endpoint, Fault> {
    Ok(as_login(reader(target)?, target.flush.as_ref()))
}

fn as_login(place: Endpoint, login: Option<&Login>) -> Endpoint {
    match login {
        Some(login) => place.as_user(&login.user, login.password.expose()),
        None => place,
    }
}

/// The line that gives the flush identity of a target what it needs and nothing more, on a Redis of this version.
pub fn mending(config: &Config, target: &Target, version: &str) -> String {
    let registered: Vec<_> = config.prefixes_of(&target.name).collect();
    let mut first: Vec<Vec<u8>> = registered.iter().map(|prefix| prefix.template.first_segment().to_vec()).collect();
    first.sort();
    first.dedup();
    let generations: Vec<&str> = registered.iter().filter_map(|prefix| prefix.generation_key.as_deref()).collect();
    acl_line(version, target.flush.as_ref().map_or("sw_flush", |identity| &identity.user), &first, target.delimiter, &generations)
}

/// What decides where a target is and as whom it is asked.
type Place = (Option<Location>, Option<Login>, Option<Tls>);

/// The targets that are watched: each until it is gone from the configuration, is somewhere else, or the server ends.
#[derive(Default)]
pub(super) struct Watched(Mutex<HashMap<String, (Place, CancellationToken)>>);

/// Watches exactly the targets of the configuration in force: what it names anew from now on, what it no longer names not any more.
pub fn watch_targets(app: &AppState) {
    let config = app.config();
    let mut watched = app.flushes.0.watched.0.lock().unwrap_or_else(PoisonError::into_inner);
    let place = |target: &Target| (target.location.clone(), target.login.clone(), target.tls.clone());
    watched.retain(|name, (was, ending)| {
        let stays = config.target(name).is_some_and(|target| place(target) == *was);
        if !stays {
            ending.cancel();
            app.flushes.monitor().forget(name);
        }
        stays
    });
    for target in &config.targets {
        if watched.contains_key(&target.name) {
            continue;
        }
        let ending = app.flushes.0.ending.child_token();
        match reader(target) {
            Ok(endpoint) => {
                let watch = app.flushes.monitor().clone().watch(target.name.clone(), endpoint, app.clock.clone());
                let ending = ending.clone();
                app.flushes.0.tasks.spawn(async move { ending.run_until_cancelled(watch).await });
            }
            Err(fault) => app.flushes.monitor().note(&target.name, &Err(fault), app.clock.now()),
        }
        watched.insert(target.name.clone(), (place(target), ending));
    }
}
