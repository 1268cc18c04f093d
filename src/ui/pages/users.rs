//! `/users`: who has an account and which programs have tokens. For admins.

use crate::domain::operator::Role;
use crate::domain::refusal::Refusal;
use crate::server::service::accounts::{TokenRow, UserRow, UsersPage};
use crate::ui::components::form::{command, error_code, invalid, of, refused, typed};
use crate::ui::components::write;
use leptos::prelude::*;

/// The page's `main`.
pub fn main(model: &UsersPage, refusal: Option<&Refusal>) -> AnyView {
    let change = of(refusal, "change");
    view! {
        <main id="main" class="page">
            <div class="head">
                <div>
                    <h1>"Users"</h1>
                    <p class="under">"Every change ends the person's sessions where it must, and is part of the audit record."</p>
                </div>
            </div>
            {refused(change, "Not done.")}
            <section class="panel" data-error=error_code(change)>
                <div class="scroll" tabindex="0" role="region" aria-label="Accounts">
                <table class="roomy">
                    <caption class="vh">"Accounts by e-mail address"</caption>
                    <thead>
                        <tr><th scope="col">"Who"</th><th scope="col">"Role"</th><th scope="col" class="w3">"Since"</th><th scope="col">"New password"</th><th scope="col"><span class="vh">"Disable"</span></th></tr>
                    </thead>
                    <tbody>{model.rows.iter().map(|row| user(model, row)).collect::<Vec<_>>()}</tbody>
                </table>
                </div>
            </section>
            {add(of(refusal, "add"))}
            {tokens(model)}
        </main>
    }
    .into_any()
}

fn roles(chosen: &str) -> Vec<AnyView> {
    Role::ALL
        .into_iter()
        .map(|role| view! { <option value=role.as_str() selected=role.as_str() == chosen>{role.as_str()}</option> }.into_any())
        .collect()
}

fn user(model: &UsersPage, row: &UserRow) -> AnyView {
    let label = format!("Role of {}", row.email);
    let password_label = format!("New password of {}", row.email);
    let disabled = row.disabled_at;
    let able = if row.own {
        view! { <span class="hint">"You"</span> }.into_any()
    } else {
        let (action, words) = if disabled.is_some() { ("enable", "Enable") } else { ("disable", "Disable") };
        view! {
            <form method="post" action="/users">
                <input type="hidden" name="email" value=row.email.clone()/>
                <button class="btn btn-sm" type="submit" name="do" value=action aria-label=format!("{words} {}", row.email)>{words}</button>
            </form>
        }
        .into_any()
    };
    view! {
        <tr>
            <th scope="row">
                {row.name.clone()}<small class="quiet">{row.email.clone()}</small>
                {row.factor.then(|| second_factor(row))}
                {disabled.map(|at| view! { <small class="v-warn">"disabled "{write::time(at, model.as_of)}</small> })}
            </th>
            <td>
                <form class="inline" method="post" action="/users">
                    <input type="hidden" name="email" value=row.email.clone()/>
                    <select name="role" aria-label=label>{roles(row.role.as_str())}</select>
                    <button class="btn btn-sm" type="submit" name="do" value="role">"Set"</button>
                </form>
            </td>
            <td class="w3 nowrap">{write::time(row.created_at, model.as_of)}</td>
            <td>
                <form class="inline" method="post" action="/users">
                    <input type="hidden" name="email" value=row.email.clone()/>
                    <input name="password" type="password" autocomplete="new-password" minlength="8" maxlength="1024" required aria-label=password_label/>
                    <button class="btn btn-sm" type="submit" name="do" value="reset">"Set"</button>
                </form>
            </td>
            <td>{able}</td>
        </tr>
    }
    .into_any()
}

