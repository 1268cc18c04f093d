//! `config check` and `contracts check`: what they print and how they end. They read; they start and change nothing.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::document::{Document, Table};
use super::{Config, DEFAULT_FILE, Environment, Problems, TargetUrls, contracts};
use crate::domain::contract::{Contract, endpoint_names};

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// 0 where nothing is wrong, else 1.
    pub exit_code: u8,
    /// For standard output: each problem as `file:line: message`, or what was found right.
    pub output: String,
    /// For standard error: one sentence that says what to do next; empty where nothing is wrong.
    pub advice: String,
}

impl Checked {
    fn wrong(problems: &Problems) -> Self {
        let count = problems.0.len();
        let (thing, it) = if count == 1 { ("problem", "it") } else { ("problems", "them") };
        let advice = format!("{count} {thing} found; a server would refuse this configuration. Correct {it} and check again.");
        Self { exit_code: 1, output: format!("{problems}\n"), advice }
    }

    fn right(output: String) -> Self {
        Self { exit_code: 0, output, advice: String::new() }
    }

    fn nothing_to_check(what: &str) -> Self {
        let advice = format!("there is no {what} to check: name it with --config FILE or STALEWATCH_CONFIG, or put {DEFAULT_FILE} here");
        Self { exit_code: 1, output: String::new(), advice }
    }
}

/// The file that is meant: the one named, else the one in the working folder.
fn meant(path: Option<&Path>) -> Option<PathBuf> {
    path.map(Path::to_owned).or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|default| default.exists()))
}

/// `stalewatch config check`. A target may leave out its `url` only in a configuration of `demo`, which is not what this checks.
pub fn config(path: Option<&Path>, environment: &Environment) -> Checked {
    let Some(path) = meant(path) else { return Checked::nothing_to_check("configuration") };
    match Config::load_file(&path, environment, TargetUrls::Required) {
        Err(problems) => Checked::wrong(&problems),
        Ok(config) => {
            let mut output = String::new();
            for warning in &config.warnings {
                let _ = writeln!(output, "{warning} (a warning)");
            }
            let _ = writeln!(
                output,
                "{}: nothing is wrong: {}, {}, {}; digest {}",
                path.display(),
                count(config.targets.len(), "target"),
                count(config.prefixes.len(), "prefix"),
                count(config.contracts.len(), "contract"),
                config.digest
            );
            Checked::right(output)
        }
    }
}

/// `stalewatch contracts check [FILE]`. A file of contracts alone is checked against the prefixes of the configuration; one that declares its own
/// targets and prefixes stands for itself.
pub fn contracts(file: Option<&Path>, config_path: Option<&Path>, environment: &Environment) -> Checked {
    let Some(path) = meant(file.or(config_path)) else { return Checked::nothing_to_check("contract") };
    let alone = file.filter(|file| holds_contracts_alone(file)).zip(meant(config_path));
    let checked = match alone {
        None => Config::load_file(&path, environment, TargetUrls::Optional),
        Some((file, config)) => Config::load_file(&config, environment, TargetUrls::Optional).and_then(|config| against(file, config)),
    };
    match checked {
        Err(problems) => Checked::wrong(&problems),
        Ok(config) => Checked::right(describe(&path, &config)),
    }
}

fn holds_contracts_alone(file: &Path) -> bool {
    let Ok(text) = std::fs::read_to_string(file) else { return false };
    let document = Document::new("", Path::new(""), &text);
    let entries = document.parse();
    let top = Table::new(&document, &entries, 1, "the file");
    top.has("contract") && !top.has("prefix") && !top.has("target")
}

/// The configuration with the contracts of this file in place of its own.
fn against(file: &Path, mut config: Config) -> Result<Config, Problems> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let document = Document::new(&file.display().to_string(), file.parent().unwrap_or(Path::new("")), &text);
    let entries = document.parse();
    let top = Table::new(&document, &entries, 1, "a file of contracts");
    config.contracts = contracts::read(&top, &config.targets, &config.prefixes);
    top.finish();
    let (problems, _) = document.finish();
    if problems.0.is_empty() { Ok(config) } else { Err(problems) }
}

