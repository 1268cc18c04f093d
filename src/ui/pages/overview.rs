//! `/`: what is wrong first, in one sentence; then every prefix, outside first, at risk next, then by cost.

use crate::domain::range::Range;
use crate::server::service::figures::{Breach, Metric, RateFigure, Standing};
use crate::server::service::overview::{Overview, Row};
use crate::ui::components::chart::lane;
use crate::ui::components::form::command;
use crate::ui::components::frame::{range_nav, region};
use crate::ui::components::key::{code, key};
use crate::ui::components::state::{Glyph, Tone, glyph, standing};
use crate::ui::components::{cells, write};
use chrono::{DateTime, Utc};
use leptos::prelude::*;
use std::fmt::Write as _;

/// Rows shown before the rest folds into one line.
const SHOWN: usize = 60;
/// Breaches named in the sentence.
const NAMED: usize = 3;

/// What the URL asks for beside the range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Part of a prefix, owner or target.
    pub q: String,
    /// `outside`, `at_risk`, `within`, `not_proven`, `protected`
    pub state: String,
    /// Every row, nothing folded.
    pub all: bool,
}

impl Filter {
    fn on(&self) -> bool {
        !self.q.is_empty() || !self.state.is_empty()
    }

    fn keeps(&self, row: &Row) -> bool {
        let q = self.q.to_lowercase();
        let named = |text: &str| text.to_lowercase().contains(&q);
        let found = q.is_empty() || named(&row.name) || named(&row.target) || row.owner.as_deref().is_some_and(named);
        let state = match self.state.as_str() {
            "" => true,
            "protected" => row.protected,
            state => row.standing.as_str() == state,
        };
        found && state
    }

    /// As further parts of a query: `&q=…&state=…`.
    pub fn query(&self) -> String {
        let mut query = String::new();
        for (name, value) in [("q", &self.q), ("state", &self.state)] {
            if !value.is_empty() {
                let _ = write!(query, "&{name}={}", write::query(value));
            }
        }
        if self.all {
            query.push_str("&all=1");
        }
        query
    }
}

/// The page's `main`.
pub fn main(model: &Overview, filter: &Filter) -> AnyView {
    if !model.any_events {
        return first_run(model);
    }
    let live = format!("/live?of=overview&{}{}", model.range.query(), filter.query());
    view! {
        <main id="main" class="page">
            <div class="head">
                {region(format!("{live}&part=head"), "", "Summary", head(model))}
                {range_nav(&model.range, "/", &filter.query())}
            </div>
            {region(live, "stack", "Prefixes", body(model, filter))}
            <p class="sub">
                "An interval drawn wholly right of its dashes is outside. Under 30 samples there is no verdict. States come from the last 15 minutes, figures from the range shown. Protected prefixes can never be flushed."
            </p>
        </main>
    }
    .into_any()
}

/// The sentence, and how many stand where.
pub fn head(model: &Overview) -> AnyView {
    let (now, query) = (model.as_of, model.range.query());
    let registered: Vec<&Row> = model.rows.iter().filter(|row| row.registered).collect();
    let count = |of: fn(&Row) -> bool| registered.iter().filter(|row| of(row)).count();
    let outside: Vec<&&Row> = registered.iter().filter(|row| row.standing == Standing::Outside).collect();
    let risky = count(|row| row.standing == Standing::AtRisk);
    let within = count(|row| row.standing == Standing::Within);
    let locked = count(|row| row.protected);
    let few = count(|row| matches!(row.standing, Standing::NotProven { .. }) && !row.protected);
    let sentence = if outside.is_empty() {
        calm_sentence(registered.len(), within, risky)
    } else {
        let mut named: Vec<AnyView> = Vec::new();
        for row in outside.iter().take(NAMED) {
            let join = if named.is_empty() { " " } else { ", " };
            let worst = row.breaches.first().map(|breach| breach_words(breach, now));
            named.push(view! { {join}<a class="q" href=href(row, &model.range)>{key(&row.name)}</a>" "{worst} }.into_any());
        }
        let more = (outside.len() > NAMED).then(|| format!(" and {} more", outside.len() - NAMED));
        let (verb, whose) = if outside.len() == 1 { ("is", "its") } else { ("are", "their") };
        let noun = if registered.len() == 1 { "prefix" } else { "prefixes" };
        view! { <strong>{format!("{} of {} {noun} {verb} outside {whose} threshold:", outside.len(), registered.len())}</strong>{named}{more}"." }.into_any()
    };
    let link = |number: usize, name: &'static str, tone: Tone, shape: Glyph, words: &'static str| {
        (number > 0).then(|| {
            let class = format!("q {}", tone.class());
            view! { <a class=class href=format!("/?{query}&state={name}")>{glyph(shape, "")}{format!("{number} {words}")}</a>" " }
                .into_any()
        })
    };
    view! {
        <h1 class="sentence">{sentence}</h1>
        <p class="under">
            {link(outside.len(), "outside", Tone::Bad, Glyph::Out, "outside")}
            {link(risky, "at_risk", Tone::Warn, Glyph::Risk, "at risk")}
            {link(few, "not_proven", Tone::Plain, Glyph::Few, "too little data")}
            {link(locked, "protected", Tone::Plain, Glyph::Lock, "protected")}
            {link(within, "within", Tone::Plain, Glyph::In, "within")}
        </p>
    }
    .into_any()
}

