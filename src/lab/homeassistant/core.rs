//! The core while it runs: entries in memory, their set-up and polling, the save that is due, the flows.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::Port;
use super::entry::{Entry, State};
use super::flows::Flow;
use super::frigate::{self, NoView};
use super::{Release, Shared, broker, complain, entities, routes, storage};

/// How often is seen to a save that is due, and to cameras that come and go without a change of their entry.
const TICK: Duration = Duration::from_millis(25);

/// How long a requested reload takes to begin: the answer to the request is out before.
const RELOADS_AFTER: Duration = Duration::from_millis(60);

/// How long a request in flight may take to end when it goes.
const GOES_WITHIN: Duration = Duration::from_secs(2);

/// A core that runs.
#[derive(Debug)]
pub(super) struct Core {
    inner: Arc<Inner>,
    close: watch::Sender<bool>,
    served: JoinHandle<()>,
    ticks: JoinHandle<()>,
    /// Its client of the broker, where there is one.
    broker: Option<JoinHandle<()>>,
}

/// What its requests and tasks share.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) shared: Arc<Shared>,
    memory: Mutex<Memory>,
    set_ups: Mutex<BTreeMap<String, JoinHandle<()>>>,
}

/// What is gone when it ends.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) entries: Vec<Entry>,
    pub(super) flows: BTreeMap<String, Flow>,
    pub(super) running: bool,
    save_at: Option<Instant>,
    made: u64,
}

impl Core {
    /// Reads the file, or takes what it had in memory when its process was killed, and answers from then on.
    pub(super) async fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let listener = shared.port.listen()?;
        let release = shared.release();
        let unsaved = shared.store.look(|stored| stored.unsaved.clone());
        let is_due = unsaved.is_some();
        let mut entries = match unsaved {
            Some(entries) => entries.into_iter().map(Entry::of).collect(),
            None => storage::read(&shared.folder)?,
        };
        let mut made_backup = false;
        if release == Release::Reconfigures && !entries.iter().any(|entry| entry.domain() == "backup") {
            let backup = json!({ "domain": "backup", "source": "system", "title": "Backup",
                "entry_id": "01M8311XTRJ3TAS9KVZSVZAJ62" });
            if let Value::Object(backup) = backup {
                entries.push(Entry::of(storage::whole(backup, release)));
                made_backup = true;
            }
        }
        for entry in &mut entries {
            if entry.domain() != "frigate" {
                entry.state = State::Loaded;
            }
        }
        let memory = Memory { entries, flows: BTreeMap::new(), running: false, save_at: None, made: 0 };
        let starting = Duration::from_millis(shared.times().starting);
        let inner =
            Arc::new(Inner { shared, memory: Mutex::new(memory), set_ups: Mutex::new(BTreeMap::new()) });
        if made_backup || is_due {
            inner.save_soon();
        }
        let ids: Vec<String> = inner
            .memory()
            .entries
            .iter()
            .filter(|entry| entry.domain() == "frigate")
            .map(|entry| entry.id().to_owned())
            .collect();
        for id in ids {
            inner.set_up(&id, Duration::ZERO);
        }
        let (close, mut closed) = watch::channel(false);
        let router = routes::router(Arc::clone(&inner));
        let served = tokio::spawn(async move {
            let ends = async move {
                drop(closed.wait_for(|closed| *closed).await);
            };
            let end = axum::serve(listener, router).with_graceful_shutdown(ends).await;
            if let Err(error) = end {
                tracing::warn!(%error, "the simulated Home Assistant stopped answering");
            }
        });
        let ticks = tokio::spawn(tick(Arc::clone(&inner), starting));
        let address = inner.shared.store.look(|stored| stored.broker.clone());
        let broker = address.map(|address| tokio::spawn(broker::listen(Arc::clone(&inner), address)));
        Ok(Self { inner, close, served, ticks, broker })
    }

    /// Ends it. In good order a save that is due is written; in none nothing is.
    pub(super) async fn end(mut self, in_order: bool) {
        self.ticks.abort();
        // A save that it is in the middle of is over before anybody else touches the file.
        drop((&mut self.ticks).await);
        // Nor does anybody note that a camera can be used once nothing runs.
        let set_ups = std::mem::take(&mut *self.inner.set_ups());
        for task in set_ups.into_values().chain(self.broker.take()) {
            task.abort();
            drop(task.await);
        }
        self.close.send_replace(true);
        if tokio::time::timeout(GOES_WITHIN, &mut self.served).await.is_err() {
            self.served.abort();
        }
        if in_order {
            if self.inner.shared.mishaps().saves_at_stop {
                self.inner.save_soon();
            }
            if self.inner.memory().save_at.take().is_some() {
                self.inner.save();
            }
        }
        // What is in memory and not on file is gone with it.
        complain(self.inner.shared.store.change(|stored| stored.unsaved = None));
        let gone: BTreeMap<String, Option<String>> = self.inner.shared.store.look(|stored| {
            let cameras = stored.registry.values().filter(|known| !known.camera.is_empty());
            cameras
                .map(|known| (known.camera.clone(), Some("Home Assistant does not run".to_owned())))
                .collect()
        });
        self.inner.shared.note_cameras(&gone);
    }

    /// Ends what it does by itself, at once and unfinished; it goes on answering.
    pub(super) fn halt(&self) {
        self.ticks.abort();
        self.inner.set_ups().values().chain(&self.broker).for_each(JoinHandle::abort);
    }

    /// Whether it does all that it does.
    pub(super) fn runs(&self) -> bool {
        self.inner.memory().running
    }

    /// Whether it is through with its start: it does all that it does, and every entry was tried.
    pub(super) fn is_up(&self) -> bool {
        let memory = self.inner.memory();
        let tried = |entry: &Entry| !matches!(entry.state, State::NotLoaded | State::SettingUp);
        memory.running && memory.entries.iter().all(tried)
    }

    /// Takes in an entry of another integration, loaded.
    pub(super) fn take_in(&self, entry: Map<String, Value>) {
        let release = self.inner.shared.release();
        let mut entry = Entry::of(storage::whole(entry, release));
        entry.state = State::Loaded;
        self.inner.memory().entries.push(entry);
        self.inner.save_soon();
    }

    /// Writes what is due to be written.
    pub(super) fn write_due(&self) {
        let due = self.inner.memory().save_at.take();
        if due.is_some() {
            self.inner.save();
        }
    }

    pub(super) fn touch(&self, entry_id: &str) {
        let release = self.inner.shared.release();
        if let Some(entry) = self.inner.memory().entries.iter_mut().find(|entry| entry.id() == entry_id) {
            entry.modified(release);
        }
        self.inner.save_soon();
    }
}

