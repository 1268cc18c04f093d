//! Whether two templates, or a template and a protected prefix, can name the same key. Exact: a wrong "no" would put one key under two
//! prefixes or let a flush reach what is protected.

use super::template::{Segment, Template, is_version};

/// Whether some key matches both. A key that both match without versions stays one with a version added, so one comparison of the shapes
/// covers all such keys; what is left is a version that one template has as its literal last segment.
pub(super) fn overlaps(a: &Template, b: &Template) -> bool {
    a.delimiter == b.delimiter && (unify(&a.segments, &b.segments) || version_is_literal(a, b) || version_is_literal(b, a))
}

/// A key whose version is the literal last segment of `a` and is no part of `b`'s shape.
fn version_is_literal(a: &Template, b: &Template) -> bool {
    match a.segments.split_last() {
        Some((Segment::Literal(last), before)) if !a.versioned_only && is_version(last) => unify(before, &b.segments),
        _ => false,
    }
}

/// Whether one row of segments has both shapes.
fn unify(a: &[Segment], b: &[Segment]) -> bool {
    match (a, b) {
        ([], []) => true,
        ([], _) | (_, []) => false,
        // The rest of the other side must be coverable by one or more non-empty segments.
        ([Segment::Many { .. }], rest) | (rest, [Segment::Many { .. }]) => rest.iter().all(can_be_non_empty),
        ([first_a, rest_a @ ..], [first_b, rest_b @ ..]) => compatible(first_a, first_b) && unify(rest_a, rest_b),
    }
}

fn can_be_non_empty(segment: &Segment) -> bool {
    !matches!(segment, Segment::Literal(bytes) if bytes.is_empty())
}

fn compatible(a: &Segment, b: &Segment) -> bool {
    match (a, b) {
        (Segment::Literal(bytes), other) | (other, Segment::Literal(bytes)) => other.takes(bytes),
        _ => true,
    }
}

/// Whether `template` (placeholders perhaps bound) has a key that begins with `prefix`.
pub(super) fn reaches(template: &Template, prefix: &[u8]) -> bool {
    let mut parts: Vec<&[u8]> = prefix.split(|&byte| byte == template.delimiter).collect();
    // `split` yields at least one part. The last is the beginning of a segment, the others are whole segments.
    let beginning = parts.pop().unwrap_or_default();
    let mut segments = template.segments.as_slice();
    for (i, part) in parts.iter().enumerate() {
        match segments {
            // The prefix is longer than the shape: all that may follow is a version.
            [] => return false,
            [many @ Segment::Many { bound, .. }, ..] => {
                return match bound {
                    Some(value) => reaches_bound(value, &prefix[offset(&parts[..i])..], template.delimiter),
                    None => parts[i..].iter().all(|part| many.takes(part)),
                };
            }
            [segment, rest @ ..] if segment.takes(part) => segments = rest,
            _ => return false,
        }
    }
    match segments {
        [] => begins_version(beginning),
        [Segment::Literal(bytes), ..] => bytes.starts_with(beginning),
        [Segment::One { bound: Some(value), .. }, ..] => value.starts_with(beginning),
        [Segment::Many { bound: Some(value), .. }, ..] => reaches_bound(value, beginning, template.delimiter),
        [Segment::One { .. } | Segment::Many { .. }, ..] => true,
    }
}

/// How many bytes these whole segments and their delimiters take.
fn offset(parts: &[&[u8]]) -> usize {
    parts.iter().map(|part| part.len() + 1).sum()
}

/// A bound `{name*}` is the end of the shape: the rest of the prefix lies in the value, or goes past it into a version.
fn reaches_bound(value: &[u8], rest: &[u8], delimiter: u8) -> bool {
    value.starts_with(rest) || rest.strip_prefix(value).and_then(|after| after.strip_prefix(&[delimiter])).is_some_and(begins_version)
}

/// Whether a version can begin with these bytes.
fn begins_version(bytes: &[u8]) -> bool {
    match bytes {
        [] => true,
        [b'v', digits @ ..] => digits.len() <= 20 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}
