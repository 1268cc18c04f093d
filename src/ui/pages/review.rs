//! `/review/{ISO week}`: the weekly reliability review, on a shared screen and on two pages of paper.

use crate::domain::refusal::Refusal;
use crate::server::service::figures::{RateFigure, Standing};
use crate::server::service::review::{Action, ReviewPage, ReviewRow};
use crate::ui::components::chart::{Chart, Format, Line, figure};
use crate::ui::components::key::{code, key};
use crate::ui::components::state::{Glyph, Tone, standing, state};
use crate::ui::components::{cells, form, write};
use crate::ui::pages::flush;
use chrono::{NaiveDate, TimeDelta};
use leptos::prelude::*;

/// Rows on the sheet before the rest is summed up.
const SHOWN: usize = 40;

/// The page's `main`. `may_act` whether this person adds and closes actions.
pub fn main(model: &ReviewPage, may_act: bool, refusal: Option<&Refusal>, numbers: &str) -> AnyView {
    let number = number(&model.week);
    let days = format!("{} to {}", model.first_day.format("%a %-d"), model.last_day.format("%a %-d %b %Y"));
    let next = model
        .next
        .as_ref()
        .map(|next| view! { <a class="btn btn-sm" href=format!("/review/{next}")>{format!("Week {}", self::number(next))}</a> });
    let export = |ending: &'static str, name: &'static str| view! { <a class="btn btn-sm" href=format!("/review/{}.{ending}", model.week)>{name}</a> };
    let running =
        if model.running { "provisional: the week is running, late events still count" } else { "provisional: late events still count" };
    view! {
        <main id="main" class="page sheet">
            <div class="head">
                <div>
                    <h1>{format!("Reliability review, week {number}")}</h1>
                    <p class="under"><span>{format!("{days}, {}", model.timezone)}</span>" "{state(Tone::Plain, Glyph::Few, running)}</p>
                </div>
                <div class="actions no-print">
                    <a class="btn btn-sm" href=format!("/review/{}", model.previous)>{format!("Week {}", self::number(&model.previous))}</a>
                    {next}{export("md", "Markdown")}{export("csv", "CSV")}{export("json", "JSON")}
                </div>
            </div>
            <p class="sentence">{sentence(model)}</p>
            {facts(model)}
            {chart(model, numbers)}
            {prefixes(model)}
            {movers(model)}
            <section><h2>"Flushes"</h2>{flushes(model)}</section>
            {contracts(model)}
            {actions(model, may_act, refusal)}
            <div class="sign"><p>"Chair"</p><p>"Next owner on call"</p><p>"Date"</p></div>
        </main>
    }
    .into_any()
}

fn number(week: &str) -> String {
    week.rsplit_once('W').map_or_else(|| week.to_owned(), |(_, number)| number.trim_start_matches('0').to_owned())
}

fn sentence(model: &ReviewPage) -> AnyView {
    let spent: Vec<&ReviewRow> = model.rows.iter().filter(|row| row.budget_left.is_some_and(|left| left <= 0.0)).collect();
    let low = model.rows.iter().filter(|row| row.budget_left.is_some_and(|left| left > 0.0 && left < 0.35)).count();
    let known = model.rows.iter().filter(|row| row.budget_left.is_some()).count();
    let lead = match (known, spent.as_slice(), low) {
        (0, ..) => view! { <strong>"No budget can be judged: there were no stale-read samples in this week."</strong> }.into_any(),
        (_, [], 0) => view! { <strong>"No budget is spent and none is nearly so."</strong> }.into_any(),
        (_, [], low) => {
            view! { <strong>{format!("No budget is spent, {low} {} under 35 %.", if low == 1 { "is" } else { "are" })}</strong> }.into_any()
        }
        (_, spent, _) => {
            let names: Vec<AnyView> = spent
                .iter()
                .take(3)
                .enumerate()
                .map(|(index, row)| view! { {if index > 0 { ", " } else { " " }}{key(&row.name)} }.into_any())
                .collect();
            let more = (spent.len() > 3).then(|| format!(" and {} more", spent.len() - 3));
            view! { <strong>{format!("{} of {known} budgets {} spent:", spent.len(), if spent.len() == 1 { "is" } else { "are" })}</strong>{names}{more}"." }.into_any()
        }
    };
    let open = model.actions.iter().filter(|action| action.closed_at.is_none()).count();
    let overdue = model.actions.iter().filter(|action| overdue(action, model.today)).count();
    let todo = match (open, overdue) {
        (0, _) => " No action is open.".to_owned(),
        (open, 0) => format!(" {open} {} open.", if open == 1 { "action is" } else { "actions are" }),
        (open, overdue) => format!(" {overdue} of {open} open actions {} overdue.", if overdue == 1 { "is" } else { "are" }),
    };
    view! { {lead}{todo} }.into_any()
}

