//! Verification: every link of the chain, the derived columns, the head, the checkpoints, and that each flush is in the state that its last
//! record says.

use super::checkpoints::{self, Checkpoint};
use crate::domain::audit::{ChainCheck, Code, Link, Verdict};
use crate::server::store::audit::{self, Filter, Record};
use crate::server::store::flushes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, PgPool};
use std::collections::HashMap;
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
    /// One sentence for people.
    #[serde(skip)]
    pub detail: String,
    #[serde(skip)]
    pub records: i64,
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
    Verification { verdict: Verdict::CannotTell, first_bad: None, last_seq: 0, last_anchored: None, detail, records: 0 }
}

async fn walk(conn: &mut PgConnection, mut notes: Vec<Checkpoint>, unreadable: Option<String>) -> Result<Verification, sqlx::Error> {
    notes.sort_by_key(|note| note.seq);
    // One snapshot for head and records.
    let mut tx = conn.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let head = audit::find_head(&mut tx).await?;
    let mut check = ChainCheck::default();
    let (mut last_seq, mut records, mut next_note) = (0, 0, 0);
    // By flush: the number of the last record that says a state, and that state.
    let mut told: HashMap<i64, (i64, String)> = HashMap::new();
    loop {
        let page = audit::list_after(&mut tx, &Filter::default(), last_seq, PAGE).await?;
        let Some(last) = page.last().map(|record| record.seq) else { break };
        for record in &page {
            records += 1;
            let body = serde_json::from_slice::<Value>(&record.canonical).unwrap_or_default();
            take(&mut check, record, &body);
            if let (Some(flush), Some(state)) = (body.get("flush").and_then(Value::as_i64), body.get("state").and_then(Value::as_str)) {
                told.insert(flush, (record.seq, state.to_owned()));
            }
            while let Some(note) = notes.get(next_note).filter(|note| note.seq <= record.seq) {
                // Number 0 is the empty chain; a note between two records is a gap that the walk names.
                if note.seq == record.seq && note.hash[..] != record.hash[..] {
                    check.mark_bad(record.seq);
                }
                next_note += 1;
            }
        }
        last_seq = last;
    }
    let jobs = flushes::list_states(&mut tx).await?;
    tx.commit().await?;
    let last_anchored = notes.last().map(|note| note.seq);
    let mut cut = last_anchored.filter(|anchored| *anchored > last_seq);
    if let Some(head) = &head {
        if head.seq > last_seq {
            cut = cut.max(Some(head.seq));
        } else if check.first_bad().is_none() && (head.seq < last_seq || head.hash[..] != check.last_hash()[..]) {
            // Records behind the head's back, or a head that was set by hand.
            check.mark_bad(if head.seq < last_seq { head.seq + 1 } else { last_seq.max(1) });
        }
    }
    let chain_bad = check.first_bad();
    let mut astray = None;
    // Where the end is missing, what it said of flushes is missing too.
    for (flush, state) in jobs.into_iter().filter(|_| chain_bad.is_none() && cut.is_none()) {
        if let Some((seq, said)) = told.get(&flush).filter(|(_, said)| *said != state) {
            check.mark_bad(*seq);
            astray.get_or_insert_with(|| {
                format!("Flush {flush} is {state} in its own table, but record {seq}, the last about it, says {said}.")
            });
        }
    }
    let found = |verdict, detail| Verification { verdict, first_bad: check.first_bad(), last_seq, last_anchored, detail, records };
    Ok(if let Some(astray) = astray {
        found(Verdict::Tampered, astray)
    } else if let Some(bad) = chain_bad {
        found(Verdict::Tampered, format!("Record {bad} is not what was appended: something in or before it was changed or removed."))
    } else if let Some(known) = cut {
        found(
            Verdict::Truncated,
            format!("The record ends at {last_seq}, but it was {known} long: its end was cut off, or an older backup was restored."),
        )
    } else if head.is_none() {
        found(Verdict::CannotTell, "The head row of the record is missing.".to_owned())
    } else if let Some(cause) = unreadable {
        found(Verdict::CannotTell, format!("The chain itself is whole, but it cannot be told whether its end is missing: {cause}."))
    } else {
        found(Verdict::Whole, format!("The record is whole: {records} records."))
    })
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

/// Records that somebody verified. Only of a whole record: appending behind a cut would turn it into a gap.
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
