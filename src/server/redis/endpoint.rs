//! Where a target's Redis is: one server, one that Sentinel names, or the masters of a cluster. Holds no connection.

use super::connect::{Fault, Node};
use redis::{ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, TlsCertificates};

/// Ports where an address names none.
const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// Where a target's Redis is, and as whom to go there.
#[derive(Clone)]
pub struct Endpoint {
    place: Place,
    login: RedisConnectionInfo,
    tls: Option<Certificates>,
}

#[derive(Clone)]
pub(super) enum Place {
    Standalone(ConnectionAddr),
    /// Whoever the sentinels say is the master of that name.
    Sentinel {
        master: String,
        sentinels: Vec<ConnectionInfo>,
        tls: bool,
    },
    /// Every master of the cluster that the seeds know.
    Cluster {
        seeds: Vec<ConnectionAddr>,
    },
}

/// PEM texts for TLS; what is not given is the machine's own.
#[derive(Clone, Default)]
pub struct Certificates {
    /// Who vouches for the servers.
    pub authority: Option<Vec<u8>>,
    /// Certificate and key of this client, where the servers ask for one.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // no password, not even by mistake
        write!(out, "{} as {}", self.address(), self.user())
    }
}

impl Endpoint {
    /// One server, by `redis://`, `rediss://` or `redis+unix://` URL; its own user, else `default`.
    pub fn of_url(url: &str) -> Result<Self, Fault> {
        let info = parse(url, REDIS_PORT, false)?;
        Ok(Self { login: info.redis_settings().clone(), place: Place::Standalone(info.addr().clone()), tls: None })
    }

    /// The master of that name, by sentinels at `host:port` or URLs with a login of the sentinels' own.
    pub fn of_sentinel(master: &str, nodes: &[impl AsRef<str>], db: i64, tls: bool) -> Result<Self, Fault> {
        let sentinels = nodes.iter().map(|node| parse(node.as_ref(), SENTINEL_PORT, tls)).collect::<Result<_, _>>()?;
        Ok(Self {
            place: Place::Sentinel { master: master.to_owned(), sentinels, tls },
            login: RedisConnectionInfo::default().set_db(db),
            tls: None,
        })
    }

    /// A cluster, by some of its nodes at `host:port` or URLs; the first login named there is everybody's.
    pub fn of_cluster(nodes: &[impl AsRef<str>], tls: bool) -> Result<Self, Fault> {
        let infos: Vec<ConnectionInfo> = nodes.iter().map(|node| parse(node.as_ref(), REDIS_PORT, tls)).collect::<Result<_, _>>()?;
        let login = infos.iter().map(ConnectionInfo::redis_settings).find(|login| login.password().is_some());
        Ok(Self {
            login: login.cloned().unwrap_or_default().set_db(0),
            place: Place::Cluster { seeds: infos.iter().map(|info| info.addr().clone()).collect() },
            tls: None,
        })
    }

    /// The same place, as another user.
    #[must_use]
    pub fn as_user(self, user: &str, password: &str) -> Self {
        Self { login: self.login.set_username(user).set_password(password), ..self }
    }

    /// The same place, by these certificates.
    #[must_use]
    pub fn with_certificates(self, certificates: Certificates) -> Self {
        Self { tls: Some(certificates), ..self }
    }

    /// For people: `host:port`, `mymaster by Sentinel`, `cluster at host:port`.
    pub fn address(&self) -> String {
        match &self.place {
            Place::Standalone(addr) => addr.to_string(),
            Place::Sentinel { master, .. } => format!("{master} by Sentinel"),
            Place::Cluster { seeds } => seeds.first().map_or_else(String::new, |seed| format!("cluster at {seed}")),
        }
    }

    pub fn db(&self) -> i64 {
        self.login.db()
    }

    pub fn user(&self) -> &str {
        self.login.username().unwrap_or("default")
    }

    /// Whether keys are spread over several servers, so that a command may name one key only.
    pub fn is_cluster(&self) -> bool {
        matches!(self.place, Place::Cluster { .. })
    }

    /// Whether another server may take over under the same name.
    pub(super) fn fails_over(&self) -> bool {
        !matches!(self.place, Place::Standalone(_))
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// One server of this place, with its login.
    pub(super) fn node(&self, addr: ConnectionAddr) -> Result<Node, Fault> {
        Node::new(addr, &self.login, self.certificates())
    }

    /// One of the sentinels, with its own login.
    pub(super) fn sentinel(&self, info: &ConnectionInfo) -> Result<Node, Fault> {
        Node::new(info.addr().clone(), info.redis_settings(), self.certificates())
    }

    fn certificates(&self) -> Option<TlsCertificates> {
        self.tls.clone().map(|tls| TlsCertificates {
            client_tls: tls.client.map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key }),
            root_cert: tls.authority,
        })
    }
}

/// `host`, `host:port` or a URL, which says itself whether it is reached by TLS.
fn parse(node: &str, port: u16, tls: bool) -> Result<ConnectionInfo, Fault> {
    let address = |cause: String| Fault::Address(cause);
    if node.contains("://") {
        return node.into_connection_info().map_err(|cause| address(cause.to_string()));
    }
    let (host, port) = match node.rsplit_once(':') {
        Some((host, text)) => (host, text.parse().map_err(|_| address(format!("{node} does not end in a port")))?),
        None => (node, port),
    };
    if host.is_empty() {
        return Err(address(format!("{node} names no host")));
    }
    addr(host.trim_matches(['[', ']']), port, tls).into_connection_info().map_err(|cause| address(cause.to_string()))
}

/// `host:port` as an address, encrypted or not.
pub(super) fn addr(host: &str, port: u16, tls: bool) -> ConnectionAddr {
    if tls {
        ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host.to_owned(), port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_ever_printed() {
        let endpoint = Endpoint::of_url("redis://sw:secret@10.0.0.1:6380/2").unwrap();
        assert_eq!(format!("{endpoint:?}"), "10.0.0.1:6380 as sw");
        let cluster = Endpoint::of_cluster(&["redis://sw:secret@10.0.0.1:7000", "10.0.0.2:7000"], false).unwrap();
        assert_eq!((format!("{cluster:?}").as_str(), cluster.db()), ("cluster at 10.0.0.1:7000 as sw", 0));
        assert!(!format!("{:?}", cluster.node(addr("10.0.0.2", 7000, false)).unwrap()).contains("secret"));
    }

    #[test]
    fn nodes_are_hosts_with_or_without_a_port() {
        for (node, shown) in [("redis-1", "redis-1:26379"), ("redis-1:5", "redis-1:5"), ("redis://u:p@h:1", "h:1")] {
            assert_eq!(parse(node, SENTINEL_PORT, false).unwrap().addr().to_string(), shown);
        }
        assert!(parse("redis-1:x", 1, false).is_err() && parse(":1", 1, false).is_err());
    }
}
