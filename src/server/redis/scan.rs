//! Reading the keys of a scope: how many there are, of which families, how large and how long they still live. Reads only.

use super::bystander::{Bystanders, beside};
use super::connect::{Fault, Link};
use super::endpoint::Endpoint;
use super::keys::{Seen, is_versioned};
use super::topology::Topology;
use crate::domain::flush::{Pace, Stepper};
use crate::domain::prefix::{Families, Scope};
use redis::{Value, cmd};
use std::time::{Duration, Instant};

/// Keys whose size and time to live are read.
const SAMPLE: usize = 1_000;
/// Steps between two measurements of the round trip.
const PING_EVERY: u32 = 256;
/// Answers that a bystander's median rests on at least, and how long after the beginning they are waited for.
const FELT_LEAST: u64 = 10;
const FELT_WITHIN: Duration = Duration::from_millis(500);

/// What is counted and how.
pub struct Survey<'a> {
    pub scope: &'a Scope,
    pub families: &'a Families,
    pub delimiter: u8,
    pub pace: Pace,
    /// The scan ends here even if it is not complete.
    pub within: Duration,
    /// Asked between steps; true ends the scan.
    pub stop: &'a (dyn Fn() -> bool + Sync),
    /// Who feels it meanwhile.
    pub bystanders: Option<&'a Bystanders>,
    /// Also counts the keys that live longer than this, which takes a question more for each.
    pub beyond: Option<Duration>,
}

/// What a scan found.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// Different keys of the scope.
    pub matched: u64,
    /// Of those, keys that end in a version.
    pub versioned: u64,
    /// Of those, keys that live longer than the survey's `beyond`.
    pub beyond: u64,
    /// By the family's place; the last is for keys of none.
    pub by_family: Vec<u64>,
    /// Random keys of the scope, at most 1,000.
    pub sample: Vec<Vec<u8>>,
    /// The cursor came back to 0: every key that was there throughout has been met.
    pub complete: bool,
    pub took: Duration,
}

/// Size and remaining time to live of a sampled key.
#[derive(Clone, Copy, Debug)]
pub struct Sampled {
    pub bytes: u64,
    /// None: never expires.
    pub ttl: Option<Duration>,
}

/// One page of SCAN.
pub(super) struct Page {
    pub next: u64,
    pub keys: Vec<Vec<u8>>,
}

impl Page {
    pub(super) fn parse(value: Value) -> Result<Self, Fault> {
        let Value::Array(parts) = value else {
            return Err(if let Value::ServerError(error) = value { Link::refusal(&error) } else { Fault::Garbled });
        };
        let [Value::BulkString(next), Value::Array(keys)] = <[Value; 2]>::try_from(parts).map_err(|_| Fault::Garbled)? else {
            return Err(Fault::Garbled);
        };
        let next = std::str::from_utf8(&next).ok().and_then(|text| text.parse().ok()).ok_or(Fault::Garbled)?;
        let keys = keys.into_iter().map(|key| if let Value::BulkString(key) = key { Ok(key) } else { Err(Fault::Garbled) });
        Ok(Self { next, keys: keys.collect::<Result<_, _>>()? })
    }
}

/// `SCAN cursor MATCH pattern COUNT n`, appended to `packed`.
pub(super) fn pack_scan(packed: &mut Vec<u8>, cursor: u64, pattern: &[u8], count: u32) {
    cmd("SCAN").arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(count).write_packed_command(packed);
}

/// What a scan of all masters found.
#[derive(Clone, Debug)]
pub struct Surveyed {
    pub identity: Identity,
    pub census: Census,
    /// Of the sampled keys, those that still existed.
    pub measured: Vec<Sampled>,
    /// In the order of their addresses.
    pub nodes: Vec<NodeCensus>,
    /// What others felt in the median, where that was asked.
    pub felt: Option<Duration>,
}

/// Who holds the keys, as found when the scan began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The same as long as the same processes hold the same share of the keys: the run id of one server, a digest over those of a cluster.
    pub run_id: String,
    /// Of the oldest server.
    pub version: String,
    pub db: i64,
    /// Keys in the database, of all masters.
    pub keys: u64,
    /// The identity may do more than it should somewhere: the self-check's UNLINK was not refused.
    pub over_privileged: bool,
    /// No slot was on its way between masters, so a scan of all of them met every key that was there throughout.
    pub settled: bool,
}

