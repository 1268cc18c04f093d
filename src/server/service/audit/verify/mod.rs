//! Verification: every link of the chain, the derived columns, the head, the checkpoints, and that each flush is in the state that its last
//! record says.

mod said;

use self::said::{Astray, Reanchored, Said};
use super::checkpoints::{self, Checkpoint};
use crate::domain::audit::{ChainCheck, Code, Link, Verdict};
use crate::server::store::audit::{self, Filter, Head, Record};
use crate::server::store::flushes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, PgPool};
use std::path::Path;

/// Records read at once.
const PAGE: i64 = 2_000;

/// What a verification found.
#[derive(Clone, Debug, Serialize)]
pub struct Verification {
    #[serde(serialize_with = "verdict_text")]
    pub verdict: Verdict,
    /// The number of the first record that is not what was appended.
    pub first_bad: Option<i64>,
    /// The highest number found.
    pub last_seq: i64,
    /// The highest number in the checkpoint file.
    pub last_anchored: Option<i64>,
    /// The number of the record that last said that the record was anchored anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reanchored: Option<i64>,
    /// Which records are missing, where it is cut.
    #[serde(skip)]
    pub lost: Option<Lost>,
    /// Flushes of which the record says something else than their own table: its number there, and its state if it is there.
    #[serde(skip)]
    pub astray: Vec<(i64, Option<String>)>,
    /// One sentence for people.
    #[serde(skip)]
    pub detail: String,
    #[serde(skip)]
    pub records: i64,
}

/// Records that were there once and are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    pub from: i64,
    pub to: i64,
    /// The head row knows of them: they were not lost by restoring a backup, which holds both.
    pub behind_the_head: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn verdict_text<S: serde::Serializer>(verdict: &Verdict, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(verdict.as_str())
}

/// Verifies the whole record against the checkpoints of `data_dir`. Changes nothing.
pub async fn verify(pool: &PgPool, data_dir: &Path) -> Verification {
    // The checkpoints first: one written during the walk may be ahead of what the walk sees.
    let folder = data_dir.to_owned();
    let notes = tokio::task::spawn_blocking(move || checkpoints::read_all(&folder)).await;
    let (notes, unreadable) = match notes {
        Ok(Ok(notes)) => (notes, None),
        Ok(Err(cause)) => (Vec::new(), Some(cause.to_string())),
        Err(_) => (Vec::new(), Some("reading the checkpoints broke down".to_owned())),
    };
    let pool = pool.clone();
    let task = tokio::spawn(async move {
        let mut conn = pool.acquire().await?;
        walk(&mut conn, notes, unreadable).await
    });
    match task.await {
        Ok(Ok(found)) => found,
        Ok(Err(cause)) => cannot_tell(format!("Postgres did not give the record out: {cause}.")),
        Err(_) => cannot_tell("The verification broke down.".to_owned()),
    }
}

/// Nothing can be said, for this reason.
pub fn cannot_tell(detail: String) -> Verification {
    Verification {
        verdict: Verdict::CannotTell,
        first_bad: None,
        last_seq: 0,
        last_anchored: None,
        reanchored: None,
        lost: None,
        astray: Vec::new(),
        detail,
        records: 0,
    }
}

async fn walk(conn: &mut PgConnection, mut notes: Vec<Checkpoint>, unreadable: Option<String>) -> Result<Verification, sqlx::Error> {
    notes.sort_by_key(|note| note.seq);
    // One snapshot for head, records and flushes.
    let mut tx = conn.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let head = audit::find_head(&mut tx).await?;
    let mut check = ChainCheck::default();
    let (mut last_seq, mut records, mut next_note) = (0, 0, 0);
    let (mut said, mut differing) = (Said::default(), Vec::new());
    loop {
        let page = audit::list_after(&mut tx, &Filter::default(), last_seq, PAGE).await?;
        let Some(last) = page.last().map(|record| record.seq) else { break };
        for record in &page {
            records += 1;
            let body = serde_json::from_slice::<Value>(&record.canonical).unwrap_or_default();
            take(&mut check, record, &body);
            // What a broken chain says counts for nothing.
            if check.first_bad().is_none() {
                said.take(record, &body);
            }
            while let Some(note) = notes.get(next_note).filter(|note| note.seq <= record.seq) {
                // Number 0 is the empty chain; a note between two records is a gap that the walk names.
                if note.seq == record.seq && note.hash[..] != record.hash[..] {
                    differing.push(record.seq);
                }
                next_note += 1;
            }
        }
        last_seq = last;
    }
    let jobs = flushes::list_states(&mut tx).await?;
    tx.commit().await?;
    let last_anchored = notes.last().map(|note| note.seq);
    let mut lost = None;
    for seq in differing {
        match said.cut_before(seq, &notes) {
            Some((ended, anchored)) => lost = Some(Lost { from: ended + 1, to: anchored, behind_the_head: false }),
            None => check.mark_bad(seq),
        }
    }
    if let Some(anchored) = last_anchored.filter(|anchored| *anchored > last_seq) {
        let from = said.cut_before(anchored, &notes).map_or(last_seq, |(ended, _)| ended) + 1;
        lost = Some(Lost { from, to: anchored, behind_the_head: false });
    }
    if let Some(head) = &head {
        if head.seq > last_seq {
            let to = lost.map_or(head.seq, |lost| lost.to.max(head.seq));
            lost = Some(Lost { from: last_seq + 1, to, behind_the_head: true });
        } else if check.first_bad().is_none() && !is_end(head, &check, last_seq) {
            // Records behind the head's back, or a head that was set by hand.
            check.mark_bad(if head.seq < last_seq { head.seq + 1 } else { last_seq.max(1) });
        }
    }
    let astray = said.compare(jobs, last_seq);
    let mut found = Verification {
        verdict: Verdict::Whole,
        first_bad: check.first_bad(),
        last_seq,
        last_anchored,
        reanchored: said.reanchored.map(|again| again.seq),
        lost,
        detail: String::new(),
        records,
        astray: astray.iter().map(|one| (one.flush, one.state.clone())).collect(),
    };
    let missing = if head.is_none() {
        Some("The head row of the record is missing.".to_owned())
    } else {
        unreadable.map(|cause| format!("The chain itself is whole, but it cannot be told whether its end is missing: {cause}."))
    };
    conclude(&mut found, astray.into_iter().min_by_key(|one| one.seq), missing, said.reanchored);
    Ok(found)
}

