//! A flush as evidence: what was asked for and by whom, how things were, what was changed, how things are since, and where it is on record. From the
//! read model that the page draws, so that both say the same.

use super::pages::{FlushPage, Unit};
use crate::domain::number::count;
use crate::server::service::figures::RateFigure;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use std::fmt::Write as _;

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Text in a table's cell.
fn text(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], " ")
}

fn code(text: &str) -> String {
    format!("`{}`", text.replace('`', "'").replace('|', "\\|").replace(['\n', '\r'], " "))
}

fn rate(of: RateFigure) -> String {
    match (of.value(), of.interval) {
        (Some(value), Some((low, high))) => {
            format!("{} of {} stale, {:.2} % ({:.2}–{:.2} %)", count(of.k), count(of.n), value * 100.0, low * 100.0, high * 100.0)
        }
        _ => "no sample".to_owned(),
    }
}

fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// The evidence block as Markdown.
pub fn markdown(flush: &FlushPage) -> String {
    let mut out = format!("# Flush {} on {}: {}\n", flush.id, text(&flush.target), words(&flush.state));
    table(&mut out, "Request signature", &request(flush));
    table(&mut out, "Baseline signal", &baseline(flush));
    table(&mut out, "Change applied", &change(flush));
    validation(&mut out, flush);
    before_after(&mut out, flush);
    audit(&mut out, flush);
    out
}

/// Names and values; an empty value says nothing and is left out.
fn table(out: &mut String, head: &str, rows: &[(&str, String)]) {
    let _ = write!(out, "\n## {head}\n\n| | |\n|---|---|\n");
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(out, "| {name} | {value} |");
    }
}

fn request(flush: &FlushPage) -> Vec<(&'static str, String)> {
    let (plan, confirmation, approval) = (flush.plan.as_ref(), flush.confirmation.as_ref(), flush.approval.as_ref());
    let decision = approval.and_then(|approval| approval.decision.as_ref());
    let window = flush.window_s.map_or_else(String::new, |seconds| format!(" within {} s", count(seconds.into())));
    vec![
        ("Scope", format!("{} ({})", code(&flush.scope), flush.scope_kind)),
        ("Mode and pace", format!("{}{window}, {}", flush.mode, flush.pace)),
        ("Planned by", format!("{}, {}", text(&flush.author), instant(flush.asked_at))),
        (
            "Keys planned",
            plan.map_or_else(String::new, |plan| format!("{}{}", if plan.at_least { "at least " } else { "" }, count(plan.matched))),
        ),
        ("Plan", plan.map_or_else(String::new, |plan| code(&plan.digest))),
        ("Servers", plan.and_then(|plan| plan.run_id.as_deref()).map_or_else(String::new, code)),
        ("Confirmed by", confirmation.map_or_else(String::new, |by| format!("{}, {}", text(&by.by), instant(by.at)))),
        ("Reason", confirmation.map_or_else(String::new, |by| text(&by.reason))),
        ("Incident", confirmation.and_then(|by| by.incident.as_deref()).map_or_else(String::new, text)),
        ("Wide", plan.map_or_else(String::new, |plan| text(&plan.wide_because.join("; ")))),
        (
            "Decision",
            decision.map_or_else(String::new, |said| {
                format!("{} by {}, {}", if said.approved { "approved" } else { "rejected" }, text(&said.by), instant(said.at))
            }),
        ),
        ("Break-glass", approval.and_then(|approval| approval.break_glass.as_deref()).map_or_else(String::new, text)),
        ("Approved hash", approval.map_or_else(String::new, |approval| code(&approval.hash))),
        ("Cap", approval.map_or_else(String::new, |approval| format!("{} keys", count(approval.cap)))),
    ]
}

fn baseline(flush: &FlushPage) -> Vec<(&'static str, String)> {
    let verdict = flush.verdict.as_ref();
    let delay =
        verdict.and_then(|verdict| verdict.delay_s).map_or_else(String::new, |delay| format!("{delay} s after the write and later"));
    vec![
        ("Stale reads", verdict.map_or_else(|| "not judged yet".to_owned(), |verdict| rate(verdict.before))),
        ("Samples", delay),
        (
            "From, to",
            verdict.map_or_else(String::new, |verdict| format!("{}, {}", instant(verdict.before_from), instant(verdict.before_to))),
        ),
        ("Limit", verdict.and_then(|verdict| verdict.threshold).map_or_else(String::new, |limit| format!("{} %", limit * 100.0))),
    ]
}

