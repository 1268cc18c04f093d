//! The pieces that pages are made of. They draw what they are given: no SQL, no Redis, no clock, no environment.

pub mod cells;
pub mod chart;
pub mod form;
pub mod frame;
pub mod key;
pub mod qr;
pub mod state;
pub mod steps;
pub mod write;
