//! A flush at work: progress, rate, time left, what bystanders feel, what is committed.

use super::words;
use crate::server::service::flush::{AuditLine, FlushPage, Progress};
use crate::ui::components::chart::{Chart, Format, Line, figure};
use crate::ui::components::key::code;
use crate::ui::components::state::{Glyph, Tone, notice};
use crate::ui::components::write;
use chrono::{DateTime, TimeDelta, Utc};
use leptos::prelude::*;

/// What happens now, in one sentence.
pub fn head(flush: &FlushPage) -> AnyView {
    let planned = flush.plan.as_ref().map_or(0, |plan| plan.matched);
    let now = flush.as_of;
    let Some(progress) = &flush.progress else {
        return view! {
            <h1 class="sentence"><strong>"Starting."</strong>" The intent is committed; the first of "{words::keys(planned)}{super::under_scope(flush)}" come next."</h1>
        }
        .into_any();
    };
    let dealt = progress.removed + progress.gone;
    let lead = match flush.state.as_str() {
        _ if progress.paused => "Paused: Postgres does not take the progress, so nothing more is sent.",
        "paused" => "Paused.",
        "verifying" => "All sent; verifying by a fresh scan.",
        "starting" => "Starting.",
        _ if flush.mode == "soft" => "Bringing expiries forward.",
        _ if flush.mode == "version" => "Raising the generation.",
        _ => "Removing.",
    };
    let rate = progress
        .keys_per_s
        .filter(|_| flush.state == "running")
        .map(|rate| view! { <span>{format!("{} keys/s", write::amount(rate))}</span>" " });
    let left = progress.left_s.filter(|_| flush.state == "running").map(|left| {
        #[expect(clippy::cast_possible_truncation, reason = "seconds left, a small number")]
        let whole = left.ceil() as i64;
        view! { <span>{format!("about {} left", write::span(TimeDelta::seconds(whole)))}</span>" " }
    });
    view! {
        <h1 class="sentence"><strong>{lead}</strong>{format!(" {} of {}", write::count(dealt), words::keys(planned))}{super::under_scope(flush)}" dealt with."</h1>
        <p class="under"><span>{format!("{} elapsed", write::span(now - progress.started_at))}</span>" "{left}{rate}<span>{format!("{} pace{}", flush.pace, if progress.halved > 0 { ", braked" } else { "" })}</span></p>
    }
    .into_any()
}

/// Chart and record.
pub fn rest(flush: &FlushPage, numbers: &str) -> AnyView {
    view! {
        {flush.progress.as_ref().map(brake)}
        {flush.progress.as_ref().and_then(|progress| bystanders(flush, progress, numbers))}
        {flush.progress.as_ref().and_then(nodes)}
        {committed(&flush.audit, flush.as_of)}
    }
    .into_any()
}

/// ` (noperm 3)`
fn classes(progress: &Progress) -> String {
    let classes: Vec<String> = progress.failed_by_class.iter().map(|(class, keys)| format!("{class} {}", write::count(*keys))).collect();
    if classes.is_empty() { String::new() } else { format!(" ({})", classes.join(", ")) }
}

/// How far it is.
#[expect(clippy::cast_precision_loss, reason = "shares of a bar")]
pub fn bar(flush: &FlushPage) -> Option<AnyView> {
    let progress = flush.progress.as_ref()?;
    let planned = flush.plan.as_ref().map_or(0, |plan| plan.matched);
    let whole = planned.max(progress.removed + progress.gone).max(1) as f64;
    let (removed, gone) = (progress.removed as f64 / whole * 100.0, progress.gone as f64 / whole * 100.0);
    let drawn = format!(
        r#"<rect class="track" width="100%" height="14"/><rect class="p-removed" width="{removed:.2}%" height="14"/><rect class="p-gone" x="{removed:.2}%" width="{gone:.2}%" height="14"/>"#
    );
    let keyspace = flush.plan.as_ref().map_or(0, |plan| plan.keyspace);
    let scanned = (keyspace > 0 && progress.scanned > 0).then(|| {
        let share = (progress.scanned as f64 / keyspace as f64).min(1.0);
        format!(", {} of the keyspace scanned", write::percent(share))
    });
    let done = write::percent((progress.removed + progress.gone) as f64 / whole);
    let engine = match (progress.scan_count, progress.step_us) {
        (Some(count), Some(step)) => Some(format!("COUNT {count}, {step} µs a step")),
        _ => None,
    };
    Some(
        view! {
            <section class="card">
                <div
                    class="progress"
                    role="progressbar"
                    aria-valuemin="0"
                    aria-valuemax=planned.to_string()
                    aria-valuenow=(progress.removed + progress.gone).min(planned).to_string()
                    aria-label="Keys dealt with"
                >
                    <svg width="100%" height="14" aria-hidden="true" inner_html=drawn></svg>
                </div>
                <p class="progress-note">
                    <span><i class="sw"></i>{format!("{} {}", write::count(progress.removed), words::participle(&flush.mode))}</span>
                    <span><i class="sw sw-gone"></i>{format!("{} {}", write::count(progress.gone), words::heads(&flush.mode).1.to_lowercase())}</span>
                    <span>{format!("{} failed{}", write::count(progress.failed), classes(progress))}</span>
                    <span>{format!("{done} of the plan")}{scanned}</span>
                </p>
                <p class="hint">
                    {format!("Committed before they are sent: at most {} more keys. ", write::count(progress.granted))}{engine}
                </p>
            </section>
        }
        .into_any(),
    )
}

