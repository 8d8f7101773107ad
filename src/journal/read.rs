//! Reading a run back, checked link by link.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use super::error::JournalError;
use super::layout::Partial;
use super::record::{self, Hash};
use super::store::{Scan, Store};
use crate::plan::RunId;

/// One event as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the run, from 1.
    pub seq: u64,
    /// What was given to [`Journal::append`](super::Journal::append).
    pub body: Vec<u8>,
    /// The hash of the run up to and with this event.
    pub hash: Hash,
}

/// The record that has an event, as far as its first chunk goes, and the sequence number of its first event. The
/// content is not checked.
///
/// # Errors
/// [`JournalError::Damaged`] without a place when it is missing or makes no sense, and what the store says.
pub(super) fn record_of(
    store: &Store,
    slot: u32,
    seq: u64,
    path: &Path,
) -> Result<(u64, Partial), JournalError> {
    let missing = || JournalError::damaged(path, "it is missing");
    let prefix = record::events_prefix(slot);
    let (key, value) =
        store.at_or_before(&prefix, &record::event_key(slot, seq, u16::MAX))?.ok_or_else(missing)?;
    let (first, chunk) = record::event_place(&key).ok_or_else(missing)?;
    let value = match chunk {
        0 => value,
        _ => store.get(&record::event_key(slot, first, 0))?.ok_or_else(missing)?,
    };
    let partial = Partial::begin(&value).map_err(|what| JournalError::damaged(path, what))?;
    if seq - first >= partial.events.len() as u64 {
        return Err(missing());
    }
    Ok((first, partial))
}

/// The chain's hash after an event, as its record has it.
///
/// # Errors
/// As [`record_of`].
pub(super) fn hash_of(store: &Store, slot: u32, seq: u64, path: &Path) -> Result<Hash, JournalError> {
    let (first, partial) = record_of(store, slot, seq, path)?;
    Ok(partial.events[usize::try_from(seq - first).expect("an event of this record")].0)
}

/// The events of a run in order. After an error it ends.
pub struct Stream<'a> {
    scan: Option<Scan<'a>>,
    run: Option<RunId>,
    path: PathBuf,
    next: u64,
    last: u64,
    before: Hash,
    /// What is left of the record that was read last.
    read: VecDeque<(Hash, Vec<u8>)>,
    failed: Option<JournalError>,
}

impl<'a> Stream<'a> {
    /// All events of one slot from `from` to `last`, whose hash is known to be `end` by the caller.
    pub(super) fn new(
        store: &'a Store,
        journal: &str,
        run: Option<&RunId>,
        slot: u32,
        from: u64,
        last: u64,
        path: &Path,
    ) -> Self {
        let from = from.max(1);
        let mut stream = Self {
            scan: None,
            run: run.cloned(),
            path: path.to_owned(),
            next: from,
            last,
            before: record::genesis(journal, run),
            read: VecDeque::new(),
            failed: None,
        };
        if from > last {
            return stream;
        }
        let mut scanned = from;
        if from > 1 {
            // The link to the event before is checked too; its own content is not read.
            match record_of(store, slot, from - 1, path) {
                Ok((first, partial)) => {
                    let mut events = VecDeque::from(partial.events);
                    let later = events.split_off(usize::try_from(from - first).expect("one record"));
                    stream.before = events.back().expect("the event before is in it").0;
                    // Events that share its record are read from there: such a record is whole in its one chunk.
                    scanned = from + later.len() as u64;
                    stream.read = later;
                }
                Err(e) => stream.failed = Some(stream.placed(from - 1, e)),
            }
        }
        let prefix = record::events_prefix(slot);
        stream.scan = Some(store.scan(&prefix, &record::event_key(slot, scanned, 0)));
        stream
    }

    /// A stream that only says why there is none.
    pub(super) fn failed(error: JournalError, before: Hash) -> Self {
        let (path, read) = (PathBuf::new(), VecDeque::new());
        Self { scan: None, run: None, path, next: 1, last: 1, before, read, failed: Some(error) }
    }

    fn damage(&self, seq: u64, what: String) -> JournalError {
        JournalError::Damaged { path: self.path.clone(), run: self.run.clone(), seq: Some(seq), what }
    }

    /// Adds the place to damage that the store found.
    fn placed(&self, seq: u64, error: JournalError) -> JournalError {
        match error {
            JournalError::Damaged { what, .. } => self.damage(seq, what),
            other => other,
        }
    }

    /// Reads the next event, and with the first of a record all of its chunks.
    fn step(&mut self) -> Result<Stored, JournalError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if self.read.is_empty() {
            self.record()?;
        }
        let seq = self.next;
        let (hash, body) = self.read.pop_front().expect("a record has an event");
        if record::chain(&self.before, seq, &body) != hash {
            return Err(self.damage(seq, "its content does not match its hash".to_owned()));
        }
        self.before = hash;
        self.next = seq + 1;
        Ok(Stored { seq, body, hash })
    }

    /// Reads the next record.
    fn record(&mut self) -> Result<(), JournalError> {
        let seq = self.next;
        let mut record: Option<Partial> = None;
        loop {
            let entry = self.scan.as_mut().and_then(Iterator::next);
            let Some(entry) = entry else {
                return Err(self.damage(seq, "it is missing".to_owned()));
            };
            let (key, value) = entry.map_err(|e| self.placed(seq, e))?;
            match (record::event_place(&key), &mut record) {
                (Some((found, 0)), none @ None) if found == seq => {
                    *none = Some(Partial::begin(&value).map_err(|what| self.damage(seq, what))?);
                }
                (Some((found, chunk)), Some(partial)) if found == seq => {
                    partial.push(chunk, &value).map_err(|what| self.damage(seq, what))?;
                }
                (Some((found, _)), None) => {
                    return Err(self.damage(seq, format!("it is missing, and event {found} comes instead")));
                }
                _ => return Err(self.damage(seq, "a part of it is missing".to_owned())),
            }
            if let Some(complete) = record.take_if(|partial| !partial.is_partial()) {
                complete.check_whole().map_err(|what| self.damage(seq, what))?;
                if complete.before != self.before {
                    return Err(self.damage(seq, "it does not follow the event before it".to_owned()));
                }
                self.read = complete.events.into();
                return Ok(());
            }
        }
    }
}

