//! Read models of one night, for tests of pages: the prototype's story. Tests write every page to `target/pages/`, to be looked at.

use crate::domain::operator::{Role, Viewer};
use crate::domain::range::{Preset, Range};
use crate::domain::second_factor::{Due, Factor};
use crate::server::service::accounts::{AccountPage, Enrolling, FactorPage};
use crate::server::service::audit::{AuditFilter, AuditPage, AuditRow, Verified};
use crate::server::service::contracts::{ContractLine, ContractsPage, Edge};
use crate::server::service::figures::*;
use crate::server::service::flush::*;
use crate::server::service::overview::{Overview, Row};
use crate::server::service::prefix::{FailedInvalidation, Policy, PrefixPage, ReadPath, RebuildChart, StaleSample};
use crate::server::service::quality::{AuditHealth, Quality, SilentSource, TargetHealth};
use crate::server::service::review::{Action, ReviewContract, ReviewPage, ReviewRow};
use crate::ui::components::frame::{Frame, Nav};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

pub fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(&format!("2026-11-{text}Z")).unwrap().with_timezone(&Utc)
}

pub fn now() -> DateTime<Utc> {
    at("23T03:14:20")
}

pub fn viewer(role: Role) -> Viewer {
    Viewer {
        user_id: 1,
        email: "mara.lind@example.com".into(),
        name: "Mara Lind".into(),
        role,
        session_id: 1,
        factor: Factor::default(),
        read_only: false,
    }
}

pub fn frame(nav: Nav) -> Frame {
    Frame {
        viewer: Some(viewer(Role::Admin)),
        quality: Some(quality()),
        waiting: vec![Waiting {
            id: 1205,
            target: "main".into(),
            scope: "cart:{id}".into(),
            author: "Dev Okafor".into(),
            keys: 41_220,
            waits_for: WaitsFor::YourApproval,
            until: now() + TimeDelta::minutes(17),
        }],
        enrol_first: true,
        demo: true,
        at: nav,
        range_query: "range=24h".into(),
        search: String::new(),
        now: now(),
    }
}

/// `none`, `enrolling`, `enrolled`
pub fn account(stands: &str) -> AccountPage {
    let secret = "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ";
    let factor = FactorPage {
        required: true,
        enrolled_at: (stands == "enrolled").then(|| at("23T03:11:00")),
        codes_left: 3,
        enrolling: (stands == "enrolling").then(|| Enrolling {
            secret: secret.into(),
            uri: format!("otpauth://totp/Stalewatch:mara?secret={}&issuer=Stalewatch", secret.replace(' ', "")),
            until: now() + TimeDelta::minutes(9),
        }),
        codes: if stands == "enrolled" { vec!["k7f2-9xqm-3hpd-w8tz".into(), "0zt4-77ha-c2mn-ye91".into()] } else { vec![] },
    };
    AccountPage::new(now(), &viewer(Role::Admin), factor, vec![])
}

pub fn quality() -> Quality {
    Quality {
        as_of: now(),
        lag_ms: Some(1_200),
        last_event_at: Some(now()),
        gaps: vec![gap()],
        accepted: 1_840_209,
        rejected: 12,
        silent: vec![SilentSource { source: "catalog-worker".into(), since: at("23T02:36:00") }],
        targets: vec![TargetHealth {
            name: "main".into(),
            reachable: true,
            since: None,
            detail: None,
            over_privileged: false,
            heard: None,
        }],
        audit: AuditHealth {
            not_separated: Some("owns the audit schema".into()),
            trouble: None,
            anchored: Some((48_214, now())),
            head_seq: 48_216,
        },
        store_away_since: None,
        config_digest: "9f3c41d7be0299aa".into(),
        warnings: vec![],
    }
}

fn gap() -> Gap {
    Gap { from: at("22T21:40:00"), to: at("22T22:25:00"), why: "no source sent anything".into() }
}

