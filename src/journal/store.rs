//! sled, fenced: its settings, the sync it does not do, its panics, the poison after a failure, and the log before it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::error::JournalError;
use super::files;
use super::layout::Entry;
use super::record::WRITTEN;
use super::wal::Wal;

/// sled's page cache in bytes. The default is 1 GB. Reading is rare (a run is folded once, when it is opened) and
/// sequential, so that a larger cache buys nothing; see `benches/journal.rs` for what it costs in memory.
const CACHE_BYTES: u64 = 512 * 1024;

/// sled's segment and write buffer in bytes: its default, and the base of [`CHUNK_MAX`](super::record::CHUNK_MAX)
/// (a quarter of it is the limit above which contents go to unsynced files). It is fixed when a journal is made.
const SEGMENT_BYTES: usize = 512 * 1024;

/// How far the data file reaches beyond what sled has written, in bytes at most. A segment has a whole number of them.
///
/// A sync of a write that makes the file longer has the file's size to store as well: on ext4 with its own journal 180 to
/// 350 us instead of 25, without one 45 instead of 23 (medians of 600, 2026-11-30).
const ROOM_BYTES: u64 = 128 * 1024;

/// How often sled's own lock is looked at while it is held.
const LOCK_TRIES: u32 = 200;

/// Files of a database that are longer together are not kept while it is opened, in bytes: opening takes as much memory and more.
const FOUND_MAX: u64 = 64 * 1024 * 1024;

/// An open sled database, a descriptor of its data file, and the write-ahead log.
#[derive(Debug)]
pub(super) struct Store {
    /// Absent only while dropping.
    db: Option<sled::Db>,
    data: File,
    path: PathBuf,
    /// None until the database has said which one is its own.
    wal: Option<Wal>,
    /// What stands in the log and was not given to sled yet, in order.
    waiting: RefCell<Vec<Entry>>,
    /// Its files as they were found, until it is known that they hold together.
    found: Option<Found>,
    /// Set when nothing more may be written, not even by sled's own `Drop`.
    sealed: bool,
}

impl Store {
    /// Opens the database in `path`, or makes one there.
    pub(super) fn open(path: &Path) -> Result<Self, JournalError> {
        clear_half_snapshots(path)?;
        let config = || {
            sled::Config::new()
                .path(path)
                .cache_capacity(CACHE_BYTES)
                .segment_size(SEGMENT_BYTES)
                .mode(sled::Mode::HighThroughput)
                .use_compression(false)
                // No periodic flusher: every append flushes by itself, and nothing may be written behind our back.
                .flush_every_ms(None)
        };
        wait_for_lock(path);
        let found = Found::read(path)?;
        let db = match guarded("open", path, || config().open()) {
            Ok(db) => db,
            Err(error) => {
                // One that has another owner is not ours to touch.
                if matches!(error, JournalError::Damaged { .. }) {
                    found.put_back(path);
                }
                return Err(error);
            }
        };
        let file = path.join("db");
        let data = OpenOptions::new().read(true).write(true).open(&file);
        let data = data.map_err(|e| JournalError::io("open", &file, e))?;
        // Opening may have renamed a new snapshot into place and removed the old one.
        files::sync_folder(path)?;
        let waiting = RefCell::default();
        let found = Some(found);
        Ok(Self { db: Some(db), data, path: path.to_owned(), wal: None, waiting, found, sealed: false })
    }

    /// What is stored holds together: how it was found is of no interest any more.
    pub(super) fn is_sound(&mut self) {
        self.found = None;
    }

    /// What is stored does not hold together: its files become what they were before sled opened them.
    pub(super) fn is_damaged(&mut self) {
        self.seal();
        if let Some(found) = self.found.take() {
            found.put_back(&self.path);
        }
    }

    /// Takes the journal's write-ahead log on, and with it what the database lacks.
    pub(super) fn join(&mut self, wal: &Path, journal: [u8; 16]) -> Result<(), JournalError> {
        // What the database says it has may have been read out of memory, when whoever wrote it was killed before its sync.
        self.data.sync_data().map_err(|e| JournalError::io("sync", &self.path.join("db"), e))?;
        let written = match self.get(WRITTEN)? {
            None => 0,
            Some(value) => <[u8; 8]>::try_from(&value[..]).map(u64::from_be_bytes).map_err(|_| {
                JournalError::damaged(&self.path, "how much of the write-ahead log it has makes no sense")
            })?,
        };
        let (wal, logged) = Wal::open(wal, journal, written)?;
        self.wal = Some(wal);
        // The last value of each key, and not what the database has already: after an orderly end that is all of it, and it
        // would grow by as much at every opening.
        for (key, value) in logged.into_iter().collect::<BTreeMap<_, _>>() {
            if self.get(&key)?.is_none_or(|there| there != value) {
                self.waiting.get_mut().push((key, value));
            }
        }
        self.catch_up()
    }

