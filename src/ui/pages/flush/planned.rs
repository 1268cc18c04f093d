//! A plan: what would go, what it would cost, what the server checked; and the confirmation, the only danger zone of the product.

use super::words;
use crate::domain::refusal::Refusal;
use crate::server::service::flush::{FlushPage, Plan, Weight};
use crate::ui::components::key::code;
use crate::ui::components::state::{Glyph, Tone, glyph, notice, state};
use crate::ui::components::{cells, form, write};
use chrono::TimeDelta;
use leptos::prelude::*;

/// What would be removed, and until when the plan holds.
pub fn head(flush: &FlushPage) -> AnyView {
    let Some(plan) = &flush.plan else { return ().into_any() };
    let now = flush.as_of;
    let least = if plan.at_least { "at least " } else { "" };
    let count = format!("{least}{}", words::keys(plan.matched));
    let whose = if flush.mine { "yours alone, used once".to_owned() } else { format!("of {}, for them alone", flush.author) };
    view! {
        <h1 class="sentence">
            <strong>{format!("This would {}", words::act(flush, &count))}</strong>{super::under_scope(flush)}". "{words::nothing_yet(flush)}
        </h1>
        <p class="under">
            <span>"Plan "{code(&plan.digest)}", "{whose}</span>" "
            <span>"expires "{write::time_exact(plan.expires_at, now)}", in "{write::span(plan.expires_at - now)}</span>
        </p>
    }
    .into_any()
}

/// Everything but the form.
pub fn body(flush: &FlushPage) -> AnyView {
    view! { <div>{super::head(flush)}</div>{facts(flush)}{details(flush)} }.into_any()
}

/// The plan's numbers.
pub fn facts(flush: &FlushPage) -> AnyView {
    let Some(plan) = &flush.plan else { return ().into_any() };
    #[expect(clippy::cast_precision_loss, reason = "shares, shown to two digits")]
    let share = (plan.keyspace > 0).then(|| plan.matched as f64 / plan.keyspace as f64);
    let of = share.map(|share| format!("{} of {}", write::percent(share), write::count(plan.keyspace)));
    let load = plan.modes.iter().find(|line| line.chosen).and_then(|line| line.load_per_s);
    let load = load.map_or_else(|| "unknown".to_owned(), |load| format!("{} /s", write::amount(load)));
    let peak = plan
        .rebuild_peak_per_s
        .map_or_else(|| "no rebuilds seen in a day".to_owned(), |peak| format!("peak of the last day {} /s", write::amount(peak)));
    let memory = plan.memory_bytes.map_or_else(|| "unknown".to_owned(), write::bytes);
    let per_key =
        plan.memory_bytes.filter(|_| plan.matched > 0).map(|bytes| format!("{} a key, from a sample", write::bytes(bytes / plan.matched)));
    let versioned = (plan.versioned > 0).then(|| format!("{} of them versioned", write::count(plan.versioned)));
    let takes = if plan.estimated_ms < 1_000 {
        "under 1 s".to_owned()
    } else {
        format!("about {}", write::span(TimeDelta::milliseconds(i64::try_from(plan.estimated_ms).unwrap_or(0))))
    };
    view! {
        <dl class="facts">
            <div class="big"><dt>"Keys in scope"</dt><dd>{if plan.at_least { "≥ " } else { "" }}{write::count(plan.matched)}<small class="quiet">{of}</small><small class="quiet">{versioned}</small></dd></div>
            <div class="big"><dt>"Rebuild load, predicted"</dt><dd>{load}<small class="quiet">{peak}</small></dd></div>
            <div class="big"><dt>"Memory"</dt><dd>{memory}<small class="quiet">{per_key}</small></dd></div>
            <div class="big"><dt>"Will take"</dt><dd>{takes}<small class="quiet">{format!("{} pace, then one verifying scan", flush.pace)}</small><small class="quiet">{plan.bystander_ms.map(|ms| format!("others wait {} in the median now", write::millis(ms)))}</small></dd></div>
        </dl>
    }
    .into_any()
}

