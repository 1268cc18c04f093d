//! Places at which tests let the server die, to see that the record bounds the truth whenever that happens. Compiled out of release builds.

/// Ends the process at once, with nothing written or said, where `STALEWATCH_FAILPOINT` names this place.
#[cfg(debug_assertions)]
pub(super) fn failpoint(place: &str) {
    use crate::server::config::Environment;
    use std::sync::LazyLock;
    static ARMED: LazyLock<Option<String>> =
        LazyLock::new(|| Environment::from_process().get("STALEWATCH_FAILPOINT").map(ToOwned::to_owned));
    if ARMED.as_deref() == Some(place) {
        std::process::abort();
    }
}

#[cfg(not(debug_assertions))]
pub(super) fn failpoint(_: &str) {}