fn change(flush: &FlushPage) -> Vec<(&'static str, String)> {
    let outcome = flush.outcome.as_ref();
    let done = crate::domain::flush::done(&flush.mode);
    let classes: Vec<String> = outcome
        .map(|outcome| outcome.failed_by_class.iter().map(|(class, keys)| format!("{class} {}", count(*keys))).collect())
        .unwrap_or_default();
    vec![
        ("State", words(&flush.state)),
        ("Cause", flush.cause.as_deref().map_or_else(String::new, text)),
        (
            "Keys",
            outcome.map_or_else(
                || "nothing was changed".to_owned(),
                |outcome| match outcome.removed_at_most.filter(|most| *most > outcome.removed) {
                    Some(most) => format!("at least {} and at most {} {done}", count(outcome.removed), count(most)),
                    None => format!("{} {done}", count(outcome.removed)),
                },
            ),
        ),
        ("Gone by themselves", outcome.map_or_else(String::new, |outcome| count(outcome.gone))),
        (
            "Failed",
            outcome.map_or_else(String::new, |outcome| format!("{} {}", count(outcome.failed), classes.join(", ")).trim().to_owned()),
        ),
        ("Generation", outcome.and_then(|outcome| outcome.generation).map_or_else(String::new, |generation| generation.to_string())),
        (
            "Found by the last look",
            outcome.and_then(|outcome| Some((outcome.residue?, outcome))).map_or_else(String::new, |(residue, outcome)| {
                let of = outcome.sampled.map_or_else(String::new, |sampled| format!(" of {} sampled", count(sampled)));
                format!("{}{of}, {}", count(residue), if outcome.proven { "written since" } else { "not proven to be written since" })
            }),
        ),
        (
            "Ended",
            outcome.map_or_else(String::new, |outcome| format!("{}, after {} ms", instant(outcome.ended_at), count(outcome.duration_ms))),
        ),
        (
            "Bystander p99",
            outcome.and_then(|outcome| outcome.bystander_worst_ms).map_or_else(String::new, |worst| format!("{worst} ms at worst")),
        ),
    ]
}

fn validation(out: &mut String, flush: &FlushPage) {
    out.push_str("\n## Post-change validation\n\n");
    if flush.judged.is_empty() {
        out.push_str("Not judged yet.\n");
    } else {
        out.push_str("| After | At | Verdict | Stale reads since |\n|---:|---|---|---|\n");
        for judged in &flush.judged {
            let _ = writeln!(
                out,
                "| {} min | {} | {} | {} |",
                judged.after_min,
                instant(judged.at),
                words(&judged.verdict),
                rate(judged.after)
            );
        }
    }
}

fn before_after(out: &mut String, flush: &FlushPage) {
    let Some(verdict) = &flush.verdict else { return };
    out.push_str("\n## Before and after\n\n| Metric | Before | After | Limit | Back under it |\n|---|---:|---:|---:|---|\n");
    let limit = verdict.threshold.map_or_else(|| "–".to_owned(), |limit| format!("{} %", limit * 100.0));
    let _ = writeln!(out, "| Stale reads | {} | {} | {limit} | |", rate(verdict.before), rate(verdict.after));
    for price in &verdict.price {
        let value = |value: Option<f64>| {
            value.map_or_else(
                || "–".to_owned(),
                |value| match price.unit {
                    Unit::Share => format!("{:.2} %", value * 100.0),
                    Unit::Milliseconds => format!("{value:.0} ms"),
                    Unit::Cost => format!("{value:.2} s/min"),
                    Unit::PerMinute => format!("{value:.1} /min"),
                },
            )
        };
        let back = match (price.limit, price.back_after_min) {
            (None, _) => String::new(),
            (Some(_), Some(minutes)) => format!("after {minutes} min"),
            (Some(_), None) => "not yet".to_owned(),
        };
        let _ = writeln!(out, "| {} | {} | {} | {} | {back} |", price.what, value(price.before), value(price.after), value(price.limit));
    }
}

