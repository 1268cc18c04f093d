//! Reading a configuration: the file, then the environment over its top scalars. Finds everything that is wrong before it gives up.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::document::{At, Document, Table};
use super::problems::{Place, Problem, Problems};
use super::types::{Config, Rate, Retention, Review, Secret};
use super::{Environment, contracts, prefixes, targets};

/// Whether a target may leave out where its Redis is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetUrls {
    Required,
    /// The demo: a target without `url` is the demo's own Redis.
    Optional,
}

/// The file that is read where none is named, if it is there.
pub const DEFAULT_FILE: &str = "stalewatch.toml";

impl Config {
    /// Reads the file, if one is named or the working folder has one, and the environment.
    pub fn load(path: Option<&Path>, environment: &Environment) -> Result<Self, Problems> {
        let default = Path::new(DEFAULT_FILE);
        match path.or_else(|| default.exists().then_some(default)) {
            Some(path) => Self::load_file(path, environment, TargetUrls::Required),
            None => Self::read("", DEFAULT_FILE, Path::new(""), environment, TargetUrls::Required),
        }
    }

    /// Reads this file and the environment.
    pub fn load_file(path: &Path, environment: &Environment, urls: TargetUrls) -> Result<Self, Problems> {
        let file = path.display().to_string();
        let unreadable = |line, message| Problems(vec![Problem { place: Place::Line { file: file.clone(), line }, message }]);
        let bytes = std::fs::read(path).map_err(|error| unreadable(1, format!("cannot be read: {error}")))?;
        let text = std::str::from_utf8(&bytes).map_err(|error| {
            let line = 1 + bytes.iter().take(error.valid_up_to()).filter(|&&byte| byte == b'\n').count();
            unreadable(line, "not UTF-8; in templates and scopes other bytes are written \\\\xHH".to_owned())
        })?;
        Self::read(text, &file, path.parent().unwrap_or(Path::new("")), environment, urls)
    }

    /// Reads a configuration from its text. `file` is its name in messages, `folder` where relative paths in it start.
    pub fn read(text: &str, file: &str, folder: &Path, environment: &Environment, urls: TargetUrls) -> Result<Self, Problems> {
        let document = Document::new(file, folder, text);
        let entries = document.parse();
        let top = Table::new(&document, &entries, 1, "the configuration");
        let mut config = Config {
            file: Path::new(file).file_name().map_or_else(|| file.to_owned(), |name| name.to_string_lossy().into_owned()),
            digest: super::digest(text.as_bytes()),
            ..Config::default()
        };
        let max_flushes = scalars(&top, &document, environment, &mut config);
        if let Some(proxies) = top.strings("trusted_proxies") {
            config.trusted_proxies = proxies.iter().filter_map(|proxy| network(&top, proxy)).collect();
        }
        if let Some(table) = top.table("ingest", "`ingest`") {
            config.rate = rate(table);
        }
        if let Some(table) = top.table("retention", "`retention`") {
            config.retention = retention(table);
        }
        if let Some(table) = top.table("review", "`review`") {
            config.review = review(table);
        }
        config.targets = targets::read(&top, urls, max_flushes);
        config.prefixes = prefixes::read(&top, &config.targets);
        config.contracts = contracts::read(&top, &config.targets, &config.prefixes);
        top.finish();
        let (problems, warnings) = document.finish();
        config.warnings = warnings;
        if problems.0.is_empty() { Ok(config) } else { Err(problems) }
    }
}

/// The top table's scalars, each with its variable. Returns `max_flushes_per_hour`, which is every target's unless it names its own.
fn scalars(top: &Table<'_, '_>, document: &Document<'_>, environment: &Environment, config: &mut Config) -> u32 {
    let override_of = |name: &'static str| environment.get(name).map(|value| (name, value));
    let check = |from_file: Option<At<&str>>, variable: &'static str, valid: &mut dyn FnMut(&str) -> Result<(), String>| {
        let result = match override_of(variable) {
            Some((name, value)) => valid(value).map_err(|message| document.variable_problem(name, message)),
            None => match from_file {
                Some(found) => valid(found.value).map_err(|message| document.problem(found.line, message)),
                None => Ok(()),
            },
        };
        // Both kinds of problem are written down already.
        result.unwrap_or(());
    };
    check(top.string("listen"), "STALEWATCH_LISTEN", &mut |value| listen(value).map(|value| config.listen = value));
    check(top.string("public_url"), "STALEWATCH_PUBLIC_URL", &mut |value| public_url(value).map(|value| config.public_url = Some(value)));
    check(top.string("data_dir"), "STALEWATCH_DATA_DIR", &mut |value| {
        config.data_dir = PathBuf::from(value);
        if value.is_empty() { Err("`data_dir` cannot be empty".to_owned()) } else { Ok(()) }
    });
    for (key, variable, flag) in [
        ("metrics_public", "STALEWATCH_METRICS_PUBLIC", &mut config.metrics_public),
        ("require_second_factor", "STALEWATCH_REQUIRE_SECOND_FACTOR", &mut config.require_second_factor),
    ] {
        if let Some(found) = top.boolean(key) {
            *flag = found.value;
        }
        if let Some((name, value)) = override_of(variable) {
            match value {
                "true" | "1" => *flag = true,
                "false" | "0" => *flag = false,
                other => document.variable_problem(name, format!("is true or false, not `{other}`")),
            }
        }
    }
    config.secret_key = secret_key(top, document, environment);
    let mut max_flushes = top.integer("max_flushes_per_hour", targets::MAX_FLUSHES).map(|found| found.value);
    if let Some((name, value)) = override_of("STALEWATCH_MAX_FLUSHES_PER_HOUR") {
        match value.parse().ok().filter(|value| targets::MAX_FLUSHES.contains(value)) {
            Some(value) => max_flushes = Some(value),
            None => document.variable_problem(name, format!("is a whole number from 1 to 1000, not `{value}`")),
        }
    }
    max_flushes.and_then(|value| u32::try_from(value).ok()).unwrap_or(Config::DEFAULT_MAX_FLUSHES_PER_HOUR)
}

