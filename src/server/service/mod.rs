//! Combines stores and Redis into what pages and forms ask for. One file per page noun; owns transactions.

pub mod accounts;
pub mod audit;
pub mod causes;
pub mod cells;
pub mod configuration;
pub mod contracts;
pub mod demo;
pub mod figures;
pub mod flush;
pub mod health;
pub mod listening;
pub mod monitoring;
pub mod overview;
pub mod prefix;
pub mod quality;
pub mod remembered;
pub mod review;
pub mod rollups;
pub mod series;
pub mod settings;
pub mod sight;
pub mod standing;
