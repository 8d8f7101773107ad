//! A Home Assistant with the Frigate integration, as the recorded ones behave (Core 2025.4.4 with integration 5.15.2 and
//! 2024.3.3 with 5.2.0): REST API, config entries in memory and in a file that is rewritten from memory, flows, restarts
//! with connections that drop, entities that follow the server and MQTT.
//!
//! What it remembers over its own restarts is what the real one does: `core.config_entries` and the registry of entities.
//! The rest (flows, entry states, a save that is due) lives in `core` and is gone with it; only when it is killed together
//! with its whole house, which a real one is not, what is to be saved comes back. Beside it, on a port of
//! its own, is the supervisor that stops and starts it (`ha core …`) and the lab's own switches and measurements, among
//! them how long each camera was unavailable. Start reading at [`HomeAssistant::start`].

mod answers;
mod broker;
mod core;
mod entities;
mod entry;
mod flows;
mod frigate;
mod routes;
mod storage;
mod supervisor;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Port, Store, StoreError, listen};
pub use broker::Broker;
use core::Core;
pub use supervisor::Said;

/// Which program it plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Release {
    /// Core 2025.4.4 with integration 5.15.2: entries can be reconfigured.
    Reconfigures,
    /// Core 2024.3.3 with integration 5.2.0: asked to reconfigure, it adds a second entry.
    AddsSecond,
}

/// What it begins with. All of it is remembered; a later start on the same folder takes nothing from here.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which program it plays.
    pub release: Release,
    /// The one token that it knows.
    pub token: String,
    /// The address in its Frigate entry; empty: there is no such entry.
    pub frigate_url: String,
    /// Further entries, as they stand in the file.
    pub entries: Vec<Value>,
    /// The broker whose retained `PREFIX/available` its entities follow; absent: what [`HomeAssistant::available`] is told.
    pub broker: Option<Broker>,
    /// How often it asks the Frigate server; in the real one 5 s.
    pub poll: Duration,
    /// How long after a change the file is written; in the real one 1 s.
    pub save_delay: Duration,
    /// How long connections are taken and dropped when it goes.
    pub drops: Duration,
    /// How long nobody listens then; 4 s were measured.
    pub down: Duration,
    /// How long it answers and does not run yet; half a second was measured.
    pub starting: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            release: Release::Reconfigures,
            token: "lab-token".to_owned(),
            frigate_url: String::new(),
            entries: Vec::new(),
            broker: None,
            poll: Duration::from_secs(5),
            save_delay: Duration::from_secs(1),
            drops: Duration::from_millis(500),
            down: Duration::from_secs(4),
            starting: Duration::from_millis(500),
        }
    }
}

/// The id of the Frigate entry that it begins with.
pub const FRIGATE_ENTRY: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

/// A time in which a camera could not be used in Home Assistant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The camera's name at its server.
    pub camera: String,
    /// When it began, in milliseconds since 1970.
    pub from_ms: u64,
    /// When it ended; absent: it has not.
    pub to_ms: Option<u64>,
    /// What it was when it began.
    pub why: String,
}

/// An entity in the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Registered {
    entry_id: String,
    camera: String,
    /// What the integration calls it: `Review Status`.
    name: String,
}

/// What survives the process.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    port: u16,
    supervisor_port: u16,
    release: Release,
    token: String,
    /// Whether the core runs, as far as the supervisor wants it.
    running: bool,
    /// Requests that changed something, those to its supervisor included.
    writes: u64,
    /// Entities by id.
    registry: BTreeMap<String, Registered>,
    gaps: Vec<Gap>,
    /// The retained message of `PREFIX/available`, by prefix, where it is known.
    available: BTreeMap<String, String>,
    #[serde(default)]
    broker: Option<Broker>,
    /// The entries in memory, as long as the file does not have them: when the process is killed with it, a Home Assistant
    /// that runs comes back as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unsaved: Option<Vec<Map<String, Value>>>,
    times: Times,
    mishaps: Mishaps,
}

/// In milliseconds, as [`Settings`] says.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Times {
    poll: u64,
    save_delay: u64,
    drops: u64,
    down: u64,
    starting: u64,
}

