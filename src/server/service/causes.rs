//! What stands behind a prefix that is outside: since when, which deploy came before, which declared writes must invalidate it. And the marks
//! that charts carry.

use super::figures::{Breach, DeclaredWrite, LastInvalidation, Mark, MarkKind, Metric, Why};
use super::series::{Subject, Tracks, tracks};
use super::standing::{buckets_of, ceil, floor};
use crate::domain::event::tally::Tally;
use crate::domain::event::{ErrorClass, Method, NoteKind};
use crate::domain::figure::{Figure, miss_rate, stale_rate};
use crate::domain::metric::{Bucket, Rate, as_f64};
use crate::error::Error;
use crate::server::config::{Config, Prefix};
use crate::server::state::AppState;
use crate::server::store::events::lists::{self, Note};
use crate::server::store::events::rollups::{Segment, Tier};
use crate::server::store::events::{prefix_id, target_id};
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

/// How far back the begin of a breach is looked for, in five minutes and, where that is not enough, in hours.
const FINE: TimeDelta = TimeDelta::hours(24);
const COARSE: TimeDelta = TimeDelta::days(14);
/// How far back a deploy can be a cause.
const DEPLOYS: TimeDelta = TimeDelta::days(14);
/// Most marks of one page.
const MARKS: i64 = 200;
/// The latest mutations of a write whose invalidations are looked at.
const WRITES: i64 = 3;

