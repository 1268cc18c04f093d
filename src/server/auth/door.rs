//! What each door asks for. The router is built from a table of doors, so no route can be without.

use super::answer::{page_of, problem};
use super::{Viewer, cookie, origin};
use crate::domain::operator::Permission;
use crate::error::Error;
use crate::server::service::accounts::{self, Kind, Known, Token, TokenError};
use crate::server::state::AppState;
use axum::extract::Request;
use axum::handler::Handler;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{MethodFilter, MethodRouter};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// What somebody needs to be let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: anybody may ask.
    Nothing,
    /// A signed-in person with this permission; others are led to the sign-in, or told who may.
    Person(Permission),
    /// The same for what scripts fetch: 401 instead of a redirect.
    Fetch(Permission),
    /// A read token, or a signed-in person who may read.
    Figures,
    /// As [`Needs::Figures`], unless `metrics_public`.
    Metrics,
    /// An ingest token.
    Ingest,
}

/// One line of the route table.
pub struct Door {
    pub method: Method,
    pub path: &'static str,
    pub needs: Needs,
    /// Why that is asked for and not more or less.
    pub why: &'static str,
    pub answer: MethodRouter<AppState>,
}

impl Door {
    /// A door that reads. GET never changes anything.
    pub fn get<H: Handler<T, AppState>, T: 'static>(path: &'static str, needs: Needs, why: &'static str, handler: H) -> Self {
        Self { method: Method::GET, path, needs, why, answer: MethodRouter::new().on(MethodFilter::GET, handler) }
    }

    /// A door that changes something.
    pub fn post<H: Handler<T, AppState>, T: 'static>(path: &'static str, needs: Needs, why: &'static str, handler: H) -> Self {
        Self { method: Method::POST, path, needs, why, answer: MethodRouter::new().on(MethodFilter::POST, handler) }
    }
}

/// What of a path and query is encoded inside the query of another.
const IN_QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'&').add(b'+').add(b'<').add(b'>').add(b'=').add(b'?');

/// Lets a request through if it brings what the door needs, with the [`Viewer`] or [`Token`] put beside it.
pub async fn require(app: AppState, needs: Needs, mut request: Request, next: Next) -> Response {
    let passed = match needs {
        Needs::Nothing => Ok(()),
        Needs::Person(permission) => person(&app, permission, &mut request).await.map_err(|refused| match refused {
            Refused::SignedOut => sign_in_first(&request).into_response(),
            Refused::Other(error) => page_of(&error),
        }),
        Needs::Fetch(permission) => person(&app, permission, &mut request).await.map_err(|refused| problem(&refused.into_error())),
        Needs::Metrics if app.config().metrics_public => Ok(()),
        Needs::Figures | Needs::Metrics => match bearer(request.headers()) {
            Some(_) => token(&app, Kind::Read, &mut request).await,
            None => person(&app, Permission::Read, &mut request).await.map_err(Refused::into_error),
        }
        .map_err(|error| problem(&error)),
        Needs::Ingest => {
            request.extensions_mut().insert(Arrived(tokio::time::Instant::now()));
            token(&app, Kind::Ingest, &mut request).await.map_err(|error| problem(&error))
        }
    };
    match passed {
        Ok(()) => next.run(request).await,
        Err(response) => response,
    }
}

/// When a request with events came, before anything was asked about it: what it may wait for counts from here.
#[derive(Clone, Copy, Debug)]
pub struct Arrived(pub tokio::time::Instant);

enum Refused {
    SignedOut,
    Other(Error),
}

impl Refused {
    fn into_error(self) -> Error {
        match self {
            Refused::SignedOut => Error::new(StatusCode::UNAUTHORIZED, "signed_out", "Sign in, or send a read token as a bearer token."),
            Refused::Other(error) => error,
        }
    }
}

