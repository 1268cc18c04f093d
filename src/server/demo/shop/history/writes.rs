//! The writes of the past: each with its invalidations, the rebuild that follows, and, of some, what readers saw afterwards.

use super::{About, FAMILIES, Family, History, Row, Service, Slot, Table, What, accounts, billing, carts, catalog};
use crate::server::demo::shop::{freshness::DELAYS, people};
use chrono::{DateTime, TimeDelta, Utc};
use std::{collections::BTreeMap, time::Duration};

/// Of how many writes readers are followed: all in the last quarter of an hour, so that the states stand on as much as they will later.
const FOLLOWED: f64 = 0.15;
const FOLLOWED_SINCE_CUTOVER: f64 = 0.25;
const ALL_SINCE: TimeDelta = TimeDelta::minutes(16);

/// One write that has happened.
struct Write {
    service: Service,
    at: DateTime<Utc>,
    id: u64,
    version: u64,
    mutation_id: String,
    followed: bool,
}

impl History {
    pub(super) fn tell_writes(&mut self, slot: &Slot) {
        let busy = slot.seconds() * slot.scene.traffic;
        for _ in 0..self.times(0.3 * busy) {
            self.tell_save(slot);
        }
        for _ in 0..self.times(0.33 * busy) {
            self.tell_cart(slot);
        }
        for _ in 0..self.times(0.12 * busy) {
            self.tell_price(slot);
        }
        for _ in 0..self.times(0.2 * busy) {
            self.tell_payment(slot);
        }
    }

    fn write(&mut self, slot: &Slot, service: Service, row: Row, endpoint: &'static str, param: &'static str) -> Write {
        let at = self.somewhere_in(slot);
        let version = self.version(row) + 1;
        self.versions.insert(row, version);
        let mutation_id = self.id();
        let params = BTreeMap::from([(param, row.id.to_string())]);
        self.tell(service, at, About::Nothing {}, What::Mutation { endpoint, mutation_id: mutation_id.clone(), params });
        let before = self.opens_at - at;
        let share = if before <= ALL_SINCE {
            1.0
        } else if slot.scene.unknown_keys {
            FOLLOWED_SINCE_CUTOVER
        } else {
            FOLLOWED
        };
        let followed = self.dice.chance(share);
        Write { service, at, id: row.id, version, mutation_id, followed }
    }

    fn invalidated(&mut self, write: &Write, key: String, method: &'static str, new: Option<String>, ttl: Option<u64>) {
        let latency = self.dice.around(Duration::from_micros(640), 0.4);
        self.tell(
            write.service,
            write.at + TimeDelta::milliseconds(2),
            About::Key(key),
            What::Invalidation {
                method,
                outcome: "ok",
                error_class: None,
                error: None,
                latency_us: u64::try_from(latency.as_micros()).unwrap_or_default(),
                keys: Some(1),
                mutation_id: write.mutation_id.clone(),
                key_new: new,
                ttl_seconds: ttl,
            },
        );
    }

    /// What readers saw after a write: `stale` says so for a path and a delay.
    fn followed(&mut self, write: &Write, key: &str, paths: [&'static str; 2], stale: impl Fn(&'static str, Duration) -> bool) {
        if !write.followed {
            return;
        }
        for delay in DELAYS {
            for path in paths {
                let late = self.dice.below(12);
                let delay_ms = u64::try_from(delay.as_millis()).unwrap_or_default() + late;
                let is_stale = stale(path, delay);
                self.tell(
                    write.service,
                    write.at + TimeDelta::milliseconds(i64::try_from(delay_ms).unwrap_or_default()),
                    About::Key(key.to_owned()),
                    What::StaleRead {
                        stale: is_stale,
                        delay_ms,
                        read_path: path,
                        cached_version: write.version - u64::from(is_stale),
                        source_version: write.version,
                        mutation_id: write.mutation_id.clone(),
                    },
                );
            }
        }
    }