fn details(flush: &FlushPage) -> AnyView {
    let Some(plan) = &flush.plan else { return ().into_any() };
    let wide = plan.wide.then(|| {
        let why = plan.wide_because.join(", ");
        let who = if flush.can.asks { " Another person has to approve it before you can start it." } else { "" };
        notice(
            Tone::Warn,
            Glyph::Risk,
            view! { <b>"This flush is wide: "</b>{why}"."{who}" It is marked so in the audit and in the weekly review." },
        )
    });
    view! {
        {wide}
        {modes(flush, plan)}
        {checks(plan)}
        <div class="pair">{ttl(plan)}{samples(plan)}</div>
        <div class="pair">{prefixes(plan)}{nodes(plan)}</div>
    }
    .into_any()
}

/// The modes beside each other, and which is the gentlest that will do.
pub fn modes(flush: &FlushPage, plan: &Plan) -> AnyView {
    let rows: Vec<AnyView> = plan
        .modes
        .iter()
        .map(|line| {
            let what = match line.mode.as_str() {
                "soft" => "each key expires at a random moment; readers see old values until then",
                "version" => "one number is raised; nothing is removed, every read misses at once",
                _ => "every key is removed now and rebuilt on its next read",
            };
            let load = line.load_per_s.map_or_else(|| "unknown".to_owned(), |load| format!("{} /s", write::amount(load)));
            let chosen = line.chosen.then(|| view! { " "<b>"this plan"</b> });
            let note = match (&line.cannot, &line.advised) {
                (Some(why), _) => view! { <small class="quiet">{format!("not possible: {why}")}</small> }.into_any(),
                (None, Some(why)) => {
                    view! { {state(Tone::Good, Glyph::In, "advised")}<small class="quiet">{why.clone()}</small> }.into_any()
                }
                (None, None) => ().into_any(),
            };
            let other = (!line.chosen && line.cannot.is_none() && flush.can.confirm).then(|| {
                let window = line.window_s.map_or_else(String::new, |seconds| format!("&window_s={seconds}"));
                let query = format!(
                    "/flush?target={}&scope={}&kind={}&mode={}{window}",
                    write::query(&flush.target),
                    write::query(&flush.scope),
                    flush.scope_kind,
                    line.mode
                );
                view! { <a href=query>"Plan it so"</a> }
            });
            view! {
                <tr>
                    <th scope="row">{words::mode(&line.mode, line.window_s)}{chosen}" "{note}<small class="quiet">{what}</small></th>
                    <td class="num">{load}</td><td>{other}</td>
                </tr>
            }
            .into_any()
        })
        .collect();
    view! {
        <section class="panel">
            <div class="panel-head"><h2>"Modes, gentlest first"</h2><span class="sub">"rebuild load predicted from today's reads"</span></div>
            <div class="scroll" tabindex="0" role="region" aria-label="Modes">
                <table class="roomy">
                    <caption class="vh">"Modes, with the rebuild load of each"</caption>
                    <thead><tr><th scope="col">"Mode"</th><th scope="col" class="num">"Rebuilds at first"</th><th scope="col"><span class="vh">"Instead"</span></th></tr></thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
        </section>
    }
    .into_any()
}

/// What the server looked at.
pub fn checks(plan: &Plan) -> AnyView {
    let checks: Vec<AnyView> = plan
        .checks
        .iter()
        .map(|check| {
            let shape = match check.weight {
                Weight::Good => glyph(Glyph::In, "g-good"),
                Weight::Warn => glyph(Glyph::Risk, "g-warn"),
                Weight::Unknown => glyph(Glyph::Few, ""),
            };
            view! { <li>{shape}<span>{check.text.clone()}</span><span>{check.note.clone()}</span></li> }.into_any()
        })
        .collect();
    view! { <section class="card"><h2>"Checked by the server"</h2><ul class="checks">{checks}</ul></section> }.into_any()
}

