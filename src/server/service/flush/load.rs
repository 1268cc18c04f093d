//! The read models of the flush pages, from the store, from what runs in this process, and from the audit.

use super::can::can;
use super::facts::Facts;
use super::ledger::Ledger;
use super::modes::compared;
use super::pages::{
    Approval, AuditLine, Check, Confirmation, Decision, FlushLine, FlushPage, Happened, Plan, PlanNode, PlanPage, TargetChoice,
    TouchedPrefix, Weight,
};
use super::progress::{outcome, progress};
use super::record::in_time;
use super::sweep::expiry;
use super::verdict::{judged, judged_line};
use crate::domain::flush::{Mode, REASON_MIN, State, Window, done, load_per_s};
use crate::domain::number::count;
use crate::domain::operator::{Permission, Viewer};
use crate::domain::prefix::{Families, escape};
use crate::error::Error;
use crate::server::config::{Approvals, Config, Location};
use crate::server::service::sight::Sight;
use crate::server::state::AppState;
use crate::server::store::audit::{self, Filter};
use crate::server::store::flushes::{self, Flush, Judged};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::time::Duration;

/// Flushes on the list.
const LISTED: i64 = 50;
/// Audit rows of one flush that are shown.
const AUDITED: i64 = 400;
/// How long the store may take before what runs here is shown from memory.
const PATIENCE: Duration = Duration::from_secs(3);

/// What exactly was previewed.
pub(super) fn whole_digest(flush: &Flush) -> [u8; 32] {
    let mut hash = Sha256::new();
    let scanned = flush.scanned_at.map_or(0, |at| at.timestamp_micros());
    let mode = flush.mode.to_string();
    for part in [&flush.target, flush.run_id.as_deref().unwrap_or_default(), &flush.scope, flush.scope_kind.as_str(), &mode] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.update(flush.matched.unwrap_or(0).to_be_bytes());
    hash.update(scanned.to_be_bytes());
    hash.finalize().into()
}

