//! Live regions: each asks its own address with the version it shows, every two seconds, every second while a flush works, and only while the
//! tab is seen. 204 means nothing moved.

use super::{all, charts, page};
use leptos::prelude::{Set, WriteSignal, set_timeout};
use leptos::task::spawn_local;
use std::time::Duration;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{Document, Element, Response, VisibilityState, Window};

const CALM: Duration = Duration::from_secs(2);
const WORKING: Duration = Duration::from_secs(1);
/// Failures in a row before the page says so: one may be a restart.
const PATIENCE: u32 = 3;

/// Starts asking, if the page has anything to ask for.
pub fn install(set_lost: WriteSignal<Option<String>>) {
    let Some((_, document)) = page() else { return };
    if all(&document, "[data-live]").is_empty() {
        return;
    }
    spawn_local(async move { follow(set_lost).await });
}

async fn follow(set_lost: WriteSignal<Option<String>>) {
    let Some((window, document)) = page() else { return };
    let mut failures = 0;
    loop {
        sleep(if works(&document) { WORKING } else { CALM }).await;
        if document.visibility_state() != VisibilityState::Visible {
            continue;
        }
        let mut failed = false;
        for region in all(&document, "[data-live]") {
            let taken = match ask(&window, &region).await {
                Some(answer) => take(&window, &document, &region, &answer).await,
                None => None,
            };
            failed |= taken.is_none();
        }
        failures = if failed { failures + 1 } else { 0 };
        if failures == PATIENCE {
            let since = all(&document, "[data-as-of]").first().and_then(|place| place.text_content()).unwrap_or_default();
            set_lost.set(Some(format!("Stalewatch does not answer. What you see stands as of {since}; it is tried again by itself.")));
        } else if failures == 0 {
            set_lost.set(None);
        }
    }
}

/// Whether the page shows a flush at work.
fn works(document: &Document) -> bool {
    let state = document.query_selector("main").ok().flatten().and_then(|main| main.get_attribute("data-state")).unwrap_or_default();
    matches!(state.as_str(), "planning" | "starting" | "running" | "paused" | "verifying")
}

async fn sleep(length: Duration) {
    let promise = js_sys::Promise::new(&mut |resolve, _| {
        set_timeout(
            move || {
                let _ = resolve.call0(&wasm_bindgen::JsValue::NULL);
            },
            length,
        );
    });
    let _ = JsFuture::from(promise).await;
}

async fn ask(window: &Window, region: &Element) -> Option<Response> {
    let url = region.get_attribute("data-live")?;
    let since = region.get_attribute("data-version").unwrap_or_default();
    let join = if url.contains('?') { '&' } else { '?' };
    let answer = JsFuture::from(window.fetch_with_str(&format!("{url}{join}since={since}"))).await.ok()?;
    answer.dyn_into().ok()
}

/// Puts in what came; None where the answer was not one.
async fn take(window: &Window, document: &Document, region: &Element, answer: &Response) -> Option<()> {
    let header = |name: &str| answer.headers().get(name).ok().flatten();
    if !matches!(answer.status(), 200 | 204) || answer.redirected() {
        return None;
    }
    if let (Some(at), Some(text)) = (header("x-as-of"), header("x-as-of-text")) {
        for place in all(document, "[data-as-of] time") {
            let _ = place.set_attribute("datetime", &at);
            let _ = place.remove_attribute("title");
            place.set_text_content(Some(&text));
        }
    }
    // Another state of a flush has other forms: the whole page is asked for again.
    if let Some(state) = header("x-state") {
        let shown = document.query_selector("main").ok().flatten().and_then(|main| main.get_attribute("data-state"));
        if shown.is_some_and(|shown| shown != state) {
            let _ = window.location().reload();
            return Some(());
        }
    }
    if answer.status() == 204 {
        return Some(());
    }
    let version = header("x-version")?;
    let html = JsFuture::from(answer.text().ok()?).await.ok()?.as_string()?;
    // Not under the pointer's crosshair, and not while something inside has the focus: it would be lost.
    let focused = document.active_element().is_some_and(|active| region.contains(Some(&active)));
    if charts::in_use(region) || focused {
        return Some(());
    }
    region.set_inner_html(&html);
    let _ = region.set_attribute("data-version", &version);
    if let (Ok(Some(main)), Ok(Some(piece))) = (document.query_selector("main"), region.query_selector("[data-main]")) {
        for name in ["data-planned", "data-removed", "data-gone", "data-failed", "data-residue", "data-wide", "data-verdict"] {
            if let Some(value) = piece.get_attribute(name) {
                let _ = main.set_attribute(name, &value);
            }
        }
    }
    Some(())
}
