//! The configuration: what `stalewatch.toml` and the environment say. The only room that reads the environment.

pub mod check;
mod contracts;
mod document;
mod environment;
mod load;
mod prefixes;
mod problems;
mod targets;
#[cfg(test)]
mod tests;
mod types;

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

pub use environment::Environment;
pub use load::{DEFAULT_FILE, TargetUrls};
pub use problems::{Place, Problem, Problems};
pub use types::{Approvals, Config, Location, Login, Prefix, Rate, Retention, Review, Secret, StoreKeys, Target, Tls};

/// SHA-256 in hex.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
