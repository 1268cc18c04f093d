//! Group commit: a writer takes what waits, up to a limit, and writes it in one transaction. Requests that come meanwhile make up the next
//! batch, so batches grow with the load and nobody lingers when there is none.

use super::prepare::{Prepared, Rejected, Row};
use super::{Ingest, Inner};
use crate::domain::event::RejectCode;
use crate::domain::event::tally::Tally;
use crate::server::store::events::raw::{self, Identity};
use crate::server::store::events::rollups;
use sqlx::{Connection, PgConnection};
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::{Mutex, OwnedSemaphorePermit, mpsc, oneshot};

/// Writers, each with a connection of its own: while one waits for the disk, the other works.
const WRITERS: usize = 2;
/// Rows after which a batch takes no further request.
const BATCH_ROWS: usize = 10_000;
/// A batch that takes longer is given up: its requests are told that Postgres is away.
const BATCH_PATIENCE: Duration = Duration::from_secs(3);
/// Further tries of a batch that lost a deadlock or a serialization.
const RETRIES: u32 = 5;

/// A request's events on their way to the disk.
pub(super) struct Submission {
    pub prepared: Prepared,
    /// `None`: Postgres is away.
    pub reply: oneshot::Sender<Option<Written>>,
    /// Given back with the reply.
    pub room: OwnedSemaphorePermit,
}

/// What became of a request's rows.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub accepted: u64,
    pub duplicates: u64,
    pub rejected: Vec<Rejected>,
}

/// The number of this process' next delta.
static SEQUENCE: AtomicI64 = AtomicI64::new(0);

pub(super) fn start(ingest: &Ingest, waiting: mpsc::Receiver<Submission>) {
    let waiting = Arc::new(Mutex::new(waiting));
    for _ in 0..WRITERS {
        tokio::spawn(write_batches(Arc::downgrade(&ingest.0), Arc::clone(&waiting)));
    }
}

/// A writer's life: ends with the last handle on ingest.
async fn write_batches(ingest: Weak<Inner>, waiting: Arc<Mutex<mpsc::Receiver<Submission>>>) {
    let mut writer = Some(Writer::default());
    loop {
        let batch = {
            let mut waiting = waiting.lock().await;
            let Some(first) = waiting.recv().await else { return };
            let mut rows = first.prepared.rows.len();
            let mut batch = vec![first];
            while rows < BATCH_ROWS {
                let Ok(next) = waiting.try_recv() else { break };
                rows += next.prepared.rows.len();
                batch.push(next);
            }
            batch
        };
        let Some(inner) = ingest.upgrade() else { return };
        if inner.standing.is_away() {
            for submission in batch {
                let _ = submission.reply.send(None);
            }
            continue;
        }
        // In a task of its own, which runs to its end whatever becomes of us: sqlx's transactions do not survive a dropped future.
        let (mut taken, pool) = (writer.take().unwrap_or_default(), inner.pool.clone());
        let identity = inner.writer;
        let (parts, replies): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|Submission { prepared, reply, room }| (prepared, (reply, room))).unzip();
        let mut task = tokio::spawn(async move {
            let written = taken.write(&pool, identity, &parts).await;
            (taken, written)
        });
        match tokio::time::timeout(BATCH_PATIENCE, &mut task).await {
            Ok(Ok((back, Ok(written)))) => {
                writer = Some(back);
                for ((reply, _room), written) in replies.into_iter().zip(written) {
                    // Whoever asked may have gone.
                    let _ = reply.send(Some(written));
                }
            }
            outcome => {
                match outcome {
                    Ok(Ok((_, Err(cause)))) => tracing::error!(error.cause = %cause, "a batch of events could not be written"),
                    Ok(Err(panic)) => tracing::error!(error.cause = %panic, "a batch of events could not be written"),
                    _ => {
                        tracing::error!("a batch of events was not written in time");
                        task.abort();
                    }
                }
                inner.standing.note_away(inner.clock.now());
                for (reply, _room) in replies {
                    let _ = reply.send(None);
                }
            }
        }
    }
}

/// A writer's connection and what it knows to be there.
#[derive(Default)]
struct Writer {
    conn: Option<PgConnection>,
    days: HashSet<i32>,
}

/// A row of the batch: its request, and its place there.
type Slot<'p> = (usize, &'p Row, &'p [u8]);

impl Writer {
    async fn write(&mut self, pool: &sqlx::PgPool, identity: i64, parts: &[Prepared]) -> Result<Vec<Written>, sqlx::Error> {
        let mut slots: Vec<Slot<'_>> =
            parts.iter().enumerate().flat_map(|(at, part)| part.rows.iter().map(move |row| (at, row, part.row(row)))).collect();
        // By key: two writers with overlapping retries would otherwise wait for each other. Stable, so that the first request's event counts.
        slots.sort_by_key(|(_, row, _)| row.identity);
        let mut written: Vec<Written> = parts.iter().map(|_| Written::default()).collect();
        let mut last: Option<Identity> = None;
        slots.retain(|(at, row, _)| {
            let again = last == Some(row.identity);
            last = Some(row.identity);
            written[*at].duplicates += u64::from(again);
            !again
        });
        let mut ranges = vec![slots.as_slice()];
        while let Some(slots) = ranges.pop() {
            match self.commit(pool, identity, slots).await {
                Ok(new) => {
                    for (at, row, _) in slots {
                        let counted = if new.as_ref().is_none_or(|new| new.contains(&row.identity)) {
                            &mut written[*at].accepted
                        } else {
                            &mut written[*at].duplicates
                        };
                        *counted += 1;
                    }
                }
                // Something in a row that no rule foresaw: halve until it stands alone, so that it blocks no neighbour.
                Err(cause) if is_bad_row(&cause) => {
                    if let [(at, row, _)] = slots {
                        tracing::warn!(error.cause = %cause, "an event was refused by Postgres");
                        let detail = "The store refused this event's values.".to_owned();
                        written[*at].rejected.push(Rejected { index: row.index, code: RejectCode::Malformed, detail });
                    } else {
                        let (left, right) = slots.split_at(slots.len() / 2);
                        ranges.extend([right, left]);
                    }
                }
                Err(cause) => {
                    self.conn = None;
                    return Err(cause);
                }
            }
        }
        Ok(written)
    }

