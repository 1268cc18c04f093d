//! What was done, and whether it helped. An outcome that cannot be sure says so.

use super::words;
use crate::server::service::figures::{Mark, MarkKind, RateFigure};
use crate::server::service::flush::{FlushPage, Outcome, Price, Unit, Verdict};
use crate::ui::components::chart::{Chart, Format, Line, figure};
use crate::ui::components::key::code;
use crate::ui::components::state::{Glyph, Tone, glyph, notice, state, verdict as words_of};
use crate::ui::components::write;
use leptos::prelude::*;

/// The verdict, or what ended it.
pub fn head(flush: &FlushPage) -> AnyView {
    let ended = ended_sentence(flush);
    let Some(verdict) = &flush.verdict else {
        let waits = matches!(flush.state.as_str(), "completed" | "completed_with_residue")
            .then(|| {
                let from = if flush.mode == "soft" { "the window's end" } else { "the end" };
                view! { <p class="under">{format!("Whether it helped is judged 1, 5, 15 and 60 minutes after {from}, from stale-read samples taken since.")}</p> }
            });
        return view! { <h1 class="sentence">{ended}</h1>{waits}{cause(flush)} }.into_any();
    };
    let (tone, shape, word) = words_of(&verdict.verdict);
    let (class, mark) = match tone {
        Tone::Bad => ("verdict verdict-bad", "g-bad"),
        Tone::Good => ("verdict", "g-good"),
        _ => ("verdict verdict-few", ""),
    };
    let word = word[..1].to_uppercase() + &word[1..];
    let next = verdict.next_at.map(|next| view! { " Judged again at "{write::time_exact(next, flush.as_of)}"." });
    view! {
        <div class=class>
            {glyph(shape, mark)}
            <div>
                <h1>{word}</h1>
                <p>{verdict_sentence(verdict)}{format!(" Judged {} min after {}.", verdict.after_min, if flush.mode == "soft" { "the window's end" } else { "the end" })}{next}</p>
                <p class="quiet next">{ended}</p>
            </div>
        </div>
        {cause(flush)}
    }
    .into_any()
}

fn cause(flush: &FlushPage) -> Option<AnyView> {
    let text = flush.cause.clone()?;
    let tone = if matches!(flush.state.as_str(), "completed" | "cancelled") { Tone::Plain } else { Tone::Warn };
    Some(view! { <div class="next">{notice(tone, Glyph::Risk, text)}</div> }.into_any())
}

fn ended_sentence(flush: &FlushPage) -> AnyView {
    let Some(outcome) = &flush.outcome else {
        return view! { <strong>{super::state_words(&flush.state)}</strong>{super::under_scope(flush)}"." }.into_any();
    };
    let keys = words::keys(outcome.removed);
    let done = words::participle(&flush.mode);
    let cut = match flush.state.as_str() {
        "interrupted" => "Interrupted",
        "failed" => "Failed",
        "cancelled" => "Cancelled",
        "auto_stopped" => "Stopped by the brake",
        "stopped_at_cap" => "Stopped at its cap",
        _ => "",
    };
    let lead = match outcome.removed_at_most.filter(|most| *most > outcome.removed) {
        Some(most) => {
            let range = format!("at least {keys} and at most {} were {done}", write::count(most));
            if cut.is_empty() { range.replacen("at least", "At least", 1) } else { format!("{cut}: {range}") }
        }
        None if cut.is_empty() => words::done(flush, &keys),
        None => format!("{cut} after {keys} were {done}"),
    };
    view! { <strong>{lead}</strong>{super::under_scope(flush)}"." }.into_any()
}

fn verdict_sentence(verdict: &Verdict) -> String {
    let at = verdict.delay_s.map_or_else(String::new, |delay| format!(" from {delay} s after the write on"));
    let figure = |rate: RateFigure| match rate.value() {
        None => "no sample".to_owned(),
        Some(_) => format!("{} (n {})", write::rate(rate), write::count(rate.n)),
    };
    let limit = verdict.threshold.map_or_else(String::new, |limit| format!(", limit {}", write::percent_limit(limit)));
    let (before, after) = (figure(verdict.before), figure(verdict.after));
    match verdict.verdict.as_str() {
        "recovered" => format!("Stale reads{at}: {before} before, {after} after{limit}. Readers see fresh values again."),
        "worse" => {
            format!("Stale reads{at}: {before} before, {after} after{limit}. It is worse than before: the writer still leaves old values.")
        }
        "not_recovered" => {
            format!("Stale reads{at}: {before} before, {after} after{limit}. Readers still see old values: mend the writer first.")
        }
        _ => format!("Stale reads{at}: {before} before, {after} after{limit}. That is too little to say whether it helped."),
    }
}

