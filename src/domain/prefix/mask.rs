//! Key names as viewers see them: the family is named, the placeholders' values are not. Key names can be personal data.

use super::escape::{escape, unescape};
use super::template::{Segment, Template, is_version, split_last};
use super::{overlap, parse, scope};

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

/// The text of a scope with the values in it masked: `user:{id=***}:profile`, `user:***:`. Families are named, what only somebody's key holds is
/// not; wholly masked where no registered family has to do with it.
pub fn mask_scope(text: &str, delimiter: u8, registered: &[Template]) -> String {
    if let Ok(mut template) = parse::parse(text, delimiter)
        && registered.iter().any(|family| scope::same_shape(&template, family))
    {
        for segment in &mut template.segments {
            if let Segment::One { bound: Some(value), .. } | Segment::Many { bound: Some(value), .. } = segment {
                *value = MASKED.into();
            }
        }
        return scope::canonical(&template);
    }
    let Ok(bytes) = unescape(text) else { return MASKED.to_owned() };
    let reached: Vec<&Template> = registered.iter().filter(|family| overlap::reaches(family, &bytes)).collect();
    if reached.is_empty() {
        return MASKED.to_owned();
    }
    let shown = |(at, part): (usize, &[u8])| {
        // What one of the families takes for a value may be one, whatever the others say.
        let named = reached.iter().all(|family| matches!(family.segments.get(at), Some(Segment::Literal(bytes)) if bytes == part));
        if part.is_empty() || named { escape(part) } else { MASKED.to_owned() }
    };
    bytes.split(|byte| *byte == delimiter).enumerate().map(shown).collect::<Vec<_>>().join(&escape(&[delimiter]))
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
    fn a_scope_names_families_and_no_values() {
        let registered = ["user:{id}:profile", "user:{id}", "files:{path*}", "search:hot", "shop:{country}:cart:{id}"]
            .map(|text| Template::parse(text, b':').unwrap());
        let masked = |text: &str| mask_scope(text, b':', &registered);
        assert_eq!(masked("user:{id}:profile"), "user:{id}:profile");
        assert_eq!(masked("user:{id=ann@example.org}:profile"), "user:{id=***}:profile");
        assert_eq!(masked("files:{path*=home:ann}"), "files:{path*=***}");
        assert_eq!(masked("shop:{country}:cart:{id=7}"), "shop:{country}:cart:{id=***}");
        assert_eq!(masked("user:"), "user:");
        assert_eq!(masked("user:123:"), "user:***:");
        assert_eq!(masked("user:123"), "user:***");
        assert_eq!(masked("user:{name=ann}:profile"), "user:***:profile", "no template: only its bytes");
        assert_eq!(masked("user:123:profile:"), "user:***:profile:");
        assert_eq!(masked("files:home:ann:"), "files:***:***:");
        assert_eq!(masked("shop:de:cart:9:"), "shop:***:cart:***:");
        for foreign in ["ann@example.org:", "users:ann:", "user:{id=a:b}:profile", "\\x"] {
            assert_eq!(masked(foreign), "***", "{foreign}");
        }
        assert_eq!(mask_scope("user:123:", b':', &[]), "***");
    }

    #[test]
    fn what_one_family_takes_for_a_value_is_masked_though_another_names_it() {
        let registered = ["user:{id}:cart", "user:admin:menu"].map(|text| Template::parse(text, b':').unwrap());
        assert_eq!(mask_scope("user:admin:", b':', &registered), "user:***:");
        assert_eq!(mask_scope("user:admin:menu:", b':', &registered), "user:admin:menu:");
    }

    #[test]
    fn a_key_of_no_family_shows_nothing() {
        assert_eq!(mask(b"ann@example.org", None), "***");
        assert_eq!(masked("user:{id}", "ann@example.org"), "***");
    }
}
