//! The document around every page: head, scripts with their nonce, and the one way to turn a view into a response.

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use leptos::config::LeptosOptions;
use leptos::hydration::HydrationScripts;
use leptos::nonce::{provide_nonce, use_nonce};
use leptos::prelude::*;

use crate::server::assets::Site;

/// Renders `body` as a whole page with `title`, the site's scripts and a content security policy of its own nonce.
pub fn respond<V: IntoView + 'static>(status: StatusCode, title: &str, body: impl FnOnce() -> V) -> Response {
    let owner = Owner::new_root(Some(Arc::new(hydration_context::SsrSharedContext::new_islands())));
    let (html, policy) = owner.with(|| {
        provide_nonce();
        let policy = use_nonce().map(|nonce| content_security_policy(&nonce));
        (document(title, body()).to_html(), policy)
    });
    owner.cleanup();
    let mut response = (status, Html(html)).into_response();
    if let Some(policy) = policy.and_then(|policy| HeaderValue::from_str(&policy).ok()) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Renders a piece of a page by itself, for live regions.
pub fn fragment<V: IntoView + 'static>(view: impl FnOnce() -> V) -> String {
    let owner = Owner::new_root(Some(Arc::new(hydration_context::SsrSharedContext::new_islands())));
    let html = owner.with(|| view().into_view().to_html());
    owner.cleanup();
    html
}

fn document<V: IntoView + 'static>(title: &str, body: V) -> impl IntoView + use<V> {
    let name = Site::get().name();
    let options = LeptosOptions::builder().output_name(name).site_pkg_dir("pkg").build();
    view! {
        <!DOCTYPE html>
        <html lang="en">
            <head>
                <meta charset="utf-8"/>
                <meta name="viewport" content="width=device-width, initial-scale=1"/>
                <meta name="color-scheme" content="light dark"/>
                <title>{format!("{title} · Stalewatch")}</title>
                <link rel="icon" href="/favicon.svg" type="image/svg+xml"/>
                <link rel="stylesheet" href=format!("/pkg/{name}.css")/>
                <HydrationScripts options islands=true/>
            </head>
            <body>{body}</body>
        </html>
    }
}

/// The policy of one page: everything from here, scripts only by file or nonce, no inline style.
fn content_security_policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'wasm-unsafe-eval'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data:; \
         font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::islands::Live;

    #[tokio::test]
    async fn a_page_carries_one_nonce_in_policy_and_scripts() {
        let response = respond(StatusCode::OK, "Test", || view! { <main><Live/></main> });
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        let html = String::from_utf8(body.to_vec()).unwrap();
        let nonce = policy.split("'nonce-").nth(1).unwrap().split('\'').next().unwrap();
        assert!(html.starts_with("<!DOCTYPE html><html lang=\"en\">"), "{html}");
        assert_eq!(html.matches("<script").count(), html.matches(&format!("nonce=\"{nonce}\"")).count(), "{html}");
        assert!(html.contains("<leptos-island"), "{html}");
        assert!(!html.contains("style=\""), "inline styles are refused by the policy: {html}");
    }
}
