//! `/audit`: the record, newest first; whether it is whole; filters and exports.

use crate::server::service::audit::{AuditFilter, AuditPage, AuditRow};
use crate::ui::components::key::code;
use crate::ui::components::state::{Glyph, Tone, state};
use crate::ui::components::write;
use chrono::NaiveDate;
use leptos::prelude::*;

/// The page's `main`. `may` whether this person verifies and exports.
pub fn main(model: &AuditPage, may: bool) -> AnyView {
    view! {
        <main id="main" class="page">
            <div class="head">
                <div>
                    <h1>"Audit"</h1>
                    <p class="under">"Every plan, refusal, removal, sign-in and change of accounts. Append only; nothing here can be edited, not by an admin either."</p>
                </div>
            </div>
            {badge(model, may)}
            {filters(model)}
            {story(model)}
            {table(model)}
            {pages(model)}
        </main>
    }
    .into_any()
}

fn badge(model: &AuditPage, may: bool) -> AnyView {
    let now = model.as_of;
    let verified = match &model.verified {
        None => view! { {state(Tone::Few, Glyph::Few, "Not verified since the start")}<span>{format!("{} records", write::count(model.head_seq.unsigned_abs()))}</span> }.into_any(),
        Some(verified) => {
            let (tone, shape, words) = match verified.verdict.as_str() {
                "whole" => (Tone::Good, Glyph::Seal, "Record is whole"),
                "tampered" => (Tone::Bad, Glyph::Out, "Record was tampered with"),
                "truncated" => (Tone::Bad, Glyph::Out, "Record was cut short"),
                _ => (Tone::Warn, Glyph::Risk, "Cannot tell whether the record is whole"),
            };
            let bad = verified.first_bad.map(|seq| format!("first bad record {}", write::seq(seq)));
            // A record that is whole needs no more words, unless it was not always.
            let plain = verified.verdict == "whole" && !verified.detail.contains("anew");
            view! {
                {state(tone, shape, words)}
                {bad.map(|bad| view! { <span class="v-bad">{bad}</span> })}
                {(!plain).then(|| view! { <span>{verified.detail.clone()}</span> })}
                <span>{format!("{} records verified ", write::count(verified.records.unsigned_abs()))}{write::time_exact(verified.at, now)}{format!(", {}", write::ago(verified.at, now))}</span>
            }
            .into_any()
        }
    };
    let anchored = match model.anchored {
        Some((seq, at)) => {
            view! { <span>{format!("Anchored to {}, {}, in ", write::seq(seq), write::ago(at, now))}{code(&model.checkpoint_file)}</span> }
                .into_any()
        }
        None => view! { <span>"Not anchored yet, checkpoints go to "{code(&model.checkpoint_file)}</span> }.into_any(),
    };
    let separated = match &model.not_separated {
        Some(why) => view! { <span class="sub">{format!("Not separated: the server's Postgres role {why}, so whoever has it could switch off what protects the record.")}</span> }
            .into_any(),
        None => view! { <span>"Separated: the server's Postgres role may only read it and append to it"</span> }.into_any(),
    };
    let query = filter_query(&model.filter, false);
    let actions = if may {
        view! {
            <span class="actions no-print">
                <a class="btn btn-sm" href=format!("/audit.csv?{query}") download="">"Export CSV"</a>
                <a class="btn btn-sm" href=format!("/audit.jsonl?{query}") download="">"Export JSONL"</a>
            </span>
            <form method="post" action="/audit" class="no-print"><button class="btn btn-sm" type="submit">"Verify now"</button></form>
        }
        .into_any()
    } else {
        view! { <span class="hint">"An auditor or an admin verifies and exports."</span> }.into_any()
    };
    view! { <section class="badge" aria-label="Whether the record is whole">{verified}{anchored}{separated}{actions}</section> }.into_any()
}

fn filter_query(filter: &AuditFilter, with_before: bool) -> String {
    let day = |day: Option<NaiveDate>| day.map(|day| day.to_string());
    let before = filter.before.filter(|_| with_before).map(|before| before.to_string());
    [
        ("who", filter.who.clone()),
        ("code", filter.code.clone()),
        ("target", filter.target.clone()),
        ("scope", filter.scope.clone()),
        ("flush", filter.flush.map(|flush| flush.to_string())),
        ("from", day(filter.from)),
        ("to", day(filter.to)),
        ("before", before),
    ]
    .into_iter()
    .filter_map(|(name, value)| value.map(|value| format!("{name}={}", write::query(&value))))
    .collect::<Vec<_>>()
    .join("&")
}

