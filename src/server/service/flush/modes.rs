//! Which modes a target and a prefix can take, and what each of them would cost.

use super::Refused;
use super::facts::Facts;
use crate::domain::flush::Mode;
use crate::domain::prefix::{Scope, ScopeKind};
use crate::server::config::{Config, Target};
use crate::server::redis::Identity;
use crate::server::store::flushes::Flush;

/// The first Redis with `PEXPIRE … LT`.
const SOFT_FROM: u32 = 7;

/// The key whose number an application puts into the keys of exactly this scope.
pub(super) fn generation_key<'c>(config: &'c Config, target: &str, scope: &str, kind: ScopeKind) -> Option<&'c str> {
    let prefix = config.prefix(target, scope).filter(|_| kind == ScopeKind::Template)?;
    prefix.generation_key.as_deref()
}

/// Refuses a mode that this scope cannot have, or this Redis.
pub(super) fn available(config: &Config, target: &Target, scope: &Scope, mode: Mode, identity: &Identity) -> Result<(), Refused> {
    let refused = |detail: String| Err(Refused::typed("mode_unavailable", "mode", detail));
    match mode {
        Mode::Flush => Ok(()),
        Mode::Soft(_) if major(&identity.version) < SOFT_FROM => refused(format!(
            "Mode `soft` needs Redis {SOFT_FROM} or later, and this is {}. Nothing was planned; choose mode `flush`.",
            identity.version
        )),
        Mode::Soft(_) => Ok(()),
        Mode::Version if generation_key(config, &target.name, &scope.to_string(), scope.kind()).is_some() => Ok(()),
        Mode::Version => refused(
            "Mode `version` needs a registered template, whole and unbound, that declares a `generation_key`. Nothing was planned; choose mode \
             `soft` or `flush`, or declare the key in the configuration file where the application reads it."
                .to_owned(),
        ),
    }
}

/// Refuses a start whose mode is not what it was when it was planned.
pub(super) fn fit(config: &Config, flush: &Flush, identity: &Identity) -> Result<(), Refused> {
    let planned = Facts::read(flush.plan.as_deref()).generation_key;
    let now = generation_key(config, &flush.target, &flush.scope, flush.scope_kind);
    match flush.mode {
        Mode::Version if planned.is_none() || planned.as_deref() != now => Err(Refused::state(
            "mode_changed",
            "The configuration names another generation key for this prefix than when the plan was made, or none. Nothing was done. Plan again.",
        )),
        Mode::Soft(_) if major(&identity.version) < SOFT_FROM => Err(Refused::state(
            "mode_changed",
            format!("Mode `soft` needs Redis {SOFT_FROM} or later, and {} answers now. Nothing was done. Plan again.", identity.version),
        )),
        Mode::Flush | Mode::Soft(_) | Mode::Version => Ok(()),
    }
}

fn major(version: &str) -> u32 {
    version.split('.').next().and_then(|part| part.parse().ok()).unwrap_or(0)
}