/// Takes connections for a while and drops them, as a server does that is going down.
pub(super) async fn drop_connections(port: &Port, time: Duration) {
    let Ok(listener) = port.listen() else { return };
    let dropping = async {
        loop {
            drop(listener.accept().await);
        }
    };
    drop(tokio::time::timeout(time, dropping).await);
}

async fn tick(inner: Arc<Inner>, starting: Duration) {
    let runs_at = Instant::now() + starting;
    loop {
        let due = {
            let mut memory = inner.memory();
            memory.running |= Instant::now() >= runs_at;
            let due = memory.save_at.is_some_and(|at| Instant::now() >= at);
            if due {
                memory.save_at = None;
            }
            due
        };
        if due {
            inner.save();
        }
        inner.note_cameras();
        tokio::time::sleep(TICK).await;
    }
}

impl Inner {
    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_ups(&self) -> MutexGuard<'_, BTreeMap<String, JoinHandle<()>>> {
        self.set_ups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change was made: the file is written after the delay.
    pub(super) fn save_soon(&self) {
        let delay = Duration::from_millis(self.shared.times().save_delay);
        let mut memory = self.memory();
        memory.save_at = Some(Instant::now() + delay);
        let entries = memory.entries.iter().map(|entry| entry.stored.clone()).collect();
        complain(self.shared.store.change(|stored| stored.unsaved = Some(entries)));
    }

    fn save(&self) {
        let release = self.shared.release();
        let memory = self.memory();
        match storage::write(&self.shared.folder, &memory.entries, release) {
            Ok(()) => complain(self.shared.store.change(|stored| stored.unsaved = None)),
            Err(error) => {
                tracing::warn!(%error, "the simulated Home Assistant cannot write its config entries");
            }
        }
    }

    /// A name that was not given before.
    pub(super) fn name(&self) -> String {
        let mut memory = self.memory();
        memory.made += 1;
        format!("{:016x}{:016x}", super::now_ms(), memory.made)
    }

    /// Sets an entry up, again when it is.
    pub(super) fn set_up(self: &Arc<Self>, id: &str, after: Duration) {
        let inner = Arc::clone(self);
        let own = id.to_owned();
        let task = tokio::spawn(async move {
            tokio::time::sleep(after).await;
            inner.live(&own).await;
        });
        if let Some(before) = self.set_ups().insert(id.to_owned(), task) {
            before.abort();
        }
    }

    /// As a flow asks for it: the answer is out before it begins.
    pub(super) fn reload_soon(self: &Arc<Self>, id: &str) {
        self.set_up(id, RELOADS_AFTER);
    }