fn calm_sentence(all: usize, within: usize, risky: usize) -> AnyView {
    if all == 0 {
        return view! { <strong>"No prefix is registered."</strong>" Events are counted as unclassified until the configuration names some." }.into_any();
    }
    let words = match (within, risky) {
        (0, 0) => "Nothing can be judged yet: there is too little data of the last 15 minutes.".to_owned(),
        (_, 0) => String::new(),
        (_, 1) => "1 is at risk.".to_owned(),
        (_, risky) => format!("{risky} are at risk."),
    };
    let lead = if within + risky == 0 {
        format!("None of {all} prefixes is known to be outside.")
    } else {
        "No prefix is outside its threshold.".to_owned()
    };
    view! { <strong>{lead}</strong>" "{words} }.into_any()
}

/// `stale reads 1.82 % at 10 s since 02:31`
pub fn breach_words(breach: &Breach, now: DateTime<Utc>) -> AnyView {
    if breach.metric == Metric::Budget && breach.value <= 0.0 {
        return view! { "budget "<b>"spent"</b> }.into_any();
    }
    let delay = breach.delay_s.filter(|_| breach.metric == Metric::StaleReads).map(|delay| format!(" at {delay} s"));
    let since = breach.since.map(|since| view! { {if breach.since_about { " since about " } else { " since " }}{write::time(since, now)} });
    view! { {write::metric(breach.metric)}" "<b>{write::value(breach.metric, breach.value)}</b>{delay}{since} }.into_any()
}

fn href(row: &Row, range: &Range) -> String {
    write::prefix_href(&row.name, &row.target, &range.query())
}

/// What changed, and the table.
pub fn body(model: &Overview, filter: &Filter) -> AnyView {
    let rows: Vec<&Row> = model.rows.iter().filter(|row| filter.keeps(row)).collect();
    let dearest = model.rows.iter().filter_map(|row| row.cost).fold(0.0, f64::max);
    // What is outside or at risk is never folded away.
    let urgent = rows.iter().filter(|row| matches!(row.standing, Standing::Outside | Standing::AtRisk)).count();
    let shown = if filter.all || filter.on() { rows.len() } else { SHOWN.max(urgent) };
    let (plain, extra): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.registered);
    let folded: Vec<&Row> = plain.iter().skip(shown).copied().collect();
    let mut lines: Vec<AnyView> = Vec::new();
    for row in plain.iter().take(shown).chain(&extra) {
        lines.push(line(row, model, dearest));
        if let Some(why) = why_line(row, model) {
            lines.push(why);
        }
    }
    let fold = (!folded.is_empty()).then(|| {
        let cost: f64 = folded.iter().filter_map(|row| row.cost).sum();
        let few = folded.iter().filter(|row| matches!(row.standing, Standing::NotProven { .. })).count();
        view! {
            <p class="fold-line">
                <a href=format!("/?{}&all=1", model.range.query())>{format!("{} more prefixes", folded.len())}</a>
                {format!(", {} within, {few} too little data, together {} rebuild-seconds a minute", folded.len() - few, write::amount(cost))}
            </p>
        }
    });
    let filtered = filter.on().then(|| {
        let words = match (filter.q.as_str(), filter.state.as_str()) {
            ("", state) => format!(
                "{} of {} prefixes: {}",
                rows.len(),
                model.rows.len(),
                state.replace('_', " ").replace("not proven", "too little data")
            ),
            (q, "") => format!("{} of {} prefixes match “{q}”", rows.len(), model.rows.len()),
            (q, state) => format!("{} of {} prefixes match “{q}”, {}", rows.len(), model.rows.len(), state.replace('_', " ")),
        };
        view! { <p class="filtered">{words}" "<a href=format!("/?{}", model.range.query())>"Show all"</a></p> }
    });
    view! {
        {lane(&model.marks, &model.gaps, model.range.from, model.range.to)}
        {filtered}
        <section class="panel">
            <table class="hero">
                <caption class="vh">"Prefixes: outside first, at risk next, then by cost"</caption>
                {table_head()}
                <tbody>{lines}</tbody>
            </table>
            {fold}
        </section>
    }
    .into_any()
}