/// First 12 digits of the plan's digest, for people.
pub(super) fn digest(flush: &Flush) -> String {
    hex(&whole_digest(flush)[..6])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What `/flush` shows.
pub async fn load_plan_page(app: &AppState, viewer: &Viewer) -> Result<PlanPage, Error> {
    let (app, viewer) = (app.clone(), viewer.clone());
    match in_time(PATIENCE, async move { plan_page(&app, &viewer).await }).await {
        Some(page) => Ok(page?),
        None => Err(Error::store(&sqlx::Error::PoolTimedOut)),
    }
}

async fn plan_page(app: &AppState, viewer: &Viewer) -> Result<PlanPage, sqlx::Error> {
    let (config, now, sight) = (app.config(), app.clock.now(), Sight::of(viewer));
    let mut conn = app.pools.control.acquire().await?;
    let recent = flushes::list_recent(&mut conn, None, None, LISTED).await?;
    let mut targets = Vec::with_capacity(config.targets.len());
    for target in &config.targets {
        let reach = app.flushes.monitor().of(&target.name);
        let starts = flushes::count_starts(&mut conn, &target.name, now - TimeDelta::hours(1), None).await?;
        targets.push(TargetChoice {
            name: target.name.clone(),
            kind: target.location.as_ref().map_or("standalone", Location::kind).to_owned(),
            keys: reach.keys,
            last_flush: recent
                .iter()
                .find(|flush| flush.target == target.name && flush.started_at.is_some())
                .and_then(|flush| flush.started_at),
            away_since: reach.away_since,
            protected: target.protected.iter().map(|protected| escape(protected)).collect(),
            max_keys: target.max_keys,
            approvals: if target.approvals == Approvals::Wide { "wide" } else { "never" }.to_owned(),
            flushes_this_hour: u32::try_from(starts.count).unwrap_or(u32::MAX),
            max_flushes_per_hour: target.max_flushes_per_hour,
            over_privileged: reach.over_privileged.unwrap_or(target.flush.is_none()),
        });
    }
    let cannot = if !viewer.may(Permission::Flush) {
        Some("Your role reads flushes; operators and admins plan them.".to_owned())
    } else if config.targets.is_empty() {
        Some("No target is configured yet. Declare one in the configuration file, as [[target]].".to_owned())
    } else {
        None
    };
    Ok(PlanPage {
        as_of: now,
        targets,
        templates: config.prefixes.iter().map(|prefix| prefix.name().to_owned()).collect(),
        flushes: recent
            .iter()
            .map(|flush| {
                let line = line(flush, now);
                FlushLine { scope: sight.scope(&config, &line.target, &line.scope), ..line }
            })
            .collect(),
        cannot,
    })
}

/// Flushes of one target or of all, newest first, with their scopes whole.
pub async fn list(app: &AppState, target: Option<&str>, since: Option<DateTime<Utc>>, limit: i64) -> Result<Vec<FlushLine>, Error> {
    let mut conn = app.pools.control.acquire().await?;
    let now = app.clock.now();
    Ok(flushes::list_recent(&mut conn, target, since, limit).await?.iter().map(|flush| line(flush, now)).collect())
}

fn line(flush: &Flush, now: DateTime<Utc>) -> FlushLine {
    FlushLine {
        id: flush.id.to_string(),
        at: flush.started_at.unwrap_or(flush.created_at),
        target: flush.target.clone(),
        scope: flush.scope.clone(),
        mode: flush.mode.as_str().to_owned(),
        state: state_at(flush, now).as_str().to_owned(),
        by: flush.author.clone(),
        reason: flush.reason.clone(),
        planned: flush.matched,
        removed: flush.removed,
        residue: flush.residue,
        wide: flush.is_wide(),
        break_glass: flush.break_glass_reason.is_some(),
        verdict: flush.verdict.map(|verdict| verdict.as_str().to_owned()),
    }
}

/// What waits past its time has expired, whether or not the sweep has said so already.
fn state_at(flush: &Flush, now: DateTime<Utc>) -> State {
    let over = |until: Option<DateTime<Utc>>| until.is_some_and(|until| now >= until);
    match flush.state {
        State::Planned if over(flush.expires_at) => State::Expired,
        State::AwaitingApproval if over(flush.approve_until) => State::Expired,
        State::Approved if over(flush.start_until) => State::Expired,
        state => state,
    }
}

/// What `/flush/{id}` shows.
pub async fn load(app: &AppState, viewer: &Viewer, id: &str) -> Result<FlushPage, Error> {
    let unknown = || Error::not_found(format!("flush {}", id.chars().take(40).collect::<String>()));
    let number: i64 = id.parse().map_err(|_| unknown())?;
    let here = app.flushes.running().get(&number).cloned();
    let pool = app.pools.control.clone();
    let stored = in_time(PATIENCE, async move {
        let mut conn = pool.acquire().await?;
        let Some(flush) = flushes::find(&mut conn, number).await? else { return Ok(None) };
        let told = told(&mut conn, &flush).await?;
        let history = flushes::list_judged(&mut conn, number).await?;
        Ok::<_, sqlx::Error>(Some((flush, told, history)))
    });
    let (flush, told, history) = match (stored.await, &here) {
        (Some(Ok(found)), _) => found.ok_or_else(unknown)?,
        // Postgres is away, the flush is not: its last known row, with the counts of this process
        (_, Some((_, flush))) => (Flush { state: State::Paused, ..flush.clone() }, Vec::new(), Vec::new()),
        (Some(Err(cause)), None) => return Err(cause.into()),
        (None, None) => return Err(Error::store(&sqlx::Error::PoolTimedOut)),
    };
    Ok(page(app, viewer, &flush, here.as_ref().map(|(ledger, started)| (&**ledger, started)), &told, &history))
}

/// The flush's own audit records, oldest first.
async fn told(conn: &mut sqlx::PgConnection, flush: &Flush) -> Result<Vec<(audit::Record, Value)>, sqlx::Error> {
    // Records carry the database's time, flushes ours: leave room.
    let filter = Filter {
        code: Some("flush.".to_owned()),
        target: Some(flush.target.clone()),
        scope: None,
        from: Some(flush.created_at - TimeDelta::minutes(2)),
        to: Some(flush.ended_at.unwrap_or(flush.state_at) + TimeDelta::hours(2)),
        ..Filter::default()
    };
    let records = audit::list_after(conn, &filter, 0, AUDITED).await?;
    let bodies = records.into_iter().filter_map(|record| {
        let body: Value = serde_json::from_slice(&record.canonical).ok()?;
        (body.get("flush").and_then(Value::as_i64) == Some(flush.id)).then_some((record, body))
    });
    Ok(bodies.collect())
}

/// A flush's books where it runs in this process, and the flush as it started there.
pub(super) type Here<'a> = Option<(&'a Ledger, &'a Flush)>;

fn page(app: &AppState, viewer: &Viewer, flush: &Flush, here: Here<'_>, told: &[(audit::Record, Value)], history: &[Judged]) -> FlushPage {
    let (config, now) = (app.config(), app.clock.now());
    let state = match (state_at(flush, now), here) {
        (State::Running, Some((ledger, _))) if ledger.is_paused() => State::Paused,
        (state, _) => state,
    };
    let facts = Facts::read(flush.plan.as_deref());
    let happened = told
        .iter()
        .filter(|(record, _)| !matches!(record.code.as_str(), "flush.progress" | "flush.refused"))
        .map(|(record, body)| Happened { at: record.at, what: words(&record.code, body) });
    FlushPage {
        id: flush.id.to_string(),
        as_of: now,
        version: flush.version.cast_unsigned(),
        state: state.as_str().to_owned(),
        target: flush.target.clone(),
        scope: Sight::of(viewer).scope(&config, &flush.target, &flush.scope),
        scope_kind: flush.scope_kind.as_str().to_owned(),
        mode: flush.mode.as_str().to_owned(),
        window_s: flush.mode.window().map(Window::seconds),
        pace: flush.pace.as_str().to_owned(),
        author: flush.author.clone(),
        asked_at: flush.created_at,
        mine: flush.author_id == viewer.user_id,
        can: can(&config, viewer, flush, state, now),
        cause: flush.cause_detail.clone().or_else(|| {
            let over = (state == State::Expired).then(|| expiry(flush.state)).flatten();
            over.map(|(_, sentence)| sentence.to_owned())
        }),
        plan: flush.matched.map(|matched| plan(&config, viewer, flush, &facts, matched)),
        confirmation: flush.confirmed_at.zip(flush.reason.clone()).map(|(at, reason)| Confirmation {
            by: flush.author.clone(),
            at,
            reason,
            incident: flush.incident.clone(),
        }),
        approval: approval(flush),
        progress: progress(flush, state, here),
        outcome: outcome(flush, state),
        verdict: judged(flush),
        judged: history.iter().map(judged_line).collect(),
        timeline: happened.collect(),
        audit: told
            .iter()
            .map(|(record, body)| AuditLine {
                seq: record.seq,
                hash: hex(&record.hash),
                at: record.at,
                code: record.code.clone(),
                what: words(&record.code, body),
            })
            .collect(),
        anchored: crate::server::service::audit::last_anchor(&config.data_dir),
    }
}

/// A record of a flush in a few words.
fn words(code: &str, body: &Value) -> String {
    let raw = |field: &str| body.get(field).and_then(Value::as_u64).unwrap_or(0);
    let number = |field: &str| count(raw(field));
    let text = |field: &str| body.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let done = done(&text("mode"));
    match code {
        "flush.requested" => format!("plan asked for by {}", text("actor")),
        "flush.planned" => format!("planned, {} keys", number("count")),
        "flush.plan_failed" => format!("planning failed: {}", text("cause")),
        "flush.expired" => match text("cause").as_str() {
            "approval_expired" => "nobody decided in time: the request expired".to_owned(),
            "start_expired" => "not started in time: the approval expired".to_owned(),
            _ => "the plan expired".to_owned(),
        },
        "flush.confirmed" => format!("confirmed by {}: “{}”", text("actor"), text("reason")),
        "flush.drifted" => format!("counted again: {} keys, far above the plan; to be confirmed again", number("count")),
        "flush.approved" => format!("approved by {}", text("actor")),
        "flush.rejected" if text("reason").is_empty() => format!("rejected by {}", text("actor")),
        "flush.rejected" => format!("rejected by {}: “{}”", text("actor"), text("reason")),
        "flush.break_glass" => format!("glass broken by {} alone: “{}”", text("actor"), text("reason")),
        "flush.starting" => format!("start pressed by {}", text("actor")),
        "flush.resumed" => {
            format!(
                "resumed by {} (run {}), {} {done} before, at most {} more",
                text("actor"),
                number("lease_epoch"),
                number("removed_at_least"),
                number("left")
            )
        }
        "flush.started" => "work began".to_owned(),
        "flush.progress" => format!(
            "{} {done}, {} {}, {} failed",
            number("removed"),
            number("gone"),
            if text("mode") == "soft" { "sooner anyway" } else { "already gone" },
            number("failed")
        ),
        "flush.verifying" => format!("all dealt with, {} {done}; verifying", number("removed")),
        "flush.cancelled" => format!("cancelled, {} {done}", number("removed")),
        "flush.failed" => format!("failed ({}), {} {done}", text("cause"), number("removed")),
        "flush.interrupted" if body.get("removed_at_least").is_some() => {
            let least = raw("removed_at_least");
            format!("interrupted, {} to {} {done}", count(least), count(least + raw("granted")))
        }
        "flush.interrupted" => format!("interrupted, {} {done}", number("removed")),
        "flush.finished" => format!("{}, {} {done}", text("state").replace('_', " "), number("removed")),
        "flush.verdict" => format!("verdict at +{} min: {}", raw("after_min"), text("verdict").replace('_', " ")),
        "flush.refused" => format!("refused ({}): {}", text("code"), text("actor")),
        other => other.to_owned(),
    }
}

fn approval(flush: &Flush) -> Option<Approval> {
    Some(Approval {
        hash: flush.scope_hash?.to_string(),
        approve_until: flush.approve_until?,
        start_until: flush.start_until,
        cap: flush.cap.unwrap_or(0),
        decision: flush.decision.as_ref().map(|decision| Decision {
            approved: decision.approved,
            by: decision.by.clone(),
            at: decision.at,
            reason: decision.reason.clone(),
        }),
        break_glass: flush.break_glass_reason.clone(),
    })
}

fn plan(config: &Config, viewer: &Viewer, flush: &Flush, facts: &Facts, matched: u64) -> Plan {
    let tier = |name: &str| config.prefix(&flush.target, name).map(|prefix| prefix.tier.as_str().to_owned());
    Plan {
        scanned_at: flush.scanned_at.unwrap_or(flush.created_at),
        expires_at: flush.expires_at.unwrap_or(flush.created_at),
        matched,
        at_least: flush.at_least,
        versioned: flush.versioned.unwrap_or(0),
        keyspace: flush.keyspace.unwrap_or(0),
        memory_bytes: facts.memory_bytes,
        ttl: facts.ttl.clone(),
        ttl_sample: facts.ttl_sample,
        samples: samples(config, viewer, flush),
        samples_purged: flush.samples_purged,
        nodes: facts
            .nodes
            .iter()
            .map(|node| PlanNode { address: node.address.clone(), run_id: node.run_id.clone(), keys: node.keys, matched: node.matched })
            .collect(),
        prefixes: facts
            .prefixes
            .iter()
            .map(|(name, keys)| TouchedPrefix {
                name: if name.is_empty() { "unclassified".to_owned() } else { name.clone() },
                tier: tier(name),
                keys: *keys,
            })
            .collect(),
        estimated_ms: facts.estimated_ms,
        rebuild_peak_per_s: facts.rebuild_peak_per_s,
        bystander_ms: facts.bystander_ms,
        generation_key: facts.generation_key.clone(),
        modes: compared(flush, facts, matched),
        wide: flush.is_wide(),
        wide_because: flush.wide.iter().map(|reason| reason.sentence().to_owned()).collect(),
        checks: checks(config, flush, facts),
        digest: digest(flush),
        run_id: flush.run_id.clone(),
    }
}

/// Keys of the sample as this person may see them.
fn samples(config: &Config, viewer: &Viewer, flush: &Flush) -> Vec<String> {
    let registered: Vec<_> = config.prefixes_of(&flush.target).collect();
    let families = Families::new(registered.iter().map(|prefix| prefix.template.clone()).collect());
    let sight = Sight::of(viewer);
    let shown = flush.sample_keys.iter().filter_map(|key| {
        let prefix = families.classify(key).and_then(|at| registered.get(at));
        sight.key(key, prefix.copied())
    });
    shown.collect()
}

fn checks(config: &Config, flush: &Flush, facts: &Facts) -> Vec<Check> {
    let check = |weight, text: String, note: String| Check { weight, text, note };
    let mut checks = vec![match facts.stale_lately {
        Some((0, n)) if n > 0 => check(
            Weight::Good,
            "The writer seems mended: no stale read of this scope in the 15 minutes before.".to_owned(),
            format!("0 of {}", count(n)),
        ),
        Some((k, n)) if k > 0 => check(
            Weight::Warn,
            "The writer is not mended: old values will come back as fast as they do now. Mend or roll back first if you can.".to_owned(),
            format!("{} of {} stale", count(k), count(n)),
        ),
        Some(_) => check(
            Weight::Unknown,
            "Nobody knows whether the writer is mended: no stale-read samples of this scope lately.".to_owned(),
            String::new(),
        ),
        None => check(Weight::Unknown, "Events did not answer, so nobody knows whether the writer is mended.".to_owned(), String::new()),
    }];
    if let Some(before) = facts.drifted_from {
        checks.push(check(
            Weight::Warn,
            "The count at the start was far above the plan, so nothing was removed. Confirm the new count, or drop it.".to_owned(),
            format!("{} → {}", count(before), count(flush.matched.unwrap_or(0))),
        ));
    }
    if let Some(load) = load_per_s(flush.mode, flush.matched.unwrap_or(0), facts.rebuild_load_per_s) {
        let heavy = facts.rebuild_peak_per_s.is_some_and(|peak| load > peak);
        let text = match flush.mode {
            Mode::Soft(_) => "Rebuilds while the keys expire: spread over the window.",
            Mode::Flush | Mode::Version => "Rebuilds at first: at most as many as there are reads now.",
        };
        let text = text.to_owned();
        let note = facts.rebuild_peak_per_s.map_or_else(|| format!("{load:.1}/s"), |peak| format!("{load:.1}/s, day's peak {peak:.1}/s"));
        checks.push(check(if heavy { Weight::Warn } else { Weight::Good }, text, note));
    }
    let target = config.target(&flush.target);
    let protected = target.map_or(0, |target| target.protected.len());
    checks.push(check(Weight::Good, "Nothing protected can be reached.".to_owned(), format!("{protected} protected")));
    if flush.is_wide() {
        let because: Vec<&str> = flush.wide.iter().map(|reason| reason.sentence()).collect();
        checks.push(check(Weight::Warn, format!("This flush is wide: {}.", because.join("; ")), "marked in the audit".to_owned()));
    }
    match &facts.over_privileged {
        Some(line) => checks.push(check(
            Weight::Warn,
            format!("The flush identity is over-privileged. This mends it: {line}"),
            "over-privileged".to_owned(),
        )),
        None => checks.push(check(
            Weight::Good,
            "The flush identity has no right it does not need.".to_owned(),
            "self-check refused".to_owned(),
        )),
    }
    checks.push(check(
        Weight::Good,
        format!("A reason of at least {REASON_MIN} characters and the plan's target, scope and count, typed, are needed."),
        String::new(),
    ));
    checks
}