/// Numbers, before and after, what happened, proof.
pub fn rest(flush: &FlushPage, numbers: &str) -> AnyView {
    view! {
        {flush.outcome.as_ref().map(|outcome| facts(flush, outcome))}
        {flush.verdict.as_ref().map(|verdict| before_after(flush, verdict))}
        {flush.verdict.as_ref().and_then(|verdict| chart(flush, verdict, numbers))}
        <div class="pair">{happened(flush)}{proof(flush)}</div>
        {super::running::committed(&flush.audit, flush.as_of)}
    }
    .into_any()
}

fn facts(flush: &FlushPage, outcome: &Outcome) -> AnyView {
    let planned = flush.plan.as_ref().map_or_else(|| write::NONE.to_owned(), |plan| write::count(plan.matched));
    let classes: Vec<String> = outcome.failed_by_class.iter().map(|(class, count)| format!("{class} {}", write::count(*count))).collect();
    let (left_name, left, left_note) = match (outcome.residue, outcome.proven) {
        (None, _) if outcome.generation.is_some() => ("Left over", write::NONE.to_owned(), "old keys expire by themselves"),
        (None, _) => ("Left over", write::NONE.to_owned(), "not verified"),
        (Some(residue), _) if outcome.sampled.is_some() => ("Outlive the window", write::count(residue), ""),
        (Some(residue), true) => ("Written again since", write::count(residue), "by a complete scan after the end"),
        (Some(residue), false) => ("Left over", write::count(residue), "the scan was disturbed: some may be older"),
    };
    let (head, gone, gone_note) = words::heads(&flush.mode);
    let left_note = outcome.sampled.filter(|_| outcome.residue.is_some()).map_or_else(
        || left_note.to_owned(),
        |sampled| {
            format!(
                "of {} sampled{}",
                write::count(sampled),
                match (outcome.residue, outcome.proven) {
                    (Some(0), true) => "",
                    (_, true) => ", so written since",
                    (_, false) => "; the scan was disturbed",
                }
            )
        },
    );
    let removed_note = outcome.removed_at_most.filter(|most| *most > outcome.removed).map(|most| format!("at most {}", write::count(most)));
    view! {
        <dl class="facts">
            <div class="big"><dt>"Planned"</dt><dd>{planned}</dd></div>
            <div class="big"><dt>{if removed_note.is_some() { format!("{head}, at least") } else { head.to_owned() }}</dt><dd>{write::count(outcome.removed)}<small class="quiet">{removed_note}</small></dd></div>
            <div class="big"><dt>{gone}</dt><dd>{write::count(outcome.gone)}<small class="quiet">{gone_note}</small></dd></div>
            <div class="big"><dt>"Failed"</dt><dd>{write::count(outcome.failed)}<small class="quiet">{classes.join(", ")}</small></dd></div>
            <div class="big"><dt>{left_name}</dt><dd>{left}<small class="quiet">{left_note}</small></dd></div>
        </dl>
    }
    .into_any()
}

