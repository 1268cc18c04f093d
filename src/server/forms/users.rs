//! `/users`: an admin adds, disables and enables accounts, gives roles and new passwords.

use super::to_the_end;
use crate::domain::operator::Role;
use crate::domain::refusal::Refusal;
use crate::error::Error;
use crate::server::auth::{Viewer, page_of};
use crate::server::pages::users::draw;
use crate::server::service::accounts::{self, AccountError, TokenError};
use crate::server::state::AppState;
use axum::Form;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The fields of the page's forms; one left out is empty.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Typed {
    /// `add`, `disable`, `enable`, `role`, `reset`, `reset_factor` or `revoke`.
    r#do: String,
    email: String,
    name: String,
    role: String,
    password: String,
    token: String,
}

/// Why a form was refused.
enum Refused {
    Account(AccountError),
    Token(TokenError),
    NoRole,
    NoAction,
}

impl From<AccountError> for Refused {
    fn from(error: AccountError) -> Self {
        Refused::Account(error)
    }
}

impl From<TokenError> for Refused {
    fn from(error: TokenError) -> Self {
        Refused::Token(error)
    }
}

/// `POST /users`.
pub async fn submit(State(app): State<AppState>, viewer: Viewer, Form(typed): Form<Typed>) -> Response {
    let work = {
        let (app, viewer, typed) = (app.clone(), viewer.clone(), typed.clone());
        async move { act(&app, &viewer, &typed).await }
    };
    let refused = match to_the_end(work).await {
        Ok(Ok(())) => return Redirect::to("/users").into_response(),
        Ok(Err(refused)) => refused,
        Err(error) => return page_of(&error),
    };
    let (code, detail) = match &refused {
        Refused::Account(AccountError::Store(cause)) | Refused::Token(TokenError::Store(cause)) => return page_of(&Error::store(cause)),
        Refused::Account(error) => (error.code(), error.to_string()),
        Refused::Token(error) => ("unknown_token", error.to_string()),
        Refused::NoRole => ("unknown_role", format!("A role is one of {}. Nothing was changed.", Role::ALL.map(Role::as_str).join(", "))),
        Refused::NoAction => ("unknown_action", "This page knows no such button. Nothing was changed.".to_owned()),
    };
    let field = match code {
        "bad_email" | "exists" | "unknown_account" => Some("email"),
        "bad_name" => Some("name"),
        "unknown_role" => Some("role"),
        "password_too_short" | "password_too_long" => Some("password"),
        _ => None,
    };
    let form = if typed.r#do == "add" { "add" } else { "change" };
    let short = |text: &str| text.chars().take(254).collect::<String>();
    let typed = BTreeMap::from([
        ("email".to_owned(), short(&typed.email)),
        ("name".to_owned(), short(&typed.name)),
        ("role".to_owned(), short(&typed.role)),
    ]);
    let refusal = Refusal { form, code: code.to_owned(), detail, field, typed };
    let status = if matches!(code, "last_admin" | "own_factor") { StatusCode::CONFLICT } else { StatusCode::UNPROCESSABLE_ENTITY };
    draw(&app, &viewer, status, Some(&refusal)).await
}

async fn act(app: &AppState, viewer: &Viewer, typed: &Typed) -> Result<(), Refused> {
    let (access, pool, now, actor) = (&app.access, &app.pools.control, app.clock.now(), viewer.actor());
    let role = || Role::parse(&typed.role).ok_or(Refused::NoRole);
    match typed.r#do.as_str() {
        "add" => {
            accounts::add_user(access, pool, now, &actor, &typed.email, Some(&typed.name), role()?, &typed.password).await?;
        }
        "disable" => accounts::disable_user(access, pool, now, &actor, &typed.email).await?,
        "enable" => accounts::enable_user(pool, &actor, &typed.email).await?,
        "role" => accounts::change_role(access, pool, &actor, &typed.email, role()?).await?,
        "reset" => {
            accounts::reset_password(access, pool, now, &actor, &typed.email, &typed.password).await?;
        }
        // Where there is none, that is what was wanted.
        "reset_factor" => {
            accounts::reset_factor(access, pool, &actor, &typed.email).await?;
        }
        "revoke" => accounts::revoke_token(pool, now, &actor, &typed.token).await?,
        _ => return Err(Refused::NoAction),
    }
    Ok(())
}
