//! `/prefixes/{name}`: one prefix with its charts, its read paths, its policy, and the events behind the figures.

mod events;

use crate::server::service::figures::{DeclaredWrite, Metric, MetricChart, Point, RateFigure, Standing};
use crate::server::service::prefix::{DELAYS_S, FailedInvalidation, Policy, PrefixPage, ReadPath, StaleSample};
use crate::ui::components::chart::{Chart, Format, Line, figure, marks_key};
use crate::ui::components::frame::{range_nav, region};
use crate::ui::components::key::{code, key};
use crate::ui::components::state::{Glyph, Tone, notice, standing, state};
use crate::ui::components::write;
use crate::ui::pages::overview::{breach_words, why_words};
use chrono::{DateTime, TimeDelta, Utc};
use leptos::prelude::*;

pub use events::main as events_main;

/// The page's `main`. `numbers` names the chart whose table is open; `may_flush` whether this person may plan.
pub fn main(model: &PrefixPage, numbers: &str, may_flush: bool) -> AnyView {
    let here = write::prefix_href(&model.name, &model.target, "").trim_end_matches('&').to_owned();
    let keep = if numbers.is_empty() { String::new() } else { format!("&numbers={}", write::query(numbers)) };
    let live =
        format!("/live?of=prefix&name={}&target={}&{}{keep}", write::query(&model.name), write::query(&model.target), model.range.query());
    view! {
        <main id="main" class="page">
            <div class="head">
                {region(format!("{live}&part=head"), "", "Summary", head(model))}
                {range_nav(&model.range, &here, &keep)}
            </div>
            {actions(model, may_flush)}
            {region(live, "stack", "Figures", body(model, numbers))}
        </main>
    }
    .into_any()
}

/// Name, state, and what is over.
pub fn head(model: &PrefixPage) -> AnyView {
    let now = model.as_of;
    let (tone, shape, word) = standing(model.standing, model.protected);
    let words = match (model.standing, model.outside_since) {
        (Standing::Outside, Some(since)) => format!("outside for {}", write::span(now - since)),
        (Standing::NotProven { needed }, _) if needed > 0 => {
            format!("{word}: it takes about {} samples in 15 minutes", write::count(needed))
        }
        _ => word.to_owned(),
    };
    let breaches: Vec<AnyView> = model
        .breaches
        .iter()
        .map(|breach| {
            let weight = breach.interval.map(|interval| format!(" (95 %: {}, n {})", write::interval(interval), write::count(breach.n)));
            let limit = (breach.metric != Metric::Budget).then(|| format!(", limit {}", write::limit(breach.metric, breach.threshold)));
            view! { <span>{breach_words(breach, now)}{weight}{limit}</span>" " }.into_any()
        })
        .collect();
    let lock = model.protected.then(|| view! { {state(Tone::Plain, Glyph::Lock, "protected, can never be flushed")}" " });
    let cause = model.why.as_ref().filter(|_| model.standing == Standing::Outside).map(|why| {
        let words = view! { <b>"Likely cause: "</b>{why_words(&model.breaches, why, now)} };
        view! { <div class="next">{notice(Tone::Plain, Glyph::Miss, words)}</div> }
    });
    view! {
        <h1>{key(&model.name)}" "<span class="quiet">{format!("on {}", model.target)}</span></h1>
        <p class="under">{state(tone, shape, words)}" "{lock}{breaches}</p>
        {cause}
    }
    .into_any()
}

/// The way to the remedy. Outside the live region, where a form or a focus may stand.
fn actions(model: &PrefixPage, may_flush: bool) -> AnyView {
    if !model.registered {
        let words = match model.name.as_str() {
            "overflow" => {
                "Events whose key matched no prefix after the limit of names was reached. Register their prefixes in the configuration."
            }
            _ => {
                "Events whose key matches no registered prefix. Register it in the configuration, and they count under its name from then on."
            }
        };
        return view! { <p class="under">{words}</p> }.into_any();
    }
    if model.protected {
        return ().into_any();
    }
    let body = if may_flush {
        let to = format!("/flush?target={}&scope={}", write::query(&model.target), write::query(&model.name));
        let hint =
            if model.standing == Standing::Outside { "Mend the writer first: else old values come back." } else { "Planning only reads." };
        view! { <a class="btn btn-sm" href=to>"Plan a flush of "<code>{model.name.clone()}</code></a>" "<span class="hint">{hint}</span> }
            .into_any()
    } else {
        view! { <span class="hint">"A flush of this prefix is planned by an operator or an admin; your role only reads."</span> }.into_any()
    };
    view! { <p class="actions no-print">{body}</p> }.into_any()
}

