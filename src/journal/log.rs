//! [`Journal`]: opening, appending, and what must hold between the two.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bodies::Bodies;
use super::create::{self, Layout, Meta};
use super::error::JournalError;
use super::filesystem::{self, Warning};
use super::head::{Head, Place};
use super::lease::{Holder, Lease};
use super::lock::Lock;
use super::read::Stream;
use super::record::{self, BODY_MAX, Hash, META, Partial, RUNS};
use super::store::Store;
use super::{checkpoint, files};
use crate::plan::recorded::FileRef;
use crate::plan::{PlanName, RunId};

/// The leases' place among the runs.
const LEASES: u32 = 0;

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
struct Tail {
    slot: u32,
    last_seq: u64,
    hash: Hash,
}

/// Events checked and encoded, to be written as one.
#[derive(Debug, Default)]
pub(super) struct Group {
    entries: Vec<(Vec<u8>, Vec<u8>)>,
    moved: HashMap<RunId, Tail>,
    events: u64,
    last: Option<(u32, u64, Hash)>,
}

/// The open journal of a state folder. Its one owner calls it from one thread; every call blocks.
///
/// Dropping it closes it: nothing that was acknowledged needs the drop. The lock ends with it.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    store: Store,
    head: Head,
    id: String,
    id_bytes: [u8; 16],
    token: u64,
    leases: Tail,
    runs: HashMap<RunId, Tail>,
    /// In order of creation.
    order: Vec<RunId>,
    records: u64,
    poison: Option<Arc<JournalError>>,
    bodies: Bodies,
    warnings: Vec<Warning>,
    // Last, so that it is let go after the store.
    lock: Option<Lock>,
}

impl Journal {
    /// Opens the journal in a state folder and appends a lease with a fencing token above all before it.
    ///
    /// A crash during creation leaves no journal or a whole empty one; a crash later loses nothing acknowledged.
    ///
    /// # Errors
    /// [`NotFound`](JournalError::NotFound), [`Held`](JournalError::Held), [`Newer`](JournalError::Newer),
    /// [`NotAFolder`](JournalError::NotAFolder): nothing was written. [`Damaged`](JournalError::Damaged): what is
    /// stored does not hold together or lacks what was acknowledged. [`DiskFull`](JournalError::DiskFull),
    /// [`Io`](JournalError::Io): no lease, so no holder.
    pub fn open(folder: &Path, options: &Options) -> Result<Self, JournalError> {
        let layout = Layout::of(folder);
        match fs::metadata(folder) {
            Ok(found) if !found.is_dir() => return Err(JournalError::NotAFolder { path: folder.to_owned() }),
            Ok(_) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && options.create => {
                files::create_folders(folder)?;
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(JournalError::NotFound { folder: folder.to_owned() });
            }
            Err(e) => return Err(JournalError::io("look at", folder, e)),
        }
        // Before the lock, which would be made: a newer journal and an empty folder stay as they are.
        if layout.exists()? {
            layout.check_version(folder)?;
        } else if !options.create {
            return Err(JournalError::NotFound { folder: folder.to_owned() });
        }
        let lock = Lock::take(folder)?;
        create::clear_leftovers(folder)?;
        let bodies = Bodies::at(folder);
        bodies.clear_unfinished()?;
        // Again: another process may have made it, or written it anew, before we had the lock.
        if layout.exists()? {
            layout.check_version(folder)?;
        } else if options.create {
            create::create(folder)?;
        } else {
            return Err(JournalError::NotFound { folder: folder.to_owned() });
        }
        layout.check_parts()?;
        let store = match Store::open(&layout.sled()) {
            Err(JournalError::Io { source, .. }) if source.to_string().contains("could not acquire lock") => {
                return Err(JournalError::Held { folder: folder.to_owned(), pid: None });
            }
            other => other?,
        };
        let mut journal = Self::recover(folder, &layout, store, lock, bodies)?;
        journal.warnings = filesystem::warnings(folder)?;
        journal.lease(options.holder.clone())?;
        Ok(journal)
    }

