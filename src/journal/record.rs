//! The bytes of a record: keys, values, chunks, and the hash chain. `docs/journal-format.md` shows them.

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

/// The version of one record's layout.
const RECORD: u8 = 1;

/// Layout, number of chunks, body length, hash of the event before, own hash.
const HEADER: usize = 1 + 2 + 4 + 32 + 32;

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

/// Cuts one event into the values to store, first chunk first.
pub(super) fn encode(before: &Hash, hash: &Hash, body: &[u8]) -> Vec<Vec<u8>> {
    let first = body.len().min(CHUNK_MAX - HEADER);
    let rest = body[first..].chunks(CHUNK_MAX);
    let count = u16::try_from(1 + rest.len()).expect("a body is at most BODY_MAX");
    let mut value = Vec::with_capacity(HEADER + first);
    value.push(RECORD);
    value.extend(count.to_be_bytes());
    value.extend(u32::try_from(body.len()).expect("a body is at most BODY_MAX").to_be_bytes());
    value.extend(before.0);
    value.extend(hash.0);
    value.extend(&body[..first]);
    std::iter::once(value).chain(rest.map(<[u8]>::to_vec)).collect()
}

/// An event being read, chunk by chunk.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) before: Hash,
    pub(super) hash: Hash,
    pub(super) body: Vec<u8>,
    chunks: u16,
    next: u16,
    length: usize,
}

impl Partial {
    /// Takes the first chunk.
    pub(super) fn begin(value: &[u8]) -> Result<Self, String> {
        match value.first() {
            Some(&RECORD) => {}
            Some(other) => return Err(format!("the record has layout {other}, and only {RECORD} is known")),
            None => return Err("the record is empty".to_owned()),
        }
        let (head, body) = value.split_at_checked(HEADER).ok_or("the record is cut short")?;
        let fixed = |from: usize| -> [u8; 32] { head[from..from + 32].try_into().expect("32 bytes") };
        let length = u32::from_be_bytes(head[3..7].try_into().expect("four bytes")) as usize;
        if length > BODY_MAX || body.len() > length {
            return Err(format!("the record says it has {length} bytes, which cannot be"));
        }
        Ok(Self {
            before: Hash(fixed(7)),
            hash: Hash(fixed(39)),
            body: body.to_vec(),
            chunks: u16::from_be_bytes([head[1], head[2]]),
            next: 1,
            length,
        })
    }

    /// Whether chunks are still to come.
    pub(super) fn is_partial(&self) -> bool {
        self.next < self.chunks
    }

    /// Takes a further chunk.
    pub(super) fn push(&mut self, chunk: u16, value: &[u8]) -> Result<(), String> {
        if !self.is_partial() || chunk != self.next {
            return Err(format!("chunk {} of {} is missing", self.next, self.chunks));
        }
        self.body.extend_from_slice(value);
        self.next += 1;
        Ok(())
    }

    /// Checks a complete event against its own hash.
    pub(super) fn verify(&self, seq: u64) -> Result<(), String> {
        if self.is_partial() {
            return Err(format!("chunk {} of {} is missing", self.next, self.chunks));
        }
        if self.body.len() != self.length {
            return Err(format!("it has {} bytes instead of {}", self.body.len(), self.length));
        }
        if chain(&self.before, seq, &self.body) != self.hash {
            return Err("its content does not match its hash".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_comes_back_as_it_was() {
        let first = CHUNK_MAX - HEADER;
        for len in
            [0, 1, 250, first - 1, first, first + 1, first + CHUNK_MAX, first + CHUNK_MAX + 1, BODY_MAX]
        {
            let body = vec![7; len];
            let before = genesis("j", None);
            let hash = chain(&before, 3, &body);
            let values = encode(&before, &hash, &body);
            assert!(values.iter().all(|value| value.len() <= CHUNK_MAX));
            let mut partial = Partial::begin(&values[0]).unwrap();
            for (i, value) in values.iter().enumerate().skip(1) {
                assert!(partial.verify(3).is_err());
                partial.push(u16::try_from(i).unwrap(), value).unwrap();
            }
            partial.verify(3).unwrap();
            assert!(partial.verify(4).is_err(), "the place is part of the hash");
            assert_eq!(partial.body, body);
        }
    }

    #[test]
    fn key_order_is_number_order() {
        let keys =
            [event_key(0, u64::MAX, 1), event_key(1, 1, 0), event_key(1, 255, 9), event_key(1, 256, 0)];
        assert!(keys.is_sorted());
        assert_eq!(event_place(&event_key(7, 300, 2)), Some((300, 2)));
        assert_eq!(run_slot(&run_key(9)), Some(9));
    }

    #[test]
    fn garbage_is_refused_and_never_panics() {
        for value in [&[][..], &[9], &[1, 0], &[1; HEADER - 1], &[255; 200], &[1; 200]] {
            assert!(Partial::begin(value).and_then(|partial| partial.verify(1)).is_err());
        }
    }
}