/// Everything under the summary.
pub fn body(model: &PrefixPage, numbers: &str) -> AnyView {
    view! {
        <div class="cols">
            <div class="stack">
                {stale_chart(model, numbers)}
                {read_paths(model)}
            </div>
            <aside class="stack">
                {model.policy.as_ref().map(policy)}
                {classes(model)}
            </aside>
        </div>
        <div class="charts">
            {rebuild_chart(model, numbers)}
            {miss_chart(model, numbers)}
            {error_chart(model, numbers)}
            {cost_chart(model, numbers)}
        </div>
        {marks_key()}
        {writes(&model.writes, model.as_of)}
        <section class="panel" id="failed">
            <div class="panel-head"><h2>"Failed invalidations"</h2><span class="sub">"latest in the range"</span>{all_link(model, "failed", model.invalidation_errors_total().k)}</div>
            {failed_table(&model.failed, model.as_of)}
        </section>
        <section class="panel" id="samples">
            <div class="panel-head"><h2>"Stale samples"</h2><span class="sub">"latest in the range"</span>{all_link(model, "stale", model.all_paths.iter().map(|rate| rate.k).sum())}</div>
            {stale_table(&model.stale_samples, model.as_of)}
        </section>
    }
    .into_any()
}

impl PrefixPage {
    /// Failed invalidations of all, over the range.
    fn invalidation_errors_total(&self) -> RateFigure {
        RateFigure { k: self.error_classes.iter().map(|(_, count)| count).sum(), n: self.invalidations, interval: None }
    }
}

fn all_link(model: &PrefixPage, which: &str, count: u64) -> Option<AnyView> {
    let href = format!("{}&events={which}", write::prefix_href(&model.name, &model.target, &model.range.query()));
    (count > 0).then(|| view! { <span class="sub"><a href=href>{format!("All {}", write::count(count))}</a></span> }.into_any())
}

fn numbers_link(model: &PrefixPage, id: &str, open: &str) -> (String, bool) {
    let href = format!("{}&numbers={id}#{id}", write::prefix_href(&model.name, &model.target, &model.range.query()));
    (href, open == id)
}

fn origin(origin: Option<&String>) -> Option<String> {
    origin.filter(|origin| *origin != "app").map(|origin| format!(" · from {origin}"))
}

fn weighed(total: Point, limit: Option<f64>, format: Format) -> AnyView {
    let Some(value) = total.value else { return view! { <span class="quiet">"no data"</span> }.into_any() };
    let class = if limit.is_some_and(|limit| value > limit) { "v-bad" } else { "" };
    view! { <b class=class>{format.value(value)}</b> }.into_any()
}

fn spoken(what: &str, chart: &MetricChart, format: Format) -> String {
    let value =
        chart.total.value.map_or_else(|| "no data in this range".to_owned(), |value| format!("{} over the range", format.value(value)));
    let limit = chart.threshold.map_or_else(String::new, |limit| format!(", limit {}", format.value(limit)));
    format!("{what}: {value}{limit}.")
}