/// What one master holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeCensus {
    pub address: String,
    pub run_id: String,
    pub keys: u64,
    pub matched: u64,
}

/// Who holds the keys of `endpoint`, and whether this identity may do more there than it should.
pub fn identify(endpoint: &Endpoint) -> Result<Identity, Fault> {
    identity(&mut endpoint.resolve()?, endpoint.db())
}

fn identity(topology: &mut Topology, db: i64) -> Result<Identity, Fault> {
    let mut over_privileged = false;
    for master in &mut topology.masters {
        over_privileged |= master.link.is_over_privileged()?;
    }
    let masters = &topology.masters;
    Ok(Identity {
        run_id: topology.fingerprint.clone(),
        version: topology.oldest_version().unwrap_or_default(),
        db,
        keys: masters.iter().map(|master| master.keys).sum(),
        over_privileged,
        settled: topology.settled,
    })
}

/// Counts the keys of a scope by a complete scan of every master, all at a time; `measured` also reads size and time to live of a sample.
pub fn survey(endpoint: &Endpoint, ask: &Survey<'_>, measured: bool) -> Result<Surveyed, Fault> {
    let begun = Instant::now();
    let mut topology = endpoint.resolve()?;
    let mut identity = identity(&mut topology, endpoint.db())?;
    let fingerprint = topology.fingerprint;
    let nodes: Vec<_> = topology.masters.iter().map(|master| master.node.clone()).collect();
    let found: Vec<_> = beside(ask.bystanders, &nodes, || {
        let found = std::thread::scope(|threads| {
            let scans: Vec<_> = topology
                .masters
                .into_iter()
                .map(|mut master| {
                    threads.spawn(move || {
                        let census = survey_node(&mut master.link, ask)?;
                        let sample = if measured { master.link.measure(&census.sample)? } else { Vec::new() };
                        let (address, run_id) = (master.node.address(), master.run_id);
                        Ok((NodeCensus { address, run_id, keys: master.keys, matched: census.matched }, census, sample))
                    })
                })
                .collect();
            scans.into_iter().map(|scan| scan.join().unwrap_or(Err(Fault::Garbled))).collect()
        });
        // A scan may be over before a bystander has felt anything.
        while ask.bystanders.is_some_and(|bystanders| bystanders.least_answered().is_none_or(|answers| answers < FELT_LEAST))
            && begun.elapsed() < FELT_WITHIN
            && !(ask.stop)()
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        found
    });
    let mut all = Surveyed { identity: identity.clone(), census: Census::empty(ask), measured: Vec::new(), nodes: Vec::new(), felt: None };
    all.census.complete = true;
    let found = found.into_iter().collect::<Result<Vec<_>, Fault>>()?;
    let matched: u64 = found.iter().map(|(node, ..)| node.matched).sum();
    for (node, census, measured) in found {
        all.census.matched += census.matched;
        all.census.versioned += census.versioned;
        all.census.beyond += census.beyond;
        all.census.complete &= census.complete;
        for (sum, keys) in all.census.by_family.iter_mut().zip(&census.by_family) {
            *sum += keys;
        }
        // Each master's share of the sample is its share of the keys; its own sample is in random order from the first replacement on.
        let share = |length: usize| if matched <= SAMPLE as u64 { length } else { share_of(node.matched, matched).min(length) };
        all.census.sample.extend(census.sample.iter().take(share(census.sample.len())).cloned());
        all.measured.extend(measured.iter().take(share(measured.len())));
        all.nodes.push(node);
    }
    all.nodes.sort_by(|a, b| a.address.cmp(&b.address));
    all.felt = ask.bystanders.and_then(Bystanders::median);
    all.census.took = begun.elapsed();
    let after = endpoint.resolve()?;
    if after.fingerprint != fingerprint {
        return Err(Fault::NotReady("it was replaced during the scan".to_owned()));
    }
    identity.settled &= after.settled;
    Ok(Surveyed { identity, ..all })
}

fn share_of(matched: u64, of: u64) -> usize {
    usize::try_from(u128::from(matched) * SAMPLE as u128 / u128::from(of.max(1))).unwrap_or(SAMPLE)
}

