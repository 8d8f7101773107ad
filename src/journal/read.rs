//! Reading a run back, checked link by link.

use super::error::JournalError;
use super::record::{self, Hash, Partial};
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

/// The events of a run in order. After an error it ends.
pub struct Stream<'a> {
    scan: Option<Scan<'a>>,
    run: Option<RunId>,
    path: std::path::PathBuf,
    next: u64,
    last: u64,
    before: Hash,
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
        path: &std::path::Path,
    ) -> Self {
        let from = from.max(1);
        let mut stream = Self {
            scan: None,
            run: run.cloned(),
            path: path.to_owned(),
            next: from,
            last,
            before: record::genesis(journal, run),
            failed: None,
        };
        if from > last {
            return stream;
        }
        if from > 1 {
            // The link to the event before is checked too; its own content is not read.
            match store.get(&record::event_key(slot, from - 1, 0)) {
                Ok(Some(value)) => match Partial::begin(&value) {
                    Ok(partial) => stream.before = partial.hash,
                    Err(what) => stream.failed = Some(stream.damage(from - 1, what)),
                },
                Ok(None) => stream.failed = Some(stream.damage(from - 1, "it is missing".to_owned())),
                Err(e) => stream.failed = Some(stream.placed(from - 1, e)),
            }
        }
        let prefix = record::events_prefix(slot);
        stream.scan = Some(store.scan(&prefix, &record::event_key(slot, from, 0)));
        stream
    }

    /// A stream that only says why there is none.
    pub(super) fn failed(error: JournalError, before: Hash) -> Self {
        let path = std::path::PathBuf::new();
        Self { scan: None, run: None, path, next: 1, last: 1, before, failed: Some(error) }
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

    /// Reads the next event with all its chunks.
    fn step(&mut self) -> Result<Stored, JournalError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let seq = self.next;
        let mut event: Option<Partial> = None;
        loop {
            let entry = self.scan.as_mut().and_then(Iterator::next);
            let Some(entry) = entry else {
                return Err(self.damage(seq, "it is missing".to_owned()));
            };
            let (key, value) = entry.map_err(|e| self.placed(seq, e))?;
            match (record::event_place(&key), &mut event) {
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
            if let Some(complete) = event.take_if(|partial| !partial.is_partial()) {
                complete.verify(seq).map_err(|what| self.damage(seq, what))?;
                if complete.before != self.before {
                    return Err(self.damage(seq, "it does not follow the event before it".to_owned()));
                }
                self.before = complete.hash;
                self.next = seq + 1;
                return Ok(Stored { seq, body: complete.body, hash: complete.hash });
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
    use super::*;

    /// Stores four events whose second link can be bent, and reads them.
    fn read(bend: impl Fn(u64, &mut Hash, &mut Hash) -> bool) -> Result<Vec<Stored>, JournalError> {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let run = RunId::try_from("p-1".to_owned()).unwrap();
        let mut before = record::genesis("j", Some(&run));
        for seq in 1..=4 {
            let mut link = before;
            let mut hash = record::chain(&link, seq, b"body");
            if bend(seq, &mut link, &mut hash) {
                let value = record::encode(&link, &hash, b"body").remove(0);
                store.commit(vec![(record::event_key(1, seq, 0).to_vec(), value)]).unwrap();
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
}
