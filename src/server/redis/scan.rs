//! Reading the keys of a scope: how many there are, of which families, how large and how long they still live. Reads only.

use super::connect::{Fault, Link};
use super::keys::{Seen, is_versioned};
use crate::domain::flush::{Pace, Stepper};
use crate::domain::prefix::{Families, Scope};
use redis::{Value, cmd};
use std::time::{Duration, Instant};

/// Keys whose size and time to live are read.
const SAMPLE: usize = 1_000;
/// Steps between two measurements of the round trip.
const PING_EVERY: u32 = 256;

/// What is counted and how.
pub struct Survey<'a> {
    pub scope: &'a Scope,
    pub families: &'a Families,
    pub delimiter: u8,
    pub pace: Pace,
    /// The scan ends here even if it is not complete.
    pub within: Duration,
    /// Asked between steps; true ends the scan.
    pub stop: &'a dyn Fn() -> bool,
}

/// What a scan found.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// Different keys of the scope.
    pub matched: u64,
    /// Of those, keys that end in a version.
    pub versioned: u64,
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
            return Err(if let Value::ServerError(error) = value { Link::refusal(error.code()) } else { Fault::Garbled });
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

/// Counts the keys of a scope by a complete scan.
pub fn survey(link: &mut Link, survey: &Survey<'_>) -> Result<Census, Fault> {
    let begun = Instant::now();
    let pattern = survey.scope.match_pattern();
    let mut stepper = Stepper::new(survey.pace);
    let mut seen = Seen::default();
    let mut census = Census { by_family: vec![0; survey.families.templates().len() + 1], ..Census::default() };
    let (mut cursor, mut packed, mut steps) = (0, Vec::new(), 0_u32);
    loop {
        packed.clear();
        pack_scan(&mut packed, cursor, pattern.as_bytes(), stepper.count());
        let sent = Instant::now();
        let mut page = None;
        link.exchange(&packed, 1, |_, value| {
            page = Some(Page::parse(value)?);
            Ok(())
        })?;
        let took = sent.elapsed().saturating_sub(link.round_trip());
        stepper.took(took);
        let Page { next, keys } = page.ok_or(Fault::Garbled)?;
        for key in keys {
            if survey.scope.contains(&key) && seen.insert(&key) {
                census.count(key, survey);
            }
        }
        cursor = next;
        if cursor == 0 {
            census.complete = true;
            break;
        }
        if (survey.stop)() || begun.elapsed() >= survey.within {
            break;
        }
        std::thread::sleep(survey.pace.rest(took));
        steps += 1;
        if steps.is_multiple_of(PING_EVERY) {
            link.ping()?;
        }
    }
    census.took = begun.elapsed();
    Ok(census)
}

impl Census {
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
    /// Size and time to live of those `keys` that still exist.
    pub fn measure(&mut self, keys: &[Vec<u8>]) -> Result<Vec<Sampled>, Fault> {
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
