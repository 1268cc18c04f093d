//! How the shop measures staleness: some time after a write it reads again, by each way that readers have, and compares what it got with
//! what the source held when it asked.

use super::{
    event::{About, What},
    report::Reporter,
    source::{Row, Source},
};
use futures::future::BoxFuture;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long after the write.
pub const DELAYS: [Duration; 4] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(10), Duration::from_mins(1)];
/// Writes under observation at a time; more are not sampled.
const MAX_WATCHED: usize = 500;

/// One way to read a cached representation: the version served.
pub type Look = Arc<dyn Fn() -> BoxFuture<'static, u64> + Send + Sync>;

/// One representation read by one path.
#[derive(Clone)]
pub struct Watched {
    pub key: String,
    pub read_path: &'static str,
    pub look: Look,
}

/// The sampler of all services.
pub struct Freshness {
    pub source: Arc<Source>,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
    pub places: Arc<tokio::sync::Semaphore>,
}

impl Freshness {
    pub fn new(source: Arc<Source>, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self { source, tasks, stop, places: Arc::new(tokio::sync::Semaphore::new(MAX_WATCHED)) }
    }

    /// Samples what a write at `committed` affects, at every delay.
    pub fn watch(&self, reporter: &Arc<Reporter>, row: Row, committed: Instant, mutation_id: &str, watched: Vec<Watched>) {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { return };
        let (source, reporter, stop, mutation_id) =
            (Arc::clone(&self.source), Arc::clone(reporter), self.stop.clone(), mutation_id.to_owned());
        self.tasks.spawn(async move {
            let _place = place;
            for delay in DELAYS {
                if stop.run_until_cancelled(tokio::time::sleep_until(committed + delay)).await.is_none() {
                    return;
                }
                for Watched { key, read_path, look } in &watched {
                    let delay_ms = u64::try_from(committed.elapsed().as_millis()).unwrap_or(u64::MAX);
                    // Before the read: what is committed while the read is under way may or may not be seen.
                    let source_version = source.version(row);
                    let cached_version = look().await;
                    reporter.send(
                        About::Key(key.clone()),
                        What::StaleRead {
                            stale: cached_version < source_version,
                            delay_ms,
                            read_path,
                            cached_version,
                            source_version,
                            mutation_id: mutation_id.clone(),
                        },
                    );
                }
            }
        });
    }
}
