//! Listening to a master's keyspace events: which keys were asked for and were not there. Sets nothing on the server.

use super::acl;
use super::connect::{Fault, Link, Node, text};
use super::endpoint::Endpoint;
use redis::{Value, cmd};
use std::time::{Duration, Instant};

/// Messages after which [`Ear::hear`] comes back, so that its caller may look at the clock.
const AT_ONCE: usize = 1_024;
/// What a Redis has to announce from 7.0 on, and before, for everything that can be heard from it.
const FLAGS: &str = "Exegmn";
const FLAGS_BEFORE_7: &str = "E$hxegm";

/// Whether a master announces misses, by its `notify-keyspace-events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    Announces,
    Silent,
    /// The identity may not ask.
    Unreadable,
}

/// A master as somebody to listen to.
#[derive(Clone, Debug)]
pub struct Speaker {
    node: Node,
    db: i64,
    pub setting: Setting,
    /// The line that makes it announce: `CONFIG SET notify-keyspace-events Exegmn`.
    pub line: String,
}

impl Speaker {
    /// `host:port`, or the path of a socket.
    pub fn address(&self) -> String {
        self.node.address()
    }

    /// What the listening identity has to be allowed: `__keyevent@0__:keymiss`.
    pub fn channel(&self) -> String {
        format!("__keyevent@{}__:keymiss", self.db)
    }
}

/// All masters of a target, and whether each announces misses.
pub fn speakers(endpoint: &Endpoint) -> Result<Vec<Speaker>, Fault> {
    let topology = endpoint.resolve()?;
    let speaker = |mut master: super::topology::Master| {
        let setting = setting(&mut master.link)?;
        let flags = if acl::parts(&master.version).0 >= 7 { FLAGS } else { FLAGS_BEFORE_7 };
        Ok(Speaker { node: master.node, db: endpoint.db(), setting, line: format!("CONFIG SET notify-keyspace-events {flags}") })
    };
    topology.masters.into_iter().map(speaker).collect()
}

fn setting(link: &mut Link) -> Result<Setting, Fault> {
    let flags = match link.ask(cmd("CONFIG").arg("GET").arg("notify-keyspace-events")) {
        Ok(Value::Array(pair)) => pair.into_iter().nth(1).map(text).transpose()?,
        Ok(Value::Map(pairs)) => pairs.into_iter().next().map(|(_, flags)| text(flags)).transpose()?,
        Ok(_) | Err(Fault::Refused(_)) => None,
        Err(fault) => return Err(fault),
    };
    Ok(match flags {
        // `A` stands for many classes, and not for misses.
        Some(flags) if flags.contains('E') && flags.contains('m') => Setting::Announces,
        Some(_) => Setting::Silent,
        None => Setting::Unreadable,
    })
}

/// A connection that hears every miss of one master's database.
///
/// A PING is always under way: its reply comes after everything that was announced before it, so a late one tells how far behind the listener
/// is, and a missing one that the connection is lost.
pub struct Ear {
    link: Link,
    pinged: Option<Instant>,
}

impl Ear {
    /// Connects to a master and subscribes.
    pub fn open(speaker: &Speaker) -> Result<Self, Fault> {
        let mut link = Link::open(&speaker.node)?;
        link.ask(cmd("SUBSCRIBE").arg(speaker.channel()))?;
        Ok(Self { link, pinged: None })
    }

    /// Hands over missed keys as they were announced. True: everything was, up to the call that sent the last PING.
    pub fn hear(&mut self, mut missed: impl FnMut(&[u8])) -> Result<bool, Fault> {
        if self.pinged.is_none() {
            self.link.send(&cmd("PING").get_packed_command())?;
            self.pinged = Some(Instant::now());
        }
        for _ in 0..AT_ONCE {
            match self.link.receive()? {
                Value::Array(parts) => match parts.as_slice() {
                    [Value::BulkString(kind), _, Value::BulkString(key)] if kind == b"message" => missed(key),
                    [Value::BulkString(kind), ..] if kind == b"pong" => {
                        self.pinged = None;
                        return Ok(true);
                    }
                    _ => return Err(Fault::Garbled),
                },
                Value::ServerError(error) => return Err(Link::refusal(&error)),
                _ => return Err(Fault::Garbled),
            }
        }
        Ok(false)
    }

    /// How long the last PING has been waiting for its reply.
    pub fn late(&self) -> Duration {
        self.pinged.map_or(Duration::ZERO, |pinged| pinged.elapsed())
    }
}
