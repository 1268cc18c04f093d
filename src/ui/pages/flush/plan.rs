//! `/flush`: say what may be touched; and what was flushed before.

use crate::domain::refusal::Refusal;
use crate::server::service::flush::{FlushLine, PlanPage, TargetChoice};
use crate::ui::components::form;
use crate::ui::components::key::code;
use crate::ui::components::state::{Glyph, Tone, glyph, notice, state, verdict};
use crate::ui::components::steps::steps;
use crate::ui::components::write;
use chrono::{DateTime, Utc};
use leptos::prelude::*;

/// What the link that led here brings; empty where it brings nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlanWanted<'a> {
    pub target: &'a str,
    pub scope: &'a str,
    pub kind: &'a str,
    pub mode: &'a str,
    pub window_s: &'a str,
}

/// The page's `main`.
pub fn main(model: &PlanPage, refusal: Option<&Refusal>, wanted: &PlanWanted<'_>) -> AnyView {
    let refusal = form::of(refusal, "plan");
    let notes = [
        "what may be touched",
        "the server counts, nothing is removed",
        "you type what it counted",
        "paced, with progress and a stop",
        "removed, left over, recovered?",
    ];
    let ask = match &model.cannot {
        Some(sentence) => notice(Tone::Plain, Glyph::Lock, sentence.clone()),
        None => plan_form(model, refusal, wanted),
    };
    view! {
        <main id="main" class="page flush" data-state="new">
            {steps(0, notes.map(ToOwned::to_owned))}
            <div class="line">
                <div>
                    <h1>"Plan a flush"</h1>
                    <p class="under">"Planning only reads. The server scans the target, counts what the scope matches and holds that plan for 5 minutes."</p>
                </div>
                {ask}
                {refused_things(model)}
                {list(&model.flushes, model.as_of)}
            </div>
        </main>
    }
    .into_any()
}

fn plan_form(model: &PlanPage, refusal: Option<&Refusal>, wanted: &PlanWanted<'_>) -> AnyView {
    let first = model.targets.first().map_or("", |target| target.name.as_str());
    let chosen = form::typed(refusal, "target", if wanted.target.is_empty() { first } else { wanted.target });
    let targets: Vec<AnyView> = model
        .targets
        .iter()
        .map(|target| {
            let hint = target_hint(target, model.as_of);
            view! {
                <label class="choice">
                    <input type="radio" name="target" value=target.name.clone() checked=target.name == chosen/>
                    <span><b>{target.name.clone()}</b><span class="hint">" "{hint}</span></span>
                </label>
            }
            .into_any()
        })
        .collect();
    let templates: Vec<AnyView> =
        model.templates.iter().map(|template| view! { <option value=template.clone()></option> }.into_any()).collect();
    let kind = form::typed(refusal, "scope_kind", wanted.kind);
    let mode = form::typed(refusal, "mode", if wanted.mode.is_empty() { "flush" } else { wanted.mode });
    let window = form::typed(refusal, "window_s", if wanted.window_s.is_empty() { "600" } else { wanted.window_s });
    let choice = |value: &'static str, name: &'static str, hint: &'static str| {
        view! {
            <label class="choice">
                <input type="radio" name="mode" value=value checked=mode == value/>
                <span><b>{name}</b><span class="hint">" "{hint}</span></span>
            </label>
        }
        .into_any()
    };
    let pace = form::typed(refusal, "pace", "normal");
    let option = |value: &'static str, chosen: &str, words: &'static str| {
        view! { <option value=value selected=value == chosen>{words}</option> }.into_any()
    };
    view! {
        {form::refused(refusal, "Not planned.")}
        <form class="fields" method="post" action="/flush" data-error=form::error_code(refusal)>
            <fieldset><legend>"Target"</legend><div class="choices row">{targets}</div></fieldset>
            <div class="field">
                <label for="scope">"Scope"</label>
                <input
                    class="mono"
                    id="scope"
                    name="scope"
                    list="templates"
                    value=form::typed(refusal, "scope", wanted.scope)
                    maxlength="4096"
                    autocomplete="off"
                    spellcheck="false"
                    autocapitalize="none"
                    required
                    aria-describedby="scope-h"
                    aria-invalid=form::invalid(refusal, "scope")
                />
                <datalist id="templates">{templates}</datalist>
                <p class="hint" id="scope-h">
                    "A literal prefix ending on a delimiter, "<code>"user:123:"</code>", or a registered template, "<code>"user:{id}:summary"</code>
                    ", with any placeholder bound: "<code>"user:{id=123}:summary"</code>". Matched byte by byte. Never "<code>"*"</code>", never a whole database."
                </p>
            </div>
            <div class="filters">
                <div>
                    <label for="kind">"Read the scope as"</label>
                    <select id="kind" name="scope_kind">
                        {option("", &kind, "template, if it is one")}
                        {option("literal", &kind, "literal")}
                        {option("template", &kind, "template")}
                    </select>
                </div>
                <div>
                    <label for="pace">"Pace"</label>
                    <select id="pace" name="pace">
                        {option("normal", &pace, "normal: others barely notice")}
                        {option("fast", &pace, "fast: others may wait 1 ms")}
                    </select>
                </div>
            </div>
            <fieldset>
                <legend>"Mode, gentlest first"</legend>
                <div class="choices">
                    {choice("version", "Version bump", "raises the prefix's generation key, where it declares one; old keys expire by themselves.")}
                    {choice("soft", "Soft flush", "each key expires at a random moment in the window, never later than its own; readers see old values until then.")}
                    {choice("flush", "Flush", "removes now; every key is rebuilt on its next read.")}
                </div>
            </fieldset>
            <div class="field narrow-field">
                <label for="window">"Window of a soft flush, seconds"</label>
                <input class="short" id="window" name="window_s" inputmode="numeric" value=window autocomplete="off" aria-invalid=form::invalid(refusal, "window_s")/>
            </div>
            <div class="actions">
                <button class="btn btn-primary" type="submit">"Preview the plan"</button>
                <span class="hint">"Nothing is changed. The plan compares the modes and advises one."</span>
            </div>
        </form>
    }
    .into_any()
}

