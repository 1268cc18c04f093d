//! A template: the registered name of a family of keys, and the one matcher that says whether a key belongs to it.
//!
//! A key's last segment `v` + 1–20 digits is its version and never a placeholder's value. A template matches a key with or without its
//! version; one that ends in `v{n}` matches versioned keys only.

use std::collections::BTreeMap;
use std::fmt;

use super::parse::{self, TemplateError};

/// One segment of a template or of a template scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// These bytes; may be empty except in the first segment.
    Literal(Vec<u8>),
    /// `{name}`: one non-empty segment; in a scope perhaps bound to a value.
    One { name: String, bound: Option<Vec<u8>> },
    /// `{name*}`, last only: one or more non-empty segments; in a scope perhaps bound to bytes that may hold delimiters.
    Many { name: String, bound: Option<Vec<u8>> },
}

/// A parsed template. `Display` gives the registered text back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pub(super) text: String,
    pub(super) delimiter: u8,
    /// Without a final `v{n}`.
    pub(super) segments: Vec<Segment>,
    /// Whether the text ends in `v{n}`.
    pub(super) versioned_only: bool,
}

impl Template {
    /// Reads the text of a template as the configuration holds it; placeholders are free.
    pub fn parse(text: &str, delimiter: u8) -> Result<Self, TemplateError> {
        let template = parse::parse(text, delimiter)?;
        if template.segments.iter().any(Segment::is_bound) {
            return Err(TemplateError::Bound);
        }
        Ok(template)
    }

    /// Whether `key` belongs to this family.
    pub fn matches(&self, key: &[u8]) -> bool {
        let d = self.delimiter;
        let (before, last) = split_last(key, d);
        if !is_version(last) {
            return !self.versioned_only && fits(&self.segments, key, d);
        }
        if before.is_some_and(|base| fits(&self.segments, base, d)) {
            return true;
        }
        // The version segment may still be a literal of the template, never a placeholder's value.
        !self.versioned_only && matches!(self.segments.last(), Some(Segment::Literal(_))) && fits(&self.segments, key, d)
    }

    /// Whether some bytes match both. Exact, for templates of one delimiter.
    pub fn overlaps(&self, other: &Self) -> bool {
        super::overlap::overlaps(self, other)
    }

    /// The key that these values name, without a version. `None` where a value is missing, empty, holds a delimiter that its placeholder
    /// cannot hold, or gives a key that is not of this family (a last value that reads as a version).
    pub fn fill(&self, params: &BTreeMap<String, String>) -> Option<Vec<u8>> {
        let mut key = Vec::new();
        for (i, segment) in self.segments.iter().enumerate() {
            if i > 0 {
                key.push(self.delimiter);
            }
            match segment {
                Segment::Literal(bytes) => key.extend_from_slice(bytes),
                Segment::One { name, .. } => {
                    let value = params.get(name)?.as_bytes();
                    if value.contains(&self.delimiter) {
                        return None;
                    }
                    key.extend_from_slice(value);
                }
                Segment::Many { name, .. } => key.extend_from_slice(params.get(name)?.as_bytes()),
            }
        }
        let belongs = if self.versioned_only { fits(&self.segments, &key, self.delimiter) } else { self.matches(&key) };
        belongs.then_some(key)
    }

    /// The names of the placeholders, in order. The `n` of a final `v{n}` is none.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::One { name, .. } | Segment::Many { name, .. } => Some(name.as_str()),
        })
    }

    /// The byte between segments.
    pub fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// The registered text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether keys of this family always carry a version (`v{n}` at the end).
    pub fn versioned_only(&self) -> bool {
        self.versioned_only
    }

    /// Always literal and never empty.
    pub fn first_segment(&self) -> &[u8] {
        match self.segments.first() {
            Some(Segment::Literal(bytes)) => bytes,
            _ => &[],
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Segment {
    pub(super) fn is_bound(&self) -> bool {
        matches!(self, Self::One { bound: Some(_), .. } | Self::Many { bound: Some(_), .. })
    }

    /// Whether this segment can be exactly these bytes (one segment of a key).
    pub(super) fn takes(&self, bytes: &[u8]) -> bool {
        match self {
            Self::Literal(literal) => literal == bytes,
            Self::One { bound: Some(value), .. } => value == bytes,
            Self::One { bound: None, .. } | Self::Many { .. } => !bytes.is_empty(),
        }
    }
}

/// The last segment, and what stands before its delimiter if it has one.
pub(super) fn split_last(key: &[u8], delimiter: u8) -> (Option<&[u8]>, &[u8]) {
    match key.iter().rposition(|&byte| byte == delimiter) {
        Some(at) => (Some(&key[..at]), &key[at + 1..]),
        None => (None, key),
    }
}

/// `v` and 1–20 digits.
pub(super) fn is_version(segment: &[u8]) -> bool {
    matches!(segment, [b'v', digits @ ..] if (1..=20).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit))
}

/// Whether these bytes have exactly this shape, versions not considered.
fn fits(segments: &[Segment], key: &[u8], delimiter: u8) -> bool {
    let mut rest = Some(key);
    for segment in segments {
        let Some(bytes) = rest else { return false };
        if let Segment::Many { bound, .. } = segment {
            return match bound {
                Some(value) => value == bytes,
                None => bytes.split(|&byte| byte == delimiter).all(|part| !part.is_empty()),
            };
        }
        let (part, after) = match bytes.iter().position(|&byte| byte == delimiter) {
            Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
            None => (bytes, None),
        };
        if !segment.takes(part) {
            return false;
        }
        rest = after;
    }
    rest.is_none()
}
