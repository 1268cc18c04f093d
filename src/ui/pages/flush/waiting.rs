//! A wide flush that waits: for a second person, who has to be able to decide on a phone, and then for its requester's start.

use super::words;
use crate::domain::refusal::Refusal;
use crate::server::service::flush::{Approval, FlushPage};
use crate::ui::components::key::code;
use crate::ui::components::state::{Glyph, Tone, glyph, notice};
use crate::ui::components::{form, write};
use leptos::prelude::*;

/// Who asks for what, and until when.
pub fn head(flush: &FlushPage) -> AnyView {
    let (Some(plan), Some(approval)) = (&flush.plan, &flush.approval) else { return ().into_any() };
    let now = flush.as_of;
    let keys = words::keys(plan.matched);
    let until = |until: chrono::DateTime<chrono::Utc>| {
        let left = if until > now { format!(", in {}", write::span(until - now)) } else { String::new() };
        view! { {write::time_exact(until, now)}{left} }
    };
    let asked = flush.confirmation.as_ref().map(|confirmation| view! { <span>"asked "{write::time_exact(confirmation.at, now)}</span>" " });
    let how = format!("mode {}, {} pace, at most {}", words::mode(&flush.mode, flush.window_s), flush.pace, words::keys(approval.cap));
    if let Some(start_until) = approval.start_until {
        let by = match (&approval.decision, &approval.break_glass) {
            (Some(decision), _) => format!("Approved by {}", decision.by),
            (None, _) => "Going on without a second person".to_owned(),
        };
        let next = if flush.can.start { "You can start it now." } else { "It waits for its start." };
        return view! {
            <h1 class="sentence"><strong>{by}</strong>": "<strong>{words::acting(flush, &keys)}</strong>{super::under_scope(flush)}". "{next}" "{words::nothing_yet(flush)}</h1>
            <p class="under">{asked}<span>"the approval expires "{until(start_until)}</span>" "<span>{how}</span></p>
        }
        .into_any();
    }
    view! {
        <h1 class="sentence"><strong>{format!("{} asks to {}", flush.author, words::act(flush, &keys))}</strong>{super::under_scope(flush)}". "{words::nothing_yet(flush)}</h1>
        <p class="under">{asked}<span>"the request expires "{until(approval.approve_until)}</span>" "<span>{how}</span></p>
    }
    .into_any()
}

/// Everything needed to decide, then the decision; a start, which has been decided on, stands before it. What was refused is said at the top.
pub fn body(flush: &FlushPage, refusal: Option<&Refusal>) -> AnyView {
    let refusal = form::of(refusal, "do");
    let (Some(plan), Some(approval)) = (&flush.plan, &flush.approval) else { return ().into_any() };
    let why = plan.wide_because.join(", ");
    let asked = view! { <b>"A second person is asked because of: "</b>{why}"." };
    view! {
        {reason(flush)}
        {glass(flush)}
        {super::planned::facts(flush)}
        {form::refused(refusal, "Not done.")}
        {flush.can.start.then(|| start(flush, refusal))}
        {notice(Tone::Warn, Glyph::Risk, asked)}
        {super::planned::modes(flush, plan)}
        {super::planned::checks(plan)}
        {super::planned::prefixes(plan)}
        {super::planned::samples(plan)}
        {flush.can.approve.then(|| decide(flush, approval, refusal))}
        {flush.can.break_glass.then(|| break_glass(flush, refusal))}
        {flush.can.sentence.clone().map(|sentence| notice(Tone::Plain, Glyph::Lock, sentence))}
    }
    .into_any()
}

/// Why it is asked for.
fn reason(flush: &FlushPage) -> Option<AnyView> {
    let confirmation = flush.confirmation.as_ref()?;
    let incident = confirmation.incident.as_ref().map(|incident| view! { " Incident "{super::outcome::incident(incident)}"." });
    Some(
        view! {
            <div class="notice">
                {glyph(Glyph::None, "")}
                <div><b>{format!("“{}”", confirmation.reason)}</b><p class="hint">{format!("The reason {} gave; it is kept in the audit record.", confirmation.by)}{incident}</p></div>
            </div>
        }
        .into_any(),
    )
}

