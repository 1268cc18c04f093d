//! The words of each mode. Only a `flush` removes; a `soft` flush lets keys expire; `version` raises one number.

use crate::server::service::flush::FlushPage;
use crate::ui::components::write;
use chrono::TimeDelta;

/// `10 min`
pub fn window(seconds: u32) -> String {
    write::span(TimeDelta::seconds(seconds.into()))
}

/// `soft within 10 min`
pub fn mode(mode: &str, window_s: Option<u32>) -> String {
    window_s.map_or_else(|| mode.to_owned(), |seconds| format!("{mode} within {}", window(seconds)))
}

/// `3,412 keys`
pub fn keys(count: u64) -> String {
    format!("{} {}", write::count(count), if count == 1 { "key" } else { "keys" })
}

fn within(flush: &FlushPage) -> String {
    flush.window_s.map_or_else(String::new, |seconds| format!(" within {}", window(seconds)))
}

/// `remove 3,412 keys`, as in "this would …", "… asks to …", and on the button with its first letter raised.
pub fn act(flush: &FlushPage, count: &str) -> String {
    match flush.mode.as_str() {
        "soft" => format!("let {count} expire{}", within(flush)),
        "version" => format!("raise the generation of {count}"),
        _ => format!("remove {count}"),
    }
}

/// The same with its first letter raised.
pub fn button(flush: &FlushPage, count: &str) -> String {
    let act = act(flush, count);
    let mut letters = act.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// `removing 3,412 keys`
pub fn acting(flush: &FlushPage, count: &str) -> String {
    match flush.mode.as_str() {
        "soft" => format!("letting {count} expire{}", within(flush)),
        "version" => format!("raising the generation of {count}"),
        _ => format!("removing {count}"),
    }
}

/// What has not happened yet.
pub fn nothing_yet(flush: &FlushPage) -> &'static str {
    if flush.mode == "flush" { "Nothing has been removed yet." } else { "Nothing has been changed yet." }
}

/// `the removal`
pub fn noun(flush: &FlushPage) -> &'static str {
    match flush.mode.as_str() {
        "soft" => "the expiry",
        "version" => "the new generation",
        _ => "the removal",
    }
}

/// What cannot be taken back, and what readers see.
pub fn consequence(flush: &FlushPage) -> &'static str {
    match flush.mode.as_str() {
        "soft" => {
            "Each key gets a random moment within the window to expire, never later than its own. It cannot be undone, and until a key expires readers see its old value."
        }
        "version" => {
            "One number is raised; every read of these keys misses from then on, and the old keys expire by themselves. It cannot be undone."
        }
        _ => "It cannot be undone. The values come back only when readers rebuild them.",
    }
}

/// What happened to so many keys, as a sentence's beginning.
pub fn done(flush: &FlushPage, count: &str) -> String {
    match flush.mode.as_str() {
        "soft" => format!("Let {count} expire{}", within(flush)),
        "version" => match flush.outcome.as_ref().and_then(|outcome| outcome.generation) {
            Some(generation) => format!("Raised the generation to {generation}"),
            None => "Raised no generation".to_owned(),
        },
        _ => format!("Removed {count}"),
    }
}

/// `removed`, of keys.
pub fn participle(mode: &str) -> &'static str {
    crate::domain::flush::done(mode)
}

/// The heads of an outcome's numbers: what was done, and what needed nothing any more.
pub fn heads(mode: &str) -> (&'static str, &'static str, &'static str) {
    match mode {
        "soft" => ("Will expire", "Sooner anyway", "expired, or within less"),
        "version" => ("Generations raised", "Already gone", ""),
        _ => ("Removed", "Already gone", "expired on the way"),
    }
}
