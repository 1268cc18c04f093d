//! `[[target]]`: where each Redis is, who flushes it, and what may never be flushed.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::document::{At, Table};
use super::load::TargetUrls;
use super::types::{Approvals, Location, Login, Secret, Target, Tls};
use crate::domain::flush::BrakeLimits;
use crate::domain::prefix::unescape;

/// How many flushes an hour may be allowed.
pub(super) const MAX_FLUSHES: RangeInclusive<u64> = 1..=1_000;

pub(super) fn read(top: &Table<'_, '_>, urls: TargetUrls, max_flushes_per_hour: u32) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for table in top.tables("target", "a target") {
        let (line, problem) = (table.line, |line, message: String| top.problem(line, message));
        if let Some(target) = target(table, urls, max_flushes_per_hour) {
            match targets.iter().find(|earlier| earlier.name == target.name) {
                Some(earlier) => problem(line, format!("the target `{}` is declared on line {} already", target.name, earlier.line)),
                None => targets.push(target),
            }
        }
    }
    targets
}

fn target(table: Table<'_, '_>, urls: TargetUrls, max_flushes_per_hour: u32) -> Option<Target> {
    let name = table.string("name");
    let mut target = Target::named(name.as_ref().map_or("", |name| name.value));
    target.line = name.as_ref().map_or(table.line, |name| name.line);
    target.max_flushes_per_hour = max_flushes_per_hour;
    match &name {
        None => table.missing("name", "name = \"main\""),
        Some(name) if !is_name(name.value) => {
            table.problem(name.line, "the name of a target is 1 to 60 letters, digits, `-`, `_` or `.`: people type it to confirm a flush");
        }
        Some(_) => {}
    }
    where_it_is(&table, urls, &mut target);
    if let Some(flush) = table.table("flush", "`flush` of a target") {
        target.flush = identity(&flush, true);
        flush.finish();
    }
    target.login = identity(&table, false);
    target.tls = table.table("tls", "`tls` of a target").map(tls);
    for entry in table.strings("protected").unwrap_or_default() {
        match unescape(entry.value) {
            Ok(bytes) if bytes.is_empty() => {
                table.problem(entry.line, "an empty `protected` entry would protect every key: name a beginning, such as \"session:\"");
            }
            Ok(bytes) => target.protected.push(bytes),
            Err(error) => table.problem(entry.line, format!("`protected` holds escaped text: {error}")),
        }
    }
    if let Some(found) = table.integer("max_keys", 1..=1_000_000_000_000) {
        target.max_keys = found.value;
    }
    if let Some(found) = table.word("approvals", &[("never", Approvals::Never), ("wide", Approvals::Wide)]) {
        target.approvals = found.value;
    }
    if let Some(found) = table.boolean("break_glass") {
        target.break_glass = found.value;
        if found.value && target.approvals == Approvals::Never {
            table.warning(found.line, "`break_glass` has no effect where `approvals` is \"never\": nobody has to be asked");
        }
    }
    if let Some(limits) = table.table("brake", "`brake` of a target") {
        target.brake = brake(limits);
    }
    if let Some(found) = table.integer("max_flushes_per_hour", MAX_FLUSHES) {
        target.max_flushes_per_hour = u32::try_from(found.value).unwrap_or(u32::MAX);
    }
    if let Some(found) = table.boolean("notifications") {
        target.notifications = found.value;
    }
    if let Some(found) = table.string("delimiter") {
        match found.value.as_bytes() {
            [byte] if byte.is_ascii_graphic() && !byte.is_ascii_alphanumeric() && !b"{}\\".contains(byte) => target.delimiter = *byte,
            _ => table.problem(found.line, format!("`delimiter` is one byte of punctuation such as \":\", not \"{}\"", found.value)),
        }
    }
    table.finish();
    name.is_some().then_some(target)
}

