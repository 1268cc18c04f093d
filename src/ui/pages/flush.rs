//! `/flush` and `/flush/{id}`: a straight line, scope → plan → confirm → running → outcome. The stepper is the record. What this person cannot
//! do now is said in a sentence in its place; its form is not in the page.

mod outcome;
mod plan;
mod planned;
mod running;
mod waiting;
mod words;

use crate::domain::refusal::Refusal;
use crate::domain::second_factor::Due;
use crate::server::service::flush::{Can, FlushPage};
use crate::ui::components::form;
use crate::ui::components::frame::region;
use crate::ui::components::key::key;
use crate::ui::components::state::{Glyph, Tone, notice};
use crate::ui::components::steps::steps;
use crate::ui::components::write;
use chrono::{DateTime, Utc};
use leptos::prelude::*;

pub use plan::{PlanWanted, main as plan_main, table};

/// Where a flush stands, as far as drawing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Planning,
    Planned,
    /// For a second person, or for its start.
    Waiting,
    /// Ended before anything was removed.
    NotBegun,
    Working,
    Ended,
}

fn stage(flush: &FlushPage) -> Stage {
    match flush.state.as_str() {
        "planning" => Stage::Planning,
        "planned" => Stage::Planned,
        "starting" | "running" | "paused" | "verifying" => Stage::Working,
        "awaiting_approval" | "approved" => Stage::Waiting,
        "plan_failed" | "expired" | "rejected" => Stage::NotBegun,
        "cancelled" | "failed" if flush.progress.is_none() && flush.outcome.is_none() => Stage::NotBegun,
        _ => Stage::Ended,
    }
}