    fn read_again(&mut self, family: &Family, write: &Write) {
        let after = self.dice.between(Duration::from_millis(30), Duration::from_secs(3));
        self.tell_rebuild(family, write.at + TimeDelta::from_std(after).unwrap_or_default(), write.id, family.rebuild_median, "miss");
    }

    fn tell_save(&mut self, slot: &Slot) {
        let id = self.dice.popular(accounts::USERS);
        let avatar = self.dice.chance(people::AVATAR_SHARE);
        let endpoint = if avatar { "PUT /users/{id}/avatar" } else { "PUT /users/{id}" };
        let write = self.write(slot, Service::AccountsApi, Row { table: Table::Users, id }, endpoint, "id");
        let (old, new) = (accounts::profile_key(id, write.version - 1), accounts::profile_key(id, write.version));
        self.invalidated(&write, old, "version", Some(new.clone()), Some(60));
        self.read_again(&FAMILIES[0], &write);
        let paths = [accounts::PUBLIC_PAGE, accounts::OWN_PAGE];
        self.followed(&write, &new, paths, |_, _| false);

        let forgotten = avatar && slot.scene.forgotten_summary;
        if !forgotten {
            self.invalidated(&write, accounts::summary_key(id), "evict", None, None);
            self.read_again(&FAMILIES[1], &write);
        }
        let mended = self.dice.chance(0.15);
        self.followed(&write, &accounts::summary_key(id), paths, |path, delay| {
            let own_writes = path == accounts::OWN_PAGE && delay < Duration::from_secs(5);
            forgotten && !own_writes && !(mended && delay >= Duration::from_mins(1))
        });
    }

    fn tell_cart(&mut self, slot: &Slot) {
        let id = self.dice.popular(carts::CARTS);
        let write = self.write(slot, Service::CartApi, Row { table: Table::Carts, id }, "POST /carts/{id}/items", "id");
        self.invalidated(&write, carts::key(id), "update", None, Some(240));
        let overwritten = self.dice.chance(slot.scene.late_fill);
        let bought_more_after = self.dice.between(Duration::from_secs(3), Duration::from_secs(110));
        self.followed(&write, &carts::key(id), [carts::CART_PAGE, carts::MINI_CART], |_, delay| {
            overwritten && !delay.is_zero() && delay < bought_more_after
        });
    }

    fn tell_price(&mut self, slot: &Slot) {
        let id = 1 + self.dice.below(catalog::PRODUCTS);
        let write = self.write(slot, Service::CatalogWorker, Row { table: Table::Products, id }, "PUT /products/{id}", "id");
        self.invalidated(&write, catalog::key(id), "evict", None, None);
        self.read_again(&FAMILIES[3], &write);
        self.followed(&write, &catalog::key(id), [catalog::PRODUCT_PAGE, catalog::CATEGORY_PAGE], |_, _| false);
    }

    fn tell_payment(&mut self, slot: &Slot) {
        let account = self.dice.popular(billing::ACCOUNTS);
        let endpoint = "POST /invoices/{account}/payments";
        let write = self.write(slot, Service::BillingWorker, Row { table: Table::Invoices, id: account }, endpoint, "account");
        let key = billing::key(account);
        let timed_out = self.dice.chance(slot.scene.timeouts);
        if timed_out {
            self.tell(
                write.service,
                write.at + TimeDelta::milliseconds(301),
                About::Key(key.clone()),
                What::Invalidation {
                    method: "evict",
                    outcome: "error",
                    error_class: Some("timeout"),
                    error: Some("timed out".to_owned()),
                    latency_us: 300_000 + self.dice.below(3_000),
                    keys: None,
                    mutation_id: write.mutation_id.clone(),
                    key_new: None,
                    ttl_seconds: None,
                },
            );
        } else {
            self.invalidated(&write, key.clone(), "evict", None, None);
            self.read_again(&FAMILIES[4], &write);
        }
        let expires_after = self.dice.between(Duration::ZERO, Duration::from_secs(270));
        self.followed(&write, &key, [billing::INVOICE_PAGE, billing::STATEMENT], |_, delay| timed_out && delay < expires_after);
    }
}