/// The verdict, and what to tell people: the lowest exit code that is true. `missing` is what it would take to tell more.
fn conclude(found: &mut Verification, astray: Option<Astray>, missing: Option<String>, again: Option<Reanchored>) {
    (found.verdict, found.detail) = if let Some(bad) = found.first_bad {
        (Verdict::Tampered, format!("Record {bad} is not what was appended: something in or before it was changed or removed."))
    } else if let Some(Lost { from, to, .. }) = found.lost {
        // What the missing end said of flushes is missing, too.
        let goes_on = if found.last_seq >= from { format!(", and went on to {}", found.last_seq) } else { String::new() };
        let known = format!("The record ended at {}{goes_on}, but it was {to} long", from - 1);
        (Verdict::Truncated, format!("{known}: its end was cut off, or an older backup was restored."))
    } else if let Some(Astray { seq, detail, .. }) = astray {
        found.first_bad = Some(seq);
        (Verdict::Tampered, detail)
    } else if let Some(detail) = missing {
        (Verdict::CannotTell, detail)
    } else {
        let again = match again {
            None => String::new(),
            Some(Reanchored { seq, lost: Some((from, to)) }) => {
                format!(" It was anchored anew at record {seq}; what had been recorded as {from} to {to} before is lost.")
            }
            Some(Reanchored { seq, lost: None }) => {
                format!(" It was anchored anew at record {seq}, whose checkpoints before are set aside.")
            }
        };
        (Verdict::Whole, format!("The record is whole: {} records.{again}", found.records))
    };
}

/// Whether the head row is the end of the walked chain. The time before the first record is nobody's.
fn is_end(head: &Head, check: &ChainCheck, last_seq: i64) -> bool {
    head.seq == last_seq && head.hash[..] == check.last_hash()[..] && (last_seq == 0 || head.at.timestamp_micros() == check.last_at_us())
}

fn take(check: &mut ChainCheck, record: &Record, body: &Value) {
    check.take(&Link {
        seq: record.seq,
        at_us: record.at.timestamp_micros(),
        code: &record.code,
        canonical: &record.canonical,
        prev: &record.prev,
        hash: &record.hash,
        derived_agree: derived_agree(record, body),
    });
}

/// Whether the searchable columns say what the canonical bytes say.
fn derived_agree(record: &Record, body: &Value) -> bool {
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    text("actor") == Some(record.actor.as_str()) && text("target") == record.target.as_deref() && text("scope") == record.scope.as_deref()
}

/// Records that somebody verified. Only of a whole record: nothing should be appended behind a cut or to what was tampered with without need.
pub async fn record(pool: &PgPool, actor: &crate::domain::audit::Actor, found: &Verification) -> Result<(), sqlx::Error> {
    if found.verdict != Verdict::Whole {
        return Ok(());
    }
    let mut tx = pool.begin().await?;
    let body = json!({"verdict": found.verdict.as_str(), "records": found.records, "last_seq": found.last_seq, "last_anchored": found.last_anchored});
    audit::append(&mut tx, Code::AuditVerified, actor, &body).await?;
    tx.commit().await
}

/// The last verification that this process knows of.
#[derive(Clone, Debug)]
pub struct LastVerified {
    pub found: Verification,
    pub at: DateTime<Utc>,
}
