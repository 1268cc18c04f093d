//! What the record says of itself and of flushes, gathered while it is walked.

use super::super::checkpoints::Checkpoint;
use crate::domain::audit::Code;
use crate::server::store::audit::Record;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use std::collections::HashMap;

#[derive(Default)]
pub(super) struct Said {
    cuts: Vec<Cut>,
    /// The last time that it was anchored anew.
    pub reanchored: Option<Reanchored>,
    /// By flush: the number of the last record that says a state, and that state.
    told: HashMap<i64, (i64, String)>,
}

/// `audit.cut_noticed`: the record ended at `ended`, while a checkpoint of number `anchored` and with that hash was known.
struct Cut {
    ended: i64,
    anchored: i64,
    hash: String,
}

/// `audit.reanchored`: its own number, and the first and last of the records it gave up.
#[derive(Clone, Copy)]
pub(super) struct Reanchored {
    pub seq: i64,
    pub lost: Option<(i64, i64)>,
}

/// A flush whose row and whose last record do not say the same.
pub(super) struct Astray {
    pub flush: i64,
    /// As its row says, where there is one.
    pub state: Option<String>,
    /// The record by which it shows.
    pub seq: i64,
    pub detail: String,
}

impl Said {
    pub(super) fn take(&mut self, record: &Record, body: &Value) {
        let number = |name: &str| body.get(name).and_then(Value::as_i64);
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        if let (Some(flush), Some(state)) = (number("flush"), text("state")) {
            self.told.insert(flush, (record.seq, state));
        }
        if record.code == Code::AuditCutNoticed.as_str()
            && let (Some(ended), Some(anchored), Some(hash)) = (number("last_seq"), number("last_anchored"), text("last_anchored_hash"))
        {
            self.cuts.push(Cut { ended, anchored, hash });
        }
        if record.code == Code::AuditReanchored.as_str() {
            self.reanchored = Some(Reanchored { seq: record.seq, lost: number("lost_from").zip(number("lost_to")) });
            self.accept(record.seq, body);
        }
    }

    /// What of flushes was accepted as it stood when the record was anchored anew.
    fn accept(&mut self, seq: i64, body: &Value) {
        for flush in body.get("flushes").and_then(Value::as_array).into_iter().flatten() {
            let Some(id) = flush.get("id").and_then(Value::as_i64) else { continue };
            match flush.get("state").and_then(Value::as_str) {
                Some(state) => self.told.insert(id, (seq, state.to_owned())),
                None => self.told.remove(&id),
            };
        }
    }

    /// Where the record was cut, and how long it had been, so that a checkpoint of number `seq` speaks of what is missing.
    pub(super) fn cut_before(&self, seq: i64, notes: &[Checkpoint]) -> Option<(i64, i64)> {
        let is_known = |cut: &Cut| notes.iter().any(|note| note.seq == cut.anchored && BASE64_STANDARD.encode(note.hash) == cut.hash);
        let cut = self.cuts.iter().find(|cut| cut.ended < seq && seq <= cut.anchored && is_known(cut))?;
        Some((cut.ended, cut.anchored))
    }

    /// Holds the flushes' rows to what the record says of them.
    pub(super) fn compare(&self, jobs: Vec<(i64, String)>, last_seq: i64) -> Vec<Astray> {
        let (mut astray, mut told) = (Vec::new(), self.told.clone());
        for (flush, state) in jobs {
            let (seq, detail) = match told.remove(&flush) {
                Some((_, said)) if said == state => continue,
                Some((seq, said)) => {
                    (seq, format!("Flush {flush} is {state} in its own table, but record {seq}, the last about it, says {said}."))
                }
                None => (last_seq.max(1), format!("Flush {flush} is {state} in its own table, but no record says anything of it.")),
            };
            astray.push(Astray { flush, state: Some(state), seq, detail });
        }
        astray.extend(told.into_iter().map(|(flush, (seq, said))| {
            let detail = format!("Record {seq} says that flush {flush} is {said}, but there is no such flush in its own table.");
            Astray { flush, state: None, seq, detail }
        }));
        astray
    }
}
