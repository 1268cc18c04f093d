//! The engine against a real Redis: what is removed lies in the scope, all of it goes, and the gate is obeyed.
//! `PROPTEST_CASES=2000` runs the large number of cases.

mod rights;
mod stalls;

use super::node::KEYS_PER_STEP;
use super::*;
use crate::domain::flush::Window;
use crate::domain::prefix::{Families, Template, escape};
use crate::server::redis::Certificates;
use crate::server::redis::scan::{Survey, identify, survey};
use proptest::prelude::*;
use redis::{Value, cmd};
use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};

/// A Redis of the test's own, behind a socket in a temporary folder.
struct OwnRedis {
    child: Child,
    folder: tempfile::TempDir,
}

impl OwnRedis {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let redis = Self { child: Self::spawn(folder.path()), folder };
        redis.wait();
        redis
    }

    fn spawn(folder: &std::path::Path) -> Child {
        Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--enable-debug-command", "yes", "--unixsocket"])
            .arg(folder.join("s"))
            .arg("--dir")
            .arg(folder)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn wait(&self) {
        wait_until("redis-server answers", || identify(&self.endpoint()).is_ok());
    }

    /// Killed, and started anew from what it saved last.
    fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Self::spawn(self.folder.path());
        self.wait();
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::of_url(&format!("redis+unix://{}", self.folder.path().join("s").display())).unwrap()
    }

    fn connect(&self) -> redis::Connection {
        redis::Client::open(format!("redis+unix://{}", self.folder.path().join("s").display())).unwrap().get_connection().unwrap()
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets everything through, or stops after so many keys.
struct Open(Mutex<Opened>);

struct Opened {
    left: u64,
    largest: u64,
    last: Answers,
}

impl Open {
    fn new(left: u64) -> Self {
        Self(Mutex::new(Opened { left, largest: 0, last: Answers::default() }))
    }
}

impl Gate for Open {
    fn admit(&self, wanted: u64) -> Result<u64, Stop> {
        let mut open = self.0.lock().unwrap();
        if open.left == 0 && wanted > 0 {
            return Err(Stop::Cap);
        }
        let admitted = wanted.min(open.left);
        open.left -= admitted;
        open.largest = open.largest.max(admitted);
        Ok(admitted)
    }

    fn answered(&self, _: u64, so_far: &Answers) {
        self.0.lock().unwrap().last = so_far.clone();
    }
}

fn all_keys(con: &mut redis::Connection) -> BTreeSet<Vec<u8>> {
    cmd("KEYS").arg("*").query(con).unwrap()
}

fn set_all<'a>(con: &mut redis::Connection, keys: impl IntoIterator<Item = &'a Vec<u8>>) {
    let mut pipe = redis::pipe();
    for key in keys {
        pipe.cmd("SET").arg(key).arg(1).ignore();
    }
    let () = pipe.query(con).unwrap();
}

fn flush(redis: &OwnRedis, scope: &Scope, pace: Pace, gate: &Open) -> Report {
    let permit = Permit::after_commit(1, 1);
    remove(&permit, &Work { endpoint: &redis.endpoint(), scope, deed: Deed::Remove, pace, bystanders: None }, gate)
}

/// Bytes that mean something to a glob, to escapes or to a careless program, and a few that do not.
fn nasty() -> impl Strategy<Value = u8> {
    prop_oneof![
        4 => prop::sample::select(&b"*?[]\\{}^-! \0\xff\xfe\r\n\t\"'v0"[..]),
        3 => prop::sample::select(&b"abc019"[..]),
        1 => any::<u8>(),
    ]
    .prop_map(|byte| if byte == b':' { b';' } else { byte })
}

fn segment(least: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(nasty(), least..least + 5)
}

/// A scope and what to put around it.
#[derive(Clone, Debug)]
struct Case {
    scope: Scope,
    keys: BTreeSet<Vec<u8>>,
}

