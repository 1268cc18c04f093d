//! One file per page noun of the URL. A handler loads the read model, a page draws it.

pub mod account;
pub mod audit;
pub mod contracts;
pub mod demo;
pub mod first_run;
pub mod flush;
pub mod overview;
pub mod prefix;
pub mod review;
pub mod settings;
pub mod sign_in;
pub mod users;

#[cfg(test)]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::too_many_lines,
    reason = "small numbers and long tables of samples"
)]
mod samples;
#[cfg(test)]
mod tests;