/// Says since when breaches are over, without a break.
pub async fn find_since(
    conn: &mut PgConnection,
    config: &Config,
    now: DateTime<Utc>,
    rows: &mut [(Subject, Vec<Breach>)],
) -> Result<(), sqlx::Error> {
    for (tier, back) in [(Tier::FiveMinutes, FINE), (Tier::Hour, COARSE)] {
        let open = |breach: &Breach| breach.since.is_none() && breach.metric != Metric::Budget;
        let ids: Vec<i64> = rows.iter().filter(|(_, breaches)| breaches.iter().any(open)).map(|(subject, _)| subject.id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let length = tier.seconds();
        let segment = Segment { tier, from: floor(now - back, length), to: ceil(now, length) };
        let steps = usize::try_from((segment.to - segment.from).num_seconds() / length).unwrap_or(0);
        let read = tracks(&mut *conn, &ids, &[segment], segment.from, length).await?;
        for (subject, breaches) in rows.iter_mut() {
            let Some(track) = read.get(&subject.id) else { continue };
            let buckets = buckets_of(config.prefix(&subject.target, &subject.name));
            for breach in breaches.iter_mut().filter(|breach| open(breach)) {
                if let Some(step) = first_over(track, breach, steps, &buckets, tier) {
                    breach.since = Some(segment.from + TimeDelta::seconds(length * i64::try_from(step).unwrap_or(0)));
                }
            }
        }
    }
    Ok(())
}

/// The first step of the stretch that is over up to now. `None` where it reaches back to the first step with data, or never was.
fn first_over(track: &Tracks, breach: &Breach, steps: usize, buckets: &[Bucket], tier: Tier) -> Option<usize> {
    let figure = figure_of(breach.metric)?;
    let origin = track.origin(figure, buckets);
    // Five minutes hold few samples: judge three of them together, as the state does.
    let together = if tier == Tier::FiveMinutes { 3 } else { 1 };
    let mut first = None;
    let mut calm_before = false;
    for step in (0..steps).rev() {
        let mut window = Tally::default();
        for back in step.saturating_sub(together - 1)..=step {
            if let Some(tally) = track.step(origin, back) {
                window.merge(tally);
            }
        }
        match value(figure, &window, buckets) {
            Some(value) if value > breach.threshold => first = track.step(origin, step).map_or(first, |_| Some(step)),
            Some(_) if first.is_some() => {
                calm_before = true;
                break;
            }
            _ => {}
        }
    }
    // Nothing calm was seen: a coarser and longer look may tell.
    first.filter(|_| calm_before || tier == Tier::Hour || track.step(origin, 0).is_none())
}

fn figure_of(metric: Metric) -> Option<Figure> {
    match metric {
        Metric::StaleReads => Some(Figure::StaleReadRate),
        Metric::MissRate => Some(Figure::MissRate),
        Metric::RebuildP95 => Some(Figure::Rebuild(95)),
        Metric::InvalidationErrors => Some(Figure::InvalidationErrorRate),
        Metric::Budget => None,
    }
}

fn value(figure: Figure, tally: &Tally, buckets: &[Bucket]) -> Option<f64> {
    let rate = match figure {
        Figure::StaleReadRate => stale_rate(tally, buckets),
        Figure::MissRate => miss_rate(tally),
        Figure::InvalidationErrorRate => Rate::new(tally.invalidation_errors, tally.invalidations),
        _ => return tally.rebuild.quantile(0.95).map(|us| as_f64(us) / 1e3),
    };
    rate.value()
}

/// Annotations as marks: those of the whole target, and of the prefix if one is named.
pub fn marks(notes: &[Note], prefix: Option<i64>) -> Vec<Mark> {
    notes.iter().filter(|note| note.prefix_id.is_none() || prefix.is_none() || note.prefix_id == prefix).map(mark).collect()
}

fn mark(note: &Note) -> Mark {
    Mark {
        kind: match note.kind.and_then(NoteKind::from_code) {
            Some(NoteKind::Deploy) => MarkKind::Deploy,
            Some(NoteKind::Incident) => MarkKind::Incident,
            Some(NoteKind::Config) => MarkKind::Config,
            Some(NoteKind::Note) | None => MarkKind::Note,
        },
        at: note.at,
        label: note.text.clone().unwrap_or_default(),
        // A link from outside is opened by people: nothing but the web's own schemes.
        href: note.link.clone().filter(|link| link.starts_with("https://") || link.starts_with("http://")),
    }
}

/// Everything that happened in a span, oldest first: annotations, and flushes.
pub async fn happened(
    app: &AppState,
    notes: Vec<Mark>,
    target: Option<&str>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<Mark>, Error> {
    let mut marks: Vec<Mark> = notes.into_iter().filter(|mark| (from..to).contains(&mark.at)).collect();
    for flush in super::flush::list(app, target, Some(from), MARKS).await? {
        let began = !matches!(flush.state.as_str(), "planning" | "planned" | "plan_failed" | "expired");
        if began && flush.at < to {
            marks.push(Mark {
                kind: MarkKind::Flush,
                at: flush.at,
                label: format!("flush {}", flush.scope),
                href: Some(format!("/flush/{}", flush.id)),
            });
        }
    }
    marks.sort_by_key(|mark| mark.at);
    Ok(marks)
}

/// Annotations of targets since `from`, or since deploys can matter.
pub async fn notes(
    conn: &mut PgConnection,
    config: &Config,
    targets: &[&str],
    from: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Vec<Note>, sqlx::Error> {
    let ids: Vec<i64> =
        config.targets.iter().filter(|target| targets.contains(&target.name.as_str())).map(|target| target_id(&target.name)).collect();
    lists::list_notes(conn, &ids, from.min(now - DEPLOYS), now + TimeDelta::minutes(5), MARKS).await
}

/// The line under an outside row.
pub fn why(config: &Config, prefix: &Prefix, breaches: &[Breach], notes: &[Note], now: DateTime<Utc>) -> Why {
    let since = breaches.iter().filter_map(|breach| breach.since).min().unwrap_or(now);
    let id = prefix_id(&prefix.target, prefix.name());
    let deploy =
        marks(notes, Some(id)).into_iter().filter(|mark| mark.kind == MarkKind::Deploy && mark.at <= since + TimeDelta::minutes(5));
    Why { deploy: deploy.max_by_key(|mark| mark.at), writes: declared_writes(config, prefix), owner: prefix.owner.clone() }
}

/// The declared writes that must invalidate a prefix.
pub fn declared_writes(config: &Config, prefix: &Prefix) -> Vec<DeclaredWrite> {
    let contracts = config.contracts.iter().filter(|contract| contract.target == prefix.target);
    contracts
        .flat_map(|contract| {
            contract.affects.iter().filter(|edge| edge.prefix == prefix.name()).map(|edge| DeclaredWrite {
                endpoint: contract.write.clone(),
                how: edge.how.as_str().to_owned(),
                within_s: contract.within.as_secs_f64(),
                declared_at: config.declared_at(edge.line),
                last_write: None,
                last_invalidation: None,
            })
        })
        .collect()
}

/// Adds when each write was last seen and what its last invalidation of the prefix did.
pub async fn observe_writes(
    conn: &mut PgConnection,
    prefix: &Prefix,
    now: DateTime<Utc>,
    writes: &mut [DeclaredWrite],
) -> Result<(), sqlx::Error> {
    if writes.is_empty() {
        return Ok(());
    }
    let endpoints: Vec<String> = writes.iter().map(|write| write.endpoint.clone()).collect();
    let (from, to) = (now - DEPLOYS, now + TimeDelta::minutes(5));
    let seen = lists::list_writes(&mut *conn, target_id(&prefix.target), &endpoints, from, to, WRITES).await?;
    let caused = lists::list_caused(conn, &[prefix_id(&prefix.target, prefix.name())], &seen).await?;
    for write in writes {
        write.last_write = seen.iter().find(|one| one.endpoint == write.endpoint).map(|one| one.at);
        let last = caused.iter().find(|one| seen.iter().any(|by| by.endpoint == write.endpoint && by.mutation_id == one.mutation_id));
        write.last_invalidation = last.map(|last| LastInvalidation {
            at: last.at,
            ok: last.ok,
            method: last.method.and_then(Method::from_code).map_or("", Method::as_str).to_owned(),
            error_class: last.error_class.and_then(ErrorClass::from_code).map(|class| class.as_str().to_owned()),
        });
    }
    Ok(())
}