fn ttl(plan: &Plan) -> AnyView {
    let most = plan.ttl.iter().map(|(_, keys)| *keys).max().unwrap_or(0).max(1);
    let rows: Vec<AnyView> = plan
        .ttl
        .iter()
        .map(|(label, keys)| {
            #[expect(clippy::cast_precision_loss, reason = "a bar of 150 pixels")]
            let share = *keys as f64 / most as f64;
            view! { <tr><th scope="row">{label.clone()}</th><td class="num">{write::count(*keys)}</td><td>{cells::bar(share, 120)}</td></tr> }.into_any()
        })
        .collect();
    view! {
        <section class="card">
            <h2>"Time to live"</h2>
            <table class="plain">
                <caption class="vh">"Keys by remaining time to live"</caption>
                <thead><tr><th scope="col">"Left"</th><th scope="col" class="num">"Keys"</th><th scope="col"><span class="vh">"Drawn"</span></th></tr></thead>
                <tbody>{rows}</tbody>
            </table>
            <p class="hint">{format!("From a sample of {}, scaled.", write::count(plan.ttl_sample))}</p>
        </section>
    }
    .into_any()
}

/// Some of the keys.
pub fn samples(plan: &Plan) -> AnyView {
    const FIRST: usize = 12;
    let list = |keys: &[String]| -> Vec<AnyView> { keys.iter().map(|key| view! { {key.clone()}<br/> }.into_any()).collect() };
    let body = if plan.samples_purged {
        view! { <p class="hint">"Sample keys are kept for 30 days and are gone."</p> }.into_any()
    } else if plan.samples.is_empty() {
        view! { <p class="hint">"None: no key matched, or their names are not shown for this prefix."</p> }.into_any()
    } else {
        let (first, more) = plan.samples.split_at(plan.samples.len().min(FIRST));
        let more = (!more.is_empty()).then(|| {
            view! { <details><summary>{format!("All {} of the sample", plan.samples.len())}</summary><p class="keys">{list(more)}</p></details> }
        });
        view! { <p class="keys">{list(first)}</p>{more} }.into_any()
    };
    view! { <section class="card"><h2>"Sample keys"</h2>{body}<p class="hint">"Values are never read."</p></section> }.into_any()
}

/// The registered prefixes it touches.
pub fn prefixes(plan: &Plan) -> AnyView {
    let prefixes: Vec<AnyView> = plan
        .prefixes
        .iter()
        .map(|prefix| {
            view! {
                <tr><th scope="row">{code(&prefix.name)}</th><td>{prefix.tier.clone().unwrap_or_else(|| "not registered".to_owned())}</td><td class="num">{write::count(prefix.keys)}</td></tr>
            }
            .into_any()
        })
        .collect();
    view! {
        <section class="card">
            <h2>"Prefixes touched"</h2>
            <table class="plain">
                <caption class="vh">"Registered prefixes that the scope touches"</caption>
                <thead><tr><th scope="col">"Prefix"</th><th scope="col">"Tier"</th><th scope="col" class="num">"Keys"</th></tr></thead>
                <tbody>{prefixes}</tbody>
            </table>
        </section>
    }
    .into_any()
}

fn nodes(plan: &Plan) -> AnyView {
    let nodes: Vec<AnyView> = plan
        .nodes
        .iter()
        .map(|node| {
            view! { <tr><th scope="row">{code(&node.address)}</th><td class="num">{write::count(node.keys)}</td><td class="num">{write::count(node.matched)}</td></tr> }.into_any()
        })
        .collect();
    view! {
        <section class="card">
            <h2>"Nodes"</h2>
            <table class="plain">
                <caption class="vh">"Nodes that were scanned"</caption>
                <thead><tr><th scope="col">"Node"</th><th scope="col" class="num">"Keys"</th><th scope="col" class="num">"In scope"</th></tr></thead>
                <tbody>{nodes}</tbody>
            </table>
        </section>
    }
    .into_any()
}

