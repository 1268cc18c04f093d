//! Asking for a plan. What can be refused without looking at the keys is refused here; the scan goes on behind the answer.

use super::record::{Told, note_refusal, recorded, seal};
use super::{Refused, modes, planning, targets};
use crate::domain::audit::Code;
use crate::domain::flush::{Mode, NoMode, PLANS_PER_HOUR, Pace, Window};
use crate::domain::operator::Viewer;
use crate::domain::prefix::{Scope, ScopeKind, escape};
use crate::server::config::{Config, Target};
use crate::server::redis::{Endpoint, identify};
use crate::server::state::AppState;
use crate::server::store::flushes::{self, NewFlush, Recent};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

/// The form as typed.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub target: String,
    pub scope_kind: String,
    pub scope: String,
    pub mode: String,
    /// For mode `soft`.
    pub window_s: String,
    pub pace: String,
}

/// The form as understood.
struct Wanted {
    target: Target,
    scope: Scope,
    mode: Mode,
    pace: Pace,
}

/// Takes the form: a flush in `planning`, by its number. The scan begins behind the answer.
pub async fn ask(app: &AppState, viewer: &Viewer, asked: &Asked) -> Result<i64, Refused> {
    plan(app, viewer, asked).await.inspect_err(|refused| note_refusal(app, viewer, "plan", None, &asked.target, &asked.scope, refused))
}

/// The same, where whoever calls keeps the record of refusals.
pub(super) async fn plan(app: &AppState, viewer: &Viewer, asked: &Asked) -> Result<i64, Refused> {
    let wanted = understand(app, asked)?;
    take(app, viewer, &wanted).await
}

fn understand(app: &AppState, asked: &Asked) -> Result<Wanted, Refused> {
    let config = app.config();
    let target = match (asked.target.as_str(), config.targets.as_slice()) {
        ("", [only]) => Some(only),
        (name, _) => config.target(name),
    }
    .ok_or_else(|| Refused::typed("unknown_target", "target", "There is no such target. Choose one of the list."))?;
    let mode = if asked.mode.is_empty() { "flush" } else { &asked.mode };
    let mode = Mode::parse(mode, asked.window_s.trim().parse().ok()).map_err(|error| match error {
        NoMode::Unknown => Refused::typed("unknown_mode", "mode", "The mode is `flush`, `soft` or `version`."),
        NoMode::Window => Refused::typed(
            "bad_window",
            "window_s",
            format!("A soft flush needs a window of {} to {} whole seconds. Nothing was planned.", Window::LEAST, Window::MOST),
        ),
    })?;
    let pace = Pace::parse(if asked.pace.is_empty() { "normal" } else { &asked.pace })
        .ok_or_else(|| Refused::typed("unknown_pace", "pace", "The pace is `fast`, `normal` or `gentle`."))?;
    let kind = match asked.scope_kind.as_str() {
        "" => None,
        text => Some(
            ScopeKind::parse(text)
                .ok_or_else(|| Refused::typed("unknown_scope_kind", "scope_kind", "A scope is `literal` or `template`."))?,
        ),
    };
    let scope = scope_of(app, target, &asked.scope, kind)?;
    guard(&config, target, &scope)?;
    Ok(Wanted { target: target.clone(), scope, mode, pace })
}

/// Reads a scope of this target.
pub(super) fn scope_of(app: &AppState, target: &Target, text: &str, kind: Option<ScopeKind>) -> Result<Scope, Refused> {
    let families = app.config().families_of(&target.name);
    Scope::parse(text, kind, target.delimiter, families.templates())
        .map_err(|problem| Refused::typed(problem.code(), "scope", problem.to_string()))
}

/// Nothing protected may be reached, in either direction, and no generation: without it, an application counts from the beginning again and
/// finds the old values.
pub(super) fn guard(config: &Config, target: &Target, scope: &Scope) -> Result<(), Refused> {
    let generation = config.prefixes_of(&target.name).find_map(|prefix| {
        let key = prefix.generation_key.as_deref()?;
        scope.contains(key.as_bytes()).then_some((prefix.name(), key))
    });
    if let Some((prefix, key)) = generation {
        let detail = format!(
            "`{key}` is in this scope: the generation of `{prefix}`, without which old values would be read again. Nothing was planned. \
             Choose a scope without it."
        );
        return Err(Refused::typed("protected", "scope", detail));
    }
    match target.protected.iter().find(|protected| scope.may_contain_under(protected)) {
        Some(protected) => Err(Refused::typed(
            "protected",
            "scope",
            format!("Keys under `{}` are protected on this target and can never be flushed. Nothing was planned.", escape(protected)),
        )),
        None => Ok(()),
    }
}

