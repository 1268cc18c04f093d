//! Key names as viewers see them: the family is named, the placeholders' values are not. Key names can be personal data.

use super::escape::escape;
use super::template::{Segment, Template, is_version, split_last};

/// What stands in place of a value.
const MASKED: &str = "***";

/// The key with every placeholder's value masked (`user:***:profile:v7`); wholly masked where it belongs to no family.
pub fn mask(key: &[u8], template: Option<&Template>) -> String {
    let Some(template) = template.filter(|template| template.matches(key)) else { return MASKED.to_owned() };
    let delimiter = escape(&[template.delimiter]);
    let mut text = String::new();
    for (i, segment) in template.segments.iter().enumerate() {
        if i > 0 {
            text.push_str(&delimiter);
        }
        match segment {
            Segment::Literal(bytes) => text.push_str(&escape(bytes)),
            Segment::One { .. } | Segment::Many { .. } => text.push_str(MASKED),
        }
    }
    let (_, last) = split_last(key, template.delimiter);
    let version_is_literal = matches!(template.segments.last(), Some(Segment::Literal(bytes)) if bytes == last)
        && key.split(|byte| *byte == template.delimiter).count() == template.segments.len();
    if is_version(last) && !version_is_literal {
        text.push_str(&delimiter);
        text.push_str(&escape(last));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str, key: &str) -> String {
        mask(key.as_bytes(), Some(&Template::parse(text, b':').unwrap()))
    }

    #[test]
    fn values_are_masked_and_the_version_is_not() {
        assert_eq!(masked("user:{id}:profile", "user:ann@example.org:profile"), "user:***:profile");
        assert_eq!(masked("user:{id}:profile", "user:7:profile:v12"), "user:***:profile:v12");
        assert_eq!(masked("files:{path*}", "files:home:ann:v3"), "files:***:v3");
        assert_eq!(masked("config:v1", "config:v1"), "config:v1");
        assert_eq!(masked("config:v1", "config:v1:v1"), "config:v1:v1");
    }

    #[test]
    fn a_key_of_no_family_shows_nothing() {
        assert_eq!(mask(b"ann@example.org", None), "***");
        assert_eq!(masked("user:{id}", "ann@example.org"), "***");
    }
}
