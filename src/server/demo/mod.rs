//! `stalewatch demo`: everything in one folder, with a simulated shop.

pub mod shop;
mod switchboard;