fn stale_chart(model: &PrefixPage, numbers: &str) -> AnyView {
    let chart = &model.stale;
    let now = if (1..write::FEW).contains(&chart.total.n) {
        view! { <span class="quiet">{format!("{} samples: too little data", write::count(chart.total.n))}</span> }.into_any()
    } else {
        let weight = (chart.total.n > 0).then(|| format!(" of {} samples", write::count(chart.total.n)));
        view! { {weighed(chart.total, chart.threshold, Format::Percent)}<span class="quiet">{weight}{origin(chart.origin.as_ref())}</span> }
            .into_any()
    };
    figure(Chart {
        id: "stale",
        title: format!("Stale reads {} s after the write", model.stale_delay_s),
        unit: "% of samples, 95 % interval",
        now,
        label: spoken("Stale-read rate", chart, Format::Percent),
        format: Format::Percent,
        lines: vec![Line { name: "", class: "l1", series: &chart.series }],
        with_interval: true,
        shade_l2_to_l1: false,
        limit: chart.threshold,
        marks: &model.marks,
        gaps: &model.gaps,
        numbers: Some(numbers_link(model, "stale", numbers)),
    })
}

fn rebuild_chart(model: &PrefixPage, numbers: &str) -> AnyView {
    let rebuild = &model.rebuild;
    let [p50, p95, p99] = rebuild.total;
    let failed = (rebuild.failed > 0).then(|| format!(", {} failed", write::count(rebuild.failed)));
    let now = match p95 {
        None => view! { <span class="quiet">"no rebuilds"</span> }.into_any(),
        Some(value) => {
            let class = if rebuild.threshold_p95_ms.is_some_and(|limit| value > limit) { "v-bad" } else { "" };
            view! {
                "p95 "<b class=class>{write::millis(value)}</b>" "
                <span class="quiet">{format!("{} rebuilds", write::count(rebuild.rebuilds))}{failed}{origin(rebuild.origin.as_ref())}</span>
            }
            .into_any()
        }
    };
    let text = |value: Option<f64>| value.map_or_else(|| "unknown".to_owned(), write::millis);
    figure(Chart {
        id: "rebuild",
        title: "Rebuild latency".to_owned(),
        unit: "ms, p50 to p95 shaded",
        now,
        label: format!("Rebuild latency over the range: p50 {}, p95 {}, p99 {}.", text(p50), text(p95), text(p99)),
        format: Format::Millis,
        lines: vec![
            Line { name: "p99", class: "l3", series: &rebuild.p99 },
            Line { name: "p50", class: "l2", series: &rebuild.p50 },
            Line { name: "p95", class: "l1", series: &rebuild.p95 },
        ],
        with_interval: false,
        shade_l2_to_l1: true,
        limit: rebuild.threshold_p95_ms,
        marks: &model.marks,
        gaps: &model.gaps,
        numbers: Some(numbers_link(model, "rebuild", numbers)),
    })
}

fn miss_chart(model: &PrefixPage, numbers: &str) -> AnyView {
    if let Some(misses) = &model.misses_alone {
        return misses_chart(model, misses, numbers);
    }
    let reads = model.hits + model.misses + model.stale_served;
    let now = view! {
        {weighed(model.miss.total, model.miss.threshold, Format::Percent)}" "
        <span class="quiet">{format!("of {} reads, {} stale served", write::count(reads), write::count(model.stale_served))}{origin(model.miss.origin.as_ref())}</span>
    };
    figure(Chart {
        id: "miss",
        title: "Miss rate".to_owned(),
        unit: "% of reads",
        now: now.into_any(),
        label: spoken("Miss rate", &model.miss, Format::Percent),
        format: Format::Percent,
        lines: vec![Line { name: "", class: "l1", series: &model.miss.series }],
        with_interval: false,
        shade_l2_to_l1: false,
        limit: model.miss.threshold,
        marks: &model.marks,
        gaps: &model.gaps,
        numbers: Some(numbers_link(model, "miss", numbers)),
    })
}

/// In the place of the rate, where hits were not measured.
fn misses_chart(model: &PrefixPage, misses: &MetricChart, numbers: &str) -> AnyView {
    let now = view! {
        {weighed(misses.total, None, Format::Amount)}" "
        <span class="quiet">{format!("{} misses; hits not measured, so no rate", write::count(misses.total.n))}{origin(misses.origin.as_ref())}</span>
    };
    figure(Chart {
        id: "miss",
        title: "Misses".to_owned(),
        unit: "per minute",
        now: now.into_any(),
        label: spoken("Misses per minute", misses, Format::Amount),
        format: Format::Amount,
        lines: vec![Line { name: "", class: "l1", series: &misses.series }],
        with_interval: false,
        shade_l2_to_l1: false,
        limit: None,
        marks: &model.marks,
        gaps: &model.gaps,
        numbers: Some(numbers_link(model, "miss", numbers)),
    })
}