fn filters(model: &AuditPage) -> AnyView {
    let choice =
        |id: &'static str, name: &'static str, label: &'static str, all: &'static str, options: &[String], chosen: Option<&String>| {
            // A value that came by the URL and is not among the offered ones stays chosen.
            let extra = chosen.filter(|chosen| !options.contains(chosen));
            let items: Vec<AnyView> = options
                .iter()
                .chain(extra)
                .map(|option| view! { <option value=option.clone() selected=Some(option) == chosen>{option.clone()}</option> }.into_any())
                .collect();
            view! { <div><label for=id>{label}</label><select id=id name=name><option value="">{all}</option>{items}</select></div> }
                .into_any()
        };
    let filter = &model.filter;
    let day = |day: Option<NaiveDate>| day.map(|day| day.to_string()).unwrap_or_default();
    view! {
        <form class="filters no-print" action="/audit">
            {choice("f1", "who", "Who", "anyone", &model.actors, filter.who.as_ref())}
            {choice("f2", "code", "What", "everything", &model.codes, filter.code.as_ref())}
            {choice("f3", "target", "Target", "all", &model.targets, filter.target.as_ref())}
            {model.by_scope.then(|| view! { <div><label for="f6">"Scope"</label><input id="f6" name="scope" value=filter.scope.clone().unwrap_or_default() autocomplete="off"/></div> })}
            <div><label for="f7">"Flush"</label><input id="f7" name="flush" size="6" inputmode="numeric" value=filter.flush.map(|flush| flush.to_string()).unwrap_or_default() autocomplete="off"/></div>
            <div><label for="f4">"From"</label><input id="f4" name="from" type="date" value=day(filter.from)/></div>
            <div><label for="f5">"To"</label><input id="f5" name="to" type="date" value=day(filter.to)/></div>
            <button class="btn btn-sm" type="submit">"Show"</button>
            {(*filter != AuditFilter::default()).then(|| view! { <a href="/audit">"Show all"</a> })}
        </form>
    }
    .into_any()
}

/// Whose records these are, where they are one flush's.
fn story(model: &AuditPage) -> AnyView {
    let Some(flush) = model.filter.flush else { return ().into_any() };
    view! {
        <h2>{format!("Records of flush {flush}, oldest first")}</h2>
        <p class="under"><a href=format!("/flush/{flush}")>{format!("Open flush {flush}")}</a></p>
    }
    .into_any()
}

fn table(model: &AuditPage) -> AnyView {
    if model.rows.is_empty() {
        return view! { <section class="panel"><p class="empty">"No record matches."</p></section> }.into_any();
    }
    let mut lines: Vec<AnyView> = Vec::new();
    let mut day: Option<NaiveDate> = None;
    for row in &model.rows {
        let this = row.at.date_naive();
        if day != Some(this) {
            day = Some(this);
            lines.push(
                view! { <tr class="day"><th colspan="6" scope="rowgroup">{this.format("%A %-d %B %Y").to_string()}</th></tr> }.into_any(),
            );
        }
        lines.push(line(row, model.filter.flush.is_none()));
    }
    view! {
        <section class="panel">
            <table class="chain">
                <caption class="vh">{if model.filter.flush.is_some() { "Audit records, oldest first" } else { "Audit records, newest first" }}</caption>
                <thead>
                    <tr>
                        <th scope="col">"Record"</th><th scope="col">"At, UTC"</th><th scope="col" class="w3">"Who"</th><th scope="col" class="w3">"Code"</th>
                        <th scope="col">"What"</th><th scope="col" class="w2">"Hash"</th>
                    </tr>
                </thead>
                <tbody>{lines}</tbody>
            </table>
        </section>
    }
    .into_any()
}

/// `leads_on` whether it leads to the other records of its flush.
fn line(row: &AuditRow, leads_on: bool) -> AnyView {
    let named = || {
        if row.refused { state(Tone::Warn, Glyph::Risk, row.code.clone()) } else { row.code.clone().into_any() }
    };
    let what = match &row.href {
        Some(href) => view! { <a href=href.clone()>{row.what.clone()}</a> }.into_any(),
        None => row.what.clone().into_any(),
    };
    let story = row.flush.filter(|_| leads_on).map(|flush| {
        view! { " "<a class="quiet no-print" href=format!("/audit?flush={flush}")>{format!("all of flush {flush}")}</a> }
    });
    let who = row.actor.clone();
    let class = if row.actor == "system" { "w3 quiet" } else { "w3" };
    let hash = if row.hash.len() > 8 { format!("{}…{}", &row.hash[..4], &row.hash[row.hash.len() - 4..]) } else { row.hash.clone() };
    view! {
        <tr id=format!("r{}", row.seq)>
            <td>{write::seq(row.seq)}</td>
            <td class="nowrap">{write::timed(row.at, &row.at.format("%H:%M:%S%.3f").to_string())}<span class="phone-only sub blk">{who.clone()}</span></td>
            <td class=class>{who}</td>
            <td class="nowrap w3">{named()}</td>
            <td class="wrap"><span class="phone-only blk">{named()}</span>{what}{story}</td>
            <td class="hash w2" title=row.hash.clone()>{hash}</td>
        </tr>
    }
    .into_any()
}

fn pages(model: &AuditPage) -> AnyView {
    let shown = model.rows.len();
    let older = model.older.map(|before| {
        let query = filter_query(&AuditFilter { before: Some(before), ..model.filter.clone() }, true);
        view! { <a class="btn btn-sm" href=format!("/audit?{query}")>{format!("Older, from {}", write::seq(before - 1))}</a> }
    });
    let newest = model.filter.before.map(|_| {
        let query = filter_query(&model.filter, false);
        view! { <a class="btn btn-sm" href=format!("/audit?{query}")>"Newest"</a> }
    });
    let cut = if model.story_cut { "; the exports have the rest of this flush" } else { "" };
    let words = format!("{shown} shown, {} in all{cut}", write::count(model.head_seq.unsigned_abs()));
    view! { <p class="actions no-print">{older}{newest}<span class="hint">{words}</span></p> }.into_any()
}
