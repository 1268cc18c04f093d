//! Review actions in Postgres.

use crate::domain::review::NewAction;
use chrono::{DateTime, NaiveDate, Utc};
use sqlx::PgConnection;

/// One action as stored.
#[derive(Clone, Debug)]
pub struct Action {
    pub id: i64,
    pub text: String,
    pub owner: String,
    pub due: NaiveDate,
    /// The week it was added in, `2026-W47`.
    pub week: String,
    pub closed_at: Option<DateTime<Utc>>,
    pub closed_by: Option<String>,
    pub outcome: Option<String>,
}

/// Adds an action; its number, or None where the same text is open in that week already.
pub async fn insert_action(
    conn: &mut PgConnection,
    week: &str,
    action: &NewAction,
    by: &str,
    now: DateTime<Utc>,
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO control.review_actions (text, owner, due, week, opened_at, opened_by) VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (week, lower(text)) WHERE closed_at IS NULL DO NOTHING RETURNING id",
        action.text,
        action.owner,
        action.due,
        week,
        now,
        by
    )
    .fetch_optional(conn)
    .await
}

/// One action by its number.
pub async fn find_action(conn: &mut PgConnection, id: i64) -> Result<Option<Action>, sqlx::Error> {
    sqlx::query_as!(
        Action,
        "SELECT id, text, owner, due, week, closed_at, closed_by, outcome FROM control.review_actions WHERE id = $1",
        id
    )
    .fetch_optional(conn)
    .await
}

/// Closes an open action and gives it back; None where there is none of that number or it is closed.
pub async fn mark_action_closed(
    conn: &mut PgConnection,
    id: i64,
    outcome: Option<&str>,
    by: &str,
    now: DateTime<Utc>,
) -> Result<Option<Action>, sqlx::Error> {
    sqlx::query_as!(
        Action,
        "UPDATE control.review_actions SET closed_at = $2, closed_by = $3, outcome = $4 WHERE id = $1 AND closed_at IS NULL
         RETURNING id, text, owner, due, week, closed_at, closed_by, outcome",
        id,
        now,
        by,
        outcome
    )
    .fetch_optional(conn)
    .await
}

/// What a week's review shows: actions of that week or earlier that were not closed before `from`, where it begins; open ones first, the
/// earliest due first. At most 500.
pub async fn list_actions(conn: &mut PgConnection, week: &str, from: DateTime<Utc>) -> Result<Vec<Action>, sqlx::Error> {
    // Weeks are written so that their order is that of their text.
    sqlx::query_as!(
        Action,
        r#"SELECT id, text, owner, due, week, closed_at, closed_by, outcome FROM control.review_actions
           WHERE week COLLATE "C" <= $1 AND (closed_at IS NULL OR closed_at >= $2)
           ORDER BY closed_at IS NOT NULL, due, id LIMIT 500"#,
        week,
        from
    )
    .fetch_all(conn)
    .await
}

/// A flush that was confirmed: it began, or was kept from it.
#[derive(Clone, Debug)]
pub struct Flushed {
    pub id: i64,
    /// When it was confirmed.
    pub at: DateTime<Utc>,
    pub target: String,
    pub scope: String,
    pub mode: String,
    pub state: String,
    pub by: String,
    pub reason: Option<String>,
    pub planned: Option<i64>,
    pub removed: i64,
    pub residue: Option<i64>,
    pub wide: bool,
    pub break_glass: bool,
    pub verdict: Option<String>,
}

/// The flushes confirmed in a span, oldest first. At most 1,000.
pub async fn list_flushes(conn: &mut PgConnection, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Vec<Flushed>, sqlx::Error> {
    sqlx::query_as!(
        Flushed,
        r#"SELECT id, confirmed_at AS "at!", target, scope, mode, state, author AS by, reason, matched AS planned, removed, residue,
                  cardinality(wide) > 0 AS "wide!", break_glass_reason IS NOT NULL AS "break_glass!", verdict
           FROM control.flushes WHERE confirmed_at >= $1 AND confirmed_at < $2 ORDER BY confirmed_at, id LIMIT 1000"#,
        from,
        to
    )
    .fetch_all(conn)
    .await
}

/// How many there were.
pub async fn count_flushes(conn: &mut PgConnection, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<u32, sqlx::Error> {
    let count =
        sqlx::query_scalar!(r#"SELECT count(*) AS "n!" FROM control.flushes WHERE confirmed_at >= $1 AND confirmed_at < $2"#, from, to)
            .fetch_one(conn)
            .await?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}
