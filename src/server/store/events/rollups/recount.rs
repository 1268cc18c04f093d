//! Counting again from raw events and comparing with what the rollups say.

use super::{SUMMED, Tier, decode};
use crate::domain::event::tally::{Measure, Tally};
use crate::domain::event::{ErrorClass, Kind, Outcome};
use crate::domain::metric::Bucket;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use futures::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _};
use std::collections::{BTreeMap, BTreeSet};

/// A cell that is not the sum of its events.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    pub prefix_id: i64,
    pub tier: Tier,
    pub bucket: DateTime<Utc>,
    pub origin: i16,
    /// From raw events; `None` where there are none.
    pub counted: Option<Tally>,
    /// From cells and deltas; `None` where there are none.
    pub stored: Option<Tally>,
}

type Key = (i64, i64, i16);

/// Recounts one UTC day in one snapshot and says where the given tiers differ.
pub async fn recount(conn: &mut PgConnection, day: NaiveDate, tiers: &[Tier]) -> Result<Vec<Difference>, sqlx::Error> {
    let mut tx = conn.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let begin = day.and_time(chrono::NaiveTime::MIN).and_utc();
    let mut differences = Vec::new();
    let mut whole_day: BTreeMap<Key, Tally> = BTreeMap::new();
    // By the hour, so that memory holds an hour of minutes and not a day of them.
    for hour in 0..24 {
        let (from, to) = (begin + TimeDelta::hours(hour), begin + TimeDelta::hours(hour + 1));
        let minutes = count(&mut tx, day, from, to).await?;
        for tier in tiers.iter().copied().filter(|tier| *tier < Tier::Day) {
            compare(&mut tx, tier, from, to, regroup(&minutes, tier), &mut differences).await?;
        }
        for (key, tally) in regroup(&minutes, Tier::Day) {
            whole_day.entry(key).or_default().merge(&tally);
        }
    }
    if tiers.contains(&Tier::Day) {
        compare(&mut tx, Tier::Day, begin, begin + TimeDelta::days(1), whole_day, &mut differences).await?;
    }
    tx.rollback().await?;
    Ok(differences)
}

fn regroup(minutes: &BTreeMap<Key, Tally>, tier: Tier) -> BTreeMap<Key, Tally> {
    let mut groups: BTreeMap<Key, Tally> = BTreeMap::new();
    for ((prefix_id, bucket_s, origin), tally) in minutes {
        groups.entry((*prefix_id, bucket_s - bucket_s.rem_euclid(tier.seconds()), *origin)).or_default().merge(tally);
    }
    groups
}

async fn compare(
    conn: &mut PgConnection,
    tier: Tier,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    counted: BTreeMap<Key, Tally>,
    differences: &mut Vec<Difference>,
) -> Result<(), sqlx::Error> {
    let sql = format!(
        "SELECT prefix_id, origin, (floor(extract(epoch FROM bucket) / $4) * $4)::bigint AS bucket_s, {SUMMED}
         FROM (SELECT prefix_id, origin, bucket, last_at, hits, misses, stale_served, access_errors, rated_reads, rated_misses, rebuilds,
                      rebuild_errors, rebuild_timeouts, rebuild_sketch, invalidations, invalidation_errors, stale_samples, breakdown
               FROM events.cells WHERE tier = $1 AND bucket >= $2 AND bucket < $3
               UNION ALL
               SELECT prefix_id, origin, bucket, last_at, hits, misses, stale_served, access_errors, rated_reads, rated_misses, rebuilds,
                      rebuild_errors, rebuild_timeouts, rebuild_sketch, invalidations, invalidation_errors, stale_samples, breakdown
               FROM events.deltas WHERE bucket >= $2 AND bucket < $3) AS parts
         GROUP BY 1, 2, 3"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(tier.code()).bind(from).bind(to).bind(tier.seconds()).fetch_all(conn).await?;
    let mut stored: BTreeMap<Key, Tally> = BTreeMap::new();
    for row in &rows {
        stored.insert((row.try_get("prefix_id")?, row.try_get("bucket_s")?, row.try_get("origin")?), decode(row)?);
    }
    let keys: BTreeSet<Key> = counted.keys().chain(stored.keys()).copied().collect();
    for key in keys {
        let (counted, stored) = (counted.get(&key), stored.get(&key));
        if counted != stored {
            differences.push(Difference {
                prefix_id: key.0,
                tier,
                bucket: DateTime::from_timestamp(key.1, 0).unwrap_or(from),
                origin: key.2,
                counted: counted.cloned(),
                stored: stored.cloned(),
            });
        }
    }
    Ok(())
}

/// Sums up raw events by minute.
async fn count(
    conn: &mut PgConnection,
    day: NaiveDate,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<BTreeMap<Key, Tally>, sqlx::Error> {
    let mut rows = sqlx::query!(
        r#"SELECT prefix_id AS "prefix_id!", origin, at, kind, hits, misses, stale_served, errors, duration_us, outcome, error_class, stale,
                  delay_ms, read_path
           FROM events.raw WHERE day = $1 AND at >= $2 AND at < $3 AND prefix_id IS NOT NULL"#,
        day,
        from,
        to
    )
    .fetch(conn);
    let mut minutes: BTreeMap<Key, Tally> = BTreeMap::new();
    while let Some(row) = rows.try_next().await? {
        let small = |count: Option<i32>| count.and_then(|count| u32::try_from(count).ok());
        let measure = match Kind::from_code(row.kind) {
            Some(Kind::Access) => Measure::Access {
                hits: small(row.hits),
                misses: small(row.misses),
                stale_served: small(row.stale_served),
                errors: small(row.errors),
            },
            Some(Kind::Rebuild) => Measure::Rebuild {
                duration_us: row.duration_us.and_then(|us| u64::try_from(us).ok()).unwrap_or(0),
                outcome: row.outcome.and_then(Outcome::from_code).unwrap_or(Outcome::Ok),
            },
            Some(Kind::Invalidation) => Measure::Invalidation { failure: row.error_class.and_then(ErrorClass::from_code) },
            Some(Kind::StaleRead) => Measure::Stale {
                bucket: Bucket::of_delay_ms(row.delay_ms.and_then(|ms| u64::try_from(ms).ok())),
                stale: row.stale.unwrap_or(false),
                read_path: row.read_path.map(String::into_boxed_str),
            },
            Some(Kind::Mutation | Kind::Annotation) | None => continue,
        };
        let bucket_s = row.at.timestamp() - row.at.timestamp().rem_euclid(60);
        minutes.entry((row.prefix_id, bucket_s, row.origin)).or_default().record(row.at.timestamp_micros(), &measure);
    }
    Ok(minutes)
}
