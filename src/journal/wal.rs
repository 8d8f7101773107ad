//! The write-ahead log: where an append is on stable storage first, before the database has it.
//!
//! sled hands every write of its own to one of seven threads, wakes all of them, and waits for the disk by itself before we
//! can wait for it: a third of what an append took. So what is appended goes into this file, by one write and one
//! `fdatasync` of our own, and waits in memory for sled, which writes it when the file is full: once in a hundred appends or
//! so. After a crash the next process gives to sled what stands here (`store.rs`).
//!
//! The file has one length for ever, so that a sync has no new size to store; a full disk refuses an append only when the file
//! is full, or does not write in place. It is filled over and over: each time is a *round*, and the database says of which one
//! it has all. A frame counts when it belongs to the round that follows that one, stands right behind the frame before, and is
//! whole. So what is left of older rounds is never taken for news, and the frame that a crash has torn is as good as never
//! written: nobody was told that it is kept.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::JournalError;
use super::files;
use super::layout::Entry;

/// Mark and version, the journal's id, and a hash of both: at the beginning of the file, in a page of its own.
const MAGIC: &[u8; 8] = b"rnrwal_1";
const HEADER: usize = 8 + 16;
const FRAMES: u64 = 4096;

/// The room for frames, in bytes. What stands here is read again at an opening, at some 10 us for each append, and writing
/// sled's share takes as long as two syncs, which a hundred appends and more have in common.
const CAPACITY: usize = 128 * 1024;

/// Before a frame's entries: the round and the entries' length together. Behind them: a hash.
const BEFORE: usize = 8 + 4;
const BEHIND: usize = 32;

/// Before each entry: the length of its key and of its value.
const ENTRY: usize = 2 + 4;

/// The open log.
#[derive(Debug)]
pub(super) struct Wal {
    file: File,
    path: PathBuf,
    journal: [u8; 16],
    round: u64,
    /// Where the next frame goes, behind [`FRAMES`].
    at: usize,
    /// The hash of the frame before it in this round; zeros before the first.
    before: [u8; BEHIND],
}

impl Wal {
    /// Makes an empty log, on stable storage when it returns; its name is the caller's to sync. Nothing may be there.
    pub(super) fn create(path: &Path, journal: [u8; 16]) -> Result<(), JournalError> {
        let mut bytes = [MAGIC.as_slice(), &journal].concat();
        let check = Sha256::digest(&bytes);
        bytes.extend(check);
        // Zeros that are written, not only reserved: a first write into what is reserved changes what the file system knows.
        bytes.resize(usize::try_from(FRAMES).expect("a page") + CAPACITY, 0);
        files::write_private(path, &bytes)
    }

