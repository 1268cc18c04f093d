//! The shop's past, told as the events that its services would have sent: seeded, so that the same seed, instant and length tell the same.
//!
//! Reads are summed up, rebuilds and writes are all told, staleness is sampled. Older spans are told in coarser slots.

mod story;
mod writes;

use super::{
    Dice, Service, accounts, billing, carts, catalog,
    dice::whole,
    event::{About, Event, What, uuid},
    search,
    source::{Row, Table},
};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use std::{collections::HashMap, time::Duration};
use story::Scene;

/// Events handed over at a time, about.
const BATCH: usize = 3_000;

/// How a family of keys is read and rebuilt when all customers are there.
struct Family {
    service: Service,
    prefix: &'static str,
    table: Table,
    paths: &'static [&'static str],
    reads_per_s: f64,
    /// Rebuilds that no write of the family is the cause of.
    rebuilds_per_s: f64,
    rebuild_median: Duration,
    members: u64,
    key: fn(u64, u64) -> String,
}

/// As measured on the open shop.
static FAMILIES: [Family; 6] = [
    Family {
        service: Service::AccountsApi,
        prefix: accounts::PROFILE,
        table: Table::Users,
        paths: &[accounts::PUBLIC_PAGE, accounts::OWN_PAGE],
        reads_per_s: 7.7,
        rebuilds_per_s: 0.14,
        rebuild_median: Duration::from_millis(29),
        members: accounts::USERS,
        key: accounts::profile_key,
    },
    Family {
        service: Service::AccountsApi,
        prefix: accounts::SUMMARY,
        table: Table::Users,
        paths: &[accounts::PUBLIC_PAGE, accounts::OWN_PAGE],
        reads_per_s: 7.2,
        rebuilds_per_s: 0.14,
        rebuild_median: Duration::from_millis(29),
        members: accounts::USERS,
        key: |id, _| accounts::summary_key(id),
    },
    Family {
        service: Service::CartApi,
        prefix: carts::CART,
        table: Table::Carts,
        paths: &[carts::CART_PAGE, carts::MINI_CART],
        reads_per_s: 4.3,
        rebuilds_per_s: 0.4,
        rebuild_median: Duration::from_millis(112),
        members: carts::CARTS,
        key: |id, _| carts::key(id),
    },
    Family {
        service: Service::CatalogWorker,
        prefix: catalog::CATALOG,
        table: Table::Products,
        paths: &[catalog::PRODUCT_PAGE, catalog::CATEGORY_PAGE],
        reads_per_s: 90.0,
        rebuilds_per_s: 0.85,
        rebuild_median: Duration::from_millis(72),
        members: catalog::PRODUCTS,
        key: |id, _| catalog::key(id),
    },
    Family {
        service: Service::BillingWorker,
        prefix: billing::INVOICE,
        table: Table::Invoices,
        paths: &[billing::INVOICE_PAGE, billing::STATEMENT],
        reads_per_s: 2.4,
        rebuilds_per_s: 0.28,
        rebuild_median: Duration::from_millis(62),
        members: billing::ACCOUNTS,
        key: |id, _| billing::key(id),
    },
    Family {
        service: Service::SearchApi,
        prefix: search::SEARCH,
        table: Table::Queries,
        paths: &[search::RESULTS_PAGE],
        reads_per_s: 1.5,
        rebuilds_per_s: 0.42,
        rebuild_median: Duration::from_millis(124),
        members: search::QUERIES,
        key: |id, _| search::key(id),
    },
];

/// Rebuilds when all entries of the catalogue expire at one instant, and how long they take then.
const STAMPEDE: u64 = 190;
const STAMPEDE_MEDIAN: Duration = Duration::from_millis(330);

/// Tells the past in batches, each of one service.
pub struct History {
    dice: Dice,
    /// Upper half of the ids.
    run: u64,
    told: u64,
    opens_at: DateTime<Utc>,
    slot_at: DateTime<Utc>,
    notes: std::vec::IntoIter<story::Note>,
    next_note: Option<story::Note>,
    versions: HashMap<Row, u64>,
    waiting: HashMap<Service, Vec<Event>>,
}

/// One span that is told at once.
#[derive(Clone, Copy)]
struct Slot {
    at: DateTime<Utc>,
    length: TimeDelta,
    /// Events lie in this first part of it.
    told_in: Duration,
    scene: Scene,
}

impl Slot {
    fn seconds(&self) -> f64 {
        self.length.as_seconds_f64()
    }
}