impl Iterator for Stream<'_> {
    type Item = Result<Stored, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next > self.last {
            return None;
        }
        let event = self.step();
        if event.is_err() {
            self.last = 0;
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout;
    use super::*;

    /// Stores four events whose second link can be bent, and reads them.
    fn read(bend: impl Fn(u64, &mut Hash, &mut Hash) -> bool) -> Result<Vec<Stored>, JournalError> {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        let run = RunId::try_from("p-1".to_owned()).unwrap();
        let mut before = record::genesis("j", Some(&run));
        for seq in 1..=4 {
            let mut link = before;
            let mut hash = record::chain(&link, seq, b"body");
            if bend(seq, &mut link, &mut hash) {
                let mut entries = Vec::new();
                layout::encode(&mut entries, 1, seq, &link, &[(hash, b"body")]);
                store.commit(entries).unwrap();
            }
            before = hash;
        }
        Stream::new(&store, "j", Some(&run), 1, 1, 4, folder.path()).collect()
    }

    fn damage(bend: impl Fn(u64, &mut Hash, &mut Hash) -> bool) -> (u64, String) {
        match read(bend) {
            Err(JournalError::Damaged { seq: Some(seq), what, .. }) => (seq, what),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_bent_link_is_named() {
        assert_eq!(read(|_, _, _| true).unwrap().len(), 4);
        // Whole in itself, but of another history.
        let (seq, what) = damage(|seq, link, hash| {
            if seq == 2 {
                *link = Hash([9; 32]);
                *hash = record::chain(link, 2, b"body");
            }
            true
        });
        assert_eq!((seq, what.as_str()), (2, "it does not follow the event before it"));
        // Its own hash is wrong.
        let (seq, what) = damage(|seq, _, hash| {
            hash.0[0] ^= u8::from(seq == 3);
            true
        });
        assert_eq!((seq, what.as_str()), (3, "its content does not match its hash"));
        // Gone: in the middle, and at the end.
        assert_eq!(damage(|seq, _, _| seq != 2), (2, "it is missing, and event 3 comes instead".to_owned()));
        assert_eq!(damage(|seq, _, _| seq != 4), (4, "it is missing".to_owned()));
    }

    /// Four events in one record, of which the bytes can be bent.
    fn read_one_record(from: u64, bend: impl FnOnce(&mut Vec<u8>)) -> Result<Vec<Stored>, JournalError> {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        let run = RunId::try_from("p-1".to_owned()).unwrap();
        let before = record::genesis("j", Some(&run));
        let mut link = before;
        let events = (1..).zip([b"one!", b"two!", b"tree", b"four"]).map(|(seq, body)| {
            link = record::chain(&link, seq, body);
            (link, &body[..])
        });
        let (mut entries, events) = (Vec::new(), events.collect::<Vec<_>>());
        layout::encode(&mut entries, 1, 1, &before, &events);
        assert_eq!(entries.len(), 1);
        bend(&mut entries[0].1);
        store.commit(entries).unwrap();
        Stream::new(&store, "j", Some(&run), 1, from, 4, folder.path()).collect()
    }

    #[test]
    fn damage_inside_a_record_is_named_by_its_event() {
        let at = |value: &[u8], word: &[u8]| value.windows(4).position(|found| found == word).unwrap();
        let bent = |from, word: &'static [u8], before: usize| match read_one_record(from, |value| {
            let at = at(value, word) - before;
            value[at] ^= 1;
        }) {
            Err(JournalError::Damaged { seq: Some(seq), what, .. }) => (seq, what),
            other => panic!("{other:?}"),
        };
        let content = |seq: u64| (seq, "its content does not match its hash".to_owned());
        assert_eq!(bent(1, b"tree", 0), content(3));
        assert_eq!(bent(1, b"tree", 1), content(3), "its hash");
        assert_eq!(bent(2, b"four", 0), content(4));
        // Of the event before, its hash alone is taken; so the one that follows does not fit a bent one.
        assert_eq!(bent(3, b"two!", 1), content(3));
        assert_eq!(read_one_record(3, |value| *value.last_mut().unwrap() = b'r').unwrap().len(), 2);
        // From the middle: the length of an event, and an event less.
        assert_eq!(bent(3, b"tree", 33), content(3));
        let less = read_one_record(4, |value| value[4] = 3).unwrap_err();
        assert!(matches!(less, JournalError::Damaged { seq: Some(3 | 4), .. }), "{less:?}");
    }

    #[test]
    fn every_event_of_a_record_can_be_the_first() {
        let whole = read_one_record(1, |_| ()).unwrap();
        for from in 1..=4 {
            let some = read_one_record(from, |_| ()).unwrap();
            assert_eq!(some[..], whole[usize::try_from(from - 1).unwrap()..]);
        }
    }
}
