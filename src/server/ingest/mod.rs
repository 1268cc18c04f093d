//! Events in: held to the rules, put to their prefix, written in groups. Every way in (HTTP, later streams and collectors, the demo's history)
//! ends in [`Ingest::submit`], which answers only after the commit.

mod commit;
mod intake;
pub mod parse;
mod prepare;
mod rates;
mod registry;
mod standing;

pub use parse::{BodyError, EVENTS_MAX, Format};
pub use prepare::{LISTED_MAX, Prepared, Rejected};
pub use registry::{Declared, OTHER_PATH, OVERFLOW, PREFIXES_MAX, READ_PATHS_MAX, Registry, UNCLASSIFIED};
pub use standing::Standing;

use crate::domain::event::{Ages, Origin, RawEvent};
use crate::server::clock::Clock;
use crate::server::config::Rate;
use crate::server::store::events as store;
use chrono::{DateTime, Utc};
use commit::{Submission, Written};
use intake::Intake;
use prepare::Context;
use rates::Rates;
use registry::ReadPaths;
use sqlx::PgPool;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

/// Requests that wait for the writers.
const QUEUE: usize = 256;
/// Their rows, in KiB of memory.
const QUEUE_KIB: usize = 24 * 1024;
/// How long a request waits for room.
const ROOM_PATIENCE: Duration = Duration::from_secs(1);
/// How long events that did not come by request wait for their commit.
const PATIENCE: Duration = Duration::from_secs(4);

/// Who sends.
#[derive(Clone, Debug)]
pub struct Sender {
    pub source_id: i64,
    pub source: String,
    /// The only target it may speak of; `None`: any.
    pub target: Option<String>,
    pub origin: Origin,
    /// Whose rate its events count against; `None`: nobody's.
    pub token: Option<String>,
}

impl Sender {
    pub fn new(source: impl Into<String>, target: Option<String>, origin: Origin) -> Self {
        let source = source.into();
        Self { source_id: store::source_id(&source), source, target, origin, token: None }
    }

    /// Holds what is sent to the rate of this token.
    #[must_use]
    pub fn limited_as(self, token: String) -> Self {
        Self { token: Some(token), ..self }
    }
}

/// What became of a request's events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    pub accepted: u64,
    pub duplicates: u64,
    /// In the order of the request.
    pub rejected: Vec<Rejected>,
}

/// Why nothing of a request was taken. Sending it again is always safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The token sends more than it may.
    #[error(
        "This token sends more events than its rate allows (`rate` and `burst` of [ingest]). Nothing of this request was taken; send it again in {retry_after_s} s."
    )]
    TooFast { retry_after_s: u32 },
    /// The writers are behind.
    #[error("More events are waiting to be written than there is room for. Nothing of this request was taken; send it again.")]
    Busy,
    /// It may have been written nevertheless: what is sent again is then a duplicate.
    #[error(
        "Postgres does not answer in time, so nobody knows whether the events are committed. Send them again: what was written nevertheless counts once."
    )]
    Away,
}

/// The way in. Cheap to clone.
#[derive(Clone)]
pub struct Ingest(Arc<Inner>);

struct Inner {
    queue: mpsc::Sender<Submission>,
    room: Arc<Semaphore>,
    registry: RwLock<Arc<Registry>>,
    read_paths: ReadPaths,
    intake: Intake,
    rates: Rates,
    standing: Standing,
    clock: Clock,
    /// This process, as it signs rollups, leases and heartbeats.
    writer: i64,
    started_at: DateTime<Utc>,
    pool: PgPool,
}

