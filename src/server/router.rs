//! Every URL of the server, in one table: what answers, who may ask and why. The layers stand at the end.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{self, Next};
use tower::util::MapRequest;
use tower_http::catch_panic::CatchPanicLayer;

use crate::domain::operator::Permission;
use crate::error::Error;
use crate::server::auth::{Door, Needs, cross_site, guard, page_of, require};
use crate::server::forms;
use crate::server::pages;
use crate::server::state::AppState;
use crate::server::{assets, headers, http};

/// No form is larger than this; the door for events has its own limit.
const FORM_BYTES: usize = 64 * 1024;

/// Doors that take bearer tokens only, which no browser sends by itself.
const BEARER_ONLY: &[&str] = &["/api/v1/events"];

/// The table. A test walks it as anonymous and as every role.
pub fn doors() -> Vec<Door> {
    vec![
        Door::get("/pkg/{file}", Needs::Nothing, "script, wasm and style hold nothing of anybody", assets::package),
        Door::get("/favicon.svg", Needs::Nothing, "an icon", assets::favicon),
        Door::get("/", Needs::Person(Permission::Read), "figures; no keys stand there", pages::overview::show),
        Door::get(
            "/prefixes/{*name}",
            Needs::Person(Permission::Read),
            "figures, and events with keys masked for viewers",
            pages::prefix::show,
        ),
        Door::get("/sign-in", Needs::Nothing, "the way in", forms::sign_in::show),
        Door::post("/sign-in", Needs::Nothing, "the way in; behind the throttle", forms::sign_in::submit),
        Door::get("/first-run", Needs::Nothing, "whoever has the console's link; shows nothing without it", forms::first_run::show),
        Door::post(
            "/first-run",
            Needs::Nothing,
            "makes the first account by the console's link; behind the throttle",
            forms::first_run::submit,
        ),
        Door::post("/sign-out", Needs::Nothing, "whoever has a session may end it, and nothing else happens", forms::sign_in::sign_out),
        Door::get("/audit", Needs::Person(Permission::Read), "everybody may see who did what", pages::audit::show),
        Door::get("/flush", Needs::Person(Permission::Read), "the list; the form is only for those who may plan", pages::flush::show_plan),
        Door::post("/flush", Needs::Person(Permission::Flush), "plans a removal; only reads", forms::flush::plan),
        Door::get("/flush/{id}", Needs::Person(Permission::Read), "what was and is removed, by whom and why", pages::flush::show),
        Door::get("/flush/{id}/{ending}", Needs::Person(Permission::Read), "what the page shows, as a file", http::export::flush_evidence),
        Door::post("/flush/{id}", Needs::Person(Permission::Read), "each of its buttons asks for its own permission", forms::flush::act),
        Door::post("/audit", Needs::Person(Permission::Audit), "a verification is recorded", forms::audit::verify),
        Door::get("/audit.csv", Needs::Person(Permission::Audit), "the whole record leaves the house", forms::audit::export_csv),
        Door::get("/audit.jsonl", Needs::Person(Permission::Audit), "the whole record leaves the house", forms::audit::export_jsonl),
        Door::post("/api/v1/events", Needs::Ingest, "what a source may send, its token says", http::ingest::submit),
        Door::get("/contracts", Needs::Person(Permission::Read), "everybody may see what is declared", pages::contracts::show),
        Door::get("/review", Needs::Person(Permission::Read), "leads to the current week", pages::review::current),
        Door::get("/review/{week}", Needs::Person(Permission::Read), "everybody may see how the week went", pages::review::show),
        Door::post(
            "/review/{week}",
            Needs::Person(Permission::Review),
            "actions are added and closed, and recorded",
            forms::review::submit,
        ),
        Door::get("/review/{week}/{ending}", Needs::Person(Permission::Read), "what the page shows, as a file", http::export::week),
        Door::get("/live", Needs::Person(Permission::Read), "a piece of a page, for whoever may read the page", http::live::show),
        Door::get("/account", Needs::Person(Permission::Read), "one's own", pages::account::show),
        Door::post("/account", Needs::Person(Permission::Read), "one's own, whatever the role", forms::account::submit),
        Door::get("/demo", Needs::Person(Permission::Administer), "the page is its switches", pages::demo::show),
        Door::post("/demo", Needs::Person(Permission::Administer), "breaks and mends the simulated shop", forms::demo::submit),
        Door::get("/users", Needs::Person(Permission::Administer), "who has an account and which tokens there are", pages::users::show),
        Door::post("/users", Needs::Person(Permission::Administer), "gives and takes what others may do", forms::users::submit),
        Door::get(
            "/settings",
            Needs::Person(Permission::Administer),
            "addresses and identities of targets, without secrets",
            pages::settings::show,
        ),
        Door::get("/api/v1/series", Needs::Figures, "figures, never keys", http::series::show),
        Door::get("/api/v1/prefixes", Needs::Figures, "figures, never keys", http::prefixes::list),
        Door::get("/api/v1/openapi.json", Needs::Nothing, "the API's description holds nothing of anybody", http::openapi::show),
        Door::get("/healthz", Needs::Nothing, "for whoever restarts processes", http::health::live),
        Door::get("/readyz", Needs::Nothing, "for whoever sends requests to processes", http::health::ready),
        Door::get("/metrics", Needs::Metrics, "figures by prefix; public only where the configuration says so", http::metrics::show),
    ]
}

/// The whole server as one service.
pub fn router(app: AppState) -> Router {
    let mut router = Router::new();
    for Door { path, needs, answer, .. } in doors() {
        let app = app.clone();
        let layer = middleware::from_fn(move |request: Request, next: Next| require(app.clone(), needs, request, next));
        router = router.route(path, answer.layer(layer));
    }
    let answering = router
        .fallback(async || page_of(&Error::not_found("page at this address")))
        .layer(DefaultBodyLimit::max(FORM_BYTES))
        .layer(middleware::from_fn_with_state(app.clone(), guard))
        .layer(cross_site(&app, BEARER_ONLY))
        .layer(CatchPanicLayer::new())
        .layer(middleware::from_fn_with_state(app.clone(), headers::security))
        .with_state(app);
    // Before anything is matched: paths with a suffix.
    Router::new().fallback_service(MapRequest::new(answering, http::export::rewrite))
}