/// Refuses while Redis does not let the flush identity in.
pub(super) async fn reachable(app: &AppState, target: &Target) -> Result<(Endpoint, crate::server::redis::Identity), Refused> {
    let refused = |fault: &crate::server::redis::Fault| {
        let since = app.flushes.monitor().of(&target.name).away_since;
        let since = since.map_or_else(String::new, |at| format!(" since {} UTC", at.format("%H:%M:%S")));
        Refused::away(
            "redis_unavailable",
            format!("Redis `{}` cannot be used{since}: {fault}. Nothing was removed. Try again when it is back.", target.name),
        )
    };
    let endpoint = targets::flusher(target).map_err(|fault| refused(&fault))?;
    let place = endpoint.clone();
    let asked = tokio::task::spawn_blocking(move || identify(&place)).await;
    let found = asked.unwrap_or(Err(crate::server::redis::Fault::Garbled));
    app.flushes.monitor().note(&target.name, &found.as_ref().map(|identity| identity.keys).map_err(Clone::clone), app.clock.now());
    if let Ok(identity) = &found {
        app.flushes.monitor().note_privilege(&target.name, identity.over_privileged);
    }
    found.map(|identity| (endpoint, identity)).map_err(|fault| refused(&fault))
}

/// Refuses where an hour's number is reached: seconds until the first of them is an hour ago.
pub(super) fn wait_for(recent: Recent, most: i64, now: DateTime<Utc>) -> Option<u32> {
    if recent.count < most {
        return None;
    }
    let first = recent.first.unwrap_or(now);
    u32::try_from((first + TimeDelta::hours(1) - now).num_seconds().max(1)).ok()
}

/// Both hourly numbers.
pub(super) fn hourly(plans: Option<Recent>, starts: Recent, target: &Target, now: DateTime<Utc>) -> Result<(), Refused> {
    if let Some(wait) = plans.and_then(|plans| wait_for(plans, PLANS_PER_HOUR, now)) {
        let detail = format!(
            "You have planned {PLANS_PER_HOUR} flushes within an hour, which is the most. The next can be planned in {} min.",
            wait.div_ceil(60)
        );
        return Err(Refused::too_many("too_many_plans", detail, wait));
    }
    let most = target.max_flushes_per_hour;
    if let Some(wait) = wait_for(starts, most.into(), now) {
        let detail = format!(
            "{most} flushes of this target were started within an hour, which is the most. The next is possible in {} min.",
            wait.div_ceil(60)
        );
        return Err(Refused::too_many("too_many_flushes", detail, wait));
    }
    Ok(())
}

async fn take(app: &AppState, viewer: &Viewer, wanted: &Wanted) -> Result<i64, Refused> {
    let (endpoint, identity) = reachable(app, &wanted.target).await?;
    modes::available(&app.config(), &wanted.target, &wanted.scope, wanted.mode, &identity)?;
    let now = app.clock.now();
    let (pool, author, target, scope) = (app.pools.record.clone(), viewer.clone(), wanted.target.clone(), wanted.scope.to_string());
    let (kind, mode, pace) = (wanted.scope.kind(), wanted.mode, wanted.pace);
    let id = recorded(async move {
        let mut change = pool.begin().await?;
        flushes::lock_author(&mut change, author.user_id).await?;
        let hour = now - TimeDelta::hours(1);
        let plans = flushes::count_plans(&mut change, author.user_id, hour).await?;
        let starts = flushes::count_starts(&mut change, &target.name, hour, None).await?;
        if let Err(refused) = hourly(Some(plans), starts, &target, now) {
            change.rollback().await?;
            return Ok(Err(refused));
        }
        let new = NewFlush {
            target: &target.name,
            scope: &scope,
            scope_kind: kind,
            mode,
            pace,
            author_id: author.user_id,
            author: &author.email,
            author_role: author.role.as_str(),
            now,
        };
        let id = flushes::insert(&mut change, &new).await?;
        let Some(flush) = flushes::find(&mut change, id).await? else { return Err(sqlx::Error::RowNotFound) };
        let told = Told::of(Code::FlushRequested, author.actor(), &flush, flush.state)
            .with("scope_kind", kind.as_str())
            .with("window_s", json!(mode.window().map(Window::seconds)))
            .with("pace", pace.as_str());
        seal(change, true, &told).await?;
        Ok(Ok(flush))
    })
    .await??;
    let number = id.id;
    planning::begin(app, id, wanted.scope.clone(), wanted.target.clone(), endpoint);
    Ok(number)
}