    /// Reads what there is, and compares it with what the head file has seen.
    fn recover(
        folder: &Path,
        layout: &Layout,
        store: Store,
        lock: Lock,
        bodies: Bodies,
    ) -> Result<Self, JournalError> {
        let mut store = store;
        match Self::recover_parts(folder, layout, &store) {
            Ok((meta, id_bytes, head, leases, runs, order, records, token)) => Ok(Self {
                folder: folder.to_owned(),
                store,
                head,
                id: meta.id,
                id_bytes,
                token,
                leases,
                runs,
                order,
                records,
                poison: None,
                bodies,
                warnings: Vec::new(),
                lock: Some(lock),
            }),
            Err(e) => {
                // What is damaged is left exactly as it is.
                store.seal();
                Err(e)
            }
        }
    }

    #[expect(clippy::type_complexity, reason = "taken apart at once by its one caller")]
    fn recover_parts(
        folder: &Path,
        layout: &Layout,
        store: &Store,
    ) -> Result<(Meta, [u8; 16], Head, Tail, HashMap<RunId, Tail>, Vec<RunId>, u64, u64), JournalError> {
        let path = layout.sled();
        let damaged = |what: &str| JournalError::damaged(&path, what);
        let meta = store.get(META)?.ok_or_else(|| damaged("its own record is missing"))?;
        let meta: Meta =
            serde_json::from_slice(&meta).map_err(|_| damaged("its own record makes no sense"))?;
        create::check_format(folder, meta.format)?;
        let id_bytes = meta.id_bytes().ok_or_else(|| damaged("its id makes no sense"))?;
        let (head, place) = Head::open(&layout.head(), id_bytes)?;

        let leases = tail(store, &path, &meta.id, None, LEASES)?;
        let mut token = place.token;
        if leases.last_seq > 0 {
            let last = Stream::new(store, &meta.id, None, LEASES, leases.last_seq, leases.last_seq, &path)
                .next()
                .ok_or_else(|| damaged("the last lease is missing"))??;
            let last: Lease =
                serde_json::from_slice(&last.body).map_err(|_| damaged("the last lease makes no sense"))?;
            token = token.max(last.token);
        }
        let (mut runs, mut order, mut records) = (HashMap::new(), Vec::new(), leases.last_seq);
        for entry in store.scan(RUNS, RUNS) {
            let (key, name) = entry?;
            let slot = record::run_slot(&key).ok_or_else(|| damaged("the key of a run makes no sense"))?;
            let run = std::str::from_utf8(&name)
                .ok()
                .and_then(|name| RunId::try_from(name.to_owned()).ok())
                .ok_or_else(|| damaged("the name of a run makes no sense"))?;
            let tail = tail(store, &path, &meta.id, Some(&run), slot)?;
            records += 1 + tail.last_seq;
            order.push(run.clone());
            runs.insert(run, tail);
        }
        check_head(store, &path, &place, records)?;
        Ok((meta, id_bytes, head, leases, runs, order, records, token))
    }

    /// Appends this holder's lease.
    fn lease(&mut self, holder: Holder) -> Result<(), JournalError> {
        self.token += 1;
        let body = serde_json::to_vec(&Lease { token: self.token, holder }).expect("plain fields");
        let (seq, before) = (self.leases.last_seq + 1, self.leases.hash);
        let hash = record::chain(&before, seq, &body);
        let mut entries = Vec::new();
        push_event(&mut entries, LEASES, seq, &before, &hash, &body);
        self.leases = Tail { slot: LEASES, last_seq: seq, hash };
        self.commit(entries, 1, LEASES, seq, hash)
    }

    /// Writes entries, syncs them, and notes the place reached. Any failure poisons.
    fn commit(
        &mut self,
        entries: Vec<(Vec<u8>, Vec<u8>)>,
        records: u64,
        slot: u32,
        seq: u64,
        hash: Hash,
    ) -> Result<(), JournalError> {
        self.check_poison()?;
        let place = Place { records: self.records + records, token: self.token, slot, seq, hash };
        let done = self.store.commit(entries).and_then(|()| self.head.note(&place));
        if done.is_ok() {
            self.records = place.records;
        }
        self.poisoning(done)
    }

    fn check_poison(&self) -> Result<(), JournalError> {
        match &self.poison {
            Some(source) => {
                Err(JournalError::Poisoned { folder: self.folder.clone(), source: source.clone() })
            }
            None => Ok(()),
        }
    }

