//! One file per page noun of the URL. A handler loads the read model, a page draws it.

pub mod audit;
pub mod contracts;
pub mod flush;
pub mod overview;
pub mod prefix;
pub mod review;
pub mod sign_in;

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
