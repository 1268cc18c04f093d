//! What people see. Pages draw; they hold no SQL, no Redis, no clock and no environment.

pub mod components;
pub mod pages;
pub mod shell;
