//! Following a cluster's redirects: keys whose slot is on its way, or already elsewhere.

use crate::server::redis::connect::{Fault, Link, Node, Redirect};
use redis::{Value, cmd};
use std::collections::HashMap;

/// Redirects followed for one command.
const HOPS: u32 = 3;

/// Connections to other masters, opened where a redirect asks for one.
pub(super) struct Routes {
    from: Node,
    links: HashMap<(String, u16), Link>,
}

impl Routes {
    pub(super) fn new(from: Node) -> Self {
        Self { from, links: HashMap::new() }
    }

    /// Sends the packed command where the redirect says. `Err` that [may pass](Fault::may_pass): it was not carried out, unless the connection
    /// was lost.
    pub(super) fn follow(&mut self, redirect: Redirect, command: &[u8]) -> Result<Value, Fault> {
        let mut redirect = redirect;
        for _ in 0..HOPS {
            let place = (redirect.host.clone(), redirect.port);
            let mut link = match self.links.remove(&place) {
                Some(link) => link,
                None => Link::open(&self.from.at(&redirect.host, redirect.port))?,
            };
            let mut packed = if redirect.ask { cmd("ASKING").get_packed_command() } else { Vec::new() };
            packed.extend_from_slice(command);
            let mut answer = Value::Nil;
            link.exchange(&packed, 1 + usize::from(redirect.ask), |_, value| {
                answer = value;
                Ok(())
            })?;
            self.links.insert(place, link);
            match answer {
                Value::ServerError(error) => match Link::refusal(&error) {
                    Fault::Moved(next) => redirect = next,
                    fault => return Err(fault),
                },
                value => return Ok(value),
            }
        }
        Err(Fault::Moved(redirect))
    }
}
