//! One file per page noun of the URL. A handler loads the read model, a page draws it.

pub mod flush;
pub mod overview;
pub mod prefix;
pub mod sign_in;
