//! What `/metrics` shows: prefixes outside, ingest, flushes, the audit's anchor.

use super::series::subjects;
use super::standing;
use crate::domain::policy::Measure;
use crate::server::service::audit::checkpoints;
use crate::server::state::AppState;
use crate::server::store::events::quality;
use crate::server::store::flushes;
use chrono::TimeDelta;
use std::collections::BTreeMap;

/// Readings of one name.
#[derive(Clone, Debug)]
pub struct Family {
    pub name: &'static str,
    pub help: &'static str,
    /// `gauge` or `counter`.
    pub kind: &'static str,
    pub readings: Vec<Reading>,
}

#[derive(Clone, Debug)]
pub struct Reading {
    pub labels: Vec<(&'static str, String)>,
    pub value: f64,
}

/// What can be outside, by the name of the metric of `GET /api/v1/series`.
const WATCHED: [(Measure, &str); 4] = [
    (Measure::StaleReadRate, "stale_read_rate"),
    (Measure::InvalidationErrorRate, "invalidation_error_rate"),
    (Measure::RebuildP95, "rebuild_p95"),
    (Measure::MissRate, "miss_rate"),
];
/// A source that sent nothing for this long says nothing about the lag.
const LIVELY: TimeDelta = TimeDelta::minutes(5);
/// Flushes of this span are counted by state.
const FLUSHES: TimeDelta = TimeDelta::days(1);

pub async fn load(app: &AppState) -> Result<Vec<Family>, sqlx::Error> {
    let (config, now) = (app.config(), app.clock.now());
    let view = app.cells.view(app).await?;
    let mut conn = app.pools.events_read.acquire().await?;
    let stands = standing::list(&view, &mut conn, &config, now, &subjects(&config)).await?;
    let mut outside = Vec::new();
    for stand in &stands {
        let Some(assessment) = &stand.assessment else { continue };
        for (measure, name) in WATCHED {
            let is_outside = assessment.findings.iter().any(|finding| finding.measure == measure && finding.outside);
            outside.push(Reading {
                labels: vec![("target", stand.subject.target.clone()), ("prefix", stand.subject.name.clone()), ("metric", name.to_owned())],
                value: f64::from(u8::from(is_outside)),
            });
        }
    }
    let plain = |value: f64| vec![Reading { labels: vec![], value }];
    let gauge = |name, help, readings| Family { name, help, kind: "gauge", readings };
    let mut families =
        vec![gauge("stalewatch_prefix_outside", "Whether a registered prefix is outside its threshold, from its last 15 minutes", outside)];
    let lags = quality::list_sources(&mut conn).await?.into_iter().filter(|source| now - source.last_seen_at < LIVELY);
    let lags = lags.map(|source| Reading { labels: vec![("source", source.name)], value: seconds(TimeDelta::milliseconds(source.lag_ms)) });
    families.push(gauge("stalewatch_ingest_lag_seconds", "How far the newest event of a source lay behind its arrival", lags.collect()));
    let away = app.ingest.standing().away_since().map_or(0.0, |since| seconds(now - since));
    families.push(gauge("stalewatch_ingest_away_seconds", "Since when Postgres takes no events; 0 while it does", plain(away)));
    let mut control = app.pools.control.acquire().await?;
    let mut states: BTreeMap<String, u32> = BTreeMap::new();
    for flush in flushes::list_recent(&mut control, None, Some(now - FLUSHES), 1_000).await? {
        *states.entry(flush.state.as_str().to_owned()).or_default() += 1;
    }
    let states = states.into_iter().map(|(state, count)| Reading { labels: vec![("state", state)], value: f64::from(count) });
    families.push(gauge("stalewatch_flushes", "Flushes of the last 24 hours by state", states.collect()));
    if let Some(whole) = app.anchoring.is_whole() {
        let help = "Whether the last verification found the audit chain whole";
        families.push(gauge("stalewatch_audit_whole", help, plain(if whole { 1.0 } else { 0.0 })));
    }
    let data_dir = config.data_dir.clone();
    let anchored = tokio::task::spawn_blocking(move || checkpoints::last(&data_dir)).await.ok().flatten();
    if let Some(anchored) = anchored {
        families.push(gauge(
            "stalewatch_audit_anchor_age_seconds",
            "Age of the last checkpoint of the audit chain",
            plain(seconds(now - anchored.at)),
        ));
        #[expect(clippy::cast_precision_loss, reason = "no chain is that long")]
        families.push(gauge("stalewatch_audit_anchored_seq", "Last anchored number of the audit chain", plain(anchored.seq as f64)));
    }
    Ok(families)
}

#[expect(clippy::cast_precision_loss, reason = "spans are years at most")]
fn seconds(span: TimeDelta) -> f64 {
    span.num_milliseconds() as f64 / 1e3
}
