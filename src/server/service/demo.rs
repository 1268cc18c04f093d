//! The demo page's read model, and its one act: turning a bug of the simulated shop on or off. The shop itself is behind [`Switchboard`], so
//! that nothing of the product depends on it.

use crate::domain::audit::Code;
use crate::error::Error;
use crate::server::auth::Viewer;
use crate::server::state::AppState;
use crate::server::store::audit;
use axum::http::StatusCode;
use serde::Serialize;
use std::sync::Arc;

/// What can be turned in this process.
pub trait Switchboard: Send + Sync {
    fn switches(&self) -> Vec<Switch>;
    /// Turns the switch of that name; nothing where there is none.
    fn turn(&self, name: &str, on: bool);
}

/// What the page shows.
#[derive(Clone, Debug)]
pub struct Demo {
    pub switches: Vec<Switch>,
}

/// One bug of the shop.
#[derive(Clone, Debug)]
pub struct Switch {
    pub name: &'static str,
    pub title: &'static str,
    pub explanation: &'static str,
    /// The prefix where it shows first.
    pub shows_at: &'static str,
    /// Whose code it is.
    pub service: &'static str,
    pub on: bool,
}

/// The switches; an error where this server runs no shop.
pub fn load(app: &AppState) -> Result<Demo, Error> {
    Ok(Demo { switches: shop(app)?.switches() })
}

/// Turns the bug named `name`. The record is committed first: without it nothing is turned. Turning to what already is changes nothing.
pub async fn turn(app: &AppState, viewer: &Viewer, name: &str, on: bool) -> Result<(), Error> {
    #[derive(Serialize)]
    struct Body<'a> {
        switch: &'a str,
        on: bool,
        scope: &'a str,
    }
    let shop = shop(app)?;
    let switch = shop.switches().into_iter().find(|switch| switch.name == name).ok_or_else(|| {
        Error::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_switch", "The shop has no such switch. Reload the page and press again.")
    })?;
    if switch.on == on {
        return Ok(());
    }
    let mut tx = app.pools.record.begin().await?;
    audit::append(&mut tx, Code::DemoSwitched, &viewer.actor(), &Body { switch: switch.name, on, scope: switch.shows_at }).await?;
    tx.commit().await?;
    shop.turn(switch.name, on);
    Ok(())
}

fn shop(app: &AppState) -> Result<&Arc<dyn Switchboard>, Error> {
    app.shop.get().ok_or_else(|| {
        Error::new(StatusCode::NOT_FOUND, "no_shop", "This server runs no simulated shop: `stalewatch demo` does, without `--no-shop`.")
    })
}