fn case() -> impl Strategy<Value = Case> {
    let literal = (segment(3), prop::collection::vec(segment(0), 0..3)).prop_map(|(first, rest)| {
        let mut bytes = first;
        for segment in rest {
            bytes.push(b':');
            bytes.extend(segment);
        }
        bytes.push(b':');
        let scope = Scope::parse(&escape(&bytes), Some(crate::domain::prefix::ScopeKind::Literal), b':', &[]).unwrap();
        (scope, bytes)
    });
    let template =
        (segment(3), segment(1), prop::sample::select(vec!["{id}", "{all*}"]), any::<bool>()).prop_map(|(first, last, name, ends)| {
            let braced = |bytes: &[u8]| escape(bytes).replace('{', "{{").replace('}', "}}");
            // a last literal segment cannot follow a name that takes several
            let tail = if ends && name == "{id}" { format!(":x{}", braced(&last)) } else { String::new() };
            let text = format!("{}:{name}{tail}", braced(&first));
            let family = Template::parse(&text, b':').unwrap();
            let scope = Scope::parse(&text, Some(crate::domain::prefix::ScopeKind::Template), b':', &[family]).unwrap();
            let mut bytes = first;
            bytes.push(b':');
            (scope, bytes)
        });
    (
        prop_oneof![2 => literal, 1 => template],
        prop::collection::vec((0_usize..9, segment(1), any::<prop::sample::Index>(), nasty()), 1..120),
    )
        .prop_map(|((scope, base), neighbours)| {
            let mut keys = BTreeSet::new();
            for (how, tail, at, byte) in neighbours {
                let mut key = base.clone();
                let place = at.index(key.len());
                match how {
                    0 | 1 => {}
                    2 => key[place] = byte,
                    3 => key.insert(place, byte),
                    4 => drop(key.remove(place)),
                    5 => key.truncate(place),
                    6 => key = tail.iter().copied().chain(key).collect(),
                    // what the scope would be if one of its bytes were taken for a glob
                    7 => {
                        if let Some(glob) = key.iter().position(|byte| b"*?[]\\".contains(byte)) {
                            key.splice(glob..=glob, tail.iter().copied());
                        }
                    }
                    _ => key.truncate(key.len() - 1),
                }
                key.extend(&tail);
                if how == 1 {
                    key.extend(b":x");
                    key.extend(&tail);
                }
                keys.insert(key);
            }
            Case { scope, keys }
        })
}

#[test]
fn whatever_bytes_they_contain_the_scope_goes_and_nothing_else() {
    let redis = OwnRedis::start();
    let con = std::cell::RefCell::new(redis.connect());
    proptest!(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }, |(case in case())| {
        let con = &mut con.borrow_mut();
        let () = cmd("FLUSHALL").query(con).unwrap();
        set_all(con, &case.keys);
        let report = flush(&redis, &case.scope, Pace::Fast, &Open::new(u64::MAX));
        prop_assert!(matches!(report.end, End::Complete), "{:?}", report.end);
        let stay: BTreeSet<_> = case.keys.iter().filter(|key| !case.scope.contains(key)).cloned().collect();
        prop_assert_eq!(&all_keys(con), &stay);
        prop_assert_eq!(report.answers.removed, (case.keys.len() - stay.len()) as u64);
        prop_assert_eq!((report.answers.gone, report.answers.failed), (0, 0));
    });
}

#[test]
fn a_large_scope_goes_in_many_steps_and_its_neighbours_stay() {
    let redis = OwnRedis::start();
    let mut con = redis.connect();
    let mine: Vec<Vec<u8>> = (0..20_000).map(|i| format!("user:{i}:profile").into_bytes()).collect();
    let other: Vec<Vec<u8>> = (0..20_000).map(|i| format!("user:{i}:profiles").into_bytes()).collect();
    set_all(&mut con, mine.iter().chain(&other));
    let family = Template::parse("user:{id}:profile", b':').unwrap();
    let scope = Scope::parse("user:{id}:profile", None, b':', std::slice::from_ref(&family)).unwrap();
    let families = Families::new(vec![family]);
    let counted = |pace| {
        let ask = Survey {
            scope: &scope,
            families: &families,
            delimiter: b':',
            pace,
            within: Duration::from_mins(1),
            stop: &|| false,
            bystanders: None,
            beyond: Some(Duration::from_mins(1)),
        };
        survey(&redis.endpoint(), &ask, false).unwrap().census
    };
    let before = counted(Pace::Normal);
    assert_eq!(before.beyond, 20_000, "none of them expires");
    assert_eq!((before.matched, before.complete, before.by_family, before.sample.len()), (20_000, true, vec![20_000, 0], 1_000));
    let gate = Open::new(u64::MAX);
    let report = flush(&redis, &scope, Pace::Gentle, &gate);
    assert!(matches!(report.end, End::Complete));
    assert_eq!(report.answers.removed, 20_000);
    let seen = gate.0.into_inner().unwrap();
    assert!(seen.largest <= KEYS_PER_STEP as u64);
    assert_eq!(seen.last.removed, 20_000);
    assert_eq!(counted(Pace::Fast).matched, 0);
    assert_eq!(all_keys(&mut con), other.into_iter().collect());
}

