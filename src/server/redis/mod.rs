//! All Redis. Connecting as the least-privileged identity, scanning, removing (which needs a [`crate::domain::flush::Permit`]), and watching
//! whether a target answers. Nothing here knows of Postgres.
//!
//! Work that scans or removes is blocking code on its own connection and its own thread: the time of a step is what a bystander feels, so
//! nothing may stand between two steps. Never sent, by anything: `KEYS`, `FLUSH*`, `DEL`, `EVAL`, `SWAPDB`.

mod acl;
mod bystander;
mod connect;
mod endpoint;
mod engine;
mod keys;
mod monitor;
mod notify;
mod scan;
mod topology;

pub use acl::{acl_line, is_supported, parts as version_parts};
pub use bystander::{Bystanders, WorstFelt};
pub use connect::Fault;
pub use endpoint::{Certificates, Endpoint};
pub use engine::{Answers, Deed, End, Gate, NodeAnswers, Report, Stop, Work, bump, remove};
pub use monitor::{Monitor, Reach};
pub use notify::{Ear, Setting, Speaker, speakers};
pub use scan::{Census, Identity, NodeCensus, Sampled, Survey, Surveyed, identify, survey};