fn second_factor(row: &UserRow) -> AnyView {
    if row.own {
        return view! { <small class="quiet">"with a second factor"</small> }.into_any();
    }
    let label = format!("Take away the second factor of {}", row.email);
    view! {
        <form method="post" action="/users">
            <input type="hidden" name="email" value=row.email.clone()/>
            <small class="quiet">"with a second factor "</small>
            <button class="btn btn-sm" type="submit" name="do" value="reset_factor" aria-label=label>"Take away"</button>
        </form>
    }
    .into_any()
}

fn add(refusal: Option<&Refusal>) -> AnyView {
    view! {
        {refused(refusal, "Not added.")}
        <form class="card fields narrow" method="post" action="/users" data-error=error_code(refusal)>
            <h2>"Add an account"</h2>
            <div class="field">
                <label for="email">"E-mail"</label>
                <input id="email" name="email" type="email" autocomplete="off" maxlength="254" required value=typed(refusal, "email", "") aria-invalid=invalid(refusal, "email")/>
            </div>
            <div class="field">
                <label for="name">"Name"</label>
                <input id="name" name="name" autocomplete="off" maxlength="200" value=typed(refusal, "name", "") aria-invalid=invalid(refusal, "name")/>
                <p class="hint">"Left empty, it is read from the address."</p>
            </div>
            <div class="field">
                <label for="role">"Role"</label>
                <select id="role" name="role" aria-invalid=invalid(refusal, "role")>{roles(&typed(refusal, "role", "viewer"))}</select>
            </div>
            <div class="field">
                <label for="password">"Password"</label>
                <input id="password" name="password" type="password" autocomplete="new-password" minlength="8" maxlength="1024" required aria-invalid=invalid(refusal, "password")/>
                <p class="hint">"At least 8 characters."</p>
            </div>
            <button class="btn btn-primary" type="submit" name="do" value="add">"Add account"</button>
        </form>
    }
    .into_any()
}

fn tokens(model: &UsersPage) -> AnyView {
    let rows: Vec<AnyView> = model.tokens.iter().map(|row| token(model, row)).collect();
    let list = if rows.is_empty() {
        view! { <p class="empty">"No program has a token yet."</p> }.into_any()
    } else {
        view! {
            <div class="scroll" tabindex="0" role="region" aria-label="Tokens">
            <table class="roomy">
                <caption class="vh">"Tokens by source"</caption>
                <thead>
                    <tr><th scope="col">"Source"</th><th scope="col">"For"</th><th scope="col" class="w3">"Target"</th><th scope="col">"State"</th><th scope="col">"Used"</th><th scope="col"><span class="vh">"Revoke"</span></th></tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
            </div>
        }
        .into_any()
    };
    view! {
        <section class="panel">
            <div class="panel-head"><h2>"Tokens of programs"</h2></div>
            {list}
            <div class="card-foot">
                <p class="hint">"A token is made on the command line, where its secret is shown once:"</p>
                {command("stalewatch token create --source NAME")}
            </div>
        </section>
    }
    .into_any()
}

fn token(model: &UsersPage, row: &TokenRow) -> AnyView {
    let revoke = (row.state == "valid").then(|| {
        view! {
            <form method="post" action="/users">
                <input type="hidden" name="token" value=row.id.clone()/>
                <button class="btn btn-sm" type="submit" name="do" value="revoke" aria-label=format!("Revoke the token {}", row.id)>"Revoke"</button>
            </form>
        }
    });
    let used = row.last_used_at.map_or_else(|| "never".into_any(), |at| write::time(at, model.as_of));
    let what = if row.kind == "ingest" { "sending events" } else { "reading figures" };
    view! {
        <tr>
            <th scope="row">{row.source.clone()}<small class="quiet"><code>{row.id.clone()}</code></small></th>
            <td>{what}</td>
            <td class="w3">{row.target.clone().unwrap_or_else(|| "any".to_owned())}</td>
            <td>{row.state}</td>
            <td class="nowrap">{used}</td>
            <td>{revoke}</td>
        </tr>
    }
    .into_any()
}