fn ttls(con: &mut redis::Connection, keys: &[Vec<u8>]) -> Vec<i64> {
    let mut pipe = redis::pipe();
    for key in keys {
        pipe.cmd("PTTL").arg(key);
    }
    pipe.query(con).unwrap()
}

fn expire(endpoint: &Endpoint, scope: &Scope, window_s: u32, gate: &impl Gate) -> Report {
    expire_again(endpoint, scope, window_s, 0, gate)
}

fn expire_again(endpoint: &Endpoint, scope: &Scope, window_s: u32, before: u64, gate: &impl Gate) -> Report {
    let deed = Deed::Expire { window: Window::new(window_s).unwrap(), seed: 7, before };
    remove(&Permit::after_commit(1, 1), &Work { endpoint, scope, deed, pace: Pace::Normal, bystanders: None }, gate)
}

/// χ² over ten parts of the window: 27.9 is the 99.9 % point of nine degrees of freedom, and the seed is fixed.
#[test]
fn a_soft_flush_spreads_expiries_evenly_and_lengthens_none() {
    let redis = OwnRedis::start();
    let mut con = redis.connect();
    let lasting: Vec<Vec<u8>> = (0..10_000).map(|i| format!("user:{i}:summary").into_bytes()).collect();
    let short: Vec<Vec<u8>> = (0..1_000).map(|i| format!("user:{i}:summary:short").into_bytes()).collect();
    let other: Vec<Vec<u8>> = (0..1_000).map(|i| format!("users:{i}:summary").into_bytes()).collect();
    set_all(&mut con, lasting.iter().chain(&short).chain(&other));
    let mut pipe = redis::pipe();
    for key in &short {
        pipe.cmd("PEXPIRE").arg(key).arg(900).ignore();
    }
    let () = pipe.query(&mut con).unwrap();
    let scope = Scope::parse("user:", None, b':', &[]).unwrap();
    let report = expire(&redis.endpoint(), &scope, 1_000, &Open::new(u64::MAX));
    assert!(matches!(report.end, End::Complete) && report.steady, "{report:?}");
    assert_eq!((report.answers.removed, report.answers.gone, report.answers.failed), (10_000, 1_000, 0));
    let after = ttls(&mut con, &lasting);
    assert!(after.iter().all(|ttl| (1..=1_000_000).contains(ttl)), "every key expires within the window");
    assert!(ttls(&mut con, &short).iter().all(|ttl| *ttl <= 900), "no expiry is put off");
    assert!(ttls(&mut con, &other).iter().all(|ttl| *ttl == -1), "neighbours are left alone");
    let mut parts = [0_u32; 10];
    for ttl in &after {
        parts[usize::try_from(ttl / 100_000).unwrap().min(9)] += 1;
    }
    let chi: f64 = parts.iter().map(|&count| (f64::from(count) - 1_000.0).powi(2) / 1_000.0).sum();
    assert!(chi < 27.9, "χ² is {chi}: {parts:?}");

    // Gone over once more, as after a resume: nothing is brought forward a second time, nothing counted twice.
    set_all(&mut con, &[b"user:new".to_vec()]);
    let again = expire_again(&redis.endpoint(), &scope, 1_000, 11_000, &Open::new(u64::MAX));
    assert_eq!((again.answers.removed, again.answers.gone), (1, 0), "{again:?}");
    let stranger = expire(&redis.endpoint(), &scope, 1_000, &Open::new(u64::MAX));
    assert!(stranger.answers.removed == 0 && stranger.answers.gone > 9_000, "{stranger:?}");
}

#[test]
fn a_generation_is_raised_by_one_and_nothing_else_changes() {
    let redis = OwnRedis::start();
    let mut con = redis.connect();
    set_all(&mut con, &(0..100).map(|i| format!("cart:{i}:x").into_bytes()).collect::<Vec<_>>());
    let permit = Permit::after_commit(1, 1);
    for generation in 1..=2 {
        let report = bump(&permit, &redis.endpoint(), b"gen:cart", &Open::new(1));
        assert!(matches!(report.end, End::Complete), "{report:?}");
        assert_eq!((report.generation, report.answers.removed, report.answers.failed), (Some(generation), 1, 0));
    }
    assert_eq!(all_keys(&mut con).len(), 101);
    let stopped = bump(&permit, &redis.endpoint(), b"gen:cart", &Open::new(0));
    assert!(matches!(stopped.end, End::Stopped(_)));
    let () = cmd("SET").arg("gen:cart").arg("no number").query(&mut con).unwrap();
    let report = bump(&permit, &redis.endpoint(), b"gen:cart", &Open::new(1));
    assert!(matches!(report.end, End::Fault(Fault::Refused(_))), "{report:?}");
    assert_eq!((report.generation, report.answers.removed, report.answers.failed), (None, 0, 1));
}

