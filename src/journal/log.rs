//! [`Journal`]: appending, reading, and the poison after a failure. `open.rs` opens it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive::Mark;
use super::bodies::Bodies;
use super::checkpoint;
use super::create::Layout;
use super::error::JournalError;
use super::filesystem::Warning;
use super::head::{Head, Place};
use super::layout::{self, Entry};
use super::lease::{Holder, Lease};
use super::lock::Lock;
use super::read::{self, Stored, Stream};
use super::record::{self, BODY_MAX, Hash};
use super::store::Store;
use crate::plan::recorded::FileRef;
use crate::plan::{PlanName, RunId};

/// The leases' place among the runs.
pub(super) const LEASES: u32 = 0;

/// How to open a journal.
#[derive(Debug, Clone)]
pub struct Options {
    /// Make folder and journal when they are missing; off: [`JournalError::NotFound`].
    pub create: bool,
    /// Who is opening it; goes into the lease.
    pub holder: Holder,
}

/// One event to append.
#[derive(Debug, Clone, Copy)]
pub struct Append<'a> {
    /// The run; made by [`Journal::new_run`].
    pub run: &'a RunId,
    /// Its place in the run: the last one plus 1, from 1. Later events of a run may stand in the same batch.
    pub seq: u64,
    /// The event, at most [`BODY_MAX`] bytes.
    pub body: &'a [u8],
}

/// A run and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunHead {
    /// The run.
    pub run: RunId,
    /// Its last event; 0 when it has none yet.
    pub last_seq: u64,
}

/// The end of one chain, as this process knows it.
#[derive(Debug, Clone)]
pub(super) struct Tail {
    pub(super) slot: u32,
    pub(super) last_seq: u64,
    pub(super) hash: Hash,
}

/// Events checked and encoded, to be written as one.
#[derive(Debug, Default)]
pub(super) struct Group {
    entries: Vec<Entry>,
    moved: HashMap<RunId, Tail>,
    events: u64,
    last: Option<(u32, u64, Hash)>,
}

/// The open journal of a state folder. Its one owner calls it from one thread; every call blocks.
///
/// Dropping it closes it: nothing that was acknowledged needs the drop. The lock ends with it.
#[derive(Debug)]
pub struct Journal {
    pub(super) folder: PathBuf,
    pub(super) store: Store,
    pub(super) head: Head,
    /// The place reached, until the head file says so.
    pub(super) reached: Option<Place>,
    pub(super) id: String,
    pub(super) id_bytes: [u8; 16],
    pub(super) token: u64,
    pub(super) leases: Tail,
    pub(super) runs: HashMap<RunId, Tail>,
    /// What is in the archive and no longer in the database.
    pub(super) archived: HashMap<RunId, Mark>,
    /// In order of creation.
    pub(super) order: Vec<RunId>,
    pub(super) records: u64,
    pub(super) poison: Option<Arc<JournalError>>,
    pub(super) bodies: Bodies,
    pub(super) warnings: Vec<Warning>,
    // Last, so that it is let go after the store.
    pub(super) lock: Option<Lock>,
}

impl Journal {
    /// Writes entries and syncs them; the place reached is noted when it is [settled](Self::settle_head). Any failure poisons.
    pub(super) fn commit(
        &mut self,
        entries: Vec<Entry>,
        records: u64,
        slot: u32,
        seq: u64,
        hash: Hash,
    ) -> Result<(), JournalError> {
        self.check_poison()?;
        let place = Place { records: self.records + records, token: self.token, slot, seq, hash };
        let done = self.store.commit(entries);
        if done.is_ok() {
            self.records = place.records;
            self.reached = Some(place);
        }
        self.poisoning(done)
    }

    pub(super) fn check_poison(&self) -> Result<(), JournalError> {
        match &self.poison {
            Some(source) => {
                Err(JournalError::Poisoned { folder: self.folder.clone(), source: source.clone() })
            }
            None => Ok(()),
        }
    }

    /// Passes a result on; a failure of the disk is the last thing this process writes.
    pub(super) fn poisoning<T>(&mut self, result: Result<T, JournalError>) -> Result<T, JournalError> {
        if let Err(e) = &result
            && e.poisons()
        {
            self.poison = Some(Arc::new(e.clone()));
            self.store.seal();
        }
        result
    }

    /// This journal's random id, made when it was created: 32 hex digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The state folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// This holder's fencing token: higher than that of everybody who held the journal before.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Everybody who held the journal, oldest first; the last one is this holder.
    ///
    /// # Errors
    /// [`JournalError::Damaged`], as in [`read`](Self::read).
    pub fn lease_history(&self) -> Result<Vec<Lease>, JournalError> {
        let path = Layout::of(&self.folder).sled();
        Stream::new(&self.store, &self.id, None, LEASES, 1, self.leases.last_seq, &path)
            .map(|stored| {
                let stored = stored?;
                serde_json::from_slice(&stored.body).map_err(|_| JournalError::Damaged {
                    path: path.clone(),
                    run: None,
                    seq: Some(stored.seq),
                    what: "it makes no sense".to_owned(),
                })
            })
            .collect()
    }

