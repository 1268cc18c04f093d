//! The read models of a flush at work and of its end: what is dealt with, what others feel, what is left.

use super::brake::Watch;
use super::facts::Facts;
use super::load::Here;
use super::pages::{NodeProgress, Outcome, Progress};
use super::recorder::Earlier;
use crate::domain::flush::State;
use crate::server::service::figures::{Point, Series};
use crate::server::store::flushes::Flush;
use std::collections::BTreeMap;

pub(super) fn progress(flush: &Flush, state: State, here: Here<'_>) -> Option<Progress> {
    if !state.is_active() {
        return None;
    }
    let answers = here.map(|(ledger, started)| Earlier::of(started).with(&ledger.answers()));
    let live = |stored: u64, live: fn(&crate::server::redis::Answers) -> u64| answers.as_ref().map_or(stored, live).max(stored);
    let (removed, gone, failed) =
        (live(flush.removed, |now| now.removed), live(flush.gone, |now| now.gone), live(flush.failed, |now| now.failed));
    let classes = answers.as_ref().map_or_else(|| by_class(flush), |now| now.failed_by_class.clone());
    let watch = here.map_or_else(|| Watch::read(flush.watch.as_deref()), |(ledger, _)| ledger.watch());
    let facts = Facts::read(flush.plan.as_deref());
    let speed = here.and_then(|(ledger, _)| ledger.speed());
    #[expect(clippy::cast_precision_loss, reason = "an estimate for people")]
    let left = flush.matched.unwrap_or(0).saturating_sub(removed + gone + failed) as f64;
    Some(Progress {
        started_at: flush.started_at.or(flush.confirmed_at).unwrap_or(flush.state_at),
        removed,
        gone,
        failed,
        granted: flush.granted,
        scanned: live(flush.scanned, |now| now.scanned),
        keys_per_s: speed,
        left_s: speed.filter(|speed| *speed > 0.0).map(|speed| left / speed),
        scan_count: answers.as_ref().filter(|now| now.count > 0).map(|now| now.count),
        step_us: answers.as_ref().filter(|now| now.count > 0).and_then(|now| u32::try_from(now.step.as_micros()).ok()),
        failed_by_class: classes.into_iter().collect(),
        bystander_p50_ms: watch.p50_ms,
        bystander_p99_ms: watch.p99_ms,
        bystander_before_ms: watch.before_ms,
        bystander_limit_ms: watch.limit_ms,
        bystander: watch.from.map(|from| Series {
            from,
            step_s: 1,
            points: watch.points_ms.iter().map(|ms| Point { value: *ms, n: 1, ..Point::default() }).collect(),
        }),
        halved: watch.halved,
        braked_because: watch.why,
        blind: watch.blind,
        nodes: watch
            .nodes
            .into_iter()
            .map(|node| NodeProgress {
                keys: facts.nodes.iter().find(|planned| planned.address == node.address).map(|planned| planned.keys),
                address: node.address,
                scanned: node.scanned,
                removed: node.removed,
                complete: node.complete,
            })
            .collect(),
        paused: state == State::Paused,
    })
}

fn by_class(flush: &Flush) -> BTreeMap<String, u64> {
    serde_json::from_str(&flush.failed_by_class).unwrap_or_default()
}

pub(super) fn outcome(flush: &Flush, state: State) -> Option<Outcome> {
    let ended_at = flush.ended_at.filter(|_| state.has_removed())?;
    let watch = Watch::read(flush.watch.as_deref());
    Some(Outcome {
        ended_at,
        removed: flush.removed,
        gone: flush.gone,
        failed: flush.failed,
        failed_by_class: by_class(flush).into_iter().collect(),
        residue: flush.residue,
        sampled: flush.sampled,
        generation: flush.generation,
        proven: flush.proven,
        removed_at_most: (flush.granted > 0).then_some(flush.removed + flush.granted),
        bystander_worst_ms: watch.worst_ms,
        bystander_median_ms: watch.median_ms,
        duration_ms: u64::try_from((ended_at - flush.started_at.unwrap_or(ended_at)).num_milliseconds()).unwrap_or(0),
    })
}