/// Switches that break it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mishaps {
    /// A request to restart is answered, and nothing happens.
    pub ignores_restart: bool,
    /// The check of its configuration fails, so that it refuses to restart.
    pub invalid_config: bool,
    /// Says that entries can be reconfigured, and adds a second one all the same.
    pub lies_about_reconfigure: bool,
    /// The next so many requests that finish a flow take effect, and the connection is dropped instead of an answer.
    pub drops_flow_answers: u32,
    /// Somebody changes the entry at the moment in which a flow for it is opened.
    pub meddles: bool,
    /// `ha core start` fails so many times.
    pub start_fails: u32,
    /// Something rewrites another entry while the core is asked to stop, so that the file is written from memory.
    pub saves_at_stop: bool,
    /// Servers whose address begins so cannot be reached from where it runs, whoever else reaches them; empty: all can.
    pub cannot_reach: String,
    /// Entries of servers whose address begins so are taken, and then not set up; empty: all are.
    pub cannot_set_up: String,
    /// Templates are not rendered for the token's user, who is no administrator.
    pub no_templates: bool,
}

/// A running one. Dropped, it goes on; [`stop`](Self::stop) ends it.
#[derive(Debug)]
pub struct HomeAssistant {
    shared: Arc<Shared>,
    supervisor: tokio::task::JoinHandle<()>,
}

/// What its parts share.
#[derive(Debug)]
struct Shared {
    store: Store<Stored>,
    folder: PathBuf,
    port: Port,
    supervisor_port: u16,
    /// The core that runs, if one does.
    core: tokio::sync::Mutex<Option<Core>>,
}

impl HomeAssistant {
    /// Starts it in `folder`, on `port` or on a free one when that is 0; on the folder of an earlier one it is that one
    /// again, on its ports, stopped when that was stopped.
    ///
    /// # Errors
    /// [`io::Error`] when its folder cannot be used or a port is taken.
    pub async fn start(folder: &Path, port: u16, settings: Settings) -> io::Result<Self> {
        let path = folder.join("homeassistant.json");
        let known = Store::<Option<Stored>>::open(path.clone(), || None).map_err(io::Error::other)?;
        let (core_port, side_port) =
            known.look(|known| known.as_ref().map_or((port, 0), |known| (known.port, known.supervisor_port)));
        let first = known.look(Option::is_none);
        // Both ports are known, and remembered, before anybody is answered.
        let (side, side_at) = listen(side_port).await?;
        let port = Port::take(core_port)?;
        let core_at = SocketAddr::from((Ipv4Addr::LOCALHOST, port.number()));
        if first {
            storage::begin(folder, &settings).map_err(io::Error::other)?;
            known
                .change(|known| *known = Some(Stored::new(core_at, side_at, &settings)))
                .map_err(io::Error::other)?;
        }
        drop(known);
        let store =
            Store::open(path, || Stored::new(core_at, side_at, &settings)).map_err(io::Error::other)?;
        let shared = Arc::new(Shared {
            store,
            folder: folder.to_owned(),
            port,
            supervisor_port: side_at.port(),
            core: tokio::sync::Mutex::new(None),
        });
        if shared.store.look(|stored| stored.running) {
            shared.start_core().await?;
        }
        let supervisor = tokio::spawn(supervisor::serve(side, Arc::clone(&shared)));
        Ok(Self { shared, supervisor })
    }

    /// Waits until it is through with its start; gives up after five seconds, as an entry may be tried for ever. At once
    /// where the core does not run.
    pub async fn up(&self) {
        let begun = std::time::Instant::now();
        while begun.elapsed() < Duration::from_secs(5) {
            if self.shared.core.lock().await.as_ref().is_none_or(Core::is_up) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Where its API is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.shared.port.number())
    }

