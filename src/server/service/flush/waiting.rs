//! What waits for the reader: flushes that they may approve, and their own that are approved. Shown on every page.

use super::record::in_time;
use crate::domain::flush::State;
use crate::domain::operator::{Permission, Viewer};
use crate::server::state::AppState;
use crate::server::store::flushes;
use chrono::{DateTime, Utc};
use std::time::Duration;

/// A page does not wait for this for longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitsFor {
    /// The reader's approval.
    YourApproval,
    /// Somebody's approval of what the reader asked for.
    AnApprover,
    /// The reader's start.
    YourStart,
}

/// One flush that waits.
#[derive(Clone, Debug)]
pub struct Waiting {
    pub id: i64,
    pub target: String,
    pub scope: String,
    pub author: String,
    pub keys: u64,
    pub waits_for: WaitsFor,
    pub until: DateTime<Utc>,
}

/// What waits for this person, the oldest first; nothing where Postgres does not answer.
pub async fn waiting(app: &AppState, viewer: &Viewer) -> Vec<Waiting> {
    // Who may only read neither asks nor decides.
    if !viewer.may(Permission::Approve) && !viewer.may(Permission::Flush) {
        return Vec::new();
    }
    let (pool, now) = (app.pools.control.clone(), app.clock.now());
    let found = in_time(PATIENCE, async move { flushes::list_waiting(&mut *pool.acquire().await?, now).await }).await;
    let Some(Ok(found)) = found else { return Vec::new() };
    let waits_for = |flush: &flushes::Waiting| match (flush.state, flush.author_id == viewer.user_id) {
        (State::AwaitingApproval, false) if viewer.may(Permission::Approve) => Some(WaitsFor::YourApproval),
        (State::AwaitingApproval, true) => Some(WaitsFor::AnApprover),
        (State::Approved, true) if viewer.may(Permission::Flush) => Some(WaitsFor::YourStart),
        _ => None,
    };
    found
        .into_iter()
        .filter_map(|flush| {
            Some(Waiting {
                waits_for: waits_for(&flush)?,
                id: flush.id,
                target: flush.target,
                scope: flush.scope,
                author: flush.author,
                keys: flush.matched,
                until: flush.until,
            })
        })
        .collect()
}
