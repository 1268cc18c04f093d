//! Keys as bytes: escaping for patterns, versions, and the set of those already met.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};

/// `bytes` so that a Redis pattern matches exactly them.
pub(super) fn glob_escaped(bytes: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(bytes.len());
    for &byte in bytes {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\') {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}

/// Whether the key's last segment is a version: `v` and 1–20 digits.
pub(super) fn is_versioned(key: &[u8], delimiter: u8) -> bool {
    let Some(at) = key.iter().rposition(|&byte| byte == delimiter) else { return false };
    matches!(&key[at + 1..], [b'v', digits @ ..] if (1..=20).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit))
}

/// Keys already met, by 64-bit hashes under a random seed: SCAN may return a key more than once.
#[derive(Default)]
pub(super) struct Seen {
    seed: RandomState,
    hashes: HashSet<u64, BuildHasherDefault<AsIs>>,
}

impl Seen {
    /// Notes the key; false when it was known.
    pub(super) fn insert(&mut self, key: &[u8]) -> bool {
        self.hashes.insert(self.seed.hash_one(key))
    }

    /// Forgets the key, so that it is taken when it is met again.
    pub(super) fn remove(&mut self, key: &[u8]) {
        self.hashes.remove(&self.seed.hash_one(key));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    pub(super) fn len(&self) -> u64 {
        self.hashes.len() as u64
    }
}

/// The hash of a hash is itself.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_the_last_segment_only() {
        assert!(is_versioned(b"user:1:profile:v12", b':'));
        for key in [&b"user:1:v12:profile"[..], b"v12", b"user:v", b"user:v1x", b"user:v123456789012345678901"] {
            assert!(!is_versioned(key, b':'));
        }
    }

    #[test]
    fn a_key_is_new_once() {
        let mut seen = Seen::default();
        assert!(seen.insert(b"a") && !seen.insert(b"a") && seen.insert(b"a\0"));
        seen.remove(b"a");
        assert!(!seen.is_empty() && seen.insert(b"a"));
        assert_eq!(seen.len(), 2);
    }
}