#[test]
fn a_cluster_expires_and_raises_on_whichever_master_has_the_key() {
    let group = Group::cluster(3, 0);
    fill_cluster(&group, (0..3_000).map(|i| format!("cart:{i}:x")).chain((0..500).map(|i| format!("carts:{i}:x"))));
    let endpoint = group.cluster_endpoint();
    let report = expire(&endpoint, &carts(), 600, &Open::new(u64::MAX));
    assert!(matches!(report.end, End::Complete) && report.steady, "{report:?}");
    assert_eq!((report.answers.removed, report.answers.failed), (3_000, 0));
    let mut spread = 0;
    for port in group.masters() {
        let mut con = connect(port).unwrap();
        for key in all_keys(&mut con) {
            let ttl: i64 = cmd("PTTL").arg(&key).query(&mut con).unwrap();
            assert_eq!((1..=600_000).contains(&ttl), key.starts_with(b"cart:"), "{}", escape(&key));
            spread += u32::from(ttl > 0);
        }
    }
    assert_eq!(spread, 3_000);
    // Keys that lie on different masters.
    for key in ["gen:a", "gen:b", "gen:c", "gen:d"] {
        let report = bump(&Permit::after_commit(1, 1), &endpoint, key.as_bytes(), &Open::new(1));
        assert_eq!(report.generation, Some(1), "{key}: {report:?}");
    }
}

#[test]
fn a_bystander_feels_a_stall_as_long_as_it_is() {
    let redis = OwnRedis::start();
    let mut con = redis.connect();
    let bystanders = Bystanders::default();
    let node = redis.endpoint().resolve().unwrap().masters.remove(0).node;
    let quiet = beside(Some(&bystanders), std::slice::from_ref(&node), || {
        wait_until("ten answers", || bystanders.least_answered() >= Some(10));
        let quiet = bystanders.worst().unwrap();
        let () = cmd("CLIENT").arg("PAUSE").arg(400).arg("ALL").query(&mut con).unwrap();
        wait_until("a stall", || bystanders.worst().unwrap().p99 >= Duration::from_millis(300));
        quiet
    });
    assert!(quiet.p50 < Duration::from_millis(100), "{quiet:?}");
    assert!(bystanders.blind().is_none() && bystanders.median().is_some());
    drop(redis);
    let away = Bystanders::default();
    beside(Some(&away), &[node], || wait_until("a fault", || away.blind().is_some()));
    assert!(away.worst().is_none(), "nobody knows what others feel of a server that is away");
}

#[test]
fn the_gate_is_obeyed_to_the_key() {
    let redis = OwnRedis::start();
    let mut con = redis.connect();
    set_all(&mut con, &(0..5_000).map(|i| format!("cart:{i}:x").into_bytes()).collect::<Vec<_>>());
    let scope = Scope::parse("cart:", None, b':', &[]).unwrap();
    let report = flush(&redis, &scope, Pace::Fast, &Open::new(1_234));
    assert!(matches!(report.end, End::Stopped(Stop::Cap)));
    assert_eq!(report.answers.removed, 1_234);
    assert_eq!(all_keys(&mut con).len(), 5_000 - 1_234);
}

#[test]
fn a_server_that_comes_back_in_time_is_finished_and_counted_truly() {
    let redis = OwnRedis::start();
    let mut con = redis.connect();
    set_all(&mut con, &(0..30_000).map(|i| format!("cart:{i}:x").into_bytes()).collect::<Vec<_>>());
    let scope = Scope::parse("cart:", None, b':', &[]).unwrap();
    let killer = std::thread::spawn({
        let mut con = redis.connect();
        move || {
            for _ in 0..4 {
                std::thread::sleep(Duration::from_millis(15));
                let _: Result<i64, _> = cmd("CLIENT").arg("KILL").arg("TYPE").arg("normal").arg("SKIPME").arg("yes").query(&mut con);
            }
        }
    });
    let report = flush(&redis, &scope, Pace::Normal, &Open::new(u64::MAX));
    killer.join().unwrap();
    assert!(matches!(report.end, End::Complete), "{report:?}");
    assert_eq!(report.answers.failed, 0);
    assert_eq!(report.answers.removed + report.answers.gone, 30_000);
    assert!(all_keys(&mut redis.connect()).is_empty());
}

