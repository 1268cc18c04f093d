//! The pure rules. Nothing here reads a clock, an environment, a socket or a file: `now` is an argument.

pub mod audit;
pub mod chart;
pub mod contract;
pub mod event;
pub mod figure;
pub mod flush;
pub mod metric;
pub mod number;
pub mod operator;
pub mod policy;
pub mod prefix;
pub mod range;
pub mod refusal;
pub mod review;
pub mod second_factor;
pub mod sketch;
