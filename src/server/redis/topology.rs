//! Which servers hold a target's keys right now, and whether they are still the same ones.

use super::connect::{Fault, Link, Node, text};
use super::endpoint::{Endpoint, Place, addr};
use redis::{ConnectionAddr, Value, cmd};
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Slots of a cluster.
const SLOTS: u32 = 16_384;

/// The masters that together hold all keys, each with an open connection.
pub(super) struct Topology {
    pub masters: Vec<Master>,
    /// The same as long as the same processes hold the same share of the keys: the run id of one server, a digest over those of a cluster.
    pub fingerprint: String,
    /// No slot is on its way from one master to another. While one is, a key may slip past a scan of both.
    pub settled: bool,
}

pub(super) struct Master {
    pub node: Node,
    pub link: Link,
    pub run_id: String,
    pub version: String,
    /// Keys in the database.
    pub keys: u64,
}

impl Master {
    fn open(node: Node, db: i64) -> Result<Self, Fault> {
        let mut link = Link::open(&node)?;
        let about = link.about(db)?;
        Ok(Self { node, link, run_id: about.run_id, version: about.version, keys: about.keys })
    }
}

impl Endpoint {
    /// Finds the masters and connects to each. One that does not answer is a [`Fault`]: it is never left out.
    pub(super) fn resolve(&self) -> Result<Topology, Fault> {
        match self.place() {
            Place::Standalone(at) => Ok(Topology::of_one(Master::open(self.node(at.clone())?, self.db())?)),
            Place::Sentinel { master, sentinels, tls } => {
                let mut fault = Fault::Address("no sentinel is named".to_owned());
                for info in sentinels {
                    // What a sentinel says may be old: the one it names has to be a master.
                    let found = self
                        .sentinel(info)
                        .and_then(|sentinel| ask_sentinel(&sentinel, master))
                        .and_then(|(host, port)| Master::open(self.node(addr(&host, port, *tls))?, self.db()));
                    match found {
                        Ok(master) => return Ok(Topology::of_one(master)),
                        Err(cause) => fault = cause,
                    }
                }
                Err(fault)
            }
            Place::Cluster { seeds } => {
                let mut fault = Fault::Address("no node of the cluster is named".to_owned());
                for seed in seeds {
                    match self.cluster_by(seed) {
                        Ok(topology) => return Ok(topology),
                        Err(cause) => fault = cause,
                    }
                }
                Err(fault)
            }
        }
    }

    /// The cluster as that node sees it, held against what each master says of itself.
    fn cluster_by(&self, seed: &ConnectionAddr) -> Result<Topology, Fault> {
        let tls = matches!(seed, ConnectionAddr::TcpTls { .. });
        let seed = self.node(seed.clone())?;
        let view = nodes_seen_by(&mut seed.connect()?)?;
        let mut masters = Vec::new();
        let mut shares = Vec::new();
        for line in view.iter().filter(|line| line.is_master) {
            if line.is_failing {
                if line.slots.is_empty() {
                    continue;
                }
                return Err(Fault::NotReady(format!("the master {}:{} is failing", line.host, line.port)));
            }
            let node = if line.host.is_empty() { seed.at("", line.port) } else { self.node(addr(&line.host, line.port, tls))? };
            let mut master = Master::open(node, 0)?;
            let Value::BulkString(own) = plain(master.link.ask(cmd("CLUSTER").arg("NODES"))?) else { return Err(Fault::Garbled) };
            let own = parse_nodes(&String::from_utf8_lossy(&own)).into_iter().find(|own| own.is_self).ok_or(Fault::Garbled)?;
            shares.push(Share { id: own.id, run_id: master.run_id.clone(), slots: own.slots, open: own.open });
            masters.push(master);
        }
        if shares.iter().flat_map(|share| &share.slots).map(|(from, to)| to - from + 1).sum::<u32>() != SLOTS {
            return Err(Fault::NotReady("not every slot of the cluster has a master, or its nodes disagree".to_owned()));
        }
        shares.sort();
        let settled = shares.iter().all(|share| share.open.is_empty());
        Ok(Topology { masters, fingerprint: fingerprint(&shares), settled })
    }
}

impl Topology {
    /// The version of the oldest server.
    pub fn oldest_version(&self) -> Option<String> {
        let age = |version: &str| version.split('.').map(|part| part.parse::<u32>().unwrap_or(0)).collect::<Vec<_>>();
        self.masters.iter().map(|master| &master.version).min_by_key(|version| age(version)).cloned()
    }

    fn of_one(master: Master) -> Self {
        Self { fingerprint: master.run_id.clone(), masters: vec![master], settled: true }
    }
}

/// What one master holds.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Share {
    id: String,
    run_id: String,
    slots: Vec<(u32, u32)>,
    open: Vec<String>,
}