fn overdue(action: &Action, today: NaiveDate) -> bool {
    action.closed_at.is_none() && action.due < today
}

fn facts(model: &ReviewPage) -> AnyView {
    let before = format!("week {}", number(&model.previous));
    let length = |seconds: u64| write::span(TimeDelta::seconds(i64::try_from(seconds).unwrap_or(i64::MAX / 1_000)));
    let fact = |name: &'static str, value: String, was: String| {
        view! { <div class="big"><dt>{name}</dt><dd>{value}<small class="quiet">{format!("{before}: {was}")}</small></dd></div> }
    };
    view! {
        <dl class="facts">
            {fact("Prefixes outside, ever", model.outside_ever.0.to_string(), model.outside_ever.1.to_string())}
            {fact("Stale reads, all", write::rate(model.stale), write::rate(model.stale_before))}
            {fact("Flushes", model.flushes_count.0.to_string(), model.flushes_count.1.to_string())}
            {fact("Failed invalidations", write::count(model.failed_invalidations.0), write::count(model.failed_invalidations.1))}
            {fact("Time without data", length(model.without_data_s.0), length(model.without_data_s.1))}
        </dl>
    }
    .into_any()
}

fn chart(model: &ReviewPage, numbers: &str) -> AnyView {
    let (this, before) = (format!("week {}", number(&model.week)), format!("week {}", number(&model.previous)));
    let now =
        view! { <b>{write::rate(model.stale)}</b>" "<span class="quiet">{format!("{before}: {}", write::rate(model.stale_before))}</span> };
    figure(Chart {
        id: "stale",
        title: "Stale reads, all prefixes, each from its own objective's delay on".to_owned(),
        unit: "% of samples, the week before thin",
        now: now.into_any(),
        label: format!("Stale-read rate over the week: {}, the week before {}.", write::rate(model.stale), write::rate(model.stale_before)),
        format: Format::Percent,
        lines: vec![
            Line { name: &before, class: "l3", series: &model.chart_before },
            Line { name: &this, class: "l1", series: &model.chart },
        ],
        with_interval: false,
        shade_l2_to_l1: false,
        limit: None,
        marks: &model.marks,
        gaps: &model.gaps,
        numbers: Some((format!("/review/{}?numbers=stale#stale", model.week), numbers == "stale")),
    })
}

fn prefixes(model: &ReviewPage) -> AnyView {
    let before = format!("week {}", number(&model.previous));
    let rows: Vec<AnyView> = model.rows.iter().take(SHOWN).map(prefix_row).collect();
    let more = (model.rows.len() > SHOWN).then(|| format!("{} more have more of their budget left. ", model.rows.len() - SHOWN));
    view! {
        <section>
            <h2>"Prefixes by remaining budget"</h2>
            <table class="roomy">
                <caption class="vh">"Prefixes by remaining budget"</caption>
                <thead>
                    <tr>
                        <th scope="col">"Prefix"</th><th scope="col" class="w3 no-print">"State"</th><th scope="col" class="w3">"Objective"</th>
                        <th scope="col" class="num">"Budget left"</th><th scope="col" class="num">{before.clone()}</th><th scope="col" class="w3">"Mon–Sun"</th>
                        <th scope="col" class="num">"Stale reads"</th><th scope="col" class="num w3">{before}</th><th scope="col" class="num w3">"Cost, s/min"</th>
                        <th scope="col" class="num w3">"change"</th><th scope="col" class="w3">"Say why"</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
            <p class="hint">{more}"Budget: what the objective still allows over the ISO week; under zero is spent. “Stale reads” from the objective's delay on, with the 95 % interval."</p>
        </section>
    }
    .into_any()
}

fn stale_cell(rate: RateFigure, class: &'static str) -> AnyView {
    let weight =
        rate.interval.filter(|_| rate.n >= write::FEW).map(|interval| format!("{}, n {}", write::interval(interval), write::count(rate.n)));
    view! { <td class=class>{write::rate(rate)}<small class="quiet">{weight}</small></td> }.into_any()
}