fn table_head() -> AnyView {
    view! {
        <thead>
            <tr>
                <th scope="col" class="w3 s-g"><span class="vh">"State"</span></th>
                <th scope="col">"Prefix"</th>
                <th scope="col" class="w2">"Owner"</th>
                <th scope="col" class="w2">"Target"</th>
                <th scope="col" class="num">"Stale"<br/>"reads"</th>
                <th scope="col" class="w2 num">"after"<br/>"write"</th>
                <th scope="col" class="w1 num">"95 %"<br/>"interval"</th>
                <th scope="col" class="w3">"drawn, %, limit dashed"<br/>{cells::interval_axis()}</th>
                <th scope="col" class="w3 num">"Samples"</th>
                <th scope="col" class="w3 num tbl-sep">"Invalidation"<br/>"errors"</th>
                <th scope="col" class="w3 num tbl-sep">"Miss"<br/>"rate"</th>
                <th scope="col" class="w1"><span class="vh">"Miss rate, drawn"</span></th>
                <th scope="col" class="w2 num">"Misses"<br/>"per min"</th>
                <th scope="col" class="w3 num">"Rebuild"<br/>"p95"</th>
                <th scope="col" class="w1"><span class="vh">"Rebuild p95, drawn"</span></th>
                <th scope="col" class="num tbl-sep">"Cost, rebuild"<br/>"s per min"</th>
                <th scope="col" class="w2"><span class="vh">"Cost, drawn"</span></th>
                <th scope="col" class="w3 num">"Budget"<br/>"left, 7 d"</th>
            </tr>
        </thead>
    }
    .into_any()
}

fn breached(row: &Row, metric: Metric) -> &'static str {
    if row.breaches.iter().any(|breach| breach.metric == metric) {
        if row.standing == Standing::Outside { "v-bad" } else { "v-warn" }
    } else {
        ""
    }
}