impl History {
    /// The last `days` up to `opens_at`.
    pub fn new(seed: u64, opens_at: DateTime<Utc>, days: u32) -> Self {
        let dice = Dice::new(seed);
        let run = dice.bits();
        let from = opens_at - TimeDelta::days(i64::from(days));
        let slot_at = from.duration_trunc(TimeDelta::minutes(10)).unwrap_or(from) + TimeDelta::minutes(10);
        let mut notes = story::notes().into_iter();
        let next_note = notes.find(|note| opens_at - note.before >= slot_at);
        Self { dice, run, told: 0, opens_at, slot_at, notes, next_note, versions: HashMap::new(), waiting: HashMap::new() }
    }

    /// The span of it in which nothing was collected.
    pub fn gap(opens_at: DateTime<Utc>) -> (DateTime<Utc>, DateTime<Utc>) {
        story::gap(opens_at)
    }

    fn tell(&mut self, service: Service, at: DateTime<Utc>, about: About, what: What) {
        if at >= self.opens_at {
            return;
        }
        let id = self.id();
        self.waiting.entry(service).or_default().push(Event { id, at, about, what });
    }

    fn id(&mut self) -> String {
        self.told += 1;
        uuid(self.run, self.told)
    }

    fn version(&mut self, row: Row) -> u64 {
        *self.versions.entry(row).or_insert(1)
    }

    /// How many of what comes `expected` times: the whole part, and one more with the rest's probability. Steadier than chance, which
    /// keeps the thin canary from looking broken.
    fn times(&self, expected: f64) -> u64 {
        whole(expected) + u64::from(self.dice.chance(expected.fract()))
    }

    fn somewhere_in(&self, slot: &Slot) -> DateTime<Utc> {
        let offset = slot.told_in.mul_f64(self.dice.unit());
        slot.at + TimeDelta::from_std(offset).unwrap_or_default()
    }

    fn tell_slot(&mut self) {
        let before = self.opens_at - self.slot_at;
        let length = if before <= story::CUTOVER + TimeDelta::minutes(5) {
            TimeDelta::minutes(1)
        } else if before <= TimeDelta::days(2) {
            TimeDelta::minutes(5)
        } else {
            TimeDelta::minutes(10)
        };
        let slot = Slot { at: self.slot_at, length, told_in: Duration::from_secs(55), scene: story::scene(self.opens_at, before) };
        self.slot_at += length;
        while let Some(note) = self.next_note.take_if(|note| self.opens_at - note.before < self.slot_at) {
            self.tell(
                note.service,
                self.opens_at - note.before,
                About::Nothing {},
                What::Annotation { kind: note.kind, text: note.text.to_owned() },
            );
            self.next_note = self.notes.next();
        }
        if slot.scene.silent {
            return;
        }
        self.tell_writes(&slot);
        for family in &FAMILIES {
            let rebuilds = self.tell_rebuilds(&slot, family);
            self.tell_reads(&slot, family, rebuilds);
        }
        let sessions = self.times(5.3 * slot.seconds() * slot.scene.traffic);
        self.tell_access(&slot, Service::AccountsApi, About::Prefix(accounts::SESSION), accounts::ANY_PAGE, (sessions, sessions / 60, 0));
        if slot.scene.unknown_keys {
            for banner in 1..=search::BANNERS {
                let reads = self.times(0.3 * slot.seconds());
                let about = About::Key(format!("promo:{banner}:banner"));
                self.tell_access(&slot, Service::SearchApi, about, search::BANNER_SLOT, (reads, 1, 0));
            }
        }
    }

    /// Rebuilds that only time is the cause of; how many.
    fn tell_rebuilds(&mut self, slot: &Slot, family: &Family) -> u64 {
        let products = family.table == Table::Products;
        if products && slot.scene.stampedes {
            return self.tell_stampede(slot, family);
        }
        let rebuilds = self.times(family.rebuilds_per_s * slot.seconds() * slot.scene.traffic);
        let slower = if products { slot.scene.products_slower } else { 1.0 };
        for _ in 0..rebuilds {
            let at = self.somewhere_in(slot);
            let id = self.dice.popular(family.members);
            let trigger = if family.table == Table::Queries { "refresh" } else { "miss" };
            self.tell_rebuild(family, at, id, family.rebuild_median.mul_f64(slower), trigger);
        }
        rebuilds
    }

    fn tell_stampede(&mut self, slot: &Slot, family: &Family) -> u64 {
        let mut told = 0;
        let next = (self.opens_at + super::FIRST_IMPORT - slot.at).num_milliseconds();
        let every = i64::try_from(catalog::TTL.as_millis()).unwrap_or(i64::MAX);
        let expires_at = slot.at + TimeDelta::milliseconds(next.rem_euclid(every));
        if expires_at < slot.at + slot.length {
            for _ in 0..STAMPEDE {
                let median = STAMPEDE_MEDIAN.mul_f64(0.4 + 1.2 * self.dice.unit());
                let at = expires_at + TimeDelta::milliseconds(i64::try_from(self.dice.below(9_000)).unwrap_or_default());
                let id = self.dice.popular(family.members);
                self.tell_rebuild(family, at, id, median, "miss");
                told += 1;
            }
        }
        told
    }

