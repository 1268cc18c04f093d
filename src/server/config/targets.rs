//! `[[target]]`: where each Redis is, who flushes it, and what may never be flushed.

use std::ops::RangeInclusive;

use super::document::Table;
use super::load::TargetUrls;
use super::types::{Approvals, FlushIdentity, Target};
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
        target.flush = identity(flush);
    }
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
    if let Some(found) = table.integer("max_flushes_per_hour", MAX_FLUSHES) {
        target.max_flushes_per_hour = u32::try_from(found.value).unwrap_or(u32::MAX);
    }
    if let Some(found) = table.boolean("notifications").filter(|found| found.value) {
        table.warning(found.line, "`notifications` has no effect in this release: keyspace events are not listened to yet");
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
    let instead = "use `url` with one standalone Redis";
    let later = [table.not_in_this_release("sentinel", instead), table.not_in_this_release("cluster", instead)];
    let given = table.secret("url", "url_file");
    match given {
        Some(url) => match check_url(url.value.expose()) {
            Ok(()) => target.url = Some(url.value),
            Err(message) => table.problem(url.line, message),
        },
        None if urls == TargetUrls::Required && !later.contains(&true) && !table.has("url") && !table.has("url_file") => {
            table.missing("url", "url = \"redis://127.0.0.1:6379/0\" (or url_file)");
        }
        None => {}
    }
}

/// Never says the address itself: it may hold a password.
fn check_url(url: &str) -> Result<(), String> {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    match scheme {
        "redis" => {}
        "rediss" | "valkeys" => {
            return Err(
                "`rediss://` (TLS to Redis) is not in this release; use `redis://`, through a TLS tunnel where the network asks for it"
                    .into(),
            );
        }
        "redis+unix" | "unix" | "redis-sentinel" | "rediss-sentinel" => {
            return Err(format!("`{scheme}://` is not in this release; use `redis://HOST:PORT/DB`"));
        }
        _ => return Err("`url` is redis://[USER:PASSWORD@]HOST[:PORT][/DB]".into()),
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

fn identity(table: Table<'_, '_>) -> Option<FlushIdentity> {
    let user = table.string("user");
    let password = table.secret("password", "password_file");
    if user.is_none() {
        table.missing("user", "flush = { user = \"sw_flush\", password_file = \"sw_flush.secret\" }");
    }
    if password.is_none() && !table.has("password") && !table.has("password_file") {
        table.missing("password_file", "flush = { user = \"sw_flush\", password_file = \"sw_flush.secret\" }");
    }
    let identity = user.zip(password).map(|(user, password)| FlushIdentity { user: user.value.to_owned(), password: password.value });
    table.finish();
    identity
}
