//! The simulated users: who comes when, and what they do. Arrivals do not wait for answers, as real ones do not.

use super::{Ground, Services, accounts, billing, carts, catalog, search, switches::Bug};
use std::{sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::Instant};

/// Visits, saves and payments under way at a time; who comes then goes away again.
const MAX_AT_ONCE: usize = 256;
/// The opening rush: enough writes that a minute after the start says something.
const RUSH: Duration = Duration::from_secs(90);
const RUSH_FACTOR: f64 = 2.5;
/// How many of the saves are a new avatar.
pub const AVATAR_SHARE: f64 = 0.13;

/// Arrivals per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crowd {
    Visitors,
    Savers,
    Buyers,
    Payers,
    Merchants,
}

impl Crowd {
    const ALL: [Crowd; 5] = [Crowd::Visitors, Crowd::Savers, Crowd::Buyers, Crowd::Payers, Crowd::Merchants];

    fn per_second(self) -> f64 {
        match self {
            Crowd::Visitors => 5.0,
            Crowd::Savers => 0.3,
            Crowd::Buyers => 0.22,
            Crowd::Payers => 0.2,
            Crowd::Merchants => 0.12,
        }
    }
}

/// Opens the doors: arrivals until the shop stops.
pub fn open(ground: &Arc<Ground>, services: &Arc<Services>) {
    let places = Arc::new(Semaphore::new(MAX_AT_ONCE));
    let opened = Instant::now();
    for crowd in Crowd::ALL {
        let (ground, services, places) = (Arc::clone(ground), Arc::clone(services), Arc::clone(&places));
        ground.tasks.clone().spawn(async move {
            loop {
                // Only of those who write: readers in a rush would make the first stampede far worse than any later one.
                let rush = if opened.elapsed() < RUSH && crowd != Crowd::Visitors { RUSH_FACTOR } else { 1.0 };
                let gap = ground.dice.gap(crowd.per_second() * rush);
                if ground.stop.run_until_cancelled(tokio::time::sleep(gap)).await.is_none() {
                    return;
                }
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
                let (ground_too, services) = (Arc::clone(&ground), Arc::clone(&services));
                ground.tasks.spawn(async move {
                    let stop = ground_too.stop.clone();
                    stop.run_until_cancelled(come(crowd, &ground_too, &services)).await;
                    drop(place);
                });
            }
        });
    }
}

async fn come(crowd: Crowd, ground: &Ground, services: &Services) {
    let dice = &ground.dice;
    match crowd {
        Crowd::Visitors => visit(ground, services).await,
        Crowd::Savers => {
            // Opens the settings, changes something, saves.
            let user = dice.popular(accounts::USERS);
            services.accounts.session(user).await;
            tokio::join!(services.accounts.read_profile(user, accounts::OWN_PAGE), services.accounts.read_own_summary(user));
            tokio::time::sleep(dice.between(Duration::from_millis(300), Duration::from_millis(900))).await;
            services.accounts.write(user, dice.chance(AVATAR_SHARE)).await;
        }
        Crowd::Buyers => {
            // The page loads the mini cart while the first item is on its way already; half of the buyers add another later.
            let cart = dice.popular(carts::CARTS);
            let add = async {
                tokio::time::sleep(dice.between(Duration::from_millis(5), Duration::from_millis(180))).await;
                services.carts.add_item(cart).await;
            };
            tokio::join!(services.carts.read(cart, carts::MINI_CART), add);
            if dice.chance(0.5) {
                tokio::time::sleep(dice.between(Duration::from_secs(3), Duration::from_secs(40))).await;
                services.carts.add_item(cart).await;
            }
        }
        Crowd::Payers => {
            let account = dice.popular(billing::ACCOUNTS);
            services.billing.read(account, billing::INVOICE_PAGE).await;
            tokio::time::sleep(dice.between(Duration::from_millis(300), Duration::from_millis(900))).await;
            services.billing.pay(account).await;
        }
        Crowd::Merchants => services.catalog.write(1 + dice.below(catalog::PRODUCTS)).await,
    }
}

async fn visit(ground: &Ground, services: &Services) {
    let dice = &ground.dice;
    let user = dice.popular(accounts::USERS);
    services.accounts.session(user).await;
    if dice.chance(0.6) {
        tokio::join!(services.accounts.read_profile(user, accounts::OWN_PAGE), services.accounts.read_own_summary(user));
    } else {
        let other = dice.popular(accounts::USERS);
        tokio::join!(
            services.accounts.read_profile(other, accounts::PUBLIC_PAGE),
            services.accounts.read_summary(other, accounts::PUBLIC_PAGE),
        );
    }
    if dice.chance(0.3) && ground.switches.is_on(Bug::UnknownKeys) {
        services.search.banner().await;
    }
    if dice.chance(0.6) {
        services.catalog.read_category(dice.popular(catalog::PRODUCTS)).await;
    }
    if dice.chance(0.4) {
        services.catalog.read_product(dice.popular(catalog::PRODUCTS)).await;
    }
    if dice.chance(0.3) {
        services.search.read(dice.popular(search::QUERIES)).await;
    }
    if dice.chance(0.2) {
        services.carts.read(dice.popular(carts::CARTS), carts::MINI_CART).await;
    }
    if dice.chance(0.15) {
        services.billing.read(dice.popular(billing::ACCOUNTS), billing::INVOICE_PAGE).await;
    }
}
