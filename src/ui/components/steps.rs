//! The stepper of a flush. It is the record: each finished step keeps what was decided, by whom, when.

use leptos::prelude::*;

/// The five steps' names.
pub const STEPS: [&str; 5] = ["Scope", "Plan", "Confirm", "Running", "Outcome"];

/// `at` is the current step, 0…4; a note stands under each.
pub fn steps(at: usize, notes: [String; 5]) -> AnyView {
    let items: Vec<AnyView> = STEPS
        .into_iter()
        .zip(notes)
        .enumerate()
        .map(|(index, (name, note))| {
            let done = index < at;
            let dot = if done {
                r#"<circle cx="9.5" cy="9.5" r="9"/><path d="m5.8 9.8 2.6 2.6 4.8-5.4" fill="none" stroke="currentColor" stroke-width="1.7" stroke-linecap="round" stroke-linejoin="round"/>"#.to_owned()
            } else {
                format!(r#"<circle cx="9.5" cy="9.5" r="9"/><text x="9.5" y="13" text-anchor="middle">{}</text>"#, index + 1)
            };
            view! {
                <li class=done.then_some("done") aria-current=(index == at).then_some("step")>
                    <svg class="dot" viewBox="0 0 19 19" aria-hidden="true" inner_html=dot></svg>
                    <b>{name}{done.then(|| view! { <span class="vh">", done"</span> })}</b>
                    <small>{note}</small>
                </li>
            }
            .into_any()
        })
        .collect();
    view! { <ol class="steps" aria-label="Flush steps">{items}</ol> }.into_any()
}
