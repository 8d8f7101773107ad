//! The proof of the saga core: simulated schedules without I/O, in virtual time, against invariants that stand
//! beside the promises they prove (`docs/proof.md`).
//!
//! Start reading at [`sim`]: it drives the core exactly as a driver would. [`check`] holds the invariants.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test: it says how many schedules it has seen, and what broke"
)]

mod check;
mod choose;
mod exhaustive;
mod plans;
mod random;
mod regress;
mod sim;
mod speed;
mod world;