impl Ingest {
    /// Starts the writers. Nothing is asked of Postgres before the first event.
    pub fn start(pool: PgPool, clock: Clock, registry: Registry, rate: Rate) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let started_at = clock.now();
        let inner = Inner {
            queue,
            room: Arc::new(Semaphore::new(QUEUE_KIB)),
            registry: RwLock::new(Arc::new(registry)),
            read_paths: ReadPaths::default(),
            intake: Intake::default(),
            rates: Rates::new(rate),
            standing: Standing::default(),
            clock,
            writer: rand::random::<i64>() & i64::MAX,
            started_at,
            pool,
        };
        let ingest = Self(Arc::new(inner));
        commit::start(&ingest, waiting);
        ingest
    }

    /// Puts another configuration's targets and prefixes in force.
    pub fn replace_registry(&self, registry: Registry) {
        *self.0.registry.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(registry);
    }

    /// Puts another configuration's rate in force.
    pub fn replace_rate(&self, rate: Rate) {
        self.0.rates.replace(rate);
    }

    /// Lets a request in, before anything of it is read, where its token may send at all. It counts as an event.
    pub fn admit(&self, sender: &Sender) -> Result<(), NotTaken> {
        self.count(sender, 1)
    }

    /// Counts a request's events, of which [`Ingest::admit`] has counted one.
    fn count_rest(&self, sender: &Sender, prepared: &Prepared) -> Result<(), NotTaken> {
        self.count(sender, prepared.count().saturating_sub(1))
    }

    fn count(&self, sender: &Sender, events: usize) -> Result<(), NotTaken> {
        let Some(token) = &sender.token else { return Ok(()) };
        self.0.rates.count(token, events).map_err(|retry_after_s| NotTaken::TooFast { retry_after_s })
    }

    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.0.registry.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// This process' number.
    pub fn writer(&self) -> i64 {
        self.0.writer
    }

    /// Since when this process takes events in.
    pub fn started_at(&self) -> DateTime<Utc> {
        self.0.started_at
    }

    /// Whether events can be committed, as far as is known.
    pub fn standing(&self) -> &Standing {
        &self.0.standing
    }

    /// Takes a body of events in, or says by the `deadline` that it cannot.
    pub async fn submit(&self, sender: &Sender, body: &[u8], format: Format, ages: Ages, deadline: Instant) -> Result<Taken, NotTaken> {
        if self.0.standing.is_away() {
            return Err(NotTaken::Away);
        }
        let registry = self.registry();
        let context = self.context(sender, &registry, ages);
        let prepared = prepare::prepare(body, format, &context)?;
        self.count_rest(sender, &prepared)?;
        self.write(sender, prepared, deadline).await
    }

    /// Takes events in that were never text: the demo's history, collectors.
    pub async fn submit_events<'a>(
        &self,
        sender: &Sender,
        events: impl IntoIterator<Item = RawEvent<'a>>,
        ages: Ages,
    ) -> Result<Taken, NotTaken> {
        if self.0.standing.is_away() {
            return Err(NotTaken::Away);
        }
        let registry = self.registry();
        let context = self.context(sender, &registry, ages);
        let mut prepared = Prepared::default();
        for event in events {
            prepared.add(event, &context);
        }
        self.write(sender, prepared, Instant::now() + PATIENCE).await
    }

    fn context<'c>(&'c self, sender: &'c Sender, registry: &'c Registry, ages: Ages) -> Context<'c> {
        Context { sender, registry, read_paths: &self.0.read_paths, now: self.0.clock.now(), ages }
    }

    async fn write(&self, sender: &Sender, mut prepared: Prepared, deadline: Instant) -> Result<Taken, NotTaken> {
        let mut taken = Taken { accepted: 0, duplicates: prepared.duplicates, rejected: std::mem::take(&mut prepared.rejected) };
        let newest_at_us = prepared.newest_at_us;
        if !prepared.rows.is_empty() {
            let written = self.queue(prepared, deadline).await?;
            taken.accepted = written.accepted;
            taken.duplicates += written.duplicates;
            taken.rejected.extend(written.rejected);
            taken.rejected.sort_by_key(|rejected| rejected.index);
        }
        self.0.intake.note(sender, self.0.clock.now(), newest_at_us, &taken);
        Ok(taken)
    }

    async fn queue(&self, prepared: Prepared, deadline: Instant) -> Result<Written, NotTaken> {
        let weight = u32::try_from(prepared.weight().div_ceil(1024).clamp(1, QUEUE_KIB)).unwrap_or(1);
        let room = Arc::clone(&self.0.room).acquire_many_owned(weight);
        let room = tokio::time::timeout_at(deadline.min(Instant::now() + ROOM_PATIENCE), room)
            .await
            .map_err(|_| NotTaken::Busy)?
            .map_err(|_| NotTaken::Away)?;
        let (reply, answer) = oneshot::channel();
        self.0.queue.try_send(Submission { prepared, reply, room }).map_err(|full| match full {
            mpsc::error::TrySendError::Full(_) => NotTaken::Busy,
            mpsc::error::TrySendError::Closed(_) => NotTaken::Away,
        })?;
        // Whether Postgres is away is for the writers to say: whoever only waited long in a queue does not know.
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(written)) => written.ok_or(NotTaken::Away),
            Ok(Err(_)) | Err(_) => Err(NotTaken::Away),
        }
    }

    /// Readies the tables: names, partitions, the read paths known so far. Once at start, and after the configuration changed.
    pub async fn register(&self) -> Result<(), sqlx::Error> {
        let mut conn = self.0.pool.acquire().await?;
        let (targets, prefixes) = self.registry().rows();
        store::registry::insert_registry(&mut conn, &targets, &prefixes, self.0.clock.now()).await?;
        self.0.read_paths.load(store::registry::list_read_paths(&mut conn).await?);
        Ok(())
    }

    /// Writes down what was taken in and refused, new read paths, and that this process lives. Called every few seconds.
    pub async fn note_down(&self) -> Result<(), sqlx::Error> {
        let mut conn = self.0.pool.acquire().await?;
        let now = self.0.clock.now();
        let paths = self.0.read_paths.take_new();
        if !paths.is_empty()
            && let Err(cause) = store::registry::insert_read_paths(&mut conn, &paths).await
        {
            self.0.read_paths.put_back(paths);
            return Err(cause);
        }
        self.0.intake.write(&mut conn).await?;
        store::quality::mark_alive(&mut conn, self.0.writer, now).await
    }

    /// While events cannot be committed: tries whether they can again, and if so notes the gap.
    pub async fn try_again(&self) -> Result<(), sqlx::Error> {
        let Some(since) = self.0.standing.away_since() else { return Ok(()) };
        // Out of the pool for good: a try that hangs is dropped with its connection.
        let mut conn = self.0.pool.acquire().await?.detach();
        let now = self.0.clock.now();
        // A write, not a question: a full disk or a standby answers questions.
        store::quality::mark_alive(&mut conn, self.0.writer, now).await?;
        store::quality::insert_gap(&mut conn, 0, since, now, "Postgres did not answer; events were refused meanwhile").await?;
        self.0.standing.note_back();
        tracing::info!(away.since = %since, "events are taken in again");
        Ok(())
    }
}
