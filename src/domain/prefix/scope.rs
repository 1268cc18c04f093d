//! A scope: what one flush may touch. Either a literal prefix or a registered template with placeholders free or bound. There is no way to
//! write "everything": every scope begins with literal bytes.

use std::fmt;

use super::MAX_KEY_BYTES;
use super::escape::{EscapeError, escape, push_escaped, unescape};
use super::glob::GlobPattern;
use super::overlap;
use super::parse::{self, TemplateError};
use super::template::{Segment, Template};

/// A literal scope has at least this many bytes before its first delimiter.
const MIN_FIRST_SEGMENT_BYTES: usize = 3;

/// How a scope names its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScopeKind {
    Literal,
    Template,
}

impl ScopeKind {
    /// As in forms and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Literal => "literal",
            Self::Template => "template",
        }
    }

    /// The kind of that name, if there is one.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Literal, Self::Template].into_iter().find(|kind| kind.as_str() == name)
    }
}

/// Why a text is no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    #[error("Say what to flush: a literal prefix such as `user:123:`, or a registered template.")]
    Empty,
    #[error("A scope is at most {MAX_KEY_BYTES} bytes long.")]
    TooLong,
    #[error("This is not escaped text: {0}.")]
    Escape(#[from] EscapeError),
    #[error("A literal scope ends with the delimiter `{0}`, so that it cannot cut a name in two: `user:123:`, not `user:123`.")]
    NoDelimiterAtEnd(char),
    #[error("A literal scope has at least {MIN_FIRST_SEGMENT_BYTES} bytes before its first delimiter; this one would reach too far.")]
    TooBroad,
    #[error("This is no template: {0}.")]
    Template(TemplateError),
    #[error("`{0}` is not a registered template of this target. Scopes are literal prefixes or registered templates.")]
    NotRegistered(String),
}

impl ScopeError {
    /// Stable, for `data-error` and the audit.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "scope_empty",
            Self::TooLong => "scope_too_long",
            Self::Escape(_) => "scope_bad_escape",
            Self::NoDelimiterAtEnd(_) => "scope_no_delimiter",
            Self::TooBroad => "scope_too_broad",
            Self::Template(_) => "scope_bad_template",
            Self::NotRegistered(_) => "scope_not_registered",
        }
    }
}

/// A validated scope. `Display` is its canonical escaped text; two scopes are equal where they mean the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(Shape);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    Literal {
        bytes: Vec<u8>,
        delimiter: u8,
    },
    /// `text` is the canonical text, bound values in it.
    Template(Template),
}

impl Scope {
    /// Reads a scope as a person types it. Without a kind it is a template exactly if the text is a registered one.
    pub fn parse(text: &str, kind: Option<ScopeKind>, delimiter: u8, registered: &[Template]) -> Result<Self, ScopeError> {
        if text.is_empty() {
            return Err(ScopeError::Empty);
        }
        match kind {
            Some(ScopeKind::Literal) => literal(text, delimiter),
            Some(ScopeKind::Template) => template(text, delimiter, registered),
            None => template(text, delimiter, registered).or_else(|as_template| {
                literal(text, delimiter).map_err(|as_literal| match (&as_literal, as_template) {
                    // Who writes a placeholder means a template: say what is wrong with that one.
                    (ScopeError::NoDelimiterAtEnd(_), as_template) if text.contains('{') => as_template,
                    _ => as_literal,
                })
            }),
        }
    }

    pub fn kind(&self) -> ScopeKind {
        match &self.0 {
            Shape::Literal { .. } => ScopeKind::Literal,
            Shape::Template(_) => ScopeKind::Template,
        }
    }

    /// Whether this key may be touched. For a template this is classification itself.
    pub fn contains(&self, key: &[u8]) -> bool {
        match &self.0 {
            Shape::Literal { bytes, .. } => key.starts_with(bytes),
            Shape::Template(template) => template.matches(key),
        }
    }

    /// A pattern for `SCAN … MATCH` that finds every key of the scope, and perhaps more: [`Scope::contains`] decides.
    pub fn match_pattern(&self) -> GlobPattern {
        match &self.0 {
            Shape::Literal { bytes, .. } => {
                let mut pattern = GlobPattern::literal(bytes);
                pattern.push_any();
                pattern
            }
            Shape::Template(template) => pattern_of(template),
        }
    }

    /// Whether this scope and the keys that begin with `literal` have a key in common; the check against what is protected.
    pub fn may_contain_under(&self, literal: &[u8]) -> bool {
        match &self.0 {
            Shape::Literal { bytes, .. } => bytes.starts_with(literal) || literal.starts_with(bytes),
            Shape::Template(template) => overlap::reaches(template, literal),
        }
    }