    /// Sets it up and waits until its first try is over.
    pub(super) async fn reload(self: &Arc<Self>, id: &str) {
        self.becomes(id, |entry| entry.state = State::SettingUp);
        self.set_up(id, Duration::ZERO);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(25) {
            if self.with_entry(id, |entry| entry.state != State::SettingUp).unwrap_or(true) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(super) fn with_entry<R>(&self, id: &str, work: impl FnOnce(&mut Entry) -> R) -> Option<R> {
        self.memory().entries.iter_mut().find(|entry| entry.id() == id).map(work)
    }

    /// Changes how an entry stands, and notes at once which cameras can be used: what is over before the next look was all
    /// the same.
    fn becomes<R>(&self, id: &str, work: impl FnOnce(&mut Entry) -> R) -> Option<R> {
        let done = self.with_entry(id, work);
        self.note_cameras();
        done
    }

    /// Removes an entry and what belongs to it.
    pub(super) fn remove(&self, id: &str) -> bool {
        if let Some(task) = self.set_ups().remove(id) {
            task.abort();
        }
        let found = {
            let mut memory = self.memory();
            let before = memory.entries.len();
            memory.entries.retain(|entry| entry.id() != id);
            memory.entries.len() < before
        };
        if found {
            complain(
                self.shared.store.change(|stored| stored.registry.retain(|_, known| known.entry_id != id)),
            );
            self.save_soon();
        }
        found
    }

    /// Adds an entry of Frigate; gives its id.
    pub(super) fn add(self: &Arc<Self>, data: Value, url: &str) -> String {
        let id = self.name();
        let entry = json!({ "entry_id": id, "domain": "frigate", "title": frigate::title_of(url), "version": 2,
            "data": data });
        let release = self.shared.release();
        if let Value::Object(entry) = entry {
            let mut entry = Entry::of(storage::whole(entry, release));
            entry.modified(release);
            self.memory().entries.push(entry);
        }
        self.save_soon();
        id
    }

    /// Gives an entry other data.
    pub(super) fn reconfigure(&self, id: &str, data: Map<String, Value>, url: &str) {
        let release = self.shared.release();
        self.with_entry(id, |entry| {
            entry.stored.insert("data".to_owned(), Value::Object(data));
            entry.stored.insert("title".to_owned(), json!(frigate::title_of(url)));
            entry.modified(release);
        });
        self.save_soon();
    }

    /// The life of a Frigate entry: tried until its server answers, then polled.
    async fn live(&self, id: &str) {
        let poll = Duration::from_millis(self.shared.times().poll);
        let mut retry = poll;
        loop {
            let Some((url, validate)) = self.becomes(id, |entry| {
                entry.state = State::SettingUp;
                (entry.url(), entry.validates())
            }) else {
                return;
            };
            let refused =
                !self.shared.reaches(&url) || super::begins(&url, &self.shared.mishaps().cannot_set_up);
            let seen = if refused { Err(NoView::Unreachable) } else { frigate::view(&url, validate).await };
            match seen {
                Ok(view) => {
                    self.becomes(id, |entry| {
                        // Nobody sees them before they can be used.
                        complain(self.shared.store.change(|stored| {
                            entities::register(&mut stored.registry, id, &view);
                        }));
                        entry.view = Some(view);
                        entry.reached = true;
                        entry.state = State::Loaded;
                    });
                    break;
                }
                Err(NoView::TooOld) => {
                    self.becomes(id, |entry| entry.state = State::Error);
                    return;
                }
                Err(NoView::Unreachable) => {
                    self.becomes(id, |entry| entry.state = State::Retry);
                    tokio::time::sleep(retry).await;
                    retry = (retry * 2).min(poll * 16);
                }
            }
        }
        loop {
            tokio::time::sleep(poll).await;
            let Some((url, validate)) = self.with_entry(id, |entry| (entry.url(), entry.validates())) else {
                return;
            };
            let stats = match self.shared.reaches(&url) {
                true => frigate::stats(&url, validate).await,
                false => None,
            };
            self.becomes(id, |entry| {
                entry.reached = stats.is_some();
                if let (Some(view), Some(stats)) = (&mut entry.view, stats) {
                    view.stats = stats;
                }
            });
        }
    }

    pub(super) fn note_cameras(&self) {
        let memory = self.memory();
        let seen: BTreeMap<String, Option<String>> = self.shared.store.look(|stored| {
            let cameras = stored.registry.iter().filter(|(id, _)| id.starts_with("camera."));
            let mut seen = BTreeMap::new();
            for (_, known) in cameras {
                let entry = memory.entries.iter().find(|entry| entry.id() == known.entry_id);
                let lack = entities::lack(stored, entry, &known.camera);
                // Two entries may have it: it can be used when it can be in one.
                let best = seen.entry(known.camera.clone()).or_insert_with(|| lack.clone());
                if lack.is_none() {
                    *best = None;
                }
            }
            seen
        });
        // Held until it is noted: of two who look at once the later one is right.
        self.shared.note_cameras(&seen);
        drop(memory);
    }
}
