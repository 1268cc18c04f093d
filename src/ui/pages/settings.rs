//! `/settings`: the configuration in force, as it was read. Read-only: the file is in git, changed by review and not by a form.

use crate::server::service::figures::Metric;
use crate::server::service::settings::{ContractLine, PrefixLine, SettingsPage, TargetLine};
use crate::ui::components::form::command;
use crate::ui::components::key::{code, key};
use crate::ui::components::state::{Glyph, Tone, notice, state};
use crate::ui::components::write;
use chrono::{DateTime, TimeDelta, Utc};
use leptos::prelude::*;

/// The page's `main`.
pub fn main(model: &SettingsPage, range_query: &str) -> AnyView {
    view! {
        <main id="main" class="page">
            <div class="head">
                <div>
                    <h1 class="sentence">{lead(model)}</h1>
                    <p class="under">{history(model)}</p>
                </div>
            </div>
            {shortcomings(model)}
            <div class="cols">
                <div class="stack">{targets(model)}{prefixes(model, range_query)}{contracts(model)}</div>
                <aside class="stack">{change(model)}{server(model)}{retention(model)}</aside>
            </div>
        </main>
    }
    .into_any()
}

fn lead(model: &SettingsPage) -> AnyView {
    if model.file.is_empty() {
        return view! { <strong>"No configuration file."</strong>" Nothing is declared: events count as unclassified, and nothing can be flushed." }
            .into_any();
    }
    let many = |n: usize, one: &str, more: &str| format!("{n} {}", if n == 1 { one } else { more });
    view! {
        <strong>{code(&model.file)}" is in force:"</strong>
        {format!(
            " {}, {}, {}.",
            many(model.targets.len(), "target", "targets"),
            many(model.prefixes.len(), "prefix", "prefixes"),
            many(model.contracts.len(), "contract", "contracts"),
        )}
    }
    .into_any()
}

fn short(digest: &str) -> String {
    digest.chars().take(12).collect()
}

fn history(model: &SettingsPage) -> AnyView {
    if model.file.is_empty() {
        return ().into_any();
    }
    let since = match model.since {
        Some(at) => {
            view! { ", in force since "{write::time_exact(at, model.as_of)}{format!(", {}", write::ago(at, model.as_of))} }.into_any()
        }
        // Another replica may have put a later file into force.
        None => view! { ", though the record names another one last: other replicas may run that" }.into_any(),
    };
    let before = match &model.digest_before {
        Some(before) => view! { "; before it "{code(&short(before))} }.into_any(),
        None if model.since.is_some() => "; the first on record".into_any(),
        None => ().into_any(),
    };
    view! { <span>"Digest "{code(&short(&model.digest))}{since}{before}</span>" "<a href="/audit?code=config.loaded">"In the audit"</a> }
        .into_any()
}

fn shortcomings(model: &SettingsPage) -> Option<AnyView> {
    let items: Vec<AnyView> = model
        .shortcomings
        .iter()
        .map(|one| {
            view! { <li>
                {one.what.clone()}" "<span class="quiet">{one.mend.clone()}</span>
                {one.command.as_deref().map(command)}
            </li> }
            .into_any()
        })
        .collect();
    (!items.is_empty()).then(|| notice(Tone::Warn, Glyph::Risk, view! { <b>"Not as it should be"</b><ul class="plain">{items}</ul> }))
}

fn change(model: &SettingsPage) -> AnyView {
    let file = if model.file.is_empty() { "stalewatch.toml" } else { &model.file };
    view! {
        <section class="card">
            <h2>"How to change it"</h2>
            <p>"Nothing is changed here. Edit the file in git, have it reviewed, and check it before it is deployed:"</p>
            {command(&format!("stalewatch config check --config {file}"))}
            <p>"Then restart the server, or have it read the file again. A file that is not valid changes nothing:"</p>
            {command("kill -HUP \"$(pidof stalewatch)\"")}
            <p class="hint">"Address and data folder change only with a restart."</p>
        </section>
    }
    .into_any()
}

fn server(model: &SettingsPage) -> AnyView {
    let lines: Vec<AnyView> =
        model.server.iter().map(|(name, value)| view! { <dt>{*name}</dt><dd>{code(value)}</dd> }.into_any()).collect();
    view! { <section class="card"><h2>"Server"</h2><dl class="policy">{lines}</dl></section> }.into_any()
}