    /// Whether this scope and a registered family have a key in common.
    pub fn touches(&self, family: &Template) -> bool {
        match &self.0 {
            Shape::Literal { bytes, .. } => overlap::reaches(family, bytes),
            Shape::Template(template) => overlap::overlaps(template, family),
        }
    }

    /// How many segments the scope fixes or names; a literal of one is wide.
    pub fn segments(&self) -> usize {
        match &self.0 {
            Shape::Literal { bytes, delimiter } => bytes.split(|byte| byte == delimiter).count() - 1,
            Shape::Template(template) => template.segments.len() + usize::from(template.versioned_only),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Shape::Literal { bytes, .. } => f.write_str(&escape(bytes)),
            Shape::Template(template) => f.write_str(&template.text),
        }
    }
}

fn literal(text: &str, delimiter: u8) -> Result<Scope, ScopeError> {
    let bytes = unescape(text)?;
    if bytes.len() > MAX_KEY_BYTES {
        return Err(ScopeError::TooLong);
    }
    if bytes.last() != Some(&delimiter) {
        return Err(ScopeError::NoDelimiterAtEnd(char::from(delimiter)));
    }
    let first = bytes.iter().position(|&byte| byte == delimiter).unwrap_or_default();
    if first < MIN_FIRST_SEGMENT_BYTES {
        return Err(ScopeError::TooBroad);
    }
    Ok(Scope(Shape::Literal { bytes, delimiter }))
}

fn template(text: &str, delimiter: u8, registered: &[Template]) -> Result<Scope, ScopeError> {
    let mut scope = parse::parse(text, delimiter).map_err(|problem| match problem {
        TemplateError::TooLong => ScopeError::TooLong,
        TemplateError::Escape(problem) => ScopeError::Escape(problem),
        problem => ScopeError::Template(problem),
    })?;
    if !registered.iter().any(|family| same_shape(&scope, family)) {
        return Err(ScopeError::NotRegistered(text.to_owned()));
    }
    scope.text = canonical(&scope);
    Ok(Scope(Shape::Template(scope)))
}

/// Whether these are one template, bindings aside.
pub(super) fn same_shape(a: &Template, b: &Template) -> bool {
    a.delimiter == b.delimiter
        && a.versioned_only == b.versioned_only
        && a.segments.len() == b.segments.len()
        && a.segments.iter().zip(&b.segments).all(|(a, b)| match (a, b) {
            (Segment::Literal(a), Segment::Literal(b)) => a == b,
            (Segment::One { name: a, .. }, Segment::One { name: b, .. })
            | (Segment::Many { name: a, .. }, Segment::Many { name: b, .. }) => a == b,
            _ => false,
        })
}

pub(super) fn canonical(template: &Template) -> String {
    let mut text = String::new();
    let braced = |text: &mut String, bytes: &[u8]| {
        for &byte in bytes {
            push_escaped(text, byte);
            if matches!(byte, b'{' | b'}') {
                push_escaped(text, byte);
            }
        }
    };
    for (i, segment) in template.segments.iter().enumerate() {
        if i > 0 {
            push_escaped(&mut text, template.delimiter);
        }
        let (name, star, bound) = match segment {
            Segment::Literal(bytes) => {
                braced(&mut text, bytes);
                continue;
            }
            Segment::One { name, bound } => (name, "", bound),
            Segment::Many { name, bound } => (name, "*", bound),
        };
        text.push('{');
        text.push_str(name);
        text.push_str(star);
        if let Some(value) = bound {
            text.push('=');
            braced(&mut text, value);
        }
        text.push('}');
    }
    if template.versioned_only {
        push_escaped(&mut text, template.delimiter);
        text.push_str("v{n}");
    }
    text
}