fn marks() -> Vec<Mark> {
    let mark =
        |kind, text: &str, label: &str, href: Option<&str>| Mark { kind, at: at(text), label: label.into(), href: href.map(Into::into) };
    vec![
        mark(MarkKind::Deploy, "22T09:41:00", "catalog-api 2.90.0", Some("https://ci.example.com/1")),
        mark(MarkKind::Flush, "22T16:20:00", "search:{hash}", Some("/flush/1203")),
        mark(MarkKind::Deploy, "23T02:31:00", "accounts-api 4.18.2 <b>", Some("javascript:alert(1)")),
        mark(MarkKind::Incident, "23T02:58:00", "318 opened", None),
    ]
}

fn mode_lines() -> Vec<ModeLine> {
    let line = |mode: &str, window_s, load, cannot: Option<&str>, advised: Option<&str>| ModeLine {
        mode: mode.into(),
        window_s,
        load_per_s: Some(load),
        cannot: cannot.map(Into::into),
        chosen: mode == "flush",
        advised: advised.map(Into::into),
    };
    vec![
        line("version", None, 29.0, Some("needs a whole registered prefix that declares a generation key"), None),
        line("soft", Some(600), 13.7, None, None),
        line(
            "flush",
            None,
            29.0,
            None,
            Some("The source has served as many rebuilds within the last day as all of today's reads would cause."),
        ),
    ]
}

/// A soft flush at its end, of which some sampled keys outlive the window; and a generation that was raised.
pub fn other_mode_page(mode: &str) -> FlushPage {
    let page = flush("completed");
    let outcome = page.outcome.clone().map(|outcome| match mode {
        "soft" => Outcome { sampled: Some(1_000), ..outcome },
        _ => Outcome { removed: 1, gone: 0, residue: None, generation: Some(42), ..outcome },
    });
    FlushPage { mode: mode.into(), window_s: (mode == "soft").then_some(600), outcome, ..page }
}

/// A repeatable wobble around `base`.
fn wave(count: usize, base: f64, seed: u64, gap: bool) -> Vec<Option<f64>> {
    let mut state = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    (0..count)
        .map(|index| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let noise = (state >> 33) as f64 / f64::from(u32::MAX >> 1) - 0.5;
            let dark = gap && (0.768..0.799).contains(&(index as f64 / count as f64));
            (!dark).then_some((base * (1.0 + 0.25 * (index as f64 / 20.0).sin() + 0.4 * noise)).max(0.0))
        })
        .collect()
}

fn series(values: Vec<Option<f64>>, n: u64, interval: bool) -> Series {
    let points = values
        .into_iter()
        .map(|value| Point {
            value,
            n: if value.is_some() { n } else { 0 },
            low: value.filter(|_| interval).map(|value| (value * 0.6).max(0.0)),
            high: value.filter(|_| interval).map(|value| value * 1.5 + 0.001),
        })
        .collect();
    Series { from: at("22T03:10:00"), step_s: 300, points }
}

fn rate(k: u64, n: u64) -> RateFigure {
    let interval = (n > 0).then(|| {
        let (k, n, z) = (k as f64, n as f64, 1.96_f64);
        let p = k / n;
        let middle = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
        let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        ((middle - half).max(0.0), middle + half)
    });
    RateFigure { k, n, interval }
}

fn writes() -> Vec<DeclaredWrite> {
    vec![
        DeclaredWrite {
            endpoint: "PUT /users/{id}".into(),
            how: "evict".into(),
            within_s: 2.0,
            declared_at: "stalewatch.toml:41".into(),
            last_write: Some(at("23T03:14:02")),
            last_invalidation: None,
        },
        DeclaredWrite {
            endpoint: "PATCH /users/{id}/avatar".into(),
            how: "evict".into(),
            within_s: 2.0,
            declared_at: "stalewatch.toml:52".into(),
            last_write: Some(at("23T03:12:45")),
            last_invalidation: Some(LastInvalidation { at: at("23T03:12:45"), ok: true, method: "evict".into(), error_class: None }),
        },
    ]
}

