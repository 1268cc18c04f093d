//! What a flush does to its keys, gentlest first. Each mode has its own truth, so its numbers have their own words.

use sha2::{Digest, Sha256};
use std::fmt;

/// What a flush does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// One key changes, the prefix's generation; the old keys expire by themselves.
    Version,
    /// Every key of the scope expires within the window, each at its own random time.
    Soft(Window),
    /// Every key of the scope is removed.
    Flush,
}

/// Within how many seconds the keys of a soft flush expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(u32);

/// Why there is no such mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoMode {
    #[error("the mode is `flush`, `soft` or `version`")]
    Unknown,
    #[error("a soft flush needs a window of {} to {} whole seconds", Window::LEAST, Window::MOST)]
    Window,
}

impl Default for Window {
    fn default() -> Self {
        Self(Self::USUAL)
    }
}

impl Window {
    pub const LEAST: u32 = 10;
    pub const MOST: u32 = 86_400;
    /// What the form starts with.
    pub const USUAL: u32 = 600;
    /// The soonest expiry, in milliseconds.
    const SOONEST_MS: u64 = 1_000;

    pub fn new(seconds: u32) -> Option<Self> {
        (Self::LEAST..=Self::MOST).contains(&seconds).then_some(Self(seconds))
    }

    pub fn seconds(self) -> u32 {
        self.0
    }

    pub fn millis(self) -> u64 {
        u64::from(self.0) * 1_000
    }

    /// In how many milliseconds a key is to expire: from one second to the window, uniformly over all keys. The same for the same key and
    /// `seed`, so that a key which is met again later is asked for a later expiry than it has already, which `LT` leaves alone.
    pub fn expiry_ms(self, seed: u64, key: &[u8]) -> u64 {
        let mut sha = Sha256::new();
        sha.update(seed.to_be_bytes());
        sha.update(key);
        let number = sha.finalize().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
        let choices = self.millis() - Self::SOONEST_MS + 1;
        // The remainder of 2⁶⁴ by at most 86.4 million is uniform to one in 10¹¹.
        Self::SOONEST_MS + number % choices
    }
}

impl Mode {
    /// The mode of that name; `window_s` is for `soft` alone.
    pub fn parse(name: &str, window_s: Option<u32>) -> Result<Self, NoMode> {
        match name {
            "version" => Ok(Self::Version),
            "soft" => window_s.and_then(Window::new).map(Self::Soft).ok_or(NoMode::Window),
            "flush" => Ok(Self::Flush),
            _ => Err(NoMode::Unknown),
        }
    }

    /// The name, as stored and in forms.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Soft(_) => "soft",
            Self::Flush => "flush",
        }
    }

    pub fn window(self) -> Option<Window> {
        match self {
            Self::Soft(window) => Some(window),
            Self::Version | Self::Flush => None,
        }
    }

    /// How many seconds after its end a flush has had its effect.
    pub fn takes_effect_after_s(self) -> u32 {
        self.window().map_or(0, Window::seconds)
    }
}

/// What the mode of that name has done to a key that counts as removed.
pub fn done(mode: &str) -> &'static str {
    match mode {
        "soft" => "set to expire",
        "version" => "raised",
        _ => "removed",
    }
}

/// The name with all that belongs to it: `flush`, `soft within 600 s`.
impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Soft(window) => write!(out, "soft within {} s", window.0),
            mode => out.write_str(mode.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_a_soft_flush_has_a_window_and_it_has_limits() {
        for mode in [Mode::Version, Mode::Flush, Mode::Soft(Window(600))] {
            assert_eq!(Mode::parse(mode.as_str(), mode.window().map(Window::seconds)), Ok(mode));
        }
        assert_eq!(Mode::parse("flush", Some(600)), Ok(Mode::Flush));
        for seconds in [None, Some(0), Some(9), Some(86_401)] {
            assert_eq!(Mode::parse("soft", seconds), Err(NoMode::Window));
        }
        assert_eq!(Mode::parse("purge", None), Err(NoMode::Unknown));
        assert_eq!(Mode::Soft(Window(600)).to_string(), "soft within 600 s");
    }

    /// χ² over 100 equal parts of the window, 100,000 keys, a fixed seed: below the 99.9 % point of 99 degrees of freedom.
    #[test]
    fn expiries_are_spread_evenly_over_the_window() {
        const PARTS: usize = 100;
        const KEYS: u32 = 100_000;
        let window = Window(600);
        let span = window.millis() - Window::SOONEST_MS + 1;
        let mut counts = [0_u32; PARTS];
        for i in 0..KEYS {
            let ms = window.expiry_ms(42, format!("user:{i}:summary").as_bytes()) - Window::SOONEST_MS;
            counts[usize::try_from(ms * PARTS as u64 / span).unwrap()] += 1;
        }
        let expected = f64::from(KEYS) / 100.0;
        let chi: f64 = counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
        assert!(chi < 148.2, "χ² is {chi}");
    }

    proptest! {
        #[test]
        fn every_expiry_lies_within_the_window_and_is_the_same_again(seconds in 10..=86_400_u32, seed: u64, key: Vec<u8>) {
            let window = Window::new(seconds).unwrap();
            let ms = window.expiry_ms(seed, &key);
            prop_assert!((1_000..=window.millis()).contains(&ms));
            prop_assert_eq!(ms, window.expiry_ms(seed, &key));
        }
    }
}