    /// Appends events, of one run or of several, all of them or none. When it returns, they are on stable storage.
    ///
    /// After a crash before it returns, all of them are there or none is. An empty batch does nothing.
    ///
    /// # Errors
    /// [`NoSuchRun`](JournalError::NoSuchRun), [`OutOfOrder`](JournalError::OutOfOrder) and
    /// [`TooLarge`](JournalError::TooLarge): nothing was written and the journal is as good as before.
    /// [`DiskFull`](JournalError::DiskFull), [`Io`](JournalError::Io), [`Damaged`](JournalError::Damaged): the
    /// journal is poisoned; from then on [`Poisoned`](JournalError::Poisoned).
    pub fn append(&mut self, batch: &[Append<'_>]) -> Result<(), JournalError> {
        self.check_poison()?;
        let mut group = Group::default();
        // Events of one run that follow each other share a record.
        for events in batch.chunk_by(|a, b| a.run == b.run && b.seq == a.seq.wrapping_add(1)) {
            self.stage(&mut group, events[0].run, events[0].seq, events.iter().map(|event| event.body))?;
        }
        self.commit_group(group)
    }

    /// Adds events of one run to a group: all of them, or none when one is refused.
    pub(super) fn stage<'b>(
        &self,
        group: &mut Group,
        run: &RunId,
        first_seq: u64,
        bodies: impl IntoIterator<Item = &'b [u8]>,
    ) -> Result<(), JournalError> {
        if self.archived.contains_key(run) {
            return Err(JournalError::Archived { run: run.clone() });
        }
        let known = group.moved.get(run).or_else(|| self.runs.get(run));
        let mut tail = known.cloned().ok_or_else(|| JournalError::NoSuchRun { run: run.clone() })?;
        let (before, mut events) = (tail.hash, Vec::new());
        for (seq, body) in (first_seq..).zip(bodies) {
            if seq != tail.last_seq + 1 {
                let expected = tail.last_seq + 1;
                return Err(JournalError::OutOfOrder { run: run.clone(), expected, given: seq });
            }
            if body.len() > BODY_MAX {
                let (run, bytes, max) = (run.clone(), body.len() as u64, BODY_MAX as u64);
                return Err(JournalError::TooLarge { run, seq, bytes, max });
            }
            let hash = record::chain(&tail.hash, seq, body);
            (tail.last_seq, tail.hash) = (seq, hash);
            events.push((hash, body));
        }
        if !events.is_empty() {
            group.events += events.len() as u64;
            group.last = Some((tail.slot, tail.last_seq, tail.hash));
            layout::encode(&mut group.entries, tail.slot, first_seq, &before, &events);
        }
        group.moved.insert(run.clone(), tail);
        Ok(())
    }

    /// Writes a group, as [`append`](Self::append) promises.
    pub(super) fn commit_group(&mut self, group: Group) -> Result<(), JournalError> {
        self.check_poison()?;
        let Some((slot, seq, hash)) = group.last else { return Ok(()) };
        self.commit(group.entries, group.events, slot, seq, hash)?;
        self.runs.extend(group.moved);
        Ok(())
    }

    /// Notes the place reached in the head file and syncs it, so that losing the journal's tail would be noticed from now on. Called before a command
    /// returns or prints a state, at gates and soaks, and once a second; costs nothing when nothing is new.
    ///
    /// # Errors
    /// [`JournalError::Io`], which poisons, and [`JournalError::Poisoned`].
    pub fn settle_head(&mut self) -> Result<(), JournalError> {
        self.check_poison()?;
        let noted = self.reached.take().map_or(Ok(()), |place| self.head.note(&place));
        let settled = noted.and_then(|()| self.head.settle());
        self.poisoning(settled)
    }

    /// Whether [`settle_head`](Self::settle_head) has something to do.
    pub fn is_unsettled(&self) -> bool {
        self.poison.is_none() && (self.reached.is_some() || self.head.is_unsettled())
    }