fn breach() -> Breach {
    Breach {
        metric: Metric::StaleReads,
        value: 0.0182,
        threshold: 0.005,
        n: 2_254,
        interval: Some((0.0134, 0.0246)),
        delay_s: Some(10),
        classes: vec![],
        since: Some(at("23T02:31:00")),
        since_about: false,
    }
}

fn why() -> Why {
    Why { deploy: Some(marks()[2].clone()), writes: writes(), owner: Some("accounts".into()) }
}

#[expect(clippy::too_many_arguments, reason = "a table of samples")]
fn row(
    name: &str,
    owner: &str,
    standing: Standing,
    stale: (u64, u64),
    limit: f64,
    miss: f64,
    p95: f64,
    cost: f64,
    errors: (u64, u64),
    budget: Option<f64>,
) -> Row {
    Row {
        name: name.into(),
        target: "main".into(),
        owner: Some(owner.into()),
        registered: true,
        protected: name.starts_with("session"),
        standing,
        breaches: vec![],
        why: None,
        stale_delay_s: Some(10),
        stale: rate(stale.0, stale.1),
        stale_threshold: Some(limit),
        miss: rate((miss * 100_000.0) as u64, 100_000),
        miss_threshold: Some(0.3),
        misses_per_min: Some(miss * 900.0),
        rebuild_p95_ms: Some(p95),
        rebuild_p95_threshold_ms: Some(p95 * 1.4),
        rebuilds: 18_204,
        cost: Some(cost),
        invalidation_errors: rate(errors.0, errors.1),
        invalidation_errors_threshold: Some(0.01),
        budget_left: budget,
        spark_miss: wave(48, miss, 3, true),
        spark_stale: vec![],
        spark_p95_ms: wave(48, p95, 5, true),
        last_event_at: Some(now()),
    }
}

pub fn overview() -> Overview {
    let mut rows = vec![
        row("user:{id}:summary", "accounts", Standing::Outside, (41, 2_254), 0.005, 0.182, 214.0, 48.7, (2, 2_118), Some(0.24)),
        row("cart:{id}", "checkout", Standing::Outside, (9, 1_870), 0.005, 0.149, 188.0, 41.2, (74, 1_760), Some(-0.03)),
        row("catalog:{id}", "catalog", Standing::AtRisk, (12, 8_412), 0.01, 0.221, 372.0, 96.4, (3, 2_700), Some(0.34)),
        row("search:{hash}", "discovery", Standing::Within, (31, 1_204), 0.04, 0.384, 1_240.0, 212.4, (1, 4_900), Some(0.71)),
        row("user:{id}:profile", "accounts", Standing::Within, (0, 4_810), 0.001, 0.098, 121.0, 12.6, (0, 3_300), Some(0.91)),
        row("billing:{account}:invoice", "billing", Standing::NotProven { needed: 960 }, (0, 21), 0.004, 0.034, 312.0, 4.1, (0, 57), None),
        row("session:{token}", "identity", Standing::NotProven { needed: 960 }, (0, 0), 0.004, 0.011, 6.0, 0.4, (0, 0), None),
    ];
    rows[0].breaches = vec![breach()];
    rows[0].why = Some(why());
    rows[1].breaches = vec![Breach {
        metric: Metric::InvalidationErrors,
        value: 0.042,
        threshold: 0.01,
        n: 1_760,
        interval: Some((0.033, 0.052)),
        delay_s: None,
        classes: vec![("timeout".into(), 61), ("connection".into(), 13)],
        since: Some(at("23T02:52:00")),
        since_about: false,
    }];
    rows[1].why = Some(Why { deploy: None, writes: vec![], owner: Some("checkout".into()) });
    rows[2].breaches = vec![Breach {
        metric: Metric::Budget,
        value: 0.34,
        threshold: 0.35,
        n: 8_412,
        interval: None,
        delay_s: None,
        classes: vec![],
        since: None,
        since_about: false,
    }];
    for name in ["unclassified", "overflow"] {
        let mut extra = row(name, "", Standing::NoPolicy, (0, 0), 0.0, 0.0, 0.0, 0.8, (0, 0), None);
        (extra.registered, extra.owner, extra.stale_delay_s, extra.rebuild_p95_ms) = (false, None, None, None);
        (extra.spark_miss, extra.spark_p95_ms, extra.miss) = (vec![], vec![], rate(0, 0));
        rows.push(extra);
    }
    Overview {
        range: Range::last(Preset::H24, now()),
        as_of: now(),
        rows,
        marks: marks(),
        gaps: vec![gap()],
        any_events: true,
        listening_since: at("23T03:10:00"),
    }
}

