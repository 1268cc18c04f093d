//! Going on with a flush that was cut off.

use super::LEASE;
use super::runs::{Refusal, started};
use crate::domain::flush::{Resumption, first_grant};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// From where it was cut off to `starting`, under a new epoch. Its counts stay; what nobody knows of earlier runs stays within `granted`. The
/// transaction's commit then waits for the disk.
pub async fn mark_resumed(
    conn: &mut PgConnection,
    resumption: &Resumption,
    now: DateTime<Utc>,
) -> Result<Result<i32, Refusal>, sqlx::Error> {
    sqlx::query!("SET LOCAL synchronous_commit = on").execute(&mut *conn).await?;
    let marked = sqlx::query_scalar!(
        "UPDATE control.flushes SET state = 'starting', state_at = $2, version = version + 1, begun_at = $2, resumed = resumed + 1, cap = $3,
                carried = $4, granted = $4::bigint + $5::bigint, cancel_by = NULL, cause = NULL, cause_detail = NULL, ended_at = NULL, residue = NULL, sampled = NULL,
                proven = false, verdict = NULL, judgement = NULL, verdict_due = NULL,
                lease_epoch = lease_epoch + 1, lease_until = clock_timestamp() + make_interval(secs => $6)
         WHERE id = $1 AND state = $7 AND lease_epoch = $8 RETURNING lease_epoch",
        resumption.flush_id(),
        now,
        resumption.cap().cast_signed(),
        resumption.carried().cast_signed(),
        first_grant(resumption.left()).cast_signed(),
        LEASE.as_secs_f64(),
        resumption.step().from().as_str(),
        resumption.lease_epoch()
    )
    .fetch_optional(&mut *conn)
    .await;
    if matches!(marked, Ok(Some(_))) {
        // They were of an end that was none.
        sqlx::query!("DELETE FROM control.verdicts WHERE flush_id = $1", resumption.flush_id()).execute(conn).await?;
    }
    started(marked)
}
