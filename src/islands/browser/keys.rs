//! Keys, copying, and times in the reader's own zone.

use super::{all, closest, listen};
use wasm_bindgen::JsCast;
use web_sys::{Document, Element, HtmlDialogElement, HtmlElement, KeyboardEvent, MouseEvent, PointerEvent, Window};

pub fn install(window: &Window, document: &Document) {
    for hint in all(document, "[data-keys]") {
        let _ = hint.remove_attribute("hidden");
    }
    for block in all(document, "pre[data-copy]") {
        let _ = block.insert_adjacent_html("beforebegin", r#"<button type="button" class="btn btn-sm copy" data-copies="">Copy</button>"#);
    }
    if let Some(refused) = document.get_element_by_id("refused").and_then(|found| found.dyn_into::<HtmlElement>().ok()) {
        let _ = refused.focus();
    }
    let on_page = document.clone();
    listen(document, "keydown", move |event: KeyboardEvent| key(&on_page, &event));
    let on_window = window.clone();
    listen(document, "click", move |event: MouseEvent| copy(&on_window, &event));
    listen(document, "pointerover", move |event: PointerEvent| local_time(&event));
}

fn key(document: &Document, event: &KeyboardEvent) {
    if event.ctrl_key() || event.alt_key() || event.meta_key() {
        return;
    }
    if closest(event, "input, textarea, select, [contenteditable]").is_some() {
        if event.key() == "Escape"
            && let Some(active) = document.active_element().and_then(|active| active.dyn_into::<HtmlElement>().ok())
        {
            let _ = active.blur();
        }
        return;
    }
    match event.key().as_str() {
        "/" => {
            if let Some(field) = document.get_element_by_id("q").and_then(|field| field.dyn_into::<HtmlElement>().ok()) {
                event.prevent_default();
                let _ = field.focus();
            }
        }
        "?" => {
            if let Some(help) = document.get_element_by_id("help").and_then(|help| help.dyn_into::<HtmlDialogElement>().ok()) {
                event.prevent_default();
                if help.open() {
                    help.close();
                } else {
                    let _ = help.show_modal();
                }
            }
        }
        _ => {}
    }
}

fn copy(window: &Window, event: &MouseEvent) {
    let Some(button) = closest(event, "[data-copies]") else { return };
    let Some(text) = button.next_element_sibling().and_then(|block| block.text_content()) else { return };
    let _promise = window.navigator().clipboard().write_text(&text);
    button.set_text_content(Some("Copied"));
}

/// Names a time in the reader's own zone, the first time it is pointed at.
fn local_time(event: &PointerEvent) {
    let Some(time): Option<Element> = closest(event, "time[datetime]:not([title])") else { return };
    let Some(at) = time.get_attribute("datetime") else { return };
    let local = js_sys::Date::new(&at.into()).to_string();
    let _ = time.set_attribute("title", &String::from(local));
}
