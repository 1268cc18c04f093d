//! The shop's chance: seeded, so that a run can be told again. Nothing else here draws random numbers.

use rand::{Rng, RngExt, SeedableRng, rngs::Xoshiro256PlusPlus};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// A seeded generator that many tasks share. Xoshiro256++ because its stream is the same in every release of `rand`.
#[derive(Debug)]
pub struct Dice(Mutex<Xoshiro256PlusPlus>);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(Xoshiro256PlusPlus::seed_from_u64(seed)))
    }

    fn with<T>(&self, roll: impl FnOnce(&mut Xoshiro256PlusPlus) -> T) -> T {
        roll(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn bits(&self) -> u64 {
        self.with(Rng::next_u64)
    }

    /// Evenly in `0.0..1.0`.
    pub fn unit(&self) -> f64 {
        self.with(RngExt::random)
    }

    pub fn chance(&self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Evenly in `0..below`; 0 when `below` is 0.
    pub fn below(&self, below: u64) -> u64 {
        self.with(|rng| if below == 0 { 0 } else { rng.random_range(0..below) })
    }

    /// One of `1..=count`, small numbers far more often: how customers crowd on a few accounts and products.
    pub fn popular(&self, count: u64) -> u64 {
        let count_f = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        let place = count_f * self.unit().powf(2.2);
        whole(place).min(count.saturating_sub(1)) + 1
    }

    /// Log-normal around `median`, never beyond eight times of it: how long a query takes.
    pub fn around(&self, median: Duration, sigma: f64) -> Duration {
        let (one, other) = (self.unit().max(f64::MIN_POSITIVE), self.unit());
        let normal = (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * other).cos();
        median.mul_f64((sigma * normal).exp().min(8.0))
    }

    /// Exponential with mean 1 ÷ `per_second`: the gap between two arrivals that know nothing of each other.
    pub fn gap(&self, per_second: f64) -> Duration {
        let unit = self.unit().max(1e-9);
        Duration::from_secs_f64((-unit.ln() / per_second.max(1e-6)).min(3_600.0))
    }

    /// Evenly between the two.
    pub fn between(&self, low: Duration, high: Duration) -> Duration {
        low + high.saturating_sub(low).mul_f64(self.unit())
    }
}

/// The whole part of a number that is known to be small and not negative.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "callers pass 0 ≤ x < 2⁵³")]
pub fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_rolls_the_same() {
        let (one, other) = (Dice::new(7), Dice::new(7));
        assert!((0..100).all(|_| one.bits() == other.bits()));
    }

    #[test]
    fn popular_things_are_in_range_and_skewed() {
        let dice = Dice::new(1);
        let rolled: Vec<u64> = (0..10_000).map(|_| dice.popular(100)).collect();
        assert!(rolled.iter().all(|&n| (1..=100).contains(&n)));
        assert!(rolled.iter().filter(|&&n| n <= 20).count() > 4_000);
    }
}
