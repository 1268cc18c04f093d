//! What of keys and scopes a reader sees. Key names can be personal data: this is the one place that decides, by the reader's role and by what
//! the prefix allows (`store_keys`).

use crate::domain::operator::{Permission, Viewer};
use crate::domain::prefix::{escape, mask, mask_scope};
use crate::server::config::{Config, Prefix, StoreKeys};

/// How one reader sees key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    whole: bool,
}

impl Sight {
    pub fn of(viewer: &Viewer) -> Self {
        Self { whole: viewer.may(Permission::SeeKeys) }
    }

    /// Whether scopes can be searched for by what stands in them.
    pub fn is_whole(self) -> bool {
        self.whole
    }

    /// A key as escaped text; `None` where the prefix lets nobody see any. What was stored masked stays so.
    pub fn key(self, key: &[u8], prefix: Option<&Prefix>) -> Option<String> {
        match prefix.map_or(StoreKeys::Full, |prefix| prefix.store_keys) {
            StoreKeys::None => None,
            StoreKeys::Full if self.whole => Some(escape(key)),
            _ => Some(mask(key, prefix.map(|prefix| &prefix.template))),
        }
    }

    /// A scope as it was typed, or with the values in it masked. Who may see keys sees it whole whatever the prefix stores: it is what an
    /// operator typed and has to type again, and it is on record.
    pub fn scope(self, config: &Config, target: &str, scope: &str) -> String {
        if self.whole {
            return scope.to_owned();
        }
        // A record without a target can only be about the only one.
        let sole = || config.targets.first().filter(|_| target.is_empty() && config.targets.len() == 1);
        match config.target(target).or_else(sole) {
            Some(known) => mask_scope(scope, known.delimiter, config.families_of(&known.name).templates()),
            None => mask_scope(scope, crate::domain::prefix::DEFAULT_DELIMITER, &[]),
        }
    }
}
