//! Deltas and cells: writing the figures of a batch, folding closed minutes, reading figures of any span.

mod changes;
mod fold;
mod read;
mod recount;

pub use changes::{Cell, find_fold, list_cells, list_changed, list_deltas};
pub use fold::{Folded, fold};
pub use read::{Figures, Segment, Span, cover, delete_expired, list_last_events, read, read_minutes, read_stale};
pub use recount::{Difference, recount};

use super::encode::RowWriter;
use super::raw::copy;
use crate::domain::event::tally::{Breakdown, Tally};
use crate::domain::sketch::Sketch;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use std::collections::BTreeMap;

/// What a delta is of. Ordered as the table's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeltaKey {
    pub prefix_id: i64,
    /// Minutes since 1970.
    pub minute: i64,
    pub origin: i16,
}

/// The lengths of cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    Minute,
    FiveMinutes,
    Hour,
    Day,
}

impl Tier {
    pub const ALL: [Tier; 4] = [Tier::Minute, Tier::FiveMinutes, Tier::Hour, Tier::Day];

    /// The number in the store.
    pub fn code(self) -> i16 {
        match self {
            Tier::Minute => 1,
            Tier::FiveMinutes => 2,
            Tier::Hour => 3,
            Tier::Day => 4,
        }
    }

    pub fn seconds(self) -> i64 {
        match self {
            Tier::Minute => 60,
            Tier::FiveMinutes => 300,
            Tier::Hour => 3_600,
            Tier::Day => 86_400,
        }
    }

    /// The tier of cells that a step is made of.
    pub fn of_step(step_s: i64) -> Option<Tier> {
        Tier::ALL.into_iter().find(|tier| tier.seconds() == step_s)
    }
}

const DELTA_COLUMNS: &str = "prefix_id, bucket, origin, writer, seq, last_at, hits, misses, stale_served, access_errors, rated_reads, rated_misses, \
    rebuilds, rebuild_errors, rebuild_timeouts, rebuild_sketch, invalidations, invalidation_errors, stale_samples, breakdown";
const DELTA_FIELDS: i16 = 20;
const CELL_COLUMNS: &str = "prefix_id, tier, bucket, origin, last_at, hits, misses, stale_served, access_errors, rated_reads, rated_misses, \
    rebuilds, rebuild_errors, rebuild_timeouts, rebuild_sketch, invalidations, invalidation_errors, stale_samples, breakdown, fold";
const CELL_FIELDS: i16 = 20;

/// The figures of one row, as the columns from `last_at` on; `last_at` in microseconds since 1970.
fn decode(row: &PgRow) -> Result<Tally, sqlx::Error> {
    let count = |name: &str| -> Result<Option<u64>, sqlx::Error> {
        Ok(row.try_get::<Option<i64>, _>(name)?.map(|count| u64::try_from(count).unwrap_or(0)))
    };
    let sum = |name: &str| -> Result<u64, sqlx::Error> { Ok(count(name)?.unwrap_or(0)) };
    let mut tally = Tally {
        last_at_us: row.try_get("last_at_us")?,
        hits: count("hits")?,
        misses: count("misses")?,
        stale_served: count("stale_served")?,
        access_errors: count("access_errors")?,
        rated_reads: sum("rated_reads")?,
        rated_misses: sum("rated_misses")?,
        rebuilds: sum("rebuilds")?,
        rebuild_errors: sum("rebuild_errors")?,
        rebuild_timeouts: sum("rebuild_timeouts")?,
        rebuild: Sketch::default(),
        invalidations: sum("invalidations")?,
        invalidation_errors: sum("invalidation_errors")?,
        stale_samples: sum("stale_samples")?,
        breakdown: Breakdown::default(),
    };
    for bytes in row.try_get::<Option<Vec<Vec<u8>>>, _>("sketches")?.unwrap_or_default() {
        tally.rebuild.merge_bytes(&bytes).map_err(|cause| sqlx::Error::Decode(Box::new(cause)))?;
    }
    for bytes in row.try_get::<Option<Vec<Vec<u8>>>, _>("breakdowns")?.unwrap_or_default() {
        tally.breakdown.merge_bytes(&bytes).ok_or_else(|| sqlx::Error::Decode("breakdown is not one of ours".into()))?;
    }
    Ok(tally)
}