fn error_chart(model: &PrefixPage, numbers: &str) -> AnyView {
    let total = model.invalidation_errors_total();
    let classes: Vec<String> =
        model.error_classes.iter().take(3).map(|(class, count)| format!("{class} {}", write::count(*count))).collect();
    let classes = if classes.is_empty() { String::new() } else { format!(": {}", classes.join(", ")) };
    let now = view! {
        {weighed(model.invalidation_errors.total, model.invalidation_errors.threshold, Format::Percent)}" "
        <span class="quiet">{format!("{} of {}{classes}", write::count(total.k), write::count(total.n))}</span>
    };
    figure(Chart {
        id: "errors",
        title: "Invalidation errors".to_owned(),
        unit: "% of invalidations",
        now: now.into_any(),
        label: spoken("Invalidation error rate", &model.invalidation_errors, Format::Percent),
        format: Format::Percent,
        lines: vec![Line { name: "", class: "l1", series: &model.invalidation_errors.series }],
        with_interval: false,
        shade_l2_to_l1: false,
        limit: model.invalidation_errors.threshold,
        marks: &model.marks,
        gaps: &model.gaps,
        numbers: Some(numbers_link(model, "errors", numbers)),
    })
}

fn cost_chart(model: &PrefixPage, numbers: &str) -> AnyView {
    let rank = model.cost_rank.map(|(rank, of)| format!(" number {rank} of {of}"));
    let now = view! { {weighed(model.cost.total, None, Format::Amount)}<span class="quiet">{rank}</span> };
    figure(Chart {
        id: "cost",
        title: "Cost".to_owned(),
        unit: "rebuild-seconds per minute",
        now: now.into_any(),
        label: spoken("Cost in rebuild-seconds per minute", &model.cost, Format::Amount),
        format: Format::Amount,
        lines: vec![Line { name: "", class: "l1", series: &model.cost.series }],
        with_interval: false,
        shade_l2_to_l1: false,
        limit: None,
        marks: &model.marks,
        gaps: &model.gaps,
        numbers: Some(numbers_link(model, "cost", numbers)),
    })
}

/// Who sees old values: stale reads by read path and delay.
fn read_paths(model: &PrefixPage) -> AnyView {
    let policy = model.policy.as_ref();
    let limit = policy.and_then(|policy| policy.stale_threshold);
    let from = policy.map_or(u32::MAX, |policy| policy.fresh_within_s);
    let unknown = model.all_paths[5].n > 0;
    let heads: Vec<AnyView> = DELAYS_S
        .iter()
        .map(|delay| {
            let note = limit
                .filter(|_| *delay >= from)
                .map(|limit| view! { " "<span class="quiet">{format!("limit {}", write::percent_limit(limit))}</span> });
            view! { <th scope="col">{format!("{delay} s")}{note}</th> }.into_any()
        })
        .collect();
    let row = |name: AnyView, rates: &[RateFigure; 6]| {
        let shown = if unknown { 6 } else { 5 };
        let cells: Vec<AnyView> = rates
            .iter()
            .take(shown)
            .enumerate()
            .map(|(index, rate)| {
                let judged = limit.filter(|_| DELAYS_S.get(index).is_some_and(|delay| *delay >= from));
                view! { <td>{delay_cell(*rate, judged)}</td> }.into_any()
            })
            .collect();
        view! { <tr><th scope="row">{name}</th>{cells}</tr> }.into_any()
    };
    let rows: Vec<AnyView> = model
        .read_paths
        .iter()
        .map(|ReadPath { name, by_delay }| row(view! { <code class="key">{name.clone()}</code> }.into_any(), by_delay))
        .collect();
    let body = if model.all_paths.iter().all(|rate| rate.n == 0) {
        view! {
            <p class="empty">"No sample in this range. Send "<code>"stale_read"</code>" events: after a write, compare what the cache holds with the source at 0, 1, 10 and 60 s."</p>
        }
        .into_any()
    } else {
        view! {
            <div class="scroll" tabindex="0" role="region" aria-label="Stale reads by read path">
                <table class="matrix delays">
                    <caption class="vh">"Stale-read rate by read path and delay after the write"</caption>
                    <thead><tr><th scope="col">"Read path"</th>{heads}{unknown.then(|| view! { <th scope="col">"delay unknown"</th> })}</tr></thead>
                    <tbody>{rows}{row("All read paths".into_any(), &model.all_paths)}</tbody>
                </table>
            </div>
        }
        .into_any()
    };
    view! {
        <section class="panel">
            <div class="panel-head"><h2>"Who sees old values"</h2><span class="sub">"stale reads by read path and delay after the write, over the range"</span></div>
            {body}
        </section>
    }
    .into_any()
}

