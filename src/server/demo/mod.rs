//! `stalewatch demo`: everything in one folder, with a simulated shop.

pub mod history;
pub mod shop;
mod switchboard;
