//! What happened in the shop before it opened: releases, incidents, how much of the custom it had, and when which bug was in.
//!
//! The story: for two weeks the new storefront served two in a hundred customers; 75 minutes ago it got all of them. So the figures
//! per minute jump there, as they do on such a night, and the history stays small enough to be told in seconds.

use super::super::{Service, switches::Bug};
use chrono::{DateTime, TimeDelta, Timelike, Utc};

/// When all customers came.
pub const CUTOVER: TimeDelta = TimeDelta::minutes(75);
/// The share of customers before.
const CANARY: f64 = 0.02;

/// An annotation of the past, `before` the shop opened.
pub struct Note {
    pub before: TimeDelta,
    pub service: Service,
    pub kind: &'static str,
    pub text: &'static str,
}

const fn note(before: TimeDelta, service: Service, kind: &'static str, text: &'static str) -> Note {
    Note { before, service, kind, text }
}

/// All of them, oldest first. Those that brought a bug say what its switch says.
pub fn notes() -> Vec<Note> {
    use Service::{AccountsApi, BillingWorker, CatalogWorker, SearchApi};
    let brought = |before, bug: Bug| {
        let (service, text, _) = bug.releases();
        note(before, service, if bug == Bug::BillingTimeouts { "config" } else { "deploy" }, text)
    };
    vec![
        note(TimeDelta::hours(320), AccountsApi, "deploy", "accounts-api 4.18.0"),
        note(TimeDelta::hours(297), SearchApi, "deploy", "search-api 3.3.0: results may be served stale while they are refreshed"),
        note(SLOW_PRODUCTS.0, CatalogWorker, "incident", "product database fails over: queries are slow for 40 minutes"),
        note(TimeDelta::hours(190), CatalogWorker, "deploy", "catalog-worker 2.8.4"),
        note(PROXY_TROUBLE.0, BillingWorker, "incident", "cache-proxy-2 drops packets; billing's evictions time out"),
        note(PROXY_TROUBLE.1, BillingWorker, "config", "billing-worker: cache behind cache-proxy-1"),
        brought(LATE_FILL_SINCE, Bug::LateFill),
        note(GAP.1, AccountsApi, "note", "event collector was down for 70 minutes; nothing was kept"),
        note(TimeDelta::hours(50), SearchApi, "deploy", "search-api 3.4.0"),
        brought(FORGOTTEN_SINCE, Bug::ForgottenSummary),
        brought(TimeDelta::minutes(96), Bug::SharedTtl),
        brought(TIMEOUTS_SINCE, Bug::BillingTimeouts),
        brought(CUTOVER, Bug::UnknownKeys),
        note(CUTOVER - TimeDelta::seconds(20), AccountsApi, "note", "all customers on the new storefront (2 % before)"),
    ]
}

const SLOW_PRODUCTS: (TimeDelta, TimeDelta) = (TimeDelta::minutes(13_030), TimeDelta::minutes(12_990));
const PROXY_TROUBLE: (TimeDelta, TimeDelta) = (TimeDelta::minutes(8_700), TimeDelta::minutes(8_645));
const GAP: (TimeDelta, TimeDelta) = (TimeDelta::minutes(4_420), TimeDelta::minutes(4_350));
const LATE_FILL_SINCE: TimeDelta = TimeDelta::hours(117);
const FORGOTTEN_SINCE: TimeDelta = TimeDelta::minutes(1_570);
const TIMEOUTS_SINCE: TimeDelta = TimeDelta::minutes(84);

/// What holds at one instant of the past.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and they come in every combination")]
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// Share of the custom that the open shop has.
    pub traffic: f64,
    pub forgotten_summary: bool,
    /// All customers and one expiry: the catalogue stampedes.
    pub stampedes: bool,
    /// Probability that a write meets a late fill.
    pub late_fill: f64,
    /// Probability that an eviction of billing times out.
    pub timeouts: f64,
    pub unknown_keys: bool,
    /// How much slower the product database answers.
    pub products_slower: f64,
    /// Nothing was collected.
    pub silent: bool,
}

/// What held `before` the shop opened at `opens_at`.
pub fn scene(opens_at: DateTime<Utc>, before: TimeDelta) -> Scene {
    let within = |span: (TimeDelta, TimeDelta)| before <= span.0 && before > span.1;
    let cut_over = before <= CUTOVER;
    Scene {
        traffic: if cut_over { 1.0 } else { CANARY * rhythm(opens_at - before) },
        forgotten_summary: before <= FORGOTTEN_SINCE,
        stampedes: cut_over,
        late_fill: if cut_over {
            0.08
        } else if before <= LATE_FILL_SINCE {
            0.02
        } else {
            0.0
        },
        timeouts: if before <= TIMEOUTS_SINCE {
            0.2
        } else if within(PROXY_TROUBLE) {
            0.45
        } else {
            0.0
        },
        unknown_keys: cut_over,
        products_slower: if within(SLOW_PRODUCTS) { 11.0 } else { 1.0 },
        silent: within(GAP),
    }
}

/// The span in which nothing was collected, oldest end first.
pub fn gap(opens_at: DateTime<Utc>) -> (DateTime<Utc>, DateTime<Utc>) {
    (opens_at - GAP.0, opens_at - GAP.1)
}

/// How busy an hour of the day is: least at four in the night, most in the afternoon.
fn rhythm(at: DateTime<Utc>) -> f64 {
    let hour = f64::from(at.hour()) + f64::from(at.minute()) / 60.0;
    0.6 + 0.4 * ((hour - 16.0) / 24.0 * std::f64::consts::TAU).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_told_in_order() {
        let notes = notes();
        assert!(notes.windows(2).all(|pair| pair[0].before > pair[1].before));
    }

    #[test]
    fn at_the_end_all_bugs_are_in_and_before_the_first_release_none() {
        let now = DateTime::UNIX_EPOCH;
        let end = scene(now, TimeDelta::zero());
        assert!(end.forgotten_summary && end.stampedes && end.unknown_keys && end.late_fill > 0.0 && end.timeouts > 0.0);
        let start = scene(now, TimeDelta::days(14));
        assert!(!start.forgotten_summary && !start.stampedes && !start.unknown_keys && start.late_fill == 0.0 && start.timeouts == 0.0);
    }
}
