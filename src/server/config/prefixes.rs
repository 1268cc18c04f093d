//! `[[prefix]]`: the registered families of keys, with what is promised of them.

use super::document::{At, Table};
use super::problems::with_nearest;
use super::types::{Prefix, StoreKeys, Target};
use crate::domain::metric::Bucket;
use crate::domain::policy::{Objective, Thresholds, Tier, TtlPolicy};
use crate::domain::prefix::{DEFAULT_DELIMITER, Template};

/// Names that the product itself gives to keys of no family.
const RESERVED: [&str; 2] = ["unclassified", "overflow"];

pub(super) fn read(top: &Table<'_, '_>, targets: &[Target]) -> Vec<Prefix> {
    let mut prefixes: Vec<Prefix> = Vec::new();
    for table in top.tables("prefix", "a prefix") {
        let Some(prefix) = prefix(table, targets) else { continue };
        let same_target = prefixes.iter().filter(|earlier| earlier.target == prefix.target);
        let mut overlapping = same_target.filter(|earlier| earlier.template.overlaps(&prefix.template));
        if let Some(earlier) = overlapping.next() {
            let message = if earlier.name() == prefix.name() {
                format!("`{}` is declared on line {} already", prefix.name(), earlier.line)
            } else {
                format!("`{}` overlaps with `{}` on line {}: some keys would match both", prefix.name(), earlier.name(), earlier.line)
            };
            top.problem(prefix.line, message);
        }
        prefixes.push(prefix);
    }
    for prefix in &prefixes {
        generation_stands_apart(top, prefix, &prefixes, targets);
    }
    prefixes
}

/// What can be a key of Redis and be written on the line that grants the right to it.
fn sound_generation_key(table: &Table<'_, '_>, found: &At<&str>) -> Option<String> {
    let key = found.value;
    if key.is_empty()
        || key.len() > 1_024
        || !key.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'(' | b')' | b'\\'))
    {
        let message = "`generation_key` is a key such as \"gen:user-profile\": 1 to 1,024 printable ASCII letters without spaces, quotes, brackets or backslashes";
        table.problem(found.line, message);
        return None;
    }
    Some(key.to_owned())
}

/// A generation must outlive every flush, so no family may hold it; and what is protected is not written to.
fn generation_stands_apart(top: &Table<'_, '_>, prefix: &Prefix, prefixes: &[Prefix], targets: &[Target]) {
    let Some(key) = &prefix.generation_key else { return };
    let of_target = |other: &&Prefix| other.target == prefix.target;
    if let Some(family) = prefixes.iter().filter(of_target).find(|other| other.template.matches(key.as_bytes())) {
        top.problem(
            prefix.line,
            format!(
                "`generation_key` \"{key}\" is itself a key of `{}` and could be flushed: name one that no prefix matches",
                family.name()
            ),
        );
    }
    let target = targets.iter().find(|target| target.name == prefix.target);
    if target.is_some_and(|target| target.protected.iter().any(|protected| key.as_bytes().starts_with(protected))) {
        top.problem(
            prefix.line,
            format!("`generation_key` \"{key}\" lies under a protected prefix of `{}`, where nothing is changed", prefix.target),
        );
    }
}

fn prefix(table: Table<'_, '_>, targets: &[Target]) -> Option<Prefix> {
    let name = table.string("name");
    let target = target_of(&table, targets);
    let delimiter = target
        .as_ref()
        .and_then(|name| targets.iter().find(|target| target.name == *name))
        .map_or(DEFAULT_DELIMITER, |target| target.delimiter);
    let template = name.as_ref().and_then(|name| template(&table, name, delimiter));
    if name.is_none() && !table.has("name") {
        table.missing("name", "name = \"user:{id}:profile\"");
    }
    let text = |key| table.string(key).map(|found: At<&str>| found.value.trim().to_owned()).filter(|text| !text.is_empty());
    let (owner, expected, generation_key) = (text("owner"), text("expected"), table.string("generation_key"));
    let objective = table.table("objective", "`objective` of a prefix").and_then(objective);
    let mut thresholds = table.table("threshold", "`threshold` of a prefix").map(thresholds).unwrap_or_default();
    if let (None, Some(objective)) = (thresholds.stale_read_rate, objective) {
        // Rounded, so that 1 − 0.999 is shown as 0.001.
        thresholds.stale_read_rate = Some(((1.0 - objective.ratio) * 1e9).round() / 1e9);
    }
    let ttl = table.table("ttl", "`ttl` of a prefix").map(ttl).unwrap_or_default();
    let tier = table.word("tier", &Tier::ALL.map(|tier| (tier.as_str(), tier))).map(|found| found.value).unwrap_or_default();
    let store_keys = [StoreKeys::Full, StoreKeys::Masked, StoreKeys::None].map(|kept| (kept.as_str(), kept));
    let store_keys = table.word("store_keys", &store_keys).map(|found| found.value).unwrap_or_default();
    let line = name.as_ref().map_or(table.line, |name| name.line);
    let generation_key = generation_key.and_then(|found| sound_generation_key(&table, &found));
    table.finish();
    Some(Prefix {
        template: template?,
        target: target?,
        owner,
        tier,
        expected,
        objective,
        thresholds,
        ttl,
        generation_key,
        store_keys,
        line,
    })
}