pub fn prefix() -> PrefixPage {
    let count = 288;
    let mut stale = wave(count, 0.001, 7, true);
    for (index, value) in stale.iter_mut().enumerate().skip(count - 9) {
        *value = Some(0.004 + 0.002 * (index - (count - 9)) as f64);
    }
    let chart = |values, threshold, total: f64, n| MetricChart {
        origin: Some("app".into()),
        series: series(values, n, threshold == Some(0.005)),
        total: Point { value: Some(total), n: 2_254, low: None, high: None },
        threshold,
    };
    let paths = [rate(64, 702), rate(19, 698), rate(18, 711), rate(11, 640), rate(2, 402), rate(0, 0)];
    PrefixPage {
        range: Range::last(Preset::H24, now()),
        as_of: now(),
        name: "user:{id}:summary".into(),
        target: "main".into(),
        registered: true,
        protected: false,
        standing: Standing::Outside,
        outside_since: Some(at("23T02:31:00")),
        breaches: vec![breach()],
        why: Some(why()),
        policy: Some(Policy {
            owner: "accounts".into(),
            tier: "standard".into(),
            expected: "profile edits show in summaries within seconds".into(),
            fresh_within_s: 10,
            ratio: 0.999,
            budget_left: Some(0.24),
            budget_n: 15_600,
            stale_threshold: Some(0.005),
            miss_threshold: Some(0.25),
            rebuild_p95_threshold_ms: Some(400.0),
            invalidation_errors_threshold: Some(0.01),
            ttl_max_s: Some(3_600),
            ttl_jitter: Some(0.1),
            ttl_required: true,
            store_keys: "full".into(),
            declared_at: "stalewatch.toml:58".into(),
        }),
        stale_delay_s: 10,
        stale: chart(stale, Some(0.005), 0.0182, 300),
        read_paths: vec![
            ReadPath { name: "GET /me".into(), by_delay: paths },
            ReadPath {
                name: "worker digest".into(),
                by_delay: [rate(1, 12), rate(0, 14), rate(0, 18), rate(0, 11), rate(0, 9), rate(0, 0)],
            },
        ],
        all_paths: paths,
        miss: chart(wave(count, 0.18, 11, true), Some(0.25), 0.182, 900),
        misses_alone: None,
        hits: 330_000,
        misses: 75_000,
        stale_served: 0,
        rebuild: RebuildChart {
            origin: Some("app".into()),
            p50: series(wave(count, 71.0, 13, true), 60, false),
            p95: series(wave(count, 214.0, 17, true), 60, false),
            p99: series(wave(count, 338.0, 19, true), 60, false),
            total: [Some(71.0), Some(214.0), Some(338.0)],
            rebuilds: 18_204,
            failed: 3,
            threshold_p95_ms: Some(400.0),
        },
        invalidation_errors: chart(wave(count, 0.002, 23, true), Some(0.01), 0.0009, 30),
        invalidations: 2_118,
        error_classes: vec![("timeout".into(), 2), ("connection".into(), 1)],
        cost: chart(wave(count, 48.0, 29, true), None, 48.7, 60),
        cost_rank: Some((3, 41)),
        marks: marks(),
        gaps: vec![gap()],
        failed: vec![FailedInvalidation {
            at: at("23T03:12:48"),
            key: Some("user:48121:summary".into()),
            method: "evict".into(),
            error_class: "timeout".into(),
            error: Some("no answer in 200 ms".into()),
            latency_us: Some(200_400),
            mutation_id: Some("8f2c".into()),
            source: "accounts-api".into(),
        }],
        stale_samples: vec![StaleSample {
            at: at("23T03:12:58"),
            key: Some("user:48121:summary".into()),
            delay_ms: Some(10_012),
            read_path: Some("GET /me".into()),
            cached_version: Some("17".into()),
            source_version: Some("18".into()),
            mutation_id: Some("8f2c".into()),
            source: "accounts-api".into(),
        }],
        writes: writes(),
        any_events: true,
    }
}

