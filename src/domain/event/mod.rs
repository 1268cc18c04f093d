//! What an application may tell: the six types of event, the names of their fields' values and the rules they are held to. Looking up prefixes
//! and storing happen elsewhere; nothing here knows of JSON beyond serde's own model.

mod base64;
mod check;
mod code;
mod loose;
pub mod packed;
pub mod tally;

pub use check::{Ages, check};
pub use code::{Cause, ErrorClass, Kind, Method, NoteKind, Origin, Outcome};
pub use loose::{Loose, RawEvent, Unlisted};

use chrono::{DateTime, NaiveDate, Utc};
use std::borrow::Cow;

/// Longest `id`, in bytes.
pub const ID_MAX: usize = 64;
/// Longest key, in bytes.
pub const KEY_MAX: usize = 1_024;
/// Longest `endpoint`, in bytes.
pub const ENDPOINT_MAX: usize = 200;
/// Longest `read_path`, in bytes.
pub const READ_PATH_MAX: usize = 100;
/// Most entries of `params`.
pub const PARAMS_MAX: usize = 16;
/// `error` and `text` are cut here, in bytes.
pub const TEXT_CUT: usize = 500;
/// Longest of the other short texts: ids, versions, names; in bytes.
pub const SHORT_MAX: usize = 200;
/// Longest `link`, in bytes.
pub const LINK_MAX: usize = 2_000;
/// Largest counter of one event.
pub const COUNT_MAX: i64 = 1_000_000_000;
/// Longest duration of one event: an hour, in microseconds.
pub const DURATION_MAX_US: i64 = 3_600_000_000;
/// Longest `delay_ms`: a year.
pub const DELAY_MAX_MS: i64 = 31_536_000_000;

/// One event that keeps all rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Event<'a> {
    pub id: Cow<'a, str>,
    /// In microseconds since 1970, which is what Postgres keeps.
    pub at_us: i64,
    pub target: Option<Cow<'a, str>>,
    pub subject: Subject<'a>,
    pub body: Body<'a>,
}

impl Event<'_> {
    pub fn kind(&self) -> Kind {
        match self.body {
            Body::Access(_) => Kind::Access,
            Body::Rebuild(_) => Kind::Rebuild,
            Body::Invalidation(_) => Kind::Invalidation,
            Body::Mutation(_) => Kind::Mutation,
            Body::StaleRead(_) => Kind::StaleRead,
            Body::Annotation(_) => Kind::Annotation,
        }
    }

    /// The UTC day, part of the event's identity.
    pub fn day(&self) -> NaiveDate {
        DateTime::<Utc>::from_timestamp_micros(self.at_us).map_or(NaiveDate::MIN, |at| at.date_naive())
    }
}

/// What the event speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject<'a> {
    Key(Cow<'a, [u8]>),
    /// A registered prefix by its name.
    Prefix(Cow<'a, str>),
    /// No key: a mutation, or an annotation of the whole target.
    Target,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body<'a> {
    Access(Access<'a>),
    Rebuild(Rebuild<'a>),
    Invalidation(Invalidation<'a>),
    Mutation(Mutation<'a>),
    StaleRead(StaleRead<'a>),
    Annotation(Annotation<'a>),
}

/// Reads over some span. `None` is not measured, which is not zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access<'a> {
    pub hits: Option<u32>,
    pub misses: Option<u32>,
    pub stale_served: Option<u32>,
    pub errors: Option<u32>,
    pub read_path: Option<Cow<'a, str>>,
}

/// One fill of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuild<'a> {
    pub duration_us: u64,
    pub outcome: Outcome,
    pub cause: Cause,
    pub source_read_at_us: Option<i64>,
    pub waiters: Option<u32>,
    pub error: Option<Cow<'a, str>>,
}

/// One attempt to evict, expire, update or version a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalidation<'a> {
    pub method: Method,
    /// Why it failed, `None` where it did not.
    pub failure: Option<ErrorClass>,
    pub error: Option<Cow<'a, str>>,
    pub latency_us: Option<u64>,
    pub keys: Option<u32>,
    pub mutation_id: Option<Cow<'a, str>>,
    pub key_new: Option<Cow<'a, str>>,
    pub ttl_seconds: Option<u32>,
}

/// One committed write at the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation<'a> {
    pub endpoint: Cow<'a, str>,
    pub mutation_id: Cow<'a, str>,
    pub params: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// One comparison of a cached value with the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaleRead<'a> {
    pub stale: bool,
    pub delay_ms: Option<u64>,
    pub read_path: Option<Cow<'a, str>>,
    pub cached_version: Option<Cow<'a, str>>,
    pub source_version: Option<Cow<'a, str>>,
    pub mutation_id: Option<Cow<'a, str>>,
    pub probe: bool,
}

/// A mark on the charts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation<'a> {
    pub kind: NoteKind,
    pub text: Cow<'a, str>,
    pub link: Option<Cow<'a, str>>,
}

/// Why one event was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Rejection {
    pub code: RejectCode,
    pub detail: String,
}

impl Rejection {
    pub fn new(code: RejectCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

/// The stable codes of rejections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RejectCode {
    Malformed,
    MissingField,
    WrongType,
    UnknownType,
    TooOld,
    TooNew,
    TooLong,
    BadCharacters,
    UnknownPrefix,
    UnknownTarget,
    TargetNotAllowed,
    OutOfRange,
}

impl RejectCode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::UnknownType => "unknown_type",
            Self::TooOld => "too_old",
            Self::TooNew => "too_new",
            Self::TooLong => "too_long",
            Self::BadCharacters => "bad_characters",
            Self::UnknownPrefix => "unknown_prefix",
            Self::UnknownTarget => "unknown_target",
            Self::TargetNotAllowed => "target_not_allowed",
            Self::OutOfRange => "out_of_range",
        }
    }
}
