//! The audit page's read model, exports, verification and the anchoring of the chain.

mod anchor;
pub mod checkpoints;
mod export;
mod verify;
mod words;

pub use crate::server::store::roles::why_not_separated;
pub use anchor::{AnchorError, Anchoring, anchor, keep_anchored, notice_cut, re_anchor};
pub use export::{Format, as_lines, export, export_name};
pub use verify::{LastVerified, Lost, Verification, cannot_tell, record as record_verification, verify};

use crate::domain::audit::Code;
use crate::error::Error;
use crate::server::config::Config;
use crate::server::service::quality::AuditHealth;
use crate::server::service::sight::Sight;
use crate::server::state::AppState;
use crate::server::store::audit::{self, Filter, Record};
use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use serde_json::Value;

/// The page's filters, as in the URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub who: Option<String>,
    /// A code (`flush.planned`) or the part before its dot (`flush`).
    pub code: Option<String>,
    pub target: Option<String>,
    /// Any part of the scope's text.
    pub scope: Option<String>,
    /// Only what tells of this flush: its story, oldest first.
    pub flush: Option<i64>,
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
    /// Whether this reader may search by scope.
    pub by_scope: bool,
    /// Newest first, at most 100; of one flush oldest first, at most 1,000.
    pub rows: Vec<AuditRow>,
    /// Whether a flush's story goes on past what is shown.
    pub story_cut: bool,
    /// The next page's `before`, None at the end.
    pub older: Option<i64>,
    /// The head's number.
    pub head_seq: i64,
    pub verified: Option<Verified>,
    /// Last number in the checkpoint file, and when.
    pub anchored: Option<(i64, DateTime<Utc>)>,
    pub checkpoint_file: String,
    /// What of the server's Postgres role would let it rewrite the record, as the end of a sentence.
    pub not_separated: Option<String>,
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
    /// One sentence: what is missing, what is not as it was, since when it is anchored anew.
    pub detail: String,
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
    /// The flush that it tells of.
    pub flush: Option<i64>,
    /// Whole, lower-case hex.
    pub hash: String,
    /// A refusal, drawn as one.
    pub refused: bool,
}

/// Rows on one page.
const PAGE: i64 = 100;
/// Rows of one flush's story: a progress row a minute and what people did, so a day's flush is cut.
const STORY: i64 = 1_000;

impl AuditFilter {
    /// As the store takes it.
    pub fn to_store(&self) -> Filter {
        let midnight = |day: NaiveDate| day.and_time(NaiveTime::MIN).and_utc();
        let code = self.code.as_ref().map(|code| if code.contains('.') { code.clone() } else { format!("{code}.") });
        Filter {
            actor: self.who.clone(),
            code,
            target: self.target.clone(),
            scope: self.scope.clone(),
            flush: self.flush,
            from: self.from.map(midnight),
            to: self.to.and_then(|to| to.checked_add_days(Days::new(1))).map(midnight),
        }
    }
}

/// The last number that is anchored outside Postgres, and when that was.
pub fn last_anchor(data_dir: &std::path::Path) -> Option<(i64, DateTime<Utc>)> {
    checkpoints::last(data_dir).map(|note| (note.seq, note.at))
}

/// The page: newest first, with what the last verification found and how far the chain is anchored.
pub async fn load(app: &AppState, mut filter: AuditFilter, sight: Sight) -> Result<AuditPage, Error> {
    if !sight.is_whole() {
        // Searching would tell what the mask hides.
        filter.scope = None;
    }
    let mut conn = app.pools.control.acquire().await?;
    let head_seq = audit::find_head(&mut conn).await?.map_or(0, |head| head.seq);
    let (asked, wanted) = (filter.to_store(), if filter.flush.is_some() { STORY } else { PAGE });
    let records = if filter.flush.is_some() {
        audit::list_after(&mut conn, &asked, 0, wanted + 1).await?
    } else {
        audit::list_before(&mut conn, &asked, filter.before.unwrap_or(i64::MAX), wanted + 1).await?
    };
    let actors = audit::list_actors(&mut conn).await?;
    let not_separated = why_not_separated(&mut conn).await?;
    drop(conn);
    let config = app.config();
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    let more = records.len() > wanted;
    let rows: Vec<AuditRow> = records.iter().take(wanted).map(|record| row(&config, record, sight)).collect();
    Ok(AuditPage {
        as_of: app.clock.now(),
        older: rows.last().filter(|_| more && filter.flush.is_none()).map(|row| row.seq),
        story_cut: more && filter.flush.is_some(),
        rows,
        head_seq,
        verified: app.anchoring.last_verified().map(|last| Verified {
            verdict: last.found.verdict.as_str().to_owned(),
            records: last.found.records,
            at: last.at,
            first_bad: last.found.first_bad,
            detail: last.found.detail,
        }),
        anchored: last_anchor(&config.data_dir),
        checkpoint_file: checkpoints::file(&config.data_dir).display().to_string(),
        not_separated,
        actors,
        codes: Code::ALL.iter().map(ToString::to_string).collect(),
        targets: config.targets.iter().map(|target| target.name.clone()).collect(),
        by_scope: sight.is_whole(),
        filter,
    })
}

/// How far the record can be trusted, for the strip on every page.
pub async fn health(app: &AppState) -> Result<AuditHealth, Error> {
    let mut conn = app.pools.control.acquire().await?;
    let head_seq = audit::find_head(&mut conn).await?.map_or(0, |head| head.seq);
    let not_separated = why_not_separated(&mut conn).await?;
    let anchored = checkpoints::last(&app.config().data_dir).map(|note| (note.seq, note.at));
    Ok(AuditHealth { not_separated, trouble: app.anchoring.trouble(), anchored, head_seq })
}

fn row(config: &Config, record: &Record, sight: Sight) -> AuditRow {
    let mut body: Value = serde_json::from_slice(&record.canonical).unwrap_or_default();
    if let Some(scope) = &record.scope {
        body["scope"] = sight.scope(config, record.target.as_deref().unwrap_or_default(), scope).into();
    }
    AuditRow {
        seq: record.seq,
        at: record.at,
        actor: record.actor.clone(),
        code: record.code.clone(),
        what: words::sentence(&record.code, &body),
        href: words::href(&body),
        flush: body.get("flush").and_then(Value::as_i64),
        hash: words::hex(&record.hash),
        refused: record.code.ends_with(".refused") || record.code == Code::SignInFailed.as_str(),
    }
}

/// Verifies now and remembers what was found; records it when asked by somebody.
pub async fn verify_now(app: &AppState, actor: &crate::domain::audit::Actor) -> Result<Verification, Error> {
    let data_dir = app.config().data_dir.clone();
    let found = verify(&app.pools.record, &data_dir).await;
    app.anchoring.remember_verified(&found, app.clock.now());
    record_verification(&app.pools.record, actor, &found).await?;
    Ok(found)
}
