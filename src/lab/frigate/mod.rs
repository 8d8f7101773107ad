//! A stand-in for Frigate 0.14 and 0.16 on loopback: it serves the part of its API that a move looks at, as the real one was
//! recorded (facts/transcripts/frigate-api.json), and says over MQTT what the real one says (facts/migration.md 6.1).
//!
//! It runs or not, as its container does; switched by [`Switches`] it fails in the ways that were seen in the author's
//! house (facts/migration.md 1.5, section 8). `state` is what it remembers, `api` what it answers, `stats` what it says of
//! itself, `speaker` its MQTT client. Start reading at [`Frigate`].

mod api;
mod speaker;
mod state;
mod stats;

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use super::{Clock, Port, Store, StoreError};
use speaker::Speaker;
use state::State;

pub use state::{Login, Setup, Switches};

/// Why it cannot start.
#[derive(Debug, thiserror::Error)]
pub enum FrigateError {
    /// It cannot remember.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its port is taken.
    #[error("the lab's Frigate cannot listen")]
    Listen(#[from] io::Error),
}

/// How a container ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// `pct shutdown`, or Kubernetes: it says good-bye to the broker, and `online` stays retained.
    Shutdown,
    /// `pct stop`, or a crash: its last will is sent.
    Kill,
}

/// A Frigate and its container. Dropped, it is gone as a killed one is.
#[derive(Debug)]
pub struct Frigate {
    inner: Arc<Inner>,
    live: Mutex<Option<Live>>,
}

#[derive(Debug)]
struct Inner {
    store: Store<State>,
    port: Port,
    clock: Clock,
}

/// It runs.
#[derive(Debug)]
struct Live {
    shut: watch::Sender<bool>,
    serving: JoinHandle<()>,
    speaker: Option<Speaker>,
}

impl Frigate {
    /// Brings it up on a folder: as it was there, running or not; else with this setup, running, on `port` or a free one
    /// when it is 0.
    ///
    /// # Errors
    /// [`FrigateError`].
    pub async fn start(folder: &Path, port: u16, setup: Setup, clock: Clock) -> Result<Self, FrigateError> {
        let started = clock.now().as_secs();
        let store = Store::open(folder.join("frigate.json"), || State {
            port,
            running: true,
            started,
            ..State::new(setup)
        })?;
        let port = Port::take(store.look(|state| state.port))?;
        store.change(|state| state.port = port.number())?;
        let frigate = Self { inner: Arc::new(Inner { store, port, clock }), live: Mutex::default() };
        if frigate.is_running() {
            frigate.live().await?;
        }
        Ok(frigate)
    }

    /// Starts the container; nothing when it runs.
    ///
    /// # Errors
    /// [`FrigateError`].
    pub async fn run(&self) -> Result<(), FrigateError> {
        let now = self.inner.clock.now().as_secs();
        let began = self.inner.store.change(|state| {
            let began = !state.running;
            if began {
                state.running = true;
                state.started = now;
            }
            began
        })?;
        if began { self.live().await } else { Ok(()) }
    }

    /// Ends the container; nothing when it does not run.
    ///
    /// # Errors
    /// [`FrigateError`].
    pub async fn end(&self, how: End) -> Result<(), FrigateError> {
        self.inner.store.change(|state| state.running = false)?;
        if let Some(mut live) = self.live.lock().await.take() {
            live.shut.send_replace(true);
            if let Some(speaker) = live.speaker.take() {
                speaker.end(how).await;
            }
            // Connections that are idle end with it; it has at most one request to answer.
            let _ended = (&mut live.serving).await;
        }
        Ok(())
    }

    /// Whether its container runs.
    pub fn is_running(&self) -> bool {
        self.inner.store.look(|state| state.running)
    }

    /// Where it listens on loopback while it runs.
    pub fn port(&self) -> u16 {
        self.inner.port.number()
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    /// How its container ends when it is asked to.
    pub fn ends(&self) -> End {
        if self.inner.store.look(|state| state.switches.dies) { End::Kill } else { End::Shutdown }
    }

    /// Its client id at the broker.
    pub fn client_id(&self) -> String {
        self.inner.store.look(|state| state.setup.client_id.clone())
    }

    /// How many requests have changed something.
    pub fn writes(&self) -> u64 {
        self.inner.store.look(|state| state.writes)
    }

    /// Breaks or mends it.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be remembered.
    pub fn switch(&self, work: impl FnOnce(&mut Switches)) -> Result<(), StoreError> {
        let now = self.inner.clock.now().as_secs();
        self.inner.store.change(|state| {
            let frozen = state.switches.stats_frozen;
            work(&mut state.switches);
            if state.switches.stats_frozen && !frozen {
                state.frozen_at = now;
            }
        })
    }

    /// Changes what it is set up with; its MQTT client takes it in at its next start.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be remembered.
    pub fn set_up(&self, work: impl FnOnce(&mut Setup)) -> Result<(), StoreError> {
        self.inner.store.change(|state| work(&mut state.setup))
    }

    async fn live(&self) -> Result<(), FrigateError> {
        let listener = self.inner.port.listen()?;
        let (shut, mut shutting) = watch::channel(false);
        let router = api::router(Arc::clone(&self.inner));
        let serving = tokio::spawn(async move {
            let over = async move {
                // A sender that is gone says the same.
                let _over = shutting.wait_for(|shut| *shut).await;
            };
            // It ends by being told to; there is nobody to hear of more.
            let _ended = axum::serve(listener, router).with_graceful_shutdown(over).await;
        });
        let speaker = Speaker::start(&self.inner);
        *self.live.lock().await = Some(Live { shut, serving, speaker });
        Ok(())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.shut.send_replace(true);
    }
}
