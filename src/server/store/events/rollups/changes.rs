//! What a process needs to keep cells in memory and true: those of a stretch, those that changed since, and what is not folded yet. Asked within one
//! snapshot, they add up to each event once.

use super::{SUMMED, Tier, decode, read::origin_of};
use crate::domain::event::Origin;
use crate::domain::event::packed::{Packed, Parts};
use crate::domain::event::tally::Tally;
use crate::server::store::events::copied::{Fields, copy_out};
use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

/// One cell.
#[derive(Clone, Debug)]
pub struct Cell {
    pub prefix_id: i64,
    pub tier: Tier,
    /// How many of its tier's lengths after 1970 it begins.
    pub number: i64,
    pub origin: Origin,
    pub figures: Packed,
}

const COLUMNS: &str = "c.prefix_id, c.tier, c.bucket, c.origin, c.last_at, c.hits, c.misses, c.stale_served, c.access_errors, c.rated_reads, \
    c.rated_misses, c.rebuilds, c.rebuild_errors, c.rebuild_timeouts, c.invalidations, c.invalidation_errors, c.stale_samples, c.rebuild_sketch, \
    c.breakdown";

/// The number of the newest fold that this snapshot shows.
pub async fn find_fold(conn: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!("SELECT number FROM events.folds WHERE name = 'cells'").fetch_one(conn).await
}

/// All cells of these prefixes and of one tier from an instant on.
pub async fn list_cells(
    conn: &mut PgConnection,
    prefix_ids: &[i64],
    tier: Tier,
    from: DateTime<Utc>,
    each: impl FnMut(Cell),
) -> Result<(), sqlx::Error> {
    let query = format!(
        "SELECT {COLUMNS} FROM UNNEST({}) AS p (id)
         JOIN LATERAL (SELECT * FROM events.cells WHERE prefix_id = p.id AND tier = {} AND bucket >= to_timestamp({}) OFFSET 0) c ON true",
        array(prefix_ids),
        tier.code(),
        from.timestamp()
    );
    list(conn, &query, each).await
}

/// The cells of these prefixes that a fold after this one has touched.
pub async fn list_changed(conn: &mut PgConnection, prefix_ids: &[i64], after: i64, each: impl FnMut(Cell)) -> Result<(), sqlx::Error> {
    let query = format!("SELECT {COLUMNS} FROM events.cells c WHERE c.fold > {after} AND c.prefix_id = ANY ({})", array(prefix_ids));
    list(conn, &query, each).await
}

/// COPY takes no parameters; these are numbers of our own.
fn array(ids: &[i64]) -> String {
    let ids: Vec<String> = ids.iter().map(i64::to_string).collect();
    format!("'{{{}}}'::bigint[]", ids.join(","))
}

async fn list(conn: &mut PgConnection, query: &str, mut each: impl FnMut(Cell)) -> Result<(), sqlx::Error> {
    copy_out(conn, query, |row: &Fields<'_, 19>| {
        let tier = row.smallint(1)?;
        let tier = Tier::ALL.into_iter().find(|known| known.code() == tier).ok_or_else(|| sqlx::Error::Decode("no such tier".into()))?;
        let mut parts = Parts {
            last_at_us: row.timestamptz(4)?,
            sketch: row.bytes(17).unwrap_or_default(),
            breakdown: row.bytes(18).unwrap_or_default(),
            ..Parts::default()
        };
        for (at, counter) in (5..).zip(&mut parts.measured) {
            *counter = row.count(at)?;
        }
        for (at, counter) in (9..).zip(&mut parts.counts) {
            *counter = row.count(at)?.unwrap_or(0);
        }
        each(Cell {
            prefix_id: row.bigint(0)?,
            tier,
            number: row.timestamptz(2)?.div_euclid(tier.seconds() * 1_000_000),
            origin: origin_of(row.smallint(3)?)?,
            figures: Packed::from_parts(&parts),
        });
        Ok(())
    })
    .await
}

/// What is not folded yet of these prefixes, summed up by minute: prefix, seconds since 1970, origin.
pub async fn list_deltas(conn: &mut PgConnection, prefix_ids: &[i64]) -> Result<Vec<(i64, i64, Origin, Tally)>, sqlx::Error> {
    let sql = format!(
        "SELECT prefix_id, extract(epoch FROM bucket)::bigint AS bucket_s, origin, {SUMMED}
         FROM events.deltas WHERE prefix_id = ANY ($1) GROUP BY prefix_id, bucket, origin ORDER BY prefix_id, bucket, origin"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(prefix_ids).fetch_all(conn).await?;
    rows.iter()
        .map(|row| Ok((row.try_get("prefix_id")?, row.try_get("bucket_s")?, origin_of(row.try_get("origin")?)?, decode(row)?)))
        .collect()
}
