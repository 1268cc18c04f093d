//! The shop's bugs as the demo page turns them.

use super::shop::{Bug, Shop};
use crate::server::service::demo::{Switch, Switchboard};

impl Switchboard for Shop {
    fn switches(&self) -> Vec<Switch> {
        Bug::ALL
            .into_iter()
            .map(|bug| Switch {
                name: bug.name(),
                title: bug.title(),
                explanation: bug.explanation(),
                shows_at: bug.shows_at(),
                service: bug.releases().0.name(),
                on: self.is_on(bug),
            })
            .collect()
    }

    fn turn(&self, name: &str, on: bool) {
        if let Some(bug) = Bug::parse(name) {
            self.switch(bug, on);
        }
    }
}