    fn db(&self) -> &sled::Db {
        self.db.as_ref().expect("only dropping takes it")
    }

    /// Reads one value.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<sled::IVec>, JournalError> {
        self.catch_up()?;
        guarded("read", &self.path, || self.db().get(key))
    }

    /// The last entry below a prefix.
    pub(super) fn last(&self, prefix: &[u8]) -> Result<Option<(sled::IVec, sled::IVec)>, JournalError> {
        self.catch_up()?;
        guarded("read", &self.path, || self.db().scan_prefix(prefix).next_back().transpose())
    }

    /// The last entry below a prefix whose key is not above `key`.
    pub(super) fn at_or_before(
        &self,
        prefix: &[u8],
        key: &[u8],
    ) -> Result<Option<(sled::IVec, sled::IVec)>, JournalError> {
        self.catch_up()?;
        guarded("read", &self.path, || self.db().range(prefix..=key).next_back().transpose())
    }

    /// All entries from `from` on that have the prefix, in order.
    pub(super) fn scan(&self, prefix: &[u8], from: &[u8]) -> Scan<'_> {
        let failed = self.catch_up().err();
        Scan { iter: self.db().range(from.to_vec()..behind(prefix)), path: &self.path, failed }
    }

    /// Keeps all entries as one, and returns when they are on stable storage: in the write-ahead log, where that takes them.
    ///
    /// After an error nobody knows what is on stable storage: the caller seals the store.
    pub(super) fn commit(&mut self, entries: Vec<Entry>) -> Result<(), JournalError> {
        if entries.is_empty() {
            return Ok(());
        }
        let full = match &self.wal {
            Some(wal) if Wal::takes(&entries) => !wal.has_room(&entries),
            _ => return self.write(Vec::new(), entries),
        };
        if full {
            self.write(Vec::new(), Vec::new())?;
        }
        if let Some(wal) = &mut self.wal {
            wal.append(&entries)?;
        }
        self.waiting.get_mut().extend(entries);
        Ok(())
    }

    /// Gives to sled what waits for it: all at once before something is read, or when the log is full, since one entry alone takes
    /// as long as ten together. sled writes none of it before [`write`](Self::write), or when it needs room.
    fn catch_up(&self) -> Result<(), JournalError> {
        let mut waiting = self.waiting.borrow_mut();
        guarded("write", &self.path, || {
            waiting.iter().try_for_each(|(key, value)| self.db().insert(key, value.as_slice()).map(drop))
        })?;
        // Not before: what sled did not take would be missed when the log is written over.
        waiting.clear();
        Ok(())
    }

    /// Removes keys and writes entries, as one, with all that came before; on stable storage when it returns.
    ///
    /// The database has all of the log from then on, which begins its next round.
    pub(super) fn write(&mut self, removed: Vec<Vec<u8>>, entries: Vec<Entry>) -> Result<(), JournalError> {
        self.catch_up()?;
        let round = self.wal.as_ref().map(Wal::round);
        guarded("write", &self.path, || {
            let mut batch = sled::Batch::default();
            removed.into_iter().for_each(|key| batch.remove(key));
            entries.into_iter().for_each(|(key, value)| batch.insert(key, value));
            if let Some(round) = round {
                batch.insert(WRITTEN, &round.to_be_bytes());
            }
            self.db().apply_batch(batch)?;
            // Without it, the records are in sled's buffer only and gone with the process.
            self.db().flush()
        })?;
        // sled's flush is sync_file_range(2) on Linux, which neither writes the file's size nor empties the disk's
        // own cache (`pagecache/iobuf.rs`, `write_to_log`). Without this line a power loss takes back what the log is about
        // to be written over, and no test that kills processes can notice: tests/journal/syscalls.rs looks at the calls.
        self.data.sync_data().map_err(|e| JournalError::io("sync", &self.path.join("db"), e))?;
        if let Some(wal) = &mut self.wal {
            wal.turn();
        }
        self.make_room();
        Ok(())
    }

    /// Fills the data file with zeros up to the next multiple of [`ROOM_BYTES`], where the next entries go.
    ///
    /// sled takes them for the end of the file, which it reads as zeros, too (0.34.7, `pagecache/logger.rs`,
    /// `read_message`). It does not write meanwhile: its flush has waited for all that it was to write, and it is called
    /// from one thread. The next sync has them as well. Nothing is lost where there is no room left: that is for the next
    /// entry to say.
    fn make_room(&self) {
        // Not asked for by stat(2): after one, Linux gives the next write a time of its own, which the sync has to store
        // (multigrain timestamps, 6.13), instead of one that is right to some milliseconds.
        let length = (&self.data).seek(SeekFrom::End(0)).unwrap_or(0);
        let missing = length.next_multiple_of(ROOM_BYTES) - length;
        if missing > 0 {
            drop(self.data.write_all_at(&vec![0; usize::try_from(missing).unwrap_or(0)], length));
        }
    }

    /// All keys with this prefix.
    pub(super) fn keys(&self, prefix: &[u8]) -> Result<Vec<Vec<u8>>, JournalError> {
        self.scan(prefix, prefix).map(|entry| entry.map(|(key, _)| key.to_vec())).collect()
    }

    /// Nothing more is written from here on, not even by sled when it is dropped. Reading still gives sled what was acknowledged and
    /// waits for it, which may bring some of that to its file.
    pub(super) fn seal(&mut self) {
        self.sealed = true;
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let Some(db) = self.db.take() else { return };
        if self.sealed {
            // Its own Drop flushes what is left in the buffer: half of a batch that failed, for instance.
            std::mem::forget(db);
        } else if catch_unwind(AssertUnwindSafe(|| drop(db))).is_err() {
            // Its Drop unwraps a sync; what was acknowledged was synced before.
        }
    }
}