fn delay_cell(rate: RateFigure, limit: Option<f64>) -> AnyView {
    let Some(value) = rate.value() else { return view! { <span class="quiet">{write::NONE}</span> }.into_any() };
    if rate.n < write::FEW {
        return view! { {state(Tone::Few, Glyph::Few, write::rate(rate))}<small>"too little data"</small> }.into_any();
    }
    let weight = rate.interval.map_or_else(String::new, |interval| format!("{}, ", write::interval(interval)));
    let (low, high) = rate.interval.unwrap_or((value, value));
    let figure = match limit {
        Some(limit) if low > limit => state(Tone::Bad, Glyph::Out, write::percent(value)),
        Some(limit) if value > limit && high > limit => state(Tone::Warn, Glyph::Risk, write::percent(value)),
        _ => view! { <b>{write::percent(value)}</b> }.into_any(),
    };
    view! { {figure}<small>{format!("{weight}n {}", write::count(rate.n))}</small> }.into_any()
}

fn policy(policy: &Policy) -> AnyView {
    let budget = policy.budget_left.map_or_else(
        || view! { <span class="quiet">"no samples in 7 days"</span> }.into_any(),
        |left| {
            let class = if left <= 0.0 {
                "v-bad"
            } else if left < 0.35 {
                "v-warn"
            } else {
                ""
            };
            let spent = if left <= 0.0 { "spent".to_owned() } else { format!("{} left", write::budget(left)) };
            view! { <span class=class>{spent}</span>{format!(" over 7 days, n {}", write::count(policy.budget_n))} }.into_any()
        },
    );
    let mut limits: Vec<String> = Vec::new();
    if let Some(limit) = policy.stale_threshold {
        limits.push(format!("stale reads {}", write::percent_limit(limit)));
    }
    if let Some(limit) = policy.miss_threshold {
        limits.push(format!("miss rate {}", write::percent_limit(limit)));
    }
    if let Some(limit) = policy.rebuild_p95_threshold_ms {
        limits.push(format!("rebuild p95 {}", write::millis(limit)));
    }
    if let Some(limit) = policy.invalidation_errors_threshold {
        limits.push(format!("invalidation errors {}", write::percent_limit(limit)));
    }
    let mut ttl: Vec<String> = Vec::new();
    if let Some(max) = policy.ttl_max_s {
        ttl.push(format!("at most {}", write::span(TimeDelta::seconds(i64::try_from(max).unwrap_or(i64::MAX / 1_000)))));
    }
    if let Some(jitter) = policy.ttl_jitter {
        ttl.push(format!("jitter {}", write::percent_limit(jitter)));
    }
    if policy.ttl_required {
        ttl.push("required".to_owned());
    }
    let keys = match policy.store_keys.as_str() {
        "full" => "key names stored",
        "masked" => "key names stored masked",
        _ => "key names not stored",
    };
    view! {
        <section class="card">
            <h2>"Policy"</h2>
            <dl class="policy">
                <dt>"Owner"</dt><dd>{policy.owner.clone()}</dd>
                <dt>"Tier"</dt><dd>{policy.tier.clone()}</dd>
                <dt>"Expected"</dt><dd>{policy.expected.clone()}</dd>
                <dt>"Objective"</dt><dd>{format!("{} of reads fresh {} s after the write", write::percent_limit(policy.ratio), policy.fresh_within_s)}</dd>
                <dt>"Budget"</dt><dd>{budget}</dd>
                <dt>"Limits"</dt><dd>{if limits.is_empty() { "none".to_owned() } else { limits.join(", ") }}</dd>
                <dt>"TTL"</dt><dd>{if ttl.is_empty() { "not declared".to_owned() } else { ttl.join(", ") }}</dd>
                <dt>"Privacy"</dt><dd>{keys}</dd>
                <dt>"Declared in"</dt><dd>{code(&policy.declared_at)}</dd>
            </dl>
        </section>
    }
    .into_any()
}