fn retention(model: &SettingsPage) -> AnyView {
    let lines: Vec<AnyView> = model
        .retention
        .iter()
        .map(|(name, kept)| {
            let kept = TimeDelta::from_std(*kept).unwrap_or(TimeDelta::MAX);
            view! { <dt>{*name}</dt><dd>{write::span(kept)}</dd> }.into_any()
        })
        .collect();
    view! { <section class="card"><h2>"Kept"</h2><dl class="policy">{lines}</dl></section> }.into_any()
}

fn targets(model: &SettingsPage) -> AnyView {
    if model.targets.is_empty() {
        return view! { <section class="card"><h2>"Targets"</h2>{command("[[target]]\nname = \"main\"\nurl = \"redis://127.0.0.1:6379/0\"")}</section> }
            .into_any();
    }
    let rows: Vec<AnyView> = model.targets.iter().map(|one| target(one, model.as_of)).collect();
    view! {
        <section class="panel">
            <div class="panel-head"><h2>"Targets"</h2></div>
            <div class="scroll" tabindex="0" role="region" aria-label="Targets">
                <table class="roomy">
                    <caption class="vh">"Redis deployments, as declared"</caption>
                    <thead><tr>
                        <th scope="col">"Target"</th><th scope="col">"Where"</th><th scope="col">"Flushes as"</th><th scope="col">"Protected"</th>
                        <th scope="col" class="num">"Wide above"</th><th scope="col" class="w3">"Approvals"</th><th scope="col" class="w3">"Brake"</th><th scope="col" class="num w3">"Flushes an hour"</th>
                    </tr></thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
        </section>
    }
    .into_any()
}

fn target(target: &TargetLine, now: DateTime<Utc>) -> AnyView {
    let list = |texts: &[String]| -> Vec<AnyView> { texts.iter().map(|text| view! { {code(text)}<br/> }.into_any()).collect() };
    let flushes = match &target.flush_user {
        Some(user) => code(user),
        None => view! { <span class="quiet">"whoever reads"</span> }.into_any(),
    };
    let over = target.over_privileged.then(|| state(Tone::Warn, Glyph::Risk, "over-privileged"));
    let limits = &target.brake;
    let brake = format!(
        "others over {} at p99, {} of rebuilds failing; stops after {} s",
        write::millis(limits.bystander.as_secs_f64() * 1e3),
        write::percent_limit(limits.rebuild_failures),
        limits.stop_after.as_secs(),
    );
    let protected = if target.protected.is_empty() {
        view! { <span class="quiet">"nothing"</span> }.into_any()
    } else {
        list(&target.protected).into_any()
    };
    let heard = target.heard.as_ref().map(|heard| {
        let words = match (heard.since, heard.last_event_at) {
            (Some(since), Some(newest)) => {
                format!("listening since {}, last miss {}", write::moment(since, now), write::moment(newest, now))
            }
            (Some(since), None) => format!("listening since {}, no miss yet", write::moment(since, now)),
            (None, _) if heard.elsewhere => "another replica listens".to_owned(),
            (None, _) => "not listening".to_owned(),
        };
        view! { <small class="quiet" data-listening=heard.since.is_some().to_string()>{words}</small> }
    });
    view! {
        <tr>
            <th scope="row">{target.name.clone()}<small class="quiet">{format!("{}, {}", target.kind, target.declared_at)}</small>{heard}</th>
            <td>{list(&target.places)}</td>
            <td>{flushes}" "{over}</td>
            <td>{protected}</td>
            <td class="num">{format!("{} keys", write::count(target.max_keys))}</td>
            <td class="w3">{target.approvals}</td>
            <td class="w3">{brake}</td>
            <td class="num w3">{target.max_flushes_per_hour}</td>
        </tr>
    }
    .into_any()
}

