//! The flush pages' read models: the plan form with the list, and one flush in any of its states.

use crate::domain::second_factor::Due;
use crate::server::service::figures::{MetricChart, RateFigure, Series};
use chrono::{DateTime, Utc};

/// Everything `/flush` shows: the form (where this person may plan) and the latest flushes.
#[derive(Clone, Debug)]
pub struct PlanPage {
    pub as_of: DateTime<Utc>,
    pub targets: Vec<TargetChoice>,
    /// Registered templates, offered as scopes while typing.
    pub templates: Vec<String>,
    /// Newest first, at most 50.
    pub flushes: Vec<FlushLine>,
    /// Why this person cannot plan now, as a sentence; the form is then not in the page.
    pub cannot: Option<String>,
}

#[derive(Clone, Debug)]
pub struct TargetChoice {
    pub name: String,
    /// `standalone`, `sentinel`, `cluster`
    pub kind: String,
    pub keys: Option<u64>,
    pub last_flush: Option<DateTime<Utc>>,
    /// Redis unreachable since.
    pub away_since: Option<DateTime<Utc>>,
    pub protected: Vec<String>,
    pub max_keys: u64,
    /// `wide`, `never`
    pub approvals: String,
    pub flushes_this_hour: u32,
    pub max_flushes_per_hour: u32,
    /// The flush identity may do more than flush.
    pub over_privileged: bool,
}

/// One line of a list of flushes.
#[derive(Clone, Debug)]
pub struct FlushLine {
    pub id: String,
    pub at: DateTime<Utc>,
    pub target: String,
    pub scope: String,
    /// `flush`, `soft`, `version`
    pub mode: String,
    pub state: String,
    pub by: String,
    pub reason: Option<String>,
    pub planned: Option<u64>,
    pub removed: u64,
    pub residue: Option<u64>,
    pub wide: bool,
    pub break_glass: bool,
    /// `recovered`, `not_recovered`, `worse`, `too_little_data`
    pub verdict: Option<String>,
}

/// Everything `/flush/{id}` shows.
#[derive(Clone, Debug)]
pub struct FlushPage {
    pub id: String,
    pub as_of: DateTime<Utc>,
    /// Moves with every committed change; the live region asks with it.
    pub version: u64,
    /// As in `interfaces.md`: `planning`, `planned`, `plan_failed`, `expired`, `awaiting_approval`, `approved`, `rejected`, `starting`, `running`, `paused`, `verifying`, `completed`,
    /// `completed_with_residue`, `stopped_at_cap`, `auto_stopped`, `cancelled`, `failed`, `interrupted`.
    pub state: String,
    pub target: String,
    pub scope: String,
    /// `literal`, `template`
    pub scope_kind: String,
    /// `flush`, `soft`, `version`
    pub mode: String,
    /// Of a soft flush.
    pub window_s: Option<u32>,
    pub pace: String,
    pub author: String,
    pub asked_at: DateTime<Utc>,
    /// Whether the reader planned it.
    pub mine: bool,
    pub can: Can,
    /// One sentence where a failed, refused or interrupted state needs a cause.
    pub cause: Option<String>,
    pub plan: Option<Plan>,
    pub confirmation: Option<Confirmation>,
    /// Where a second person is asked.
    pub approval: Option<Approval>,
    pub progress: Option<Progress>,
    pub outcome: Option<Outcome>,
    pub verdict: Option<Verdict>,
    /// All judgements so far, in their order.
    pub judged: Vec<JudgedLine>,
    /// Oldest first.
    pub timeline: Vec<Happened>,
    /// Audit rows of this flush, oldest first.
    pub audit: Vec<AuditLine>,
    /// Last anchored number and when.
    pub anchored: Option<(i64, DateTime<Utc>)>,
}

