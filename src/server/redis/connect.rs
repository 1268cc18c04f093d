//! One connection of one's own: opened as the identity it has to be, to a master, with its own time-outs.

use redis::{Cmd, ConnectionInfo, IntoConnectionInfo, Value, cmd};
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
    #[error("its answer was not understood")]
    Garbled,
    #[error("the address is not usable: {0}")]
    Address(String),
}

impl Fault {
    /// Whether trying again, on a new connection, may help.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::NotReady(_) | Self::NotMaster)
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

/// Where a target's Redis is, and as whom to go there.
#[derive(Clone)]
pub struct Endpoint {
    info: ConnectionInfo,
    user: String,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // no password, not even by mistake
        write!(out, "{} as {}", self.info.addr(), self.user)
    }
}

impl Endpoint {
    /// A `redis://` URL; its own user, else `default`.
    pub fn of_url(url: &str) -> Result<Self, Fault> {
        let info = url.into_connection_info().map_err(|cause| Fault::Address(cause.to_string()))?;
        let settings = info.redis_settings().clone().set_skip_set_lib_name();
        let user = settings.username().unwrap_or("default").to_owned();
        Ok(Self { info: info.set_redis_settings(settings), user })
    }

    /// The same place, as another user.
    #[must_use]
    pub fn as_user(self, user: &str, password: &str) -> Self {
        let settings = self.info.redis_settings().clone().set_username(user).set_password(password);
        Self { info: self.info.set_redis_settings(settings), user: user.to_owned() }
    }

    pub fn address(&self) -> String {
        self.info.addr().to_string()
    }

    pub fn db(&self) -> i64 {
        self.info.redis_settings().db()
    }

    pub fn user(&self) -> &str {
        &self.user
    }
}

/// Who the server is, as found when the connection was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub run_id: String,
    pub version: String,
    pub db: i64,
    /// Keys in the database.
    pub keys: u64,
    /// The identity may do more than it should: the self-check's UNLINK was not refused.
    pub over_privileged: bool,
}

/// An open connection to a master.
pub struct Link {
    con: redis::Connection,
    pings: [Duration; PINGS],
    next_ping: usize,
}

impl Link {
    /// Opens a connection and makes sure of it: the right user, a master. An AUTH that failed is fatal, since the connection would be
    /// somebody else.
    pub fn open(endpoint: &Endpoint) -> Result<Self, Fault> {
        let client = redis::Client::open(endpoint.info.clone())?;
        let con = client.get_connection_with_timeout(CONNECT)?;
        con.set_read_timeout(Some(REPLY))?;
        con.set_write_timeout(Some(REPLY))?;
        let mut link = Self { con, pings: [Duration::MAX; PINGS], next_ping: 0 };
        let is = text(link.ask(cmd("ACL").arg("WHOAMI"))?)?;
        if is != endpoint.user {
            return Err(Fault::WrongUser { is, expected: endpoint.user.clone() });
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

    /// Reads who the server is and checks the identity's rights by trying what must be refused.
    pub fn identify(&mut self, db: i64) -> Result<Identity, Fault> {
        let server = text(self.ask(cmd("INFO").arg("server"))?)?;
        let field = |name: &str| server.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default().to_owned();
        let keys = self.count_keys(db)?;
        let name = format!("sw-selfcheck:{:032x}", rand::random::<u128>());
        let over_privileged = match self.ask(cmd("UNLINK").arg(name)) {
            Err(Fault::Refused(code)) if code == "NOPERM" => false,
            Ok(_) => true,
            Err(fault) => return Err(fault),
        };
        Ok(Identity { run_id: field("run_id"), version: field("redis_version"), db, keys, over_privileged })
    }

    /// Keys in the database, by `INFO keyspace`.
    pub fn count_keys(&mut self, db: i64) -> Result<u64, Fault> {
        let keyspace = text(self.ask(cmd("INFO").arg("keyspace"))?)?;
        let keys = keyspace.lines().find_map(|line| line.strip_prefix(&format!("db{db}:keys="))?.split(',').next()?.parse().ok());
        Ok(keys.unwrap_or(0))
    }

    /// The server's run id now.
    pub fn run_id(&mut self) -> Result<String, Fault> {
        let server = text(self.ask(cmd("INFO").arg("server"))?)?;
        Ok(server.lines().find_map(|line| line.strip_prefix("run_id:")).unwrap_or_default().to_owned())
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
            Value::ServerError(error) => Err(Self::refusal(error.code())),
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
        self.con.send_packed_command(packed)?;
        for i in 0..replies {
            each(i, self.con.recv_response()?)?;
        }
        Ok(())
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
    pub(super) fn refusal(code: &str) -> Fault {
        match code {
            "LOADING" | "READONLY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "BUSY" => Fault::NotReady(code.to_owned()),
            "NOAUTH" | "WRONGPASS" => Fault::Auth,
            code => Fault::Refused(code.to_owned()),
        }
    }
}

/// A text reply.
fn text(value: Value) -> Result<String, Fault> {
    match value {
        Value::BulkString(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Ok(text),
        _ => Err(Fault::Garbled),
    }
}
