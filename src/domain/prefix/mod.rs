//! Prefixes: how a family of keys is named (templates), what one flush may touch (scopes), how a key finds its family, and how bytes are
//! written for people. One matcher decides all of it: "this scope contains this key" and "this key belongs to this prefix" are the same code.

mod escape;
mod families;
mod glob;
mod mask;
mod overlap;
mod parse;
mod scope;
mod template;
#[cfg(test)]
mod tests;

pub use escape::{EscapeError, escape, unescape};
pub use families::Families;
pub use glob::GlobPattern;
pub use mask::{mask, mask_scope};
pub use parse::TemplateError;
pub use scope::{Scope, ScopeError, ScopeKind};
pub use template::Template;

/// The delimiter where a target names none.
pub const DEFAULT_DELIMITER: u8 = b':';

/// Longest key that events may name, and so the longest template or scope, in bytes.
pub const MAX_KEY_BYTES: usize = 1_024;
