//! One master's collector: holds the lease, keeps a thread listening while it does, and submits what that counted.

use super::listen::{Listener, Told};
use crate::domain::event::{Ages, Origin};
use crate::server::ingest::{NotTaken, Sender};
use crate::server::redis::Speaker;
use crate::server::service::listening::{self, Lease, State};
use crate::server::state::AppState;
use chrono::{DateTime, Utc};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How often the lease is asked for and renewed, and what waits is tried again.
const RENEW: Duration = Duration::from_secs(3);
/// What the thread may have said and not been listened to.
const SAID: usize = 64;
/// What is kept while Postgres is away: an hour of windows.
const KEPT: usize = 360;

/// Collects while the lease can be had, until the end. Gives back up to when everything was heard, if it listened last.
pub(super) async fn collect(
    app: AppState,
    target: String,
    speaker: Speaker,
    mut heard_until: Option<DateTime<Utc>>,
    ending: CancellationToken,
) -> Option<DateTime<Utc>> {
    let address = speaker.address();
    let mut ticks = tokio::time::interval(RENEW);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while ending.run_until_cancelled(ticks.tick()).await.is_some() {
        match listening::take_lease(&app, &target, &address, false).await {
            Ok(Lease::Elsewhere) => app.listening.note(&target, &address, State::Elsewhere),
            Ok(Lease::Held) => {}
            Ok(Lease::Taken { blind_from }) => {
                let before = heard_until.take().max(blind_from);
                heard_until = Held::new(&app, &target, &speaker).listen(before, &ending).await;
            }
            Err(cause) => tracing::debug!(redis.target = target, error.cause = %cause, "the lease on listening cannot be asked for"),
        }
    }
    heard_until
}

/// A lease that is ours, and what was heard under it and is not committed.
struct Held<'a> {
    app: &'a AppState,
    target: &'a str,
    speaker: &'a Speaker,
    address: String,
    sender: Sender,
    waiting: VecDeque<Told>,
}

impl<'a> Held<'a> {
    fn new(app: &'a AppState, target: &'a str, speaker: &'a Speaker) -> Self {
        let address = speaker.address();
        let sender = Sender::new(format!("keyspace.{target}.{address}"), Some(target.to_owned()), Origin::Keyspace);
        Self { app, target, speaker, address, sender, waiting: VecDeque::new() }
    }

    /// Listens until the lease is lost or the end.
    async fn listen(mut self, before: Option<DateTime<Utc>>, ending: &CancellationToken) -> Option<DateTime<Utc>> {
        let (tell, mut told) = mpsc::channel(SAID);
        let stop = ending.child_token();
        let listener =
            Listener { app: self.app.clone(), target: self.target.to_owned(), speaker: self.speaker.clone(), tell, ending: stop.clone() };
        let thread = tokio::task::spawn_blocking(move || listener.run(before));
        let mut ticks = tokio::time::interval(RENEW);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut lost = false;
        loop {
            tokio::select! {
                said = told.recv() => {
                    let Some(said) = said else { break };
                    self.keep(said);
                    self.submit().await;
                }
                _ = ticks.tick(), if !stop.is_cancelled() => {
                    match listening::take_lease(self.app, self.target, &self.address, true).await {
                        Ok(Lease::Elsewhere) => {
                            lost = true;
                            break;
                        }
                        // While Postgres is away nobody can take it from us.
                        Ok(_) | Err(_) => self.submit().await,
                    }
                }
            }
        }
        stop.cancel();
        // Another replica counts the window under way from its begin: what this one counted of it is left out.
        drop(told);
        let heard_until = thread.await.ok().flatten();
        self.submit().await;
        if lost {
            self.app.listening.note(self.target, &self.address, State::Elsewhere);
        } else {
            let _ = listening::give_lease_back(self.app, self.target, &self.address).await;
        }
        heard_until
    }

    fn keep(&mut self, said: Told) {
        if self.waiting.len() == KEPT {
            tracing::warn!(redis.target = self.target, "the oldest misses that wait for Postgres are dropped");
            self.waiting.pop_front();
        }
        self.waiting.push_back(said);
    }

    /// Commits what waits, oldest first, as far as it can.
    async fn submit(&mut self) {
        while let Some(next) = self.waiting.front() {
            let done = match next {
                Told::Counted(window) => {
                    let events = window.events(self.target, &self.address);
                    match self.app.ingest.submit_events(&self.sender, events, Ages::LIVE).await {
                        Ok(taken) => {
                            if let Some(rejected) = taken.rejected.first() {
                                let code = rejected.code.as_str();
                                tracing::warn!(redis.target = self.target, rejected.code = code, rejected.detail = %rejected.detail, "misses were rejected");
                            }
                            true
                        }
                        Err(NotTaken::Busy | NotTaken::Away | NotTaken::TooFast { .. }) => false,
                        Err(NotTaken::Body(_)) => true,
                    }
                }
                Told::Blind { from, to, why } => listening::note_blind(self.app, self.target, *from, *to, why).await.is_ok(),
            };
            if !done {
                return;
            }
            self.waiting.pop_front();
        }
    }
}
