//! Integration tests: real Postgres and Redis, one file per page noun.
#![expect(clippy::unwrap_used, reason = "what a test does not expect ends it")]

mod accounts;
mod audit;
mod cells;
mod demo;
mod doors;
mod first_run;
mod flush;
mod ingest;
mod keyspace;
mod layers;
mod overview;
mod readme;
mod review;
mod roles;
mod second_factor;
mod serving;
mod shop;
mod sight;
mod support;
mod world;
