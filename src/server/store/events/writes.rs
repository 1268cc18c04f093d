//! Writes at the source and the invalidations they caused, from raw events: as far back as those are kept.

use super::raw::days;
use crate::domain::event::{ErrorClass, Method, Outcome};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// How many of an endpoint's latest writes are searched for an invalidation.
const SEARCHED: i64 = 2_000;

/// An endpoint of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub target_id: i64,
    pub name: String,
}

/// The writes of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Writes {
    /// The newest of all that are kept.
    pub last_at: Option<DateTime<Utc>>,
    /// In the span asked for.
    pub count: u64,
}

/// The newest invalidation of a prefix by a write of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caused {
    pub at: DateTime<Utc>,
    pub ok: bool,
    pub method: Method,
    pub class: Option<ErrorClass>,
}

/// Counts the writes of each endpoint from `from` up to `to`, in the order asked. `oldest` is how far back raw events are kept.
pub async fn list_writes(
    conn: &mut PgConnection,
    endpoints: &[Endpoint],
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    oldest: DateTime<Utc>,
) -> Result<Vec<Writes>, sqlx::Error> {
    let targets: Vec<i64> = endpoints.iter().map(|endpoint| endpoint.target_id).collect();
    let names: Vec<String> = endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
    let (first, last) = days(from, to);
    let rows = sqlx::query!(
        r#"SELECT newest.at AS "last_at?", counted.n AS "n!"
           FROM UNNEST($1::bigint[], $2::text[]) WITH ORDINALITY AS e (target_id, name, place)
           LEFT JOIN LATERAL (SELECT r.at FROM events.raw r WHERE r.kind = 4 AND r.endpoint = e.name AND r.target_id = e.target_id AND r.day >= $7
                              ORDER BY r.at DESC LIMIT 1) newest ON true
           CROSS JOIN LATERAL (SELECT count(*) AS n FROM events.raw r WHERE r.kind = 4 AND r.endpoint = e.name AND r.target_id = e.target_id
                               AND r.at >= $3 AND r.at < $4 AND r.day BETWEEN $5 AND $6) counted
           ORDER BY e.place"#,
        &targets,
        &names,
        from,
        to,
        first,
        last,
        oldest.date_naive()
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| Writes { last_at: row.last_at, count: u64::try_from(row.n).unwrap_or(0) }).collect())
}

/// The newest invalidation of each prefix that carries a mutation of the endpoint, in the order asked: searched among the endpoint's last 2,000
/// writes before `before`, and within a day of each.
pub async fn list_caused(
    conn: &mut PgConnection,
    edges: &[(Endpoint, i64)],
    before: DateTime<Utc>,
    oldest: DateTime<Utc>,
) -> Result<Vec<Option<Caused>>, sqlx::Error> {
    let targets: Vec<i64> = edges.iter().map(|(endpoint, _)| endpoint.target_id).collect();
    let names: Vec<String> = edges.iter().map(|(endpoint, _)| endpoint.name.clone()).collect();
    let prefixes: Vec<i64> = edges.iter().map(|(_, prefix_id)| *prefix_id).collect();
    let rows = sqlx::query!(
        r#"SELECT found.at AS "at?", found.outcome AS "outcome?", found.method AS "method?", found.error_class AS "error_class?"
           FROM UNNEST($1::bigint[], $2::text[], $3::bigint[]) WITH ORDINALITY AS e (target_id, name, prefix_id, place)
           LEFT JOIN LATERAL (
               SELECT i.at, i.outcome, i.method, i.error_class
               FROM (SELECT r.mutation_id, r.day FROM events.raw r
                     WHERE r.kind = 4 AND r.endpoint = e.name AND r.target_id = e.target_id AND r.at < $4 AND r.day >= $5
                     ORDER BY r.at DESC LIMIT $6) m
               JOIN events.raw i ON i.kind = 3 AND i.mutation_id = m.mutation_id AND i.day BETWEEN m.day AND m.day + 1
               WHERE i.prefix_id = e.prefix_id AND i.at < $4
               ORDER BY i.at DESC LIMIT 1) found ON true
           ORDER BY e.place"#,
        &targets,
        &names,
        &prefixes,
        before,
        oldest.date_naive(),
        SEARCHED
    )
    .fetch_all(conn)
    .await?;
    let caused = |row: (Option<DateTime<Utc>>, Option<i16>, Option<i16>, Option<i16>)| {
        let (at, outcome, method, class) = row;
        Some(Caused {
            at: at?,
            ok: outcome == Some(Outcome::Ok.code()),
            method: method.and_then(Method::from_code)?,
            class: class.and_then(ErrorClass::from_code),
        })
    };
    Ok(rows.into_iter().map(|row| caused((row.at, row.outcome, row.method, row.error_class))).collect())
}
