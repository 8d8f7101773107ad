//! Checkpoints: a folded state beside the journal, for speed and never the truth.
//!
//! One file per run, replaced by each new one, without any sync: whatever does not fit the journal exactly (torn,
//! damaged, of another layout, of another journal, of events that are not there) is passed over in silence, and the
//! run is folded from its first event.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::JournalError;
use super::files;
use super::record::Hash;
use crate::plan::RunId;

/// The folder of checkpoints below the state folder.
const CHECKPOINTS: &str = "checkpoints";

/// Layout mark and version; then journal id, sequence number, chain hash, body, and a hash of all that.
const MAGIC: &[u8; 8] = b"rnrchkp1";
const HEADER: usize = 8 + 16 + 8 + 32;

/// Where the checkpoint of a run stands.
fn place(folder: &Path, run: &RunId) -> PathBuf {
    folder.join(CHECKPOINTS).join(run.to_string())
}

/// Replaces a run's checkpoint.
pub(super) fn write(
    folder: &Path,
    journal: [u8; 16],
    run: &RunId,
    seq: u64,
    hash: &Hash,
    body: &[u8],
) -> Result<(), JournalError> {
    let path = place(folder, run);
    let parent = folder.join(CHECKPOINTS);
    if !parent.is_dir() {
        files::create_folders(&parent)?;
    }
    let mut check = Sha256::new();
    let mut head = Vec::with_capacity(HEADER);
    head.extend(MAGIC);
    head.extend(journal);
    head.extend(seq.to_be_bytes());
    head.extend(hash.0);
    check.update(&head);
    check.update(body);
    // One holder writes at a time, so that the passing name needs nothing random; a leftover is in the way.
    let passing = parent.join(format!(".new-{run}"));
    drop(fs::remove_file(&passing));
    let mut file = files::create_private(&passing)?;
    file.write_all(&head)
        .and_then(|()| file.write_all(body))
        .and_then(|()| file.write_all(&check.finalize()))
        .and_then(|()| fs::rename(&passing, &path))
        .map_err(|e| JournalError::io("write", &path, e))
}

/// Reads a run's checkpoint, if it is whole and of this journal. Whether its hash is that of the chain is the
/// caller's to say.
pub(super) fn read(folder: &Path, journal: [u8; 16], run: &RunId) -> Option<(u64, Hash, Vec<u8>)> {
    let mut bytes = fs::read(place(folder, run)).ok()?;
    let body_end = bytes.len().checked_sub(32).filter(|end| *end >= HEADER)?;
    if bytes[..8] != MAGIC[..]
        || bytes[8..24] != journal
        || Sha256::digest(&bytes[..body_end])[..] != bytes[body_end..]
    {
        return None;
    }
    let seq = u64::from_be_bytes(bytes[24..32].try_into().ok()?);
    let hash = Hash(bytes[32..64].try_into().ok()?);
    bytes.truncate(body_end);
    bytes.drain(..HEADER);
    Some((seq, hash, bytes))
}
