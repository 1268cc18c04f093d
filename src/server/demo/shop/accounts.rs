//! accounts-api: profiles in versioned keys, summaries under one key, sessions. The avatar write forgets the summary.

use super::{
    Ground,
    aside::{Aside, Entry, Fill, Guard},
    event::{About, What},
    freshness::Watched,
    report::{Counted, Outcome},
    source::{Row, Table},
    switches::Bug,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

pub const USERS: u64 = 800;
pub const PROFILE: &str = "user:{id}:profile";
pub const SUMMARY: &str = "user:{id}:summary";
pub const SESSION: &str = "session:{token}";
pub const PUBLIC_PAGE: &str = "GET /users/{id}";
pub const OWN_PAGE: &str = "GET /me";
pub const ANY_PAGE: &str = "every page";

const TTL: Duration = Duration::from_hours(1);
const SESSION_TTL: Duration = Duration::from_mins(30);
/// How long an old version of a profile stays for readers that are under way.
const OLD_VERSION_TTL: Duration = Duration::from_mins(1);
/// Whoever has just written is served from the source for a while, so the one who could notice a stale cache first does not.
const READ_YOUR_WRITES: Duration = Duration::from_secs(5);
const FILL: Fill = Fill { guard: Guard::LookAgain, coalesce: true };

pub fn row(id: u64) -> Row {
    Row { table: Table::Users, id }
}

pub fn profile_key(id: u64, version: u64) -> String {
    format!("user:{id}:profile:v{version}")
}

pub fn summary_key(id: u64) -> String {
    format!("user:{id}:summary")
}

pub fn session_key(user: u64) -> String {
    format!("session:{:016x}", user.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

pub struct Accounts {
    aside: Aside,
    ground: Arc<Ground>,
    wrote: Mutex<HashMap<u64, Instant>>,
}

impl Accounts {
    pub fn new(aside: Aside, ground: Arc<Ground>) -> Self {
        Self { aside, ground, wrote: Mutex::default() }
    }

    fn ttl(&self) -> Duration {
        TTL.mul_f64(0.9 + 0.2 * self.ground.dice.unit())
    }

    fn profile(&self, id: u64, version: u64) -> Entry {
        let key = profile_key(id, version);
        Entry { key, prefix: PROFILE, row: row(id), ttl: self.ttl(), fresh_for: Duration::ZERO, bytes: 700 }
    }

    fn summary(&self, id: u64) -> Entry {
        Entry { key: summary_key(id), prefix: SUMMARY, row: row(id), ttl: self.ttl(), fresh_for: Duration::ZERO, bytes: 220 }
    }

    /// Every page begins with the session.
    pub async fn session(&self, user: u64) {
        let key = session_key(user);
        let outcome = match self.aside.cache.get(&key).await {
            Ok(Some(_)) => Outcome::Hit,
            Ok(None) => {
                let value = super::cache::Value { version: 1, fresh_until_ms: 0 };
                let ttl = SESSION_TTL.mul_f64(0.9 + 0.2 * self.ground.dice.unit());
                // Signs in again; if Redis does not keep the session, the next page asks once more.
                let _ = self.aside.cache.set(&key, value, 160, ttl).await;
                Outcome::Miss
            }
            Err(_) => Outcome::Error,
        };
        self.aside.reporter.count(Counted::Prefix(SESSION), ANY_PAGE, outcome, 1);
    }

    /// The version stands in the user's session and in every list that names the user, so readers know which key to ask for.
    pub async fn read_profile(&self, id: u64, read_path: &'static str) -> u64 {
        let version = self.aside.source.version(row(id));
        self.aside.read(&self.profile(id, version), FILL, read_path).await
    }

    pub async fn read_summary(&self, id: u64, read_path: &'static str) -> u64 {
        self.aside.read(&self.summary(id), FILL, read_path).await
    }

    /// The summary on the user's own page.
    pub async fn read_own_summary(&self, id: u64) -> u64 {
        let just_wrote =
            self.wrote.lock().unwrap_or_else(PoisonError::into_inner).get(&id).is_some_and(|at| at.elapsed() < READ_YOUR_WRITES);
        if just_wrote { self.aside.source.read(row(id)).await.version } else { self.read_summary(id, OWN_PAGE).await }
    }

    /// `PUT /users/{id}`, or `PUT /users/{id}/avatar`.
    pub async fn write(self: &Arc<Self>, id: u64, avatar: bool) {
        let (source, reporter) = (&self.aside.source, &self.aside.reporter);
        let version = source.write(row(id)).await;
        let committed = Instant::now();
        {
            let mut wrote = self.wrote.lock().unwrap_or_else(PoisonError::into_inner);
            wrote.retain(|_, at| at.elapsed() < READ_YOUR_WRITES);
            wrote.insert(id, committed);
        }
        let mutation_id = reporter.id();
        let endpoint = if avatar { "PUT /users/{id}/avatar" } else { "PUT /users/{id}" };
        let params = BTreeMap::from([("id", id.to_string())]);
        reporter.send(About::Nothing {}, What::Mutation { endpoint, mutation_id: mutation_id.clone(), params });

        let (old, new) = (profile_key(id, version - 1), profile_key(id, version));
        let begun = Instant::now();
        let expired = self.aside.cache.expire(&old, OLD_VERSION_TTL).await;
        self.aside.invalidated(&old, "version", begun, expired.map(Some), &mutation_id, Some(new.clone()), Some(OLD_VERSION_TTL));
        if !(avatar && self.ground.switches.is_on(Bug::ForgottenSummary)) {
            self.aside.evict(&self.aside.cache, &summary_key(id), &mutation_id).await;
        }

        let paths = [
            (new.clone(), PUBLIC_PAGE, look(self, move |accounts| async move { accounts.read_profile(id, PUBLIC_PAGE).await })),
            (new, OWN_PAGE, look(self, move |accounts| async move { accounts.read_profile(id, OWN_PAGE).await })),
            (summary_key(id), PUBLIC_PAGE, look(self, move |accounts| async move { accounts.read_summary(id, PUBLIC_PAGE).await })),
            (summary_key(id), OWN_PAGE, look(self, move |accounts| async move { accounts.read_own_summary(id).await })),
        ];
        let watched = paths.into_iter().map(|(key, read_path, look)| Watched { key, read_path, look }).collect();
        self.ground.freshness.watch(reporter, row(id), committed, &mutation_id, watched);
    }
}

/// A [`super::freshness::Look`] of a service.
pub(super) fn look<S, F, Fut>(service: &Arc<S>, read: F) -> super::freshness::Look
where
    S: Send + Sync + 'static,
    F: Fn(Arc<S>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = u64> + Send + 'static,
{
    let service = Arc::clone(service);
    Arc::new(move || Box::pin(read(Arc::clone(&service))))
}
