//! The audit page's read model.

use chrono::{DateTime, NaiveDate, Utc};

/// The page's filters, as in the URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub who: Option<String>,
    /// A code (`flush.planned`) or the part before its dot (`flush`).
    pub code: Option<String>,
    pub target: Option<String>,
    pub from: Option<NaiveDate>,
    /// Inclusive.
    pub to: Option<NaiveDate>,
    /// Only rows with a smaller number: the next page.
    pub before: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct AuditPage {
    pub as_of: DateTime<Utc>,
    pub filter: AuditFilter,
    /// Newest first, at most 100.
    pub rows: Vec<AuditRow>,
    /// The next page's `before`, None at the end.
    pub older: Option<i64>,
    /// The head's number.
    pub head_seq: i64,
    pub verified: Option<Verified>,
    /// Last number in the checkpoint file, and when.
    pub anchored: Option<(i64, DateTime<Utc>)>,
    pub checkpoint_file: String,
    pub separated: bool,
    pub actors: Vec<String>,
    pub codes: Vec<String>,
    pub targets: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct Verified {
    /// `whole`, `tampered`, `truncated`, `cannot_tell`
    pub verdict: String,
    pub records: i64,
    pub at: DateTime<Utc>,
    pub first_bad: Option<i64>,
}

#[derive(Clone, Debug)]
pub struct AuditRow {
    pub seq: i64,
    pub at: DateTime<Utc>,
    pub actor: String,
    pub code: String,
    /// One sentence from the record's body.
    pub what: String,
    /// Where it leads, as `/flush/12`.
    pub href: Option<String>,
    /// Whole, lower-case hex.
    pub hash: String,
    /// A refusal, drawn as one.
    pub refused: bool,
}