/// The columns that [`decode`] reads, of single rows.
const SINGLE: &str = "(extract(epoch FROM last_at) * 1000000)::bigint AS last_at_us, hits, misses, stale_served, access_errors, rated_reads, \
    rated_misses, rebuilds, rebuild_errors, rebuild_timeouts, CASE WHEN rebuild_sketch IS NOT NULL THEN ARRAY[rebuild_sketch] END AS sketches, \
    invalidations, invalidation_errors, stale_samples, CASE WHEN breakdown IS NOT NULL THEN ARRAY[breakdown] END AS breakdowns";

/// The same, summed up.
const SUMMED: &str = "(extract(epoch FROM max(last_at)) * 1000000)::bigint AS last_at_us, sum(hits)::bigint AS hits, sum(misses)::bigint AS misses, \
    sum(stale_served)::bigint AS stale_served, sum(access_errors)::bigint AS access_errors, sum(rated_reads)::bigint AS rated_reads, \
    sum(rated_misses)::bigint AS rated_misses, sum(rebuilds)::bigint AS rebuilds, sum(rebuild_errors)::bigint AS rebuild_errors, \
    sum(rebuild_timeouts)::bigint AS rebuild_timeouts, array_agg(rebuild_sketch) FILTER (WHERE rebuild_sketch IS NOT NULL) AS sketches, \
    sum(invalidations)::bigint AS invalidations, sum(invalidation_errors)::bigint AS invalidation_errors, \
    sum(stale_samples)::bigint AS stale_samples, array_agg(breakdown) FILTER (WHERE breakdown IS NOT NULL) AS breakdowns";

fn encode(row: &mut RowWriter<'_>, tally: &Tally) {
    row.timestamptz(Some(tally.last_at_us));
    row.count(tally.hits);
    row.count(tally.misses);
    row.count(tally.stale_served);
    row.count(tally.access_errors);
    row.count(Some(tally.rated_reads));
    row.count(Some(tally.rated_misses));
    row.count(Some(tally.rebuilds));
    row.count(Some(tally.rebuild_errors));
    row.count(Some(tally.rebuild_timeouts));
    row.bytes((tally.rebuilds > 0).then(|| tally.rebuild.to_bytes()).as_deref());
    row.count(Some(tally.invalidations));
    row.count(Some(tally.invalidation_errors));
    row.count(Some(tally.stale_samples));
    row.bytes((!tally.breakdown.is_empty()).then(|| tally.breakdown.to_bytes()).as_deref());
}

/// Appends a batch's figures under this writer's next number.
pub async fn insert_deltas(conn: &mut PgConnection, deltas: &BTreeMap<DeltaKey, Tally>, writer: i64, seq: i64) -> Result<(), sqlx::Error> {
    if deltas.is_empty() {
        return Ok(());
    }
    let mut encoded = Vec::with_capacity(deltas.len() * 220);
    let mut ends = Vec::with_capacity(deltas.len());
    for (key, tally) in deltas {
        let mut row = RowWriter::begin(&mut encoded, DELTA_FIELDS);
        row.bigint(Some(key.prefix_id));
        row.timestamptz(Some(key.minute * 60_000_000));
        row.smallint(Some(key.origin));
        row.bigint(Some(writer));
        row.bigint(Some(seq));
        encode(&mut row, tally);
        ends.push(encoded.len());
    }
    copy(conn, &format!("COPY events.deltas ({DELTA_COLUMNS}) FROM STDIN (FORMAT binary)"), std::iter::once(encoded.as_slice())).await
}
