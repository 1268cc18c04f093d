//! A record's body as one line for people: every code has its sentence.

use crate::domain::audit::Code;
use crate::domain::flush::{WideReason, done};
use crate::domain::number::count;
use serde_json::Value;
use std::fmt::Write;

/// Fields that have their own column, or say nothing to people.
const ELSEWHERE: &[&str] = &["actor", "actor_id", "actor_role", "actor_uid", "user_id", "session"];
/// A text is cut here; the whole is in the exports.
const LONGEST: usize = 200;

/// What happened, as one line. `body` holds the scope as this reader may see it.
pub fn sentence(code: &str, body: &Value) -> String {
    let told = Told(body);
    Code::parse(code).map_or_else(|| plain(body), |code| told.of(code))
}

/// Reads a body, whose fields may be missing: records of earlier releases stay as they are.
struct Told<'a>(&'a Value);

impl Told<'_> {
    #[expect(clippy::too_many_lines, reason = "one sentence for each code")]
    fn of(&self, code: Code) -> String {
        let scope = || format!("{} on {}", self.text("scope"), self.text("target"));
        match code {
            Code::SignInOk => format!("signed in{}", self.with(" from ", "address")),
            Code::SignInFailed => format!(
                "{} failed, of {}, from {}",
                many(self.number("failures"), "sign-in"),
                many(self.number("accounts"), "account"),
                if self.number("addresses") == 1 {
                    "1 address".to_owned()
                } else {
                    format!("{} addresses", count(self.number("addresses")))
                },
            ),
            Code::SignedOut => "signed out".to_owned(),
            Code::SessionRevoked => "ended another of their own sessions".to_owned(),
            Code::UserCreated => format!("added {} as {}{}", self.text("user"), self.text("role"), self.with(" by the ", "by")),
            Code::UserDisabled => format!("disabled {}{}", self.text("user"), self.ended()),
            Code::UserEnabled => format!("enabled {}", self.text("user")),
            Code::UserRoleChanged => {
                format!("made {} {}, before {}{}", self.text("user"), self.text("role"), self.text("role_before"), self.ended())
            }
            Code::UserPasswordChanged => format!("changed their own password{}", self.ended()),
            Code::UserPasswordReset => format!("reset the password of {}{}", self.text("user"), self.ended()),
            Code::FactorEnrolled => "enrolled a second factor".to_owned(),
            Code::FactorRemoved => "removed their second factor".to_owned(),
            Code::FactorReset => format!("took away the second factor of {}{}", self.text("user"), self.ended()),
            Code::RecoveryRenewed => "made new recovery codes; the ones before are void".to_owned(),
            Code::RecoveryUsed => format!("used a recovery code, {} left", self.number("left")),
            Code::StepUpOk => "showed their second factor".to_owned(),
            Code::StepUpFailed => format!("did not show their second factor: {}", self.words("reason")),
            Code::TokenCreated => format!(
                "created {} token {} for {}{}{}",
                self.text("kind"),
                self.text("token"),
                self.text("source"),
                self.with(", target ", "target"),
                self.with(", until ", "expires_at"),
            ),
            Code::TokenRevoked => format!("revoked token {}", self.text("token")),
            Code::ConfigLoaded => self.configuration(),
            Code::AccessRefused => format!("{} {} is not for this role; nothing was done", self.text("method"), self.text("path")),
            Code::FlushRequested => {
                format!("asked for a plan of {}, mode {}{}, pace {}", scope(), self.text("mode"), self.window(), self.text("pace"))
            }
            Code::FlushPlanned => {
                let least = if self.flag("at_least") { "at least " } else { "" };
                let of = self.0.get("keyspace").map(|_| format!(" of {}", count(self.number("keyspace")))).unwrap_or_default();
                format!("{}: {least}{}{of}{}", scope(), many(self.number("count"), "key"), self.wide())
            }
            Code::FlushPlanFailed => format!("{}: planning failed{}", scope(), self.cause()),
            Code::FlushRefused => format!("{} of {} refused: {}; nothing was removed", self.words("attempt"), scope(), self.words("code")),
            Code::FlushConfirmed => format!(
                "confirmed {} under {}, mode {}{}: “{}”{}{}",
                many(self.number("count"), "key"),
                scope(),
                self.text("mode"),
                self.window(),
                self.text("reason"),
                self.with(", incident ", "incident"),
                self.wide(),
            ),
            Code::FlushApproved => {
                format!("approved {} under {}, asked for by {}", many(self.number("count"), "key"), scope(), self.text("author"))
            }
            Code::FlushRejected => format!("rejected {}{}; nothing was removed", scope(), self.quoted("reason")),
            Code::FlushBreakGlass => format!(
                "went on alone, without a second person, with {} under {}{}",
                many(self.number("count"), "key"),
                scope(),
                self.quoted("reason")
            ),
            Code::FlushStarting => format!("started the approved flush of {}", scope()),
            Code::FlushResumed => format!("resumed {}", scope()),
            Code::FlushDrifted => format!(
                "{}: {} now, far above the {} of the plan; nothing was removed, it has to be confirmed again",
                scope(),
                many(self.number("count"), "key"),
                count(self.number("drifted_from")),
            ),
            Code::FlushStarted => format!("{}: work began", scope()),
            Code::FlushProgress => format!("{}: so far {}", scope(), self.counts()),
            Code::FlushVerifying => format!("{}: all dealt with, {}; verifying by a fresh scan", scope(), self.counts()),
            Code::FlushFinished => format!("{}: {}, {}{}", scope(), self.words("state"), self.counts(), self.residue()),
            Code::FlushCancelled => format!("{}: cancelled, {}", scope(), self.counts()),
            Code::FlushExpired => format!("{}: the plan expired, nothing was removed", scope()),
            Code::FlushFailed => format!("{}: failed{}, {}", scope(), self.cause(), self.counts()),
            Code::FlushInterrupted => {
                let least = self.number("removed_at_least");
                let removed = match self.0.get("removed_at_least") {
                    Some(_) => format!("{} to {} {}", count(least), count(least + self.number("granted")), done(&self.text("mode"))),
                    None => self.counts(),
                };
                format!("{}: interrupted{}, {removed}", scope(), self.cause())
            }
            Code::FlushVerdict => self.verdict(&scope()),
            Code::ReviewActionAdded => {
                format!("added to week {}: “{}”, {}, due {}", self.text("week"), self.text("text"), self.text("owner"), self.text("due"))
            }
            Code::ReviewActionClosed => {
                format!("closed “{}” of {}{}", self.text("text"), self.text("owner"), self.with(": ", "outcome"))
            }
            Code::DemoSwitched => {
                format!("turned the shop's bug “{}” {}", self.words("switch"), if self.flag("on") { "on" } else { "off" })
            }
            Code::AuditVerified => format!("verified {}: {}", many(self.number("records"), "record"), self.words("verdict")),
            Code::AuditExported => self.export(),
            Code::AuditCutNoticed => {
                "the record ends before its last checkpoint, so records are missing: noticed before anything else was appended".to_owned()
            }
            Code::AuditReanchored => {
                format!("anchored the record anew: “{}”; before it was {}", self.text("reason"), self.words("verdict_before"))
            }
        }
    }

    fn text(&self, field: &str) -> String {
        match self.0.get(field) {
            None | Some(Value::Null) => "?".to_owned(),
            Some(value) => spoken(value),
        }
    }

    /// A stable name as words.
    fn words(&self, field: &str) -> String {
        self.text(field).replace('_', " ")
    }

    fn number(&self, field: &str) -> u64 {
        self.0.get(field).and_then(Value::as_u64).unwrap_or(0)
    }

    fn flag(&self, field: &str) -> bool {
        self.0.get(field).and_then(Value::as_bool).unwrap_or(false)
    }

    /// `lead` and the field's value, or nothing without one.
    fn with(&self, lead: &str, field: &str) -> String {
        match self.0.get(field) {
            None | Some(Value::Null) => String::new(),
            Some(value) => format!("{lead}{}", spoken(value)),
        }
    }

    /// `: “…”`, or nothing.
    fn quoted(&self, field: &str) -> String {
        let text = self.with(": “", field);
        if text.is_empty() { text } else { format!("{text}”") }
    }

    fn ended(&self) -> String {
        match self.number("sessions_ended") {
            0 => String::new(),
            ended => format!(", {} ended", many(ended, "session")),
        }
    }

    fn cause(&self) -> String {
        let cause = self.with(" (", "cause").replace('_', " ");
        if cause.is_empty() { cause } else { format!("{cause})") }
    }

    fn counts(&self) -> String {
        let more = |field: &str, words: &str| match self.number(field) {
            0 => String::new(),
            n => format!(", {} {words}", count(n)),
        };
        let gone = if self.text("mode") == "soft" { "sooner anyway" } else { "already gone" };
        format!("{} {}{}{}", count(self.number("removed")), done(&self.text("mode")), more("gone", gone), more("failed", "failed"))
    }

    /// ` within 600 s`, of a soft flush.
    fn window(&self) -> String {
        match self.number("window_s") {
            0 => String::new(),
            seconds => format!(" within {} s", count(seconds)),
        }
    }

    fn residue(&self) -> String {
        match (self.0.get("residue").and_then(Value::as_u64), self.0.get("generation").and_then(Value::as_i64)) {
            (_, Some(generation)) => format!(", to {generation}"),
            (Some(residue), _) if self.0.get("sampled").is_some() => {
                format!(", {} of {} sampled outlive the window", count(residue), count(self.number("sampled")))
            }
            (Some(residue), _) => format!(", {} left", count(residue)),
            (None, _) => String::new(),
        }
    }

    fn wide(&self) -> String {
        let reasons: Vec<&str> = self.0.get("wide").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        if reasons.is_empty() {
            return String::new();
        }
        let words = reasons
            .iter()
            .map(|reason| WideReason::parse(reason).map_or_else(|| reason.replace('_', " "), |known| known.sentence().to_owned()));
        format!("; wide: {}", words.collect::<Vec<_>>().join("; "))
    }

    fn verdict(&self, scope: &str) -> String {
        let rate = |field: &str| {
            let told = self.0.get(field)?;
            let number = |name: &str| told.get(name).and_then(Value::as_u64);
            Some(format!("{} of {} stale", count(number("stale")?), count(number("samples")?)))
        };
        let change = match (rate("before"), rate("after")) {
            (Some(before), Some(after)) => format!(": {before} before, {after} after"),
            _ => String::new(),
        };
        let after = self.with(" at +", "after_min");
        let after = if after.is_empty() { after } else { format!("{after} min") };
        format!("{scope}: {}{after}{change}", self.words("verdict"))
    }

    fn configuration(&self) -> String {
        let short = |field: &str| self.0.get(field).and_then(Value::as_str).map(|digest| digest.chars().take(12).collect::<String>());
        let before = short("digest_before").map_or_else(|| "the first on record".to_owned(), |before| format!("before {before}"));
        let targets: Vec<String> = self.0.get("targets").and_then(Value::as_array).into_iter().flatten().map(target).collect();
        let targets = if targets.is_empty() { "no target".to_owned() } else { format!("targets {}", targets.join(", ")) };
        format!(
            "put {} into force, digest {} ({before}): {targets}; {}, {}",
            self.text("file"),
            short("digest").unwrap_or_default(),
            if self.number("prefixes") == 1 { "1 prefix".to_owned() } else { format!("{} prefixes", count(self.number("prefixes"))) },
            many(self.number("contracts"), "contract"),
        )
    }

    fn export(&self) -> String {
        let filters = [
            ("who", "who"),
            ("code_filter", "code"),
            ("target_filter", "target"),
            ("scope_filter", "scope"),
            ("from", "from"),
            ("to", "to"),
        ];
        let chosen: Vec<String> =
            filters.iter().map(|(field, word)| self.with(&format!("{word} "), field)).filter(|part| !part.is_empty()).collect();
        let of = if chosen.is_empty() { "the whole record".to_owned() } else { format!("records with {}", chosen.join(", ")) };
        format!("exported {of} as {}", self.text("format").to_uppercase())
    }
}

