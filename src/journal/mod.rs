//! The journal: the durable, append-only log of events, on sled.
//!
//! It stores event bodies as bytes, keyed by run and sequence number, and knows nothing of what they mean. It keeps
//! the durable half of **P1** and all of **P2**: when [`Journal::append`] returns, the events are on stable storage;
//! when it fails, nothing more is written by this process. For **P3** and **P4** it gives back exactly what was
//! acknowledged, or says that it cannot: events carry the hash of the one before, and a second small file remembers
//! how far the journal had come, because sled drops a torn tail in silence.
//!
//! An append goes into a write-ahead log first, and from there into sled. Only this room names sled. Start reading at [`Journal`]; [`Handle`] is its face to async code, [`Bodies`] keeps
//! large contents beside it. `docs/journal-format.md` describes the bytes.

mod archive;
mod bodies;
mod checkpoint;
mod create;
mod error;
mod files;
mod filesystem;
mod head;
mod latency;
mod layout;
mod lease;
mod lock;
mod log;
mod open;
mod read;
mod record;
mod shared;
mod store;
mod tail;
mod wal;

pub use bodies::Bodies;
pub use error::JournalError;
pub use filesystem::{Warning, warnings};
pub use latency::Measured;
pub use lease::{Holder, Lease};
pub use lock::{HeldBy, held_by};
pub use log::{Append, Journal, Options, RunHead};
pub use read::{Stored, Stream};
pub use record::{BODY_MAX, Hash};
pub use shared::Handle;

/// The format this binary writes. It reads this one and every older one, and refuses a newer one untouched.
/// Format 2 has the events of one append in one record (`layout.rs`), format 3 a log before the database (`wal.rs`).
pub const FORMAT: u32 = 3;