fn prefix_row(row: &ReviewRow) -> AnyView {
    let (tone, shape, word) = standing(row.standing, false);
    let class = match (row.standing, row.budget_left) {
        (_, Some(left)) if left <= 0.0 => "out",
        (Standing::Outside, _) => "out",
        (Standing::AtRisk, _) => "risk",
        (_, Some(left)) if left < 0.35 => "risk",
        _ => "",
    };
    let budget = |left: Option<f64>| left.map_or_else(|| write::NONE.to_owned(), write::budget);
    let budget_class = match row.budget_left {
        Some(left) if left <= 0.0 => "num v-bad",
        Some(left) if left < 0.35 => "num v-warn",
        _ => "num",
    };
    let change = row
        .cost
        .zip(row.cost_before)
        .filter(|(_, before)| *before > 0.0)
        .map(|(now, before)| format!("{:+.0} %", (now / before - 1.0) * 100.0).replace('-', "−"));
    let objective = row.fresh_within_s.zip(row.ratio).map(|(delay, ratio)| format!("{} at {delay} s", write::percent_limit(ratio)));
    let lowest = row.budget_by_day.iter().flatten().copied().fold(0.0, f64::min);
    // Drawn from the lowest up, so that a spent budget shows as a falling line.
    let days: Vec<Option<f64>> = row.budget_by_day.iter().map(|left| left.map(|left| left.max(-1.0) - lowest.max(-1.0))).collect();
    view! {
        <tr class=class>
            <th scope="row">
                <span class="phone-only">{state(tone, shape, view! { <span class="vh">{word}</span> })}</span>
                {key(&row.name)}<small class="quiet">{row.owner.clone().unwrap_or_else(|| "no owner".to_owned())}</small>
            </th>
            <td class="w3 no-print">{state(tone, shape, word)}</td>
            <td class="w3 nowrap quiet">{objective}</td>
            <td class=budget_class>{budget(row.budget_left)}</td>
            <td class="num quiet">{budget(row.budget_before)}</td>
            <td class="w3">{cells::sparkline(&days, None)}</td>
            {stale_cell(row.stale, "num")}
            {stale_cell(row.stale_before, "num quiet w3")}
            <td class="num w3">{row.cost.map_or_else(|| write::NONE.to_owned(), write::amount)}</td>
            <td class="num quiet w3">{change}</td>
            <td class="w3">{row.say.clone()}</td>
        </tr>
    }
    .into_any()
}

/// Those whose budget fell most against the week before.
fn movers(model: &ReviewPage) -> Option<AnyView> {
    let fallen = model.worst_movers();
    if fallen.is_empty() {
        return None;
    }
    let items: Vec<AnyView> = fallen
        .iter()
        .map(|row| {
            let text = format!(
                " from {} to {}, {}",
                write::budget(row.budget_before.unwrap_or(0.0)),
                write::budget(row.budget_left.unwrap_or(0.0)),
                row.owner.clone().unwrap_or_else(|| "no owner".to_owned())
            );
            view! { <li>{key(&row.name)}{text}</li> }.into_any()
        })
        .collect();
    Some(view! { <section><h2>"Worst movers"</h2><ol class="movers">{items}</ol></section> }.into_any())
}

fn flushes(model: &ReviewPage) -> AnyView {
    if model.flushes.is_empty() {
        return view! { <p class="hint">"None in this week."</p> }.into_any();
    }
    flush::table(&model.flushes, model.as_of)
}

fn contracts(model: &ReviewPage) -> AnyView {
    let rows: Vec<AnyView> = model
        .contracts
        .iter()
        .map(|contract| {
            let last =
                contract.last_invalidation.map_or_else(|| state(Tone::Few, Glyph::Few, "none seen"), |at| write::time(at, model.as_of));
            view! {
                <tr>
                    <th scope="row">{code(&contract.endpoint)}</th><td>{key(&contract.prefix)}</td>
                    <td>{format!("{} within {}", contract.how, write::seconds(contract.within_s))}</td>
                    <td class="num">{contract.writes.map_or_else(|| write::NONE.to_owned(), write::count)}</td><td>{last}</td>
                </tr>
            }
            .into_any()
        })
        .collect();
    let body = if rows.is_empty() {
        view! { <p class="hint">"None is declared."</p> }.into_any()
    } else {
        view! {
            <div class="scroll" tabindex="0" role="region" aria-label="Contracts">
                <table class="roomy">
                    <caption class="vh">"Declared contracts"</caption>
                    <thead>
                        <tr>
                            <th scope="col">"Write"</th><th scope="col">"Must invalidate"</th><th scope="col">"How"</th>
                            <th scope="col" class="num">"Writes in the week"</th><th scope="col">"Last invalidation"</th>
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
        }
        .into_any()
    };
    view! { <section><h2>"Contracts"</h2>{body}</section> }.into_any()
}

