//! The demo page's read model, and its one act: turning a bug of the simulated shop on or off.

use crate::domain::audit::Code;
use crate::error::Error;
use crate::server::auth::Viewer;
use crate::server::demo::shop::{Bug, Shop};
use crate::server::state::AppState;
use crate::server::store::audit;
use axum::http::StatusCode;
use serde::Serialize;
use std::sync::Arc;

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
    pub service: &'static str,
    pub on: bool,
}

/// The switches; an error where this server runs no shop.
pub fn load(app: &AppState) -> Result<Demo, Error> {
    let shop = shop(app)?;
    let switches = Bug::ALL
        .into_iter()
        .map(|bug| Switch {
            name: bug.name(),
            title: bug.title(),
            explanation: bug.explanation(),
            shows_at: bug.shows_at(),
            service: bug.releases().0.name(),
            on: shop.switches().is_on(bug),
        })
        .collect();
    Ok(Demo { switches })
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
    let bug = Bug::parse(name).ok_or_else(|| {
        Error::new(StatusCode::UNPROCESSABLE_ENTITY, "unknown_switch", "The shop has no such switch; nothing was turned. Reload the page.")
    })?;
    if shop.switches().is_on(bug) == on {
        return Ok(());
    }
    let mut tx = app.pools.record.begin().await?;
    audit::append(&mut tx, Code::DemoSwitched, &viewer.actor(), &Body { switch: bug.name(), on, scope: bug.shows_at() }).await?;
    tx.commit().await?;
    shop.switch(bug, on);
    Ok(())
}

fn shop(app: &AppState) -> Result<&Arc<Shop>, Error> {
    app.shop.get().ok_or_else(|| {
        Error::new(StatusCode::NOT_FOUND, "no_shop", "This server runs no simulated shop: `stalewatch demo` does, without `--no-shop`.")
    })
}
