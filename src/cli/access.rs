//! The journal, held by this process, or the process that holds it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::fail::Fail;
use super::session::{Session, environment, host};
use crate::driver::{Clock, History, Holder, House, Keys, SystemClock};
use crate::journal::{self, Bodies, Handle, Journal, JournalError, Options};
use crate::serve::{self, Bound, Client, ClientError, Server};
use crate::transport::{Transport, TransportOptions};

/// How long a process that holds the journal and says nothing is waited for: a command that only reads holds it
/// for some milliseconds, one that starts offers its socket within some more.
const HOLDER_TIMEOUT: Duration = Duration::from_secs(5);

/// Who has the journal.
pub(super) enum Access {
    /// We.
    Held(Held),
    /// Another process.
    Remote { client: Client, bodies: Bodies },
}

/// The journal, held here.
pub(super) struct Held {
    pub(super) folder: PathBuf,
    pub(super) handle: Handle,
    pub(super) bodies: Bodies,
    id: String,
    token: u64,
    clock: SystemClock,
}

/// A journal that is held and drives runs.
pub(super) struct Holding {
    pub(super) holder: Arc<Holder>,
    /// The way to the world, for who tells people outside.
    #[cfg(feature = "serve")]
    pub(super) transport: Transport,
    bound: Option<Bound>,
    server: Option<Server>,
}

impl Access {
    /// Opens the journal of a state folder, or finds who has it.
    pub(super) async fn open(session: &Session, folder: &Path, create: bool) -> Result<Self, Fail> {
        let clock = session.clock();
        let mut deadline = Instant::now() + HOLDER_TIMEOUT;
        let mut before = None;
        loop {
            let holder = journal::Holder {
                pid: std::process::id(),
                host: host(),
                boot_id: clock.boot_id().to_owned(),
                wall_ms: clock.now().wall_ms,
            };
            let pid = match Journal::open(folder, &Options { create, holder }) {
                Ok(journal) => {
                    for warning in journal.warnings() {
                        session.warn(&warning.to_string());
                    }
                    let (id, token) = (journal.id().to_owned(), journal.token());
                    let bodies = Bodies::at(folder);
                    let (handle, _thread) = Handle::start(journal)?;
                    let folder = folder.to_owned();
                    return Ok(Access::Held(Held { folder, handle, bodies, id, token, clock }));
                }
                Err(JournalError::Held { pid, .. }) => pid,
                Err(error) => return Err(error.into()),
            };
            if before != Some(pid) {
                // They take turns: as long as it is another one each time, nobody hangs.
                (before, deadline) = (Some(pid), Instant::now() + HOLDER_TIMEOUT);
            }
            match Client::connect(folder).await {
                Ok(client) => return Ok(Access::Remote { client, bodies: Bodies::at(folder) }),
                Err(ClientError::NotThere) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(ClientError::Silent { pid }) => return Err(Fail::holder_silent(Some(pid), folder)),
                Err(_) => return Err(Fail::holder_silent(pid, folder)),
            }
        }
    }

    /// Where runs can be read.
    pub(super) fn history(&self) -> &dyn History {
        match self {
            Access::Held(held) => &held.handle,
            Access::Remote { client, .. } => client,
        }
    }

    /// Large contents beside the journal.
    pub(super) fn bodies(&self) -> &Bodies {
        match self {
            Access::Held(held) => &held.bodies,
            Access::Remote { bodies, .. } => bodies,
        }
    }

    /// Whether the journal is held by another process, which may be driving runs.
    pub(super) fn is_remote(&self) -> bool {
        matches!(self, Access::Remote { .. })
    }

    /// Whether secrets are looked up where the journal is held, and not here.
    pub(super) fn resolves_secrets(&self) -> bool {
        matches!(self, Access::Remote { client, .. } if client.serves())
    }

    /// Lets go of the journal.
    pub(super) async fn close(self) {
        if let Access::Held(held) = self {
            drop(held.handle.close().await);
        }
    }
}

/// What pre-images in this state folder are sealed with: its `key`, or the file that `RUNNER_KEY` names.
pub(super) fn keys(folder: &Path) -> Keys {
    Keys::of(folder, environment("RUNNER_KEY").map(PathBuf::from))
}

impl Held {
    /// Becomes able to drive runs, and makes the control socket; it is offered when the first run was taken on, so
    /// that nobody comes between.
    pub(super) fn hold(self) -> Result<Holding, Fail> {
        self.hold_as(|holder| holder)
    }

    /// The same, with what `made` makes of the holder.
    pub(super) fn hold_as(self, made: impl FnOnce(Holder) -> Holder) -> Result<Holding, Fail> {
        let Self { folder, handle, bodies, id, token, clock } = self;
        let xdg = environment("XDG_RUNTIME_DIR").map(PathBuf::from);
        let runtime = serve::runtime_folder(&folder, xdg.as_deref()).map_err(|error| {
            Fail::unexpected(format!("the folder for sockets cannot be made: {error}"))
                .help("set XDG_RUNTIME_DIR to a short folder that only you can use")
        })?;
        let options =
            TransportOptions { state: folder.clone(), runtime: runtime.clone(), journal: id, token };
        let transport =
            Transport::open(options).map_err(|error| Fail::unexpected(super::fail::chain(&error)))?;
        #[cfg(feature = "serve")]
        let shared = transport.clone();
        let holder =
            Arc::new(made(Holder::new(handle, bodies, keys(&folder), House::new(transport), clock, token)));
        let bound = serve::bind(&folder, &runtime, token)
            .map_err(|error| Fail::unexpected(super::fail::chain(&error)))?;
        Ok(Holding {
            holder,
            #[cfg(feature = "serve")]
            transport: shared,
            bound: Some(bound),
            server: None,
        })
    }
}

impl Holding {
    /// Offers the control socket.
    pub(super) fn offer(&mut self, session: &Session) {
        let Some(bound) = self.bound.take() else { return };
        match bound.offer(Arc::clone(&self.holder)) {
            Ok(server) => self.server = Some(server),
            Err(error) => {
                session.warn(&format!(
                    "other terminals cannot reach this process: {}",
                    super::fail::chain(&error)
                ));
            }
        }
    }

    /// Stays until every run that was given rests and who asked is answered, then lets go of the journal.
    pub(super) async fn close(self) {
        self.holder.rest().await;
        if let Some(server) = self.server {
            server.close().await;
        }
        self.holder.close().await;
    }
}