/// A target of the configuration, in brackets what flushes of it must keep to.
fn target(target: &Value) -> String {
    // Records of earlier releases may name it only.
    let Some(name) = target.get("name").and_then(Value::as_str) else { return spoken(target) };
    let protected: Vec<&str> = target.get("protected").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let protects = if protected.is_empty() { "protects nothing".to_owned() } else { format!("protects {}", protected.join(" ")) };
    match target.get("max_keys").and_then(Value::as_u64) {
        Some(most) => format!("{name} ({protects}, max_keys {})", count(most)),
        None => format!("{name} ({protects})"),
    }
}

/// `1 key`, `3,412 keys`
fn many(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// Any value as words: never as JSON.
fn spoken(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.as_u64().map_or_else(|| number.to_string(), count),
        Value::String(text) => {
            let cut = text.char_indices().nth(LONGEST).map_or(text.len(), |(at, _)| at);
            format!("{}{}", &text[..cut], if cut < text.len() { "…" } else { "" })
        }
        Value::Array(items) => items.iter().map(spoken).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| format!("{} {}", name.replace('_', " "), spoken(value))).collect::<Vec<_>>().join(" ")
        }
    }
}

/// What a later release recorded: its fields in words.
fn plain(body: &Value) -> String {
    let Some(fields) = body.as_object() else { return String::new() };
    let shown = fields.iter().filter(|(name, value)| !ELSEWHERE.contains(&name.as_str()) && !value.is_null());
    shown.map(|(name, value)| format!("{} {}", name.replace('_', " "), spoken(value))).collect::<Vec<_>>().join(", ")
}