#[test]
fn an_identity_without_the_right_to_a_key_fails_that_key_and_says_so() {
    let redis = OwnRedis::start();
    let mut con = redis.connect();
    let () = cmd("ACL")
        .arg("SETUSER")
        .arg("sw")
        .arg("reset")
        .arg("on")
        .arg(">pw")
        .arg("~cart:1*")
        .arg("-@all")
        .arg("+ping")
        .arg("+hello")
        .arg("+auth")
        .arg("+select")
        .arg("+role")
        .arg("+info")
        .arg("+acl|whoami")
        .arg("+scan")
        .arg("+unlink")
        .query(&mut con)
        .unwrap();
    set_all(&mut con, &["cart:1:x", "cart:2:x"].map(|key| key.as_bytes().to_vec()).to_vec());
    let endpoint = redis.endpoint().as_user("sw", "pw");
    let identity = identify(&endpoint).unwrap();
    assert!(!identity.over_privileged);
    assert!(identify(&redis.endpoint()).unwrap().over_privileged);
    assert!(matches!(identify(&redis.endpoint().as_user("sw", "wrong")), Err(Fault::Auth)));
    let scope = Scope::parse("cart:2:", None, b':', &[]).unwrap();
    let report = remove(
        &Permit::after_commit(1, 1),
        &Work { endpoint: &endpoint, scope: &scope, deed: Deed::Remove, pace: Pace::Normal, bystanders: None },
        &Open::new(9),
    );
    assert!(matches!(report.end, End::Complete));
    assert_eq!((report.answers.failed, &report.answers.failed_by_class), (1, &BTreeMap::from([("noperm".to_owned(), 1)])));
    let log: Vec<Value> = cmd("ACL").arg("LOG").query(&mut con).unwrap();
    assert!(!format!("{log:?}").contains("'\"command\"'"), "no forbidden command was tried: {log:?}");
}

/// Redis processes of the test's own on loopback ports, ended with it.
struct Group {
    children: Vec<Child>,
    folder: tempfile::TempDir,
    ports: Vec<u16>,
}

impl Group {
    /// As many servers, each with these further arguments.
    fn start(count: usize, arguments: &[&str]) -> Self {
        let mut group = Self { children: Vec::new(), folder: tempfile::tempdir().unwrap(), ports: Vec::new() };
        for _ in 0..count {
            let port = free_port();
            group.spawn(port, arguments);
            group.ports.push(port);
        }
        for &port in &group.ports {
            wait_until("redis-server", || connect(port).is_some());
        }
        group
    }