fn target_hint(target: &TargetChoice, now: DateTime<Utc>) -> String {
    if let Some(since) = target.away_since {
        return format!("{}, unreachable since {}: a plan will be refused", target.kind, write::moment(since, now));
    }
    let keys = target.keys.map_or_else(String::new, |keys| format!(", {} keys", write::count(keys)));
    let last = target.last_flush.map_or_else(|| ", never flushed".to_owned(), |at| format!(", last flush {}", write::moment(at, now)));
    format!("{}{keys}{last}", target.kind)
}

/// What the server will refuse, before it is tried.
fn refused_things(model: &PlanPage) -> AnyView {
    let lines: Vec<AnyView> = model
        .targets
        .iter()
        .map(|target| {
            let on = if model.targets.len() > 1 { format!(" on {}", target.name) } else { String::new() };
            let protected: Vec<AnyView> = target.protected.iter().map(|prefix| view! { {code(prefix)}" " }.into_any()).collect();
            let protects = !target.protected.is_empty();
            let who = if target.approvals == "never" { "marked and audited" } else { "a second person" };
            view! {
                {protects.then(|| view! {
                    <li>{glyph(Glyph::Lock, "")}<span>{format!("Anything that covers, or lies under, a protected prefix{on}")}</span><span>{protected}</span></li>
                })}
                <li>
                    {glyph(Glyph::None, "")}<span>{format!("More flushes than allowed in an hour{on}")}</span>
                    <span>{format!("{} of {} used", target.flushes_this_hour, target.max_flushes_per_hour)}</span>
                </li>
                <li>
                    {glyph(Glyph::Few, "")}
                    <span>{format!("Wide{on}: over 10,000 keys, over 5 % of the keyspace, a critical prefix, or a literal of one segment")}</span>
                    <span>{who}</span>
                </li>
                {target.over_privileged.then(|| view! {
                    <li>{glyph(Glyph::Risk, "g-warn")}<span>{format!("The flush identity{on} may do more than flush")}</span><span>"over-privileged"</span></li>
                })}
            }
            .into_any()
        })
        .collect();
    view! {
        <section class="card">
            <h2>"What is refused or marked"</h2>
            <ul class="checks">
                {lines}
                <li>{glyph(Glyph::None, "")}<span>"A scope with fewer than 3 bytes before its first delimiter"</span><span><code>"u:"</code></span></li>
            </ul>
        </section>
    }
    .into_any()
}

/// A list of flushes; the review has it too.
pub fn list(flushes: &[FlushLine], now: DateTime<Utc>) -> AnyView {
    if flushes.is_empty() {
        return view! { <section class="panel"><div class="panel-head"><h2>"Flushes"</h2></div><p class="empty">"None yet."</p></section> }
            .into_any();
    }
    view! {
        <section class="panel">
            <div class="panel-head"><h2>"Flushes"</h2><span class="sub">"newest first"</span></div>
            {table(flushes, now)}
        </section>
    }
    .into_any()
}

/// The table alone.
pub fn table(flushes: &[FlushLine], now: DateTime<Utc>) -> AnyView {
    let rows: Vec<AnyView> = flushes
        .iter()
        .map(|flush| {
            let href = format!("/flush/{}", write::query(&flush.id));
            let verdict = flush.verdict.as_deref().map(|of| {
                let (tone, shape, words) = verdict(of);
                state(tone, shape, words)
            });
            let marks = [(flush.wide, "wide"), (flush.break_glass, "break-glass")].into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect::<Vec<_>>().join(", ");
            let removed = matches!(flush.state.as_str(), "planning" | "planned" | "expired" | "plan_failed" | "awaiting_approval" | "approved" | "rejected");
            view! {
                <tr>
                    <th scope="row" class="nowrap"><a href=href>{write::time(flush.at, now)}</a></th>
                    <td>{code(&flush.scope)}<small class="quiet">{format!("on {}, mode {}", flush.target, flush.mode)}</small></td>
                    <td>{flush.by.clone()}<small class="quiet">{flush.reason.clone()}</small></td>
                    <td class="num">{if removed { write::NONE.to_owned() } else { write::count(flush.removed) }}<small class="quiet">{flush.planned.map(|planned| format!("of {}", write::count(planned)))}</small></td>
                    <td class="num w3">{flush.residue.map_or_else(|| write::NONE.to_owned(), write::count)}</td>
                    <td>{super::state_words(&flush.state)}<small class="quiet">{marks}</small></td>
                    <td>{verdict}</td>
                </tr>
            }
            .into_any()
        })
        .collect();
    view! {
        <div class="scroll" tabindex="0" role="region" aria-label="Flushes">
            <table class="roomy">
                <caption class="vh">"Flushes, newest first"</caption>
                <thead>
                    <tr>
                        <th scope="col">"Planned"</th><th scope="col">"Scope"</th><th scope="col">"By, why"</th><th scope="col" class="num">"Keys"</th>
                        <th scope="col" class="num w3">"Written since"</th><th scope="col">"State"</th><th scope="col">"Verdict"</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
    .into_any()
}
