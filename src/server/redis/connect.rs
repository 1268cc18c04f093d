//! One connection of one's own: opened as the identity it has to be, to a master, with its own time-outs.

use redis::{Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, ServerError, TlsCertificates, Value, cmd};
use std::time::{Duration, Instant};

/// Opening a connection, identity included.
const CONNECT: Duration = Duration::from_secs(2);
/// One reply. Longer than any step; a server that is silent for this long is taken for lost.
const REPLY: Duration = Duration::from_secs(5);
/// A round trip is the smallest of this many recent PINGs.
const PINGS: usize = 8;

/// Why Redis could not be used, in words for whoever operates it. Never holds a password.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    #[error("it does not answer ({0})")]
    Unreachable(String),
    #[error("it refuses the user or the password")]
    Auth,
    #[error("the connection is user {is:?}, not {expected:?}")]
    WrongUser { is: String, expected: String },
    #[error("it is not a master")]
    NotMaster,
    /// LOADING, READONLY, MASTERDOWN and the like: may pass by itself.
    #[error("it is not ready: {0}")]
    NotReady(String),
    #[error("it refused a command: {0}")]
    Refused(String),
    /// A cluster's redirect that nobody followed.
    #[error("its keys are being moved to other servers")]
    Moved(Redirect),
    #[error("its answer was not understood")]
    Garbled,
    #[error("the address is not usable: {0}")]
    Address(String),
}

impl Fault {
    /// Whether trying again, on a new connection, may help.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::NotReady(_) | Self::NotMaster | Self::Moved(_))
    }

    /// Stable, for the audit.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "redis_unreachable",
            Self::Auth => "redis_auth",
            Self::WrongUser { .. } => "redis_wrong_user",
            Self::NotMaster => "redis_not_master",
            Self::NotReady(_) => "redis_not_ready",
            Self::Refused(_) => "redis_refused",
            Self::Moved(_) => "redis_moved",
            Self::Garbled => "redis_garbled",
            Self::Address(_) => "redis_address",
        }
    }
}

impl From<redis::RedisError> for Fault {
    fn from(cause: redis::RedisError) -> Self {
        if cause.kind() == redis::ErrorKind::AuthenticationFailed || matches!(cause.code(), Some("WRONGPASS" | "NOAUTH")) {
            return Self::Auth;
        }
        match cause.code() {
            Some("LOADING" | "READONLY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN") => {
                Self::NotReady(cause.code().unwrap_or_default().to_owned())
            }
            Some(code) => Self::Refused(code.to_owned()),
            None => Self::Unreachable(cause.to_string()),
        }
    }
}

/// One Redis server, and as whom to go there.
#[derive(Clone)]
pub struct Node {
    info: ConnectionInfo,
    user: String,
    certificates: Option<TlsCertificates>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // no password, not even by mistake
        write!(out, "{} as {}", self.info.addr(), self.user)
    }
}

impl Node {
    pub(super) fn new(addr: ConnectionAddr, login: &RedisConnectionInfo, certificates: Option<TlsCertificates>) -> Result<Self, Fault> {
        let user = login.username().unwrap_or("default").to_owned();
        let info = addr.into_connection_info().map_err(|cause| Fault::Address(cause.to_string()))?;
        Ok(Self { info: info.set_redis_settings(login.clone().set_skip_set_lib_name()), user, certificates })
    }

    /// `host:port`, or the path of a socket.
    pub fn address(&self) -> String {
        self.info.addr().to_string()
    }

    /// The same server set-up at another address, as a redirect names it; an empty host is this one's.
    pub(super) fn at(&self, host: &str, port: u16) -> Self {
        let own = match self.info.addr() {
            ConnectionAddr::Tcp(own, _) | ConnectionAddr::TcpTls { host: own, .. } => own.clone(),
            _ => String::new(),
        };
        let host = if host.is_empty() { own } else { host.to_owned() };
        let addr = match self.info.addr() {
            ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        Self { info: self.info.clone().set_addr(addr), user: self.user.clone(), certificates: self.certificates.clone() }
    }

    /// A connection with time limits, whoever is at its other end.
    pub(super) fn connect(&self) -> Result<redis::Connection, Fault> {
        let client = match &self.certificates {
            Some(certificates) => redis::Client::build_with_tls(self.info.clone(), certificates.clone())?,
            None => redis::Client::open(self.info.clone())?,
        };
        let con = client.get_connection_with_timeout(CONNECT)?;
        con.set_read_timeout(Some(REPLY))?;
        con.set_write_timeout(Some(REPLY))?;
        Ok(con)
    }
}

/// What one server says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct About {
    pub run_id: String,
    pub version: String,
    /// Keys in the database.
    pub keys: u64,
}

/// An open connection to a master.
pub(super) struct Link {
    con: redis::Connection,
    pings: [Duration; PINGS],
    next_ping: usize,
}

