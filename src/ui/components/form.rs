//! Forms: the refusal above its form, fields with their hints, and commands to copy.

use crate::domain::refusal::Refusal;
use crate::domain::second_factor::Due;
use crate::ui::components::state::{Glyph, Tone, glyph, notice};
use leptos::prelude::*;

/// What is wrong, above the form it is about. Announced by screen readers.
pub fn refused(refusal: Option<&Refusal>, heading: &'static str) -> Option<AnyView> {
    let refusal = refusal?;
    let detail = refusal.detail.clone();
    Some(
        view! {
            <div class="notice notice-bad" role="alert" id="refused" tabindex="-1">
                {glyph(Glyph::Out, "g-bad")}
                <div><b>{heading}</b>" "{detail}</div>
            </div>
        }
        .into_any(),
    )
}

/// The refusal of the form named `form`, if it is that one's.
pub fn of<'a>(refusal: Option<&'a Refusal>, form: &str) -> Option<&'a Refusal> {
    refusal.filter(|refusal| refusal.form == form)
}

/// The code for a form's `data-error`.
pub fn error_code(refusal: Option<&Refusal>) -> Option<String> {
    refusal.map(|refusal| refusal.code.clone())
}

/// What was typed, else `fallback`.
pub fn typed(refusal: Option<&Refusal>, field: &str, fallback: &str) -> String {
    refusal.and_then(|refusal| refusal.typed.get(field)).map_or_else(|| fallback.to_owned(), Clone::clone)
}

/// Whether `field` is the one that is wrong, for `aria-invalid`.
pub fn invalid(refusal: Option<&Refusal>, field: &str) -> Option<&'static str> {
    refusal.and_then(|refusal| refusal.field).filter(|wrong| *wrong == field).map(|_| "true")
}

/// Where a code of the second factor is typed. What was typed is never given back.
pub fn code_input(id: &'static str, refusal: Option<&Refusal>) -> AnyView {
    let wrong = invalid(refusal, "code");
    view! {
        <input class="short mono" id=id name="code" maxlength="40" autocomplete="one-time-code" autocapitalize="none" spellcheck="false" required aria-invalid=wrong/>
    }
    .into_any()
}

/// What a form that starts or approves a flush asks for besides; `id` is the field's.
pub fn second_factor(due: Due, id: &'static str, refusal: Option<&Refusal>) -> Option<AnyView> {
    match due {
        Due::Nothing => None,
        Due::Code => Some(
            view! {
                <div class="field">
                    <label for=id>"Code of your second factor"</label>
                    {code_input(id, refusal)}
                    <p class="hint">"Six digits of your authenticator app, or a recovery code. It holds for 5 minutes."</p>
                </div>
            }
            .into_any(),
        ),
        Due::Enrolment => Some(notice(
            Tone::Warn,
            Glyph::Lock,
            view! { "You need a second factor for this: "<a href="/account#second-factor">"enrol one first"</a>"." },
        )),
    }
}

/// A command to copy: a button is added by script.
pub fn command(text: &str) -> AnyView {
    view! { <pre tabindex="0" data-copy=""><code>{text.to_owned()}</code></pre> }.into_any()
}