/// Literals escaped, placeholders as `*`, and `*` at the end for the version.
fn pattern_of(template: &Template) -> GlobPattern {
    let mut pattern = GlobPattern::literal(&[]);
    for (i, segment) in template.segments.iter().enumerate() {
        if i > 0 {
            pattern.push_literal(&[template.delimiter]);
        }
        match segment {
            Segment::Literal(bytes) | Segment::One { bound: Some(bytes), .. } | Segment::Many { bound: Some(bytes), .. } => {
                pattern.push_literal(bytes);
            }
            Segment::One { .. } | Segment::Many { .. } => pattern.push_any(),
        }
    }
    if template.versioned_only {
        pattern.push_literal(&[template.delimiter, b'v']);
    }
    pattern.push_any();
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registered() -> Vec<Template> {
        ["user:{id}:profile", "user:{id}", "files:{path*}", "job:{id}:v{n}", "a{{b}}:{id}", "tail:{id}:"]
            .map(|text| Template::parse(text, b':').unwrap())
            .to_vec()
    }

    fn scope(text: &str) -> Result<Scope, ScopeError> {
        Scope::parse(text, None, b':', &registered())
    }

    #[test]
    fn what_would_reach_everything_is_no_scope() {
        for text in ["", "*", "?*", "[a-z]*", ":", "::", "a:", "ab:", "{id}", "{all*}", "v{n}", "user", "user:123", "{{:"] {
            for kind in [None, Some(ScopeKind::Literal), Some(ScopeKind::Template)] {
                assert!(Scope::parse(text, kind, b':', &registered()).is_err(), "{text:?} as {kind:?}");
            }
        }
    }

    #[test]
    fn a_glob_in_a_literal_scope_is_only_its_bytes() {
        let stars = scope("***:").unwrap();
        assert_eq!(stars.match_pattern().as_bytes(), b"\\*\\*\\*:*");
        assert!(stars.contains(b"***:1") && !stars.contains(b"abc:1"));
        let class = scope("[a-z]*:").unwrap();
        assert_eq!(class.match_pattern().as_bytes(), b"\\[a-z\\]\\*:*");
    }

    #[test]
    fn without_a_kind_a_text_is_a_template_exactly_if_it_is_registered() {
        assert_eq!(scope("user:{id}:profile").unwrap().kind(), ScopeKind::Template);
        assert_eq!(scope("user:{id=123}:profile").unwrap().kind(), ScopeKind::Template);
        assert_eq!(scope("tail:{id}:").unwrap().kind(), ScopeKind::Template);
        assert_eq!(scope("tail:{x}:").unwrap().kind(), ScopeKind::Literal);
        assert_eq!(scope("user:123:").unwrap().kind(), ScopeKind::Literal);
        assert_eq!(scope("user:{name}:profile"), Err(ScopeError::NotRegistered("user:{name}:profile".into())));
    }

    #[test]
    fn a_bound_placeholder_narrows_the_template() {
        let bound = scope("user:{id=123}:profile").unwrap();
        assert!(bound.contains(b"user:123:profile") && bound.contains(b"user:123:profile:v7"));
        assert!(!bound.contains(b"user:124:profile") && !bound.contains(b"user:123:profile:x"));
        assert_eq!(bound.match_pattern().as_bytes(), b"user:123:profile*");
        assert_eq!(bound.segments(), 3);
    }

    #[test]
    fn values_may_hold_braces_and_any_byte_but_the_delimiter() {
        let bound = scope("user:{id=\\xFF}}{{ x}").unwrap();
        assert!(bound.contains(b"user:\xff}{ x"));
        assert_eq!(bound.to_string(), "user:{id=\\xff}}{{ x}");
        assert_eq!(scope(&bound.to_string()).unwrap(), bound);
        assert!(matches!(scope("user:{id=1:2}:profile"), Err(ScopeError::Template(TemplateError::ValueHoldsDelimiter(_)))));
        assert!(scope("files:{path*=a:b}").unwrap().contains(b"files:a:b"));
    }

    #[test]
    fn display_is_canonical_and_equal_scopes_are_equal() {
        assert_eq!(scope("us\\x65r:\\xAB:").unwrap().to_string(), "user:\\xab:");
        assert_eq!(scope("us\\x65r:{id}").unwrap(), scope("user:{id}").unwrap());
        assert_eq!(scope("a{{b}}:{id}").unwrap().to_string(), "a{{b}}:{id}");
        assert_eq!(scope("job:{id=9}:v{n}").unwrap().to_string(), "job:{id=9}:v{n}");
    }

    #[test]
    fn protection_holds_in_both_directions() {
        let under = |text: &str, literal: &str| scope(text).unwrap().may_contain_under(literal.as_bytes());
        assert!(under("user:123:", "user:"), "the scope lies inside what is protected");
        assert!(under("user:", "user:123:"), "what is protected lies inside the scope");
        assert!(!under("user:", "session:"));
        assert!(under("user:{id}:profile", "user:"));
        assert!(under("user:{id}:profile", "user:5:pro"));
        assert!(!under("user:{id=4}:profile", "user:5:"));
        assert!(under("user:{id}", "user:5:v1"), "a version of the family");
        assert!(!under("user:{id}", "user:5:cart"));
        assert!(under("files:{path*}", "files:a:b:c"));
        assert!(!under("files:{path*}", "files:a::c"));
    }

    #[test]
    fn one_segment_is_counted_as_one() {
        assert_eq!(scope("user:").unwrap().segments(), 1);
        assert_eq!(scope("user:123:").unwrap().segments(), 2);
    }
}
