//! How a service of the shop tells Stalewatch: over HTTP with its own token, in batches, as any application would.

use super::{
    Service,
    event::{About, Event, What, uuid},
};
use crate::server::clock::Clock;
use chrono::{DateTime, Utc};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Events that wait to be sent; past it the newest are dropped and counted. Some minutes of an unreachable server.
const WAITING: usize = 8_192;
/// Events in one request.
const BATCH: usize = 500;
const SEND_EVERY: Duration = Duration::from_secs(1);
/// How often counted accesses become events.
const COUNTS_EVERY: Duration = Duration::from_secs(10);

/// What came of one read.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    Hit,
    Miss,
    /// Served although past its freshness, while it is refreshed: declared behaviour.
    StaleServed,
    Error,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    hits: u64,
    misses: u64,
    stale_served: u64,
    errors: u64,
}

/// Of what accesses are counted: a registered prefix, or, where none describes it, the key itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counted {
    Prefix(&'static str),
    Key(String),
}

/// One service's way out.
pub struct Reporter {
    sender: mpsc::Sender<Event>,
    counts: Mutex<BTreeMap<(Counted, &'static str), Counts>>,
    /// Upper half of this run's event ids: its start, and the service.
    run: u64,
    next: AtomicU64,
    dropped: AtomicU64,
    clock: Clock,
}

impl Reporter {
    /// Starts the sending task; it sends what is left and ends when `stop` is cancelled.
    pub fn start(
        service: Service,
        door: &str,
        token: String,
        clock: Clock,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> std::sync::Arc<Self> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let started = u64::try_from(clock.now().timestamp_millis()).unwrap_or_default();
        let reporter = std::sync::Arc::new(Self {
            sender,
            counts: Mutex::default(),
            run: started << 16 | service as u64,
            next: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            clock,
        });
        let http = Http {
            client: reqwest::Client::new(),
            door: format!("{}/api/v1/events", door.trim_end_matches('/')),
            token,
            service,
            complained: AtomicBool::new(false),
        };
        tasks.spawn(send_all(http, receiver, stop.clone()));
        let counting = std::sync::Arc::clone(&reporter);
        tasks.spawn(async move {
            let mut tick = tokio::time::interval(COUNTS_EVERY);
            tick.tick().await;
            while stop.run_until_cancelled(tick.tick()).await.is_some() {
                counting.send_counts();
            }
        });
        reporter
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// A fresh name: of an event, or of a mutation.
    pub fn id(&self) -> String {
        uuid(self.run, self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub fn send(&self, about: About, what: What) {
        let event = Event { id: self.id(), at: self.now(), about, what };
        if self.sender.try_send(event).is_err() && self.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!("the shop's events wait too long: some are dropped");
        }
    }

    pub fn count(&self, counted: Counted, read_path: &'static str, outcome: Outcome, times: u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = counts.entry((counted, read_path)).or_default();
        match outcome {
            Outcome::Hit => counts.hits += times,
            Outcome::Miss => counts.misses += times,
            Outcome::StaleServed => counts.stale_served += times,
            Outcome::Error => counts.errors += times,
        }
    }

    fn send_counts(&self) {
        let counts = std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        for ((counted, read_path), Counts { hits, misses, stale_served, errors }) in counts {
            let about = match counted {
                Counted::Prefix(prefix) => About::Prefix(prefix),
                Counted::Key(key) => About::Key(key),
            };
            self.send(about, What::Access { hits, misses, stale_served, errors, read_path });
        }
    }
}

struct Http {
    client: reqwest::Client,
    door: String,
    token: String,
    service: Service,
    /// Whether rejections were logged already.
    complained: AtomicBool,
}

/// What came of one request.
enum Sent {
    Taken,
    /// Try the same batch again after this long: event ids make that safe.
    Later(Duration),
    Refused,
}

impl Http {
    async fn send(&self, events: &[Event]) -> Sent {
        #[derive(serde::Serialize)]
        struct Body<'a> {
            events: &'a [Event],
        }
        let request = self.client.post(&self.door).bearer_auth(&self.token).timeout(Duration::from_secs(10)).json(&Body { events });
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                tracing::debug!(error.cause = %error, shop.service = self.service.name(), "events not delivered, will try again");
                return Sent::Later(Duration::from_secs(2));
            }
        };
        let status = response.status();
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        if status == 429 || status.is_server_error() {
            return Sent::Later(Duration::from_secs(retry_after.unwrap_or(2).clamp(1, 30)));
        }
        let body = response.text().await.unwrap_or_default();
        if !status.is_success() {
            tracing::error!(http.status = status.as_u16(), http.body = %body, shop.service = self.service.name(), "the shop's events are refused");
            return Sent::Refused;
        }
        let answer: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        if answer["rejected_total"].as_u64().unwrap_or_default() > 0 {
            // Under a configuration that does not know the shop's prefixes that is so in every batch: say it once.
            if self.complained.swap(true, Ordering::Relaxed) {
                tracing::debug!(http.body = %body, shop.service = self.service.name(), "some of the shop's events are rejected");
            } else {
                tracing::warn!(http.body = %body, shop.service = self.service.name(), "some of the shop's events are rejected");
            }
        }
        Sent::Taken
    }
}

async fn send_all(http: Http, mut receiver: mpsc::Receiver<Event>, stop: CancellationToken) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut tick = tokio::time::interval(SEND_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let stopping = tokio::select! {
            () = stop.cancelled() => true,
            _ = tick.tick() => false,
        };
        loop {
            while batch.len() < BATCH
                && let Ok(event) = receiver.try_recv()
            {
                batch.push(event);
            }
            if batch.is_empty() {
                break;
            }
            match http.send(&batch).await {
                Sent::Taken | Sent::Refused => batch.clear(),
                Sent::Later(_) if stopping => return,
                Sent::Later(wait) => {
                    if stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                        return;
                    }
                }
            }
        }
        if stopping {
            return;
        }
    }
}
