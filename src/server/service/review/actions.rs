//! Review actions: adding and closing. Each is one transaction with its audit record.

use super::Action;
use crate::domain::audit::{Actor, Code};
use crate::domain::review::{NewAction, Week};
use crate::server::store::{audit, reviews};
use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgPool;

/// Why the list of actions was not changed. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    #[error("That action is open in week {0} already; it was not added again.")]
    Exists(Week),
    #[error("There is no action {0}; nothing was closed. Reload the page.")]
    Unknown(i64),
    #[error("That action was closed by {by} already; nothing was changed.")]
    Closed { by: String },
    #[error(transparent)]
    Store(#[from] sqlx::Error),
}

impl From<reviews::Action> for Action {
    fn from(row: reviews::Action) -> Self {
        Self {
            id: row.id,
            text: row.text,
            owner: row.owner,
            due: row.due,
            week: row.week,
            closed_at: row.closed_at,
            closed_by: row.closed_by,
            outcome: row.outcome,
        }
    }
}

/// Adds an action to a week's review and gives its number.
pub async fn add_action(pool: &PgPool, now: DateTime<Utc>, actor: &Actor, week: Week, action: &NewAction) -> Result<i64, ActionError> {
    let mut tx = pool.begin().await?;
    let Some(id) = reviews::insert_action(&mut tx, &week.to_string(), action, actor.name(), now).await? else {
        return Err(ActionError::Exists(week));
    };
    let record = json!({"action": id, "week": week.to_string(), "text": action.text, "owner": action.owner, "due": action.due});
    audit::append(&mut tx, Code::ReviewActionAdded, actor, &record).await?;
    tx.commit().await?;
    Ok(id)
}

/// Closes an open action, with what came of it.
pub async fn close_action(pool: &PgPool, now: DateTime<Utc>, actor: &Actor, id: i64, outcome: Option<&str>) -> Result<Action, ActionError> {
    let mut tx = pool.begin().await?;
    let Some(closed) = reviews::mark_action_closed(&mut tx, id, outcome, actor.name(), now).await? else {
        let found = reviews::find_action(&mut tx, id).await?;
        return Err(found.map_or(ActionError::Unknown(id), |action| ActionError::Closed { by: action.closed_by.unwrap_or_default() }));
    };
    let record = json!({"action": id, "week": closed.week, "text": closed.text, "owner": closed.owner, "outcome": outcome});
    audit::append(&mut tx, Code::ReviewActionClosed, actor, &record).await?;
    tx.commit().await?;
    Ok(closed.into())
}
