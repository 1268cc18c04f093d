//! Stalewatch: an operations dashboard and flush console for application caches on Redis.
//!
//! One package, two builds: the server (`ssr`) and the islands (`hydrate`, wasm). The gates stand here and in `main.rs`, nowhere else.

#[cfg_attr(not(feature = "ssr"), expect(dead_code, reason = "the islands use only a part of the rules"))]
pub mod domain;
pub mod islands;

#[cfg(feature = "ssr")]
pub mod error;
#[cfg(feature = "ssr")]
pub mod server;
#[cfg(feature = "ssr")]
pub mod ui;

/// Wakes the islands of the page; called by the page's own script once the module is loaded.
#[cfg(feature = "hydrate")]
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn hydrate() {
    console_error_panic_hook::set_once();
    leptos::mount::hydrate_islands();
}
