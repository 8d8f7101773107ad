//! Pages that are followed: how one is written, and the shell it is typed in.

pub(crate) mod page;
pub(crate) mod shell;
