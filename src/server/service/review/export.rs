//! The review as a file: Markdown to paste into a document, CSV for a spreadsheet, JSON for a program. All from the read model the page draws, so
//! that they say the same.

use super::{Action, ReviewPage, ReviewRow};
use crate::server::service::figures::RateFigure;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Said wherever a week can still change; closing a review comes in a later release.
const PROVISIONAL: &str = "Provisional: late events and actions can still change this review; it cannot be closed in this release.";
/// Fewer samples are written as "k of n".
const FEW: u64 = 30;

/// The review as Markdown (GitHub's tables).
pub fn markdown(page: &ReviewPage) -> String {
    let mut out = String::new();
    let before = page.previous.clone();
    let _ = writeln!(out, "# Reliability review {}\n", page.week);
    let _ = writeln!(out, "{} to {}, {}. As of {}.", page.first_day, page.last_day, text(&page.timezone), instant(page.as_of));
    if page.running {
        out.push_str("The week is not over.\n");
    }
    let _ = writeln!(out, "{PROVISIONAL}\n");
    let _ = writeln!(out, "| | {} | {before} |\n|---|---:|---:|", page.week);
    let _ = writeln!(out, "| Prefixes outside at some time | {} | {} |", page.outside_ever.0, page.outside_ever.1);
    let _ = writeln!(out, "| Stale reads at the objectives' delays | {} | {} |", rate(page.stale), rate(page.stale_before));
    let _ = writeln!(out, "| Flushes | {} | {} |", page.flushes_count.0, page.flushes_count.1);
    let _ = writeln!(out, "| Failed invalidations | {} | {} |", page.failed_invalidations.0, page.failed_invalidations.1);
    let _ = writeln!(out, "| Time without data | {} | {} |", span(page.without_data_s.0), span(page.without_data_s.1));
    prefixes(&mut out, page, &before);
    flushes(&mut out, page);
    contracts(&mut out, page);
    actions(&mut out, page);
    out
}

fn prefixes(out: &mut String, page: &ReviewPage, before: &str) {
    out.push_str("\n## Worst movers\n\n");
    let movers = page.worst_movers();
    if movers.is_empty() {
        out.push_str("No budget fell by 5 points or more against the week before.\n");
    }
    for mover in movers {
        let _ = writeln!(
            out,
            "- {} on {}: budget left {}, {} in {before}",
            code(&mover.name),
            text(&mover.target),
            percent(mover.budget_left),
            percent(mover.budget_before)
        );
    }
    out.push_str("\n## Prefixes by remaining budget\n\n");
    let _ = writeln!(
        out,
        "| Prefix | Target | Owner | Objective | Actual | n | Budget left | {before} | Change | Cost, s/min | {before} | Note |"
    );
    out.push_str("|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|---|\n");
    for row in &page.rows {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            code(&row.name),
            text(&row.target),
            text(row.owner.as_deref().unwrap_or("–")),
            objective(row),
            rate(row.stale),
            row.stale.n,
            percent(row.budget_left),
            percent(row.budget_before),
            points(row.change()),
            number(row.cost),
            number(row.cost_before),
            text(row.say.as_deref().unwrap_or(""))
        );
    }
    out.push_str("\nActual: stale reads of all samples at or past the objective's delay, with their 95 % Wilson interval. ");
    out.push_str("Budget left: 1 − stale ÷ ((1 − ratio) · n) over this ISO week.\n");
}

fn flushes(out: &mut String, page: &ReviewPage) {
    out.push_str("\n## Flushes\n\n");
    if page.flushes.is_empty() {
        out.push_str("None.\n");
        return;
    }
    out.push_str("| Flush | At | Target | Scope | By | Why | State | Planned | Removed | Written again | Verdict |\n");
    out.push_str("|---|---|---|---|---|---|---|---:|---:|---:|---|\n");
    for flush in &page.flushes {
        let mut state = flush.state.replace('_', " ");
        if flush.wide {
            state.push_str(", wide");
        }
        if flush.break_glass {
            state.push_str(", break-glass");
        }
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            text(&flush.id),
            instant(flush.at),
            text(&flush.target),
            code(&flush.scope),
            text(&flush.by),
            text(flush.reason.as_deref().unwrap_or("–")),
            text(&state),
            count(flush.planned),
            flush.removed,
            count(flush.residue),
            flush.verdict.as_deref().map_or_else(|| "–".to_owned(), |verdict| verdict.replace('_', " "))
        );
    }
}

