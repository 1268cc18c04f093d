//! What stands behind a prefix that is outside: since when, which deploy came before, which declared writes must invalidate it. And the marks
//! that charts carry.

use super::cells::View;
use super::figures::{Breach, DeclaredWrite, LastInvalidation, Mark, MarkKind, Metric, Why};
use super::series::{Subject, Tracks, tracks};
use super::sight::Sight;
use super::standing::{buckets_of, ceil, floor};
use crate::domain::event::tally::Tally;
use crate::domain::event::{ErrorClass, Method, NoteKind, Origin};
use crate::domain::figure::{Figure, miss_rate, stale_rate};
use crate::domain::metric::{Bucket, Rate, as_f64};
use crate::error::Error;
use crate::server::config::{Config, Prefix};
use crate::server::state::AppState;
use crate::server::store::events::lists::{self, Note};
use crate::server::store::events::rollups::{self, Segment, Span, Tier};
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

/// Cells before the newest that may be calm although the last 15 minutes are over: what lies further back is another story.
const CALM_TAIL: usize = 3;

/// Says since when breaches are over, without a break: to the minute where minutes are kept, else about the cell in which it began.
pub async fn find_since(
    view: &View,
    conn: &mut PgConnection,
    config: &Config,
    now: DateTime<Utc>,
    rows: &mut [(Subject, Vec<Breach>)],
) -> Result<(), sqlx::Error> {
    let mut begun: Vec<Begun> = Vec::new();
    for (tier, back) in [(Tier::FiveMinutes, FINE), (Tier::Hour, COARSE)] {
        let open = |breach: &Breach| breach.since.is_none() && breach.metric != Metric::Budget;
        let ids: Vec<i64> = rows.iter().filter(|(_, breaches)| breaches.iter().any(open)).map(|(subject, _)| subject.id).collect();
        if ids.is_empty() {
            break;
        }
        let length = tier.seconds();
        let segment = Segment { tier, from: floor(now - back, length), to: ceil(now, length) };
        let steps = usize::try_from((segment.to - segment.from).num_seconds() / length).unwrap_or(0);
        let read = tracks(view, &mut *conn, &ids, &[segment], segment.from, length).await?;
        for (row, (subject, breaches)) in rows.iter_mut().enumerate() {
            let Some(track) = read.get(&subject.id) else { continue };
            let buckets = buckets_of(config.prefix(&subject.target, &subject.name));
            for (place, breach) in breaches.iter_mut().enumerate().filter(|(_, breach)| open(breach)) {
                let Some(figure) = figure_of(breach.metric) else { continue };
                let origin = track.origin(figure, &buckets);
                if let Some(step) = first_over(track, origin, figure, breach.threshold, steps, &buckets, tier) {
                    let at = |step: usize| segment.from + TimeDelta::seconds(length * i64::try_from(step).unwrap_or(0));
                    breach.since = Some(at(step));
                    breach.since_about = true;
                    // The cells before it have a part in its being over, or were just short of it.
                    let span = Span { prefix_id: subject.id, from: at(step.saturating_sub(TOGETHER - 1)), to: at(step + 1) };
                    begun.push(Begun { row, place, figure, origin, buckets: buckets.clone(), span });
                }
            }
        }
    }
    refine(conn, rows, &begun).await
}

/// The cell in which a breach began, to be looked at more closely.
struct Begun {
    row: usize,
    place: usize,
    figure: Figure,
    origin: Option<Origin>,
    buckets: Vec<Bucket>,
    span: Span,
}

/// Finds the minute in which each breach began, by one statement.
async fn refine(conn: &mut PgConnection, rows: &mut [(Subject, Vec<Breach>)], begun: &[Begun]) -> Result<(), sqlx::Error> {
    let spans: Vec<Span> = begun.iter().map(|begun| begun.span).collect();
    let mut minutes: Vec<Tracks> = vec![Tracks::default(); spans.len()];
    for (place, origin, minute, tally) in rollups::read_minutes(conn, &spans).await? {
        if let Some(track) = minutes.get_mut(place) {
            track.add(origin, minute, tally);
        }
    }
    for (begun, track) in begun.iter().zip(&minutes) {
        let breach = &mut rows[begun.row].1[begun.place];
        let count = usize::try_from((begun.span.to - begun.span.from).num_minutes()).unwrap_or(0);
        let tallies = (0..count).map(|minute| track.step(begun.origin, minute));
        if let Some(minute) = first_minute(tallies, begun.figure, breach.threshold, &begun.buckets) {
            breach.since = Some(begun.span.from + TimeDelta::minutes(i64::try_from(minute).unwrap_or(0)));
            breach.since_about = false;
        }
    }
    Ok(())
}

