//! The shop's past, taken in as events are: by the same code, at the same prefixes, only with older ages allowed.

use super::shop::history::History;
use crate::domain::event::{Ages, Origin};
use crate::server::ingest::{EVENTS_MAX, Format, Ingest, NotTaken, Sender};
use crate::server::service::rollups;
use crate::server::state::AppState;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Batches that are told and not yet taken in; telling and taking in go on side by side.
const WAITING: usize = 4;
/// A batch that the writers have no room for is sent again, as any application would.
const TRIES: u32 = 40;
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// How long one body may wait for its commit.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub accepted: u64,
    /// Of prefixes that this configuration does not register.
    pub rejected: u64,
    pub took: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("the history could not be taken in: {0}")]
    NotTaken(#[from] NotTaken),
    #[error("the history could not be stored: {0}")]
    Store(#[from] sqlx::Error),
    #[error("the history could not be told: {0}")]
    Written(#[from] serde_json::Error),
}

/// Tells the last `days` up to `opens_at` and folds them into figures. Told again after it was cut off, what is known already counts once.
pub async fn tell(app: &AppState, seed: u64, opens_at: DateTime<Utc>, days: u32) -> Result<Told, HistoryError> {
    let begun = Instant::now();
    let length = TimeDelta::days(i64::from(days));
    app.ingest.register().await?;
    let (sender, mut batches) = mpsc::channel(WAITING);
    let telling = tokio::task::spawn_blocking(move || {
        for (service, events) in History::new(seed, opens_at, days) {
            for part in events.chunks(EVENTS_MAX) {
                let body = body_of(part)?;
                if sender.blocking_send((service, body)).is_err() {
                    return Ok(());
                }
            }
        }
        Ok::<(), serde_json::Error>(())
    });
    let ages = Ages { behind: app.clock.now() - opens_at + length + TimeDelta::days(1), ..Ages::LIVE };
    let mut told = Told::default();
    let mut under_way = tokio::task::JoinSet::new();
    while let Some((service, body)) = batches.recv().await {
        if under_way.len() >= 2
            && let Some(taken) = under_way.join_next().await
        {
            told.add(taken)?;
        }
        let ingest = app.ingest.clone();
        under_way.spawn(async move { take_in(&ingest, &Sender::new(service.name(), None, Origin::App), &body, ages).await });
    }
    while let Some(taken) = under_way.join_next().await {
        told.add(taken)?;
    }
    match telling.await {
        Ok(written) => written?,
        Err(broken) => std::panic::resume_unwind(broken.into_panic()),
    }
    let (from, to) = History::gap(opens_at);
    if from > opens_at - length {
        rollups::note_gap(app, from, to, "event collector down").await?;
    }
    rollups::compact(app).await?;
    told.took = begun.elapsed();
    Ok(told)
}

impl Told {
    fn add(&mut self, taken: Result<Result<(u64, u64), NotTaken>, tokio::task::JoinError>) -> Result<(), NotTaken> {
        let (accepted, rejected) = match taken {
            Ok(taken) => taken?,
            Err(broken) => std::panic::resume_unwind(broken.into_panic()),
        };
        self.accepted += accepted;
        self.rejected += rejected;
        Ok(())
    }
}

fn body_of(events: &[impl Serialize]) -> Result<Vec<u8>, serde_json::Error> {
    let mut body = Vec::with_capacity(events.len() * 300);
    for event in events {
        serde_json::to_writer(&mut body, event)?;
        body.push(b'\n');
    }
    Ok(body)
}

async fn take_in(ingest: &Ingest, sender: &Sender, body: &[u8], ages: Ages) -> Result<(u64, u64), NotTaken> {
    let mut tries = 0;
    loop {
        match ingest.submit(sender, body, Format::Ndjson, ages, Instant::now() + PATIENCE).await {
            Ok(taken) => {
                if let Some(rejected) = taken.rejected.first() {
                    tracing::debug!(rejected.code = rejected.code.as_str(), rejected.detail = %rejected.detail, "part of the history is rejected");
                }
                return Ok((taken.accepted + taken.duplicates, taken.rejected.len() as u64));
            }
            Err(NotTaken::Busy | NotTaken::Away) if tries < TRIES => {
                tries += 1;
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            Err(error) => return Err(error),
        }
    }
}