/// The confirmation, or why it is not there.
pub fn confirm(flush: &FlushPage, refusal: Option<&Refusal>) -> AnyView {
    let Some(plan) = flush.plan.as_ref() else { return ().into_any() };
    let (confirm, other) = (form::of(refusal, "confirm"), form::of(refusal, "do"));
    if !flush.can.confirm {
        let sentence = flush.can.sentence.clone().unwrap_or_else(|| "This plan is confirmed by the person who made it.".to_owned());
        return view! {
            {form::refused(confirm.or(other), "Not started.")}
            {notice(Tone::Plain, Glyph::Lock, sentence)}
            <form class="actions no-print" method="get" action="/flush" data-error=form::error_code(confirm.or(other))>
                <button class="btn" type="submit">"Back to flushes"</button>
            </form>
        }
        .into_any();
    }
    let asks = flush.can.asks;
    let count = write::count(plan.matched);
    let field = |id: &'static str, shown: &'static str, name: &'static str, label: &'static str, says: String, numeric: bool| {
        view! {
            <label for=id>{label}</label>
            <span class="shown" id=shown>{says}</span>
            <input
                class="mono"
                id=id
                name=name
                value=form::typed(confirm, name, "")
                inputmode=numeric.then_some("numeric")
                maxlength="8192"
                autocomplete="off"
                spellcheck="false"
                autocapitalize="none"
                required
                aria-describedby=shown
                aria-invalid=form::invalid(confirm, name)
            />
        }
        .into_any()
    };
    view! {
        {form::refused(confirm, "Nothing was done.")}
        <form class="danger" method="post" action=format!("/flush/{}", write::query(&flush.id)) aria-labelledby="dz" data-error=form::error_code(confirm)>
            <div class="danger-body">
                <div>
                    <h2 id="dz">{format!("{} {}", if asks { "Ask for" } else { "Confirm" }, words::noun(flush))}</h2>
                    <p class="under">
                        {if asks { "Another person has 30 minutes to approve exactly this; then you have 15 minutes to start it." } else { words::consequence(flush) }}
                        " Type what the plan shows; the server compares."
                    </p>
                </div>
                <div class="typed">
                    <span class="th"></span><span class="th">"The plan says"</span><span class="th">"You type"</span>
                    {field("tt", "tt-s", "typed_target", "Target", flush.target.clone(), false)}
                    {field("ts", "ts-s", "typed_scope", "Scope", flush.scope.clone(), false)}
                    {field("tc", "tc-s", "typed_count", "Count", count.clone(), true)}
                    <label class="top" for="re">"Reason"</label>
                    <div class="wide field">
                        <textarea id="re" name="reason" rows="2" minlength="15" maxlength="2000" required aria-describedby="re-h" aria-invalid=form::invalid(confirm, "reason")>
                            {form::typed(confirm, "reason", "")}
                        </textarea>
                        <p class="hint" id="re-h">"At least 15 characters. It is kept in the audit record for good."</p>
                    </div>
                    <label for="in">"Incident"</label>
                    <div class="wide">
                        <input class="short" id="in" name="incident" maxlength="500" value=form::typed(confirm, "incident", "") autocomplete="off" aria-label="Incident, optional"/>
                        <span class="hint">" optional"</span>
                    </div>
                </div>
                {form::second_factor(flush.can.factor, "cf", confirm)}
            </div>
            <div class="danger-end">
                <a class="btn" href="/flush">"Drop this plan"</a>
                <button class="btn btn-danger" type="submit">{if asks { format!("Ask to {} under ", words::act(flush, &words::keys(plan.matched))) } else { format!("{} under ", words::button(flush, &words::keys(plan.matched))) }}{code(&flush.scope)}</button>
            </div>
        </form>
    }
    .into_any()
}