fn audit(out: &mut String, flush: &FlushPage) {
    out.push_str("\n## Audit\n\n");
    match flush.anchored {
        Some((seq, at)) => {
            let _ = writeln!(out, "Anchored to record {seq} at {}.\n", instant(at));
        }
        None => out.push_str("Not anchored yet.\n\n"),
    }
    out.push_str("| Record | At | Code | Hash |\n|---:|---|---|---|\n");
    for line in &flush.audit {
        let _ = writeln!(out, "| {} | {} | {} | {} |", line.seq, instant(line.at), line.code, code(&line.hash));
    }
}

/// The same for programs.
pub fn json(flush: &FlushPage) -> Value {
    let rate = |of: RateFigure| json!({"stale": of.k, "samples": of.n, "rate": of.value(), "low": of.interval.map(|ends| ends.0), "high": of.interval.map(|ends| ends.1)});
    let (plan, approval, outcome, verdict) = (flush.plan.as_ref(), flush.approval.as_ref(), flush.outcome.as_ref(), flush.verdict.as_ref());
    json!({
        "flush": flush.id,
        "state": flush.state,
        "request": {
            "target": flush.target, "scope": flush.scope, "scope_kind": flush.scope_kind, "mode": flush.mode, "window_s": flush.window_s, "pace": flush.pace,
            "author": flush.author, "asked_at": instant(flush.asked_at),
            "count": plan.map(|plan| plan.matched), "at_least": plan.map(|plan| plan.at_least), "plan": plan.map(|plan| &plan.digest),
            "run_id": plan.and_then(|plan| plan.run_id.as_ref()), "wide": plan.map(|plan| &plan.wide_because),
            "confirmed_at": flush.confirmation.as_ref().map(|by| instant(by.at)),
            "reason": flush.confirmation.as_ref().map(|by| &by.reason), "incident": flush.confirmation.as_ref().and_then(|by| by.incident.as_ref()),
            "approval": approval.map(|approval| json!({
                "hash": approval.hash, "cap": approval.cap, "break_glass": approval.break_glass,
                "decision": approval.decision.as_ref().map(|said| json!({"approved": said.approved, "by": said.by, "at": instant(said.at), "reason": said.reason})),
            })),
        },
        "baseline": verdict.map(|verdict| json!({
            "from": instant(verdict.before_from), "to": instant(verdict.before_to), "delay_s": verdict.delay_s, "threshold": verdict.threshold,
            "stale_reads": rate(verdict.before),
        })),
        "change": {
            "cause": flush.cause,
            "outcome": outcome.map(|outcome| json!({
                "ended_at": instant(outcome.ended_at), "duration_ms": outcome.duration_ms, "removed": outcome.removed, "removed_at_most": outcome.removed_at_most,
                "gone": outcome.gone, "failed": outcome.failed,
                "failed_by_class": outcome.failed_by_class.iter().map(|(class, keys)| (class.clone(), json!(keys))).collect::<serde_json::Map<_, _>>(),
                "residue": outcome.residue, "sampled": outcome.sampled, "proven": outcome.proven, "generation": outcome.generation,
                "bystander_worst_ms": outcome.bystander_worst_ms, "bystander_median_ms": outcome.bystander_median_ms,
            })),
        },
        "validation": flush.judged.iter().map(|judged| json!({
            "after_min": judged.after_min, "at": instant(judged.at), "verdict": judged.verdict, "stale_reads": rate(judged.after),
        })).collect::<Vec<_>>(),
        "before_after": verdict.map(|verdict| verdict.price.iter().map(|price| json!({
            "metric": price.what, "before": price.before, "after": price.after, "limit": price.limit, "back_after_min": price.back_after_min,
        })).collect::<Vec<_>>()),
        "audit": {
            "anchored": flush.anchored.map(|(seq, at)| json!({"seq": seq, "at": instant(at)})),
            "records": flush.audit.iter().map(|line| json!({"seq": line.seq, "at": instant(line.at), "code": line.code, "hash": line.hash})).collect::<Vec<_>>(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_break_out_of_its_cell() {
        assert_eq!(text("a | b\n\\"), "a \\| b \\\\");
        assert_eq!(code("user:`x`|\n"), "`user:'x'\\| `");
        assert_eq!(rate(RateFigure::default()), "no sample");
    }
}
