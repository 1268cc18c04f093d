//! Patterns for `SCAN … MATCH`. Their own type: a raw key can never be taken for a pattern, nor a pattern for a key.

/// A Redis glob in which every literal byte is escaped. It always begins with a literal byte, so it is never `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobPattern(Vec<u8>);

impl GlobPattern {
    /// A pattern that begins with these bytes.
    pub(super) fn literal(bytes: &[u8]) -> Self {
        let mut pattern = Self(Vec::with_capacity(bytes.len() + 8));
        pattern.push_literal(bytes);
        pattern
    }

    pub(super) fn push_literal(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\') {
                self.0.push(b'\\');
            }
            self.0.push(byte);
        }
    }

    /// Any bytes, none too. Two in a row are one: Redis's matcher backtracks at each.
    pub(super) fn push_any(&mut self) {
        if self.0.last() != Some(&b'*') || self.ends_in_escape() {
            self.0.push(b'*');
        }
    }

    /// Whether the last byte is a literal because of an odd run of backslashes before it.
    fn ends_in_escape(&self) -> bool {
        let before = self.0.len().saturating_sub(1);
        self.0[..before].iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
    }

    /// The pattern as Redis reads it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Redis's own glob rules (`stringmatchlen`), for tests that ask whether a pattern would find a key.
#[cfg(test)]
pub(super) fn redis_glob_matches(pattern: &[u8], key: &[u8]) -> bool {
    match pattern {
        [] => key.is_empty(),
        [b'*', rest @ ..] => (0..=key.len()).any(|skip| redis_glob_matches(rest, &key[skip..])),
        [b'?', rest @ ..] => !key.is_empty() && redis_glob_matches(rest, &key[1..]),
        [b'[', ..] => panic!("an unescaped class in a pattern of ours"),
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => key.first() == Some(literal) && redis_glob_matches(rest, &key[1..]),
    }
}
