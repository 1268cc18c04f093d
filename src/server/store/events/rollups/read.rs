//! Reading figures: cells and what is not folded yet, in one statement, so that each event counts once whenever it is asked.

use super::{SUMMED, Tier, decode};
use crate::domain::event::Origin;
use crate::domain::event::tally::Tally;
use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

/// A stretch that is read from cells of one tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    pub tier: Tier,
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
}

/// A stretch of one prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub prefix_id: i64,
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
}

/// The figures of a prefix, a step and an origin.
#[derive(Clone, Debug)]
pub struct Figures {
    pub prefix_id: i64,
    /// The step's place, counted from the beginning of the range.
    pub step: usize,
    pub origin: Origin,
    pub tally: Tally,
}

/// Covers a stretch by as few cells as can be: the coarsest tier inside, finer ones at its ends. `from` and `to` lie on buckets of `finest`.
pub fn cover(from: DateTime<Utc>, to: DateTime<Utc>, finest: Tier, coarsest: Tier) -> Vec<Segment> {
    let at = |seconds: i64| DateTime::from_timestamp(seconds, 0).unwrap_or(from);
    let length = coarsest.seconds();
    let (inner_from, inner_to) = ((from.timestamp() + length - 1).div_euclid(length) * length, to.timestamp().div_euclid(length) * length);
    if coarsest <= finest {
        return if from < to { vec![Segment { tier: finest, from, to }] } else { vec![] };
    }
    let finer = Tier::ALL.into_iter().rev().find(|tier| *tier < coarsest).unwrap_or(finest);
    if inner_from >= inner_to {
        return cover(from, to, finest, finer);
    }
    let mut segments = cover(from, at(inner_from), finest, finer);
    segments.push(Segment { tier: coarsest, from: at(inner_from), to: at(inner_to) });
    segments.extend(cover(at(inner_to), to, finest, finer));
    segments
}

/// Sums up the figures of each prefix and origin by steps of `step_s`, the first of which begins at `origin`. Segments must not overlap.
pub async fn read(
    conn: &mut PgConnection,
    prefix_ids: &[i64],
    segments: &[Segment],
    origin: DateTime<Utc>,
    step_s: i64,
) -> Result<Vec<Figures>, sqlx::Error> {
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else { return Ok(Vec::new()) };
    let sql = format!(
        "SELECT prefix_id, origin, (floor(extract(epoch FROM bucket - $8) / $7))::int AS step, {SUMMED}
         FROM (SELECT c.prefix_id, c.origin, c.bucket, c.last_at, c.hits, c.misses, c.stale_served, c.access_errors, c.rated_reads,
                      c.rated_misses, c.rebuilds, c.rebuild_errors, c.rebuild_timeouts, c.rebuild_sketch, c.invalidations,
                      c.invalidation_errors, c.stale_samples, c.breakdown
               FROM UNNEST($2::smallint[], $3::timestamptz[], $4::timestamptz[]) AS s (tier, from_at, to_at)
               JOIN events.cells c ON c.tier = s.tier AND c.bucket >= s.from_at AND c.bucket < s.to_at
               WHERE c.prefix_id = ANY($1)
               UNION ALL
               SELECT prefix_id, origin, bucket, last_at, hits, misses, stale_served, access_errors, rated_reads, rated_misses, rebuilds,
                      rebuild_errors, rebuild_timeouts, rebuild_sketch, invalidations, invalidation_errors, stale_samples, breakdown
               FROM events.deltas WHERE prefix_id = ANY($1) AND bucket >= $5 AND bucket < $6) AS parts
         GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(prefix_ids)
        .bind(segments.iter().map(|segment| segment.tier.code()).collect::<Vec<_>>())
        .bind(segments.iter().map(|segment| segment.from).collect::<Vec<_>>())
        .bind(segments.iter().map(|segment| segment.to).collect::<Vec<_>>())
        .bind(first.from)
        .bind(last.to)
        .bind(step_s)
        .bind(origin)
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            let origin: i16 = row.try_get("origin")?;
            let step: i32 = row.try_get("step")?;
            Ok(Figures {
                prefix_id: row.try_get("prefix_id")?,
                step: usize::try_from(step).unwrap_or(0),
                origin: origin_of(origin)?,
                tally: decode(row)?,
            })
        })
        .collect()
}

/// The minutes of spans that each have their own prefix and begin: a span's place in the list, the origin, the minute counted from its begin. One
/// statement, however many there are.
pub async fn read_minutes(conn: &mut PgConnection, spans: &[Span]) -> Result<Vec<(usize, Origin, usize, Tally)>, sqlx::Error> {
    if spans.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT s.place, origin, (floor(extract(epoch FROM bucket - s.from_at) / 60))::int AS minute, {SUMMED}
         FROM UNNEST($1::bigint[], $2::timestamptz[], $3::timestamptz[]) WITH ORDINALITY AS s (id, from_at, to_at, place)
         JOIN LATERAL (
             SELECT origin, bucket, last_at, hits, misses, stale_served, access_errors, rated_reads, rated_misses, rebuilds, rebuild_errors,
                    rebuild_timeouts, rebuild_sketch, invalidations, invalidation_errors, stale_samples, breakdown
             FROM events.cells WHERE prefix_id = s.id AND tier = 1 AND bucket >= s.from_at AND bucket < s.to_at
             UNION ALL
             SELECT origin, bucket, last_at, hits, misses, stale_served, access_errors, rated_reads, rated_misses, rebuilds, rebuild_errors,
                    rebuild_timeouts, rebuild_sketch, invalidations, invalidation_errors, stale_samples, breakdown
             FROM events.deltas WHERE prefix_id = s.id AND bucket >= s.from_at AND bucket < s.to_at) AS parts ON true
         GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
    );
    let rows = sqlx::query(AssertSqlSafe(sql))
        .bind(spans.iter().map(|span| span.prefix_id).collect::<Vec<_>>())
        .bind(spans.iter().map(|span| span.from).collect::<Vec<_>>())
        .bind(spans.iter().map(|span| span.to).collect::<Vec<_>>())
        .fetch_all(conn)
        .await?;
    rows.iter()
        .map(|row| {
            let (place, origin, minute): (i64, i16, i32) = (row.try_get("place")?, row.try_get("origin")?, row.try_get("minute")?);
            Ok((usize::try_from(place - 1).unwrap_or(0), origin_of(origin)?, usize::try_from(minute).unwrap_or(0), decode(row)?))
        })
        .collect()
}

