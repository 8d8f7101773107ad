//! How others speak to the process that holds the journal: its control API, and in `web` the service over HTTP.
//!
//! The first is a Unix socket that a second terminal talks to.
//!
//! One request and its answers per connection, a JSON object per line. An answer is given after the append it
//! stands for, never before (P2). Clients fold and show the same events that the holder does, so that the
//! output is the same with and without one.

mod client;
#[cfg(feature = "serve")]
pub mod notify;
mod place;
mod protocol;
mod server;
#[cfg(feature = "serve")]
pub mod web;

pub use client::{Answers, Client, ClientError};
pub use place::{Pointer, runtime_folder};
pub use protocol::{Answer, PROTOCOL_VERSION, Request, RestLine};
pub use server::{Bound, ControlError, Server, bind};