fn actions(model: &ReviewPage, may_act: bool, refusal: Option<&Refusal>) -> AnyView {
    let close = form::of(refusal, "close");
    let rows: Vec<AnyView> = model.actions.iter().map(|action| action_row(model, action, may_act, close)).collect();
    // Whoever closes what is closed already has no form to come back to.
    let orphan = close
        .filter(|close| !model.actions.iter().any(|action| action.closed_at.is_none() && action.id.to_string() == close.typed("action")));
    let table = if rows.is_empty() {
        view! { <p class="hint">"None is open."</p> }.into_any()
    } else {
        view! {
            <div class="scroll" tabindex="0" role="region" aria-label="Actions">
                <table class="roomy">
                    <caption class="vh">"Actions, open and closed in this week"</caption>
                    <thead>
                        <tr>
                            <th scope="col">"Action"</th><th scope="col">"Owner"</th><th scope="col">"Due"</th><th scope="col">"From"</th><th scope="col">"State"</th>
                            {may_act.then(|| view! { <th scope="col" class="no-print"><span class="vh">"Close"</span></th> })}
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
        }
        .into_any()
    };
    let add = form::of(refusal, "action");
    let form = if may_act {
        view! {
            {form::refused(add, "Not added.")}
            <form class="filters no-print" method="post" action=format!("/review/{}", model.week) data-error=form::error_code(add)>
                <div class="grow">
                    <label for="a1">"New action"</label>
                    <input id="a1" name="text" required minlength="3" maxlength="500" value=form::typed(add, "text", "") autocomplete="off" aria-invalid=form::invalid(add, "text")/>
                </div>
                <div>
                    <label for="a2">"Owner"</label>
                    <input id="a2" name="owner" required maxlength="100" value=form::typed(add, "owner", "") autocomplete="off" aria-invalid=form::invalid(add, "owner")/>
                </div>
                <div>
                    <label for="a3">"Due"</label>
                    <input id="a3" name="due" type="date" required value=form::typed(add, "due", "") aria-invalid=form::invalid(add, "due")/>
                </div>
                <button class="btn btn-sm" type="submit" name="do" value="add">"Add"</button>
            </form>
        }
        .into_any()
    } else {
        view! { <p class="hint no-print">"Your role reads: actions are added and closed by an operator, approver, auditor or admin."</p> }
            .into_any()
    };
    view! { <section id="actions" data-error=form::error_code(orphan)><h2>"Actions"</h2>{form::refused(close, "Not closed.")}{table}{form}</section> }.into_any()
}

fn action_row(model: &ReviewPage, action: &Action, may_act: bool, refusal: Option<&Refusal>) -> AnyView {
    let refusal = refusal.filter(|refusal| refusal.typed("action") == action.id.to_string());
    let shown = match &action.closed_at {
        Some(at) => {
            let by = action.closed_by.clone().map(|by| format!(", {by}"));
            let words = view! { "done "{write::time(*at, model.as_of)}{by} };
            state(Tone::Good, Glyph::In, words)
        }
        None if overdue(action, model.today) => {
            let days = (model.today - action.due).num_days();
            state(Tone::Bad, Glyph::Out, format!("overdue {days} d"))
        }
        None => state(Tone::Plain, Glyph::Few, "open"),
    };
    let close = may_act.then(|| {
        let form = action.closed_at.is_none().then(|| {
            view! {
                <form method="post" action=format!("/review/{}", model.week) class="inline" data-error=form::error_code(refusal)>
                    <input type="hidden" name="action" value=action.id.to_string()/>
                    <input name="outcome" maxlength="500" placeholder="What came of it" value=form::typed(refusal, "outcome", "") aria-invalid=form::invalid(refusal, "outcome") aria-label=format!("What came of: {}", action.text) autocomplete="off"/>
                    <button class="btn btn-sm" type="submit" name="do" value="close">"Close"</button>
                </form>
            }
        });
        view! { <td class="no-print">{form}</td> }
    });
    view! {
        <tr>
            <th scope="row">{action.text.clone()}<small class="quiet">{action.outcome.clone()}</small></th>
            <td>{action.owner.clone()}</td>
            <td class="nowrap">{action.due.format("%a %-d %b").to_string()}</td>
            <td class="nowrap">{format!("week {}", number(&action.week))}</td>
            <td>{shown}</td>
            {close}
        </tr>
    }
    .into_any()
}
