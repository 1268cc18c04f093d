//! The engine against a real Redis: what is removed lies in the scope, all of it goes, and the gate is obeyed.
//! `PROPTEST_CASES=2000` runs the large number of cases.

use super::node::KEYS_PER_STEP;
use super::*;
use crate::domain::prefix::{Families, Template, escape};
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
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--enable-debug-command", "yes", "--unixsocket"])
            .arg(folder.path().join("s"))
            .arg("--dir")
            .arg(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let redis = Self { child, folder };
        for _ in 0..500 {
            if identify(&redis.endpoint()).is_ok() {
                return redis;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("redis-server does not start");
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
    remove(&permit, &Work { endpoint: &redis.endpoint(), scope, pace }, gate)
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
        let ask = Survey { scope: &scope, families: &families, delimiter: b':', pace, within: Duration::from_mins(1), stop: &|| false };
        survey(&redis.endpoint(), &ask, false).unwrap().census
    };
    let before = counted(Pace::Normal);
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
    let report = remove(&Permit::after_commit(1, 1), &Work { endpoint: &endpoint, scope: &scope, pace: Pace::Normal }, &Open::new(9));
    assert!(matches!(report.end, End::Complete));
    assert_eq!((report.answers.failed, &report.answers.failed_by_class), (1, &BTreeMap::from([("noperm".to_owned(), 1)])));
    let log: Vec<Value> = cmd("ACL").arg("LOG").query(&mut con).unwrap();
    assert!(!format!("{log:?}").contains("'\"command\"'"), "no forbidden command was tried: {log:?}");
}
