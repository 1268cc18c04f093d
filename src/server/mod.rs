//! Everything that touches the world: configuration, stores, Redis, HTTP, jobs.

pub mod assets;
pub mod auth;
pub mod cli;
pub mod clock;
pub mod collect;
pub mod config;
pub mod demo;
pub mod door;
pub mod forms;
pub mod headers;
pub mod http;
pub mod ingest;
pub mod jobs;
pub mod pages;
pub mod private;
pub mod redis;
pub mod router;
pub mod run;
pub mod service;
pub mod state;
pub mod store;