fn contracts(out: &mut String, page: &ReviewPage) {
    out.push_str("\n## Contracts\n\n");
    if page.contracts.is_empty() {
        out.push_str("None declared.\n");
        return;
    }
    out.push_str("| Write | Prefix | How | Within | Writes this week | Last invalidation by it |\n|---|---|---|---:|---:|---|\n");
    for contract in &page.contracts {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} s | {} | {} |",
            code(&contract.endpoint),
            code(&contract.prefix),
            text(&contract.how),
            contract.within_s,
            count(contract.writes),
            contract.last_invalidation.map_or_else(|| "none seen".to_owned(), instant)
        );
    }
    out.push_str("\nWhether each write kept its contract is not judged in this release.\n");
}

fn actions(out: &mut String, page: &ReviewPage) {
    out.push_str("\n## Actions\n\n");
    if page.actions.is_empty() {
        out.push_str("None.\n");
        return;
    }
    out.push_str("| Action | Owner | Due | From | State | Outcome |\n|---|---|---|---|---|---|\n");
    for action in &page.actions {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            text(&action.text),
            text(&action.owner),
            action.due,
            action.week,
            state_of(action, page),
            text(action.outcome.as_deref().unwrap_or(""))
        );
    }
}

fn state_of(action: &Action, page: &ReviewPage) -> &'static str {
    match action.closed_at {
        Some(_) => "done",
        None if action.due < page.today => "overdue",
        None => "open",
    }
}

/// The prefixes as CSV (RFC 4180), one a line.
pub fn csv(page: &ReviewPage) -> Result<Vec<u8>, csv::Error> {
    let mut out = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    out.write_record([
        "week",
        "status",
        "target",
        "prefix",
        "owner",
        "state",
        "fresh_within_s",
        "ratio",
        "stale",
        "samples",
        "stale_rate",
        "stale_rate_low",
        "stale_rate_high",
        "budget_left",
        "budget_left_before",
        "budget_change",
        "stale_before",
        "samples_before",
        "stale_rate_before",
        "cost_s_per_min",
        "cost_s_per_min_before",
        "note",
    ])?;
    let field = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    for row in &page.rows {
        out.write_record([
            page.week.clone(),
            "provisional".to_owned(),
            row.target.clone(),
            row.name.clone(),
            row.owner.clone().unwrap_or_default(),
            row.standing.as_str().to_owned(),
            row.fresh_within_s.map(|seconds| seconds.to_string()).unwrap_or_default(),
            field(row.ratio),
            row.stale.k.to_string(),
            row.stale.n.to_string(),
            field(row.stale.value()),
            field(row.stale.interval.map(|(low, _)| low)),
            field(row.stale.interval.map(|(_, high)| high)),
            field(row.budget_left),
            field(row.budget_before),
            field(row.change()),
            row.stale_before.k.to_string(),
            row.stale_before.n.to_string(),
            field(row.stale_before.value()),
            field(row.cost),
            field(row.cost_before),
            row.say.clone().unwrap_or_default(),
        ])?;
    }
    out.into_inner().map_err(|error| error.into_error().into())
}

/// The whole review as JSON. Rates and budgets are shares (1 is all), null where nothing is known.
pub fn json(page: &ReviewPage) -> Value {
    let two = |(now, before): (u64, u64)| json!({"value": now, "before": before});
    let rows: Vec<Value> = page.rows.iter().map(json_row).collect();
    let movers: Vec<Value> = page
        .worst_movers()
        .iter()
        .map(|mover| {
            json!({"prefix": mover.name, "target": mover.target, "budget_left": mover.budget_left, "budget_left_before": mover.budget_before})
        })
        .collect();
    let flushes: Vec<Value> = page
        .flushes
        .iter()
        .map(|flush| {
            json!({
                "id": flush.id, "at": instant(flush.at), "target": flush.target, "scope": flush.scope, "mode": flush.mode, "state": flush.state,
                "by": flush.by, "reason": flush.reason, "planned": flush.planned, "removed": flush.removed, "residue": flush.residue,
                "wide": flush.wide, "break_glass": flush.break_glass, "verdict": flush.verdict,
            })
        })
        .collect();
    let contracts: Vec<Value> = page
        .contracts
        .iter()
        .map(|contract| {
            json!({
                "write": contract.endpoint, "prefix": contract.prefix, "how": contract.how, "within_s": contract.within_s,
                "writes": contract.writes, "last_invalidation": contract.last_invalidation.map(instant),
            })
        })
        .collect();
    let actions: Vec<Value> = page
        .actions
        .iter()
        .map(|action| {
            json!({
                "id": action.id, "text": action.text, "owner": action.owner, "due": action.due, "week": action.week,
                "state": state_of(action, page), "closed_at": action.closed_at.map(instant), "closed_by": action.closed_by,
                "outcome": action.outcome,
            })
        })
        .collect();
    json!({
        "week": page.week, "previous": page.previous, "first_day": page.first_day, "last_day": page.last_day, "timezone": page.timezone,
        "status": "provisional", "running": page.running, "as_of": instant(page.as_of),
        "totals": {
            "prefixes_outside": two((page.outside_ever.0.into(), page.outside_ever.1.into())),
            "flushes": two((page.flushes_count.0.into(), page.flushes_count.1.into())),
            "failed_invalidations": two(page.failed_invalidations),
            "seconds_without_data": two(page.without_data_s),
            "stale": json_rate(page.stale), "stale_before": json_rate(page.stale_before),
        },
        "prefixes": rows, "worst_movers": movers, "flushes": flushes, "contracts": contracts, "actions": actions,
    })
}

