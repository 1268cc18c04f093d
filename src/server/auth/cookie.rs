//! The session's cookie: `__Host-` on https; over plain http its own name, and that only on loopback.

use crate::server::config::Config;
use axum::http::{HeaderMap, HeaderValue, header};

const SECURE: &str = "__Host-stalewatch";
const LOOPBACK: &str = "stalewatch-loopback";

fn name(config: &Config) -> &'static str {
    if super::origin::is_https(config) { SECURE } else { LOOPBACK }
}

/// The token a request brought, if any.
pub fn token<'a>(config: &Config, headers: &'a HeaderMap) -> Option<&'a str> {
    let name = name(config);
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(found, value)| *found == name && !value.is_empty() && value.len() <= 128)
        .map(|(_, value)| value)
}

/// The cookie that hands a new session's token over.
pub fn set(config: &Config, token: &str) -> HeaderValue {
    write(config, token, "")
}

/// The cookie that takes it back.
pub fn clear(config: &Config) -> HeaderValue {
    write(config, "", "; Max-Age=0")
}

fn write(config: &Config, token: &str, more: &str) -> HeaderValue {
    let secure = if super::origin::is_https(config) { "; Secure" } else { "" };
    // Tokens are base64url, so this is always a valid header.
    HeaderValue::from_str(&format!("{}={token}; Path=/; HttpOnly; SameSite=Lax{secure}{more}", name(config)))
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Config {
        Config { public_url: Some(url.to_owned()), ..Config::default() }
    }

    #[test]
    fn on_https_the_cookie_is_bound_to_the_host() {
        let value = set(&config("https://watch.example.com"), "abc");
        assert_eq!(value, "__Host-stalewatch=abc; Path=/; HttpOnly; SameSite=Lax; Secure");
    }

    #[test]
    fn each_scheme_reads_only_its_own_cookie() {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_static("a=b; stalewatch-loopback=abc"));
        assert_eq!(token(&config("http://127.0.0.1:3000"), &headers), Some("abc"));
        assert_eq!(token(&config("https://watch.example.com"), &headers), None);
    }
}
