//! From a configured target to its Redis.

use crate::server::config::Target;
use crate::server::redis::{Endpoint, Fault};
use crate::server::state::AppState;

/// Where a target is, as whoever reads.
pub(super) fn reader(target: &Target) -> Result<Endpoint, Fault> {
    let url = target.url.as_ref().ok_or_else(|| Fault::Address("no url is configured".to_owned()))?;
    Endpoint::of_url(url.expose())
}

/// Where a target is, as the flush identity; without one, as whoever `url` says (and that is called over-privileged).
pub(super) fn flusher(target: &Target) -> Result<Endpoint, Fault> {
    let place = reader(target)?;
    Ok(match &target.flush {
        Some(identity) => place.as_user(&identity.user, identity.password.expose()),
        None => place,
    })
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