    fn spawn(&mut self, port: u16, arguments: &[&str]) {
        let folder = self.folder.path().join(port.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        let child = Command::new("redis-server")
            .args(arguments)
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
            .arg(&folder)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.children.push(child);
    }

    /// Masters first, then a replica each.
    fn cluster(masters: usize, replicas: usize) -> Self {
        let group = Self::start(masters * (1 + replicas), &["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]);
        let nodes = group.ports.iter().map(|port| format!("127.0.0.1:{port}"));
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(nodes)
            .args(["--cluster-replicas", &replicas.to_string(), "--cluster-yes"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        wait_until("the cluster", || identify(&group.cluster_endpoint()).is_ok());
        group
    }

    fn cluster_endpoint(&self) -> Endpoint {
        let seeds: Vec<String> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        Endpoint::of_cluster(&seeds, false).unwrap()
    }

    /// The masters' ports, as they are now.
    fn masters(&self) -> Vec<u16> {
        let topology = self.cluster_endpoint().resolve().unwrap();
        topology.masters.iter().map(|master| master.node.address().rsplit_once(':').unwrap().1.parse().unwrap()).collect()
    }

    fn kill(&mut self, port: u16) {
        let at = self.ports.iter().position(|own| *own == port).unwrap();
        self.children[at].kill().unwrap();
        self.children[at].wait().unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A port that is free, and free 10,000 above it too: that is where cluster nodes talk.
fn free_port() -> u16 {
    loop {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        if let Some(bus) = port.checked_add(10_000)
            && std::net::TcpListener::bind(("127.0.0.1", bus)).is_ok()
        {
            return port;
        }
        let port = rand::random_range(20_000..30_000);
        if [port, port + 10_000].iter().all(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()) {
            return port;
        }
    }
}

fn connect(port: u16) -> Option<redis::Connection> {
    let con = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap().get_connection_with_timeout(Duration::from_secs(1)).ok()?;
    con.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    Some(con)
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_mins(1), "{what} did not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// CRC16 as clusters reckon slots, of a key without a hash tag.
fn slot(key: &[u8]) -> u16 {
    let mut crc = 0_u16;
    for byte in key {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
    }
    crc % 16_384
}

/// Puts keys where their slots are, and answers how many.
fn fill_cluster(group: &Group, keys: impl Iterator<Item = String>) -> u64 {
    let mut by_port: BTreeMap<u16, Vec<Vec<u8>>> = BTreeMap::new();
    let ranges: Vec<Vec<Value>> = cmd("CLUSTER").arg("SLOTS").query(&mut connect(group.masters()[0]).unwrap()).unwrap();
    let owner = |slot: u16| {
        ranges
            .iter()
            .find_map(|range| match (&range[0], &range[1], &range[2]) {
                (Value::Int(from), Value::Int(to), Value::Array(node)) if (*from..=*to).contains(&i64::from(slot)) => match node[1] {
                    Value::Int(port) => u16::try_from(port).ok(),
                    _ => None,
                },
                _ => None,
            })
            .unwrap()
    };
    let mut count = 0;
    for key in keys {
        by_port.entry(owner(slot(key.as_bytes()))).or_default().push(key.into_bytes());
        count += 1;
    }
    for (port, keys) in by_port {
        set_all(&mut connect(port).unwrap(), &keys);
    }
    count
}

fn keys_left(ports: &[u16], pattern: &str) -> usize {
    ports.iter().map(|port| cmd("KEYS").arg(pattern).query::<Vec<Vec<u8>>>(&mut connect(*port).unwrap()).unwrap().len()).sum()
}

fn carts() -> Scope {
    Scope::parse("cart:", None, b':', &[]).unwrap()
}

/// Lets no more through once so many are removed, until it is told to go on.
struct Hold {
    open: Open,
    at: u64,
    go_on: std::sync::atomic::AtomicBool,
}

impl Hold {
    fn at(removed: u64) -> Self {
        Self { open: Open::new(u64::MAX), at: removed, go_on: false.into() }
    }

    fn holds(&self) -> bool {
        self.open.0.lock().unwrap().last.removed >= self.at
    }

    fn go_on(&self) {
        self.go_on.store(true, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Gate for Hold {
    fn admit(&self, wanted: u64) -> Result<u64, Stop> {
        while self.holds() && !self.go_on.load(std::sync::atomic::Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        self.open.admit(wanted)
    }

    fn answered(&self, keys: u64, so_far: &Answers) {
        self.open.answered(keys, so_far);
    }
}

fn remove_from(endpoint: &Endpoint, gate: &impl Gate) -> Report {
    remove(&Permit::after_commit(1, 1), &Work { endpoint, scope: &carts(), deed: Deed::Remove, pace: Pace::Fast, bystanders: None }, gate)
}

#[test]
fn every_master_of_a_cluster_is_cleared_and_keys_on_their_way_are_found() {
    let group = Group::cluster(3, 0);
    let all = fill_cluster(&group, (0..6_000).map(|i| format!("cart:{i}:x")).chain((0..6_000).map(|i| format!("carts:{i}:x"))));
    let endpoint = group.cluster_endpoint();
    let identity = identify(&endpoint).unwrap();
    assert_eq!((identity.keys, identity.settled), (all, true));
    let report = remove_from(&endpoint, &Open::new(u64::MAX));
    assert!(matches!(report.end, End::Complete) && report.steady, "{report:?}");
    assert_eq!((report.answers.removed, report.answers.gone, report.answers.failed), (6_000, 0, 0));
    assert_eq!(report.answers.nodes.iter().map(|node| node.removed).sum::<u64>(), 6_000);
    assert!(report.answers.nodes.len() == 3 && report.answers.nodes.iter().all(|node| node.complete && node.removed > 0));
    let masters = group.masters();
    assert_eq!((keys_left(&masters, "cart:*"), keys_left(&masters, "carts:*")), (0, 6_000));

    // A slot on its way, with keys on both sides: all of them go, and nobody calls that proven.
    fill_cluster(&group, (0..6_000).map(|i| format!("cart:{i}:x")));
    let moving = slot(b"cart:7:x");
    let id = |port: u16| cmd("CLUSTER").arg("MYID").query::<String>(&mut connect(port).unwrap()).unwrap();
    let from = *masters.iter().find(|port| keys_in(**port, moving) > 0).unwrap();
    let to = *masters.iter().find(|port| **port != from).unwrap();
    let set = |port: u16, what: &str, other: u16| {
        let () = cmd("CLUSTER").arg("SETSLOT").arg(moving).arg(what).arg(id(other)).query(&mut connect(port).unwrap()).unwrap();
    };
    let more: Vec<Vec<u8>> = (0..200_000).map(|i| format!("cart:m{i}:x").into_bytes()).filter(|key| slot(key) == moving).take(8).collect();
    set_all(&mut connect(from).unwrap(), &more);
    set(to, "IMPORTING", from);
    set(from, "MIGRATING", to);
    for key in &more[..4] {
        let done: String = cmd("MIGRATE").arg("127.0.0.1").arg(to).arg(key).arg(0).arg(5_000).query(&mut connect(from).unwrap()).unwrap();
        assert_eq!(done, "OK");
    }
    let report = remove_from(&endpoint, &Open::new(u64::MAX));
    assert!(matches!(report.end, End::Complete) && !report.steady, "{report:?}");
    assert_eq!((report.answers.failed, keys_left(&masters, "cart:*")), (0, 0), "{report:?}");
    assert_eq!(report.answers.removed, 6_000 + more.len() as u64);
}

fn keys_in(port: u16, slot: u16) -> u64 {
    cmd("CLUSTER").arg("COUNTKEYSINSLOT").arg(slot).query(&mut connect(port).unwrap()).unwrap()
}

#[test]
fn a_master_that_dies_midway_is_never_left_out_of_a_complete_flush() {
    let mut group = Group::cluster(3, 1);
    fill_cluster(&group, (0..60_000).map(|i| format!("cart:{i}:x")));
    let endpoint = group.cluster_endpoint();
    let victim = group.masters()[0];
    // Let the replicas have what the masters have.
    for port in group.masters() {
        let _: i64 = cmd("WAIT").arg(1).arg(5_000).query(&mut connect(port).unwrap()).unwrap();
    }
    let gate = Hold::at(15_000);
    let report = std::thread::scope(|threads| {
        let removal = threads.spawn(|| remove_from(&endpoint, &gate));
        wait_until("a quarter of it", || gate.holds());
        group.kill(victim);
        gate.go_on();
        removal.join().unwrap()
    });
    assert!(matches!(report.end, End::Complete), "{report:?}");
    assert_eq!(report.answers.failed, 0);
    assert!(!group.masters().contains(&victim), "its replica stands in for it");
    assert_eq!(keys_left(&group.masters(), "cart:*"), 0, "{report:?}");
}

#[test]
fn a_master_without_a_replica_that_dies_is_a_fault_not_a_complete_flush() {
    let mut group = Group::cluster(3, 0);
    fill_cluster(&group, (0..3_000).map(|i| format!("cart:{i}:x")));
    let endpoint = group.cluster_endpoint();
    let victim = group.masters()[1];
    group.kill(victim);
    assert!(identify(&endpoint).is_err());
    // Nobody waits for ever: whoever is asked first says stop.
    let stopping = Impatient(Instant::now());
    let report = remove(
        &Permit::after_commit(1, 1),
        &Work { endpoint: &endpoint, scope: &carts(), deed: Deed::Remove, pace: Pace::Fast, bystanders: None },
        &stopping,
    );
    assert!(matches!(report.end, End::Stopped(Stop::Cancelled) | End::Fault(_)), "{report:?}");
    assert_eq!(report.answers.removed, 0);
}

/// Cancels after two seconds.
struct Impatient(Instant);

impl Gate for Impatient {
    fn admit(&self, wanted: u64) -> Result<u64, Stop> {
        if self.0.elapsed() > Duration::from_secs(2) { Err(Stop::Cancelled) } else { Ok(wanted) }
    }

    fn answered(&self, _: u64, _: &Answers) {}
}

#[test]
fn sentinels_name_the_master_and_the_one_that_takes_over() {
    let mut group = Group::start(2, &[]);
    let (first, second) = (group.ports[0], group.ports[1]);
    let () = cmd("REPLICAOF").arg("127.0.0.1").arg(first).query(&mut connect(second).unwrap()).unwrap();
    let mut sentinels = Vec::new();
    for _ in 0..3 {
        let port = free_port();
        let file = group.folder.path().join(format!("sentinel-{port}.conf"));
        std::fs::write(
            &file,
            format!(
                "port {port}\nbind 127.0.0.1\nsentinel monitor mymaster 127.0.0.1 {first} 2\nsentinel down-after-milliseconds mymaster 1000\n\
                 sentinel failover-timeout mymaster 5000\n"
            ),
        )
        .unwrap();
        let child = Command::new("redis-server").arg(&file).arg("--sentinel").stdout(Stdio::null()).spawn().unwrap();
        group.children.push(child);
        sentinels.push(format!("127.0.0.1:{port}"));
    }
    let endpoint = Endpoint::of_sentinel("mymaster", &sentinels, 0, false).unwrap();
    wait_until("the sentinels", || identify(&endpoint).is_ok());
    wait_until("the sentinels' agreement", || {
        sentinels.iter().all(|sentinel| {
            let port = sentinel.rsplit_once(':').unwrap().1.parse().unwrap();
            let told = connect(port).and_then(|mut con| cmd("SENTINEL").arg("CKQUORUM").arg("mymaster").query::<String>(&mut con).ok());
            told.is_some_and(|told| told.starts_with("OK 3"))
        })
    });
    let keys: Vec<Vec<u8>> = (0..40_000).map(|i| format!("cart:{i}:x").into_bytes()).collect();
    let mut master = connect(first).unwrap();
    set_all(&mut master, &keys);
    wait_until("replication", || cmd("WAIT").arg(1).arg(1_000).query::<i64>(&mut master).unwrap() == 1);
    let before = identify(&endpoint).unwrap();
    let gate = Hold::at(12_000);
    let report = std::thread::scope(|threads| {
        let removal = threads.spawn(|| remove_from(&endpoint, &gate));
        wait_until("a third of it", || gate.holds());
        group.kill(first);
        gate.go_on();
        removal.join().unwrap()
    });
    assert!(matches!(report.end, End::Complete), "{report:?}");
    assert_ne!(report.run_id, before.run_id, "the pass that counts was on the new master");
    assert_eq!(keys_left(&[second], "cart:*"), 0, "{report:?}");
}

#[test]
fn a_server_behind_tls_is_cleared_by_whoever_trusts_its_authority_and_by_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let openssl = |arguments: &[&str]| {
        let done = Command::new("openssl").args(arguments).current_dir(folder.path()).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-keyout",
        "ca.key",
        "-out",
        "ca.pem",
        "-subj",
        "/CN=authority",
    ]);
    std::fs::write(folder.path().join("san"), "subjectAltName=DNS:localhost,IP:127.0.0.1").unwrap();
    for name in ["server", "client"] {
        let (key, request, made) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        openssl(&["req", "-newkey", "rsa:2048", "-nodes", "-keyout", &key, "-out", &request, "-subj", &format!("/CN={name}")]);
        openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "san",
            "-out",
            &made,
        ]);
    }
    let (plain, encrypted) = (free_port(), free_port().to_string());
    let mut group = Group { children: Vec::new(), folder: tempfile::tempdir().unwrap(), ports: vec![plain] };
    let (cert, key, authority) = (at("server.pem"), at("server.key"), at("ca.pem"));
    group.spawn(plain, &["--tls-port", &encrypted, "--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &authority]);
    wait_until("redis-server", || connect(plain).is_some());
    set_all(&mut connect(plain).unwrap(), &(0..500).map(|i| format!("cart:{i}:x").into_bytes()).collect::<Vec<_>>());
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let endpoint = Endpoint::of_url(&format!("rediss://localhost:{encrypted}")).unwrap();
    let trusting = |client| endpoint.clone().with_certificates(Certificates { authority: Some(read("ca.pem")), client });
    assert!(identify(&endpoint).is_err(), "an authority that the machine does not know");
    assert!(identify(&trusting(None)).is_err(), "the server wants to know who comes");
    let known = trusting(Some((read("client.pem"), read("client.key"))));
    assert_eq!(identify(&known).unwrap().keys, 500);
    let report = remove_from(&known, &Open::new(u64::MAX));
    assert!(matches!(report.end, End::Complete) && report.steady, "{report:?}");
    assert_eq!((report.answers.removed, keys_left(&[plain], "cart:*")), (500, 0));
}
