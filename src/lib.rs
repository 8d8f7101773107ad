//! `runner` carries a live service from one home to another and can always bring it back.
//!
//! Start reading at [`saga`]: the pure state machine that everything else serves. `docs/design.md` says what
//! users see, `docs/architecture.md` is the map of this house.

#![forbid(unsafe_code)]

pub mod action;
pub mod check;
pub mod cli;
pub mod driver;
pub mod journal;
#[cfg(feature = "demo")]
pub mod lab;
pub mod lint;
pub mod plan;
pub mod report;
pub mod saga;
pub mod serve;
pub mod transport;