/// What holds it back, or what nobody can see.
fn brake(progress: &Progress) -> AnyView {
    let braked = (progress.halved > 0).then(|| {
        let because = progress.braked_because.clone().map_or_else(String::new, |why| format!(": {why}"));
        let words = view! { <b>{format!("Braked to 1/{} of its pace", 1_u32 << progress.halved.min(8))}</b>{because}". It stops by itself where that lasts." };
        notice(Tone::Warn, Glyph::Risk, words)
    });
    let blind = progress.blind.clone().map(|blind| notice(Tone::Plain, Glyph::Few, blind));
    view! { {braked}{blind} }.into_any()
}

/// How far each master is, where there are several.
fn nodes(progress: &Progress) -> Option<AnyView> {
    if progress.nodes.len() < 2 {
        return None;
    }
    let rows: Vec<AnyView> = progress
        .nodes
        .iter()
        .map(|node| {
            #[expect(clippy::cast_precision_loss, reason = "a share, shown to two digits")]
            let share = node.keys.filter(|keys| *keys > 0).map(|keys| (node.scanned as f64 / keys as f64).min(1.0));
            let far = if node.complete { "done".to_owned() } else { share.map_or_else(|| write::NONE.to_owned(), write::percent) };
            view! { <tr><th scope="row">{code(&node.address)}</th><td class="num">{write::count(node.scanned)}</td><td class="num">{far}</td><td class="num">{write::count(node.removed)}</td></tr> }.into_any()
        })
        .collect();
    Some(
        view! {
            <section class="card">
                <h2>"Nodes"</h2>
                <table class="plain">
                    <caption class="vh">"How far each master is"</caption>
                    <thead><tr><th scope="col">"Node"</th><th scope="col" class="num">"Scanned"</th><th scope="col" class="num">"Of its keys"</th><th scope="col" class="num">"Done"</th></tr></thead>
                    <tbody>{rows}</tbody>
                </table>
            </section>
        }
        .into_any(),
    )
}

fn bystanders(flush: &FlushPage, progress: &Progress, numbers: &str) -> Option<AnyView> {
    let series = progress.bystander.as_ref().filter(|series| !series.points.is_empty())?;
    let text = |value: Option<f64>| value.map_or_else(|| "unknown".to_owned(), write::millis);
    let now = view! {
        <b>{text(progress.bystander_p99_ms)}</b>" "
        <span class="quiet">{format!("median {}, {} before the flush", text(progress.bystander_p50_ms), text(progress.bystander_before_ms))}</span>
    };
    Some(figure(Chart {
        id: "bystander",
        title: "Bystander latency".to_owned(),
        unit: "ms, p99 of a PING every 20 ms on its own connection",
        now: now.into_any(),
        label: format!("Bystander p99: {} now, {} before the flush.", text(progress.bystander_p99_ms), text(progress.bystander_before_ms)),
        format: Format::Millis,
        lines: vec![Line { name: "", class: "l1", series }],
        with_interval: false,
        shade_l2_to_l1: false,
        limit: progress.bystander_limit_ms,
        marks: &[],
        gaps: &[],
        numbers: Some((format!("/flush/{}?numbers=bystander#bystander", write::query(&flush.id)), numbers == "bystander")),
    }))
}

/// The audit rows of this flush.
pub fn committed(audit: &[AuditLine], now: DateTime<Utc>) -> Option<AnyView> {
    if audit.is_empty() {
        return None;
    }
    let rows: Vec<AnyView> = audit
        .iter()
        .map(|line| {
            let what = if line.what.is_empty() { line.code.clone() } else { format!("{}: {}", line.code, line.what) };
            view! {
                <li><span class="seq">{write::seq(line.seq)}</span>{write::timed(line.at, &line.at.format(if line.at.date_naive() == now.date_naive() { "%H:%M:%S%.3f" } else { "%-d %b %H:%M" }).to_string())}<span>{what}</span></li>
            }
            .into_any()
        })
        .collect();
    Some(view! { <section class="card"><h2>"Committed to the audit log"</h2><ol class="log">{rows}</ol></section> }.into_any())
}
