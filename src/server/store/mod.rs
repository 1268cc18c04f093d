//! All SQL, one file per group of tables: plain functions on a connection that know nothing of Redis, requests or pages.

pub mod audit;
pub mod events;
pub mod first_run;
pub mod flushes;
pub mod migrations;
pub mod pools;
pub mod reviews;
pub mod roles;
pub mod second_factors;
pub mod sessions;
pub mod sign_ins;
pub mod tokens;
pub mod users;