fn prefixes(model: &SettingsPage, range_query: &str) -> Option<AnyView> {
    let rows: Vec<AnyView> = model.prefixes.iter().map(|one| prefix(one, range_query)).collect();
    (!rows.is_empty()).then(|| {
        view! {
            <section class="panel">
                <div class="panel-head"><h2>"Prefixes"</h2></div>
                <div class="scroll" tabindex="0" role="region" aria-label="Prefixes">
                    <table class="roomy">
                        <caption class="vh">"Registered families of keys, as declared"</caption>
                        <thead><tr>
                            <th scope="col">"Prefix"</th><th scope="col">"Owner"</th><th scope="col">"Objective"</th><th scope="col">"Outside above"</th>
                            <th scope="col" class="w3">"TTL"</th><th scope="col" class="w3">"Keys stored"</th>
                        </tr></thead>
                        <tbody>{rows}</tbody>
                    </table>
                </div>
            </section>
        }
        .into_any()
    })
}

fn prefix(prefix: &PrefixLine, range_query: &str) -> AnyView {
    let objective = prefix
        .objective
        .map_or_else(|| "none".to_owned(), |(within_s, ratio)| format!("{} fresh within {within_s} s", write::percent_limit(ratio)));
    let limits: Vec<AnyView> = [
        (Metric::StaleReads, prefix.stale_threshold),
        (Metric::MissRate, prefix.miss_threshold),
        (Metric::RebuildP95, prefix.rebuild_p95_threshold_ms),
        (Metric::InvalidationErrors, prefix.invalidation_errors_threshold),
    ]
    .into_iter()
    .filter_map(|(metric, limit)| Some(view! { {write::metric(metric)}" "{write::limit(metric, limit?)}<br/> }.into_any()))
    .collect();
    let limits = if limits.is_empty() { view! { <span class="quiet">"not watched"</span> }.into_any() } else { limits.into_any() };
    let mut ttl: Vec<String> = Vec::new();
    if let Some(max_s) = prefix.ttl_max_s {
        ttl.push(format!("at most {}", write::span(TimeDelta::seconds(i64::try_from(max_s).unwrap_or(i64::MAX / 1_000)))));
    }
    if let Some(jitter) = prefix.ttl_jitter {
        ttl.push(format!("jitter {}", write::percent_limit(jitter)));
    }
    if prefix.ttl_required {
        ttl.push("required".to_owned());
    }
    let ttl = if ttl.is_empty() { "any".to_owned() } else { ttl.join(", ") };
    view! {
        <tr>
            <th scope="row"><a href=write::prefix_href(&prefix.name, &prefix.target, range_query)>{key(&prefix.name)}</a><small class="quiet">{format!("on {}, {}, {}", prefix.target, prefix.tier, prefix.declared_at)}</small></th>
            <td>{prefix.owner.clone().unwrap_or_else(|| "none".to_owned())}</td>
            <td>{objective}</td>
            <td>{limits}</td>
            <td class="w3">{ttl}{prefix.generation_key.as_ref().map(|key| view! { <small class="quiet">"generation "{code(key)}</small> })}</td>
            <td class="w3">{prefix.store_keys}</td>
        </tr>
    }
    .into_any()
}

fn contracts(model: &SettingsPage) -> Option<AnyView> {
    let rows: Vec<AnyView> = model.contracts.iter().map(contract).collect();
    (!rows.is_empty()).then(|| {
        view! {
            <section class="panel">
                <div class="panel-head"><h2>"Contracts"</h2><span class="sub"><a href="/contracts">"What was seen of them"</a></span></div>
                <div class="scroll" tabindex="0" role="region" aria-label="Contracts">
                    <table class="roomy">
                        <caption class="vh">"Writes and what they must invalidate, as declared"</caption>
                        <thead><tr><th scope="col">"Write"</th><th scope="col">"Must invalidate"</th><th scope="col" class="num">"Within"</th></tr></thead>
                        <tbody>{rows}</tbody>
                    </table>
                </div>
            </section>
        }
        .into_any()
    })
}

fn contract(contract: &ContractLine) -> AnyView {
    let affects: Vec<AnyView> =
        contract.affects.iter().map(|(prefix, how)| view! { {key(prefix)}{format!(" ({how})")}<br/> }.into_any()).collect();
    view! {
        <tr>
            <th scope="row">{key(&contract.write)}<small class="quiet">{format!("on {}, {}", contract.target, contract.declared_at)}</small></th>
            <td>{affects}</td>
            <td class="num">{write::seconds(contract.within_s)}</td>
        </tr>
    }
    .into_any()
}
