//! The second factor before a flush starts or is approved: asked of whoever has one, and of everybody where the configuration says so.

use super::Refused;
use super::record::{PATIENCE, in_time};
use crate::domain::flush::State;
use crate::domain::operator::Viewer;
use crate::domain::second_factor::Due;
use crate::server::service::accounts::{self, FactorError, Shown};
use crate::server::state::AppState;

/// Whether what is wished for would start or approve a flush in this state. In every other state it is refused for that alone.
fn is_asked(wish: &str, state: State) -> bool {
    match wish {
        "" | "confirm" => state == State::Planned,
        "approve" | "break_glass" => state == State::AwaitingApproval,
        "start" => state == State::Approved,
        "resume" => state.may_resume(),
        _ => false,
    }
}

/// Takes the code where one is due.
pub(super) async fn step_up(app: &AppState, viewer: &Viewer, wish: &str, state: State, code: &str) -> Result<Option<Shown>, Refused> {
    if !is_asked(wish, state) {
        return Ok(None);
    }
    match viewer.factor.due(app.config().require_second_factor, app.clock.now()) {
        Due::Nothing => return Ok(None),
        Due::Enrolment => {
            return Err(Refused::forbidden(
                "enrol_first",
                "Everybody needs a second factor here (require_second_factor), and you have none. Nothing was done. Enrol one on your account page, then try again.",
            ));
        }
        Due::Code => {}
    }
    let work = {
        let (app, viewer, code) = (app.clone(), viewer.clone(), code.to_owned());
        async move { accounts::step_up(&app, &viewer, &code).await }
    };
    match in_time(PATIENCE, work).await {
        Some(Ok(shown)) => Ok(Some(shown)),
        Some(Err(error)) => Err(refused(&error)),
        None => Err(Refused::no_record()),
    }
}

fn refused(error: &FactorError) -> Refused {
    let sentence = error.to_string();
    let refused = match error {
        FactorError::Store(cause) => {
            tracing::error!(error.cause = %cause, "a second factor could not be checked");
            return Refused::no_record();
        }
        FactorError::Key(cause) => {
            tracing::error!(error.cause = %cause, "second factors cannot be read");
            Refused::away(error.code(), sentence)
        }
        FactorError::TooMany(seconds) => Refused::too_many(error.code(), sentence, *seconds),
        _ => Refused::forbidden(error.code(), sentence),
    };
    Refused { field: Some("code"), ..refused }
}