/// The minute from which on what is over outweighs what is not by most. It is over by itself; a single slow rebuild or stale sample amid calm
/// minutes before it does not outweigh them. `None` where no minute is over, or none is kept.
fn first_minute<'t>(
    minutes: impl DoubleEndedIterator<Item = Option<&'t Tally>> + ExactSizeIterator,
    figure: Figure,
    threshold: f64,
    buckets: &[Bucket],
) -> Option<usize> {
    let (mut sum, mut most, mut first) = (0.0, 0.0, None);
    for (minute, tally) in minutes.enumerate().rev() {
        let Some(tally) = tally else { continue };
        sum += excess(figure, tally, threshold, buckets);
        if sum > most {
            (most, first) = (sum, Some(minute));
        }
    }
    first
}

/// By how many events a span is over its threshold (or, below zero, under it).
fn excess(figure: Figure, tally: &Tally, threshold: f64, buckets: &[Bucket]) -> f64 {
    match rate(figure, tally, buckets) {
        Some(rate) => as_f64(rate.k) - threshold * as_f64(rate.n),
        None => match value(figure, tally, buckets) {
            Some(value) if value > threshold => as_f64(tally.rebuilds),
            Some(_) => -as_f64(tally.rebuilds),
            None => 0.0,
        },
    }
}

/// Five minutes hold few samples: three of them are judged together, as the state does.
const TOGETHER: usize = 3;

/// The first step of the stretch that is over up to now. `None` where that reaches back to the first step, or never was.
fn first_over(
    track: &Tracks,
    origin: Option<Origin>,
    figure: Figure,
    threshold: f64,
    steps: usize,
    buckets: &[Bucket],
    tier: Tier,
) -> Option<usize> {
    let together = if tier == Tier::FiveMinutes { TOGETHER } else { 1 };
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
            Some(value) if value > threshold => first = track.step(origin, step).map_or(first, |_| Some(step)),
            Some(_) if first.is_some() => {
                calm_before = true;
                break;
            }
            Some(_) if steps - step > CALM_TAIL => return None,
            _ => {}
        }
    }
    // Nothing calm was seen: a coarser and longer look may tell.
    first.filter(|_| calm_before || tier == Tier::Hour)
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

fn rate(figure: Figure, tally: &Tally, buckets: &[Bucket]) -> Option<Rate> {
    match figure {
        Figure::StaleReadRate => Some(stale_rate(tally, buckets)),
        Figure::MissRate => Some(miss_rate(tally)),
        Figure::InvalidationErrorRate => Some(Rate::new(tally.invalidation_errors, tally.invalidations)),
        _ => None,
    }
}

