//! `/first-run`: where the one-time link on the console leads.

use super::to_the_end;
use crate::domain::refusal::Refusal;
use crate::error::Error;
use crate::server::auth::{origin, page_of};
use crate::server::service::accounts::{self, AccountError, FirstRunError, LinkStanding, SignInError};
use crate::server::state::AppState;
use crate::ui::pages::first_run;
use crate::ui::shell;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Link {
    token: String,
}

/// The form's fields; one left out is empty.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Typed {
    token: String,
    email: String,
    password: String,
    again: String,
}

/// `GET /first-run?token=…`.
pub async fn show(State(app): State<AppState>, Query(link): Query<Link>) -> Response {
    let work = {
        let (app, token) = (app.clone(), link.token.clone());
        async move { accounts::look_at_link(&app.pools.control, app.clock.now(), &token).await }
    };
    let failed = match to_the_end(work).await {
        Ok(Ok(LinkStanding::Good)) => return draw(StatusCode::OK, Some(&link.token), None),
        Ok(Ok(LinkStanding::Unknown)) => FirstRunError::Unknown,
        Ok(Ok(LinkStanding::Expired)) => FirstRunError::Expired,
        Ok(Ok(LinkStanding::Over)) => FirstRunError::Over,
        Ok(Err(cause)) => return page_of(&Error::store(&cause)),
        Err(error) => return page_of(&error),
    };
    refuse(&failed, &Typed::default())
}

/// `POST /first-run`.
pub async fn submit(State(app): State<AppState>, headers: HeaderMap, extensions: Extensions, Form(typed): Form<Typed>) -> Response {
    if typed.email.trim().is_empty() || typed.password.is_empty() {
        return wrong(&typed, "missing", "Type your e-mail address and a password, twice.", None);
    }
    if typed.password != typed.again {
        return wrong(&typed, "not_the_same", "The password was not typed the same twice.", Some("again"));
    }
    let came = origin::came(&app.config(), &headers, &extensions);
    let work = {
        let (app, token, email, password) = (app.clone(), typed.token.clone(), typed.email.clone(), typed.password.clone());
        async move { accounts::use_link(&app.access, &app.pools.control, &app.clock, &token, &email, &password, &came).await }
    };
    match to_the_end(work).await {
        Ok(Ok(_)) => Redirect::to("/sign-in").into_response(),
        Ok(Err(failed)) => refuse(&failed, &typed),
        Err(error) => page_of(&error),
    }
}

fn refuse(failed: &FirstRunError, typed: &Typed) -> Response {
    match failed {
        FirstRunError::Account(AccountError::Store(cause)) | FirstRunError::SignIn(SignInError::Store(cause)) => {
            page_of(&Error::store(cause))
        }
        FirstRunError::Account(error) => {
            let field = if matches!(error, AccountError::TooShort | AccountError::TooLong) { "password" } else { "email" };
            wrong(typed, error.code(), &error.to_string(), Some(field))
        }
        FirstRunError::SignIn(_) => {
            let refusal = Refusal {
                form: "first_run",
                code: "too_many".to_owned(),
                detail: "Too many tries are waiting already. Try again in 8 s.".to_owned(),
                ..Refusal::default()
            };
            let mut response = draw(StatusCode::TOO_MANY_REQUESTS, Some(&typed.token), Some(&refusal));
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(8));
            response
        }
        FirstRunError::Unknown | FirstRunError::Expired | FirstRunError::Over => {
            let (status, code) = match failed {
                FirstRunError::Unknown => (StatusCode::FORBIDDEN, "link_unknown"),
                FirstRunError::Expired => (StatusCode::FORBIDDEN, "link_expired"),
                _ => (StatusCode::CONFLICT, "link_over"),
            };
            let refusal = Refusal { form: "first_run", code: code.to_owned(), detail: failed.to_string(), ..Refusal::default() };
            draw(status, None, Some(&refusal))
        }
    }
}

fn wrong(typed: &Typed, code: &str, detail: &str, field: Option<&'static str>) -> Response {
    let refusal = Refusal {
        form: "first_run",
        code: code.to_owned(),
        detail: detail.to_owned(),
        field,
        typed: BTreeMap::from([("email".to_owned(), typed.email.chars().take(254).collect())]),
    };
    draw(StatusCode::UNPROCESSABLE_ENTITY, Some(&typed.token), Some(&refusal))
}

/// The page; without a token its form is not there.
fn draw(status: StatusCode, token: Option<&str>, refusal: Option<&Refusal>) -> Response {
    let (token, refusal) = (token.map(|token| token.chars().take(100).collect::<String>()), refusal.cloned());
    shell::respond(status, "First account", move || first_run::view(token.as_deref(), refusal.as_ref()))
}
