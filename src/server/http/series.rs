//! `GET /api/v1/series`: one figure of one prefix over time.

use crate::domain::event::Origin;
use crate::domain::figure::{Figure, Value};
use crate::domain::metric::Bucket;
use crate::error::Error;
use crate::server::auth::problem;
use crate::server::service::series::{self, Query, Series};
use crate::server::state::AppState;
use crate::server::store::events::rollups::Tier;
use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::Serialize;
use std::collections::BTreeMap;

/// One figure over time.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Answer {
    pub prefix: String,
    pub target: String,
    pub metric: &'static str,
    /// Who measured: `app`, `stream`, `otlp`, `probe` or `keyspace`; null where there is no data.
    pub origin: Option<&'static str>,
    /// `count`, `ratio`, `ms`, or `s/min` (rebuild-seconds per minute).
    pub unit: &'static str,
    pub from: String,
    pub to: String,
    pub step_s: i64,
    pub points: Vec<Point>,
    pub total: Total,
    pub gaps: Vec<Gap>,
}

/// One step, which begins at `t`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Point {
    pub t: String,
    /// Null where nothing is known, which is not zero.
    pub value: Option<f64>,
    /// The denominator of a rate; the number of rebuilds of latencies and cost; the count itself of a count.
    pub n: u64,
}

/// The figure over the whole range.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Total {
    pub value: Option<f64>,
    pub n: u64,
    /// Low end of a rate's 95 % Wilson interval.
    pub low: Option<f64>,
    /// High end of it.
    pub high: Option<f64>,
}

/// A span in which events may be missing.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Gap {
    pub from: String,
    pub to: String,
    pub why: String,
}

/// One figure of one prefix over time.
#[utoipa::path(
    get, path = "/api/v1/series", tag = "figures",
    params(
        ("prefix" = String, Query, description = "A registered template, `unclassified` or `overflow`"),
        ("metric" = String, Query, description = "hits misses miss_rate stale_served access_errors rebuilds rebuild_p50 rebuild_p95 rebuild_p99 refill_gap_p50 refill_gap_p95 refill_gap_p99 cost invalidations invalidation_errors invalidation_error_rate stale_read_rate"),
        ("target" = Option<String>, Query, description = "Needed where several targets have that prefix"),
        ("origin" = Option<String>, Query, description = "app, stream, otlp, probe or keyspace; else the first with data"),
        ("from" = Option<String>, Query, description = "RFC 3339, or relative to now such as -24h (the default)"),
        ("to" = Option<String>, Query, description = "RFC 3339, relative, or now (the default)"),
        ("step" = Option<String>, Query, description = "1m, 5m, 1h or 1d; else by the length of the range"),
        ("delay_ms" = Option<String>, Query, description = "For stale_read_rate: 0, 1000, 10000, 60000, 300000 or unknown; else all that speak about the objective"),
    ),
    responses(
        (status = 200, body = Answer), (status = 400, description = "Unknown metric, step, range, or a target is needed."),
        (status = 401, description = "No valid token."), (status = 404, description = "Unknown prefix or target."),
        (status = 503, description = "Postgres does not answer."),
    ),
    security(("read" = []))
)]
pub async fn show(State(app): State<AppState>, RawQuery(query): RawQuery) -> Response {
    let asked = async {
        let query = parse(&app, query.as_deref().unwrap_or_default())?;
        let series = series::load(&app, &query).await?;
        Ok::<_, Error>(answer(&query, series))
    };
    match asked.await {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => problem(&error),
    }
}

fn answer(query: &Query, series: Series) -> Answer {
    let Series { steps, line, gaps } = series;
    let points = line.points.iter().enumerate().map(|(step, point)| Point { t: written(steps.at(step)), value: point.value, n: point.n });
    let Value { value, n, low, high } = line.total;
    Answer {
        prefix: query.subject.name.clone(),
        target: query.subject.target.clone(),
        metric: query.figure.as_str(),
        origin: line.origin.map(Origin::as_str),
        unit: query.figure.unit(),
        from: written(steps.from),
        to: written(steps.to()),
        step_s: steps.step_s,
        points: points.collect(),
        total: Total { value, n, low, high },
        gaps: gaps.into_iter().map(|gap| Gap { from: written(gap.from), to: written(gap.to), why: gap.why }).collect(),
    }
}

