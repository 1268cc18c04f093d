//! Everything that touches the world: configuration, stores, Redis, HTTP, jobs.

pub mod cli;
pub mod clock;
pub mod service;
pub mod store;
