//! Where an event belongs: its target and prefix by the configuration in force, and the name of its read path, of which a prefix has so many.

use crate::domain::event::{RejectCode, Rejection, Subject};
use crate::domain::prefix::{Families, Template, mask};
use crate::server::config::{Config, StoreKeys};
use crate::server::store::events as store;
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

/// Prefixes of one target that are counted apart; events of further ones are `overflow`.
pub const PREFIXES_MAX: usize = 1_000;
/// Names of read paths of one prefix; further ones are [`OTHER_PATH`].
pub const READ_PATHS_MAX: usize = 50;
/// What further read paths are called.
pub const OTHER_PATH: &str = "other";
pub const UNCLASSIFIED: &str = "unclassified";
pub const OVERFLOW: &str = "overflow";

/// A prefix as the registry is told of it.
#[derive(Clone, Debug)]
pub struct Declared {
    pub name: String,
    pub template: Template,
    pub keep_keys: StoreKeys,
}

/// All targets.
#[derive(Debug, Default)]
pub struct Registry {
    targets: Vec<Target>,
    by_name: HashMap<String, usize>,
}

#[derive(Debug)]
struct Target {
    name: String,
    id: i64,
    families: Families,
    prefixes: Vec<Prefix>,
    by_name: HashMap<String, usize>,
    unclassified: i64,
}

#[derive(Debug)]
struct Prefix {
    id: i64,
    name: String,
    keep_keys: StoreKeys,
}

/// Where an event was found to belong.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    pub target_id: i64,
    pub prefix_id: Option<i64>,
    /// The key as it may be kept; `None` where there is none to keep.
    pub key: StoreKeys,
    prefix: Option<(usize, usize)>,
}

impl Registry {
    /// The registry of a configuration.
    pub fn of(config: &Config) -> Self {
        let declared = |prefix: &crate::server::config::Prefix| Declared {
            name: prefix.name().to_owned(),
            template: prefix.template.clone(),
            keep_keys: prefix.store_keys,
        };
        Self::new(
            config.targets.iter().map(|target| (target.name.clone(), config.prefixes_of(&target.name).map(declared).collect())).collect(),
        )
    }

    /// Targets in order, each with its prefixes in order.
    pub fn new(targets: Vec<(String, Vec<Declared>)>) -> Self {
        let targets: Vec<Target> = targets.into_iter().map(|(name, prefixes)| Target::new(name, prefixes)).collect();
        let by_name = targets.iter().enumerate().map(|(at, target)| (target.name.clone(), at)).collect();
        Self { targets, by_name }
    }

    /// The names and numbers of everything, for the tables.
    pub fn rows(&self) -> (Vec<(i64, String)>, Vec<store::registry::PrefixRow>) {
        let targets = self.targets.iter().map(|target| (target.id, target.name.clone())).collect();
        let mut prefixes = Vec::new();
        for target in &self.targets {
            let row = |prefix_id, name: &str, registered| store::registry::PrefixRow {
                prefix_id,
                target_id: target.id,
                name: name.to_owned(),
                registered,
            };
            prefixes.extend(target.prefixes.iter().take(PREFIXES_MAX).map(|prefix| row(prefix.id, &prefix.name, true)));
            prefixes.push(row(target.unclassified, UNCLASSIFIED, false));
            prefixes.push(row(store::rest_id(&target.name, OVERFLOW), OVERFLOW, false));
        }
        (targets, prefixes)
    }

    /// Finds an event's place. `allowed` is the only target that the sender may speak of, if it is held to one.
    pub fn place(&self, target: Option<&str>, allowed: Option<&str>, subject: &Subject<'_>) -> Result<Place, Rejection> {
        let at = match (target.or(allowed), self.targets.len()) {
            (Some(name), _) => *self
                .by_name
                .get(name)
                .ok_or_else(|| Rejection::new(RejectCode::UnknownTarget, format!("There is no target `{}`.", shown(name))))?,
            (None, 1) => 0,
            (None, _) => return Err(Rejection::new(RejectCode::MissingField, "`target` is needed where there is more than one.")),
        };
        if let (Some(name), Some(allowed)) = (target, allowed)
            && name != allowed
        {
            return Err(Rejection::new(RejectCode::TargetNotAllowed, format!("This token may speak of the target `{allowed}` only.")));
        }
        let target = &self.targets[at];
        let found = match subject {
            Subject::Target => return Ok(Place { target_id: target.id, prefix_id: None, key: StoreKeys::None, prefix: None }),
            Subject::Key(key) => target.families.classify(key),
            Subject::Prefix(name) => {
                let found = target.by_name.get(&**name).copied();
                Some(found.ok_or_else(|| {
                    Rejection::new(RejectCode::UnknownPrefix, format!("`{}` is not registered for `{}`.", shown(name), target.name))
                })?)
            }
        };
        let (prefix_id, key) =
            found.map_or((target.unclassified, StoreKeys::Full), |place| (target.prefixes[place].id, target.prefixes[place].keep_keys));
        Ok(Place { target_id: target.id, prefix_id: Some(prefix_id), key, prefix: found.map(|place| (at, place)) })
    }