fn before_after(flush: &FlushPage, verdict: &Verdict) -> AnyView {
    let (tone, shape, word) = words_of(&verdict.verdict);
    let cell = |rate: RateFigure| {
        let weight = rate
            .interval
            .filter(|_| rate.n >= write::FEW)
            .map(|interval| format!("{}, n {}", write::interval(interval), write::count(rate.n)));
        view! { <td class="num">{write::rate(rate)}<small class="quiet">{weight}</small></td> }.into_any()
    };
    let change = match (verdict.before.value(), verdict.after.value()) {
        (Some(before), Some(after)) if verdict.before.n >= write::FEW && verdict.after.n >= write::FEW => points(after - before),
        _ => write::NONE.to_owned(),
    };
    let stale = verdict.delay_s.map_or_else(|| "Stale reads".to_owned(), |delay| format!("Stale reads from {delay} s on"));
    let price: Vec<AnyView> = verdict.price.iter().map(price_row).collect();
    let clock = |at: chrono::DateTime<chrono::Utc>| at.format("%H:%M").to_string();
    let spans = format!(
        "{} to {} against {} to {}",
        clock(verdict.before_from),
        clock(verdict.before_to),
        clock(verdict.after_from),
        clock(verdict.after_to)
    );
    let history: Vec<AnyView> = flush
        .judged
        .iter()
        .map(|judged| {
            let (tone, shape, word) = words_of(&judged.verdict);
            view! { <li>{write::timed(judged.at, &format!("+{} min", judged.after_min))}<span>{state(tone, shape, word)}" "<span class="quiet">{format!("{}, n {}", write::rate(judged.after), write::count(judged.after.n))}</span></span></li> }.into_any()
        })
        .collect();
    view! {
        <section class="panel">
            <div class="panel-head"><h2>"Before and after"</h2><span class="sub">{spans}</span></div>
            <ol class="tl">{history}</ol>
            <div class="scroll" tabindex="0" role="region" aria-label="Before and after">
                <table class="roomy">
                    <caption class="vh">"Before and after the flush"</caption>
                    <thead>
                        <tr>
                            <th scope="col">"Metric"</th><th scope="col" class="num">"Before"</th><th scope="col" class="num">"After"</th>
                            <th scope="col" class="num">"Change"</th><th scope="col" class="num w3">"Limit"</th><th scope="col">"Verdict"</th>
                        </tr>
                    </thead>
                    <tbody>
                        <tr>
                            <th scope="row">{stale}</th>{cell(verdict.before)}{cell(verdict.after)}<td class="num">{change}</td>
                            <td class="num w3">{verdict.threshold.map_or_else(|| write::NONE.to_owned(), write::percent_limit)}</td>
                            <td>{state(tone, shape, word)}</td>
                        </tr>
                        {price}
                    </tbody>
                </table>
            </div>
        </section>
    }
    .into_any()
}

fn points(change: f64) -> String {
    format!("{:+.2} points", change * 100.0).replace('-', "−")
}

/// What the flush cost: never a verdict, only the price.
fn price_row(price: &Price) -> AnyView {
    let text = |value: f64| match price.unit {
        Unit::Share => write::percent(value),
        Unit::Milliseconds => write::millis(value),
        Unit::Cost | Unit::PerMinute => write::amount(value),
    };
    let change = match (price.before, price.after, price.unit) {
        (Some(before), Some(after), Unit::Share) => points(after - before),
        (Some(before), Some(after), _) => {
            let sign = if after >= before { "+" } else { "−" };
            format!("{sign}{}", text((after - before).abs()))
        }
        _ => write::NONE.to_owned(),
    };
    let over = price.limit.zip(price.after).is_some_and(|(limit, after)| after > limit);
    let back = price.back_after_min.filter(|_| price.limit.is_some()).map_or_else(String::new, |minutes| match minutes {
        0 => ", never over its limit".to_owned(),
        minutes => format!(", back under its limit after {minutes} min"),
    });
    let note = if over {
        state(Tone::Warn, Glyph::Risk, "over the limit, for now")
    } else {
        state(Tone::Plain, Glyph::None, view! { {format!("the price{back}")} })
    };
    let shown = |value: Option<f64>| value.map_or_else(|| write::NONE.to_owned(), text);
    view! {
        <tr>
            <th scope="row">{price.what.clone()}</th><td class="num">{shown(price.before)}</td><td class="num">{shown(price.after)}</td>
            <td class="num">{change}</td><td class="num w3">{shown(price.limit)}</td><td>{note}</td>
        </tr>
    }
    .into_any()
}

fn chart(flush: &FlushPage, verdict: &Verdict, numbers: &str) -> Option<AnyView> {
    let chart = verdict.chart.as_ref()?;
    let started =
        flush.progress.as_ref().map(|progress| progress.started_at).or(flush.confirmation.as_ref().map(|confirmation| confirmation.at));
    let marks: Vec<Mark> =
        started.map(|at| Mark { kind: MarkKind::Flush, at, label: format!("of {}", flush.scope), href: None }).into_iter().collect();
    let now = view! {
        <span class="quiet">"before "</span>{write::rate(verdict.before)}<span class="quiet">" after "</span><b>{write::rate(verdict.after)}</b>
    };
    Some(figure(Chart {
        id: "stale",
        title: "Stale reads around the flush".to_owned(),
        unit: "% of samples",
        now: now.into_any(),
        label: format!("Stale-read rate: {} before the flush, {} after.", write::rate(verdict.before), write::rate(verdict.after)),
        format: Format::Percent,
        lines: vec![Line { name: "", class: "l1", series: &chart.series }],
        with_interval: false,
        shade_l2_to_l1: false,
        limit: chart.threshold,
        marks: &marks,
        gaps: &[],
        numbers: Some((format!("/flush/{}?numbers=stale#stale", write::query(&flush.id)), numbers == "stale")),
    }))
}

