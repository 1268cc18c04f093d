//! Folding the deltas of closed minutes into the cells of all tiers.

use super::{CELL_COLUMNS, CELL_FIELDS, SINGLE, Tier, decode, encode};
use crate::domain::event::tally::Tally;
use crate::server::store::events::encode::RowWriter;
use crate::server::store::events::raw::copy;
use crate::server::store::events::registry::hold_lease;
use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _};
use std::collections::BTreeMap;

/// What one fold did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folded {
    /// So many deltas are cells now.
    Deltas(u64),
    /// Another process holds the lease.
    NotOurs,
}

type CellKey = (i64, i16, i64, i16);

/// Folds at most `limit` deltas of minutes before `before`, in one transaction, if the lease is still held.
pub async fn fold(conn: &mut PgConnection, lease: (&str, i64, i64), before: DateTime<Utc>, limit: i64) -> Result<Folded, sqlx::Error> {
    let mut tx = conn.begin().await?;
    let (name, holder, epoch) = lease;
    if !hold_lease(&mut tx, name, holder, epoch).await? {
        return Ok(Folded::NotOurs);
    }
    // Deltas are only ever added, and only the holder of the lease takes any away.
    let sql = format!(
        "WITH closed AS (SELECT ctid FROM events.deltas WHERE bucket < $1 LIMIT $2)
         DELETE FROM events.deltas d USING closed WHERE d.ctid = closed.ctid
         RETURNING prefix_id, extract(epoch FROM bucket)::bigint AS bucket_s, origin, {SINGLE}"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(before).bind(limit).fetch_all(&mut *tx).await?;
    let folded = rows.len() as u64;
    if folded == 0 {
        return Ok(Folded::Deltas(0));
    }
    let mut cells: BTreeMap<CellKey, Tally> = BTreeMap::new();
    for row in &rows {
        let tally = decode(row)?;
        let (prefix_id, bucket_s, origin): (i64, i64, i16) = (row.try_get("prefix_id")?, row.try_get("bucket_s")?, row.try_get("origin")?);
        for tier in Tier::ALL {
            let bucket_s = bucket_s - bucket_s.rem_euclid(tier.seconds());
            cells.entry((prefix_id, tier.code(), bucket_s, origin)).or_default().merge(&tally);
        }
    }
    take_cells(&mut tx, &mut cells).await?;
    let number = sqlx::query_scalar!("UPDATE events.folds SET number = number + 1 WHERE name = 'cells' RETURNING number")
        .fetch_one(&mut *tx)
        .await?;
    let mut encoded = Vec::with_capacity(cells.len() * 200);
    for ((prefix_id, tier, bucket_s, origin), tally) in &cells {
        let mut row = RowWriter::begin(&mut encoded, CELL_FIELDS);
        row.bigint(Some(*prefix_id));
        row.smallint(Some(*tier));
        row.timestamptz(Some(bucket_s * 1_000_000));
        row.smallint(Some(*origin));
        encode(&mut row, tally);
        row.bigint(Some(number));
    }
    copy(&mut tx, &format!("COPY events.cells ({CELL_COLUMNS}) FROM STDIN (FORMAT binary)"), std::iter::once(encoded.as_slice())).await?;
    tx.commit().await?;
    Ok(Folded::Deltas(folded))
}

/// Takes those cells that are there already out of the table and adds them to the new ones.
async fn take_cells(conn: &mut PgConnection, cells: &mut BTreeMap<CellKey, Tally>) -> Result<(), sqlx::Error> {
    let prefix_ids: Vec<i64> = cells.keys().map(|key| key.0).collect();
    let tiers: Vec<i16> = cells.keys().map(|key| key.1).collect();
    let buckets: Vec<i64> = cells.keys().map(|key| key.2).collect();
    let origins: Vec<i16> = cells.keys().map(|key| key.3).collect();
    let sql = format!(
        "WITH wanted AS (SELECT prefix_id, tier, to_timestamp(bucket_s) AS bucket, origin
                         FROM UNNEST($1::bigint[], $2::smallint[], $3::bigint[], $4::smallint[]) AS w (prefix_id, tier, bucket_s, origin)),
              taken AS (DELETE FROM events.cells c USING wanted w
                        WHERE c.prefix_id = w.prefix_id AND c.tier = w.tier AND c.bucket = w.bucket AND c.origin = w.origin RETURNING c.*)
         SELECT prefix_id, tier, extract(epoch FROM bucket)::bigint AS bucket_s, origin, {SINGLE} FROM taken"
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(prefix_ids).bind(tiers).bind(buckets).bind(origins).fetch_all(conn).await?;
    for row in &rows {
        let key = (row.try_get("prefix_id")?, row.try_get("tier")?, row.try_get("bucket_s")?, row.try_get("origin")?);
        cells.entry(key).or_default().merge(&decode(row)?);
    }
    Ok(())
}
