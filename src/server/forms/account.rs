//! `/account`: one's own second factor, password and sessions.

use super::{to_the_end, with_token};
use crate::domain::refusal::Refusal;
use crate::error::Error;
use crate::server::auth::{Viewer, cookie, origin, page_of};
use crate::server::pages::account::draw;
use crate::server::service::accounts::{self, AccountError, FactorError, Shown};
use crate::server::state::AppState;
use axum::Form;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

/// The fields of the page's forms; one left out is empty.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
pub struct Typed {
    /// `password`, `end`, or of the second factor `enrol`, `enrol_confirm`, `kept`, `recovery`, `remove`.
    r#do: String,
    present: String,
    new: String,
    again: String,
    session: String,
    code: String,
}

/// `POST /account`.
pub async fn submit(
    State(app): State<AppState>,
    viewer: Viewer,
    headers: HeaderMap,
    extensions: Extensions,
    Form(typed): Form<Typed>,
) -> Response {
    match typed.r#do.as_str() {
        "password" => change_password(app, viewer, &headers, &extensions, typed).await,
        "end" => end_session(app, viewer, &typed.session).await,
        "enrol" | "enrol_confirm" | "kept" | "recovery" | "remove" => second_factor(app, viewer, &headers, &extensions, typed).await,
        _ => {
            let refusal = refusal("do", "unknown_action", "This page knows no such button. Nothing was changed.", None);
            draw(&app, &viewer, StatusCode::UNPROCESSABLE_ENTITY, Some(&refusal)).await
        }
    }
}

fn refusal(form: &'static str, code: &str, detail: impl Into<String>, field: Option<&'static str>) -> Refusal {
    Refusal { form, code: code.to_owned(), detail: detail.into(), field, ..Refusal::default() }
}

async fn change_password(app: AppState, viewer: Viewer, headers: &HeaderMap, extensions: &Extensions, typed: Typed) -> Response {
    let config = app.config();
    if typed.new != typed.again {
        let refusal =
            refusal("password", "not_the_same", "The new password was not typed the same twice. Nothing was changed.", Some("again"));
        return draw(&app, &viewer, StatusCode::UNPROCESSABLE_ENTITY, Some(&refusal)).await;
    }
    let came = origin::came(&config, headers, extensions);
    let work = {
        let (app, viewer) = (app.clone(), viewer.clone());
        async move {
            let now = app.clock.now();
            accounts::change_own_password(&app.access, &app.pools.control, now, &viewer, &came, &typed.present, &typed.new).await
        }
    };
    match to_the_end(work).await {
        Ok(Ok(())) => {
            // Every session has ended, this one too.
            let mut response = Redirect::to("/sign-in").into_response();
            response.headers_mut().insert(header::SET_COOKIE, cookie::clear(&config));
            response
        }
        Ok(Err(AccountError::Store(cause))) => page_of(&Error::store(&cause)),
        Ok(Err(error)) => {
            let field = if matches!(error, AccountError::WrongPassword | AccountError::TooMany(_)) { "present" } else { "new" };
            let refused = refusal("password", error.code(), error.to_string(), Some(field));
            if let AccountError::TooMany(seconds) = error {
                let mut response = draw(&app, &viewer, StatusCode::TOO_MANY_REQUESTS, Some(&refused)).await;
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                return response;
            }
            draw(&app, &viewer, StatusCode::UNPROCESSABLE_ENTITY, Some(&refused)).await
        }
        Err(error) => page_of(&error),
    }
}

async fn end_session(app: AppState, viewer: Viewer, session: &str) -> Response {
    let Ok(session) = session.parse::<i64>() else {
        let refusal = refusal("end", "unknown_session", "There is no such session of yours. Nothing was changed.", None);
        return draw(&app, &viewer, StatusCode::UNPROCESSABLE_ENTITY, Some(&refusal)).await;
    };
    let own = session == viewer.session_id;
    let config = app.config();
    let work = async move { accounts::end_session(&app.access, &app.pools.control, &viewer, session).await };
    match to_the_end(work).await {
        // One that has ended meanwhile is what was wanted.
        Ok(Ok(_)) if own => {
            let mut response = Redirect::to("/sign-in").into_response();
            response.headers_mut().insert(header::SET_COOKIE, cookie::clear(&config));
            response
        }
        Ok(Ok(_)) => Redirect::to("/account").into_response(),
        Ok(Err(cause)) => page_of(&Error::store(&cause)),
        Err(error) => page_of(&error),
    }
}

async fn second_factor(app: AppState, viewer: Viewer, headers: &HeaderMap, extensions: &Extensions, typed: Typed) -> Response {
    let came = origin::came(&app.config(), headers, extensions);
    let work = {
        let (app, viewer) = (app.clone(), viewer.clone());
        async move {
            Ok::<Option<Shown>, FactorError>(match typed.r#do.as_str() {
                "enrol" => accounts::begin_enrolment(&app, &viewer, &came, &typed.present).await.map(|()| None)?,
                "enrol_confirm" => Some(accounts::finish_enrolment(&app, &viewer, &typed.code).await?),
                "recovery" => Some(accounts::renew_recovery_codes(&app, &viewer, &typed.code).await?),
                "remove" => accounts::remove_factor(&app, &viewer, &typed.code).await.map(|()| None)?,
                _ => accounts::forget_shown_codes(&app.pools.control, &viewer).await.map(|()| None)?,
            })
        }
    };
    let error = match to_the_end(work).await {
        Ok(Ok(shown)) => {
            let token = shown.map(|shown| cookie::set(&app.config(), &shown.token));
            return with_token(Redirect::to("/account#second-factor").into_response(), token);
        }
        Ok(Err(FactorError::Store(cause) | FactorError::Account(AccountError::Store(cause)))) => return page_of(&Error::store(&cause)),
        Ok(Err(error)) => error,
        Err(error) => return page_of(&error),
    };
    let (status, field, retry) = match &error {
        FactorError::TooMany(seconds) => (StatusCode::TOO_MANY_REQUESTS, Some("code"), Some(*seconds)),
        FactorError::Account(AccountError::TooMany(seconds)) => (StatusCode::TOO_MANY_REQUESTS, Some("present"), Some(*seconds)),
        FactorError::Account(_) => (StatusCode::UNPROCESSABLE_ENTITY, Some("present"), None),
        FactorError::NotEnrolled | FactorError::AlreadyEnrolled | FactorError::EnrolmentOver => (StatusCode::CONFLICT, None, None),
        FactorError::Key(cause) => {
            tracing::error!(error.cause = %cause, "second factors cannot be read");
            (StatusCode::SERVICE_UNAVAILABLE, None, None)
        }
        _ => (StatusCode::UNPROCESSABLE_ENTITY, Some("code"), None),
    };
    let refused = refusal("factor", error.code(), error.to_string(), field);
    let mut response = draw(&app, &viewer, status, Some(&refused)).await;
    if let Some(seconds) = retry {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
