//! Pages that are followed: how one is written, and the shell it is typed in.

#![expect(clippy::unwrap_used, reason = "test support")]

pub(crate) mod page;
pub(crate) mod shell;
