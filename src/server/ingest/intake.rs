//! Counts of what came in and what became of it, by source and five minutes. Kept in memory and written every few seconds, outside the
//! batches: a counter row in each batch's transaction would make batches of one source wait for each other.

use super::{Sender, Taken};
use crate::server::store::events::quality::{self, Counted, Seen};
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// The span of one count.
const SPAN_S: i64 = 300;

#[derive(Debug, Default)]
pub(super) struct Intake(Mutex<Notes>);

#[derive(Debug, Default)]
struct Notes {
    counts: BTreeMap<(i64, DateTime<Utc>, &'static str), u64>,
    sources: BTreeMap<i64, Seen>,
}

impl Intake {
    pub fn note(&self, sender: &Sender, now: DateTime<Utc>, newest_at_us: i64, taken: &Taken) {
        let bucket =
            now - TimeDelta::seconds(now.timestamp().rem_euclid(SPAN_S)) - TimeDelta::nanoseconds(i64::from(now.timestamp_subsec_nanos()));
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = |code, n| {
            if n > 0 {
                *notes.counts.entry((sender.source_id, bucket, code)).or_default() += n;
            }
        };
        count(quality::ACCEPTED, taken.accepted);
        count(quality::DUPLICATE, taken.duplicates);
        for rejected in &taken.rejected {
            count(rejected.code.as_str(), 1);
        }
        if taken.accepted > 0
            && let Some(newest_at) = DateTime::from_timestamp_micros(newest_at_us)
        {
            let seen = notes.sources.entry(sender.source_id).or_insert_with(|| Seen {
                source_id: sender.source_id,
                name: sender.source.clone(),
                seen_at: now,
                newest_at,
                lag_ms: 0,
            });
            seen.seen_at = now;
            seen.newest_at = seen.newest_at.max(newest_at);
            seen.lag_ms = (now - newest_at).num_milliseconds().max(0);
        }
    }

    pub async fn write(&self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        let notes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let counts: Vec<Counted> =
            notes.counts.iter().map(|(&(source_id, bucket, code), &n)| Counted { source_id, bucket, code: code.to_owned(), n }).collect();
        let sources: Vec<Seen> = notes.sources.values().cloned().collect();
        if let Err(cause) = quality::mark_intake(conn, &counts, &sources).await {
            let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for (key, n) in notes.counts {
                *now.counts.entry(key).or_default() += n;
            }
            for (source_id, seen) in notes.sources {
                now.sources.entry(source_id).or_insert(seen);
            }
            return Err(cause);
        }
        Ok(())
    }
}
