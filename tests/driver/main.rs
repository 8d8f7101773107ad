//! The real driver in a simulated world, in virtual time, against a journal that fails, is slow, or is cut.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    dead_code,
    reason = "a laboratory: most of it is outside of any test function"
)]

mod basics;
mod crash;
mod holder;
mod schedules;
mod sim;
mod soak_rows;
mod soak_table;
mod waits;
