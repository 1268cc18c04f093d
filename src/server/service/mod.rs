//! Combines stores and Redis into what pages and forms ask for. One file per page noun; owns transactions.

pub mod accounts;
pub mod audit;
pub mod contracts;
pub mod demo;
pub mod figures;
pub mod flush;
pub mod overview;
pub mod prefix;
pub mod quality;
pub mod review;
pub mod rollups;
