//! The sign-in.

use crate::domain::refusal::Refusal;
use crate::ui::components::frame::brand;
use crate::ui::components::state::{Glyph, glyph, sprite};
use leptos::prelude::*;

/// The form, with what was refused above it. `next` is where a signed-in person goes on to.
pub fn view(next: &str, refusal: Option<&Refusal>) -> AnyView {
    let next = next.to_owned();
    let going_on = (next != "/").then(|| view! { <p class="hint">"You go on to "<code>{next.clone()}</code>"."</p> });
    let email = refusal.map_or_else(String::new, |refusal| refusal.typed("email").to_owned());
    let notice = refusal.map(|refusal| {
        let detail = refusal.detail.clone();
        view! { <div class="notice notice-bad" role="alert">{glyph(Glyph::Out, "g-bad")}<div><b>"Not signed in."</b>" "{detail}</div></div> }
    });
    view! {
        {sprite()}
        <a class="skip" href="#main">"Skip to content"</a>
        <main id="main" class="gate">
            {brand()}
            {notice}
            <form class="card fields" method="post" action="/sign-in" data-error=refusal.map(|refusal| refusal.code.clone())>
                <h1>"Sign in"</h1>
                <div class="field">
                    <label for="email">"E-mail"</label>
                    <input id="email" name="email" type="email" autocomplete="username" maxlength="254" required value=email/>
                </div>
                <div class="field">
                    <label for="password">"Password"</label>
                    <input id="password" name="password" type="password" autocomplete="current-password" maxlength="1024" required/>
                </div>
                <input type="hidden" name="next" value=next.clone()/>
                <button class="btn btn-primary" type="submit">"Sign in"</button>
            </form>
            {going_on}
            <p class="hint">"No account yet? An admin adds one with "<code>"stalewatch user add"</code>"."</p>
        </main>
    }
    .into_any()
}
