//! `/sign-in` and `/sign-out`.

use super::to_the_end;
use crate::domain::refusal::Refusal;
use crate::error::Error;
use crate::server::auth::{cookie, origin, page_of};
use crate::server::service::accounts::{self, Known, SignInError};
use crate::server::state::AppState;
use crate::ui::pages::sign_in;
use crate::ui::shell;
use axum::Form;
use axum::extract::{Query, Request, State};
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What a `Location` header cannot hold as it is.
const IN_LOCATION: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>');

#[derive(Deserialize)]
pub struct Wanted {
    #[serde(default)]
    next: String,
}

/// The form's fields; one left out is empty.
#[derive(Deserialize)]
pub struct Typed {
    #[serde(default)]
    email: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    next: String,
}

/// `GET /sign-in?next=…`; who is signed in already goes on at once.
pub async fn show(State(app): State<AppState>, Query(wanted): Query<Wanted>, request: Request) -> Response {
    let config = app.config();
    let next = origin::safe_next(&wanted.next);
    if let Some(token) = cookie::token(&config, request.headers())
        && let Known::Person(_) = accounts::find_viewer(&app.access, &app.pools.control, app.clock.now(), token).await
    {
        return go_to(next);
    }
    if !origin::holds_cookie(&config, request.headers()) {
        return draw(StatusCode::OK, next, Some(&wrong_address(&app)));
    }
    draw(StatusCode::OK, next, None)
}

/// `POST /sign-in`.
pub async fn submit(State(app): State<AppState>, headers: HeaderMap, extensions: Extensions, Form(typed): Form<Typed>) -> Response {
    let config = app.config();
    let next = origin::safe_next(&typed.next).to_owned();
    if !origin::holds_cookie(&config, &headers) {
        return draw(StatusCode::UNPROCESSABLE_ENTITY, &next, Some(&wrong_address(&app)));
    }
    let refuse = |status: StatusCode, code: &str, detail: String| {
        let refusal = Refusal {
            form: "sign_in",
            code: code.to_owned(),
            detail,
            field: None,
            typed: BTreeMap::from([("email".to_owned(), typed.email.chars().take(254).collect())]),
        };
        draw(status, &next, Some(&refusal))
    };
    if typed.email.trim().is_empty() || typed.password.is_empty() {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "missing", "Type your e-mail address and your password.".to_owned());
    }
    if typed.password.len() > accounts::PASSWORD_MAX_BYTES || typed.email.len() > 1024 {
        return refuse(StatusCode::UNPROCESSABLE_ENTITY, "wrong", "E-mail or password is wrong.".to_owned());
    }
    let came = origin::came(&config, &headers, &extensions);
    let old_token = cookie::token(&config, &headers).map(str::to_owned);
    let work = {
        let (app, email, password) = (app.clone(), typed.email.clone(), typed.password.clone());
        async move { accounts::sign_in(&app.access, &app.pools.control, &app.clock, &email, &password, &came, old_token.as_deref()).await }
    };
    match to_the_end(work).await {
        Ok(Ok(session)) => {
            let mut response = go_to(&next);
            response.headers_mut().insert(header::SET_COOKIE, cookie::set(&config, &session.token));
            response
        }
        Ok(Err(SignInError::Wrong { next_wait_s: 0 })) => {
            refuse(StatusCode::UNPROCESSABLE_ENTITY, "wrong", "E-mail or password is wrong.".to_owned())
        }
        Ok(Err(SignInError::Wrong { next_wait_s })) => refuse(
            StatusCode::UNPROCESSABLE_ENTITY,
            "wrong",
            format!("E-mail or password is wrong. Your next try takes {next_wait_s} s. Nobody is ever locked out."),
        ),
        Ok(Err(SignInError::Disabled)) => {
            refuse(StatusCode::UNPROCESSABLE_ENTITY, "disabled", "This account is disabled. An admin can enable it again.".to_owned())
        }
        Ok(Err(SignInError::TooMany { retry_after_s })) => {
            let detail = format!("Too many tries for this account are waiting already. Try again in {retry_after_s} s.");
            let mut response = refuse(StatusCode::TOO_MANY_REQUESTS, "too_many", detail);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after_s));
            response
        }
        Ok(Err(SignInError::Store(cause))) => page_of(&Error::store(&cause)),
        Err(error) => page_of(&error),
    }
}

/// `POST /sign-out`: ends the session the request came with, if it came with one.
pub async fn sign_out(State(app): State<AppState>, headers: HeaderMap) -> Response {
    let config = app.config();
    if let Some(token) = cookie::token(&config, &headers) {
        match accounts::find_viewer(&app.access, &app.pools.control, app.clock.now(), token).await {
            Known::Person(viewer) if !viewer.read_only => {
                let work = {
                    let app = app.clone();
                    async move { accounts::sign_out(&app.access, &app.pools.control, app.clock.now(), &viewer).await }
                };
                match to_the_end(work).await {
                    Ok(Ok(())) => {}
                    Ok(Err(cause)) => return page_of(&Error::store(&cause)),
                    Err(error) => return page_of(&error),
                }
            }
            Known::Nobody => {}
            // The session would live on, and whoever leaves should know.
            Known::Person(_) | Known::CannotTell => {
                return page_of(
                    &Error::new(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "store_unavailable",
                        "Postgres does not answer, so your session could not be ended. Try again in a few seconds.",
                    )
                    .retry_after(5),
                );
            }
        }
    }
    let mut response = go_to("/sign-in");
    response.headers_mut().insert(header::SET_COOKIE, cookie::clear(&config));
    response
}

fn wrong_address(app: &AppState) -> Refusal {
    let right = origin::public_origin(&app.config()).unwrap_or_else(|| "http://127.0.0.1".to_owned());
    Refusal {
        form: "sign_in",
        code: "wrong_address".to_owned(),
        detail: format!("Signing in works over https, or over plain http on this machine only. Open {right} instead."),
        ..Refusal::default()
    }
}

fn draw(status: StatusCode, next: &str, refusal: Option<&Refusal>) -> Response {
    let (next, refusal) = (next.to_owned(), refusal.cloned());
    shell::respond(status, "Sign in", move || sign_in::view(&next, refusal.as_ref()))
}

fn go_to(path: &str) -> Response {
    Redirect::to(&utf8_percent_encode(path, IN_LOCATION).to_string()).into_response()
}
