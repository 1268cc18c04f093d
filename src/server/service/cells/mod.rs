//! Closed cells in memory, and the open minutes added: what overview, prefix page and series are drawn from. Cost grows with what is shown, not
//! with what is stored, and a crowd of viewers costs Postgres as much as one.

mod tier;
mod view;

pub use view::View;

use super::series::subjects;
use crate::server::config::{Config, Retention};
use crate::server::state::AppState;
use crate::server::store::events::rollups::{self, Tier};
use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use std::sync::Arc;
use std::time::Instant;
use tier::TierCells;

/// How much memory the cells may take, about; a tier that does not fit is read from Postgres.
const BYTES_MAX: usize = 256 << 20;

/// The latest view of the figures, shared by everybody who asks.
#[derive(Debug, Default)]
pub struct Cells(tokio::sync::Mutex<Option<Arc<View>>>);

impl Cells {
    /// The figures as Postgres has them at some moment after this was called. One reading serves all who had asked before it began.
    pub async fn view(&self, app: &AppState) -> Result<Arc<View>, sqlx::Error> {
        let asked = Instant::now();
        let config = app.config();
        let mut held = self.0.lock().await;
        if let Some(view) = held.as_ref().filter(|view| view.begun >= asked && Arc::ptr_eq(&view.config, &config)) {
            return Ok(Arc::clone(view));
        }
        let view = Arc::new(read(&app.pools.events_read, config, app.clock.now(), held.as_deref()).await?);
        *held = Some(Arc::clone(&view));
        Ok(view)
    }
}

/// How far back cells of a tier are kept here: what the ranges that pages offer need, and no more than is kept at all.
fn window(tier: Tier, retention: Retention) -> TimeDelta {
    let (shown, kept) = match tier {
        Tier::Minute => (TimeDelta::hours(3), retention.minute),
        Tier::FiveMinutes => (TimeDelta::hours(25), retention.five_minutes),
        Tier::Hour => (TimeDelta::days(15), retention.hour),
        Tier::Day => (TimeDelta::MAX, retention.day),
    };
    shown.min(TimeDelta::from_std(kept).unwrap_or(TimeDelta::days(36_500)))
}

/// One snapshot: what was there before with what changed since, or all of it.
async fn read(pool: &PgPool, config: Arc<Config>, now: DateTime<Utc>, before: Option<&View>) -> Result<View, sqlx::Error> {
    let begun = Instant::now();
    let ids: Vec<i64> = match before {
        Some(view) if Arc::ptr_eq(&view.config, &config) => view.ids.clone(),
        _ => subjects(&config).iter().map(|subject| subject.id).collect(),
    };
    let mut tx = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let fold = rollups::find_fold(&mut tx).await?;
    let deltas = rollups::list_deltas(&mut tx, &ids).await?;
    // Numbers only grow, unless Postgres was restored from a backup.
    let known = before.filter(|view| view.fold <= fold && view.ids == ids && view.config.retention == config.retention);
    let tiers = match known {
        Some(view) if view.fold == fold => view.tiers.clone(),
        Some(view) => {
            let mut tiers = view.tiers.clone();
            rollups::list_changed(&mut tx, &ids, view.fold, |cell| {
                if let Some(tier) = tiers.get_mut(place(cell.tier)).and_then(Option::as_mut) {
                    Arc::make_mut(tier).put(cell);
                }
            })
            .await?;
            for (place, tier) in Tier::ALL.into_iter().enumerate() {
                if let Some(cells) = &mut tiers[place] {
                    Arc::make_mut(cells).forget_before(now - window(tier, config.retention));
                }
            }
            tiers
        }
        None => {
            let mut tiers = [const { None }; Tier::ALL.len()];
            for tier in Tier::ALL {
                let mut cells = TierCells::new(tier, now - window(tier, config.retention));
                let from = cells.from();
                rollups::list_cells(&mut tx, &ids, tier, from, |cell| cells.put(cell)).await?;
                tiers[place(tier)] = Some(Arc::new(cells));
            }
            tiers
        }
    };
    tx.commit().await?;
    Ok(View::new(begun, config, ids, fold, within(tiers), deltas))
}

/// Lets go of the largest tiers until the rest fits.
fn within(mut tiers: [Option<Arc<TierCells>>; Tier::ALL.len()]) -> [Option<Arc<TierCells>>; Tier::ALL.len()] {
    let size = |tier: &Option<Arc<TierCells>>| tier.as_ref().map_or(0, |cells| cells.size());
    while tiers.iter().map(size).sum::<usize>() > BYTES_MAX {
        let Some(largest) = tiers.iter_mut().max_by_key(|tier| size(tier)) else { break };
        tracing::warn!(tier = ?largest.as_ref().map(|cells| cells.tier()), "these cells take too much memory: they are read from Postgres");
        *largest = None;
    }
    tiers
}

fn place(tier: Tier) -> usize {
    usize::from(tier.code().unsigned_abs()) - 1
}
