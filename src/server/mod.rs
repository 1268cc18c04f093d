//! Everything that touches the world: configuration, stores, Redis, HTTP, jobs.

pub mod cli;
pub mod clock;
pub mod store;
pub mod service;