impl Link {
    /// Opens a connection and makes sure of it: the right user, a master. An AUTH that failed is fatal, since the connection would be
    /// somebody else.
    pub fn open(node: &Node) -> Result<Self, Fault> {
        let mut link = Self { con: node.connect()?, pings: [Duration::MAX; PINGS], next_ping: 0 };
        let is = text(link.ask(cmd("ACL").arg("WHOAMI"))?)?;
        if is != node.user {
            return Err(Fault::WrongUser { is, expected: node.user.clone() });
        }
        let Value::Array(role) = link.ask(&cmd("ROLE"))? else { return Err(Fault::Garbled) };
        if text(role.into_iter().next().unwrap_or(Value::Nil))? != "master" {
            return Err(Fault::NotMaster);
        }
        for _ in 0..PINGS {
            link.ping()?;
        }
        Ok(link)
    }

    /// What the server says of itself.
    pub(super) fn about(&mut self, db: i64) -> Result<About, Fault> {
        let server = text(self.ask(cmd("INFO").arg("server"))?)?;
        let field = |name: &str| server.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default().to_owned();
        Ok(About { run_id: field("run_id"), version: field("redis_version"), keys: self.count_keys(db)? })
    }

    /// Whether the identity may do more than it should, by trying what must be refused: removing a key that nobody has.
    pub(super) fn is_over_privileged(&mut self) -> Result<bool, Fault> {
        let name = format!("sw-selfcheck:{:032x}", rand::random::<u128>());
        match self.ask(cmd("UNLINK").arg(name)) {
            Err(Fault::Refused(code)) if code == "NOPERM" => Ok(false),
            // A cluster answers for its own slots only, and looks at rights first.
            Err(Fault::Moved(_)) | Ok(_) => Ok(true),
            Err(fault) => Err(fault),
        }
    }

    /// Keys in the database, by `INFO keyspace`.
    pub fn count_keys(&mut self, db: i64) -> Result<u64, Fault> {
        let keyspace = text(self.ask(cmd("INFO").arg("keyspace"))?)?;
        let keys = keyspace.lines().find_map(|line| line.strip_prefix(&format!("db{db}:keys="))?.split(',').next()?.parse().ok());
        Ok(keys.unwrap_or(0))
    }

    /// One command, one reply; an error reply is a [`Fault`].
    pub fn ask(&mut self, command: &Cmd) -> Result<Value, Fault> {
        let mut packed = Vec::new();
        command.write_packed_command(&mut packed);
        let mut reply = Value::Nil;
        self.exchange(&packed, 1, |_, value| {
            reply = value;
            Ok(())
        })?;
        match reply {
            Value::ServerError(error) => Err(Self::refusal(&error)),
            value => Ok(value),
        }
    }

    /// Sends `packed` and hands over each of its `replies` as it comes, error replies too. The first thing that goes wrong with the
    /// connection ends it: what was not handed over has no answer.
    pub fn exchange(
        &mut self,
        packed: &[u8],
        replies: usize,
        mut each: impl FnMut(usize, Value) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        self.send(packed)?;
        for i in 0..replies {
            each(i, self.receive()?)?;
        }
        Ok(())
    }

    /// Sends without waiting for replies; each has to be [received](Self::receive), in order.
    pub(super) fn send(&mut self, packed: &[u8]) -> Result<(), Fault> {
        Ok(self.con.send_packed_command(packed)?)
    }

    /// The next reply, error replies too.
    pub(super) fn receive(&mut self) -> Result<Value, Fault> {
        Ok(self.con.recv_response()?)
    }

    /// Measures the round trip once more.
    pub fn ping(&mut self) -> Result<(), Fault> {
        let begun = Instant::now();
        self.ask(&cmd("PING"))?;
        self.pings[self.next_ping] = begun.elapsed();
        self.next_ping = (self.next_ping + 1) % PINGS;
        Ok(())
    }

    /// The connection's own round trip: the smallest of the last PINGs.
    pub fn round_trip(&self) -> Duration {
        self.pings.iter().min().copied().unwrap_or_default()
    }

    /// What an error reply means.
    pub(super) fn refusal(error: &ServerError) -> Fault {
        match error.code() {
            code @ ("LOADING" | "READONLY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "BUSY") => Fault::NotReady(code.to_owned()),
            "NOAUTH" | "WRONGPASS" => Fault::Auth,
            "MOVED" | "ASK" => Redirect::parse(error).map_or(Fault::Garbled, Fault::Moved),
            code => Fault::Refused(code.to_owned()),
        }
    }
}

/// Where a cluster says that a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// Empty: the host that said so.
    pub host: String,
    pub port: u16,
    /// Only for this command, after ASKING: the slot is on its way.
    pub ask: bool,
}

impl Redirect {
    /// `MOVED 3999 127.0.0.1:6381`, `ASK …`.
    fn parse(error: &ServerError) -> Option<Self> {
        let (host, port) = error.details()?.split_ascii_whitespace().nth(1)?.rsplit_once(':')?;
        Some(Self { host: host.to_owned(), port: port.parse().ok()?, ask: error.code() == "ASK" })
    }
}

/// A text reply.
pub(super) fn text(value: Value) -> Result<String, Fault> {
    match value {
        Value::BulkString(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Ok(text),
        _ => Err(Fault::Garbled),
    }
}
