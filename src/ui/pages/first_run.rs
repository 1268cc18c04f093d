//! `/first-run`: the first admin sets their e-mail address and password.

use crate::domain::refusal::Refusal;
use crate::ui::components::form::{command, error_code, invalid, typed};
use crate::ui::components::frame::brand;
use crate::ui::components::state::{Glyph, glyph, sprite};
use leptos::prelude::*;

/// The form, with what was refused above it. `token` is the link's; without a good one there is no form.
pub fn view(token: Option<&str>, refusal: Option<&Refusal>) -> AnyView {
    let notice = refusal.map(|refusal| {
        let detail = refusal.detail.clone();
        view! { <div class="notice notice-bad" role="alert">{glyph(Glyph::Out, "g-bad")}<div><b>"No account was made."</b>" "{detail}</div></div> }
    });
    let body = match token {
        Some(token) => form(token, refusal),
        None => instead(refusal),
    };
    view! {
        {sprite()}
        <a class="skip" href="#main">"Skip to content"</a>
        <main id="main" class="gate">{brand()}{notice}{body}</main>
    }
    .into_any()
}

fn form(token: &str, refusal: Option<&Refusal>) -> AnyView {
    view! {
        <form class="card fields" method="post" action="/first-run" data-error=error_code(refusal)>
            <h1>"The first account"</h1>
            <p class="hint">"It is an admin's: it adds the others. This link works once."</p>
            <div class="field">
                <label for="email">"E-mail"</label>
                <input id="email" name="email" type="email" autocomplete="username" maxlength="254" required value=typed(refusal, "email", "") aria-invalid=invalid(refusal, "email")/>
            </div>
            <div class="field">
                <label for="password">"Password"</label>
                <input id="password" name="password" type="password" autocomplete="new-password" minlength="8" maxlength="1024" required aria-invalid=invalid(refusal, "password") aria-describedby="password-h"/>
                <p class="hint" id="password-h">"At least 8 characters."</p>
            </div>
            <div class="field">
                <label for="again">"Password again"</label>
                <input id="again" name="again" type="password" autocomplete="new-password" minlength="8" maxlength="1024" required aria-invalid=invalid(refusal, "again")/>
            </div>
            <input type="hidden" name="token" value=token.to_owned()/>
            <button class="btn btn-primary" type="submit">"Make this account"</button>
        </form>
    }
    .into_any()
}

/// What to do where the link is good for nothing.
fn instead(refusal: Option<&Refusal>) -> AnyView {
    let error = error_code(refusal);
    let way = if error.as_deref() == Some("link_over") {
        view! { <p><a class="btn btn-primary" href="/sign-in">"Sign in"</a></p><p class="hint">"No account yet? An admin adds one."</p> }
            .into_any()
    } else {
        view! {
            <p>"Restart the server: it prints a new link while nobody has an account. Or make the account on the server's machine:"</p>
            {command("stalewatch user add --email you@example.com --role admin --generate")}
        }
        .into_any()
    };
    view! { <section class="card fields" data-error=error><h1>"The first account"</h1>{way}</section> }.into_any()
}
