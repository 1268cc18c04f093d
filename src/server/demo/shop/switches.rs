//! The shop's bugs, each a switch: on at start, read by the shop at every use, so that turning one takes effect at once.

use std::sync::atomic::{AtomicBool, Ordering};

/// One real bug of the shop's cache code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// `PUT /users/{id}/avatar` forgets `user:{id}:summary`.
    ForgottenSummary,
    /// All catalogue entries expire at the same instant, and every reader that misses rebuilds.
    SharedTtl,
    /// A slow fill of a cart overwrites what a write has put there in the meantime.
    LateFill,
    /// The line between billing and its cache stalls now and then, past the client's time-out.
    BillingTimeouts,
    /// A client of the search service caches banners under keys that nobody registered.
    UnknownKeys,
}

impl Bug {
    pub const ALL: [Bug; 5] = [Bug::ForgottenSummary, Bug::SharedTtl, Bug::LateFill, Bug::BillingTimeouts, Bug::UnknownKeys];

    /// The name in the configuration, in the form on the demo page and in the audit.
    pub fn name(self) -> &'static str {
        match self {
            Bug::ForgottenSummary => "forgotten_summary",
            Bug::SharedTtl => "shared_ttl",
            Bug::LateFill => "late_fill",
            Bug::BillingTimeouts => "billing_timeouts",
            Bug::UnknownKeys => "unknown_keys",
        }
    }

    pub fn parse(name: &str) -> Option<Bug> {
        Bug::ALL.into_iter().find(|bug| bug.name() == name)
    }

    /// What is wrong, in a few words.
    pub fn title(self) -> &'static str {
        match self {
            Bug::ForgottenSummary => "The avatar write forgets the summary",
            Bug::SharedTtl => "Catalogue entries expire together",
            Bug::LateFill => "A late fill overwrites a newer cart",
            Bug::BillingTimeouts => "Billing's invalidations time out",
            Bug::UnknownKeys => "A client sends unknown keys",
        }
    }

    /// What the code does, and what it does when the switch is off.
    pub fn explanation(self) -> &'static str {
        match self {
            Bug::ForgottenSummary => {
                "PUT /users/{id}/avatar moves the profile to its next version and leaves the summary in place. Off: it evicts both."
            }
            Bug::SharedTtl => {
                "Every entry of the catalogue is stored until the same instant, and every reader that misses rebuilds. Off: the time to live is jittered, and readers of one entry wait for one rebuild."
            }
            Bug::LateFill => {
                "A reader that missed stores what it read, whatever has been stored since. Off: it stores only what is newer than what is there."
            }
            Bug::BillingTimeouts => {
                "The connection from billing to Redis passes a proxy that stalls, so the client's 300 ms are over before Redis has the command. Off: the proxy passes everything on."
            }
            Bug::UnknownKeys => "A storefront client caches promo:{n}:banner, which no prefix describes. Off: it does not.",
        }
    }

    /// Where it shows first.
    pub fn shows_at(self) -> &'static str {
        match self {
            Bug::ForgottenSummary => "user:{id}:summary",
            Bug::SharedTtl => "catalog:{id}",
            Bug::LateFill => "cart:{id}",
            Bug::BillingTimeouts => "billing:{account}:invoice",
            Bug::UnknownKeys => "unclassified",
        }
    }

    /// The service whose code it is, and what its releases with and without the bug are called.
    pub fn releases(self) -> (super::Service, &'static str, &'static str) {
        use super::Service::{AccountsApi, BillingWorker, CartApi, CatalogWorker, SearchApi};
        match self {
            Bug::ForgottenSummary => {
                (AccountsApi, "accounts-api 4.18.2: avatar endpoint moved", "accounts-api 4.18.3: avatar endpoint evicts the summary")
            }
            Bug::SharedTtl => (
                CatalogWorker,
                "catalog-worker 2.9.0: prices valid until the next import",
                "catalog-worker 2.9.1: jittered time to live, one rebuild at a time",
            ),
            Bug::LateFill => (CartApi, "cart-api 1.7.0: mini cart fills the cache", "cart-api 1.7.1: a fill never replaces a newer cart"),
            Bug::BillingTimeouts => {
                (BillingWorker, "billing-worker: cache behind cache-proxy-2", "billing-worker: cache behind cache-proxy-1 again")
            }
            Bug::UnknownKeys => (SearchApi, "storefront 11.2: banners cached", "storefront 11.3: banners no longer cached"),
        }
    }
}

/// Which bugs are on.
#[derive(Debug)]
pub struct Switches([AtomicBool; 5]);

impl Default for Switches {
    fn default() -> Self {
        Self::new(&Bug::ALL)
    }
}

impl Switches {
    pub fn new(on: &[Bug]) -> Self {
        Self(Bug::ALL.map(|bug| AtomicBool::new(on.contains(&bug))))
    }

    pub fn is_on(&self, bug: Bug) -> bool {
        self.0[bug as usize].load(Ordering::Relaxed)
    }

    /// Turns a switch; `true` if that changed anything.
    pub fn set(&self, bug: Bug, on: bool) -> bool {
        self.0[bug as usize].swap(on, Ordering::Relaxed) != on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bug_is_on_at_start_and_turns_alone() {
        let switches = Switches::default();
        assert!(Bug::ALL.into_iter().all(|bug| switches.is_on(bug)));
        assert!(switches.set(Bug::LateFill, false));
        assert!(!switches.set(Bug::LateFill, false));
        assert!(Bug::ALL.into_iter().all(|bug| switches.is_on(bug) == (bug != Bug::LateFill)));
    }

    #[test]
    fn names_round_trip() {
        assert!(Bug::ALL.into_iter().all(|bug| Bug::parse(bug.name()) == Some(bug)));
    }
}