    /// Opens the log, and reads from it what the database lacks, in order: everything of the round after `written`, the last
    /// one of which the database has all.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] when it is missing, short, of another journal, or goes on from a round that the database
    /// does not have.
    pub(super) fn open(
        path: &Path,
        journal: [u8; 16],
        written: u64,
    ) -> Result<(Self, Vec<Entry>), JournalError> {
        let damaged = |what: &str| JournalError::damaged(path, what);
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(damaged("the write-ahead log is missing"));
            }
            Err(e) => return Err(JournalError::io("open", path, e)),
        };
        let read = |bytes: &mut [u8], at: u64| match file.read_exact_at(bytes, at) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                Err(damaged("the write-ahead log is too short"))
            }
            other => other.map_err(|e| JournalError::io("read", path, e)),
        };
        let mut header = [0; HEADER + 32];
        read(&mut header, 0)?;
        if header[..8] != MAGIC[..] || Sha256::digest(&header[..HEADER])[..] != header[HEADER..] {
            return Err(damaged("the write-ahead log cannot be read"));
        }
        if header[8..HEADER] != journal {
            return Err(damaged("the write-ahead log belongs to another journal"));
        }
        let mut frames = vec![0; CAPACITY];
        read(&mut frames, FRAMES)?;
        let mut wal = Self {
            file,
            path: path.to_owned(),
            journal,
            round: written.saturating_add(1),
            at: 0,
            before: [0; BEHIND],
        };
        let mut lacking = Vec::new();
        if let Some((round, ..)) = wal.frame(&frames)
            && round > wal.round
        {
            return Err(damaged("the database beside it lacks what was written before this write-ahead log"));
        }
        while let Some((round, entries, length)) = wal.frame(&frames)
            && round == wal.round
        {
            lacking.extend(entries);
            wal.went_on(&frames[wal.at..wal.at + length]);
        }
        if wal.at > 0 {
            // What a sync has failed to bring to the disk can still be read. The same bytes, so that the next sync has them.
            wal.file
                .write_all_at(&frames[..wal.at], FRAMES)
                .map_err(|e| JournalError::io("write", path, e))?;
        }
        Ok((wal, lacking))
    }

    /// The round in which it is.
    pub(super) fn round(&self) -> u64 {
        self.round
    }

    /// Whether these entries could be one frame of an empty log.
    pub(super) fn takes(entries: &[Entry]) -> bool {
        length(entries) <= CAPACITY
    }

    /// Whether these entries fit behind what is there.
    pub(super) fn has_room(&self, entries: &[Entry]) -> bool {
        self.at + length(entries) <= CAPACITY
    }

    /// Writes entries as one frame, all of them or none; on stable storage when it returns. They must [fit](Self::has_room).
    ///
    /// After an error nobody knows what is on stable storage.
    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        let mut frame = Vec::with_capacity(length(entries));
        frame.extend(self.round.to_be_bytes());
        frame.extend(number(length(entries) - BEFORE - BEHIND).to_be_bytes());
        for (key, value) in entries {
            frame.extend(u16::try_from(key.len()).expect("a key of ours").to_be_bytes());
            frame.extend(number(value.len()).to_be_bytes());
            frame.extend_from_slice(key);
            frame.extend_from_slice(value);
        }
        let check = self.check(&frame);
        frame.extend(check);
        let place = FRAMES + self.at as u64;
        self.file.write_all_at(&frame, place).map_err(|e| JournalError::io("write", &self.path, e))?;
        self.file.sync_data().map_err(|e| JournalError::io("sync", &self.path, e))?;
        self.went_on(&frame);
        Ok(())
    }

    /// The place behind this frame is the one reached.
    fn went_on(&mut self, frame: &[u8]) {
        self.at += frame.len();
        self.before.copy_from_slice(&frame[frame.len() - BEHIND..]);
    }

    /// Begins the next round, for which the database must say that it has all of this one.
    pub(super) fn turn(&mut self) {
        self.round += 1;
        self.at = 0;
        self.before = [0; BEHIND];
    }

    /// The frame at the place reached: its round, its entries, and its length. None where there is no whole one.
    fn frame(&self, frames: &[u8]) -> Option<(u64, Vec<Entry>, usize)> {
        let rest = frames.get(self.at..)?;
        let round = u64::from_be_bytes(rest.get(..8)?.try_into().ok()?);
        let end = BEFORE + size(rest.get(8..BEFORE)?)?;
        let frame = rest.get(..end)?;
        if self.check(frame)[..] != *rest.get(end..end + BEHIND)? {
            return None;
        }
        let (mut entries, mut left) = (Vec::new(), &frame[BEFORE..]);
        while !left.is_empty() {
            let (lengths, contents) = left.split_at_checked(ENTRY)?;
            let (key, contents) = contents.split_at_checked(size(&lengths[..2])?)?;
            let (value, later) = contents.split_at_checked(size(&lengths[2..])?)?;
            entries.push((key.to_vec(), value.to_vec()));
            left = later;
        }
        Some((round, entries, end + BEHIND))
    }

    /// The hash of a frame, which holds for this journal, behind this frame, and at this place alone.
    fn check(&self, frame: &[u8]) -> [u8; BEHIND] {
        let mut hash = Sha256::new();
        hash.update(self.journal);
        hash.update((self.at as u64).to_be_bytes());
        hash.update(self.before);
        hash.update(frame);
        hash.finalize().into()
    }
}

/// How long a frame of these entries is, in bytes.
fn length(entries: &[Entry]) -> usize {
    BEFORE + entries.iter().map(|(key, value)| ENTRY + key.len() + value.len()).sum::<usize>() + BEHIND
}

/// A length as it is stored.
fn number(length: usize) -> u32 {
    u32::try_from(length).expect("less than the log takes")
}

