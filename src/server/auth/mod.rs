//! Who is asking: sessions and their cookies, the guard against other sites, and what each door asks for.

pub use crate::domain::operator::Viewer;
