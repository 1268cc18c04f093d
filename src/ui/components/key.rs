//! Templates and keys as people read them: placeholders stand back.

use leptos::prelude::*;

/// `user:{id}:summary` with its placeholders in a quieter tone.
pub fn key(template: &str) -> AnyView {
    view! { <code class="key">{parts(template)}</code> }.into_any()
}

/// Any text with code in it, as it is.
pub fn code(text: &str) -> AnyView {
    view! { <code>{text.to_owned()}</code> }.into_any()
}

fn parts(template: &str) -> Vec<AnyView> {
    let mut views = Vec::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let Some(close) = rest[open..].find('}').map(|at| open + at) else { break };
        if open > 0 {
            views.push(rest[..open].to_owned().into_any());
        }
        views.push(view! { <var>{rest[open..=close].to_owned()}</var> }.into_any());
        rest = &rest[close + 1..];
    }
    if !rest.is_empty() {
        views.push(rest.to_owned().into_any());
    }
    views
}
