//! `/account`: who one is here, one's second factor, password and sessions.

mod second_factor;

use crate::domain::operator::Permission;
use crate::domain::refusal::Refusal;
use crate::server::service::accounts::{AccountPage, SessionRow};
use crate::ui::components::form::{error_code, invalid, of, refused};
use crate::ui::components::write;
use leptos::prelude::*;

/// The page's `main`.
pub fn main(model: &AccountPage, refusal: Option<&Refusal>) -> AnyView {
    let (email, role) = (model.email.clone(), model.role.as_str());
    view! {
        <main id="main" class="page">
            <div class="head">
                <div>
                    <h1>{model.name.clone()}</h1>
                    <p class="under">{email}", "{role}</p>
                </div>
                {model.role.may(Permission::Administer).then(|| view! { <p class="actions"><a class="btn" href="/settings">"Settings"</a><a class="btn" href="/users">"Users and tokens"</a></p> })}
                <form method="post" action="/sign-out"><button class="btn" type="submit">"Sign out"</button></form>
            </div>
            {refused(of(refusal, "do"), "Nothing was changed.")}
            <section class="panel">
                <h2>"Your sessions"</h2>
                {refused(of(refusal, "end"), "Not ended.")}
                <table>
                    <caption class="vh">"Where you are signed in, latest first"</caption>
                    <thead>
                        <tr><th scope="col">"Seen"</th><th scope="col">"Since"</th><th scope="col">"From"</th><th scope="col" class="w3">"Browser"</th><th scope="col"><span class="vh">"End"</span></th></tr>
                    </thead>
                    <tbody>{model.sessions.iter().map(|row| session(model, row)).collect::<Vec<_>>()}</tbody>
                </table>
                <p class="hint">"A session ends by itself after 30 minutes without a request, and after 12 hours in any case."</p>
            </section>
            {second_factor::section(&model.factor, model.as_of, of(refusal, "factor"))}
            {password(of(refusal, "password"))}
        </main>
    }
    .into_any()
}

fn session(model: &AccountPage, row: &SessionRow) -> AnyView {
    let now = model.as_of;
    let end = view! {
        <form method="post" action="/account">
            <input type="hidden" name="session" value=row.id.to_string()/>
            <button class="btn btn-sm" type="submit" name="do" value="end">{if row.this { "Sign out here" } else { "End" }}</button>
        </form>
    };
    view! {
        <tr>
            <td class="nowrap">{if row.this { "now, this one".into_any() } else { write::time(row.last_seen_at, now) }}</td>
            <td class="nowrap">{write::time(row.created_at, now)}</td>
            <td>{row.address.clone()}</td>
            <td class="w3 wrap">{row.user_agent.clone()}</td>
            <td>{end}</td>
        </tr>
    }
    .into_any()
}

fn password(refusal: Option<&Refusal>) -> AnyView {
    view! {
        {refused(refusal, "Not changed.")}
        <form class="card fields" method="post" action="/account" data-error=error_code(refusal)>
            <h2>"Change your password"</h2>
            <div class="field">
                <label for="present">"Present password"</label>
                <input id="present" name="present" type="password" autocomplete="current-password" maxlength="1024" required aria-invalid=invalid(refusal, "present")/>
            </div>
            <div class="field">
                <label for="new">"New password"</label>
                <input id="new" name="new" type="password" autocomplete="new-password" minlength="8" maxlength="1024" required aria-invalid=invalid(refusal, "new")/>
                <p class="hint">"At least 8 characters. All your sessions end, this one too."</p>
            </div>
            <div class="field">
                <label for="again">"New password again"</label>
                <input id="again" name="again" type="password" autocomplete="new-password" minlength="8" maxlength="1024" required aria-invalid=invalid(refusal, "again")/>
            </div>
            <button class="btn btn-primary" type="submit" name="do" value="password">"Change password"</button>
        </form>
    }
    .into_any()
}
