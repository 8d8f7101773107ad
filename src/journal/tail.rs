//! The tail of a run: what a process wants the next one to know and is not worth an event yet.
//!
//! One small file per run, replaced as a whole, on stable storage when [`Journal::keep`] returns. It is bound to the
//! run's events: it names the last one there was, with its hash, and is passed over where that is not in the chain.
//! What it means, and whether it still holds, is for whoever wrote it to say.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::JournalError;
use super::files;
use super::log::Journal;
use super::record::Hash;
use crate::plan::RunId;

/// The folder of tails below the state folder.
const TAILS: &str = "tails";

/// Layout mark and version; then journal id, sequence number, chain hash, body, and a hash of all that.
const MAGIC: &[u8; 8] = b"rnrtail1";
const HEADER: usize = 8 + 16 + 8 + 32;

/// A tail is at most so long, in bytes: whoever keeps more has something for events.
const TAIL_MAX: usize = 1024 * 1024;

fn place(folder: &Path, run: &RunId) -> PathBuf {
    folder.join(TAILS).join(run.to_string())
}

impl Journal {
    /// Keeps the tail of a run in place of the one before; on stable storage when it returns. A crash before leaves
    /// the one before.
    ///
    /// # Errors
    /// [`NoSuchRun`](JournalError::NoSuchRun), also for a run without events, [`TooLarge`](JournalError::TooLarge),
    /// and [`Io`](JournalError::Io), [`DiskFull`](JournalError::DiskFull), which do not poison.
    pub fn keep(&mut self, run: &RunId, body: &[u8]) -> Result<(), JournalError> {
        self.check_poison()?;
        let last = self.last(run).ok_or_else(|| JournalError::NoSuchRun { run: run.clone() })?;
        let (seq, bytes, max) = (last.0, body.len() as u64, TAIL_MAX as u64);
        if bytes > max {
            return Err(JournalError::TooLarge { run: run.clone(), seq, bytes, max });
        }
        write(&self.folder, self.id_bytes, run, last, body)
    }

    /// The tail that was kept of a run last. None when there is none, and when it does not fit the journal to the
    /// last byte.
    pub fn kept(&self, run: &RunId) -> Option<Vec<u8>> {
        let (seq, hash, body) = read(&self.folder, self.id_bytes, run)?;
        (self.hash_at(run, seq)? == hash).then_some(body)
    }
}

fn write(
    folder: &Path,
    journal: [u8; 16],
    run: &RunId,
    (seq, hash): (u64, Hash),
    body: &[u8],
) -> Result<(), JournalError> {
    let path = place(folder, run);
    let parent = folder.join(TAILS);
    if !parent.is_dir() {
        files::create_folders(&parent)?;
    }
    let mut bytes = Vec::with_capacity(HEADER + body.len() + 32);
    bytes.extend(MAGIC);
    bytes.extend(journal);
    bytes.extend(seq.to_be_bytes());
    bytes.extend(hash.0);
    bytes.extend(body);
    let check = Sha256::digest(&bytes);
    bytes.extend(check);
    // One holder writes at a time, so that the passing name needs nothing random; a leftover is in the way.
    let passing = parent.join(format!(".new-{run}"));
    drop(fs::remove_file(&passing));
    let mut file = files::create_private(&passing)?;
    file.write_all(&bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&passing, &path))
        .map_err(|e| JournalError::io("write", &path, e))?;
    files::sync_folder(&parent)
}

fn read(folder: &Path, journal: [u8; 16], run: &RunId) -> Option<(u64, Hash, Vec<u8>)> {
    let path = place(folder, run);
    if fs::metadata(&path).ok()?.len() > (HEADER + TAIL_MAX + 32) as u64 {
        return None;
    }
    let mut bytes = fs::read(path).ok()?;
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