/// Counts the keys of a scope on one master. The next page is asked for before the last one is looked at, so that neither waits for the other.
fn survey_node(link: &mut Link, survey: &Survey<'_>) -> Result<Census, Fault> {
    let begun = Instant::now();
    let pattern = survey.scope.match_pattern();
    let mut stepper = Stepper::new(survey.pace);
    let mut seen = Seen::default();
    let mut census = Census::empty(survey);
    let (mut packed, mut steps) = (Vec::new(), 0_u32);
    let mut ask = |link: &mut Link, cursor: u64, count: u32| {
        packed.clear();
        pack_scan(&mut packed, cursor, pattern.as_bytes(), count);
        link.send(&packed).map(|()| Instant::now())
    };
    let mut sent = ask(link, 0, stepper.count())?;
    loop {
        let Page { next, keys } = Page::parse(link.receive()?)?;
        let took = sent.elapsed().saturating_sub(link.round_trip());
        stepper.took(took);
        census.complete = next == 0;
        let ends = census.complete || (survey.stop)() || begun.elapsed() >= survey.within;
        if !ends {
            std::thread::sleep(survey.pace.rest(took, 0));
            steps += 1;
            if steps.is_multiple_of(PING_EVERY) {
                link.ping()?;
            }
            // Asked for before the keys are looked at, where Redis is not needed for that.
            if survey.beyond.is_none() {
                sent = ask(link, next, stepper.count())?;
            }
        }
        let keys: Vec<_> = keys.into_iter().filter(|key| survey.scope.contains(key) && seen.insert(key)).collect();
        if let Some(beyond) = survey.beyond {
            census.beyond += link.count_beyond(&keys, beyond)?;
        }
        for key in keys {
            census.count(key, survey);
        }
        if ends {
            break;
        }
        if survey.beyond.is_some() {
            sent = ask(link, next, stepper.count())?;
        }
    }
    census.took = begun.elapsed();
    Ok(census)
}

impl Census {
    fn empty(survey: &Survey<'_>) -> Self {
        Self { by_family: vec![0; survey.families.templates().len() + 1], ..Self::default() }
    }

    fn count(&mut self, key: Vec<u8>, survey: &Survey<'_>) {
        self.matched += 1;
        self.versioned += u64::from(is_versioned(&key, survey.delimiter));
        let family = survey.families.classify(&key).unwrap_or(survey.families.templates().len());
        self.by_family[family] += 1;
        // every key has the same chance to be in the sample, however many come
        if self.sample.len() < SAMPLE {
            self.sample.push(key);
        } else if let Some(place) = usize::try_from(rand::random_range(0..self.matched)).ok().and_then(|place| self.sample.get_mut(place)) {
            *place = key;
        }
    }
}

impl Link {
    /// How many of the `keys` live longer than that.
    fn count_beyond(&mut self, keys: &[Vec<u8>], beyond: Duration) -> Result<u64, Fault> {
        let beyond = i64::try_from(beyond.as_millis()).unwrap_or(i64::MAX);
        let mut count = 0;
        for some in keys.chunks(500) {
            let mut packed = Vec::new();
            for key in some {
                cmd("PTTL").arg(key).write_packed_command(&mut packed);
            }
            self.exchange(&packed, some.len(), |_, value| {
                // -1: never expires; what is not answered is not known to expire
                count += u64::from(!matches!(value, Value::Int(ttl) if ttl != -1 && ttl <= beyond));
                Ok(())
            })?;
        }
        Ok(count)
    }

    /// Size and time to live of those `keys` that still exist.
    fn measure(&mut self, keys: &[Vec<u8>]) -> Result<Vec<Sampled>, Fault> {
        let mut sampled = Vec::with_capacity(keys.len());
        for some in keys.chunks(50) {
            let mut packed = Vec::new();
            for key in some {
                cmd("MEMORY").arg("USAGE").arg(key).write_packed_command(&mut packed);
                cmd("PTTL").arg(key).write_packed_command(&mut packed);
            }
            let mut bytes = None;
            self.exchange(&packed, some.len() * 2, |i, value| {
                match (i % 2, value) {
                    (0, Value::Int(size)) => bytes = u64::try_from(size).ok(),
                    (0, _) => bytes = None,
                    // −2: gone, −1: never expires
                    (_, Value::Int(ttl)) if ttl >= -1 => {
                        if let Some(bytes) = bytes.take() {
                            sampled.push(Sampled { bytes, ttl: u64::try_from(ttl).ok().map(Duration::from_millis) });
                        }
                    }
                    _ => {}
                }
                Ok(())
            })?;
        }
        Ok(sampled)
    }
}
