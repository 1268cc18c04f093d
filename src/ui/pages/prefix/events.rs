//! `?events=stale|failed`: the events behind a figure.

use super::{failed_table, stale_table};
use crate::server::service::prefix::{EventList, Events};
use crate::ui::components::frame::range_nav;
use crate::ui::components::key::key;
use crate::ui::components::write;
use leptos::prelude::*;

/// The page's `main`.
pub fn main(model: &EventList) -> AnyView {
    let (which, title, table, shown) = match &model.events {
        Events::Stale(rows) => ("stale", "Stale samples of ", stale_table(rows, model.as_of), rows.len()),
        Events::Failed(rows) => ("failed", "Failed invalidations of ", failed_table(rows, model.as_of), rows.len()),
    };
    let prefix = write::prefix_href(&model.name, &model.target, &model.range.query());
    let here = format!("{}events={which}", write::prefix_href(&model.name, &model.target, ""));
    let total = format!("{} of {} in this range.", write::count(u64::try_from(shown).unwrap_or(0)), write::count(model.total));
    let cut = (model.raw_since > model.range.from)
        .then(|| view! { " Single events are kept since "{write::time(model.raw_since, model.as_of)}"; before it only figures are." });
    view! {
        <main id="main" class="page">
            <div class="head">
                <div>
                    <h1>{title}{key(&model.name)}" "<span class="quiet">{format!("on {}", model.target)}</span></h1>
                    <p class="under"><span>{total}{cut}</span>" "<a href=prefix>"Back to the prefix"</a></p>
                </div>
                {range_nav(&model.range, &here, "")}
            </div>
            <section class="panel">{table}</section>
            {model.older.as_ref().map(|older| view! { <p class="actions"><a class="btn btn-sm" href=older.clone()>"Older"</a></p> })}
        </main>
    }
    .into_any()
}
