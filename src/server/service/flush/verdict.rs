//! The read models of a flush's judgements: the latest with its figures and its chart, and all of them in short.

use super::judge::Judgement;
use super::pages::{JudgedLine, Price, Unit, Verdict};
use crate::server::service::figures::{MetricChart, Point, RateFigure, Series};
use crate::server::store::flushes::{Flush, Judged};
use chrono::DateTime;

fn rate((k, n): (u64, u64)) -> RateFigure {
    RateFigure { k, n, interval: crate::domain::metric::wilson(k, n).map(|ends| (ends.low, ends.high)) }
}

/// Stale reads by the minute around the flush; minutes without a sample are gaps.
fn chart(found: &Judgement) -> Option<MetricChart> {
    let from = DateTime::from_timestamp(found.before_from.timestamp().div_euclid(60) * 60, 0)?;
    let point = |of: (u64, u64)| {
        let figure = rate(of);
        Point { value: figure.value(), n: figure.n, low: figure.interval.map(|ends| ends.0), high: figure.interval.map(|ends| ends.1) }
    };
    let total = found.minutes.iter().fold((0, 0), |sum, minute| (sum.0 + minute.0, sum.1 + minute.1));
    (total.1 > 0).then(|| MetricChart {
        origin: None,
        series: Series { from, step_s: 60, points: found.minutes.iter().copied().map(point).collect() },
        total: point(total),
        threshold: found.threshold,
    })
}

pub(super) fn judged_line(judged: &Judged) -> JudgedLine {
    let found: Judgement = serde_json::from_str(&judged.judgement).unwrap_or_default();
    JudgedLine {
        after_min: judged.after_min.unsigned_abs(),
        at: judged.judged_at,
        verdict: judged.verdict.clone(),
        after: rate(found.after),
    }
}

pub(super) fn judged(flush: &Flush) -> Option<Verdict> {
    let verdict = flush.verdict?;
    let found: Judgement = flush.judgement.as_deref().and_then(|text| serde_json::from_str(text).ok())?;
    let price = |what: &str, unit, before, after, limit| Price { what: what.to_owned(), unit, before, after, limit, back_after_min: None };
    let rebuild = price(
        "Rebuild p95",
        Unit::Milliseconds,
        found.price_before.rebuild_p95_ms,
        found.price_after.rebuild_p95_ms,
        found.rebuild_limit_ms,
    );
    let (before, after) = (found.price_before, found.price_after);
    Some(Verdict {
        verdict: verdict.as_str().to_owned(),
        judged_at: found.judged_at,
        after_min: found.after_min,
        next_at: flush.verdict_due,
        delay_s: found.fresh_within_s,
        before: rate(found.before),
        after: rate(found.after),
        threshold: found.threshold,
        price: vec![
            price("Misses", Unit::PerMinute, before.misses_per_min, after.misses_per_min, None),
            Price { back_after_min: found.rebuild_back_after_min, ..rebuild },
            price("Cost", Unit::Cost, before.cost, after.cost, None),
        ],
        chart: chart(&found),
        before_from: found.before_from,
        before_to: found.before_to,
        after_from: found.after_from,
        after_to: found.after_to,
    })
}
