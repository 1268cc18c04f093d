//! From a request's events to rows: every rule held to, every prefix found, every row encoded. Done where the request is handled, so that the
//! writer, of which there are few, only sorts and joins.

use super::Sender;
use super::parse::{BodyError, Format, Parsed, read};
use super::registry::{ReadPaths, Registry};
use crate::domain::event::tally::Measure;
use crate::domain::event::{self, Ages, Body, Event, Origin, RawEvent, RejectCode, Rejection, Subject};
use crate::domain::metric::Bucket;
use crate::server::config::StoreKeys;
use crate::server::store::events::encode::day_of;
use crate::server::store::events::raw::{Identity, Placed, encode};
use crate::server::store::events::{event_id, rollups::DeltaKey};
use chrono::{DateTime, Utc};
use std::collections::HashSet;
use std::ops::Range;

/// Most rejections that an answer lists.
pub const LISTED_MAX: usize = 100;

/// A rejected event, by its place in the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    pub index: usize,
    pub code: RejectCode,
    pub detail: String,
}

/// One row that is ready to be written.
#[derive(Debug)]
pub struct Row {
    pub identity: Identity,
    /// Its place in the request.
    pub index: usize,
    bytes: Range<usize>,
    /// What it adds to which rollup; mutations and annotations add nothing.
    pub share: Option<(DeltaKey, i64, Measure)>,
}

/// A request's events, each once.
#[derive(Debug, Default)]
pub struct Prepared {
    encoded: Vec<u8>,
    pub rows: Vec<Row>,
    /// Of the same identity as an earlier event of the request.
    pub duplicates: u64,
    /// In order, all of them: the codes are counted.
    pub rejected: Vec<Rejected>,
    pub newest_at_us: i64,
    seen: HashSet<Identity>,
    count: usize,
}

impl Prepared {
    /// The row as COPY wants it.
    pub fn row(&self, row: &Row) -> &[u8] {
        &self.encoded[row.bytes.clone()]
    }

    /// Events of the request, whatever became of them.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes that wait in memory until it is written.
    pub fn weight(&self) -> usize {
        self.encoded.len() + self.rows.len() * size_of::<Row>()
    }
}

/// What the rules are held against.
pub struct Context<'c> {
    pub sender: &'c Sender,
    pub registry: &'c Registry,
    pub read_paths: &'c ReadPaths,
    pub now: DateTime<Utc>,
    pub ages: Ages,
}

/// Reads and prepares a body.
pub fn prepare(body: &[u8], format: Format, context: &Context<'_>) -> Result<Prepared, BodyError> {
    read(body, format, Prepared::default, |prepared, parsed: Parsed<'_>| match parsed {
        Ok(raw) => prepared.add(raw, context),
        Err(detail) => prepared.reject(Rejection::new(RejectCode::Malformed, format!("This is not JSON: {detail}."))),
    })
}

impl Prepared {
    /// Adds an event of the request.
    pub fn add(&mut self, raw: RawEvent<'_>, context: &Context<'_>) {
        let added = event::check(raw, context.now, context.ages).and_then(|event| self.encode(&event, context));
        match added {
            Ok(()) => self.count += 1,
            Err(rejection) => self.reject(rejection),
        }
    }

    fn reject(&mut self, rejection: Rejection) {
        self.rejected.push(Rejected { index: self.count, code: rejection.code, detail: rejection.detail });
        self.count += 1;
    }

    fn encode(&mut self, event: &Event<'_>, context: &Context<'_>) -> Result<(), Rejection> {
        let sender = context.sender;
        let place = context.registry.place(event.target.as_deref(), sender.target.as_deref(), &event.subject)?;
        let identity = Identity { source_id: sender.source_id, day: day_of(event.at_us), id: event_id(&event.id) };
        if !self.seen.insert(identity) {
            self.duplicates += 1;
            return Ok(());
        }
        let origin = match &event.body {
            Body::StaleRead(sample) if sample.probe => Origin::Probe,
            _ => sender.origin,
        };
        let path = match &event.body {
            Body::Access(access) => access.read_path.as_deref(),
            Body::StaleRead(sample) => sample.read_path.as_deref(),
            _ => None,
        };
        let path = path.zip(place.prefix_id).map(|(path, prefix_id)| context.read_paths.name(prefix_id, path));
        let masked;
        let key = match (&event.subject, place.key) {
            (Subject::Key(key), StoreKeys::Full) => Some(&**key),
            (Subject::Key(key), StoreKeys::Masked) => {
                masked = context.registry.masked(&place, key);
                Some(masked.as_bytes())
            }
            _ => None,
        };
        let from = self.encoded.len();
        let placed = Placed {
            identity,
            received_at_us: context.now.timestamp_micros(),
            target_id: place.target_id,
            prefix_id: place.prefix_id,
            origin,
            key,
            read_path: path,
            keep_new_key: place.key == StoreKeys::Full,
        };
        encode(&mut self.encoded, event, &placed);
        let share = place.prefix_id.zip(measure(event, path)).map(|(prefix_id, measure)| {
            (DeltaKey { prefix_id, minute: event.at_us.div_euclid(60_000_000), origin: origin.code() }, event.at_us, measure)
        });
        self.newest_at_us = self.newest_at_us.max(event.at_us);
        self.rows.push(Row { identity, index: self.count, bytes: from..self.encoded.len(), share });
        Ok(())
    }
}

fn measure(event: &Event<'_>, read_path: Option<&str>) -> Option<Measure> {
    Some(match &event.body {
        Body::Access(access) => Measure::access(access),
        Body::Rebuild(rebuild) => Measure::Rebuild { duration_us: rebuild.duration_us, outcome: rebuild.outcome },
        Body::Invalidation(invalidation) => Measure::Invalidation { failure: invalidation.failure },
        Body::StaleRead(sample) => {
            Measure::Stale { bucket: Bucket::of_delay_ms(sample.delay_ms), stale: sample.stale, read_path: read_path.map(Into::into) }
        }
        Body::Mutation(_) | Body::Annotation(_) => return None,
    })
}