/// The key that `secret_key_file` names, by the file or by its variable.
fn secret_key(top: &Table<'_, '_>, document: &Document<'_>, environment: &Environment) -> Option<Secret> {
    const FILE: &str = "secret_key_file";
    const VARIABLE: &str = "STALEWATCH_SECRET_KEY_FILE";
    const WRONG: &str = "32 bytes in base64, as `openssl rand -base64 32` prints them";
    let is_key = |text: &str| BASE64_STANDARD.decode(text.trim()).is_ok_and(|bytes| bytes.len() == 32);
    let named = top.string(FILE);
    if let Some(path) = environment.get(VARIABLE) {
        let read = std::fs::read_to_string(path).map_err(|error| format!("cannot be read: {path} ({error})"));
        let key = read.and_then(|text| if is_key(&text) { Ok(Secret::new(text)) } else { Err(format!("{path} does not hold {WRONG}")) });
        return key.map_err(|message| document.variable_problem(VARIABLE, message)).ok();
    }
    let (key, line) = (top.file(FILE)?, named?.line);
    if !is_key(key.expose()) {
        top.problem(line, format!("the file that `{FILE}` names does not hold {WRONG}"));
    }
    Some(key)
}

fn listen(value: &str) -> Result<String, String> {
    let port = value.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        Some(_) => Ok(value.to_owned()),
        None => Err(format!("`listen` is ADDRESS:PORT such as 127.0.0.1:3000, not `{value}`")),
    }
}

fn public_url(value: &str) -> Result<String, String> {
    let url = reqwest::Url::parse(value)
        .map_err(|error| format!("`public_url` is no address ({error}); for example https://stalewatch.example.com"))?;
    let host = url.host_str().unwrap_or_default();
    if !matches!(url.scheme(), "http" | "https") || host.is_empty() {
        return Err(format!("`public_url` begins with https://, not `{value}`"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err(format!("`public_url` is scheme, host and port only: https://{host}"));
    }
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    let loopback = host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|address| address.is_loopback());
    if url.scheme() == "http" && !loopback {
        return Err(format!(
            "`public_url` is https unless it is loopback: session cookies would cross the network readable. Use https://{host} behind a proxy that ends TLS"
        ));
    }
    Ok(value.trim_end_matches('/').to_owned())
}

fn network(top: &Table<'_, '_>, proxy: &At<&str>) -> Option<ipnet::IpNet> {
    let parsed = proxy.value.parse().or_else(|_| proxy.value.parse::<std::net::IpAddr>().map(ipnet::IpNet::from));
    if parsed.is_err() {
        top.problem(proxy.line, format!("`trusted_proxies` lists networks such as \"10.0.0.0/8\", not \"{}\"", proxy.value));
    }
    parsed.ok()
}

/// What `rate` of `[ingest]` may be, in events a second,
const RATES: std::ops::RangeInclusive<u64> = 1..=10_000_000;
/// and `burst`: at least what one request may carry, or a full one could never be taken.
const BURSTS: std::ops::RangeInclusive<u64> = BURST_MIN as u64..=100_000_000;
const BURST_MIN: u32 = 5_000;
/// The burst of a rate alone, in seconds.
const BURST_S: u32 = 10;

fn rate(table: Table<'_, '_>) -> Rate {
    let mut rate = Rate::default();
    let number = |found: At<u64>| u32::try_from(found.value).unwrap_or(u32::MAX);
    if let Some(per_second) = table.integer("rate", RATES).map(number) {
        rate = Rate { per_second, burst: (per_second * BURST_S).max(BURST_MIN) };
    }
    if let Some(burst) = table.integer("burst", BURSTS).map(number) {
        rate.burst = burst;
    }
    table.finish();
    rate
}

/// Raw events reach back at least this far, because late ones are taken for 7 days.
const MIN_RAW_DAYS: u64 = 8;

fn retention(table: Table<'_, '_>) -> Retention {
    let mut retention = Retention::default();
    for (key, kept, min_days) in [
        ("raw", &mut retention.raw, MIN_RAW_DAYS),
        ("minute", &mut retention.minute, MIN_RAW_DAYS),
        ("five_minutes", &mut retention.five_minutes, MIN_RAW_DAYS),
        ("hour", &mut retention.hour, 15),
        ("day", &mut retention.day, 15),
    ] {
        let Some(found) = table.duration(key) else { continue };
        if found.value.as_secs() < min_days * 86_400 {
            table.problem(found.line, format!("`{key}` of `retention` is at least \"{min_days}d\""));
        }
        *kept = found.value;
    }
    table.finish();
    retention
}

fn review(table: Table<'_, '_>) -> Review {
    let mut review = Review::default();
    if let Some(found) = table.string("timezone") {
        if let Ok(timezone) = found.value.parse() {
            review.timezone = timezone;
        } else {
            let known = super::problems::with_nearest(found.value, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
            table.problem(found.line, format!("`timezone` of `review` is a name of the IANA database, not {known}"));
        }
    }
    table.finish();
    review
}