pub fn flush(state: &str) -> FlushPage {
    let planned = !matches!(state, "planning" | "plan_failed");
    let working = matches!(state, "starting" | "running" | "verifying");
    let ended = matches!(state, "completed" | "completed_with_residue" | "interrupted" | "cancelled" | "failed");
    let asked = matches!(state, "awaiting_approval" | "approved" | "rejected");
    let scan = at("23T03:13:40");
    let checks = [
        (Weight::Warn, "The writer is not mended: 41 of 2,254 samples of the last 15 minutes were stale", "old values come back"),
        (Weight::Good, "No protected prefix inside or around it", "session:"),
        (Weight::Good, "Under the cap of this target", "1,000,000 keys"),
        (Weight::Unknown, "The flush identity is the target's own", "over-privileged"),
    ];
    FlushPage {
        id: "1204".into(),
        as_of: now(),
        version: 7,
        state: state.into(),
        target: "main".into(),
        scope: "user:{id}:summary".into(),
        scope_kind: "template".into(),
        mode: "flush".into(),
        window_s: None,
        pace: "normal".into(),
        author: "Mara Lind".into(),
        asked_at: at("23T03:13:38"),
        mine: true,
        can: Can {
            confirm: state == "planned",
            approve: state == "awaiting_approval",
            start: state == "approved",
            resume: (state == "interrupted").then(|| Resume { until: at("23T03:29:10"), left: 1_738, cap: 9_857 }),
            cancel: working || state == "approved",
            replan: ended || !planned || state == "rejected",
            factor: Due::Code,
            ..Can::default()
        },
        cause: (state == "plan_failed").then(|| "Redis did not answer within 2 s.".into()),
        plan: planned.then(|| Plan {
            scanned_at: scan,
            expires_at: at("23T03:18:40"),
            matched: 8_214,
            at_least: false,
            versioned: 120,
            keyspace: 12_406_118,
            memory_bytes: Some(13_526_630),
            ttl: [("under 1 min", 412), ("1–5 min", 1_290), ("5–15 min", 2_316), ("15–60 min", 4_196), ("none", 0)]
                .map(|(label, keys)| (label.into(), keys))
                .to_vec(),
            ttl_sample: 2_000,
            samples: (0..50).map(|index| format!("user:{}:summary", 40_540 + index * 37)).collect(),
            samples_purged: false,
            nodes: vec![PlanNode { address: "127.0.0.1:6379".into(), run_id: "c4e1".into(), keys: 12_406_118, matched: 8_214 }],
            prefixes: vec![TouchedPrefix { name: "user:{id}:summary".into(), tier: Some("standard".into()), keys: 8_214 }],
            estimated_ms: 4_500,
            rebuild_peak_per_s: Some(60.0),
            bystander_ms: Some(0.6),
            generation_key: None,
            modes: mode_lines(),
            wide: true,
            wide_because: vec!["over 5 % of the keyspace".into()],
            checks: checks.map(|(weight, text, note)| Check { weight, text: text.into(), note: note.into() }).to_vec(),
            digest: "9f3c41d7be02".into(),
            run_id: Some("c4e177aa00112233".into()),
        }),
        confirmation: (working || ended || asked).then(|| Confirmation {
            by: "Mara Lind".into(),
            at: at("23T03:13:51"),
            reason: "summaries show old names after 4.18.2, rolled back".into(),
            incident: Some("https://incidents.example.com/318".into()),
        }),
        approval: asked.then(|| Approval {
            hash: "6a72001122334455".repeat(4),
            approve_until: at("23T03:43:51"),
            start_until: (state == "approved").then(|| at("23T03:31:00")),
            cap: 9_857,
            decision: (state != "awaiting_approval").then(|| Decision {
                approved: state == "approved",
                by: "Lea Brandt".into(),
                at: at("23T03:16:00"),
                reason: (state == "rejected").then(|| "mend the writer first".into()),
            }),
            break_glass: None,
        }),
        progress: (working || ended).then(|| Progress {
            started_at: at("23T03:13:52"),
            removed: 5_088,
            gone: 72,
            failed: 0,
            granted: 10_000,
            scanned: 7_952_300,
            keys_per_s: Some(1_150.0),
            left_s: Some(27.0),
            scan_count: Some(512),
            step_us: Some(498),
            failed_by_class: vec![],
            bystander_p50_ms: Some(0.5),
            bystander_p99_ms: Some(1.1),
            bystander_before_ms: Some(0.7),
            bystander_limit_ms: Some(5.0),
            bystander: Some(Series { from: at("23T03:13:20"), step_s: 1, points: series(wave(60, 0.9, 31, false), 50, false).points }),
            halved: 1,
            braked_because: Some("others wait 6.2 ms at p99, over the limit of 5 ms".into()),
            blind: None,
            nodes: vec![NodeProgress {
                address: "127.0.0.1:6379".into(),
                keys: Some(12_406_118),
                scanned: 7_952_300,
                removed: 5_088,
                complete: false,
            }],
            paused: false,
        }),
        outcome: ended.then(|| Outcome {
            ended_at: at("23T03:14:10"),
            removed: 8_118,
            gone: 96,
            failed: 0,
            failed_by_class: vec![],
            residue: Some(17),
            sampled: None,
            generation: None,
            proven: state == "completed",
            removed_at_most: (state == "interrupted").then_some(18_118),
            bystander_worst_ms: Some(6.2),
            bystander_median_ms: Some(1.2),
            duration_ms: 18_400,
        }),
        judged: if state == "completed" {
            [(1, "too_little_data", rate(0, 12)), (5, "recovered", rate(1, 1_986))]
                .map(|(after_min, verdict, after)| JudgedLine { after_min, at: at("23T03:15:10"), verdict: verdict.into(), after })
                .to_vec()
        } else {
            vec![]
        },
        verdict: (state == "completed").then(|| Verdict {
            verdict: "recovered".into(),
            judged_at: now(),
            after_min: 5,
            next_at: Some(at("23T03:29:10")),
            delay_s: Some(10),
            before: rate(41, 2_254),
            after: rate(1, 1_986),
            threshold: Some(0.005),
            price: vec![
                Price {
                    what: "Miss rate".into(),
                    unit: Unit::Share,
                    before: Some(0.182),
                    after: Some(0.214),
                    limit: Some(0.25),
                    back_after_min: Some(2),
                },
                Price {
                    what: "Rebuild p95".into(),
                    unit: Unit::Milliseconds,
                    before: Some(214.0),
                    after: Some(236.0),
                    limit: Some(400.0),
                    back_after_min: Some(0),
                },
            ],
            chart: Some(MetricChart {
                origin: Some("app".into()),
                series: Series {
                    from: at("23T02:58:00"),
                    step_s: 60,
                    points: series([wave(16, 0.018, 37, false), wave(6, 0.0005, 41, false)].concat(), 90, false).points,
                },
                total: Point::default(),
                threshold: Some(0.005),
            }),
            before_from: at("23T02:58:40"),
            before_to: scan,
            after_from: at("23T03:14:10"),
            after_to: at("23T03:19:10"),
        }),
        timeline: vec![
            Happened { at: scan, what: "planned, 8,214 keys".into() },
            Happened { at: at("23T03:13:51"), what: "confirmed by Mara Lind".into() },
        ],
        audit: vec![
            AuditLine {
                seq: 48_209,
                hash: "c0".repeat(32),
                at: at("23T03:13:51"),
                code: "flush.confirmed".into(),
                what: "count 8,214".into(),
            },
            AuditLine {
                seq: 48_210,
                hash: "5e".repeat(32),
                at: at("23T03:13:52"),
                code: "flush.started".into(),
                what: "committed before the first removal".into(),
            },
        ],
        anchored: Some((48_216, now())),
    }
}