fn json_row(row: &ReviewRow) -> Value {
    let objective = row.fresh_within_s.zip(row.ratio).map(|(seconds, ratio)| json!({"fresh_within_s": seconds, "ratio": ratio}));
    json!({
        "prefix": row.name, "target": row.target, "owner": row.owner, "state": row.standing.as_str(), "objective": objective,
        "stale": json_rate(row.stale), "stale_before": json_rate(row.stale_before),
        "budget": {"left": row.budget_left, "before": row.budget_before, "change": row.change(), "by_day": row.budget_by_day},
        "cost_s_per_min": row.cost, "cost_s_per_min_before": row.cost_before, "note": row.say,
    })
}

fn json_rate(rate: RateFigure) -> Value {
    json!({
        "stale": rate.k, "samples": rate.n, "rate": rate.value(),
        "low": rate.interval.map(|(low, _)| low), "high": rate.interval.map(|(_, high)| high),
    })
}

fn objective(row: &ReviewRow) -> String {
    match (row.fresh_within_s, row.ratio) {
        (Some(seconds), Some(ratio)) => format!("{} fresh {seconds} s after the write", limit(ratio)),
        _ => "–".to_owned(),
    }
}

fn limit(share: f64) -> String {
    let digits = format!("{:.4}", share * 100.0);
    format!("{} %", digits.trim_end_matches('0').trim_end_matches('.'))
}

fn rate(rate: RateFigure) -> String {
    match (rate.value(), rate.interval) {
        (None, _) => "–".to_owned(),
        (Some(_), _) if rate.n < FEW => format!("{} of {}, too little data", rate.k, rate.n),
        (Some(value), None) => format!("{:.3} %", value * 100.0),
        (Some(value), Some((low, high))) => format!("{:.3} % ({:.3}–{:.3})", value * 100.0, low * 100.0, high * 100.0),
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", share * 100.0).replace('-', "−"))
}

/// A difference of two shares, in percentage points.
fn points(share: Option<f64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{:+.1}", share * 100.0).replace('-', "−"))
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"))
}

fn count(value: Option<u64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| value.to_string())
}

fn instant(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn span(seconds: u64) -> String {
    match seconds {
        0 => "none".to_owned(),
        1..60 => format!("{seconds} s"),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// Text as it stands, whatever Markdown would make of it: what people typed must not become links or HTML where this is pasted.
fn text(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for letter in words.chars() {
        if letter.is_ascii_punctuation()
            && !matches!(letter, '.' | ',' | ':' | ';' | '-' | '/' | '(' | ')' | '%' | '?' | '\'' | '"' | '=' | '@' | '+')
        {
            out.push('\\');
        }
        out.push(if letter.is_control() { ' ' } else { letter });
    }
    out
}

/// A name as code. A pipe would end the table's cell even there, and is escaped for that.
fn code(name: &str) -> String {
    let longest = name.split(|letter| letter != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let padding = if longest > 0 { " " } else { "" };
    format!("{fence}{padding}{}{padding}{fence}", name.replace('|', "\\|").replace(char::is_control, " "))
}

#[cfg(test)]
#[path = "export_tests.rs"]
mod tests;
