//! Opening a journal: lock, version, creation, the comparison with the head file, and the lease.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::archive::Mark;
use super::bodies::Bodies;
use super::create::{self, Layout, Meta};
use super::error::JournalError;
use super::head::{Head, Place};
use super::lease::{Holder, Lease};
use super::lock::Lock;
use super::log::{Journal, LEASES, Options, Tail};
use super::read::{self, Stream};
use super::record::{self, META, RUNS};
use super::store::Store;
use super::{FORMAT, files, filesystem, layout};
use crate::plan::RunId;

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
        let format = if layout.exists()? {
            layout.check_version(folder)?
        } else if options.create {
            create::create(folder)?;
            FORMAT
        } else {
            return Err(JournalError::NotFound { folder: folder.to_owned() });
        };
        layout.check_parts()?;
        let store = match Store::open(&layout.sled()) {
            Err(JournalError::Io { source, .. }) if source.to_string().contains("could not acquire lock") => {
                return Err(JournalError::Held { folder: folder.to_owned(), pid: None });
            }
            other => other?,
        };
        let mut journal = Self::recover(folder, &layout, format, store, lock, bodies)?;
        journal.store.is_sound();
        journal.warnings = filesystem::warnings(folder)?;
        if format < FORMAT {
            // Before the first record that an older binary could not read; what is there stays as it is.
            layout.raise_version(journal.id_bytes)?;
            journal.store.join(&layout.wal(), journal.id_bytes)?;
        }
        journal.lease(options.holder.clone())?;
        Ok(journal)
    }

    /// Reads what there is, and compares it with what the head file has seen.
    fn recover(
        folder: &Path,
        layout: &Layout,
        format: u32,
        store: Store,
        lock: Lock,
        bodies: Bodies,
    ) -> Result<Self, JournalError> {
        let mut store = store;
        match Self::recover_parts(folder, layout, format, &mut store) {
            Ok((meta, id_bytes, head, leases, runs, archived, order, records, token)) => Ok(Self {
                folder: folder.to_owned(),
                store,
                head,
                reached: None,
                id: meta.id,
                id_bytes,
                token,
                leases,
                runs,
                archived,
                order,
                records,
                poison: None,
                bodies,
                warnings: Vec::new(),
                lock: Some(lock),
            }),
            Err(e) => {
                // What is damaged is left exactly as it is.
                store.is_damaged();
                Err(e)
            }
        }
    }

    #[expect(clippy::type_complexity, reason = "taken apart at once by its one caller")]
    fn recover_parts(
        folder: &Path,
        layout: &Layout,
        format: u32,
        store: &mut Store,
    ) -> Result<
        (Meta, [u8; 16], Head, Tail, HashMap<RunId, Tail>, HashMap<RunId, Mark>, Vec<RunId>, u64, u64),
        JournalError,
    > {
        let path = layout.sled();
        let damaged = |what: &str| JournalError::damaged(&path, what);
        let meta = store.get(META)?.ok_or_else(|| damaged("its own record is missing"))?;
        let meta: Meta =
            serde_json::from_slice(&meta).map_err(|_| damaged("its own record makes no sense"))?;
        create::check_format(folder, meta.format)?;
        let id_bytes = meta.id_bytes().ok_or_else(|| damaged("its id makes no sense"))?;
        let (head, place) = Head::open(&layout.head(), id_bytes)?;
        if format == FORMAT {
            store.join(&layout.wal(), id_bytes)?;
        }
        let store = &*store;

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
        let mut archived = HashMap::new();
        for entry in store.scan(RUNS, RUNS) {
            let (key, name) = entry?;
            let slot = record::run_slot(&key).ok_or_else(|| damaged("the key of a run makes no sense"))?;
            let run = std::str::from_utf8(&name)
                .ok()
                .and_then(|name| RunId::try_from(name.to_owned()).ok())
                .ok_or_else(|| damaged("the name of a run makes no sense"))?;
            let tail = match store.get(&record::mark_key(slot))? {
                Some(mark) => {
                    let damaged = || damaged("the mark of an archived run makes no sense");
                    let mark: Mark = serde_json::from_slice(&mark).map_err(|_| damaged())?;
                    let tail = mark.tail(slot).ok_or_else(damaged)?;
                    archived.insert(run.clone(), mark);
                    tail
                }
                None => tail(store, &path, &meta.id, Some(&run), slot)?,
            };
            records += 1 + tail.last_seq;
            order.push(run.clone());
            runs.insert(run, tail);
        }
        check_head(store, &path, &place, records)?;
        Ok((meta, id_bytes, head, leases, runs, archived, order, records, token))
    }

    /// Appends this holder's lease.
    fn lease(&mut self, holder: Holder) -> Result<(), JournalError> {
        self.token += 1;
        let body = serde_json::to_vec(&Lease { token: self.token, holder }).expect("plain fields");
        let (seq, before) = (self.leases.last_seq + 1, self.leases.hash);
        let hash = record::chain(&before, seq, &body);
        let mut entries = Vec::new();
        layout::encode(&mut entries, LEASES, seq, &before, &[(hash, &body)]);
        self.leases = Tail { slot: LEASES, last_seq: seq, hash };
        self.commit(entries, 1, LEASES, seq, hash)
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
    let (seq, _) = record::event_place(&key).ok_or_else(|| damaged(None, "a key makes no sense"))?;
    let (first, record) = read::record_of(store, slot, seq, path).map_err(|e| match e {
        JournalError::Damaged { .. } => damaged(Some(seq), "it cannot be read"),
        other => other,
    })?;
    let last_seq = first + record.events.len() as u64 - 1;
    Ok(Tail { slot, last_seq, hash: record.events.last().expect("a record has an event").0 })
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
    match read::hash_of(store, place.slot, place.seq, path) {
        Ok(hash) if hash == place.hash => Ok(()),
        Ok(_) | Err(JournalError::Damaged { .. }) => {
            lost("the last acknowledged record is not in it".to_owned())
        }
        Err(e) => Err(e),
    }
}
