//! Where a request came from and under which address this server is reached.

use crate::server::config::Config;
use crate::server::service::accounts::Came;
use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap, header};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

/// Whether people reach this server by https.
pub fn is_https(config: &Config) -> bool {
    config.public_url.as_deref().is_some_and(|url| url.starts_with("https://"))
}

/// `scheme://host[:port]` of the public address, as browsers write it in `Origin`.
pub fn public_origin(config: &Config) -> Option<String> {
    let url = config.public_url.as_deref()?;
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split('/').next()?.to_lowercase();
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    Some(format!("{scheme}://{}", authority.strip_suffix(default_port).unwrap_or(&authority)))
}

/// Whether a session's cookie would hold at the host this request names: the https address, or loopback.
pub fn holds_cookie(config: &Config, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("").to_lowercase();
    match public_origin(config) {
        // By any other name, or by http beside the proxy, the browser would drop the Secure cookie.
        Some(origin) if origin.starts_with("https://") => {
            origin.strip_prefix("https://").is_some_and(|public| host == public || host.strip_suffix(":443") == Some(public))
        }
        _ => is_loopback_host(&host),
    }
}

fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(""),
        None => host.split(':').next().unwrap_or(""),
    };
    name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The address and browser of a request. `X-Forwarded-For` counts only as far as trusted proxies wrote it: from the right, the first
/// address that is not one of them.
pub fn came(config: &Config, headers: &HeaderMap, extensions: &Extensions) -> Came {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip().to_canonical());
    let trusted = |address: &IpAddr| config.trusted_proxies.iter().any(|network: &IpNet| network.contains(address));
    let mut address = peer;
    if peer.as_ref().is_some_and(trusted) {
        let hops: Vec<&str> =
            headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).collect();
        for hop in hops.into_iter().rev() {
            let Ok(hop) = hop.trim().parse::<IpAddr>() else { break };
            let hop = hop.to_canonical();
            address = Some(hop);
            if !trusted(&hop) {
                break;
            }
        }
    }
    let user_agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    Came { address: address.map_or_else(|| "unknown".to_owned(), |address| address.to_string()), user_agent }
}

/// `next` if it is a path of this server, else the overview: one `/` at its beginning, no `\`, no control bytes.
pub fn safe_next(next: &str) -> &str {
    let second = next.as_bytes().get(1).copied();
    let safe = next.starts_with('/')
        && second != Some(b'/')
        && !next.contains('\\')
        && !next.chars().any(char::is_control)
        && next.len() <= 2_000
        && !next.starts_with("/sign-in")
        && !next.starts_with("/sign-out");
    if safe { next } else { "/" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        headers
    }

    fn peer(address: &str) -> Extensions {
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::new(address.parse().unwrap(), 1)));
        extensions
    }

    #[test]
    fn next_never_leads_to_another_server() {
        for bad in ["", "//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nb", "evil", "/\t/evil.example", "/sign-in"] {
            assert_eq!(safe_next(bad), "/", "{bad:?}");
        }
        assert_eq!(safe_next("/prefixes/user:{id}:summary?range=24h"), "/prefixes/user:{id}:summary?range=24h");
    }

    #[test]
    fn forwarded_addresses_count_only_from_trusted_proxies() {
        let config = Config { trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()], ..Config::default() };
        let forwarded = headers("x-forwarded-for", "1.1.1.1, 2.2.2.2, 10.0.0.9");
        assert_eq!(came(&config, &forwarded, &peer("10.0.0.1")).address, "2.2.2.2");
        assert_eq!(came(&config, &forwarded, &peer("9.9.9.9")).address, "9.9.9.9");
        assert_eq!(came(&config, &HeaderMap::new(), &peer("10.0.0.1")).address, "10.0.0.1");
    }

    #[test]
    fn a_cookie_holds_on_https_or_loopback_only() {
        let plain = Config::default();
        assert!(holds_cookie(&plain, &headers("host", "127.0.0.1:3000")));
        assert!(holds_cookie(&plain, &headers("host", "localhost")));
        assert!(holds_cookie(&plain, &headers("host", "[::1]:3000")));
        assert!(!holds_cookie(&plain, &headers("host", "192.168.1.5:3000")));
        let secure = Config { public_url: Some("https://Watch.example.com/".into()), ..Config::default() };
        assert!(holds_cookie(&secure, &headers("host", "watch.example.com")));
        assert!(!holds_cookie(&secure, &headers("host", "127.0.0.1:3000")));
    }

    #[test]
    fn the_public_origin_is_written_as_browsers_do() {
        let config = Config { public_url: Some("https://Watch.example.com:443/".into()), ..Config::default() };
        assert_eq!(public_origin(&config).as_deref(), Some("https://watch.example.com"));
    }
}