/// A stored length.
fn size(bytes: &[u8]) -> Option<usize> {
    bytes.iter().try_fold(0_usize, |size, byte| size.checked_mul(256)?.checked_add(usize::from(*byte)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const JOURNAL: [u8; 16] = [7; 16];

    fn entries(of: u8) -> Vec<Entry> {
        (0..=of % 3).map(|each| (vec![b'E', of, each], vec![of; 40 * usize::from(of)])).collect()
    }

    fn made(folder: &tempfile::TempDir) -> PathBuf {
        let path = folder.path().join("wal");
        Wal::create(&path, JOURNAL).unwrap();
        path
    }

    fn open(path: &Path, written: u64) -> (Wal, Vec<Entry>) {
        Wal::open(path, JOURNAL, written).unwrap()
    }

    fn refused(path: &Path, journal: [u8; 16], written: u64) -> String {
        let error = Wal::open(path, journal, written).unwrap_err();
        assert!(matches!(error, JournalError::Damaged { .. }), "{error:?}");
        error.to_string()
    }

    #[test]
    fn what_is_appended_is_what_the_next_one_reads_and_goes_on_from() {
        let folder = tempfile::tempdir().unwrap();
        let path = made(&folder);
        let length = fs::metadata(&path).unwrap().len();
        let mut all = Vec::new();
        for of in 0..9 {
            let (mut wal, found) = open(&path, 4);
            assert_eq!(found, all);
            wal.append(&entries(of)).unwrap();
            all.extend(entries(of));
        }
        assert_eq!(open(&path, 4).1, all);
        // What the database has is not given to it again, and what it lacks is said.
        assert_eq!(open(&path, 5).1, []);
        assert!(refused(&path, JOURNAL, 3).contains("the database beside it lacks what was written before"));
        assert_eq!(fs::metadata(&path).unwrap().len(), length);
    }

    #[test]
    fn a_round_hides_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = made(&folder);
        let mut wal = open(&path, 0).0;
        (1..9).for_each(|of| wal.append(&entries(of)).unwrap());
        wal.turn();
        // Nothing of the new round yet: the old one is what is there, and the database has it.
        assert_eq!(open(&path, 1).1, []);
        // A frame as long as the old one, so that the next old frame stands right behind it.
        wal.append(&entries(1)).unwrap();
        assert_eq!(open(&path, 1).1, entries(1));
        let mut wal = open(&path, 1).0;
        wal.append(&entries(4)).unwrap();
        assert_eq!(open(&path, 1).1, [entries(1), entries(4)].concat());
    }

    #[test]
    fn it_takes_what_fits() {
        let folder = tempfile::tempdir().unwrap();
        let path = made(&folder);
        let mut wal = open(&path, 0).0;
        let entry = |length| vec![(b"E".to_vec(), vec![1; length])];
        let most = CAPACITY - super::length(&entry(0));
        assert!(Wal::takes(&entry(most)) && !Wal::takes(&entry(most + 1)));
        wal.append(&entry(most - 100)).unwrap();
        let (wal, _) = open(&path, 0);
        let left = 100 - super::length(&entry(0));
        assert!(wal.has_room(&entry(left)) && !wal.has_room(&entry(left + 1)));
        let mut wal = wal;
        wal.append(&entry(left)).unwrap();
        assert!(!open(&path, 0).0.has_room(&[]));
        assert_eq!(open(&path, 0).1.len(), 2);
    }

    /// A write that stopped at any byte, over zeros and over an older round.
    #[test]
    fn a_torn_frame_is_as_good_as_never_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = made(&folder);
        let mut wal = open(&path, 0).0;
        for round in 0..2 {
            (5..9).for_each(|of| wal.append(&entries(of)).unwrap());
            if round == 0 {
                wal.turn();
            }
        }
        let (mut wal, found) = open(&path, 1);
        assert_eq!(found.len(), (5..9).map(|of| entries(of).len()).sum::<usize>());
        for over in 0..2 {
            let before = fs::read(&path).unwrap();
            let (from, whole) = (wal.at, [entries(5), entries(6)].concat());
            if over == 1 {
                wal.turn();
            }
            let (start, written) = (if over == 1 { 0 } else { from }, wal.round - 1);
            let kept = if over == 1 { 0 } else { found.len() };
            wal.append(&whole).unwrap();
            let after = fs::read(&path).unwrap();
            for cut in 0..super::length(&whole) {
                let cut = usize::try_from(FRAMES).unwrap() + start + cut;
                fs::write(&path, [&after[..cut], &before[cut..]].concat()).unwrap();
                assert_eq!(open(&path, written).1.len(), kept, "cut at {cut}");
            }
            fs::write(&path, &after).unwrap();
            assert_eq!(open(&path, written).1.len(), kept + whole.len());
        }
    }

    #[test]
    fn what_is_no_log_of_this_journal_is_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = made(&folder);
        assert!(refused(&path, [8; 16], 0).contains("belongs to another journal"));
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(refused(&path, JOURNAL, 0).contains("is too short"));
        fs::write(&path, [&[0], &bytes[1..]].concat()).unwrap();
        assert!(refused(&path, JOURNAL, 0).contains("cannot be read"));
        fs::remove_file(&path).unwrap();
        assert!(refused(&path, JOURNAL, 0).contains("is missing"));
    }
}
