//! The site's files: script, wasm, style sheet, icons; hashed, precompressed, inside the release binary (a debug build reads them from
//! `target/site` at start, so that a change of style needs no new server build).

use std::collections::HashMap;
use std::sync::OnceLock;

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use rust_embed::RustEmbed;

#[derive(RustEmbed)]
#[folder = "target/site/"]
#[allow_missing = true]
struct Files;

/// All files by path (`pkg/stalewatch-HASH.js`), and the hashed name that script, wasm and style share.
pub struct Site {
    files: HashMap<String, Bytes>,
    name: String,
}

impl Site {
    /// The files of this build, read once.
    pub fn get() -> &'static Site {
        static SITE: OnceLock<Site> = OnceLock::new();
        SITE.get_or_init(|| {
            let files: HashMap<String, Bytes> =
                Files::iter().filter_map(|path| Some((path.to_string(), Bytes::from(Files::get(&path)?.data.into_owned())))).collect();
            let name = files.keys().find_map(|path| path.strip_prefix("pkg/")?.strip_suffix(".js")).unwrap_or("stalewatch").to_owned();
            Site { files, name }
        })
    }

    /// The hashed name without an ending: `stalewatch-0123456789ab`.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn answer(&self, path: &str, request: &HeaderMap) -> Response {
        let Some(mut body) = self.files.get(path) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let accepted = request.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("");
        let mut encoding = None;
        for (token, ending) in [("br", "br"), ("gzip", "gz")] {
            let wanted = accepted.split(',').any(|part| part.split(';').next().is_some_and(|name| name.trim() == token));
            if let (true, Some(compressed)) = (wanted, self.files.get(&format!("{path}.{ending}"))) {
                (body, encoding) = (compressed, Some(token));
                break;
            }
        }
        let hashed = path.starts_with("pkg/");
        let mut headers: Vec<(HeaderName, &str)> = vec![
            (header::CONTENT_TYPE, content_type(path)),
            (header::CACHE_CONTROL, if hashed { "public, max-age=31536000, immutable" } else { "public, max-age=3600" }),
            (header::VARY, "accept-encoding"),
        ];
        headers.extend(encoding.map(|name| (header::CONTENT_ENCODING, name)));
        let mut response = body.clone().into_response();
        for (name, value) in headers {
            response.headers_mut().insert(name, header::HeaderValue::from_str(value).expect("our own constants are valid headers"));
        }
        response
    }
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, ending)| ending) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("wasm") => "application/wasm",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// `GET /pkg/{file}`.
pub async fn package(Path(file): Path<String>, headers: HeaderMap) -> Response {
    Site::get().answer(&format!("pkg/{file}"), &headers)
}

/// `GET /favicon.svg`.
pub async fn favicon(headers: HeaderMap) -> Response {
    Site::get().answer("favicon.svg", &headers)
}
