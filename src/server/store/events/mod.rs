//! All SQL of the events schema: the registry, raw events, rollups and how far they can be trusted. May live in another database than the control
//! tables, so nothing here joins them.

pub mod copied;
pub mod encode;
pub mod lately;
pub mod lists;
pub mod quality;
pub mod raw;
pub mod registry;
pub mod rollups;
pub mod samples;
pub mod writes;

use sha2::{Digest, Sha256};

/// The number of a name: the first 63 bits of a SHA-256, so that every replica finds the same one without asking.
fn number(parts: &[&str]) -> i64 {
    let mut hash = Sha256::new();
    for part in parts {
        // Framed by length: `a` + `bc` is another name than `ab` + `c`.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    i64::from_be_bytes(first) & i64::MAX
}

pub fn target_id(name: &str) -> i64 {
    number(&["target", name])
}

pub fn source_id(name: &str) -> i64 {
    number(&["source", name])
}

/// The number of a registered template.
pub fn prefix_id(target: &str, template: &str) -> i64 {
    number(&["prefix", target, template])
}

/// The number of a target's `unclassified` or `overflow`, which no template can share.
pub fn rest_id(target: &str, rest: &str) -> i64 {
    number(&["rest", target, rest])
}

/// An event's id as 16 bytes: its UUID if it is written as one, else the first half of its SHA-256.
pub fn event_id(id: &str) -> [u8; 16] {
    uuid(id.as_bytes()).unwrap_or_else(|| {
        let mut half = [0; 16];
        half.copy_from_slice(&Sha256::digest(id.as_bytes())[..16]);
        half
    })
}

/// Reads a UUID in its canonical form only: two spellings are two ids, as the sender meant them.
fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    if text.len() != 36 {
        return None;
    }
    let mut bytes = [0u8; 16];
    let mut digits = 0;
    for (at, &character) in text.iter().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if character != b'-' {
                return None;
            }
            continue;
        }
        let digit = match character {
            b'0'..=b'9' => character - b'0',
            b'a'..=b'f' => character - b'a' + 10,
            _ => return None,
        };
        bytes[digits / 2] = bytes[digits / 2] << 4 | digit;
        digits += 1;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_kept_and_any_other_spelling_is_another_id() {
        let id = "0189d3a4-5b6c-7d8e-9f00-112233445566";
        assert_eq!(event_id(id)[..4], [0x01, 0x89, 0xd3, 0xa4]);
        assert_ne!(event_id(id), event_id(&id.to_uppercase()));
        assert_ne!(event_id("a"), event_id("b"));
    }

    #[test]
    fn a_template_named_like_a_rest_is_not_the_rest() {
        assert_ne!(prefix_id("main", "unclassified"), rest_id("main", "unclassified"));
        assert_ne!(number(&["a", "bc"]), number(&["ab", "c"]));
    }
}