/// Only the stale-read samples of a stretch, by prefix and origin: what budgets are reckoned from.
pub async fn read_stale(conn: &mut PgConnection, prefix_ids: &[i64], segments: &[Segment]) -> Result<Vec<Figures>, sqlx::Error> {
    let (Some(first), Some(last)) = (segments.first(), segments.last()) else { return Ok(Vec::new()) };
    let rows = sqlx::query!(
        r#"SELECT prefix_id AS "prefix_id!", origin AS "origin!", sum(stale_samples)::bigint AS "samples!", array_agg(breakdown) AS "breakdowns!: Vec<Vec<u8>>"
           FROM (SELECT c.prefix_id, c.origin, c.stale_samples, c.breakdown
                 FROM UNNEST($2::smallint[], $3::timestamptz[], $4::timestamptz[]) AS s (tier, from_at, to_at)
                 JOIN events.cells c ON c.tier = s.tier AND c.bucket >= s.from_at AND c.bucket < s.to_at
                 WHERE c.prefix_id = ANY($1) AND c.stale_samples > 0
                 UNION ALL
                 SELECT prefix_id, origin, stale_samples, breakdown
                 FROM events.deltas WHERE prefix_id = ANY($1) AND bucket >= $5 AND bucket < $6 AND stale_samples > 0) AS parts
           GROUP BY 1, 2"#,
        prefix_ids,
        &segments.iter().map(|segment| segment.tier.code()).collect::<Vec<_>>(),
        &segments.iter().map(|segment| segment.from).collect::<Vec<_>>(),
        &segments.iter().map(|segment| segment.to).collect::<Vec<_>>(),
        first.from,
        last.to
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let mut tally = Tally { stale_samples: u64::try_from(row.samples).unwrap_or(0), ..Tally::default() };
            for bytes in &row.breakdowns {
                tally.breakdown.merge_bytes(bytes).ok_or_else(|| sqlx::Error::Decode("breakdown is not one of ours".into()))?;
            }
            Ok(Figures { prefix_id: row.prefix_id, step: 0, origin: origin_of(row.origin)?, tally })
        })
        .collect()
}

pub(super) fn origin_of(code: i16) -> Result<Origin, sqlx::Error> {
    Origin::from_code(code).ok_or_else(|| sqlx::Error::Decode(format!("events.cells.origin {code} is no origin").into()))
}

/// The newest event of each prefix that has any, in microseconds since 1970.
pub async fn list_last_events(conn: &mut PgConnection, prefix_ids: &[i64]) -> Result<Vec<(i64, DateTime<Utc>)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT p.id AS "id!", greatest(c.last_at, d.last_at) AS last_at
           FROM UNNEST($1::bigint[]) AS p (id)
           LEFT JOIN LATERAL (SELECT last_at FROM events.cells WHERE prefix_id = p.id AND tier = 4 ORDER BY bucket DESC, last_at DESC LIMIT 1) c ON true
           LEFT JOIN LATERAL (SELECT max(last_at) AS last_at FROM events.deltas WHERE prefix_id = p.id) d ON true"#,
        prefix_ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().filter_map(|row| Some((row.id, row.last_at?))).collect())
}

/// Forgets cells of a tier that are older than they are kept.
pub async fn delete_expired(conn: &mut PgConnection, tier: Tier, before: DateTime<Utc>) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "DELETE FROM events.cells c USING events.prefixes p WHERE c.prefix_id = p.prefix_id AND c.tier = $1 AND c.bucket < $2",
        tier.code(),
        before
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("an instant")
    }

    #[test]
    fn a_stretch_is_covered_once_by_few_cells() {
        let (from, to) = (at("2026-11-20T10:35:00Z"), at("2026-11-23T03:15:00Z"));
        let segments = cover(from, to, Tier::FiveMinutes, Tier::Day);
        let mut next = from;
        let mut cells = 0;
        for segment in &segments {
            assert_eq!(segment.from, next);
            assert_eq!(segment.from.timestamp() % segment.tier.seconds(), 0);
            assert_eq!(segment.to.timestamp() % segment.tier.seconds(), 0);
            cells += (segment.to - segment.from).num_seconds() / segment.tier.seconds();
            next = segment.to;
        }
        assert_eq!(next, to);
        assert_eq!(cells, 5 + 13 + 2 + 3 + 3);
    }

    #[test]
    fn a_stretch_within_one_coarse_cell_uses_finer_ones() {
        let segments = cover(at("2026-11-20T10:05:00Z"), at("2026-11-20T10:20:00Z"), Tier::Minute, Tier::Hour);
        assert_eq!(segments.len(), 1);
        assert_eq!(segments[0].tier, Tier::FiveMinutes);
        assert!(cover(at("2026-11-20T10:05:00Z"), at("2026-11-20T10:05:00Z"), Tier::Minute, Tier::Day).is_empty());
    }
}
