//! Every `#[island]`, and why it must run in the browser. Islands add; without them every page still says and does everything.

use leptos::prelude::*;

#[cfg(target_arch = "wasm32")]
mod browser;

/// Keeps a page alive: refreshes its live regions, moves one crosshair over all its charts, zooms by dragging, copies commands, listens to
/// `/` and `?`. In the browser because all of that follows the clock, the pointer and the keyboard there. It works by delegation on data
/// attributes, so that whatever a live region brings in needs no waking. Its own place on the page says when the server does not answer.
#[island]
pub fn Live() -> impl IntoView {
    let (lost, set_lost) = signal(None::<String>);
    #[cfg(target_arch = "wasm32")]
    browser::install(set_lost);
    #[cfg(not(target_arch = "wasm32"))]
    let _ = set_lost;
    view! { <p class="lost" role="status">{move || lost.get()}</p> }
}