/// What the reader may do now. What is not possible is said in a sentence in its place, with its form left out.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a form of the page")]
pub struct Can {
    pub confirm: bool,
    /// Confirming it asks a second person first.
    pub asks: bool,
    /// Approve or reject.
    pub approve: bool,
    pub start: bool,
    pub break_glass: bool,
    pub resume: Option<Resume>,
    pub cancel: bool,
    pub replan: bool,
    /// What a start and an approval ask for besides.
    pub factor: Due,
    /// Why not, in the place of the form that is missing.
    pub sentence: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub scanned_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub matched: u64,
    /// The scan hit its time limit: "at least N".
    pub at_least: bool,
    /// Of those matched, keys that carry a version.
    pub versioned: u64,
    pub keyspace: u64,
    /// Estimated from a sample.
    pub memory_bytes: Option<u64>,
    /// Keys by remaining time to live, scaled from the sample: (`under 1 min`, keys).
    pub ttl: Vec<(String, u64)>,
    pub ttl_sample: u64,
    /// Escaped text, masked where policy or role ask; empty once purged.
    pub samples: Vec<String>,
    pub samples_purged: bool,
    pub nodes: Vec<PlanNode>,
    /// Registered prefixes touched.
    pub prefixes: Vec<TouchedPrefix>,
    pub estimated_ms: u64,
    /// What the source is known to take (its peak of the last day), rebuilds a second.
    pub rebuild_peak_per_s: Option<f64>,
    pub bystander_ms: Option<f64>,
    /// Whose number mode `version` would raise.
    pub generation_key: Option<String>,
    /// Gentlest first.
    pub modes: Vec<ModeLine>,
    pub wide: bool,
    /// `over 10,000 keys`, `one segment only`, …
    pub wide_because: Vec<String>,
    /// "Is the writer mended?" first, then the guards.
    pub checks: Vec<Check>,
    /// First 12 digits of the plan's digest.
    pub digest: String,
    pub run_id: Option<String>,
}

/// One mode beside the others.
#[derive(Clone, Debug)]
pub struct ModeLine {
    /// `flush`, `soft`, `version`
    pub mode: String,
    pub window_s: Option<u32>,
    /// Rebuilds a second that it would cause at first; None: nobody knows.
    pub load_per_s: Option<f64>,
    /// Why this scope cannot have it here.
    pub cannot: Option<String>,
    /// The plan's own.
    pub chosen: bool,
    /// Why this one is advised, if it is.
    pub advised: Option<String>,
}

#[derive(Clone, Debug)]
pub struct PlanNode {
    pub address: String,
    pub run_id: String,
    pub keys: u64,
    pub matched: u64,
}

#[derive(Clone, Debug)]
pub struct TouchedPrefix {
    pub name: String,
    pub tier: Option<String>,
    pub keys: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    Good,
    Warn,
    Unknown,
}

/// One line of "Checked by the server".
#[derive(Clone, Debug)]
pub struct Check {
    pub weight: Weight,
    pub text: String,
    /// Right-hand side, short.
    pub note: String,
}

#[derive(Clone, Debug)]
pub struct Confirmation {
    pub by: String,
    pub at: DateTime<Utc>,
    pub reason: String,
    pub incident: Option<String>,
}

impl Can {
    /// Whether any form stands on the page.
    pub fn any(&self) -> bool {
        self.confirm || self.approve || self.start || self.break_glass || self.resume.is_some() || self.cancel || self.replan
    }
}

/// What a resume may do.
#[derive(Clone, Debug)]
pub struct Resume {
    pub until: DateTime<Utc>,
    /// The most keys it may still send.
    pub left: u64,
    pub cap: u64,
}