/// Entries of the store, read one after the other.
pub(super) struct Scan<'a> {
    iter: sled::Iter,
    path: &'a Path,
    /// Said instead of the first entry.
    failed: Option<JournalError>,
}

impl Iterator for Scan<'_> {
    type Item = Result<(sled::IVec, sled::IVec), JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Self { iter, path, failed } = self;
        if let Some(error) = failed.take() {
            return Some(Err(error));
        }
        guarded("read", path, || iter.next().transpose()).transpose()
    }
}

/// Calls sled. Its panics (it asserts and unwraps on damaged files) become damage.
fn guarded<T>(
    what: &'static str,
    path: &Path,
    call: impl FnOnce() -> Result<T, sled::Error>,
) -> Result<T, JournalError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) => Err(JournalError::sled(what, path, e)),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no reason given");
            let text = text.lines().next().unwrap_or_default();
            Err(JournalError::damaged(path, format!("the store cannot make sense of its files ({text})")))
        }
    }
}

/// Waits while sled's own lock is still held; not for ever, and sled says then what is wrong. We have the journal's lock, so
/// this is a journal that was closed in this process a moment ago: sled lets go of its file when its epochs have turned.
fn wait_for_lock(path: &Path) {
    let Ok(data) = File::open(path.join("db")) else { return };
    for _ in 0..LOCK_TRIES {
        // Let go of when it is closed.
        if data.try_lock().is_ok() {
            return;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// The files of a database before it is opened.
///
/// Opening writes: what sled takes for the torn end of its log it fills with zeros, to the end of the file, also where only
/// the beginning is damaged (`pagecache/snapshot.rs`, `advance_snapshot`). Whoever wants to save what can be saved needs it as
/// it was.
#[derive(Debug)]
struct Found(BTreeMap<PathBuf, Vec<u8>>);

impl Found {
    /// Reads them; none when they are longer than [`FOUND_MAX`], and then they stay what opening makes of them.
    fn read(path: &Path) -> Result<Self, JournalError> {
        let length = |file: &PathBuf| fs::metadata(file).map_or(0, |found| found.len());
        let files = files_in(path)?;
        if files.iter().map(length).sum::<u64>() > FOUND_MAX {
            return Ok(Self(BTreeMap::new()));
        }
        let read = |file: &Path| fs::read(file).map_err(|e| JournalError::io("read", file, e));
        files.into_iter().map(|file| Ok((file.clone(), read(&file)?))).collect::<Result<_, _>>().map(Self)
    }

    /// Puts back what has changed, in place, and takes away what was added. What cannot be is left: there is an error to be
    /// said already.
    fn put_back(&self, path: &Path) {
        if self.0.is_empty() {
            tracing::warn!(path = %path.display(), "too long to be put back: opening may have written over what follows the damage");
            return;
        }
        for (file, bytes) in &self.0 {
            if fs::read(file).is_ok_and(|now| now == *bytes) {
                continue;
            }
            let written =
                OpenOptions::new().write(true).create(true).truncate(false).open(file).and_then(|found| {
                    found.write_all_at(bytes, 0)?;
                    found.set_len(bytes.len() as u64)?;
                    found.sync_all()
                });
            if let Err(error) = written {
                tracing::warn!(%error, path = %file.display(), "cannot put back what was found");
            }
        }
        for file in files_in(path).unwrap_or_default().iter().filter(|file| !self.0.contains_key(*file)) {
            drop(fs::remove_file(file));
        }
    }
}

/// The files in a folder; none when it is not there.
fn files_in(path: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(JournalError::io("list", path, e)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| JournalError::io("list", path, e))?;
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// Removes snapshots that were being written when a process was killed.
///
/// sled writes one at every opening that finds news, as `snap.<lsn>.generating`, and renames it; at the next opening
/// it takes the *last* of all `snap.*` by name, which is that half one, and gives up
/// (`pagecache/snapshot.rs`, `read_snapshot`; `config.rs`, `get_snapshot_files`).
fn clear_half_snapshots(path: &Path) -> Result<(), JournalError> {
    for file in files_in(path)? {
        if file.extension().is_some_and(|end| end == "generating") {
            fs::remove_file(&file).map_err(|e| JournalError::io("remove", &file, e))?;
        }
    }
    Ok(())
}

/// The least key behind all keys with this prefix: the prefix counted up by one, in which a last byte that is full is
/// carried. A prefix begins with a kind, which is never full.
fn behind(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// The sync goes to a descriptor opened once, so sled must write its file in place for ever.
    #[test]
    fn sled_never_replaces_its_data_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut inode = None;
        for round in 0..5_u32 {
            let mut store = Store::open(folder.path()).unwrap();
            for i in 0..300_u32 {
                let key = [b"E".to_vec(), (i % 40).to_be_bytes().to_vec()].concat();
                store.commit(vec![(key, [round.to_be_bytes().to_vec(), vec![7; 3000]].concat())]).unwrap();
            }
            let ours = store.data.metadata().unwrap();
            let named = fs::metadata(folder.path().join("db")).unwrap();
            assert_eq!((ours.dev(), ours.ino()), (named.dev(), named.ino()));
            assert_eq!(*inode.get_or_insert(ours.ino()), ours.ino());
        }
    }

    /// Entries go where the file has been written before, so that a sync has no new size to store; sled reads what is there
    /// as it reads the end of a file.
    #[test]
    fn the_file_is_ahead_of_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("db");
        let key = |i: u64| [b"E".as_slice(), &i.to_be_bytes()].concat();
        let there = |count: u64| {
            let store = Store::open(folder.path()).unwrap();
            let keys = store.keys(b"E").unwrap();
            assert_eq!(keys, (0..count).map(key).collect::<Vec<_>>());
            store
        };
        let (mut count, mut lengths) = (0, std::collections::BTreeSet::new());
        // Over the end of two segments, opened in between.
        for _ in 0..12 {
            let mut store = there(count);
            for _ in 0..100 {
                store.commit(vec![(key(count), vec![1; 900])]).unwrap();
                lengths.insert(fs::metadata(&file).unwrap().len());
                count += 1;
            }
        }
        let longest = *lengths.last().unwrap();
        assert!(longest > 2 * SEGMENT_BYTES as u64, "{longest}");
        assert!(lengths.iter().all(|length| length % ROOM_BYTES == 0), "{lengths:?}");
        // A file without that room, as an older binary leaves it, is the same.
        drop(there(count));
        let bytes = fs::read(&file).unwrap();
        let written = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        fs::write(&file, &bytes[..written]).unwrap();
        let mut store = there(count);
        store.commit(vec![(key(count), vec![1; 900])]).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().len() % ROOM_BYTES, 0);
        drop(store);
        drop(there(count + 1));
    }

    /// Who waits for it in vain must not put back what it was when it began to wait.
    #[test]
    fn a_store_that_has_another_owner_is_left_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let key = |i: u32| [b"E".as_slice(), &i.to_be_bytes()].concat();
        let mut owner = Store::open(folder.path()).unwrap();
        let path = folder.path().to_owned();
        let waits = thread::spawn(move || Store::open(&path).map(drop));
        let mut count = 0;
        while !waits.is_finished() {
            owner.commit(vec![(key(count), vec![1; 3000])]).unwrap();
            count += 1;
        }
        assert!(matches!(waits.join().unwrap(), Err(JournalError::Io { .. })));
        // As a kill leaves it.
        owner.seal();
        let copy = tempfile::tempdir().unwrap();
        for file in files_in(folder.path()).unwrap() {
            fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
        }
        let keys = Store::open(copy.path()).unwrap().keys(b"E").unwrap();
        assert_eq!(keys, (0..count).map(key).collect::<Vec<_>>());
    }

    /// What sled does not take stays where it waits: the log must not be written over without it.
    #[test]
    fn what_the_database_did_not_take_is_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let (path, wal) = (folder.path().join("sled"), folder.path().join("wal"));
        Wal::create(&wal, [7; 16]).unwrap();
        let mut store = Store::open(&path).unwrap();
        store.join(&wal, [7; 16]).unwrap();
        let key = |i: u32| [b"E".as_slice(), &i.to_be_bytes()].concat();
        // More than the cache takes, so that the first ones have to be read from the file.
        for i in 0..3_000 {
            store.commit(vec![(key(2 * i), vec![1; 4000])]).unwrap();
        }
        store.write(Vec::new(), Vec::new()).unwrap();
        let data = OpenOptions::new().write(true).open(path.join("db")).unwrap();
        data.write_all_at(&[0xff; 8_000_000], 1_000).unwrap();
        store.commit(vec![(key(3), b"kept".to_vec())]).unwrap();
        assert!(store.get(&key(5)).is_err(), "the first leaf was not read from the file");
        // The next round never begins: whoever comes finds it in the log.
        let round = store.wal.as_ref().unwrap().round();
        let failed = (0..100).find_map(|i| store.commit(vec![(key(9_000 + i), vec![1; 4000])]).err());
        assert!(failed.is_some());
        let (_, logged) = Wal::open(&wal, [7; 16], round - 1).unwrap();
        assert!(logged.contains(&(key(3), b"kept".to_vec())));
        store.seal();
    }

    #[test]
    fn a_snapshot_cut_off_by_a_kill_does_not_close_the_journal() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path()).unwrap());
        let half = folder.path().join("snap.7FFFFFFFFFFFFFFF.generating");
        fs::write(&half, b"half").unwrap();
        drop(Store::open(folder.path()).unwrap());
        assert!(!half.exists());
    }

    /// After a failed sync, what sled still has in its buffer must not reach the disk behind our back.
    #[test]
    fn a_sealed_store_writes_nothing_when_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        store.commit(vec![(b"E1".to_vec(), vec![1; 100])]).unwrap();
        let before = fs::read(folder.path().join("db")).unwrap();
        store.db().insert(b"E2", vec![2; 100]).unwrap();
        store.seal();
        drop(store);
        assert!(fs::read(folder.path().join("db")).unwrap() == before);
    }

    #[test]
    fn a_panic_of_sled_is_damage() {
        let error =
            guarded::<()>("read", Path::new("/state"), || panic!("assertion failed: lsn")).unwrap_err();
        assert!(
            matches!(&error, JournalError::Damaged { what, .. } if what.contains("assertion failed: lsn"))
        );
    }

    #[test]
    fn the_end_of_a_prefix_is_behind_all_of_it() {
        for (prefix, end) in
            [(&b"E\0\0\0\xfe"[..], &b"E\0\0\0\xff"[..]), (b"E\0\0\0\xff", b"E\0\0\x01"), (b"M", b"N")]
        {
            assert_eq!(behind(prefix), end);
            let within = [prefix, &[u8::MAX; 9]].concat();
            assert!(prefix < end && within.as_slice() < end);
        }
    }
}