/// The named target, or the only one.
fn target_of(table: &Table<'_, '_>, targets: &[Target]) -> Option<String> {
    match (table.string("target"), targets) {
        (Some(named), _) => {
            let known = targets.iter().any(|target| target.name == named.value);
            if !known {
                let nearest = with_nearest(named.value, targets.iter().map(|target| target.name.as_str()));
                table.problem(named.line, format!("there is no target {nearest}"));
            }
            known.then(|| named.value.to_owned())
        }
        (None, [only]) => Some(only.name.clone()),
        (None, []) => {
            table.problem(table.line, "a prefix belongs to a target, and none is declared: write [[target]] first");
            None
        }
        (None, _) => {
            if !table.has("target") {
                table.missing("target", "target = \"main\" (there are several)");
            }
            None
        }
    }
}

fn template(table: &Table<'_, '_>, name: &At<&str>, delimiter: u8) -> Option<Template> {
    if RESERVED.contains(&name.value) {
        table.problem(name.line, format!("`{}` is what keys of no prefix are counted under; choose another name", name.value));
        return None;
    }
    match Template::parse(name.value, delimiter) {
        Ok(template) => Some(template),
        Err(error) => {
            table.problem(name.line, format!("`{}` is no template: {error}", name.value));
            None
        }
    }
}

fn objective(table: Table<'_, '_>) -> Option<Objective> {
    let example = "objective = { fresh_within = \"60s\", ratio = 0.999 }";
    let (within, ratio) = (table.duration("fresh_within"), table.share("ratio", false));
    for key in ["fresh_within", "ratio"] {
        if !table.has(key) {
            table.missing(key, example);
        }
    }
    let bucket = within.and_then(|found| {
        let whole = found.value.subsec_nanos() == 0;
        let bucket = u32::try_from(found.value.as_secs()).ok().filter(|_| whole).and_then(Bucket::of_seconds);
        if bucket.is_none() {
            table.problem(
                found.line,
                "`fresh_within` is one of \"0s\", \"1s\", \"10s\", \"60s\" and \"300s\": samples are counted in these buckets",
            );
        }
        bucket
    });
    table.finish();
    Some(Objective { fresh_within: bucket?, ratio: ratio?.value })
}

fn thresholds(table: Table<'_, '_>) -> Thresholds {
    let rate = |key| table.share(key, true).map(|found| found.value);
    let rebuild_p95_us = table.duration("rebuild_p95").and_then(|found| {
        let us = u64::try_from(found.value.as_micros()).ok().filter(|us| (1..=3_600_000_000).contains(us));
        if us.is_none() {
            table.problem(found.line, "`rebuild_p95` is more than nothing and at most \"1h\"");
        }
        us
    });
    let thresholds = Thresholds {
        miss_rate: rate("miss_rate"),
        rebuild_p95_us,
        invalidation_error_rate: rate("invalidation_error_rate"),
        stale_read_rate: rate("stale_read_rate"),
    };
    table.finish();
    thresholds
}

fn ttl(table: Table<'_, '_>) -> TtlPolicy {
    let max_s = table.duration("max").and_then(|found| {
        if found.value.as_secs() == 0 {
            table.problem(found.line, "`max` of `ttl` is at least \"1s\"");
        }
        (found.value.as_secs() > 0).then_some(found.value.as_secs())
    });
    let jitter = table.share("jitter", true).map(|found| found.value);
    let required = table.boolean("required").is_some_and(|found| found.value);
    table.finish();
    TtlPolicy { max_s, jitter, required }
}
