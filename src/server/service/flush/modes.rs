//! Which modes a target and a prefix can take, and what each of them would cost.

use super::Refused;
use super::facts::Facts;
use super::pages::ModeLine;
use crate::domain::flush::{self, AdviceFacts, Mode, Window};
use crate::domain::prefix::{Scope, ScopeKind};
use crate::server::config::{Config, Target};
use crate::server::redis::{Identity, is_supported, version_parts};
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
    if !is_supported(&identity.version) {
        return refused(format!("Flushing needs Redis 6.2 or later, and this is {}. Nothing was planned.", identity.version));
    }
    match mode {
        Mode::Flush => Ok(()),
        Mode::Soft(_) if version_parts(&identity.version).0 < SOFT_FROM => refused(format!(
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
        Mode::Soft(_) if version_parts(&identity.version).0 < SOFT_FROM => Err(Refused::state(
            "mode_changed",
            format!("Mode `soft` needs Redis {SOFT_FROM} or later, and {} answers now. Nothing was done. Plan again.", identity.version),
        )),
        Mode::Flush | Mode::Soft(_) | Mode::Version => Ok(()),
    }
}

/// Notes which mode is the gentlest that will do.
pub(super) fn advise(facts: &mut Facts, keys: u64) {
    let advice = flush::advise(&AdviceFacts {
        keys,
        reads_per_s: facts.rebuild_load_per_s,
        source_takes_per_s: facts.rebuild_peak_per_s,
        has_generation: facts.has_generation,
        can_expire: version_parts(&facts.version).0 >= SOFT_FROM,
    });
    facts.advised = Some((advice.mode.as_str().to_owned(), advice.mode.window().map(Window::seconds), advice.reason));
}

/// The modes beside each other, gentlest first, with what each would cost this plan.
pub(super) fn compared(flush: &Flush, facts: &Facts, keys: u64) -> Vec<ModeLine> {
    let advised = facts.advised.as_ref().and_then(|(mode, window_s, reason)| Some((Mode::parse(mode, *window_s).ok()?, reason)));
    let soft = |mode: Option<Mode>| mode.filter(|mode| mode.window().is_some());
    let (own, other) = (soft(Some(flush.mode)), soft(advised.map(|(mode, _)| mode)));
    // The plan's own window and the advised one, where they differ.
    let softs = match (own, other) {
        (None, None) => vec![Mode::Soft(Window::default())],
        (own, other) => own.into_iter().chain(other.filter(|other| own != Some(*other))).collect(),
    };
    std::iter::once(Mode::Version)
        .chain(softs)
        .chain([Mode::Flush])
        .map(|mode| {
            let cannot = match mode {
                Mode::Version if !facts.has_generation => Some("needs a whole registered prefix that declares a generation key".to_owned()),
                Mode::Soft(_) if version_parts(&facts.version).0 < SOFT_FROM => {
                    Some(format!("needs Redis {SOFT_FROM}; this is {}", facts.version))
                }
                _ => None,
            };
            ModeLine {
                mode: mode.as_str().to_owned(),
                window_s: mode.window().map(Window::seconds),
                load_per_s: flush::load_per_s(mode, keys, facts.rebuild_load_per_s),
                cannot,
                chosen: mode == flush.mode,
                advised: advised.filter(|(advised, _)| *advised == mode).map(|(_, reason)| reason.clone()),
            }
        })
        .collect()
}
