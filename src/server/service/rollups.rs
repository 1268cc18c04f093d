//! Keeping events: partitions ahead, folding closed minutes, forgetting what is past its time, and recounting it all.

use crate::domain::event::tally::Tally;
use crate::server::config::Retention;
use crate::server::state::AppState;
use crate::server::store::events::rollups::{self, Difference, Folded, Tier};
use crate::server::store::events::{quality, raw, registry};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use sqlx::{PgConnection, PgPool};
use std::time::Duration;

/// Days that can be written before they begin, and after they ended (events may be that old).
const DAYS_AHEAD: i64 = 7;
const DAYS_BEHIND: i64 = 7;
/// Deltas folded in one transaction.
const FOLD: i64 = 20_000;
/// A minute is closed this long after its end; whatever comes later is folded later.
const GRACE: TimeDelta = TimeDelta::seconds(15);
/// How long the lease on folding is good for. Longer than one fold takes.
const LEASE: &str = "rollups.fold";
const LEASE_S: f64 = 60.0;
/// Without any process for this long, events were missed.
const SILENCE: TimeDelta = TimeDelta::minutes(1);

/// Folds all closed minutes, if this process holds the lease or can have it.
pub async fn compact(app: &AppState) -> Result<u64, sqlx::Error> {
    let mut conn = app.pools.events.acquire().await?;
    let holder = app.ingest.writer();
    let mut folded = 0;
    loop {
        let Some(epoch) = registry::take_lease(&mut conn, LEASE, holder, LEASE_S).await? else { return Ok(folded) };
        let closed = app.clock.now() - GRACE;
        let before = closed - TimeDelta::nanoseconds(closed.timestamp_nanos_opt().unwrap_or(0).rem_euclid(60_000_000_000));
        match rollups::fold(&mut conn, (LEASE, holder, epoch), before, FOLD).await? {
            Folded::Deltas(0) | Folded::NotOurs => return Ok(folded),
            Folded::Deltas(more) => folded += more,
        }
    }
}

/// Readies days ahead and behind, and forgets what is past its time.
pub async fn keep(app: &AppState) -> Result<(), sqlx::Error> {
    app.ingest.register().await?;
    let mut conn = app.pools.events.acquire().await?;
    let now = app.clock.now();
    let today = now.date_naive();
    for offset in -DAYS_BEHIND..=DAYS_AHEAD {
        raw::ensure_day(&mut conn, today + TimeDelta::days(offset)).await?;
    }
    let retention = app.config().retention;
    let oldest = (now - span(retention.raw)).date_naive();
    for day in raw::list_days(&mut conn).await? {
        if day < oldest {
            tracing::info!(%day, "dropping raw events past their time");
            raw::drop_day(&mut conn, day).await?;
        }
    }
    for (tier, kept) in kept(retention) {
        rollups::delete_expired(&mut conn, tier, now - span(kept)).await?;
    }
    quality::delete_old(&mut conn, now - span(retention.raw)).await
}

/// Notes a time in which nothing was collected, so that charts show it as a gap.
pub async fn note_gap(app: &AppState, from: DateTime<Utc>, to: DateTime<Utc>, why: &str) -> Result<(), sqlx::Error> {
    let mut conn = app.pools.events.acquire().await?;
    quality::insert_gap(&mut conn, 0, from, to, why).await
}

fn kept(retention: Retention) -> [(Tier, Duration); 4] {
    [
        (Tier::Minute, retention.minute),
        (Tier::FiveMinutes, retention.five_minutes),
        (Tier::Hour, retention.hour),
        (Tier::Day, retention.day),
    ]
}

fn span(length: Duration) -> TimeDelta {
    TimeDelta::from_std(length).unwrap_or(TimeDelta::MAX)
}

/// Notes the time in which no process took events in. Once at start, before this process first says that it lives.
pub async fn note_absence(app: &AppState) -> Result<(), sqlx::Error> {
    let mut conn = app.pools.events.acquire().await?;
    let now = app.clock.now();
    if let Some(last) = quality::find_last_beat(&mut conn).await?
        && now - last > SILENCE
    {
        quality::insert_gap(&mut conn, 0, last, now, "Stalewatch was not running").await?;
    }
    Ok(())
}

/// What a recount found.
#[derive(Clone, Debug)]
pub struct Recount {
    /// The days that have raw events.
    pub days: Vec<NaiveDate>,
    pub differences: Vec<Difference>,
}

impl Recount {
    /// A line for each difference, and one that sums up.
    pub fn lines(&self) -> Vec<String> {
        let said = |tally: &Option<Tally>| match tally {
            None => "nothing".to_owned(),
            Some(tally) => format!(
                "{} reads, {} rebuilds, {} invalidations ({} failed), {} samples",
                tally.rated_reads, tally.rebuilds, tally.invalidations, tally.invalidation_errors, tally.stale_samples
            ),
        };
        let mut lines: Vec<String> = self
            .differences
            .iter()
            .map(|found| {
                let (counted, stored) = (said(&found.counted), said(&found.stored));
                format!(
                    "prefix {} origin {} {:?} {}: events say {counted}; rollups say {stored}",
                    found.prefix_id, found.origin, found.tier, found.bucket
                )
            })
            .collect();
        lines.push(format!("{} days of raw events recounted, {} differences", self.days.len(), self.differences.len()));
        lines
    }
}

/// Counts all raw events again and compares with the rollups.
pub async fn recount(pool: &PgPool, retention: Retention, now: DateTime<Utc>) -> Result<Recount, sqlx::Error> {
    let mut conn = pool.acquire().await?;
    sqlx::query("SET statement_timeout = 0").execute(&mut *conn).await?;
    let found = recount_on(&mut conn, retention, now).await;
    // Its limits are not those of a request; nobody else gets it.
    drop(conn.detach());
    found
}

async fn recount_on(conn: &mut PgConnection, retention: Retention, now: DateTime<Utc>) -> Result<Recount, sqlx::Error> {
    let days: Vec<NaiveDate> = raw::list_days(conn).await?;
    let mut differences = Vec::new();
    for &day in &days {
        let begin = day.and_time(chrono::NaiveTime::MIN).and_utc();
        let tiers: Vec<Tier> = kept(retention).into_iter().filter(|(_, kept)| begin > now - span(*kept)).map(|(tier, _)| tier).collect();
        differences.extend(rollups::recount(conn, day, &tiers).await?);
    }
    Ok(Recount { days, differences })
}