pub fn plan_page() -> PlanPage {
    PlanPage {
        as_of: now(),
        targets: vec![TargetChoice {
            name: "main".into(),
            kind: "standalone".into(),
            keys: Some(12_406_118),
            last_flush: Some(at("22T16:20:00")),
            away_since: None,
            protected: vec!["session:".into()],
            max_keys: 1_000_000,
            approvals: "never".into(),
            flushes_this_hour: 1,
            max_flushes_per_hour: 20,
            over_privileged: false,
        }],
        templates: vec!["user:{id}:summary".into(), "cart:{id}".into()],
        flushes: flush_lines(),
        cannot: None,
    }
}

fn flush_lines() -> Vec<FlushLine> {
    vec![FlushLine {
        id: "1203".into(),
        at: at("22T16:20:00"),
        target: "main".into(),
        scope: "search:{hash}".into(),
        mode: "flush".into(),
        state: "completed".into(),
        by: "Dev Okafor".into(),
        reason: Some("wrong prices after the import".into()),
        planned: Some(18_402),
        removed: 18_402,
        residue: Some(0),
        wide: true,
        break_glass: false,
        verdict: Some("not_recovered".into()),
    }]
}

pub fn audit() -> AuditPage {
    let row = |seq, text: &str, actor: &str, code: &str, what: &str, refused| AuditRow {
        seq,
        at: at(text),
        actor: actor.into(),
        code: code.into(),
        what: what.into(),
        href: code.starts_with("flush").then(|| "/flush/1204".into()),
        flush: code.starts_with("flush").then_some(1204),
        hash: "6a7200112233445566778899aabbccddeeff2c11".into(),
        refused,
    };
    AuditPage {
        as_of: now(),
        by_scope: true,
        filter: AuditFilter { code: Some("flush".into()), ..AuditFilter::default() },
        rows: vec![
            row(48_216, "23T03:14:10", "system", "flush.finished", "completed, removed 8,118, gone 96", false),
            row(
                48_208,
                "23T03:13:20",
                "mara.lind@example.com",
                "flush.refused",
                "typed count 8,124, the plan says 8,214; nothing was removed",
                true,
            ),
            row(48_201, "22T16:20:00", "dev.okafor@example.com", "flush.planned", "search:{hash} on main", false),
        ],
        older: Some(48_201),
        story_cut: false,
        head_seq: 48_216,
        verified: Some(Verified {
            verdict: "whole".into(),
            records: 48_216,
            at: at("23T03:13:00"),
            first_bad: None,
            detail: "The record is whole: 48216 records.".into(),
        }),
        anchored: Some((48_214, at("23T03:13:31"))),
        checkpoint_file: "/var/lib/stalewatch/audit/checkpoints".into(),
        not_separated: Some("owns the audit schema".into()),
        actors: vec!["mara.lind@example.com".into()],
        codes: vec!["flush.planned".into()],
        targets: vec!["main".into()],
    }
}

