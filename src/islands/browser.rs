//! The browser's side of [`super::Live`]. Data attributes are the contract with the server's markup: `data-live`, `data-version`, `data-chart`
//! with its numbers, `data-copy`, `data-as-of`, `data-keys`; `data-awake` on the root says that all of it is installed.

mod charts;
mod keys;
mod regions;

use leptos::prelude::WriteSignal;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::Closure;
use web_sys::{Document, Element, EventTarget, Window};

/// Installs everything, once a page.
pub fn install(set_lost: WriteSignal<Option<String>>) {
    let Some((window, document)) = page() else { return };
    keys::install(&window, &document);
    charts::install(&document);
    regions::install(set_lost);
    // Only from here on are keys and pointer heard.
    if let Some(root) = document.document_element() {
        let _ = root.set_attribute("data-awake", "");
    }
}

fn page() -> Option<(Window, Document)> {
    let window = web_sys::window()?;
    let document = window.document()?;
    Some((window, document))
}

/// Listens on `target` for as long as the page stands.
fn listen<E: JsCast + 'static>(target: &EventTarget, name: &str, mut act: impl FnMut(E) + 'static) {
    let closure = Closure::<dyn FnMut(web_sys::Event)>::new(move |event: web_sys::Event| act(event.unchecked_into()));
    let _ = target.add_event_listener_with_callback(name, closure.as_ref().unchecked_ref());
    closure.forget();
}

/// The elements that `selector` finds.
fn all(document: &Document, selector: &str) -> Vec<Element> {
    let Ok(list) = document.query_selector_all(selector) else { return Vec::new() };
    (0..list.length()).filter_map(|index| list.item(index)?.dyn_into().ok()).collect()
}

/// The element that an event is about, or its nearest ancestor that `selector` finds.
fn closest(event: &web_sys::Event, selector: &str) -> Option<Element> {
    event.target()?.dyn_into::<Element>().ok()?.closest(selector).ok()?
}