fn line(row: &Row, model: &Overview, dearest: f64) -> AnyView {
    let (tone, shape, word) = standing(row.standing, row.protected);
    let loud = matches!(row.standing, Standing::Outside | Standing::AtRisk);
    let lock = (row.protected && !matches!(row.standing, Standing::NotProven { .. })).then(
        || view! { " "<span title="Protected: can never be flushed">{glyph(Glyph::Lock, "")}<span class="vh">"protected"</span></span> },
    );
    let shown_word = if loud { word.into_any() } else { view! { <span class="vh">{word}</span> }.into_any() };
    let class = match row.standing {
        Standing::Outside if row.why.is_some() => "out has-why",
        Standing::Outside => "out",
        Standing::AtRisk => "risk",
        Standing::NoPolicy => "fold",
        _ => "",
    };
    let to = href(row, &model.range);
    let owner = row.owner.clone().unwrap_or_else(|| "none".to_owned());
    let range = model.range.query();
    let events = |which: &str| format!("{}&events={which}", write::prefix_href(&row.name, &row.target, &range));
    let stale = stale_cell(row, &to, events("stale"));
    let errors = row.invalidation_errors;
    let error_text = if errors.n == 0 {
        write::NONE.to_owned()
    } else if errors.k == 0 {
        "0".to_owned()
    } else {
        write::rate(errors)
    };
    let error_cell = if errors.k > 0 {
        view! { <a class=breached(row, Metric::InvalidationErrors) href=events("failed")>{error_text}</a> }.into_any()
    } else {
        view! { <span class="quiet">{error_text}</span> }.into_any()
    };
    let cost = row.cost.unwrap_or(0.0);
    let cost_share = if dearest > 0.0 { cost / dearest } else { 0.0 };
    let samples = if row.stale.n == 0 { String::new() } else { write::count(row.stale.n) };
    let budget_class = match row.budget_left {
        Some(left) if left <= 0.0 => "v-bad",
        Some(left) if left < 0.35 => "v-warn",
        _ => "",
    };
    let drawn = match cells::interval(row.stale, row.stale_threshold) {
        Some(drawn) => drawn,
        None if row.registered => view! { <span class="quiet">"no samples"</span> }.into_any(),
        None => ().into_any(),
    };
    view! {
        <tr class=class>
            <td class="w3 s-g"><span class=tone.class()>{glyph(shape, "")}{shown_word}</span>{lock}</td>
            <th scope="row" class="tall-row">
                <span class="phone-only"><span class=tone.class()>{glyph(shape, "")}<span class="vh">{word}</span></span></span>
                <a href=to.clone()>{key(&row.name)}</a>
                <span class="narrow-only sub">{format!("{owner} · {}", row.target)}</span>
            </th>
            <td class="w2">{owner.clone()}</td>
            <td class="w2 quiet">{row.target.clone()}</td>
            {stale}
            <td class="w2 num quiet">{row.stale_delay_s.map(|delay| format!("{delay} s"))}</td>
            <td class="w1 num quiet">{row.stale.interval.map(write::interval)}</td>
            <td class="w3">{drawn}</td>
            <td class="w3 num quiet">{samples}</td>
            <td class="w3 num tbl-sep">{error_cell}</td>
            <td class="w3 num tbl-sep"><span class=breached(row, Metric::MissRate)>{write::rate(row.miss)}</span></td>
            <td class="w1">{cells::sparkline(&row.spark_miss, row.miss_threshold)}</td>
            <td class="w2 num quiet">{row.misses_per_min.map_or_else(|| write::NONE.to_owned(), write::amount)}</td>
            <td class="w3 num"><span class=breached(row, Metric::RebuildP95)>{row.rebuild_p95_ms.map_or_else(|| write::NONE.to_owned(), write::millis)}</span></td>
            <td class="w1">{cells::sparkline(&row.spark_p95_ms, row.rebuild_p95_threshold_ms)}</td>
            <td class="num tbl-sep">{row.cost.map_or_else(|| write::NONE.to_owned(), write::amount)}</td>
            <td class="w2">{cells::bar(cost_share, 44)}</td>
            <td class="w3 num"><span class=budget_class>{row.budget_left.map_or_else(|| write::NONE.to_owned(), write::budget)}</span></td>
        </tr>
    }
    .into_any()
}

fn stale_cell(row: &Row, to: &str, stale_events: String) -> AnyView {
    let RateFigure { k, n, .. } = row.stale;
    let text = write::rate(row.stale);
    let few = (1..write::FEW).contains(&n);
    let class = if few { "quiet" } else { breached(row, Metric::StaleReads) };
    let inner = if n == 0 {
        view! { <span class="quiet">{text}</span> }.into_any()
    } else {
        let href = if k > 0 { stale_events } else { format!("{to}#stale") };
        view! { <a class=class href=href>{text}</a> }.into_any()
    };
    let small = (n >= write::FEW).then(|| view! { <span class="phone-only sub blk">{format!("n {}", write::count(n))}</span> });
    view! { <td class="num tall-row">{inner}{small}</td> }.into_any()
}

/// The line under an outside row: what is over which limit since when, the last deploy before it, the declared writes, whose it is.
fn why_line(row: &Row, model: &Overview) -> Option<AnyView> {
    let why = row.why.as_ref().filter(|_| row.standing == Standing::Outside)?;
    let words = why_words(&row.breaches, why, model.as_of);
    let to = format!("{}#writes", href(row, &model.range));
    Some(
        view! {
            <tr class="why out">
                <td class="w3"></td>
                <td colspan="17">{words}" "<a href=to>"Declared writes"</a></td>
            </tr>
        }
        .into_any(),
    )
}