/// Failed invalidations by class: never silent.
fn classes(model: &PrefixPage) -> AnyView {
    let most = model.error_classes.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let body = if model.error_classes.is_empty() {
        let words = if model.invalidations == 0 { "No invalidation in this range." } else { "None failed in this range." };
        view! { <p class="hint">{words}</p> }.into_any()
    } else {
        let rows: Vec<AnyView> = model
            .error_classes
            .iter()
            .map(|(class, count)| {
                #[expect(clippy::cast_precision_loss, reason = "a bar of 90 pixels")]
                let share = *count as f64 / most.max(1) as f64;
                view! { <tr><th scope="row">{class.clone()}</th><td class="num">{write::count(*count)}</td><td>{crate::ui::components::cells::bar(share, 90)}</td></tr> }.into_any()
            })
            .collect();
        view! {
            <table class="plain">
                <caption class="vh">"Failed invalidations by error class"</caption>
                <thead><tr><th scope="col">"Class"</th><th scope="col" class="num">"Failed"</th><th scope="col"><span class="vh">"Drawn"</span></th></tr></thead>
                <tbody>{rows}</tbody>
            </table>
        }
        .into_any()
    };
    view! { <section class="card"><h2>"Invalidation errors by class"</h2>{body}</section> }.into_any()
}

fn writes(writes: &[DeclaredWrite], now: DateTime<Utc>) -> AnyView {
    let body = if writes.is_empty() {
        view! { <p class="empty">"No contract names this prefix. Declare which writes must invalidate it, in "<code>"[[contract]]"</code>" of the configuration."</p> }.into_any()
    } else {
        let rows: Vec<AnyView> = writes
            .iter()
            .map(|write| {
                let last = write
                    .last_write
                    .map_or_else(|| view! { <span class="quiet">"never seen"</span> }.into_any(), |at| write::time_exact(at, now));
                view! {
                    <tr>
                        <th scope="row">{code(&write.endpoint)}</th>
                        <td>{format!("{} within {}", write.how, write::seconds(write.within_s))}</td>
                        <td>{last}</td>
                        <td>{last_invalidation(write.last_invalidation.as_ref(), now)}</td>
                        <td class="w3">{code(&write.declared_at)}</td>
                    </tr>
                }
                .into_any()
            })
            .collect();
        view! {
            <div class="scroll" tabindex="0" role="region" aria-label="Declared writes">
                <table class="roomy">
                    <caption class="vh">"Declared writes that must invalidate this prefix"</caption>
                    <thead>
                        <tr>
                            <th scope="col">"Write"</th><th scope="col">"Must"</th><th scope="col">"Last write"</th>
                            <th scope="col">"Last invalidation by it"</th><th scope="col" class="w3">"Declared"</th>
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
        }
        .into_any()
    };
    view! {
        <section class="panel" id="writes">
            <div class="panel-head"><h2>"Declared writes"</h2><span class="sub">"that must invalidate this prefix"</span></div>
            {body}
        </section>
    }
    .into_any()
}

/// When an edge was last honoured, or how it failed.
pub fn last_invalidation(last: Option<&crate::server::service::figures::LastInvalidation>, now: DateTime<Utc>) -> AnyView {
    match last {
        None => state(Tone::Few, Glyph::Few, "none seen"),
        Some(last) if last.ok => {
            let words = view! { {format!("{}, ", last.method)}{write::time_exact(last.at, now)} };
            state(Tone::In, Glyph::In, words)
        }
        Some(last) => {
            let class = last.error_class.clone().unwrap_or_else(|| "error".to_owned());
            let words = view! { {format!("failed, {class}, ")}{write::time_exact(last.at, now)} };
            state(Tone::Bad, Glyph::Miss, words)
        }
    }
}

