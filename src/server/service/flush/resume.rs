//! Going on with a flush that was cut off: by its author, soon after, within its cap. Nothing resumes by itself.

use super::start::{self, Start};
use super::{Refused, approve};
use crate::domain::flush::{ApprovalError, CutOff, ResumeError, cap};
use crate::domain::operator::Viewer;
use crate::server::config::Target;
use crate::server::state::AppState;
use crate::server::store::flushes::Flush;
use std::collections::BTreeMap;

/// Keys sent whose answer was lost, in what failed: they may have been removed.
const UNANSWERED: &str = "unanswered";

/// A flush as one that was cut off. A wide one keeps the cap that was confirmed (and approved); a narrow one's is its target's `max_keys`,
/// which may have changed.
pub(super) fn cut_off(flush: &Flush, target: Option<&Target>) -> CutOff {
    let by_class: BTreeMap<String, u64> = serde_json::from_str(&flush.failed_by_class).unwrap_or_default();
    let kept = flush.cap.unwrap_or(0);
    CutOff {
        flush_id: flush.id,
        author_id: flush.author_id,
        mode: flush.mode,
        state: flush.state,
        lease_epoch: flush.lease_epoch,
        ended_at: flush.ended_at,
        cap: match target {
            Some(target) if !flush.is_wide() => cap(flush.mode, flush.matched.unwrap_or(0), false, target.max_keys),
            _ => kept,
        },
        removed: flush.removed,
        failed: flush.failed,
        unknown: flush.granted + by_class.get(UNANSWERED).copied().unwrap_or(0),
    }
}

pub(super) fn refused(error: ResumeError) -> Refused {
    let sentence = match error {
        ResumeError::NotCutOff => "This flush is not one that was cut off, or it goes on already: there is nothing to resume.",
        ResumeError::OneStep => {
            "Raising a generation is one step, of which nothing is left to go on with. Nothing was done; plan it again."
        }
        ResumeError::TooLate => {
            "It ended too long ago: a flush may be resumed for 15 minutes. Nothing was done; plan the same scope again."
        }
        ResumeError::NotTheAuthor => "A flush is resumed by the person who started it. Nothing was done; plan the same scope yourself.",
        ResumeError::CapUsedUp => {
            "Its cap is used up, and a resume does not raise it. Nothing was done; plan the same scope again for the rest."
        }
    };
    match error {
        ResumeError::NotTheAuthor => Refused::forbidden(error.code(), sentence),
        _ => Refused::state(error.code(), sentence),
    }
}

pub(super) async fn resume(app: &AppState, viewer: &Viewer, flush: Flush) -> Result<(), Refused> {
    let config = app.config();
    let resumption = cut_off(&flush, config.target(&flush.target)).resume(viewer.user_id, app.clock.now()).map_err(refused)?;
    if approve::request(&flush).is_some_and(|request| request.asked != request.present) {
        return Err(approve::refused(ApprovalError::HashChanged));
    }
    let place = start::checked(app, &flush).await?;
    start::commit(app, viewer, flush, Start::Resumed(resumption), place).await
}