/// Where the record leads.
pub fn href(body: &Value) -> Option<String> {
    let flush = body.get("flush").or_else(|| body.get("flush_id"))?;
    match flush {
        Value::Number(id) => Some(format!("/flush/{id}")),
        Value::String(id) if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') => {
            Some(format!("/flush/{id}"))
        }
        _ => None,
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A body as the server writes it, with more in it than is told.
    fn body(code: Code) -> Value {
        let mut body = json!({"actor": "a@b.example", "actor_id": 1, "actor_role": "operator"});
        let more = match code {
            Code::SignInOk | Code::SignedOut | Code::SessionRevoked => json!({"address": "192.0.2.7", "session": 12}),
            Code::SignInFailed => {
                json!({"failures": 1204, "accounts": 3, "known_accounts": 1, "addresses": 2, "first_at": "2026-11-23T02:00:00Z"})
            }
            Code::TokenCreated => {
                json!({"token": "k3", "kind": "ingest", "source": "accounts-api", "target": null, "expires_at": "2026-12-01T00:00:00Z"})
            }
            Code::ConfigLoaded => json!({
                "file": "stalewatch.toml", "digest": "9f3c41d7be02aa", "digest_before": "77aa41d7be02aa", "prefixes": 1234, "contracts": 1,
                "targets": [{"name": "main", "protected": ["session:", "lock:"], "max_keys": 1_000_000}],
            }),
            Code::AccessRefused => json!({"method": "POST", "path": "/users", "reason": "role"}),
            Code::AuditExported => json!({"format": "csv", "who": null, "code_filter": "flush", "from": "2026-11-01"}),
            Code::AuditVerified => json!({"verdict": "cannot_tell", "records": 48_216, "last_seq": 48_216, "last_anchored": null}),
            Code::AuditReanchored => json!({"reason": "restored from the backup", "verdict_before": "truncated", "last_seq": 12}),
            Code::ReviewActionAdded | Code::ReviewActionClosed => {
                json!({"action": 4, "week": "2026-W47", "text": "Evict the summary", "owner": "Lea", "due": "2026-11-25", "outcome": null})
            }
            Code::DemoSwitched => json!({"switch": "forgotten_summary", "on": true, "scope": "user:***:"}),
            _ if code.as_str().starts_with("flush.") => json!({
                "flush": 12, "scope": "user:***:", "target": "main", "state": "completed_with_residue", "mode": "flush", "pace": "normal",
                "count": 8214, "keyspace": 1_840_221, "at_least": true, "versioned": 3, "prefixes": [["user", 8214]],
                "wide": ["many_keys", "critical_prefix"], "run_id": "ab", "db": 0, "drifted_from": 41, "cause": "redis_unavailable", "detail": "x",
                "reason": "old names", "incident": "INC-7", "removed": 8118, "gone": 96, "failed": 2, "residue": 1200, "proven": true,
                "removed_at_least": 5000, "granted": 1000, "verdict": "not_recovered", "after_min": 5, "threshold": 0.001,
                "before": {"stale": 12, "samples": 1200}, "after": {"stale": 9, "samples": 1100}, "attempt": "confirm", "code": "typed_count",
                "status": 422, "lease_epoch": 4, "cap": 12_000, "author": "c@b.example",
            }),
            _ => {
                json!({"user": "b@b.example", "user_id": 4, "role": "operator", "role_before": "viewer", "sessions_ended": 2, "token": "k3",
                       "left": 9, "reason": "wrong_code"})
            }
        };
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    }

    #[test]
    fn every_code_has_a_sentence_in_words() {
        for code in Code::ALL {
            let said = sentence(code.as_str(), &body(*code));
            assert!(said.len() > 8, "{code}: {said}");
            assert!(!said.contains(['{', '[', '"', '?']) && !said.contains("null"), "{code}: {said}");
            // A body of another release, or none at all, breaks nothing.
            assert!(!sentence(code.as_str(), &json!({})).contains(['{', '[', '"']), "{code}");
        }
    }

    #[test]
    fn sentences_read_as_operators_speak() {
        let said = |code: Code| sentence(code.as_str(), &body(code));
        assert_eq!(
            said(Code::ConfigLoaded),
            "put stalewatch.toml into force, digest 9f3c41d7be02 (before 77aa41d7be02): targets main (protects session: lock:, max_keys 1,000,000); \
             1,234 prefixes, 1 contract"
        );
        assert_eq!(
            said(Code::FlushPlanned),
            format!(
                "user:***: on main: at least 8,214 keys of 1,840,221; wide: {}; {}",
                WideReason::ManyKeys.sentence(),
                WideReason::Critical.sentence()
            )
        );
        assert_eq!(
            said(Code::FlushFinished),
            "user:***: on main: completed with residue, 8,118 removed, 96 already gone, 2 failed, 1,200 left"
        );
        assert_eq!(
            said(Code::FlushVerdict),
            "user:***: on main: not recovered at +5 min: 12 of 1,200 stale before, 9 of 1,100 stale after"
        );
        assert_eq!(said(Code::SignInFailed), "1,204 sign-ins failed, of 3 accounts, from 2 addresses");
        assert_eq!(href(&body(Code::FlushPlanned)).as_deref(), Some("/flush/12"));
    }

    #[test]
    fn what_no_release_here_knows_is_told_as_its_fields() {
        let said =
            sentence("flush.teleported", &json!({"actor": "a", "scope": "user:", "nodes": [{"run_id": "x", "keys": 1200}], "why": null}));
        assert_eq!(said, "nodes keys 1,200 run id x, scope user:");
    }
}