    /// Where its supervisor is: `POST /core/stop`, `start`, `restart`, `check`, `GET /core/info` answer with what `ha core
    /// …` says and its exit status.
    pub fn supervisor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.shared.supervisor_port)
    }

    /// The supervisor's address, for the `ha` of a simulated virtual machine.
    pub fn supervisor_address(&self) -> String {
        format!("127.0.0.1:{}", self.shared.supervisor_port)
    }

    /// Its storage file.
    pub fn storage_file(&self) -> PathBuf {
        storage::file(&self.shared.folder)
    }

    /// As `ha core VERB` in its virtual machine.
    pub async fn core(&self, verb: &str) -> Said {
        supervisor::core(&self.shared, verb).await
    }

    /// How often something was changed through its API, or it was stopped or started.
    pub fn writes(&self) -> u64 {
        self.shared.store.look(|stored| stored.writes)
    }

    /// The times in which cameras could not be used, oldest first.
    pub fn gaps(&self) -> Vec<Gap> {
        self.shared.store.look(|stored| stored.gaps.clone())
    }

    /// Breaks it, or mends it.
    ///
    /// # Errors
    /// [`StoreError`] when that cannot be remembered.
    pub fn break_it(&self, work: impl FnOnce(&mut Mishaps)) -> Result<(), StoreError> {
        self.shared.store.change(|stored| work(&mut stored.mishaps))
    }

    /// Takes the retained message of `PREFIX/available`, as its client of the broker would.
    ///
    /// # Errors
    /// [`StoreError`] when that cannot be remembered.
    pub fn available(&self, prefix: &str, payload: &str) -> Result<(), StoreError> {
        self.shared.heard_available(prefix, payload)
    }

    /// Knows only this token from now on.
    ///
    /// # Errors
    /// [`StoreError`] when that cannot be remembered.
    pub fn set_token(&self, token: &str) -> Result<(), StoreError> {
        self.shared.store.change(|stored| token.clone_into(&mut stored.token))
    }

    /// Takes so long for a start from now on.
    ///
    /// # Errors
    /// [`StoreError`] when that cannot be remembered.
    pub fn set_down(&self, down: Duration) -> Result<(), StoreError> {
        let down = u64::try_from(down.as_millis()).unwrap_or(u64::MAX);
        self.shared.store.change(|stored| stored.times.down = down)
    }

    /// Adds an entry of another integration, as somebody does in its pages: it stands in the file after the delay. Nothing
    /// while the core does not run.
    pub async fn add_entry(&self, entry: Value) {
        if let (Some(core), Value::Object(entry)) = (&*self.shared.core.lock().await, entry) {
            core.take_in(entry);
        }
    }

    /// Writes what is due to be written, as when it is left alone for a moment.
    pub async fn write_due(&self) {
        if let Some(core) = &*self.shared.core.lock().await {
            core.write_due();
        }
    }

    /// Something changes an entry, as a refreshed token of another integration does: the file is written from memory after
    /// the delay.
    pub async fn touch(&self, entry_id: &str) {
        if let Some(core) = &*self.shared.core.lock().await {
            core.touch(entry_id);
        }
    }

    /// Tries, hears and notes nothing any more, at once: what goes with it in the same power cut is no gap of a camera.
    pub(crate) fn halt(&self) {
        if let Ok(core) = self.shared.core.try_lock()
            && let Some(core) = &*core
        {
            core.halt();
        }
    }

    /// Ends it as a power cut does: nothing is saved, nothing is remembered but what stood on file before.
    pub async fn stop(self) {
        self.supervisor.abort();
        if let Some(core) = self.shared.core.lock().await.take() {
            core.end(false).await;
        }
    }
}

impl Stored {
    fn new(core: SocketAddr, side: SocketAddr, settings: &Settings) -> Self {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            port: core.port(),
            supervisor_port: side.port(),
            release: settings.release,
            token: settings.token.clone(),
            running: true,
            writes: 0,
            registry: BTreeMap::new(),
            gaps: Vec::new(),
            available: BTreeMap::new(),
            broker: settings.broker.clone(),
            unsaved: None,
            times: Times {
                poll: ms(settings.poll),
                save_delay: ms(settings.save_delay),
                drops: ms(settings.drops),
                down: ms(settings.down),
                starting: ms(settings.starting),
            },
            mishaps: Mishaps::default(),
        }
    }
}

impl Shared {
    fn times(&self) -> Times {
        self.store.look(|stored| stored.times)
    }

    fn release(&self) -> Release {
        self.store.look(|stored| stored.release)
    }

