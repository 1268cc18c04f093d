//! Collectors: ways in that fetch instead of being sent to. Each is leased, so that one replica at a time runs it, and ends in
//! [`crate::server::ingest::Ingest`]. Touches no table itself.

mod keyspace;

use crate::server::jobs::Jobs;
use crate::server::state::AppState;

/// Starts every collector that the configuration names, now or later.
pub fn start(jobs: &Jobs, app: &AppState) {
    jobs.spawn(keyspace::run(app.clone(), jobs.ending()));
}
