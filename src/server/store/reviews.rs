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

/// What a week's review shows: actions opened before `to` that were open at `from` or later, the earliest due first. At most 500.
pub async fn list_actions(conn: &mut PgConnection, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Vec<Action>, sqlx::Error> {
    sqlx::query_as!(
        Action,
        "SELECT id, text, owner, due, week, closed_at, closed_by, outcome FROM control.review_actions
         WHERE opened_at < $2 AND (closed_at IS NULL OR closed_at >= $1)
         ORDER BY closed_at IS NOT NULL, due, id LIMIT 500",
        from,
        to
    )
    .fetch_all(conn)
    .await
}
