//! Every `#[island]`, and why it must run in the browser. Islands add; without them every page still says and does everything.

use leptos::prelude::*;

/// A button that copies `text`; in the browser because only it has a clipboard.
#[island]
pub fn CopyButton(text: String) -> impl IntoView {
    let (copied, set_copied) = signal(false);
    let copy = move |_| {
        #[cfg(target_arch = "wasm32")]
        {
            let _promise = window().navigator().clipboard().write_text(&text);
        }
        #[cfg(not(target_arch = "wasm32"))]
        let _: &str = &text;
        set_copied.set(true);
    };
    view! { <button type="button" class="btn btn-sm" on:click=copy>{move || if copied.get() { "Copied" } else { "Copy" }}</button> }
}
