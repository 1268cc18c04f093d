//! The thread that listens to one master: connects, counts, connects again. Tells what it counted and when it heard nothing.

use super::window::{Window, next_window, window_of};
use crate::server::redis::{Ear, Fault, Speaker};
use crate::server::service::listening::State;
use crate::server::state::AppState;
use chrono::{DateTime, TimeDelta, Utc};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Between two looks when there is nothing to hear.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two tries to connect.
const AGAIN: Duration = Duration::from_millis(500);
/// Further behind than this, what waits is dropped: the connection is opened anew, and the span is told as blind.
const LATE_MAX: Duration = Duration::from_secs(5);
/// Silence that nobody needs to be told of: no longer than a window's edges are unsharp.
const UNNOTED: TimeDelta = TimeDelta::milliseconds(100);

/// What the thread has to say.
#[derive(Debug)]
pub(super) enum Told {
    Counted(Window),
    Blind { from: DateTime<Utc>, to: DateTime<Utc>, why: String },
}

/// One master of one target, and where to tell.
pub(super) struct Listener {
    pub app: AppState,
    pub target: String,
    pub speaker: Speaker,
    pub tell: mpsc::Sender<Told>,
    /// Ends the thread: it tells the window under way as far as it came.
    pub ending: CancellationToken,
}

impl Listener {
    /// Listens until it is ended, from the next whole window on. Gives back up to when everything was heard; `heard_until` is the same of whoever
    /// listened before.
    pub fn run(self, mut heard_until: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
        let mut window: Option<Window> = None;
        let mut why = "nobody listened to its keyspace events".to_owned();
        while !self.is_over() {
            let lost = match Ear::open(&self.speaker) {
                Ok(ear) => {
                    let now = self.now();
                    let since = window.as_ref().map_or_else(|| next_window(now), |window| window.begin.max(now));
                    if let Some(from) = heard_until.filter(|from| since - *from > UNNOTED) {
                        let _ = self.tell.blocking_send(Told::Blind { from, to: since, why: why.clone() });
                    }
                    let window = window.get_or_insert_with(|| Window::new(since, &self.app.config(), &self.target));
                    self.note(State::Listening { since });
                    let heard = self.hear(ear, window, since);
                    heard_until = heard.0.or(heard_until);
                    heard.1
                }
                Err(fault) => Some(self.words(&fault)),
            };
            let Some(lost) = lost else { break };
            why = format!("keyspace events were not heard: {lost}");
            self.note(State::Blind { since: heard_until.unwrap_or_else(|| self.now()), why: lost });
            std::thread::sleep(AGAIN);
            if let Some(window) = &mut window {
                self.turn(window);
            }
        }
        if let Some(window) = window.filter(|window| !window.is_empty()) {
            let _ = self.tell.blocking_send(Told::Counted(window));
        }
        heard_until
    }

    /// Counts until the connection is lost, with why, or until the end. Before it, up to when everything was heard.
    fn hear(&self, mut ear: Ear, window: &mut Window, since: DateTime<Utc>) -> (Option<DateTime<Utc>>, Option<String>) {
        let mut heard_until = None;
        let mut asked = self.now();
        while !self.is_over() {
            let now = self.turn(window);
            let mut heard = false;
            let all = ear.hear(|key| {
                if now >= since {
                    heard = true;
                    window.miss(key);
                }
            });
            if heard {
                self.app.listening.note_event(&self.target, &self.speaker.address(), now);
            }
            match all {
                Ok(true) => {
                    heard_until = Some(asked.max(since));
                    std::thread::sleep(PAUSE);
                    asked = self.now();
                }
                Ok(false) if ear.late() > LATE_MAX => {
                    return (heard_until, Some("more came than could be counted, and what waited was dropped".to_owned()));
                }
                Ok(false) => {}
                Err(fault) => return (heard_until, Some(self.words(&fault))),
            }
        }
        (heard_until, None)
    }

    /// Tells the window if it is over, and begins the one that is now.
    fn turn(&self, window: &mut Window) -> DateTime<Utc> {
        let now = self.now();
        if window_of(now) > window.begin {
            let over = std::mem::replace(window, Window::new(window_of(now), &self.app.config(), &self.target));
            if !over.is_empty() {
                let _ = self.tell.blocking_send(Told::Counted(over));
            }
        }
        now
    }

    fn words(&self, fault: &Fault) -> String {
        match fault {
            Fault::Refused(code) if code == "NOPERM" => {
                format!("the user may not subscribe; it needs +subscribe +ping and &{}", self.speaker.channel())
            }
            fault => fault.to_string(),
        }
    }

    /// Whether it is to end, or nobody is there to be told.
    fn is_over(&self) -> bool {
        self.ending.is_cancelled() || self.tell.is_closed()
    }

    fn now(&self) -> DateTime<Utc> {
        self.app.clock.now()
    }

    fn note(&self, state: State) {
        self.app.listening.note(&self.target, &self.speaker.address(), state);
    }
}
