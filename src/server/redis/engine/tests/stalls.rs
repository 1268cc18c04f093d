//! A Redis that falls silent, or is another process at the same place, in the middle of a removal: what is called complete is complete.

use super::*;
use std::collections::VecDeque;

const KEYS: u64 = 20_000;

/// What happens once so many keys are removed; Redis gets the next batch after it.
type Event<'a> = (u64, Box<dyn FnOnce() + Send + 'a>);

/// Lets everything through, and lets things happen on the way.
struct Eventful<'a>(Mutex<VecDeque<Event<'a>>>);

impl Gate for Eventful<'_> {
    fn admit(&self, wanted: u64) -> Result<u64, Stop> {
        Ok(wanted)
    }

    fn answered(&self, _: u64, so_far: &Answers) {
        let mut events = self.0.lock().unwrap();
        while events.front().is_some_and(|(removed, _)| so_far.removed >= *removed) {
            let (_, happens) = events.pop_front().unwrap();
            happens();
        }
    }
}

/// Removes `cart:` from a Redis that also holds a neighbour, while the events happen, all of them.
fn remove_while<'a>(endpoint: &Endpoint, con: &mut redis::Connection, events: impl IntoIterator<Item = Event<'a>>) -> Report {
    let carts = (0..KEYS).map(|i| format!("cart:{i}:x").into_bytes());
    set_all(con, &carts.chain([b"carts:1".to_vec()]).collect::<Vec<_>>());
    let scope = Scope::parse("cart:", None, b':', &[]).unwrap();
    let gate = Eventful(Mutex::new(events.into_iter().collect()));
    let work = Work { endpoint, scope: &scope, deed: Deed::Remove, pace: Pace::Normal, bystanders: None };
    let report = remove(&Permit::after_commit(1, 1), &work, &gate);
    assert!(gate.0.lock().unwrap().is_empty(), "it happened in the middle");
    report
}

/// Redis does not answer from a moment in the middle on, for as long as `silence` says.
fn is_finished_after(silence: &redis::Cmd) -> Report {
    let redis = OwnRedis::start();
    let mut silent = redis.connect();
    let packed = silence.get_packed_command();
    // Its own answer comes when the silence is over, so nobody waits for it.
    let event: Event<'_> = (KEYS / 5, Box::new(move || silent.send_packed_command(&packed).unwrap()));
    let report = remove_while(&redis.endpoint(), &mut redis.connect(), [event]);
    assert!(matches!(report.end, End::Complete) && report.steady, "{report:?}");
    assert_eq!((report.answers.removed + report.answers.gone, report.answers.failed), (KEYS, 0));
    assert_eq!(all_keys(&mut redis.connect()), BTreeSet::from([b"carts:1".to_vec()]));
    report
}

#[test]
fn a_redis_that_sleeps_is_waited_for() {
    let report = is_finished_after(cmd("DEBUG").arg("SLEEP").arg(3));
    assert_eq!(report.answers.gone, 0, "nothing was lost, so all that was removed is known");
}

#[test]
fn a_redis_that_is_paused_for_longer_than_a_reply_may_take_is_connected_to_anew() {
    is_finished_after(cmd("CLIENT").arg("PAUSE").arg(6_000).arg("ALL"));
}

#[test]
fn what_a_restart_brings_back_is_removed_again_before_anything_is_called_complete() {
    let redis = OwnRedis::start();
    let (endpoint, mut con) = (redis.endpoint(), redis.connect());
    let redis = Mutex::new(redis);
    let saves: Event<'_> = (
        KEYS / 5,
        Box::new(|| {
            let () = cmd("SAVE").query(&mut redis.lock().unwrap().connect()).unwrap();
        }),
    );
    let restarts: Event<'_> = (KEYS / 2, Box::new(|| redis.lock().unwrap().restart()));
    let report = remove_while(&endpoint, &mut con, [saves, restarts]);
    assert!(matches!(report.end, End::Complete) && report.steady, "{report:?}");
    assert!(report.answers.removed > KEYS, "what had come back was removed a second time: {report:?}");
    let left = all_keys(&mut redis.lock().unwrap().connect());
    assert_eq!(left, BTreeSet::from([b"carts:1".to_vec()]));
}
