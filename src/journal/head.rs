//! The head file: a second, small memory of how far the journal has come.
//!
//! sled drops a torn tail silently, so does the write-ahead log, and a hash chain cannot see what is missing at its end. So the
//! place reached is written here and synced before anything is said to anybody, and within a second of each append: not with
//! each, since it would be another inode for the disk. A head behind the journal means nothing; a head *ahead* of it proves
//! that acknowledged events are gone.
//!
//! Two slots are written in turn, a page apart: a torn write spoils the older news at most. Both are on disk from
//! the beginning, so a full disk cannot refuse them.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::JournalError;
use super::files;
use super::record::Hash;

/// Distance of the slots in bytes: a page and more than any sector, so that one write touches one slot.
const SLOT: u64 = 4096;

/// Layout mark and version, and what follows it.
const MAGIC: &[u8; 8] = b"rnrhead1";
const PAYLOAD: usize = 8 + 16 + 8 + 8 + 8 + 4 + 8 + 32;
const LENGTH: usize = PAYLOAD + 32;

/// The place a journal has reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Leases, runs and events in the whole journal: no run's tail can go missing unnoticed.
    pub(super) records: u64,
    /// The holder's fencing token.
    pub(super) token: u64,
    /// The run of the last event, by its number in the journal; 0 for a lease.
    pub(super) slot: u32,
    /// The last event.
    pub(super) seq: u64,
    /// Its hash.
    pub(super) hash: Hash,
}

/// The open head file.
#[derive(Debug)]
pub(super) struct Head {
    file: File,
    path: PathBuf,
    journal: [u8; 16],
    /// Counts writes; its parity says which slot comes next.
    turn: u64,
    unsettled: bool,
}

fn encode(journal: [u8; 16], turn: u64, place: &Place) -> [u8; LENGTH] {
    let mut bytes = Vec::with_capacity(LENGTH);
    bytes.extend(MAGIC);
    bytes.extend(journal);
    bytes.extend(turn.to_be_bytes());
    bytes.extend(place.records.to_be_bytes());
    bytes.extend(place.token.to_be_bytes());
    bytes.extend(place.slot.to_be_bytes());
    bytes.extend(place.seq.to_be_bytes());
    bytes.extend(place.hash.0);
    let check = Sha256::digest(&bytes);
    bytes.extend_from_slice(&check);
    bytes.try_into().expect("the parts add up to LENGTH")
}

fn decode(bytes: &[u8; LENGTH]) -> Option<([u8; 16], u64, Place)> {
    let number = |from: usize| u64::from_be_bytes(bytes[from..from + 8].try_into().expect("eight bytes"));
    if bytes[..8] != MAGIC[..] || Sha256::digest(&bytes[..PAYLOAD])[..] != bytes[PAYLOAD..] {
        return None;
    }
    let place = Place {
        records: number(32),
        token: number(40),
        slot: u32::from_be_bytes(bytes[48..52].try_into().expect("four bytes")),
        seq: number(52),
        hash: Hash(bytes[60..92].try_into().expect("32 bytes")),
    };
    Some((bytes[8..24].try_into().expect("16 bytes"), number(24), place))
}

impl Head {
    /// Writes a new head file with both slots and syncs it.
    pub(super) fn create(path: &Path, journal: [u8; 16], place: &Place) -> Result<(), JournalError> {
        let mut bytes = vec![0; 2 * usize::try_from(SLOT).expect("a page")];
        for turn in 0..2 {
            let from = usize::try_from(turn * SLOT).expect("a page");
            bytes[from..from + LENGTH].copy_from_slice(&encode(journal, turn, place));
        }
        files::write_private(path, &bytes)
    }

    /// Opens the head file and reads the newer of its intact slots.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] when no slot is intact or it belongs to another journal.
    pub(super) fn open(path: &Path, journal: [u8; 16]) -> Result<(Self, Place), JournalError> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(JournalError::damaged(path, "the head file is missing"));
            }
            Err(e) => return Err(JournalError::io("open", path, e)),
        };
        let mut newest: Option<([u8; 16], u64, Place)> = None;
        for slot in 0..2 {
            let mut bytes = [0; LENGTH];
            match file.read_exact_at(&mut bytes, slot * SLOT) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => continue,
                Err(e) => return Err(JournalError::io("read", path, e)),
            }
            if let Some(found) = decode(&bytes)
                && newest.as_ref().is_none_or(|(_, turn, _)| found.1 > *turn)
            {
                newest = Some(found);
            }
        }
        let Some((owner, turn, place)) = newest else {
            return Err(JournalError::damaged(path, "neither half of the head file can be read"));
        };
        if owner != journal {
            return Err(JournalError::damaged(path, "the head file belongs to another journal"));
        }
        Ok((Self { file, path: path.to_owned(), journal, turn: turn + 1, unsettled: false }, place))
    }

    /// Writes the place reached, without a sync: one `pwrite`.
    pub(super) fn note(&mut self, place: &Place) -> Result<(), JournalError> {
        self.unsettled = true;
        let bytes = encode(self.journal, self.turn, place);
        self.file
            .write_all_at(&bytes, (self.turn % 2) * SLOT)
            .map_err(|e| JournalError::io("write", &self.path, e))?;
        self.turn += 1;
        Ok(())
    }

    /// Syncs what [`note`](Self::note) wrote, if anything.
    pub(super) fn settle(&mut self) -> Result<(), JournalError> {
        if self.unsettled {
            self.file.sync_data().map_err(|e| JournalError::io("sync", &self.path, e))?;
            self.unsettled = false;
        }
        Ok(())
    }

    /// Whether something is written and not synced yet.
    pub(super) fn is_unsettled(&self) -> bool {
        self.unsettled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(seq: u64) -> Place {
        Place { records: seq + 1, token: 1, slot: 1, seq, hash: Hash([7; 32]) }
    }

    #[test]
    fn a_torn_write_spoils_one_slot_and_the_other_still_answers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("head");
        Head::create(&path, [1; 16], &place(0)).unwrap();
        let (mut head, first) = Head::open(&path, [1; 16]).unwrap();
        assert_eq!(first, place(0));
        for seq in 1..=9 {
            head.note(&place(seq)).unwrap();
            assert_eq!(Head::open(&path, [1; 16]).unwrap().1, place(seq));
        }
        // The last write (turn 10, slot 0) is torn in the middle.
        head.file.write_all_at(&[0; 20], 40).unwrap();
        assert_eq!(Head::open(&path, [1; 16]).unwrap().1, place(8));
        head.file.write_all_at(&[0; 20], SLOT + 40).unwrap();
        assert!(matches!(Head::open(&path, [1; 16]), Err(JournalError::Damaged { .. })));
    }

    #[test]
    fn a_head_of_another_journal_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("head");
        Head::create(&path, [1; 16], &place(0)).unwrap();
        assert!(matches!(Head::open(&path, [2; 16]), Err(JournalError::Damaged { .. })));
    }
}