    /// The name of a key without what tells whose it is.
    pub fn masked(&self, place: &Place, key: &[u8]) -> String {
        mask(key, place.prefix.and_then(|(target, prefix)| self.targets[target].families.templates().get(prefix)))
    }
}

impl Target {
    fn new(name: String, prefixes: Vec<Declared>) -> Self {
        let overflow = store::rest_id(&name, OVERFLOW);
        let families = Families::new(prefixes.iter().map(|prefix| prefix.template.clone()).collect());
        let prefixes: Vec<Prefix> = prefixes
            .into_iter()
            .enumerate()
            .map(|(at, prefix)| Prefix {
                id: if at < PREFIXES_MAX { store::prefix_id(&name, &prefix.name) } else { overflow },
                name: prefix.name,
                keep_keys: prefix.keep_keys,
            })
            .collect();
        let by_name = prefixes.iter().enumerate().map(|(at, prefix)| (prefix.name.clone(), at)).collect();
        Self { id: store::target_id(&name), unclassified: store::rest_id(&name, UNCLASSIFIED), families, prefixes, by_name, name }
    }
}

/// A name from outside, short enough for a sentence.
fn shown(name: &str) -> String {
    name.chars().take(80).collect()
}

/// The read paths seen so far. The first 50 of a prefix keep their name.
#[derive(Debug, Default)]
pub struct ReadPaths(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    names: HashMap<i64, HashSet<Box<str>>>,
    /// Not yet in the store.
    new: Vec<(i64, String)>,
}

impl ReadPaths {
    pub fn load(&self, stored: Vec<(i64, String)>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (prefix_id, name) in stored {
            known.names.entry(prefix_id).or_default().insert(name.into());
        }
    }

    /// The name that this read path goes by.
    pub fn name<'a>(&self, prefix_id: i64, path: &'a str) -> &'a str {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let names = known.names.entry(prefix_id).or_default();
        if names.contains(path) || path == OTHER_PATH {
            return path;
        }
        if names.len() >= READ_PATHS_MAX {
            return OTHER_PATH;
        }
        names.insert(path.into());
        known.new.push((prefix_id, path.to_owned()));
        path
    }

    /// Names that are not in the store yet; put back what could not be written.
    pub fn take_new(&self) -> Vec<(i64, String)> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).new)
    }

    pub fn put_back(&self, names: Vec<(i64, String)>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).new.extend(names);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn registry() -> Registry {
        let declared = |name: &str| Declared {
            name: name.to_owned(),
            template: Template::parse(name, b':').expect("a template"),
            keep_keys: StoreKeys::Full,
        };
        Registry::new(vec![
            ("main".to_owned(), vec![declared("user:{id}:profile"), declared("cart:{id}")]),
            ("second".to_owned(), vec![declared("user:{id}:profile")]),
        ])
    }

    fn key(key: &str) -> Subject<'_> {
        Subject::Key(Cow::Borrowed(key.as_bytes()))
    }

    #[test]
    fn a_key_finds_its_prefix_within_its_target() {
        let registry = registry();
        let place = |target, subject: &Subject<'_>| registry.place(Some(target), None, subject).map(|place| place.prefix_id);
        assert_eq!(place("main", &key("user:7:profile")), Ok(Some(store::prefix_id("main", "user:{id}:profile"))));
        assert_eq!(place("second", &key("user:7:profile")), Ok(Some(store::prefix_id("second", "user:{id}:profile"))));
        assert_eq!(place("second", &key("cart:7")), Ok(Some(store::rest_id("second", UNCLASSIFIED))));
        assert_eq!(place("main", &Subject::Prefix("cart:{id}".into())), Ok(Some(store::prefix_id("main", "cart:{id}"))));
    }

    #[test]
    fn names_that_nobody_registered_are_refused() {
        let registry = registry();
        let code =
            |target, allowed, subject: &Subject<'_>| registry.place(target, allowed, subject).map_err(|rejection| rejection.code.as_str());
        assert_eq!(code(Some("third"), None, &key("a")), Err("unknown_target"));
        assert_eq!(code(None, None, &key("a")), Err("missing_field"));
        assert_eq!(code(Some("main"), None, &Subject::Prefix(UNCLASSIFIED.into())), Err("unknown_prefix"));
        assert_eq!(code(Some("second"), Some("main"), &key("a")), Err("target_not_allowed"));
        assert!(code(None, Some("main"), &key("a")).is_ok());
    }

    #[test]
    fn the_51st_read_path_is_other() {
        let paths = ReadPaths::default();
        for at in 0..READ_PATHS_MAX {
            let name = format!("GET /{at}");
            assert_eq!(paths.name(1, &name), name);
        }
        assert_eq!(paths.name(1, "GET /one-more"), OTHER_PATH);
        assert_eq!(paths.name(1, "GET /3"), "GET /3");
        assert_eq!(paths.name(2, "GET /one-more"), "GET /one-more");
        assert_eq!(paths.take_new().len(), READ_PATHS_MAX + 1);
    }
}
