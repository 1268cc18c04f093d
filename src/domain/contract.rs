//! Contracts: which writes must invalidate which keys, how, and within what time. Declared in the configuration and reviewed as code.

use std::time::Duration;

pub use super::event::Method;

/// One declared write and everything it affects.
#[derive(Clone, Debug, PartialEq)]
pub struct Contract {
    /// The endpoint as events name it: `PUT /users/{id}`.
    pub write: String,
    pub target: String,
    /// How soon after the write the invalidation must have happened.
    pub within: Duration,
    pub affects: Vec<Edge>,
    /// Line of the declaration.
    pub line: usize,
}

/// One key family that a write affects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The registered template.
    pub prefix: String,
    pub how: Method,
    pub line: usize,
}

/// The names in braces of an endpoint, in order (`PUT /users/{id}` → `id`); `None` where a brace is not closed or a name is empty.
pub fn endpoint_names(endpoint: &str) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    let mut rest = endpoint;
    while let Some(at) = rest.find(['{', '}']) {
        let inside = rest[at..].strip_prefix('{')?;
        let end = inside.find(['{', '}'])?;
        let (name, after) = inside.split_at(end);
        rest = after.strip_prefix('}')?;
        if name.is_empty() {
            return None;
        }
        names.push(name);
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::endpoint_names;

    #[test]
    fn names_are_what_stands_in_braces() {
        assert_eq!(endpoint_names("PUT /users/{id}/cards/{card}"), Some(vec!["id", "card"]));
        assert_eq!(endpoint_names("job:reprice"), Some(vec![]));
        for broken in ["PUT /users/{id", "PUT /users/id}", "PUT /users/{}", "PUT /{{id}}"] {
            assert_eq!(endpoint_names(broken), None, "{broken}");
        }
    }
}