fn is_name(name: &str) -> bool {
    (1..=60).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn where_it_is(table: &Table<'_, '_>, urls: TargetUrls, target: &mut Target) {
    let url = table.secret("url", "url_file").and_then(|url| match check_url(url.value.expose()) {
        Ok(()) => Some(Location::Url(url.value)),
        Err(message) => {
            table.problem(url.line, message);
            None
        }
    });
    let sentinel = table.table("sentinel", "`sentinel` of a target").and_then(sentinel);
    let cluster = table.strings("cluster").and_then(|nodes| {
        let line = nodes.first().map_or(table.line, |node| node.line);
        Some(Location::Cluster { nodes: addresses(table, "cluster", line, nodes)? })
    });
    let given: Vec<&str> = [["url", "url_file"].as_slice(), &["sentinel"], &["cluster"]]
        .iter()
        .filter_map(|keys| keys.iter().copied().find(|key| table.has(key)))
        .collect();
    match given.as_slice() {
        [] if urls == TargetUrls::Required => table.missing("url", "url = \"redis://127.0.0.1:6379/0\" (or url_file, sentinel, cluster)"),
        [first, second, ..] => table.problem(table.line, format!("a target is at one place: keep `{first}` or `{second}`")),
        _ => {}
    }
    target.location = url.or(sentinel).or(cluster);
}

fn sentinel(table: Table<'_, '_>) -> Option<Location> {
    let example = "sentinel = { master = \"mymaster\", nodes = [\"10.0.0.1:26379\", \"10.0.0.2:26379\"] }";
    let (master, nodes) = (table.string("master"), table.strings("nodes"));
    let db = table.integer("db", 0..=u64::from(u16::MAX)).and_then(|db| u16::try_from(db.value).ok()).unwrap_or(0);
    if master.is_none() && !table.has("master") {
        table.missing("master", example);
    }
    if nodes.is_none() && !table.has("nodes") {
        table.missing("nodes", example);
    }
    let nodes = nodes.and_then(|nodes| addresses(&table, "nodes", table.line, nodes));
    table.finish();
    Some(Location::Sentinel { master: master?.value.to_owned(), nodes: nodes?, db })
}

/// `HOST`, `HOST:PORT` or URLs; at least one.
fn addresses(table: &Table<'_, '_>, key: &str, line: usize, nodes: Vec<At<&str>>) -> Option<Vec<Secret>> {
    if nodes.is_empty() {
        table.problem(line, format!("`{key}` names no node: give the addresses of some, such as [\"10.0.0.1:6379\", \"10.0.0.2:6379\"]"));
        return None;
    }
    let mut good = true;
    for node in &nodes {
        let checked = if node.value.contains("://") { check_url(node.value) } else { check_host(node.value) };
        if let Err(message) = checked {
            table.problem(node.line, message);
            good = false;
        }
    }
    good.then(|| nodes.into_iter().map(|node| Secret::new(node.value)).collect())
}

fn check_host(node: &str) -> Result<(), String> {
    match reqwest::Url::parse(&format!("redis://{node}")) {
        Ok(url) if url.host_str().is_some_and(|host| !host.is_empty()) && url.username().is_empty() && url.path().len() < 2 => Ok(()),
        _ => Err("a node is HOST:PORT, or redis://[USER:PASSWORD@]HOST:PORT".into()),
    }
}

/// Never says the address itself: it may hold a password.
fn check_url(url: &str) -> Result<(), String> {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    match scheme {
        "redis" | "rediss" => {}
        "redis+unix" | "unix" => {
            let path = reqwest::Url::parse(url).map_or(0, |url| url.path().len());
            return if path > 1 { Ok(()) } else { Err(format!("`url` names no socket: {scheme}:///run/redis/redis.sock?db=0")) };
        }
        "redis-sentinel" | "rediss-sentinel" => {
            return Err("for Sentinel use `sentinel = { master = \"mymaster\", nodes = [\"HOST:26379\"] }` instead of `url`".into());
        }
        _ => return Err("`url` is redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss:// for TLS, or redis+unix:///PATH?db=0".into()),
    }
    let parsed = reqwest::Url::parse(url).map_err(|error| format!("`url` is no address: {error}"))?;
    if parsed.host_str().is_none_or(str::is_empty) {
        return Err("`url` names no host: redis://HOST:PORT/DB".into());
    }
    let database = parsed.path().trim_start_matches('/');
    if !database.is_empty() && database.parse::<u16>().is_err() {
        return Err("`url` ends with the number of a database, such as /0".into());
    }
    Ok(())
}

/// `user` with `password` or `password_file`; `needed`: both must be there.
fn identity(table: &Table<'_, '_>, needed: bool) -> Option<Login> {
    let user = table.string("user");
    let password = table.secret("password", "password_file");
    let example = "flush = { user = \"sw_flush\", password_file = \"sw_flush.secret\" }";
    let has_password = table.has("password") || table.has("password_file");
    if !table.has("user") && (needed || has_password) {
        table.missing("user", if needed { example } else { "user = \"sw_read\"" });
    }
    if !has_password && (needed || table.has("user")) {
        table.missing("password_file", if needed { example } else { "password_file = \"sw_read.secret\"" });
    }
    user.zip(password).map(|(user, password)| Login { user: user.value.to_owned(), password: password.value })
}

fn brake(table: Table<'_, '_>) -> BrakeLimits {
    let mut limits = BrakeLimits::default();
    for (key, limit, least, most) in [
        ("bystander", &mut limits.bystander, Duration::from_millis(1), Duration::from_secs(1)),
        ("stop_after", &mut limits.stop_after, Duration::from_secs(1), Duration::from_mins(1)),
    ] {
        let Some(found) = table.duration(key) else { continue };
        if (least..=most).contains(&found.value) {
            *limit = found.value;
        } else {
            table.problem(found.line, format!("`{key}` of `brake` is from \"{least:?}\" to \"{}s\"", most.as_secs()));
        }
    }
    if let Some(found) = table.share("rebuild_failures", true) {
        limits.rebuild_failures = found.value;
    }
    table.finish();
    limits
}

fn tls(table: Table<'_, '_>) -> Tls {
    let authority = table.file("ca_file");
    let (certificate, key) = (table.file("cert_file"), table.file("key_file"));
    if table.has("cert_file") != table.has("key_file") {
        table.problem(table.line, "`tls` takes `cert_file` and `key_file` together: the certificate of this client and its key");
    }
    table.finish();
    Tls { authority, client: certificate.zip(key) }
}
