//! The configuration: what `stalewatch.toml` and the environment say.

/// The configuration in force.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where people reach this server; `None`: at the bound address.
    pub public_url: Option<String>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Whether `/metrics` asks for no token.
    pub metrics_public: bool,
    /// Where what does not live in Postgres lives.
    pub data_dir: std::path::PathBuf,
    /// SHA-256 of the file, in hex.
    pub digest: String,
}