/// The likely cause, as far as it is known without contract verdicts. The prefix page says it too.
pub fn why_words(breaches: &[Breach], why: &crate::server::service::figures::Why, now: DateTime<Utc>) -> AnyView {
    let over: Vec<AnyView> = breaches
        .iter()
        .take(2)
        .enumerate()
        .map(|(index, breach)| {
            let join = if index > 0 { "; " } else { "" };
            let classes: Vec<String> =
                breach.classes.iter().take(2).map(|(class, count)| format!("{class} {}", write::count(*count))).collect();
            let classes = (!classes.is_empty()).then(|| format!(" ({})", classes.join(", ")));
            let limit = match breach.metric {
                Metric::Budget => None,
                _ if breach.value <= breach.threshold => {
                    Some(format!(", near the limit of {}", write::limit(breach.metric, breach.threshold)))
                }
                _ => Some(format!(" over the limit of {}", write::limit(breach.metric, breach.threshold))),
            };
            view! { {join}{breach_words(breach, now)}{limit}{classes} }.into_any()
        })
        .collect();
    let deploy = why.deploy.as_ref().map(|deploy| {
        view! { " Last deploy before it: "<b>{deploy.label.clone()}</b>" at "{write::time(deploy.at, now)}"." }
    });
    let writes = match why.writes.as_slice() {
        [] => view! { " No write is declared that must invalidate it." }.into_any(),
        writes => {
            let list: Vec<AnyView> = writes
                .iter()
                .take(3)
                .enumerate()
                .map(|(index, write)| {
                    view! { {if index > 0 { ", " } else { "" }}{code(&write.endpoint)}{format!(" ({})", write.how)} }.into_any()
                })
                .collect();
            let more = (writes.len() > 3).then(|| format!(" and {} more", writes.len() - 3));
            view! { " Declared to invalidate it: "{list}{more}"." }.into_any()
        }
    };
    let owner = why.owner.as_ref().map(|owner| format!(" Owner: {owner}."));
    view! { {over}"."{deploy}{writes}{owner} }.into_any()
}

/// No event yet: how to send the first.
fn first_run(model: &Overview) -> AnyView {
    let registered = model.rows.iter().filter(|row| row.registered).count();
    let check = |good: bool, what: &'static str, note: String| {
        let shape = if good { glyph(Glyph::In, "g-good") } else { glyph(Glyph::Few, "") };
        view! { <li>{shape}<span>{what}</span><span>{note}</span></li> }
    };
    view! {
        <main id="main" class="page">
            <div class="head">
                <div>
                    <h1 class="sentence">
                        <strong>"No events yet."</strong>" The server is ready and has been listening since "
                        {write::time(model.listening_since, model.as_of)}" UTC."
                    </h1>
                    <p class="under">"Send the first event and this page becomes the overview. Nothing is judged until there are 30 samples."</p>
                </div>
            </div>
            <div class="cols">
                <ol class="howto">
                    <li>
                        <h2>"Make a token for one source"</h2>
                        <p>"It can only send events. It is shown once."</p>
                        {command("stalewatch token create --source shop-api")}
                    </li>
                    <li>
                        <h2>"Send one event"</h2>
                        <p>"Answers "<code>"{\"accepted\":1,…}"</code>" once it is committed. Use the address of this page."</p>
                        {command("curl -sS http://127.0.0.1:3000/api/v1/events \\\n  -H \"Authorization: Bearer $STALEWATCH_TOKEN\" \\\n  -H \"Content-Type: application/json\" \\\n  -d '{\"events\":[{\"id\":\"1\",\"type\":\"access\",\"at\":\"'$(date -u +%FT%TZ)'\",\n       \"key\":\"user:123:summary\",\"hits\":40,\"misses\":2}]}'")}
                    </li>
                    <li>
                        <h2>"Register the prefix, so that it has an owner and a limit"</h2>
                        <p>"In "<code>"stalewatch.toml"</code>", reviewed like code. Until then its keys count as "<code>"unclassified"</code>"."</p>
                        {command("[[prefix]]\nname = \"user:{id}:summary\"\ntarget = \"main\"\nowner = \"accounts\"\ntier = \"standard\"\nobjective = { fresh_within = \"60s\", ratio = 0.999 }")}
                    </li>
                    <li>
                        <h2>"Or look around first"</h2>
                        <p>"A simulated shop with two weeks of history, on private data."</p>
                        {command("stalewatch demo")}
                    </li>
                </ol>
                <aside class="card">
                    <h2>"Ready to receive"</h2>
                    <ul class="checks">
                        {check(true, "Server", format!("since {}", write::moment(model.listening_since, model.as_of)))}
                        {check(false, "Events", "0 received".to_owned())}
                        {check(registered > 0, "Prefixes", format!("{registered} registered"))}
                    </ul>
                </aside>
            </div>
        </main>
    }
    .into_any()
}