fn written(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn wrong(code: &'static str, detail: String) -> Error {
    Error::new(StatusCode::BAD_REQUEST, code, detail)
}

fn parse(app: &AppState, query: &str) -> Result<Query, Error> {
    let fields: BTreeMap<_, _> = form_urlencoded::parse(query.as_bytes()).collect();
    let given = |name: &str| fields.get(name).map(|value| &**value).filter(|value| !value.is_empty());
    let needed = |name: &str| given(name).ok_or_else(|| wrong("missing", format!("`{name}=` is missing.")));
    let now = app.clock.now();
    let metric = needed("metric")?;
    let figure = Figure::parse(metric).ok_or_else(|| {
        let names: Vec<&str> = Figure::ALL.iter().map(|(name, _)| *name).collect();
        wrong("unknown_metric", format!("`metric` is not one of {}.", names.join(", ")))
    })?;
    let origin = given("origin")
        .map(|name| Origin::parse(name).ok_or_else(|| wrong("unknown_origin", format!("`origin` is not one of {}.", Origin::listed()))))
        .transpose()?;
    let tier = given("step").map(|step| match step {
        "1m" => Ok(Tier::Minute),
        "5m" => Ok(Tier::FiveMinutes),
        "1h" => Ok(Tier::Hour),
        "1d" => Ok(Tier::Day),
        _ => Err(wrong("unknown_step", "`step` is not one of 1m, 5m, 1h, 1d.".to_owned())),
    });
    let bucket = given("delay_ms").map(|delay| match delay {
        "0" => Ok(Bucket::B0),
        "1000" => Ok(Bucket::B1),
        "10000" => Ok(Bucket::B10),
        "60000" => Ok(Bucket::B60),
        "300000" => Ok(Bucket::B300),
        "unknown" => Ok(Bucket::Unknown),
        _ => Err(wrong("unknown_delay", "`delay_ms` is not one of 0, 1000, 10000, 60000, 300000, unknown.".to_owned())),
    });
    Ok(Query {
        figure,
        origin,
        from: instant(given("from").unwrap_or("-24h"), "from", now)?,
        to: instant(given("to").unwrap_or("now"), "to", now)?,
        tier: tier.transpose()?,
        bucket: bucket.transpose()?,
        subject: series::find_subject(&app.config(), needed("prefix")?, given("target"))?,
    })
}

/// RFC 3339, `now`, or so long before now: `-90m`, `-24h`, `-7d`.
fn instant(text: &str, name: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
    let relative = || -> Option<DateTime<Utc>> {
        let text = text.strip_prefix("now").unwrap_or(text);
        if text.is_empty() {
            return Some(now);
        }
        let (number, unit) = text.strip_prefix('-')?.split_at_checked(text.len().checked_sub(2)?)?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            "w" => 604_800,
            _ => return None,
        };
        let number: i64 = number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse().ok())??;
        now.checked_sub_signed(TimeDelta::try_seconds(number.checked_mul(seconds)?)?)
    };
    // The `+` of a zone becomes a space where it was not encoded.
    let absolute = || DateTime::parse_from_rfc3339(&text.replace(' ', "+")).ok().map(|at| at.with_timezone(&Utc));
    // What can be asked for is what a chart can be reckoned with: years with four digits.
    let sane = |at: &DateTime<Utc>| (0..=253_402_300_799).contains(&at.timestamp());
    relative().or_else(absolute).filter(sane).ok_or_else(|| {
        wrong(
            "range",
            format!("`{name}` must be an RFC 3339 instant such as 2026-11-23T03:14:20Z, `now`, or relative such as -24h or -7d."),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_absolute_or_relative() {
        let now: DateTime<Utc> = "2026-11-23T03:14:20Z".parse().expect("an instant");
        let at = |text| instant(text, "from", now).map(written).ok();
        assert_eq!(at("now").as_deref(), Some("2026-11-23T03:14:20Z"));
        assert_eq!(at("-24h").as_deref(), Some("2026-11-22T03:14:20Z"));
        assert_eq!(at("now-90m").as_deref(), Some("2026-11-23T01:44:20Z"));
        assert_eq!(at("2026-11-23T04:00:00 01:00").as_deref(), Some("2026-11-23T03:00:00Z"));
        for bad in ["", "-", "-h", "24h", "-24", "-+1h", "-9999999999999d", "2026-11-23", "-24x", "tomorrow", "-é"] {
            assert_eq!(at(bad), (bad.is_empty()).then(|| written(now)), "{bad}");
        }
    }
}