/// One admin went on alone: said wherever this flush is shown.
pub fn glass(flush: &FlushPage) -> Option<AnyView> {
    let why = flush.approval.as_ref().and_then(|approval| approval.break_glass.clone())?;
    let words = view! { <b>"Break-glass: "</b>{format!("{} went on without a second person: “{why}” It stands in the weekly review.", flush.author)} };
    Some(notice(Tone::Warn, Glyph::Out, words))
}

fn action(flush: &FlushPage) -> String {
    format!("/flush/{}", write::query(&flush.id))
}

fn all(flush: &FlushPage) -> String {
    words::keys(flush.plan.as_ref().map_or(0, |plan| plan.matched))
}

fn decide(flush: &FlushPage, approval: &Approval, refusal: Option<&Refusal>) -> AnyView {
    view! {
        <form class="danger no-print" method="post" action=action(flush) aria-labelledby="ap" data-error=form::error_code(refusal)>
            <div class="danger-body">
                <div>
                    <h2 id="ap">"Approve exactly this"</h2>
                    <p class="under">
                        {format!(
                            "Bound to target, servers, scope, mode, pace, plan, count, reason and a cap of {}. If any of them changes, your approval is void. {} then has 15 minutes to start it.",
                            words::keys(approval.cap),
                            flush.author,
                        )}
                    </p>
                    <p class="hint">"Hash "<code class="hash">{approval.hash.clone()}</code></p>
                </div>
                <input type="hidden" name="scope_hash" value=approval.hash.clone()/>
                {form::second_factor(flush.can.factor, "af", refusal)}
            </div>
            <div class="danger-end">
                <button class="btn btn-danger" type="submit" name="do" value="approve">{format!("Approve {} under ", words::acting(flush, &all(flush)))}{code(&flush.scope)}</button>
            </div>
        </form>
        <form class="card fields no-print" method="post" action=action(flush) aria-labelledby="rj" data-error=form::error_code(refusal)>
            <h2 id="rj">"Or reject it"</h2>
            <div class="field">
                <label for="rr">"Why, optional"</label>
                <textarea id="rr" name="reason" rows="2" maxlength="1000" aria-invalid=form::invalid(refusal, "reason")>{form::typed(refusal, "reason", "")}</textarea>
                <p class="hint">{format!("{} sees it; it is kept in the audit record.", flush.author)}</p>
            </div>
            <div class="actions"><button class="btn" type="submit" name="do" value="reject">"Reject"</button></div>
        </form>
    }
    .into_any()
}

fn start(flush: &FlushPage, refusal: Option<&Refusal>) -> AnyView {
    view! {
        <form class="danger no-print" method="post" action=action(flush) aria-labelledby="st" data-error=form::error_code(refusal)>
            <div class="danger-body">
                <h2 id="st">{format!("Start {}", words::noun(flush))}</h2>
                <p class="under">{words::consequence(flush)}" Everything is checked once more; where there are many more keys by now, nothing is done and you confirm the new count."</p>
                {form::second_factor(flush.can.factor, "sf", refusal)}
            </div>
            <div class="danger-end">
                <button class="btn btn-danger" type="submit" name="do" value="start">{format!("{} under ", words::button(flush, &all(flush)))}{code(&flush.scope)}</button>
            </div>
        </form>
    }
    .into_any()
}

fn break_glass(flush: &FlushPage, refusal: Option<&Refusal>) -> AnyView {
    view! {
        <form class="card fields no-print" method="post" action=action(flush) aria-labelledby="bg" data-error=form::error_code(refusal)>
            <h2 id="bg">"Nobody can approve it now?"</h2>
            <p class="hint">"As an admin you can go on alone. It is recorded under a code of its own and stands in the weekly review."</p>
            <div class="field">
                <label for="br">"Why nobody else can be asked"</label>
                <textarea id="br" name="reason" rows="2" minlength="15" maxlength="1000" required aria-invalid=form::invalid(refusal, "reason")>
                    {form::typed(refusal, "reason", "")}
                </textarea>
                <p class="hint">"At least 15 characters."</p>
            </div>
            {form::second_factor(flush.can.factor, "bf", refusal)}
            <div class="actions"><button class="btn" type="submit" name="do" value="break_glass">"Break the glass: go on alone"</button></div>
        </form>
    }
    .into_any()
}
