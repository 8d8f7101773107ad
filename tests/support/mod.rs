//! What black-box tests share. Each test binary uses the part it needs.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "shared by several test binaries"
)]

#[cfg(feature = "demo")]
pub mod both;
pub mod cluster;
pub mod conforms;
#[cfg(feature = "demo")]
pub mod demo;
#[cfg(feature = "demo")]
pub mod house;
pub mod http;
pub mod json_schema;
pub mod lab;
pub mod mosquitto;
pub mod names;
pub mod player;
pub mod port;
pub mod proxmox;
pub mod pty;
pub mod skip;
pub mod sshd;
pub mod twenty;
pub mod world;