fn value(figure: Figure, tally: &Tally, buckets: &[Bucket]) -> Option<f64> {
    match rate(figure, tally, buckets) {
        Some(rate) => rate.value(),
        None => tally.rebuild.quantile(0.95).map(|us| as_f64(us) / 1e3),
    }
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
    sight: Sight,
) -> Result<Vec<Mark>, Error> {
    let config = app.config();
    let mut marks: Vec<Mark> = notes.into_iter().filter(|mark| (from..to).contains(&mark.at)).collect();
    for flush in super::flush::list(app, target, Some(from), MARKS).await? {
        let began = !matches!(flush.state.as_str(), "planning" | "planned" | "plan_failed" | "expired");
        if began && flush.at < to {
            marks.push(Mark {
                kind: MarkKind::Flush,
                at: flush.at,
                label: format!("flush {}", sight.scope(&config, &flush.target, &flush.scope)),
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
pub fn why(config: &Config, prefix: &Prefix, breaches: &[Breach], notes: &[Note]) -> Why {
    let since = breaches.iter().filter_map(|breach| breach.since).min();
    let marks = marks(notes, Some(prefix_id(&prefix.target, prefix.name())));
    Why { deploy: since.and_then(|since| last_deploy(&marks, since)), writes: declared_writes(config, prefix), owner: prefix.owner.clone() }
}

/// The last deploy at or before the minute in which something began. What came later cannot have caused it, and where the begin is known only
/// to the hour, none within that hour is blamed.
fn last_deploy(marks: &[Mark], since: DateTime<Utc>) -> Option<Mark> {
    let before = marks.iter().filter(|mark| mark.kind == MarkKind::Deploy && floor(mark.at, 60) <= since);
    before.max_by_key(|mark| mark.at).cloned()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Outcome;
    use crate::domain::event::tally::Measure;

    fn samples(stale: usize, n: usize) -> Tally {
        let mut tally = Tally::default();
        for place in 0..n {
            tally.record(0, &Measure::Stale { bucket: Bucket::B10, stale: place < stale, read_path: None });
        }
        tally
    }

    fn begin(minutes: &[Option<Tally>], threshold: f64) -> Option<usize> {
        first_minute(minutes.iter().map(Option::as_ref), Figure::StaleReadRate, threshold, &[Bucket::B10])
    }

    #[test]
    fn a_breach_begins_in_the_first_minute_that_is_over() {
        let calm = || Some(samples(0, 40));
        assert_eq!(begin(&[calm(), calm(), Some(samples(4, 40)), Some(samples(5, 40))], 0.01), Some(2));
        assert_eq!(begin(&[Some(samples(4, 40)), calm(), Some(samples(5, 40))], 0.01), Some(0), "one calm minute is no break");
        assert_eq!(begin(&[None, None, Some(samples(1, 2)), None], 0.01), Some(2), "minutes without samples say nothing");
    }

    #[test]
    fn a_lone_stale_sample_among_calm_minutes_is_not_the_begin() {
        let mut minutes = vec![Some(samples(1, 40))];
        minutes.extend((0..10).map(|_| Some(samples(0, 40))));
        minutes.push(Some(samples(6, 40)));
        assert_eq!(begin(&minutes, 0.01), Some(11));
    }

    #[test]
    fn nothing_over_or_nothing_kept_names_no_minute() {
        assert_eq!(begin(&[Some(samples(0, 40)), Some(samples(0, 40))], 0.01), None);
        assert_eq!(begin(&[None, None], 0.01), None);
        assert_eq!(begin(&[Some(samples(1, 100))], 0.01), None, "at its limit is not over it");
    }

    #[test]
    fn slow_rebuilds_begin_with_the_first_slow_minute() {
        let rebuilds = |ms: u64, n: usize| {
            let mut tally = Tally::default();
            for _ in 0..n {
                tally.record(0, &Measure::Rebuild { duration_us: ms * 1_000, outcome: Outcome::Ok });
            }
            tally
        };
        let minutes = [rebuilds(80, 20), rebuilds(900, 1), rebuilds(80, 20), rebuilds(700, 20), rebuilds(800, 20)];
        assert_eq!(first_minute(minutes.iter().map(Some), Figure::Rebuild(95), 400.0, &[]), Some(3));
    }

    #[test]
    fn five_minutes_that_were_over_long_ago_are_not_this_breach() {
        let mut track = Tracks::default();
        for step in 0..60 {
            track.add(Origin::App, step, samples(if (10..12).contains(&step) { 20 } else { 0 }, 40));
        }
        let first =
            |track: &Tracks| first_over(track, Some(Origin::App), Figure::StaleReadRate, 0.01, 60, &[Bucket::B10], Tier::FiveMinutes);
        assert_eq!(first(&track), None);
        track.add(Origin::App, 58, samples(30, 40));
        assert_eq!(first(&track), Some(58));
    }

    #[test]
    fn only_a_deploy_at_or_before_the_begin_is_named() {
        let at = |text: &str| -> DateTime<Utc> { text.parse().unwrap() };
        let mark = |kind, text: &str| Mark { kind, at: at(text), label: text.to_owned(), href: None };
        let marks = [
            mark(MarkKind::Deploy, "2026-11-19T08:00:00Z"),
            mark(MarkKind::Deploy, "2026-11-19T09:02:40Z"),
            mark(MarkKind::Config, "2026-11-19T09:01:00Z"),
            mark(MarkKind::Deploy, "2026-11-19T09:04:00Z"),
        ];
        let named = |since: &str| last_deploy(&marks, at(since)).map(|mark| mark.label);
        assert_eq!(named("2026-11-19T09:02:00Z").as_deref(), Some("2026-11-19T09:02:40Z"), "the same minute");
        assert_eq!(named("2026-11-19T09:01:00Z").as_deref(), Some("2026-11-19T08:00:00Z"));
        assert_eq!(named("2026-11-19T09:00:00Z").as_deref(), Some("2026-11-19T08:00:00Z"), "an hour's begin blames none of that hour");
        assert_eq!(named("2026-11-19T07:59:00Z"), None);
    }
}
