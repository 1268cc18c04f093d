//! The direction of the rooms, read from their `crate::` paths. A room may use those to its left in `docs`' picture, and nothing else:
//! `domain ← error ← api, islands`, `domain ← store, redis ← service ← forms, http, jobs, ingest, collect, ui::pages`, `ui ← router ← main`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A room, and the rooms that it must never reach.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("domain", &["error", "server", "ui", "islands", "api"]),
    ("error", &["server", "ui", "islands", "api"]),
    ("islands", &["server", "ui", "error"]),
    ("ui", &["server::store", "server::redis", "server::private", "server::cli", "server::router", "server::demo", "server::run"]),
    (
        "server/store",
        &[
            "ui",
            "server::redis",
            "server::service",
            "server::forms",
            "server::http",
            "server::router",
            "server::state",
            "server::jobs",
            "server::collect",
            "server::ingest",
        ],
    ),
    (
        "server/redis",
        &[
            "ui",
            "server::store",
            "server::service",
            "server::forms",
            "server::http",
            "server::router",
            "server::state",
            "server::jobs",
            "server::collect",
            "server::ingest",
        ],
    ),
    (
        "server/service",
        &["ui", "server::forms", "server::http", "server::router", "server::jobs", "server::cli", "server::demo", "server::run"],
    ),
    ("server/forms", &["server::store", "server::redis", "server::router", "server::cli", "server::run"]),
    ("server/http", &["server::redis", "server::router", "server::cli", "server::run"]),
    (
        "server/jobs",
        &["ui", "server::collect", "server::store", "server::redis", "server::forms", "server::router", "server::cli", "server::run"],
    ),
    ("server/collect", &["ui", "server::store", "server::forms", "server::http", "server::router", "server::cli", "server::run"]),
    ("server/config", &["ui", "error", "server"]),
    ("server/clock.rs", &["ui", "error", "server", "domain"]),
    ("server/private", &["ui", "server::store", "server::redis", "server::service", "server::state", "server::config"]),
    ("server/demo/shop", &["ui", "server::store", "server::redis", "server::service", "server::state", "server::ingest"]),
];

/// What must not appear where the islands' build or purity is at stake.
const FOREIGN: &[(&str, &[&str])] = &[
    ("domain", &["tokio::", "sqlx::", "redis::", "axum::", "std::env", "std::fs", "std::net", "leptos::"]),
    ("islands", &["tokio::", "sqlx::", "redis::", "axum::", "std::env"]),
    ("islands.rs", &["tokio::", "sqlx::", "redis::", "axum::", "std::env"]),
    ("ui", &["sqlx::", "redis::", "std::env", "Clock::system"]),
    ("server/store", &["redis::"]),
    ("server/redis", &["sqlx::"]),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(under: &Path, found: &mut Vec<PathBuf>) {
    if under.is_file() {
        found.push(under.to_owned());
        return;
    }
    for entry in std::fs::read_dir(under).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() || path.extension().is_some_and(|ending| ending == "rs") {
            files(&path, found);
        }
    }
}

/// The files of a room: its folder, its file, or both.
fn room(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    files(&source().join(name), &mut found);
    let single = source().join(format!("{name}.rs"));
    if single.is_file() {
        found.push(single);
    }
    found
}

/// The file's text without comments and without its tests, which may look wherever they must.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap().to_owned();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Every `crate::…` path of the text, with `{…}` lists taken apart.
fn crate_paths(text: &str) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        collect(&text[at + "crate::".len()..], "", &mut paths);
    }
    paths
}

/// Reads one path from the start of `text`; gives what follows it.
fn collect<'a>(text: &'a str, before: &str, paths: &mut BTreeSet<String>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start().trim_start_matches(',').trim_start();
            if rest.is_empty() {
                return rest;
            }
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            let left = rest.len();
            rest = collect(rest, before, paths);
            if rest.len() == left {
                rest = &rest[rest.chars().next().map_or(0, char::len_utf8)..];
            }
        }
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let path = if before.is_empty() { text[..end].to_owned() } else { format!("{before}::{}", &text[..end]) };
    if let Some(rest) = text[end..].strip_prefix("::") {
        collect(rest, &path, paths)
    } else {
        paths.insert(path);
        &text[end..]
    }
}

#[test]
fn rooms_only_use_what_stands_before_them() {
    let mut wrong = Vec::new();
    for (name, forbidden) in FORBIDDEN {
        for file in room(name) {
            for path in crate_paths(&code(&file)) {
                if forbidden.iter().any(|room| path == *room || path.starts_with(&format!("{room}::"))) {
                    wrong.push(format!("{} uses crate::{path}", file.strip_prefix(source()).unwrap().display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "against the direction of the rooms:\n{}", wrong.join("\n"));
}

#[test]
fn rooms_keep_out_what_is_foreign_to_them() {
    let mut wrong = Vec::new();
    for (name, foreign) in FOREIGN {
        for file in room(name) {
            let text = code(&file).replace("crate::server::redis::", "").replace("super::redis::", "");
            for word in *foreign {
                let used =
                    text.match_indices(word).any(|(at, _)| !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'));
                if used {
                    wrong.push(format!("{} uses {word}", file.strip_prefix(source()).unwrap().display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "foreign to their room:\n{}", wrong.join("\n"));
}

#[test]
fn the_gates_between_the_builds_stand_in_two_files() {
    let mut all = Vec::new();
    files(&source(), &mut all);
    let gated: Vec<_> = all
        .iter()
        .filter(|file| !file.starts_with(source().join("tests")))
        .filter(|file| code(file).contains("feature = \"ssr\""))
        .map(|file| file.strip_prefix(source()).unwrap().display().to_string())
        .collect();
    assert!(gated.iter().all(|file| file == "lib.rs" || file == "main.rs"), "{gated:?}");
}

#[test]
fn lists_of_paths_are_taken_apart() {
    let paths = crate_paths("use crate::server::{store::{self, users}, clock::Clock};\nlet x = crate::domain::audit::Code::ALL;");
    let expected = ["domain::audit::Code::ALL", "server::clock::Clock", "server::store::self", "server::store::users"];
    assert_eq!(paths.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}