fn named_key(text: Option<&String>) -> AnyView {
    text.map_or_else(|| view! { <span class="quiet">"not stored"</span> }.into_any(), |text| code(text))
}

/// Failed invalidations, newest first.
pub fn failed_table(rows: &[FailedInvalidation], now: DateTime<Utc>) -> AnyView {
    if rows.is_empty() {
        return view! { <p class="empty">"None in this range."</p> }.into_any();
    }
    let rows: Vec<AnyView> = rows
        .iter()
        .map(|row| {
            let latency = row.latency_us.map(|us| {
                #[expect(clippy::cast_precision_loss, reason = "a latency, shown to three digits")]
                let ms = us as f64 / 1_000.0;
                write::millis(ms)
            });
            view! {
                <tr>
                    <th scope="row" class="nowrap">{write::time_exact(row.at, now)}</th>
                    <td>{named_key(row.key.as_ref())}</td>
                    <td>{row.method.clone()}</td>
                    <td>{state(Tone::Bad, Glyph::Miss, row.error_class.clone())}<small class="quiet">{row.error.clone()}</small></td>
                    <td class="num w3">{latency}</td>
                    <td class="w3">{row.mutation_id.clone()}</td>
                    <td class="w3 quiet">{row.source.clone()}</td>
                </tr>
            }
            .into_any()
        })
        .collect();
    view! {
        <div class="scroll" tabindex="0" role="region" aria-label="Failed invalidations">
            <table class="roomy">
                <caption class="vh">"Failed invalidations, newest first"</caption>
                <thead>
                    <tr>
                        <th scope="col">"At, UTC"</th><th scope="col">"Key"</th><th scope="col">"Method"</th><th scope="col">"Error"</th>
                        <th scope="col" class="num w3">"Took"</th><th scope="col" class="w3">"Mutation"</th><th scope="col" class="w3">"Source"</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
    .into_any()
}

/// Stale samples, newest first.
pub fn stale_table(rows: &[StaleSample], now: DateTime<Utc>) -> AnyView {
    if rows.is_empty() {
        return view! { <p class="empty">"None in this range."</p> }.into_any();
    }
    let rows: Vec<AnyView> = rows
        .iter()
        .map(|row| {
            #[expect(clippy::cast_precision_loss, reason = "a delay, shown to three digits")]
            let delay = row.delay_ms.map_or_else(|| "unknown".to_owned(), |ms| write::millis(ms as f64));
            let versions = match (&row.cached_version, &row.source_version) {
                (None, None) => write::NONE.to_owned(),
                (cached, source) => {
                    let text = |version: &Option<String>| version.clone().unwrap_or_else(|| "?".to_owned());
                    format!("{} → {}", text(cached), text(source))
                }
            };
            view! {
                <tr>
                    <th scope="row" class="nowrap">{write::time_exact(row.at, now)}</th>
                    <td>{named_key(row.key.as_ref())}</td>
                    <td class="num">{delay}</td>
                    <td>{row.read_path.as_ref().map(|path| code(path))}</td>
                    <td>{versions}</td>
                    <td class="w3">{row.mutation_id.clone()}</td>
                    <td class="w3 quiet">{row.source.clone()}</td>
                </tr>
            }
            .into_any()
        })
        .collect();
    view! {
        <div class="scroll" tabindex="0" role="region" aria-label="Stale samples">
            <table class="roomy">
                <caption class="vh">"Stale samples, newest first"</caption>
                <thead>
                    <tr>
                        <th scope="col">"At, UTC"</th><th scope="col">"Key"</th><th scope="col" class="num">"After the write"</th><th scope="col">"Read path"</th>
                        <th scope="col">"Version, cached → source"</th><th scope="col" class="w3">"Mutation"</th><th scope="col" class="w3">"Source"</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
    .into_any()
}
