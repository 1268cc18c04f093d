//! `/contracts`: which writes must invalidate which prefixes, as declared, and when each edge was last honoured. Read-only: the file is in git.

use crate::server::service::contracts::{ContractLine, ContractsPage};
use crate::ui::components::form::command;
use crate::ui::components::key::{code, key};
use crate::ui::components::write;
use crate::ui::pages::prefix::last_invalidation;
use chrono::{DateTime, Utc};
use leptos::prelude::*;

/// The page's `main`.
pub fn main(model: &ContractsPage, range_query: &str) -> AnyView {
    let edges = model.contracts.iter().map(|contract| contract.edges.len()).sum::<usize>();
    let silent = model.contracts.iter().flat_map(|contract| &contract.edges).filter(|edge| edge.last.is_none()).count();
    let failing =
        model.contracts.iter().flat_map(|contract| &contract.edges).filter(|edge| edge.last.as_ref().is_some_and(|last| !last.ok)).count();
    let lead = match (edges, failing, silent) {
        (0, ..) => view! { <strong>"No contract is declared."</strong> }.into_any(),
        (edges, 0, 0) => view! { <strong>{format!("All {edges} declared invalidations were seen to work.")}</strong> }.into_any(),
        (edges, failing, silent) => {
            let mut parts = Vec::new();
            if failing > 0 {
                parts.push(format!("{failing} failed when last tried"));
            }
            if silent > 0 {
                parts.push(format!("{silent} {} never been seen", if silent == 1 { "has" } else { "have" }));
            }
            view! { <strong>{format!("Of {edges} declared invalidations ")}</strong>{parts.join(", ")}"." }.into_any()
        }
    };
    let body = if model.contracts.is_empty() {
        view! {
            <section class="card">
                <h2>"Declare the first"</h2>
                <p>"In the configuration, reviewed like code: which write must invalidate which keys, how, and how soon."</p>
                {command("[[contract]]\nwrite = \"PUT /users/{id}\"\nwithin = \"2s\"\naffects = [\n  { key = \"user:{id}:profile\", how = \"version\" },\n  { key = \"user:{id}:summary\", how = \"evict\" },\n]")}
            </section>
        }
        .into_any()
    } else {
        table(model, range_query)
    };
    let uncovered = (!model.uncovered.is_empty()).then(|| {
        let list: Vec<AnyView> = model.uncovered.iter().enumerate().map(|(index, name)| view! { {if index > 0 { ", " } else { "" }}{key(name)} }.into_any()).collect();
        view! { <section class="card"><h2>"No contract names these prefixes"</h2><p>{list}</p><p class="hint">"A write that forgets them is not noticed by any rule."</p></section> }
    });
    view! {
        <main id="main" class="page">
            <div class="head">
                <div>
                    <h1 class="sentence">{lead}</h1>
                    <p class="under">
                        <span>"Declared in the configuration, digest "{code(&model.config_digest.chars().take(12).collect::<String>())}", read-only here"</span>" "
                        <span>"checked in CI with "<code>"stalewatch contracts check"</code></span>
                    </p>
                </div>
            </div>
            {body}
            {uncovered}
        </main>
    }
    .into_any()
}

fn table(model: &ContractsPage, range_query: &str) -> AnyView {
    let rows: Vec<AnyView> = model.contracts.iter().flat_map(|contract| lines(contract, model.as_of, range_query)).collect();
    view! {
        <section class="panel">
            <div class="scroll" tabindex="0" role="region" aria-label="Contracts">
                <table class="roomy">
                    <caption class="vh">"Declared writes and what each must invalidate"</caption>
                    <thead>
                        <tr>
                            <th scope="col">"Write"</th><th scope="col">"Must invalidate"</th><th scope="col">"How, within"</th>
                            <th scope="col">"Last invalidation by it"</th><th scope="col" class="num w3">"Writes in 24 h"</th><th scope="col" class="w3">"Last write"</th>
                            <th scope="col" class="w3">"Declared"</th>
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
        </section>
    }
    .into_any()
}

fn lines(contract: &ContractLine, now: DateTime<Utc>, range_query: &str) -> Vec<AnyView> {
    contract
        .edges
        .iter()
        .enumerate()
        .map(|(index, edge)| {
            let last = contract
                .last_write
                .map_or_else(|| view! { <span class="quiet">"never seen"</span> }.into_any(), |at| write::time_exact(at, now));
            let first = index == 0;
            let class = if first { "" } else { "quiet" };
            let to = write::prefix_href(&edge.prefix, &edge.target, range_query);
            view! {
                <tr>
                    <th scope="row"><span class=class>{key(&contract.endpoint)}</span></th>
                    <td><a href=to>{key(&edge.prefix)}</a><small class="quiet">{format!("on {}", edge.target)}</small></td>
                    <td>{format!("{} within {}", edge.how, write::seconds(contract.within_s))}</td>
                    <td>{last_invalidation(edge.last.as_ref(), now)}</td>
                    <td class="num w3">{first.then(|| write::count(contract.writes_24h))}</td>
                    <td class="w3">{first.then_some(last)}</td>
                    <td class="w3">{first.then(|| code(&contract.declared_at))}</td>
                </tr>
            }
            .into_any()
        })
        .collect()
}
