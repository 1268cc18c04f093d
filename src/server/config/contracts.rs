//! `[[contract]]`: which writes must invalidate which prefixes.

use super::document::{At, Table};
use super::problems::with_nearest;
use super::types::{Prefix, Target};
use crate::domain::contract::{Contract, Edge, Method, endpoint_names};
use crate::domain::event::ENDPOINT_MAX;

pub(super) fn read(top: &Table<'_, '_>, targets: &[Target], prefixes: &[Prefix]) -> Vec<Contract> {
    let mut contracts: Vec<Contract> = Vec::new();
    for table in top.tables("contract", "a contract") {
        let Some(contract) = contract(table, targets, prefixes) else { continue };
        match contracts.iter().find(|earlier| earlier.write == contract.write && earlier.target == contract.target) {
            Some(earlier) => {
                let message =
                    format!("the contract of `{}` is declared on line {} already: one write, one contract", contract.write, earlier.line);
                top.problem(contract.line, message);
            }
            None => contracts.push(contract),
        }
    }
    contracts
}

fn contract(table: Table<'_, '_>, targets: &[Target], prefixes: &[Prefix]) -> Option<Contract> {
    let write = write(&table);
    let within = table.duration("within");
    if within.is_none() && !table.has("within") {
        table.missing("within", "within = \"2s\"");
    }
    let named = named_target(&table, targets);
    let line = write.as_ref().map_or(table.line, |write| write.line);
    let mut target = named.clone();
    let mut affects: Vec<Edge> = Vec::new();
    let listed = table.tables("affects", "an entry of `affects`");
    if listed.is_empty() {
        table.missing("affects", "affects = [{ key = \"user:{id}:profile\", how = \"evict\" }]");
    }
    for entry in listed {
        let Some((edge, of_target)) = edge(entry, named.as_deref(), prefixes) else { continue };
        if target.as_ref().is_some_and(|target| *target != of_target) {
            table.problem(edge.line, format!("`{}` is on target `{of_target}`; a contract stays on one target", edge.prefix));
        } else if let Some(earlier) = affects.iter().find(|earlier| earlier.prefix == edge.prefix) {
            table.problem(edge.line, format!("`{}` is named on line {} already", edge.prefix, earlier.line));
        } else {
            target = Some(of_target);
            affects.push(edge);
        }
    }
    table.finish();
    Some(Contract { write: write?.value, target: target?, within: within?.value, affects, line })
}

fn write(table: &Table<'_, '_>) -> Option<At<String>> {
    let Some(found) = table.string("write") else {
        if !table.has("write") {
            table.missing("write", "write = \"PUT /users/{id}\"");
        }
        return None;
    };
    let write = found.value;
    if write.trim().is_empty() || write.len() > ENDPOINT_MAX || write.chars().any(char::is_control) {
        table
            .problem(found.line, format!("`write` names an endpoint in 1 to {ENDPOINT_MAX} bytes, as mutations do: \"PUT /users/{{id}}\""));
        return None;
    }
    if endpoint_names(write).is_none() {
        table.problem(found.line, format!("a placeholder of `{write}` is not closed, not opened or has no name"));
        return None;
    }
    Some(At { value: write.to_owned(), line: found.line })
}

fn named_target(table: &Table<'_, '_>, targets: &[Target]) -> Option<String> {
    let named = table.string("target")?;
    if !targets.iter().any(|target| target.name == named.value) {
        let nearest = with_nearest(named.value, targets.iter().map(|target| target.name.as_str()));
        table.problem(named.line, format!("there is no target {nearest}"));
        return None;
    }
    Some(named.value.to_owned())
}

/// One `{ key, how }` and the target its prefix is on.
fn edge(entry: Table<'_, '_>, target: Option<&str>, prefixes: &[Prefix]) -> Option<(Edge, String)> {
    let key = entry.string("key");
    let how = entry.word("how", &Method::ALL.iter().map(|how| (how.as_str(), *how)).collect::<Vec<_>>());
    for name in ["key", "how"] {
        if !entry.has(name) {
            entry.missing(name, "{ key = \"user:{id}:profile\", how = \"evict\" }");
        }
    }
    let found = key.as_ref().and_then(|key| {
        let of_target = || prefixes.iter().filter(|prefix| target.is_none_or(|target| prefix.target == target));
        let mut named = of_target().filter(|prefix| prefix.name() == key.value);
        match (named.next(), named.next()) {
            (Some(prefix), None) => Some(prefix),
            (Some(_), Some(_)) => {
                entry.problem(key.line, format!("`{}` is registered on several targets: give the contract a `target`", key.value));
                None
            }
            (None, _) => {
                entry.problem(key.line, format!("there is no prefix {}", with_nearest(key.value, of_target().map(Prefix::name))));
                None
            }
        }
    });
    let line = key.as_ref().map_or(entry.line, |key| key.line);
    entry.finish();
    let prefix = found?;
    Some((Edge { prefix: prefix.name().to_owned(), how: how?.value, line }, prefix.target.clone()))
}