    /// Commits rows whose keys ascend. `None`: all of them were new.
    async fn commit(&mut self, pool: &sqlx::PgPool, identity: i64, slots: &[Slot<'_>]) -> Result<Option<HashSet<Identity>>, sqlx::Error> {
        let mut attempts = 0;
        loop {
            let fresh = self.conn.is_none();
            let tried = match self.connection(pool, slots).await {
                Ok(()) => match &mut self.conn {
                    Some(conn) => transaction(conn, identity, slots).await,
                    None => Err(Failed::Before(sqlx::Error::PoolClosed)),
                },
                Err(cause) => Err(Failed::Before(cause)),
            };
            attempts += 1;
            match tried {
                Ok(new) => return Ok(new),
                Err(Failed::Before(cause) | Failed::AtCommit(cause)) if is_retryable(&cause) && attempts <= RETRIES => {
                    tokio::time::sleep(Duration::from_millis(5 << attempts)).await;
                }
                // A connection that was closed while idle says nothing about Postgres now. Nothing was committed on it yet.
                Err(Failed::Before(cause)) if !fresh && is_connection(&cause) => self.conn = None,
                Err(Failed::Before(cause) | Failed::AtCommit(cause)) => return Err(cause),
            }
        }
    }

    async fn connection(&mut self, pool: &sqlx::PgPool, slots: &[Slot<'_>]) -> Result<(), sqlx::Error> {
        let conn = if let Some(conn) = &mut self.conn {
            conn
        } else {
            // Out of the pool for good: what is given up with a batch must not come back to anybody else.
            let mut conn = pool.acquire().await?.detach();
            raw::prepare_connection(&mut conn).await?;
            self.conn.insert(conn)
        };
        for (_, row, _) in slots {
            if !self.days.contains(&row.identity.day) {
                raw::ensure_day(conn, raw::calendar(row.identity.day)).await?;
                self.days.insert(row.identity.day);
            }
        }
        Ok(())
    }
}

/// Where a transaction failed: before its commit was asked for, nothing of it can be there.
enum Failed {
    Before(sqlx::Error),
    AtCommit(sqlx::Error),
}

impl From<sqlx::Error> for Failed {
    fn from(cause: sqlx::Error) -> Self {
        Failed::Before(cause)
    }
}

async fn transaction(conn: &mut PgConnection, identity: i64, slots: &[Slot<'_>]) -> Result<Option<HashSet<Identity>>, Failed> {
    let mut tx = conn.begin().await?;
    let mut hopeful = tx.begin().await?;
    let new = match raw::copy_all(&mut hopeful, slots.iter().map(|(_, _, bytes)| *bytes)).await {
        Ok(()) => {
            hopeful.commit().await?;
            None
        }
        Err(cause) if code(&cause).as_deref() == Some("23505") => {
            hopeful.rollback().await?;
            let new = raw::insert_new(&mut tx, slots.iter().map(|(_, _, bytes)| *bytes)).await?;
            Some(new.into_iter().collect::<HashSet<_>>())
        }
        Err(cause) => return Err(Failed::Before(cause)),
    };
    let mut deltas: BTreeMap<rollups::DeltaKey, Tally> = BTreeMap::new();
    for (_, row, _) in slots {
        if let Some((key, at_us, measure)) = &row.share
            && new.as_ref().is_none_or(|new| new.contains(&row.identity))
        {
            deltas.entry(*key).or_default().record(*at_us, measure);
        }
    }
    rollups::insert_deltas(&mut tx, &deltas, identity, SEQUENCE.fetch_add(1, Ordering::Relaxed)).await?;
    tx.commit().await.map_err(Failed::AtCommit)?;
    Ok(new)
}

fn code(cause: &sqlx::Error) -> Option<String> {
    Some(cause.as_database_error()?.code()?.into_owned())
}

/// Deadlock or serialization failure: the whole transaction is tried again.
fn is_retryable(cause: &sqlx::Error) -> bool {
    matches!(code(cause).as_deref(), Some("40P01" | "40001"))
}

/// A value that does not fit (22xxx), or breaks a constraint (23xxx).
fn is_bad_row(cause: &sqlx::Error) -> bool {
    code(cause).is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

fn is_connection(cause: &sqlx::Error) -> bool {
    match code(cause) {
        Some(code) => code.starts_with("57P") || code.starts_with("08"),
        None => !matches!(cause, sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed),
    }
}
