//! The families of one target, for classification. A key belongs to at most one: the configuration refuses templates that overlap.

use std::collections::HashMap;

use super::template::Template;

/// Places in the list of templates, by the first segment.
type FirstSegments = HashMap<Box<[u8]>, Vec<usize>>;

/// The templates of one target, found by a key's first segment, which is literal in each of them.
#[derive(Clone, Debug, Default)]
pub struct Families {
    templates: Vec<Template>,
    /// One index for each delimiter in use; almost always one.
    by_first: Vec<(u8, FirstSegments)>,
}

impl Families {
    pub fn new(templates: Vec<Template>) -> Self {
        let mut by_first: Vec<(u8, FirstSegments)> = Vec::new();
        for (at, template) in templates.iter().enumerate() {
            let index = by_first.iter().position(|(delimiter, _)| *delimiter == template.delimiter()).unwrap_or_else(|| {
                by_first.push((template.delimiter(), FirstSegments::new()));
                by_first.len() - 1
            });
            by_first[index].1.entry(template.first_segment().into()).or_default().push(at);
        }
        Self { templates, by_first }
    }

    /// Which template the key belongs to, as its place in the list given to [`Families::new`].
    pub fn classify(&self, key: &[u8]) -> Option<usize> {
        self.by_first.iter().find_map(|(delimiter, index)| {
            let first = key.split(|byte| byte == delimiter).next()?;
            index.get(first)?.iter().copied().find(|&at| self.templates[at].matches(key))
        })
    }

    /// The templates, in the order given.
    pub fn templates(&self) -> &[Template] {
        &self.templates
    }
}