fn describe(path: &Path, config: &Config) -> String {
    let mut output = String::new();
    for contract in &config.contracts {
        for edge in &contract.affects {
            let _ = writeln!(
                output,
                "{}:{}: {} -> {} by {} within {}",
                path.display(),
                edge.line,
                contract.write,
                edge.prefix,
                edge.how.as_str(),
                seconds(contract)
            );
        }
        for (prefix, name) in needed_params(config, contract) {
            let write = &contract.write;
            let _ = writeln!(output, "note: `{write}` does not name {{{name}}} of `{prefix}`: its mutations carry it in `params`");
        }
    }
    let covered: BTreeSet<(&str, &str)> = config
        .contracts
        .iter()
        .flat_map(|contract| contract.affects.iter().map(|edge| (contract.target.as_str(), edge.prefix.as_str())))
        .collect();
    for prefix in config.prefixes.iter().filter(|prefix| !covered.contains(&(prefix.target.as_str(), prefix.name()))) {
        let _ = writeln!(output, "note: no contract affects `{}`: nobody has declared which write makes it stale", prefix.name());
    }
    let edges = config.contracts.iter().map(|contract| contract.affects.len()).sum();
    let summary = format!("{}, {}: nothing is wrong", count(config.contracts.len(), "contract"), count(edges, "affected prefix"));
    let _ = writeln!(output, "{}: {summary}", path.display());
    output
}

/// Placeholders of the affected prefixes that the write itself does not name.
fn needed_params<'a>(config: &'a Config, contract: &'a Contract) -> Vec<(&'a str, &'a str)> {
    let named = endpoint_names(&contract.write).unwrap_or_default();
    let affected = contract.affects.iter().filter_map(|edge| config.prefix(&contract.target, &edge.prefix));
    affected
        .flat_map(|prefix| prefix.template.placeholders().map(|name| (prefix.name(), name)))
        .filter(|(_, name)| !named.contains(name))
        .collect()
}

fn seconds(contract: &Contract) -> String {
    if contract.within.subsec_nanos() == 0 {
        format!("{} s", contract.within.as_secs())
    } else {
        format!("{} ms", contract.within.as_millis())
    }
}

fn count(number: usize, thing: &str) -> String {
    match (number, thing.strip_suffix('x')) {
        (1, _) => format!("1 {thing}"),
        (_, Some(stem)) => format!("{number} {stem}xes"),
        (_, None) => format!("{number} {thing}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str =
        "[[target]]\nname = \"main\"\nurl = \"redis://h\"\n[[prefix]]\nname = \"user:{id}\"\n[[prefix]]\nname = \"search:{hash}\"\n";
    const CONTRACT: &str = "[[contract]]\nwrite = \"PUT /users/{id}\"\nwithin = \"2s\"\naffects = [{ key = \"user:{id}\", how = \"evict\" }, { key = \"search:{hash}\", how = \"expire\" }]\n";

    fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn what_is_right_ends_with_0_and_says_what_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "c.toml", &format!("{CONFIG}{CONTRACT}"));
        let checked = config(Some(&path), &Environment::default());
        assert_eq!((checked.exit_code, checked.advice.as_str()), (0, ""));
        assert!(checked.output.contains("nothing is wrong: 1 target, 2 prefixes, 1 contract; digest "), "{}", checked.output);
    }

    #[test]
    fn what_is_wrong_ends_with_1_and_every_problem() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder, "c.toml", "lisen = \"x\"\npublic_url = \"http://example.com\"\n");
        let checked = config(Some(&path), &Environment::default());
        assert_eq!((checked.exit_code, checked.output.lines().count()), (1, 2), "{}", checked.output);
        assert!(checked.output.starts_with(&format!("{}:1: ", path.display())));
        assert!(checked.advice.starts_with("2 problems found"));
    }

    #[test]
    fn contracts_are_checked_where_they_stand_or_against_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, prefixes) = (file(&folder, "whole.toml", &format!("{CONFIG}{CONTRACT}")), file(&folder, "prefixes.toml", CONFIG));
        let alone = file(&folder, "contracts.toml", CONTRACT);
        let environment = Environment::default();
        for checked in [
            contracts(None, Some(&whole), &environment),
            contracts(Some(&whole), None, &environment),
            contracts(Some(&alone), Some(&prefixes), &environment),
        ] {
            assert_eq!(checked.exit_code, 0, "{checked:?}");
            assert!(checked.output.contains("PUT /users/{id} -> user:{id} by evict within 2 s"), "{}", checked.output);
            assert!(checked.output.contains("note: `PUT /users/{id}` does not name {hash} of `search:{hash}`"), "{}", checked.output);
        }
        let typo = file(&folder, "typo.toml", &CONTRACT.replace("user:{id}", "usr:{id}"));
        let checked = contracts(Some(&typo), Some(&prefixes), &environment);
        assert_eq!(checked.exit_code, 1);
        assert!(
            checked.output.contains("typo.toml:4: there is no prefix `usr:{id}`; the nearest known one is `user:{id}`"),
            "{}",
            checked.output
        );
    }

    #[test]
    fn a_file_that_is_not_there_is_a_problem_at_its_first_line() {
        let checked = contracts(Some(Path::new("/nowhere.toml")), None, &Environment::default());
        assert_eq!(checked.exit_code, 1);
        assert!(checked.output.starts_with("/nowhere.toml:1: cannot be read"), "{}", checked.output);
    }
}