/// What a second person is asked for, and what they said.
#[derive(Clone, Debug)]
pub struct Approval {
    /// 64 hexadecimal digits over everything that is approved.
    pub hash: String,
    pub approve_until: DateTime<Utc>,
    pub start_until: Option<DateTime<Utc>>,
    /// The most keys that may go.
    pub cap: u64,
    pub decision: Option<Decision>,
    /// Why one admin went on alone.
    pub break_glass: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Decision {
    pub approved: bool,
    pub by: String,
    pub at: DateTime<Utc>,
    pub reason: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Progress {
    pub started_at: DateTime<Utc>,
    pub removed: u64,
    pub gone: u64,
    pub failed: u64,
    /// Last committed write-ahead credit: at most this many more than `removed + gone` may have been sent.
    pub granted: u64,
    pub scanned: u64,
    pub keys_per_s: Option<f64>,
    pub left_s: Option<f64>,
    pub scan_count: Option<u32>,
    pub step_us: Option<u32>,
    pub failed_by_class: Vec<(String, u64)>,
    pub bystander_p50_ms: Option<f64>,
    pub bystander_p99_ms: Option<f64>,
    pub bystander_before_ms: Option<f64>,
    /// p99 over it is braked.
    pub bystander_limit_ms: Option<f64>,
    /// Milliseconds, one point a second.
    pub bystander: Option<Series>,
    /// How often the brake has halved the pace, and why.
    pub halved: u32,
    pub braked_because: Option<String>,
    /// What the brake cannot see.
    pub blind: Option<String>,
    /// In the order of their addresses.
    pub nodes: Vec<NodeProgress>,
    /// Shown from memory: the store does not take progress, nothing more is sent.
    pub paused: bool,
}

/// How far one master is.
#[derive(Clone, Debug)]
pub struct NodeProgress {
    pub address: String,
    /// Keys that it held when it was planned.
    pub keys: Option<u64>,
    pub scanned: u64,
    pub removed: u64,
    /// Its scan has come round.
    pub complete: bool,
}

#[derive(Clone, Debug)]
pub struct Outcome {
    pub ended_at: DateTime<Utc>,
    pub removed: u64,
    pub gone: u64,
    pub failed: u64,
    pub failed_by_class: Vec<(String, u64)>,
    /// Found by the verifying scan; None where it was not done.
    pub residue: Option<u64>,
    /// Of how many keys the residue is counted, where a soft flush looked at a sample.
    pub sampled: Option<u64>,
    /// What a generation was raised to.
    pub generation: Option<i64>,
    /// The verifying scan was complete and undisturbed, so what it found was written after.
    pub proven: bool,
    /// Where a run was cut off and nobody knows exactly: at least `removed`, at most this many.
    pub removed_at_most: Option<u64>,
    pub bystander_worst_ms: Option<f64>,
    pub bystander_median_ms: Option<f64>,
    pub duration_ms: u64,
}

#[derive(Clone, Debug)]
pub struct Verdict {
    /// `recovered`, `not_recovered`, `worse`, `too_little_data`
    pub verdict: String,
    pub judged_at: DateTime<Utc>,
    /// Minutes after the end: 1, 5, 15 or 60.
    pub after_min: u32,
    /// When the next judgement is due, None after the last.
    pub next_at: Option<DateTime<Utc>>,
    pub delay_s: Option<u32>,
    pub before: RateFigure,
    pub after: RateFigure,
    pub threshold: Option<f64>,
    /// Beside it the price: misses, rebuild p95, cost.
    pub price: Vec<Price>,
    /// Stale-read rate around the flush.
    pub chart: Option<MetricChart>,
    pub before_from: DateTime<Utc>,
    pub before_to: DateTime<Utc>,
    pub after_from: DateTime<Utc>,
    pub after_to: DateTime<Utc>,
}

/// One judgement in short.
#[derive(Clone, Debug)]
pub struct JudgedLine {
    pub after_min: u32,
    pub at: DateTime<Utc>,
    pub verdict: String,
    pub after: RateFigure,
}

/// One metric before and after.
#[derive(Clone, Debug)]
pub struct Price {
    pub what: String,
    pub unit: Unit,
    pub before: Option<f64>,
    pub after: Option<f64>,
    pub limit: Option<f64>,
    /// How many minutes after the end it was back under its limit for good; None: not yet, or it has none.
    pub back_after_min: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 0…1
    Share,
    Milliseconds,
    /// Rebuild-seconds per minute.
    Cost,
    PerMinute,
}

#[derive(Clone, Debug)]
pub struct Happened {
    pub at: DateTime<Utc>,
    pub what: String,
}

#[derive(Clone, Debug)]
pub struct AuditLine {
    pub seq: i64,
    /// 64 hexadecimal digits.
    pub hash: String,
    pub at: DateTime<Utc>,
    pub code: String,
    pub what: String,
}