/// 40 digits, as a run id has.
fn fingerprint(shares: &[Share]) -> String {
    let mut hash = Sha256::new();
    for share in shares {
        hash.update(format!("{} {} {:?} {:?}\n", share.id, share.run_id, share.slots, share.open));
    }
    hash.finalize()[..20].iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whom a sentinel takes for the master.
fn ask_sentinel(sentinel: &Node, master: &str) -> Result<(String, u16), Fault> {
    let mut con = sentinel.connect()?;
    con.send_packed_command(&cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master).get_packed_command())?;
    match con.recv_response()? {
        Value::Array(parts) => {
            let mut parts = parts.into_iter().map(text);
            let (host, port) = (parts.next().ok_or(Fault::Garbled)??, parts.next().ok_or(Fault::Garbled)??);
            Ok((host, port.parse().map_err(|_| Fault::Garbled)?))
        }
        Value::Nil => Err(Fault::Address(format!("no sentinel knows a master named {master}"))),
        Value::ServerError(error) => Err(Link::refusal(&error)),
        _ => Err(Fault::Garbled),
    }
}

fn nodes_seen_by(con: &mut redis::Connection) -> Result<Vec<Line>, Fault> {
    con.send_packed_command(&cmd("CLUSTER").arg("NODES").get_packed_command())?;
    match plain(con.recv_response()?) {
        Value::BulkString(lines) => Ok(parse_nodes(&String::from_utf8_lossy(&lines))),
        Value::ServerError(error) if error.details().is_some_and(|detail| detail.contains("cluster support disabled")) => {
            Err(Fault::Address("this Redis is no cluster: use `url`".to_owned()))
        }
        Value::ServerError(error) => Err(Link::refusal(&error)),
        _ => Err(Fault::Garbled),
    }
}

/// A text of RESP3 as one of RESP2.
fn plain(value: Value) -> Value {
    match value {
        Value::VerbatimString { text, .. } => Value::BulkString(text.into_bytes()),
        value => value,
    }
}

/// A line of CLUSTER NODES.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    id: String,
    host: String,
    port: u16,
    is_self: bool,
    is_master: bool,
    is_failing: bool,
    slots: Vec<(u32, u32)>,
    /// Slots on their way, which a node says of itself only: `[93-<-…]`.
    open: Vec<String>,
}

/// `<id> <ip:port@cport[,hostname]> <flags> <master> <ping-sent> <pong-recv> <epoch> <link-state> <slot> …`; what is not understood is left out.
fn parse_nodes(lines: &str) -> Vec<Line> {
    lines.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Line> {
    let mut parts = line.split_ascii_whitespace();
    let id = parts.next()?.to_owned();
    let place = parts.next()?.split([',', '@']).next()?;
    let (host, port) = place.rsplit_once(':')?;
    let flags: Vec<&str> = parts.next()?.split(',').collect();
    let has = |flag: &str| flags.contains(&flag);
    if has("handshake") || has("noaddr") {
        return None;
    }
    let (mut slots, mut open) = (Vec::new(), Vec::new());
    for slot in parts.skip(5) {
        if slot.starts_with('[') {
            open.push(slot.to_owned());
        } else {
            let (from, to) = slot.split_once('-').unwrap_or((slot, slot));
            slots.push((from.parse().ok()?, to.parse().ok()?));
        }
    }
    Some(Line {
        id,
        host: host.to_owned(),
        port: port.parse().ok()?,
        is_self: has("myself"),
        is_master: has("master"),
        // `fail?` is one node's suspicion; whether it answers is found out by asking it
        is_failing: has("fail"),
        slots,
        open,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: &str = "\
07c37dfeb235213a872192d90877d0cd55635b91 127.0.0.1:30004@31004,host4 slave e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca 0 1426238317239 4 connected
67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1 127.0.0.1:30002@31002 master,fail? - 0 1426238316232 2 connected 5461-10922
e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca :30001@31001 myself,master - 0 0 1 connected 0-5460 7 [93-<-292f8b365bb7edb5e285caf0b7e6ddc7265d2f4f] [77->-e7d1eecce10fd6bb5eb35b9f99a514335d9ba9ca]
aaaa [::1]:30009@31009 master,fail - 0 0 9 disconnected
";

    #[test]
    fn the_lines_of_a_cluster_are_understood() {
        let nodes = parse_nodes(NODES);
        assert_eq!(nodes.len(), 4);
        assert!(!nodes[0].is_master && nodes[1].is_master && !nodes[1].is_failing && nodes[3].is_failing);
        let own = &nodes[2];
        assert_eq!((own.host.as_str(), own.port, own.is_self), ("", 30_001, true));
        assert_eq!(own.slots, [(0, 5_460), (7, 7)]);
        assert_eq!(own.open.len(), 2);
    }

    #[test]
    fn a_fingerprint_follows_processes_slots_and_migrations() {
        let share = |run_id: &str, to, open: &[&str]| {
            let open = open.iter().map(|text| (*text).to_owned()).collect();
            fingerprint(&[Share { id: "a".into(), run_id: run_id.into(), slots: vec![(0, to)], open }])
        };
        let one = share("r1", 10, &[]);
        assert_eq!(one.len(), 40);
        assert_eq!(one, share("r1", 10, &[]));
        for other in [share("r2", 10, &[]), share("r1", 11, &[]), share("r1", 10, &["[3-<-x]"])] {
            assert_ne!(one, other);
        }
    }
}