    /// Passes a result on; a failure of the disk is the last thing this process writes.
    fn poisoning<T>(&mut self, result: Result<T, JournalError>) -> Result<T, JournalError> {
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
        for event in batch {
            self.stage(&mut group, event.run, event.seq, [event.body])?;
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
        let known = group.moved.get(run).or_else(|| self.runs.get(run));
        let mut tail = known.cloned().ok_or_else(|| JournalError::NoSuchRun { run: run.clone() })?;
        let (mut entries, mut events, mut last) = (Vec::new(), 0, None);
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
            push_event(&mut entries, tail.slot, seq, &tail.hash, &hash, body);
            (tail.last_seq, tail.hash) = (seq, hash);
            events += 1;
            last = Some((tail.slot, seq, hash));
        }
        group.events += events;
        group.last = last.or(group.last);
        group.entries.append(&mut entries);
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

    /// Syncs the head file, so that losing the journal's tail would be noticed from now on. Called before a command
    /// returns or prints a state, at gates and soaks, and once a second; costs nothing when nothing is new.
    ///
    /// # Errors
    /// [`JournalError::Io`], which poisons, and [`JournalError::Poisoned`].
    pub fn settle_head(&mut self) -> Result<(), JournalError> {
        self.check_poison()?;
        let settled = self.head.settle();
        self.poisoning(settled)
    }

    /// Whether [`settle_head`](Self::settle_head) has something to do.
    pub fn is_unsettled(&self) -> bool {
        self.poison.is_none() && self.head.is_unsettled()
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

    /// All runs, in order of creation.
    ///
    /// # Errors
    /// None today; kept for journals whose runs are not all known by heart.
    pub fn runs(&self) -> Result<Vec<RunHead>, JournalError> {
        Ok(self
            .order
            .iter()
            .map(|run| RunHead { run: run.clone(), last_seq: self.runs[run].last_seq })
            .collect())
    }

    /// Reads a run's events in order, from `from` (0 and 1 are the first), each checked against the one before.
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

    /// The chain's hash after an event, from the store.
    fn hash_at(&self, run: &RunId, seq: u64) -> Option<Hash> {
        let tail = self.runs.get(run)?;
        if seq == tail.last_seq {
            return Some(tail.hash);
        }
        let value = self.store.get(&record::event_key(tail.slot, seq, 0)).ok()??;
        Some(Partial::begin(&value).ok()?.hash)
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
        }
    }
}

/// Adds the entries of one event.
fn push_event(
    entries: &mut Vec<(Vec<u8>, Vec<u8>)>,
    slot: u32,
    seq: u64,
    before: &Hash,
    hash: &Hash,
    body: &[u8],
) {
    for (chunk, value) in (0..).zip(record::encode(before, hash, body)) {
        entries.push((record::event_key(slot, seq, chunk).to_vec(), value));
    }
}

/// Finds the end of a chain.
fn tail(
    store: &Store,
    path: &Path,
    journal: &str,
    run: Option<&RunId>,
    slot: u32,
) -> Result<Tail, JournalError> {
    let damaged = |seq, what: &str| JournalError::Damaged {
        path: path.to_owned(),
        run: run.cloned(),
        seq,
        what: what.to_owned(),
    };
    let Some((key, _)) = store.last(&record::events_prefix(slot))? else {
        return Ok(Tail { slot, last_seq: 0, hash: record::genesis(journal, run) });
    };
    let (last_seq, _) = record::event_place(&key).ok_or_else(|| damaged(None, "a key makes no sense"))?;
    let first = store.get(&record::event_key(slot, last_seq, 0))?;
    let hash = first.and_then(|value| Partial::begin(&value).ok()).map(|partial| partial.hash);
    Ok(Tail { slot, last_seq, hash: hash.ok_or_else(|| damaged(Some(last_seq), "it cannot be read"))? })
}

/// Refuses a journal that lacks what its head file has seen.
fn check_head(store: &Store, path: &Path, place: &Place, records: u64) -> Result<(), JournalError> {
    let lost = |what: String| Err(JournalError::damaged(path, what));
    if place.records > records {
        return lost(format!(
            "it lacks {} of {} acknowledged records",
            place.records - records,
            place.records
        ));
    }
    if place.seq == 0 {
        return Ok(());
    }
    let found = store.get(&record::event_key(place.slot, place.seq, 0))?;
    if found.and_then(|value| Partial::begin(&value).ok()).is_none_or(|partial| partial.hash != place.hash) {
        return lost("the last acknowledged record is not in it".to_owned());
    }
    Ok(())
}
