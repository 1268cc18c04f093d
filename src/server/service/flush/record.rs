//! Transactions: a change of state and its audit record, together or not at all.

use super::Refused;
use crate::domain::audit::{Actor, Code};
use crate::domain::flush::State;
use crate::domain::operator::Viewer;
use crate::server::state::AppState;
use crate::server::store::audit;
use crate::server::store::flushes::Flush;
use serde_json::{Map, Value, json};
use sqlx::{Postgres, Transaction};
use std::future::Future;
use std::time::Duration;

/// Whoever waits for the record at a form is told within this time.
pub(super) const PATIENCE: Duration = Duration::from_secs(6);

/// What an audit record says beside who and when.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub code: Code,
    pub actor: Actor,
    pub body: Map<String, Value>,
}

impl Told {
    /// Of a flush that is in `state` from now on.
    pub(super) fn of(code: Code, actor: Actor, flush: &Flush, state: State) -> Self {
        let mut body = Map::new();
        body.insert("flush".into(), json!(flush.id));
        body.insert("state".into(), json!(state.as_str()));
        body.insert("target".into(), json!(flush.target));
        body.insert("scope".into(), json!(flush.scope));
        body.insert("mode".into(), json!(flush.mode.as_str()));
        Self { code, actor, body }
    }

    pub(super) fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.body.insert(field.to_owned(), value.into());
        self
    }
}

/// Whoever planned this flush, as the audit names them.
pub(super) fn author(flush: &Flush) -> Actor {
    let role = crate::domain::operator::Role::parse(&flush.author_role).unwrap_or(crate::domain::operator::Role::Operator);
    Actor::User { id: flush.author_id, email: flush.author.clone(), role }
}

/// Appends the record as the transaction's last statement and commits, if the change was made at all.
pub(super) async fn seal(mut change: Transaction<'_, Postgres>, made: bool, told: &Told) -> Result<bool, sqlx::Error> {
    if !made {
        change.rollback().await?;
        return Ok(false);
    }
    audit::append(&mut change, told.code, &told.actor, &told.body).await?;
    change.commit().await?;
    Ok(true)
}

/// Runs database work to its end, but waits for it no longer than `patience`: a Postgres that is frozen answers nothing, not even an error.
/// None: nobody knows (yet).
pub(super) async fn in_time<T: Send + 'static>(patience: Duration, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    tokio::time::timeout(patience, tokio::spawn(work)).await.ok()?.ok()
}

/// The same, for work whose failure is the same to whoever waits as its silence.
pub(super) async fn recorded<T: Send + 'static>(work: impl Future<Output = Result<T, sqlx::Error>> + Send + 'static) -> Result<T, Refused> {
    match in_time(PATIENCE, work).await {
        Some(Ok(done)) => Ok(done),
        Some(Err(cause)) => {
            tracing::error!(error.cause = %cause, "the record of flushes could not be used");
            Err(Refused::no_record())
        }
        None => Err(Refused::no_record()),
    }
}

/// Keeps a record of what a signed-in person was refused. It does not hold up the answer, and its own failure changes nothing.
pub(super) fn note_refusal(
    app: &AppState,
    viewer: &Viewer,
    attempt: &str,
    flush: Option<i64>,
    target: &str,
    scope: &str,
    refused: &Refused,
) {
    let (pool, actor) = (app.pools.record.clone(), viewer.actor());
    let short = |text: &str| text.chars().take(1_100).collect::<String>();
    let body = json!({
        "attempt": attempt, "flush": flush, "target": short(target), "scope": short(scope), "code": refused.error.code,
        "status": refused.error.status.as_u16(),
    });
    tokio::spawn(async move {
        let noted = async {
            let mut change = pool.begin().await?;
            audit::append(&mut change, Code::FlushRefused, &actor, &body).await?;
            change.commit().await
        };
        if let Err(cause) = noted.await {
            tracing::warn!(error.cause = %cause, "a refused flush could not be recorded");
        }
    });
}
