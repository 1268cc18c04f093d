//! What the reader may do to a flush now; and in the place of what they may not, one sentence.

use super::pages::{Can, Resume};
use super::resume::cut_off;
use crate::domain::flush::{Mode, State};
use crate::domain::operator::{Permission, Viewer};
use crate::server::config::{Approvals, Config, Target};
use crate::server::store::flushes::Flush;
use chrono::{DateTime, Utc};

/// `state`: as of now, with what has expired by the clock.
pub(super) fn can(config: &Config, viewer: &Viewer, flush: &Flush, state: State, now: DateTime<Utc>) -> Can {
    let (mine, flushes) = (flush.author_id == viewer.user_id, viewer.may(Permission::Flush));
    let target = config.target(&flush.target);
    let can = match state {
        State::AwaitingApproval => awaiting(viewer, flush, target, mine),
        State::Approved => approved(viewer, flush, target, mine),
        _ if !flushes => Can {
            sentence: Some("Your role reads flushes; operators and admins plan, confirm and cancel them.".to_owned()),
            ..Can::default()
        },
        State::Planned => planned(flush, target, mine),
        State::Starting | State::Running | State::Paused => Can { cancel: flush.cancel_by.is_none(), ..Can::default() },
        state if state.may_resume() => resumable(flush, target, mine, viewer, now),
        state => Can { replan: state.is_final(), ..Can::default() },
    };
    let can = Can { factor: viewer.factor.due(config.require_second_factor, now), ..can };
    if viewer.read_only { Can { sentence: can.sentence, ..Can::default() } } else { can }
}

fn planned(flush: &Flush, target: Option<&Target>, mine: bool) -> Can {
    let sentence = match target {
        _ if !mine => {
            Some(format!("This plan is {}'s; a plan is confirmed by the person who made it. Plan the same scope yourself.", flush.author))
        }
        None => Some("This target is not configured any more.".to_owned()),
        Some(_) => None,
    };
    let asks = flush.is_wide() && target.is_some_and(|target| target.approvals == Approvals::Wide);
    Can { confirm: sentence.is_none(), asks, replan: sentence.is_some(), sentence, ..Can::default() }
}

fn awaiting(viewer: &Viewer, flush: &Flush, target: Option<&Target>, mine: bool) -> Can {
    let withdraw = viewer.may(Permission::Flush) && (mine || viewer.may(Permission::Administer));
    let breaks = mine && viewer.may(Permission::BreakGlass);
    let configured = target.is_some_and(|target| target.break_glass);
    let approve = viewer.may(Permission::Approve) && !mine;
    let sentence = match (approve, mine) {
        (true, _) => None,
        (_, true) if viewer.may(Permission::Approve) => {
            Some("You asked for this yourself, so somebody else has to decide on it.".to_owned())
        }
        (_, true) if breaks && !configured => Some(
            "Another person with the role approver decides. Going on without one is off for this target (break_glass = false).".to_owned(),
        ),
        (_, true) => Some("Another person with the role approver decides; every page of theirs shows that you wait.".to_owned()),
        (_, false) => Some(format!("{} waits for a person with the role approver. Your role cannot approve it.", flush.author)),
    };
    Can { approve, cancel: withdraw, break_glass: breaks && configured, sentence, ..Can::default() }
}

fn approved(viewer: &Viewer, flush: &Flush, target: Option<&Target>, mine: bool) -> Can {
    let flushes = viewer.may(Permission::Flush);
    let sentence = match target {
        _ if !(mine && flushes) => Some(format!("Only {}, who asked for it, can start it.", flush.author)),
        None => Some("This target is not configured any more.".to_owned()),
        Some(_) => None,
    };
    let withdraw = flushes && (mine || viewer.may(Permission::Administer));
    Can { start: sentence.is_none(), cancel: withdraw, sentence, ..Can::default() }
}

fn resumable(flush: &Flush, target: Option<&Target>, mine: bool, viewer: &Viewer, now: DateTime<Utc>) -> Can {
    let cut_off = cut_off(flush, target);
    let until = cut_off.until().filter(|until| now < *until);
    let sentence = match (until, target) {
        (None, _) => Some("It may not be resumed any more: that holds for 15 minutes after the end.".to_owned()),
        (Some(_), None) => Some("This target is not configured any more.".to_owned()),
        (Some(_), Some(_)) if !mine => Some(format!("Only {}, who started it, can resume it.", flush.author)),
        (Some(_), Some(_)) if flush.mode == Mode::Version => {
            Some("Raising a generation is one step, so there is nothing to resume. Plan it again.".to_owned())
        }
        (Some(_), Some(_)) if cut_off.left() == 0 => Some(
            "It cannot be resumed: its cap is used up, and a resume does not raise it. Plan the same scope again for the rest.".to_owned(),
        ),
        _ => None,
    };
    let resume = until.filter(|_| sentence.is_none() && cut_off.resume(viewer.user_id, now).is_ok());
    let resume = resume.map(|until| Resume { until, left: cut_off.left(), cap: cut_off.cap });
    Can { resume, replan: true, sentence, ..Can::default() }
}