    /// Begins a run of a plan and names it: `name-1`, `name-2`, … On stable storage when it returns; a number is
    /// never given twice.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn new_run(&mut self, plan: &PlanName) -> Result<RunId, JournalError> {
        self.check_poison()?;
        let path = Layout::of(&self.folder).sled();
        let damaged = |what: &str| JournalError::damaged(&path, what);
        let key = record::number_key(plan.as_str());
        let number = match self.store.get(&key)? {
            None => 1,
            Some(value) => {
                let last =
                    <[u8; 4]>::try_from(&value[..]).map_err(|_| damaged("a run's number makes no sense"))?;
                u32::from_be_bytes(last).checked_add(1).ok_or_else(|| damaged("run numbers are used up"))?
            }
        };
        let run = RunId::new(plan.clone(), number);
        let slot = self.order.last().map_or(LEASES, |run| self.runs[run].slot) + 1;
        let hash = record::genesis(&self.id, Some(&run));
        let entries = vec![
            (record::run_key(slot).to_vec(), run.to_string().into_bytes()),
            (key, number.to_be_bytes().to_vec()),
        ];
        self.commit(entries, 1, slot, 0, hash)?;
        self.runs.insert(run.clone(), Tail { slot, last_seq: 0, hash });
        self.order.push(run.clone());
        Ok(run)
    }

    /// All runs, archived ones included, in order of creation.
    ///
    /// # Errors
    /// None today; kept for journals whose runs are not all known by heart.
    pub fn runs(&self) -> Result<Vec<RunHead>, JournalError> {
        Ok(self
            .order
            .iter()
            .filter(|run| self.archived.get(run).is_none_or(|mark| !mark.pruned))
            .map(|run| RunHead { run: run.clone(), last_seq: self.runs[run].last_seq })
            .collect())
    }

    /// Reads a run's events in order, from `from` (0 and 1 are the first), each checked against the one before; of an
    /// archived one from its file.
    ///
    /// # Errors
    /// As the items of [`read`](Self::read).
    pub fn read_some(&self, run: &RunId, from: u64, limit: u64) -> Result<Vec<Stored>, JournalError> {
        match self.archived.get(run) {
            Some(mark) if mark.pruned => Err(JournalError::NoSuchRun { run: run.clone() }),
            Some(_) => self.read_archive(run, from, limit),
            None => self.read(run, from).take(usize::try_from(limit).unwrap_or(usize::MAX)).collect(),
        }
    }

    /// Reads the events of a run in the database in order, from `from` (0 and 1 are the first), each checked against the
    /// one before.
    ///
    /// # Errors
    /// Items: [`NoSuchRun`](JournalError::NoSuchRun), [`Damaged`](JournalError::Damaged),
    /// [`Io`](JournalError::Io). After an error there are no further items.
    pub fn read(&self, run: &RunId, from: u64) -> Stream<'_> {
        let path = Layout::of(&self.folder).sled();
        match self.runs.get(run) {
            Some(tail) => {
                Stream::new(&self.store, &self.id, Some(run), tail.slot, from, tail.last_seq, &path)
            }
            None => Stream::failed(JournalError::NoSuchRun { run: run.clone() }, self.leases.hash),
        }
    }

    /// The last event of a run and the chain's hash after it; none for a run without events.
    pub(super) fn last(&self, run: &RunId) -> Option<(u64, Hash)> {
        self.runs.get(run).filter(|tail| tail.last_seq > 0).map(|tail| (tail.last_seq, tail.hash))
    }

    /// The chain's hash after an event, from the store.
    pub(super) fn hash_at(&self, run: &RunId, seq: u64) -> Option<Hash> {
        let tail = self.runs.get(run)?;
        if seq == tail.last_seq {
            return Some(tail.hash);
        }
        read::hash_of(&self.store, tail.slot, seq, &Layout::of(&self.folder).sled()).ok()
    }

    /// Keeps a folded state of the run as of event `seq`, in place of the one before. Not synced and never the
    /// truth: losing it costs time.
    ///
    /// # Errors
    /// [`NoSuchRun`](JournalError::NoSuchRun), also for an event that is not there, and [`Io`](JournalError::Io),
    /// [`DiskFull`](JournalError::DiskFull), which do not poison.
    pub fn checkpoint(&mut self, run: &RunId, seq: u64, body: &[u8]) -> Result<(), JournalError> {
        self.check_poison()?;
        let hash = self.hash_at(run, seq).ok_or_else(|| JournalError::NoSuchRun { run: run.clone() })?;
        checkpoint::write(&self.folder, self.id_bytes, run, seq, &hash, body)
    }

    /// The newest checkpoint of a run: the event it stands after and the state. None when there is none, and when
    /// it does not fit the journal to the last byte.
    pub fn latest_checkpoint(&self, run: &RunId) -> Option<(u64, Vec<u8>)> {
        let (seq, hash, body) = checkpoint::read(&self.folder, self.id_bytes, run)?;
        (self.hash_at(run, seq)? == hash).then_some((seq, body))
    }

    /// Stores a large content, see [`Bodies::put`].
    ///
    /// # Errors
    /// As [`Bodies::put`].
    pub fn put_body(&self, bytes: &[u8]) -> Result<FileRef, JournalError> {
        self.check_poison()?;
        self.bodies.put(bytes)
    }

    /// Reads a large content, see [`Bodies::get`].
    ///
    /// # Errors
    /// As [`Bodies::get`].
    pub fn get_body(&self, r: &FileRef) -> Result<Vec<u8>, JournalError> {
        self.bodies.get(r)
    }

    /// What a person should know about the state folder; looked at once, at opening.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if self.poison.is_some() {
            // sled is left as it stands, with its file locked, until this process ends; so is the journal.
            std::mem::forget(self.lock.take());
        } else {
            // Nothing that was promised needs it: a failure is for the next one who opens the journal to find.
            drop(self.reached.take().map(|place| self.head.note(&place)));
        }
    }
}
