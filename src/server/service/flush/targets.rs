//! From a configured target to its Redis.

use crate::server::config::{Location, Login, Secret, Target};
use crate::server::redis::{Certificates, Endpoint, Fault};
use crate::server::state::AppState;

/// Where a target is, as whoever reads.
pub(super) fn reader(target: &Target) -> Result<Endpoint, Fault> {
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

/// Watches every configured target until the server ends. A target that a later configuration adds is watched from the next start on.
pub fn watch_targets(app: &AppState) {
    for target in &app.config().targets {
        match reader(target) {
            Ok(endpoint) => {
                let watch = app.flushes.monitor().clone().watch(target.name.clone(), endpoint, app.clock.clone());
                let ending = app.flushes.0.ending.clone();
                app.flushes.0.tasks.spawn(async move { ending.run_until_cancelled(watch).await });
            }
            Err(fault) => app.flushes.monitor().note(&target.name, &Err(fault), app.clock.now()),
        }
    }
}