    fn tell_rebuild(&mut self, family: &Family, at: DateTime<Utc>, id: u64, median: Duration, trigger: &'static str) {
        let took = self.dice.around(median, 0.35);
        let version = self.version(Row { table: family.table, id });
        self.tell(
            family.service,
            at,
            About::Key((family.key)(id, version)),
            What::Rebuild {
                duration_us: u64::try_from(took.as_micros()).unwrap_or_default(),
                outcome: "ok",
                trigger,
                source_read_at: at - TimeDelta::from_std(took).unwrap_or_default(),
                waiters: 0,
            },
        );
    }

    /// Sums of reads by path; those that missed are the rebuilds, and those that a write was the cause of.
    fn tell_reads(&mut self, slot: &Slot, family: &Family, rebuilds: u64) {
        let busy = slot.seconds() * slot.scene.traffic;
        let written = match family.table {
            Table::Users => 0.3,
            Table::Products => 0.12,
            Table::Invoices => 0.2,
            Table::Carts | Table::Queries => 0.0,
        };
        let misses = rebuilds + self.times(written * busy);
        let reads = self.times(family.reads_per_s * busy).max(misses);
        let (misses, stale_served) = if family.table == Table::Queries { (0, misses) } else { (misses, 0) };
        // Coarse slots name one path at a time, which halves the events and keeps the sums.
        let paths = if slot.length > TimeDelta::minutes(1) {
            let one = usize::try_from(self.dice.below(family.paths.len() as u64)).unwrap_or_default();
            &family.paths[one..=one]
        } else {
            family.paths
        };
        let parts = paths.len() as u64;
        for (part, path) in (0..).zip(paths) {
            let share = |count: u64| count / parts + u64::from(part < count % parts);
            let (misses, stale_served) = (share(misses), share(stale_served));
            let hits = share(reads).saturating_sub(misses + stale_served);
            self.tell_access(slot, family.service, About::Prefix(family.prefix), path, (hits, misses, stale_served));
        }
    }

    fn tell_access(
        &mut self,
        slot: &Slot,
        service: Service,
        about: About,
        read_path: &'static str,
        (hits, misses, stale_served): (u64, u64, u64),
    ) {
        let at = self.somewhere_in(slot);
        self.tell(service, at, about, What::Access { hits, misses, stale_served, errors: 0, read_path });
    }
}

impl Iterator for History {
    type Item = (Service, Vec<Event>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(service) =
                Service::ALL.into_iter().find(|service| self.waiting.get(service).is_some_and(|told| told.len() >= BATCH))
            {
                return Some((service, self.waiting.remove(&service)?));
            }
            if self.slot_at >= self.opens_at {
                let service = Service::ALL.into_iter().find(|service| self.waiting.contains_key(service))?;
                return Some((service, self.waiting.remove(&service)?));
            }
            self.tell_slot();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(seed: u64, days: u32) -> Vec<String> {
        let opens_at = DateTime::from_timestamp(1_795_400_000, 0).unwrap();
        History::new(seed, opens_at, days)
            .flat_map(|(service, events)| events.into_iter().map(move |event| (service, event)))
            .map(|(service, event)| {
                assert!(event.at < opens_at && event.at >= opens_at - TimeDelta::days(i64::from(days)), "{}", event.at);
                format!("{} {}", service.name(), serde_json::to_string(&event).unwrap())
            })
            .collect()
    }

    #[test]
    fn the_same_seed_tells_the_same_and_another_does_not() {
        let (one, again, other) = (told(1, 1), told(1, 1), told(2, 1));
        assert!(one == again, "events, ids included");
        assert!(one != other);
    }

    #[test]
    fn fourteen_days_are_told_in_a_bounded_number_of_events() {
        let all = told(42, 14);
        let count = |what: &str| all.iter().filter(|event| event.contains(what)).count();
        println!("{} events", all.len());
        for kind in ["access", "rebuild", "invalidation", "mutation", "stale_read", "annotation"] {
            println!("{kind} {}", count(&format!("\"type\":\"{kind}\"")));
        }
        assert!((100_000..200_000).contains(&all.len()), "{}", all.len());
        assert_eq!(count("\"type\":\"annotation\""), story::notes().len());
    }

    #[test]
    fn no_history_is_none() {
        assert!(told(1, 0).is_empty());
    }
}