    fn mishaps(&self) -> Mishaps {
        self.store.look(|stored| stored.mishaps.clone())
    }

    /// Whether a server can be reached from where it runs.
    fn reaches(&self, url: &str) -> bool {
        self.store.look(|stored| !begins(url, &stored.mishaps.cannot_reach))
    }

    fn wrote(&self) {
        let remembered = self.store.change(|stored| stored.writes += 1);
        complain(remembered);
    }

    fn heard_available(&self, prefix: &str, payload: &str) -> Result<(), StoreError> {
        self.store.change(|stored| {
            stored.available.insert(prefix.to_owned(), payload.to_owned());
        })
    }

    /// Starts the core; it reads the file.
    async fn start_core(self: &Arc<Self>) -> io::Result<()> {
        let mut core = self.core.lock().await;
        if core.is_none() {
            *core = Some(Core::start(Arc::clone(self)).await?);
        }
        Ok(())
    }

    /// Stops the core; a save that is due is written.
    async fn stop_core(&self) {
        let core = self.core.lock().await.take();
        if let Some(core) = core {
            core.end(true).await;
        }
    }

    /// Stops the core and starts it again, after the times that it takes.
    async fn restart_core(self: &Arc<Self>) -> io::Result<()> {
        self.stop_core().await;
        let times = self.times();
        tokio::time::sleep(Duration::from_millis(times.down)).await;
        self.start_core().await
    }

    /// Notes which cameras can be used now: `None`, or why not.
    fn note_cameras(&self, seen: &BTreeMap<String, Option<String>>) {
        let now = now_ms();
        let open = |stored: &Stored, camera: &str| {
            stored.gaps.iter().rposition(|gap| gap.camera == camera && gap.to_ms.is_none())
        };
        let moved = self
            .store
            .look(|stored| seen.iter().any(|(camera, why)| open(stored, camera).is_some() != why.is_some()));
        if !moved {
            return;
        }
        let remembered = self.store.change(|stored| {
            for (camera, why) in seen {
                match (open(stored, camera), why) {
                    (Some(at), None) => stored.gaps[at].to_ms = Some(now),
                    (None, Some(why)) => stored.gaps.push(Gap {
                        camera: camera.clone(),
                        from_ms: now,
                        to_ms: None,
                        why: why.clone(),
                    }),
                    _ => {}
                }
            }
        });
        complain(remembered);
    }
}

/// Whether an address begins with a beginning that is told.
fn begins(url: &str, with: &str) -> bool {
    !with.is_empty() && url.starts_with(with)
}

/// The lab goes on when it cannot remember; whoever looks at it should know.
fn complain(remembered: Result<(), StoreError>) {
    if let Err(error) = remembered {
        tracing::warn!(%error, "the simulated Home Assistant cannot remember");
    }
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "what the lab measures is real time")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokio::runtime::Runtime;

    #[test]
    fn killed_with_its_house_it_comes_back_as_it_was_and_after_a_power_cut_of_its_own_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let settings = || Settings { save_delay: Duration::from_secs(3_600), ..Settings::default() };
        let is_written = |home: &HomeAssistant, title: &str| {
            std::fs::read_to_string(home.storage_file()).unwrap().contains(title)
        };
        let entry = |title: &str| json!({ "domain": "shelly", "title": title, "entry_id": title });
        let killed = Runtime::new().unwrap();
        killed.block_on(async {
            let home = HomeAssistant::start(folder.path(), 0, settings()).await.unwrap();
            home.add_entry(entry("Garage")).await;
            assert!(!is_written(&home, "Garage"), "that is done later");
        });
        // Nothing of it goes on, and nothing is ended.
        killed.shutdown_timeout(Duration::from_secs(10));
        Runtime::new().unwrap().block_on(async {
            let home = HomeAssistant::start(folder.path(), 0, settings()).await.unwrap();
            home.write_due().await;
            assert!(is_written(&home, "Garage"));
            home.add_entry(entry("Cellar")).await;
            home.stop().await;
            let home = HomeAssistant::start(folder.path(), 0, settings()).await.unwrap();
            home.write_due().await;
            assert!(is_written(&home, "Garage") && !is_written(&home, "Cellar"));
            home.stop().await;
        });
    }
}