/// The page's `main`. `refusal` is what the last form on it was refused for.
pub fn main(flush: &FlushPage, refusal: Option<&Refusal>, numbers: &str) -> AnyView {
    let at = stage(flush);
    let live = |part: &str| format!("/live?of=flush&id={}&part={part}", write::query(&flush.id));
    let head = region(live("head"), "", "Summary", head(flush));
    let middle = match at {
        Stage::Planning => view! { {head}{remedies(&flush.can, flush, refusal)} }.into_any(),
        // Nothing moves by itself on a plan: what is typed is left in peace.
        Stage::Planned => view! { {planned::body(flush)}{planned::confirm(flush, refusal)} }.into_any(),
        Stage::Waiting => view! { {head}{waiting::body(flush, refusal)}{remedies(&flush.can, flush, refusal)} }.into_any(),
        Stage::NotBegun => {
            view! { {self::head(flush)}{flush.plan.is_some().then(|| planned::facts(flush))}{remedies(&flush.can, flush, refusal)} }
                .into_any()
        }
        Stage::Working => {
            view! { {head}{waiting::glass(flush)}{remedies(&flush.can, flush, refusal)}{region(live("rest"), "stack", "Progress", rest(flush, numbers))} }
                .into_any()
        }
        Stage::Ended => {
            // What can be gone on with is asked for before the figures: it is so for a while only.
            let (before, after) = if flush.can.resume.is_some() { (true, false) } else { (false, true) };
            let remedies = |here: bool| here.then(|| remedies(&flush.can, flush, refusal));
            view! { {head}{waiting::glass(flush)}{remedies(before)}{region(live("rest"), "stack", "Outcome", rest(flush, numbers))}{remedies(after)} }
                .into_any()
        }
    };
    let figure = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
    let figures = Figures::of(flush);
    // Nowhere where something is typed.
    let typing = flush.can.approve || flush.can.break_glass || (flush.can.start && flush.can.factor == Due::Code);
    let again = match at {
        Stage::Planning | Stage::Working => Some(r#"<meta http-equiv="refresh" content="2">"#),
        Stage::Waiting if !typing => Some(r#"<meta http-equiv="refresh" content="5">"#),
        _ => None,
    }
    .map(|again| view! { <noscript inner_html=again></noscript> });
    view! {
        {again}
        <main
            id="main"
            class="page flush"
            data-state=flush.state.clone()
            data-planned=figure(figures.planned)
            data-removed=figure(figures.removed)
            data-gone=figure(figures.gone)
            data-failed=figure(figures.failed)
            data-residue=figure(figures.residue)
            data-wide=flush.plan.as_ref().map_or_else(String::new, |plan| plan.wide.to_string())
            data-verdict=flush.verdict.as_ref().map_or_else(String::new, |verdict| verdict.verdict.clone())
        >
            {stepper(flush)}
            <div class="line">{middle}</div>
        </main>
    }
    .into_any()
}

/// The page's title.
pub fn title(flush: &FlushPage) -> String {
    format!("{} · flush of {}", state_words(&flush.state), flush.scope)
}

/// The head as a live region has it.
pub fn head(flush: &FlushPage) -> AnyView {
    let inner = match stage(flush) {
        Stage::Planning => planning(flush),
        Stage::Planned => planned::head(flush),
        Stage::Waiting => waiting::head(flush),
        Stage::NotBegun => not_begun(flush),
        Stage::Working => view! { {running::head(flush)}<div class="next">{running::bar(flush)}</div> }.into_any(),
        Stage::Ended => outcome::head(flush),
    };
    let figure = |number: Option<u64>| number.map_or_else(String::new, |number| number.to_string());
    let figures = Figures::of(flush);
    // The script copies these to `main` when the piece moves.
    view! {
        <div
            data-main=""
            data-planned=figure(figures.planned)
            data-removed=figure(figures.removed)
            data-gone=figure(figures.gone)
            data-failed=figure(figures.failed)
            data-residue=figure(figures.residue)
            data-verdict=flush.verdict.as_ref().map_or_else(String::new, |verdict| verdict.verdict.clone())
        >
            {inner}
        </div>
    }
    .into_any()
}

/// What stands under the head and moves.
pub fn rest(flush: &FlushPage, numbers: &str) -> AnyView {
    match stage(flush) {
        Stage::Working => running::rest(flush, numbers),
        Stage::Ended => outcome::rest(flush, numbers),
        _ => ().into_any(),
    }
}

/// The numbers of `main`.
struct Figures {
    planned: Option<u64>,
    removed: Option<u64>,
    gone: Option<u64>,
    failed: Option<u64>,
    residue: Option<u64>,
}

impl Figures {
    fn of(flush: &FlushPage) -> Self {
        let (progress, outcome) = (flush.progress.as_ref(), flush.outcome.as_ref());
        Self {
            planned: flush.plan.as_ref().map(|plan| plan.matched),
            removed: outcome.map(|outcome| outcome.removed).or(progress.map(|progress| progress.removed)),
            gone: outcome.map(|outcome| outcome.gone).or(progress.map(|progress| progress.gone)),
            failed: outcome.map(|outcome| outcome.failed).or(progress.map(|progress| progress.failed)),
            residue: outcome.and_then(|outcome| outcome.residue),
        }
    }
}

/// A state in words.
pub fn state_words(state: &str) -> String {
    match state {
        "plan_failed" => "plan failed".to_owned(),
        "completed" => "completed".to_owned(),
        "completed_with_residue" => "completed, keys left over".to_owned(),
        "stopped_at_cap" => "stopped at its cap".to_owned(),
        "auto_stopped" => "stopped by the brake".to_owned(),
        "awaiting_approval" => "awaiting approval".to_owned(),
        other => other.replace('_', " "),
    }
}

fn under_scope(flush: &FlushPage) -> AnyView {
    view! { " under "{key(&flush.scope)}" on "<strong>{flush.target.clone()}</strong> }.into_any()
}

fn planning(flush: &FlushPage) -> AnyView {
    view! {
        <h1 class="sentence"><strong>"Counting what is in scope"</strong>{under_scope(flush)}". Nothing is changed."</h1>
        <p class="under">
            <span>"The server scans the target. This page shows the plan as soon as it is ready."</span>" "
            <span>"asked "{write::time_exact(flush.asked_at, flush.as_of)}" by "{flush.author.clone()}</span>
        </p>
    }
    .into_any()
}

fn not_begun(flush: &FlushPage) -> AnyView {
    let said = flush.approval.as_ref().and_then(|approval| approval.decision.as_ref());
    let (lead, tone) = match (flush.state.as_str(), &flush.approval) {
        ("plan_failed", _) => ("No plan could be made".to_owned(), Tone::Bad),
        ("expired", None) => ("The plan has expired".to_owned(), Tone::Plain),
        ("expired", Some(approval)) if approval.start_until.is_none() => ("The request has expired".to_owned(), Tone::Plain),
        ("expired", Some(_)) => ("The approval has expired".to_owned(), Tone::Plain),
        ("rejected", _) => (said.map_or_else(|| "Rejected".to_owned(), |decision| format!("Rejected by {}", decision.by)), Tone::Plain),
        ("cancelled", _) => ("Cancelled before it began".to_owned(), Tone::Plain),
        _ => ("It did not begin".to_owned(), Tone::Bad),
    };
    let words = if flush.mode == "flush" { "Nothing was removed." } else { "Nothing was changed." };
    let why = said.filter(|decision| !decision.approved).and_then(|decision| decision.reason.as_ref()).map(|reason| format!("“{reason}” "));
    let cause = flush.cause.clone().map(|cause| format!("{cause} "));
    let shape = if tone == Tone::Bad { Glyph::Out } else { Glyph::None };
    view! {
        <h1 class="sentence"><strong>{lead}</strong>{under_scope(flush)}"."</h1>
        <div class="next">{notice(tone, shape, view! { {why}{cause}{words} })}</div>
    }
    .into_any()
}

/// Forms that can stand under a flush: resume, cancel, plan again. Each in its own form.
fn remedies(can: &Can, flush: &FlushPage, refusal: Option<&Refusal>) -> AnyView {
    let refusal = form::of(refusal, "do");
    let action = format!("/flush/{}", write::query(&flush.id));
    let one = |value: &'static str, words: &'static str, hint: String| {
        let code = (value == "resume").then(|| form::second_factor(can.factor, "rf", refusal));
        view! {
            <form method="post" action=action.clone() class="actions" data-error=form::error_code(refusal)>
                {code}
                <button class="btn" type="submit" name="do" value=value>{words}</button>
                <span class="hint">{hint}</span>
            </form>
        }
    };
    let waits = stage(flush) == Stage::Waiting;
    let (stop, means) = if waits {
        ("Cancel this request", "Nothing has been done, and nothing will be.")
    } else {
        ("Stop after this batch", "At most one more batch goes. What is done stays done.")
    };
    let cancel = can.cancel.then(|| one("cancel", stop, means.to_owned()));
    let resume = can.resume.as_ref().map(|resume| {
        let hint = format!(
            "The same flush goes on from the beginning of its scope, counted again first: at most {} more keys (its cap is {} over all runs). Until {} UTC.",
            write::count(resume.left),
            write::count(resume.cap),
            resume.until.format("%H:%M:%S"),
        );
        one("resume", if flush.mode == "soft" { "Resume it" } else { "Resume the removal" }, hint)
    });
    let replan = can.replan.then(|| one("replan", "Plan the same scope again", "Counts anew; nothing is changed by it.".to_owned()));
    // A refusal always has a form to stand on.
    let back = (refusal.is_some() && !can.any()).then(|| {
        view! {
            <form method="get" action=action.clone() class="actions" data-error=form::error_code(refusal)>
                <button class="btn" type="submit">"Look again"</button>
            </form>
        }
    });
    // A page that waits has said both.
    let sentence = can.sentence.as_ref().filter(|_| !waits).map(|sentence| view! { <p class="hint">{sentence.clone()}</p> });
    let refused = (!waits).then(|| form::refused(refusal, "Not done."));
    view! { <div class="remedies no-print">{refused}{resume}{cancel}{replan}{back}{sentence}</div> }.into_any()
}

fn stepper(flush: &FlushPage) -> AnyView {
    let now = flush.as_of;
    let clock = |at: DateTime<Utc>| at.format("%H:%M:%S").to_string();
    let at = match stage(flush) {
        Stage::Planning => 1,
        Stage::Planned | Stage::Waiting => 2,
        Stage::NotBegun => {
            if flush.plan.is_some() {
                2
            } else {
                1
            }
        }
        Stage::Working => 3,
        Stage::Ended => 4,
    };
    let plan = flush.plan.as_ref().map_or_else(String::new, |plan| {
        let least = if plan.at_least { "at least " } else { "" };
        format!("{least}{} keys, {}", write::count(plan.matched), clock(plan.scanned_at))
    });
    let confirm = match (&flush.confirmation, &flush.plan) {
        _ if flush.state == "awaiting_approval" => "waits for an approver".to_owned(),
        _ if flush.state == "approved" => "approved, waits for its start".to_owned(),
        (Some(confirmation), _) => format!("{}, {}", confirmation.by, clock(confirmation.at)),
        (None, Some(plan)) if flush.state == "planned" => format!("plan expires {}", clock(plan.expires_at)),
        _ => String::new(),
    };
    let running = match (flush.state.as_str(), &flush.progress, &flush.outcome) {
        (_, _, Some(outcome)) => format!("{:.1} s", std::time::Duration::from_millis(outcome.duration_ms).as_secs_f64()),
        ("verifying", ..) => "verifying by a fresh scan".to_owned(),
        (_, Some(progress), None) => format!("since {}", clock(progress.started_at)),
        _ => String::new(),
    };
    let outcome = flush
        .outcome
        .as_ref()
        .map_or_else(String::new, |outcome| format!("{}, {}", state_words(&flush.state), write::moment(outcome.ended_at, now)));
    let planned_note = match flush.state.as_str() {
        "planning" => "counting".to_owned(),
        "plan_failed" => "failed".to_owned(),
        _ => plan,
    };
    steps(
        at,
        [
            format!("{} on {}, {}", flush.scope, flush.target, words::mode(&flush.mode, flush.window_s)),
            planned_note,
            confirm,
            running,
            outcome,
        ],
    )
}