/// Puts the signed-in person beside the request, if they may.
async fn person(app: &AppState, permission: Permission, request: &mut Request) -> Result<(), Refused> {
    let config = app.config();
    let Some(cookie) = cookie::token(&config, request.headers()) else { return Err(Refused::SignedOut) };
    let viewer = match accounts::find_viewer(&app.access, &app.pools.control, app.clock.now(), cookie).await {
        Known::Person(viewer) => viewer,
        Known::Nobody => return Err(Refused::SignedOut),
        Known::CannotTell => return Err(Refused::Other(away())),
    };
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    if viewer.read_only && (changes || !viewer.may(permission)) && viewer.role.may(permission) {
        return Err(Refused::Other(away()));
    }
    if !viewer.role.may(permission) {
        if changes {
            note_refusal(app, &viewer, request);
        }
        return Err(Refused::Other(Error::new(
            StatusCode::FORBIDDEN,
            "role",
            format!(
                "You are signed in as {} ({}), who may not do this. Nothing was done. An admin can give you another role.",
                viewer.name,
                viewer.role.as_str()
            ),
        )));
    }
    request.extensions_mut().insert(viewer);
    Ok(())
}

fn away() -> Error {
    Error::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "store_unavailable",
        "Postgres does not answer, so Stalewatch cannot tell who you are or keep a record. Nothing was done. It is tried again by itself: \
         reload in a few seconds.",
    )
    .retry_after(5)
}

/// Beside the request: a refusal does not wait for the chain.
fn note_refusal(app: &AppState, viewer: &Viewer, request: &Request) {
    let (pool, actor) = (app.pools.control.clone(), viewer.actor());
    let (method, path) = (request.method().to_string(), request.uri().path().chars().take(300).collect::<String>());
    tokio::spawn(async move {
        if let Err(cause) = accounts::record_refusal(&pool, &actor, &method, &path).await {
            tracing::warn!(error.cause = %cause, "a refusal could not be recorded");
        }
    });
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Puts the token's entry beside the request, if it is alive and of that kind.
async fn token(app: &AppState, kind: Kind, request: &mut Request) -> Result<(), Error> {
    let missing = || {
        Error::new(StatusCode::UNAUTHORIZED, "no_token", "Send a token: `Authorization: Bearer sw_…`. `stalewatch token create` makes one.")
    };
    let text = bearer(request.headers()).ok_or_else(missing)?.to_owned();
    let found = find_token(app, text).await?;
    if found.kind != kind {
        let detail = match kind {
            Kind::Ingest => "This is not an ingest token. `stalewatch token create --source NAME` makes one.",
            Kind::Read => "This is not a read token. `stalewatch token create --source NAME --read` makes one.",
        };
        return Err(Error::new(StatusCode::FORBIDDEN, "wrong_kind", detail));
    }
    request.extensions_mut().insert(found);
    Ok(())
}

/// The token, from memory where it was asked for a moment ago or where nobody can be asked.
async fn find_token(app: &AppState, text: String) -> Result<Token, Error> {
    let (pool, now) = (app.pools.control.clone(), app.clock.now());
    if let Some(found) = app.tokens.fresh(&text, now) {
        return Ok(found);
    }
    if app.ingest.standing().is_away() {
        return app.tokens.known(&text, now).ok_or_else(away);
    }
    // In a task of its own: a request dropped half-way must not take a connection down with it.
    let asked = text.clone();
    let task = tokio::spawn(async move { accounts::check_token(&pool, now, &asked).await });
    match tokio::time::timeout(TOKEN_PATIENCE, task).await {
        Ok(Ok(Ok(found))) => {
            app.tokens.remember(&text, &found, now);
            Ok(found)
        }
        Ok(Ok(Err(TokenError::Store(cause)))) => app.tokens.known(&text, now).ok_or_else(|| Error::store(&cause)),
        Ok(Ok(Err(wrong))) => {
            app.tokens.forget(&text);
            Err(Error::new(StatusCode::UNAUTHORIZED, "bad_token", wrong.to_string()))
        }
        Ok(Err(_)) | Err(_) => app.tokens.known(&text, now).ok_or_else(away),
    }
}

/// How long a token's check may take before Postgres counts as away.
const TOKEN_PATIENCE: std::time::Duration = std::time::Duration::from_millis(1_500);

/// To the sign-in, and from there back to where they wanted to go.
fn sign_in_first(request: &Request) -> Response {
    let asked = request.uri().path_and_query().map_or("/", |asked| asked.as_str());
    // After a form was sent there is no page to come back to by GET but the form's own.
    let wanted = origin::safe_next(if *request.method() == Method::GET { asked } else { request.uri().path() });
    let to = if wanted == "/" { "/sign-in".to_owned() } else { format!("/sign-in?next={}", utf8_percent_encode(wanted, IN_QUERY)) };
    let mut response = Redirect::to(&to).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
