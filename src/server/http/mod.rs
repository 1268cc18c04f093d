//! Doors for programs: events in, figures out, health. One file per path's noun; each asks one service and answers JSON.

mod body;
pub mod export;
pub mod health;
pub mod ingest;
pub mod live;
pub mod metrics;
pub mod openapi;
pub mod prefixes;
pub mod series;
