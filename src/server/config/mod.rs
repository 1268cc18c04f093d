//! The configuration: what `stalewatch.toml` and the environment say.

/// The configuration in force.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// SHA-256 of the file, in hex.
    pub digest: String,
}