pub fn contracts() -> ContractsPage {
    let edge = |prefix: &str, how: &str, last| Edge { prefix: prefix.into(), target: "main".into(), how: how.into(), last };
    let ok = LastInvalidation { at: now(), ok: true, method: "version".into(), error_class: None };
    let failed = LastInvalidation { at: now(), ok: false, method: "evict".into(), error_class: Some("timeout".into()) };
    ContractsPage {
        as_of: now(),
        config_digest: "9f3c41d7be02".into(),
        contracts: vec![ContractLine {
            endpoint: "PUT /users/{id}".into(),
            within_s: 2.0,
            declared_at: "stalewatch.toml:41".into(),
            last_write: Some(now()),
            writes_24h: 1_902,
            edges: vec![
                edge("user:{id}:profile", "version", Some(ok)),
                edge("user:{id}:summary", "evict", None),
                edge("billing:{account}:invoice", "evict", Some(failed)),
            ],
        }],
        uncovered: vec!["session:{token}".into()],
    }
}

pub fn review() -> ReviewPage {
    let day = |day| NaiveDate::from_ymd_opt(2026, 11, day).unwrap();
    let row = |name: &str, standing, left: Option<f64>, before, k, n| ReviewRow {
        name: name.into(),
        target: "main".into(),
        owner: Some("checkout".into()),
        standing,
        fresh_within_s: Some(10),
        ratio: Some(0.999),
        budget_left: left,
        budget_before: before,
        stale: rate(k, n),
        stale_before: rate(k / 2, n),
        cost: Some(41.2),
        cost_before: Some(36.0),
        budget_by_day: [Some(0.9), Some(0.8), None, Some(0.5), Some(0.2), Some(0.0), left],
        say: left.is_some_and(|left| left < 0.0).then(|| "time-outs, 3 nights".into()),
    };
    let action = |id, text: &str, due, closed: Option<&str>| Action {
        id,
        text: text.into(),
        owner: "Lea Brandt".into(),
        due: day(due),
        week: "2026-W46".into(),
        closed_at: closed.map(at),
        closed_by: closed.map(|_| "Mara Lind".into()),
        outcome: closed.map(|_| "removed from the file".into()),
    };
    let line = |seed| Series { from: at("16T00:00:00"), step_s: 7_200, points: series(wave(84, 0.0006, seed, true), 900, false).points };
    ReviewPage {
        week: "2026-W47".into(),
        previous: "2026-W46".into(),
        next: None,
        first_day: day(16),
        last_day: day(22),
        timezone: "UTC".into(),
        as_of: now(),
        running: true,
        outside_ever: (2, 1),
        flushes_count: (3, 1),
        failed_invalidations: (74, 12),
        without_data_s: (23_400, 0),
        stale: rate(66, 100_000),
        stale_before: rate(55, 100_000),
        chart: line(3),
        chart_before: line(5),
        marks: vec![Mark {
            kind: MarkKind::Flush,
            at: at("19T16:18:00"),
            label: "feed:{id}:home".into(),
            href: Some("/flush/1201".into()),
        }],
        gaps: vec![Gap { from: at("18T03:00:00"), to: at("18T09:30:00"), why: "no source".into() }],
        rows: vec![
            row("cart:{id}", Standing::Outside, Some(-0.4), Some(0.38), 373, 100_000),
            row("catalog:{id}", Standing::AtRisk, Some(0.34), Some(0.36), 169, 100_000),
            row("user:{id}:profile", Standing::Within, Some(0.91), Some(0.9), 8, 100_000),
            row("billing:{account}:invoice", Standing::NotProven { needed: 960 }, None, None, 0, 24),
        ],
        flushes: flush_lines(),
        contracts: vec![ReviewContract {
            endpoint: "PUT /users/{id}".into(),
            prefix: "user:{id}:profile".into(),
            how: "version".into(),
            within_s: 2.0,
            writes: Some(12_204),
            last_invalidation: Some(now()),
        }],
        actions: vec![
            action(1, "Replace node 10.4.2.17 or raise its time-out", 20, None),
            action(2, "Remove the dead contract", 27, Some("20T10:00:00")),
            action(3, "Jitter 10 %", 27, None),
        ],
        today: now().date_naive() - TimeDelta::days(0),
    }
}