fn happened(flush: &FlushPage) -> AnyView {
    let rows: Vec<AnyView> = flush
        .timeline
        .iter()
        .map(|item| {
            view! { <li>{write::timed(item.at, &item.at.format("%H:%M:%S").to_string())}<span>{item.what.clone()}</span></li> }.into_any()
        })
        .collect();
    let day = flush.timeline.first().map(|item| item.at.format("%a %-d %b %Y").to_string());
    view! { <section class="card"><h2>"What happened"</h2><p class="hint">{day}</p><ol class="tl">{rows}</ol></section> }.into_any()
}

/// A link where it is one.
pub fn incident(text: &str) -> AnyView {
    let text = text.to_owned();
    if text.starts_with("https://") || text.starts_with("http://") {
        view! { <a href=text.clone() rel="noreferrer">{text.clone()}</a> }.into_any()
    } else {
        text.into_any()
    }
}

fn proof(flush: &FlushPage) -> AnyView {
    let rows = match (flush.audit.first(), flush.audit.last()) {
        (Some(first), Some(last)) => {
            let href = format!("/audit?flush={}", write::query(&flush.id));
            view! { <a href=href>{format!("{} to {}", write::seq(first.seq), write::seq(last.seq))}</a> }.into_any()
        }
        _ => view! { <span class="quiet">"none"</span> }.into_any(),
    };
    let last = flush.audit.last().map_or(0, |line| line.seq);
    let anchored = match flush.anchored {
        Some((seq, at)) if seq >= last => {
            let words = view! { {format!("checkpoint {}", write::seq(seq))} };
            view! { {state(Tone::Good, Glyph::Seal, words)}", "{write::ago(at, flush.as_of)} }.into_any()
        }
        Some((seq, at)) => {
            view! { {format!("to {}, {}; the rest within 5 minutes", write::seq(seq), write::ago(at, flush.as_of))} }.into_any()
        }
        None => view! { <span class="quiet">"not yet"</span> }.into_any(),
    };
    let run = flush.plan.as_ref().and_then(|plan| plan.run_id.as_ref()).map(|run| {
        let short: String = run.chars().take(12).collect();
        view! { ", run id "{code(&short)} }
    });
    let confirmation = flush.confirmation.as_ref().map(|confirmation| {
        let incident =
            confirmation.incident.as_ref().map(|incident| view! { <dt>"Incident"</dt><dd>{self::incident(incident)}</dd> });
        view! { <dt>"Confirmed by"</dt><dd>{confirmation.by.clone()}</dd><dt>"Reason"</dt><dd>{format!("“{}”", confirmation.reason)}</dd>{incident} }
    });
    let decision = flush.approval.as_ref().map(|approval| match (&approval.decision, &approval.break_glass) {
        (Some(decision), _) => {
            view! { <dt>"Approved by"</dt><dd>{decision.by.clone()}", "{write::moment(decision.at, flush.as_of)}</dd> }.into_any()
        }
        (None, Some(why)) => view! { <dt>"Break-glass"</dt><dd>{format!("nobody approved it: “{why}”")}</dd> }.into_any(),
        (None, None) => ().into_any(),
    });
    let bystander = flush.outcome.as_ref().and_then(|outcome| outcome.bystander_worst_ms).map(|worst| {
        let median = flush
            .outcome
            .as_ref()
            .and_then(|outcome| outcome.bystander_median_ms)
            .map(|median| format!(", {} median", write::millis(median)));
        view! { <dt>"Bystander"</dt><dd>{format!("p99 {} at worst", write::millis(worst))}{median}</dd> }
    });
    view! {
        <section class="card">
            <h2>"Proof"</h2>
            <dl class="policy">
                {confirmation}
                {decision}
                <dt>"Audit"</dt><dd>{rows}</dd>
                <dt>"Evidence"</dt><dd><a href=format!("/flush/{}.md", write::query(&flush.id)) download="">"Markdown"</a>", "<a href=format!("/flush/{}.json", write::query(&flush.id)) download="">"JSON"</a></dd>
                <dt>"Anchored"</dt><dd>{anchored}</dd>
                <dt>"Target"</dt><dd>{code(&flush.target)}{run}</dd>
                {bystander}
            </dl>
        </section>
    }
    .into_any()
}
