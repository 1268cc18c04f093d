//! A form that was not accepted: what is wrong, and what was typed, so that the page comes back as it was. A form handler provides one as
//! context and renders the page again; the page's form of that name shows it and carries `data-error`.

use std::collections::BTreeMap;

/// Why a form was refused. Secrets (`password`, `code`) are never among `typed`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// Which form of the page: `plan`, `confirm`, `do`, `sign_in`, `action`, … as the page names them.
    pub form: &'static str,
    /// Stable: `count_mismatch`, `protected`, `another_active`, …
    pub code: String,
    /// What happened, what was and was not done, what to do.
    pub detail: String,
    /// The field it is about, if it is about one.
    pub field: Option<&'static str>,
    /// What was typed, by field name.
    pub typed: BTreeMap<String, String>,
}

impl Refusal {
    /// What was typed into `field`, else nothing.
    pub fn typed(&self, field: &str) -> &str {
        self.typed.get(field).map_or("", String::as_str)
    }
}
