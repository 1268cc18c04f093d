//! Raising a generation: one `INCR`, on whichever master has the key. It is not sent again where its answer was lost, since nobody knows then
//! whether it was carried out.

use super::route::Routes;
use super::{AWAY_AT_MOST, Answers, End, FAILOVER_AT_MOST, Gate, Report, Stop, TRY_AGAIN_AFTER};
use crate::domain::flush::Permit;
use crate::server::redis::connect::Fault;
use crate::server::redis::endpoint::Endpoint;
use redis::{Value, cmd};
use std::time::Instant;

/// Raises the number under `key` by one. Blocks; belongs on a thread of its own.
pub fn bump(permit: &Permit, endpoint: &Endpoint, key: &[u8], gate: &impl Gate) -> Report {
    tracing::info!(flush.id = permit.flush_id(), flush.epoch = permit.lease_epoch(), redis.at = ?endpoint, "a generation is raised");
    let mut report = Report { answers: Answers::default(), end: End::Complete, run_id: String::new(), steady: true, generation: None };
    match gate.admit(1) {
        Ok(1..) => {}
        Ok(0) => {
            report.end = End::Stopped(Stop::Cap);
            return report;
        }
        Err(stop) => {
            report.end = End::Stopped(stop);
            return report;
        }
    }
    let begun = Instant::now();
    let patience = if endpoint.fails_over() { FAILOVER_AT_MOST } else { AWAY_AT_MOST };
    loop {
        let fault = match attempt(endpoint, key, &mut report.run_id) {
            Ok(generation) => {
                report.generation = Some(generation);
                report.answers.removed = 1;
                gate.answered(1, &report.answers);
                return report;
            }
            Err(Attempt::NotCarriedOut(fault)) if fault.may_pass() && begun.elapsed() < patience => fault,
            Err(Attempt::NotCarriedOut(fault)) => {
                report.end = fail(&mut report.answers, gate, fault.code(), fault.clone());
                return report;
            }
            Err(Attempt::Unanswered(fault)) => {
                report.end = fail(&mut report.answers, gate, "unanswered", fault);
                return report;
            }
        };
        tracing::warn!(flush.id = permit.flush_id(), error.cause = %fault, "a generation cannot be raised yet");
        std::thread::sleep(TRY_AGAIN_AFTER);
        if let Err(stop) = gate.admit(0) {
            report.end = End::Stopped(stop);
            return report;
        }
    }
}

fn fail(answers: &mut Answers, gate: &impl Gate, class: &str, fault: Fault) -> End {
    answers.failed = 1;
    answers.failed_by_class.insert(class.to_owned(), 1);
    gate.answered(1, answers);
    End::Fault(fault)
}

enum Attempt {
    NotCarriedOut(Fault),
    /// Sent, and nobody knows what became of it.
    Unanswered(Fault),
}

fn attempt(endpoint: &Endpoint, key: &[u8], run_id: &mut String) -> Result<i64, Attempt> {
    let topology = endpoint.resolve().map_err(Attempt::NotCarriedOut)?;
    run_id.clone_from(&topology.fingerprint);
    let mut master = topology.masters.into_iter().next().ok_or(Attempt::NotCarriedOut(Fault::Garbled))?;
    let command = cmd("INCR").arg(key).get_packed_command();
    let told = |fault| if matches!(fault, Fault::Unreachable(_)) { Attempt::Unanswered(fault) } else { Attempt::NotCarriedOut(fault) };
    let answer = match master.link.ask(cmd("INCR").arg(key)) {
        Err(Fault::Moved(redirect)) => Routes::new(master.node).follow(redirect, &command),
        answer => answer,
    };
    match answer.map_err(told)? {
        Value::Int(generation) => Ok(generation),
        _ => Err(Attempt::Unanswered(Fault::Garbled)),
    }
}
