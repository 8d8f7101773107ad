//! The simulated house behind `runner demo` and the tests: the systems around a service that moves, as they really
//! behave, on loopback, with real protocols.
//!
//! Each part is a server with a folder of its own, in which everything it must remember stands before it answers
//! ([`Store`]), its port included: killed at any instant, it comes back as it was. Nothing here is used by a run: the
//! actions and checks meet it over the network and cannot tell it from the real thing. Start reading at [`Store`].

mod clock;
pub mod frigate;
pub mod homeassistant;
pub mod house;
pub mod kubernetes;
pub mod mqtt;
pub mod proxmox;
pub mod ssh;
mod store;

pub use clock::Clock;
pub use store::{Port, Store, StoreError, listen};
