//! Keys and the hash chain, with the bounds on what is stored. `layout.rs` has the values, `docs/journal-format.md`
//! shows the bytes.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::plan::RunId;

/// The longest value handed to sled, in bytes.
///
/// sled writes whole leaves, and one above 128 KiB (a quarter of its segment, `pagecache/logger.rs`) goes to a file
/// in `blobs/` that is never synced. A leaf is split once it has more than 16 items, whatever their size
/// (`node.rs`, `should_split`), and a merge can bring it to 20 for a moment: 20 values of 4 KiB with their keys are
/// 82 KiB, while eight of 16 KiB would already be too many.
pub(super) const CHUNK_MAX: usize = 4 * 1024;

/// The longest event body, in bytes: 256 chunks. An event is a few hundred bytes; definitions of a thousand steps
/// and all that is larger (output, manifests, files) go to body files.
pub const BODY_MAX: usize = 1024 * 1024;

/// A SHA-256 hash of the chain.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Starts a chain: what event 1 carries as the hash before it. The leases' chain has no run id.
pub(super) fn genesis(journal: &str, run: Option<&RunId>) -> Hash {
    let name = run.map(ToString::to_string).unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(b"runner journal 1\0");
    hash.update(journal.as_bytes());
    hash.update([0]);
    hash.update(name.as_bytes());
    Hash(hash.finalize().into())
}

/// The hash of one event: over the one before, so that it stands for all of the run so far.
pub(super) fn chain(before: &Hash, seq: u64, body: &[u8]) -> Hash {
    let mut hash = Sha256::new();
    hash.update(before.0);
    hash.update(seq.to_be_bytes());
    hash.update(body);
    Hash(hash.finalize().into())
}

/// The one key of what is true of the whole journal.
pub(super) const META: &[u8] = b"M";

/// The one key of the last round of the write-ahead log of which the database has all; eight bytes.
pub(super) const WRITTEN: &[u8] = b"W";

/// Where runs stand, by their number in order of creation.
pub(super) const RUNS: &[u8] = b"R";

/// The key of a run's record.
pub(super) fn run_key(slot: u32) -> [u8; 5] {
    let mut key = [b'R', 0, 0, 0, 0];
    key[1..].copy_from_slice(&slot.to_be_bytes());
    key
}

/// The run's number in the journal, from its key.
pub(super) fn run_slot(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(key.strip_prefix(RUNS)?.try_into().ok()?))
}

/// The key of the mark that an archived run leaves.
pub(super) fn mark_key(slot: u32) -> [u8; 5] {
    let mut key = [b'A', 0, 0, 0, 0];
    key[1..].copy_from_slice(&slot.to_be_bytes());
    key
}

/// The key that keeps the highest run number ever given to a plan's name.
pub(super) fn number_key(plan: &str) -> Vec<u8> {
    [b"N", plan.as_bytes()].concat()
}

/// The prefix of all events of a run; slot 0 has the leases.
pub(super) fn events_prefix(slot: u32) -> [u8; 5] {
    let mut key = [b'E', 0, 0, 0, 0];
    key[1..].copy_from_slice(&slot.to_be_bytes());
    key
}

/// The key of one chunk. Numbers are big-endian, so that byte order is their order.
pub(super) fn event_key(slot: u32, seq: u64, chunk: u16) -> [u8; 15] {
    let mut key = [b'E'; 15];
    key[1..5].copy_from_slice(&slot.to_be_bytes());
    key[5..13].copy_from_slice(&seq.to_be_bytes());
    key[13..].copy_from_slice(&chunk.to_be_bytes());
    key
}

/// Sequence number and chunk from a key of [`event_key`].
pub(super) fn event_place(key: &[u8]) -> Option<(u64, u16)> {
    let key: &[u8; 15] = key.try_into().ok()?;
    let seq = u64::from_be_bytes(key[5..13].try_into().ok()?);
    Some((seq, u16::from_be_bytes([key[13], key[14]])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_order_is_number_order() {
        let keys =
            [event_key(0, u64::MAX, 1), event_key(1, 1, 0), event_key(1, 255, 9), event_key(1, 256, 0)];
        assert!(keys.is_sorted());
        assert_eq!(event_place(&event_key(7, 300, 2)), Some((300, 2)));
        assert_eq!(run_slot(&run_key(9)), Some(9));
    }
}
