//! The pure rules. Nothing here reads a clock, an environment, a socket or a file: `now` is an argument.

pub mod audit;
pub mod chart;
pub mod event;
pub mod flush;
pub mod operator;
pub mod prefix;
pub mod range;
pub mod refusal;
