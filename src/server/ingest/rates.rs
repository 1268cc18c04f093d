//! How many events a token may send: so many a second, and so many at once. Kept in memory by each process, for tokens that sent something lately.

use crate::server::config::Rate;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::num::NonZeroU32;
use std::sync::{Arc, PoisonError, RwLock};

/// Tokens that are kept beside each other before those that have their whole burst again are forgotten.
const KEPT: usize = 1_024;

pub(super) struct Rates(RwLock<Arc<Limiter>>);

struct Limiter {
    rate: Rate,
    by_token: DefaultKeyedRateLimiter<String>,
    clock: DefaultClock,
}

impl Limiter {
    fn new(rate: Rate) -> Arc<Self> {
        let one = NonZeroU32::MIN;
        let quota = Quota::per_second(NonZeroU32::new(rate.per_second).unwrap_or(one));
        let quota = quota.allow_burst(NonZeroU32::new(rate.burst).unwrap_or(one));
        Arc::new(Self { rate, by_token: RateLimiter::keyed(quota), clock: DefaultClock::default() })
    }
}

impl Rates {
    pub fn new(rate: Rate) -> Self {
        Self(RwLock::new(Limiter::new(rate)))
    }

    /// Puts another configuration's rate in force; the same one changes nothing.
    pub fn replace(&self, rate: Rate) {
        let mut limiter = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if limiter.rate != rate {
            *limiter = Limiter::new(rate);
        }
    }

    /// Counts events of a token, all or none of them.
    ///
    /// Errors: the whole seconds, at least 1, after which as many may be sent.
    pub fn count(&self, token: &str, events: usize) -> Result<(), u32> {
        let limiter = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        let Some(events) = u32::try_from(events).ok().and_then(NonZeroU32::new) else { return Ok(()) };
        if limiter.by_token.len() > KEPT {
            limiter.by_token.retain_recent();
        }
        // A request never has more than the smallest burst that the configuration takes; whatever has, waits for the whole of it.
        let events = events.min(NonZeroU32::new(limiter.rate.burst).unwrap_or(events));
        match limiter.by_token.check_key_n(&token.to_owned(), events) {
            Ok(Err(early)) => {
                let wait = early.wait_time_from(limiter.clock.now());
                Err(u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX).max(1))
            }
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_its_burst_and_then_waits_for_as_much_as_it_asks() {
        let rates = Rates::new(Rate { per_second: 1, burst: 5_000 });
        assert_eq!(rates.count("a", 4_999), Ok(()));
        assert_eq!(rates.count("a", 4_000), Err(3_999), "and nothing of them is counted");
        assert_eq!(rates.count("a", 1), Ok(()));
        assert_eq!(rates.count("a", 1), Err(1));
        assert_eq!(rates.count("a", 0), Ok(()));
        assert_eq!(rates.count("b", 5_000), Ok(()), "others have their own");
        rates.replace(Rate { per_second: 1, burst: 5_000 });
        assert!(rates.count("b", 5_000).is_err());
        rates.replace(Rate { per_second: 2, burst: 5_000 });
        assert_eq!(rates.count("b", 5_000), Ok(()));
    }

    #[test]
    fn tokens_that_have_their_burst_again_are_forgotten() {
        let rates = Rates::new(Rate { per_second: 10_000_000, burst: 5_000 });
        for token in 0..3 * KEPT {
            rates.count(&token.to_string(), 1).unwrap();
        }
        assert!(rates.0.read().unwrap().by_token.len() <= KEPT + 1);
    }
}
