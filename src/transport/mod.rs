//! What actions and checks share to reach the world: processes here, ssh to hosts, files on both, HTTP, DNS, MQTT and
//! Kubernetes, and what they need around them (bounded capture, redaction, logs, slots).
//!
//! Knows nothing of sagas, plans or journals: it is handed names and gives back what it saw. Keeps P3 (a cut-off
//! attempt is proved over: `slot`, `settle`, `ssh`) and P7 (secrets stay out: `redact`). Start reading at
//! `local::run`.

mod capture;
mod dns;
mod file;
mod frigate;
mod harmless;
mod homeassistant;
mod http;
mod inside;
mod kube;
mod launch;
mod local;
mod mqtt;
#[cfg(feature = "serve")]
mod notice;
mod process;
mod program;
mod proxmox;
mod redact;
mod settle;
#[cfg(test)]
#[path = "../../tests/support/skip.rs"]
mod skip;
mod slot;
mod ssh;
mod stop;

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use capture::{CAPTURE_MAX, LOG_MAX, TAIL_LINES_MAX, TAIL_MAX};
pub use harmless::harmless;
pub use launch::GRACE;
pub use local::spawn_alone;
#[cfg(feature = "serve")]
pub use notice::{BrokerPlace, Notice, topic_for_notices};
pub use redact::{MASK, RedactedStream, Redactor, SECRET_LINE_MIN, SECRET_MIN};
pub use stop::{Stop, StopSender};

pub(crate) use capture::{Capture, LogPlace, Seen};
pub(crate) use dns::Resolved;
pub(crate) use file::{FileError, FilePlace, Found, Present, Write as FileWrite, told as told_of_file};
pub(crate) use frigate::{FrigateError, FrigateServer};
pub(crate) use harmless::one_line;
pub(crate) use homeassistant::{
    ConfigEntry, EntityState, FlowAnswer, Form, Home, HomeError, RUNNING, UNAVAILABLE,
};
#[cfg(feature = "demo")]
pub(crate) use http::Anyone;
pub(crate) use http::{BODY_MAX, HttpEnd, HttpRequest, may_heal, status_name};
pub(crate) use inside::Working;
pub(crate) use kube::{
    Applied, ClusterPlace, InPod, Kube, KubeError, Object, Patch, Propagation, Resource, Right, Select, Why,
};
pub(crate) use launch::{End, Launch, Program, Report};
pub(crate) use mqtt::{
    Broker as MqttBroker, Message as MqttMessage, MqttError, Session as MqttSession, Watched as MqttWatched,
    check_filter, check_topic,
};
#[cfg(feature = "serve")]
pub(crate) use mqtt::{Standing as MqttStanding, Will as MqttWill};
pub(crate) use process::signal_name;
pub(crate) use proxmox::{
    Archive, Change as ContainerChange, Config as ContainerConfig, Container, GuestCommand, GuestEnd,
    GuestSettled, MachineSight, Onboot, Power, Sight, Trouble, Volume, Wanted as ContainerWanted, archives,
    lines_of, told as told_of_container,
};
pub(crate) use settle::Proof;
pub(crate) use ssh::{Settled, Target};

/// What a [`Transport`] needs to know.
#[derive(Debug, Clone)]
pub struct TransportOptions {
    /// The state folder: `slots/`, `logs/<run>/<step>-<direction>-<attempt>.log` and `scratch/` are made in it.
    pub state: PathBuf,
    /// A short folder for the sockets of ssh masters, made with mode 0700; for example
    /// `$XDG_RUNTIME_DIR/runner/<hash>`. Longer than [`RUNTIME_MAX`] bytes and no socket fits.
    pub runtime: PathBuf,
    /// Names the journal: the private folder on a host is kept apart by it. `[A-Za-z0-9_-]`, 1 to 64 characters.
    pub journal: String,
    /// The fencing token of this process's lease: a host refuses everything from an older one. Below 2^63.
    pub token: u64,
}

/// The longest path of a runtime folder, in bytes. A socket's path has at most 107, and ssh adds 17 of its own to
/// the name while it makes it (measured with OpenSSH 9.2, 2026-07).
pub const RUNTIME_MAX: usize = 75;

/// Why a [`Transport`] cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// A folder cannot be made or read.
    #[error("cannot use the folder `{path}`")]
    Folder {
        /// Which one.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Somebody else could put a socket or a script there.
    #[error(
        "the folder `{path}` belongs to another user or others may write to it: remove it or choose another"
    )]
    NotPrivate {
        /// Which one.
        path: PathBuf,
    },
    /// A socket below it would have too long a path.
    #[error("the path `{path}` is longer than {RUNTIME_MAX} bytes: sockets do not fit below it")]
    TooLong {
        /// Which one.
        path: PathBuf,
    },
    /// The journal's name or the token cannot be part of a path on a host.
    #[error("`{text}` cannot name a folder on a host")]
    Name {
        /// The offending text.
        text: String,
    },
}

/// The way to the world: slots, logs and the pool of ssh connections of one process. Cheap to clone.
///
/// Masters of ssh outlive a process that is killed; the next [`open`](Self::open) on the same runtime folder ends
/// them.
#[derive(Debug, Clone)]
pub struct Transport(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: TransportOptions,
    slots: Arc<slot::Slots>,
    pool: ssh::Pool,
    inside: Arc<inside::Inside>,
    http: http::Clients,
    clusters: kube::Clusters,
    scratch: AtomicU64,
}

impl Transport {
    /// The journal's name.
    #[cfg(feature = "serve")]
    pub(crate) fn journal(&self) -> &str {
        &self.0.options.journal
    }

    /// Makes the folders, clears what a killed process left (scripts, ssh masters and their folders).
    ///
    /// Only the process that holds the journal may open it: it ends masters it did not start. Blocks for the time
    /// that `ssh -O exit` needs, when there are any.
    ///
    /// # Errors
    /// [`TransportError`] when a folder cannot be made private or a name does not fit.
    pub fn open(options: TransportOptions) -> Result<Self, TransportError> {
        if options.runtime.as_os_str().len() > RUNTIME_MAX {
            return Err(TransportError::TooLong { path: options.runtime });
        }
        let journal = &options.journal;
        let plain = journal.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if journal.is_empty() || journal.len() > 64 || !plain {
            return Err(TransportError::Name { text: journal.clone() });
        }
        if i64::try_from(options.token).is_err() {
            return Err(TransportError::Name { text: options.token.to_string() });
        }
        private_folder(&options.runtime)?;
        let slots = options.state.join("slots");
        private_folder(&slots)?;
        let scratch = options.state.join("scratch");
        private_folder(&scratch)?;
        let folder = |source| TransportError::Folder { path: scratch.clone(), source };
        for entry in fs::read_dir(&scratch).map_err(folder)? {
            fs::remove_file(entry.map_err(folder)?.path()).map_err(folder)?;
        }
        let stale = |source| TransportError::Folder { path: options.runtime.clone(), source };
        ssh::end_stale_masters(&options.runtime).map_err(stale)?;
        let slots = Arc::new(slot::Slots::new(slots, process::boot_id()));
        let pool = ssh::Pool::new(options.runtime.clone());
        let (inside, http) = (Arc::new(inside::Inside::new()), http::Clients::default());
        let (clusters, scratch) = (kube::Clusters::default(), AtomicU64::new(0));
        Ok(Self(Arc::new(Shared { options, slots, pool, inside, http, clusters, scratch })))
    }

    /// Ends the ssh connections. Commands on hosts are not hurt by it; a later use connects again.
    pub async fn close(&self) {
        self.0.pool.close().await;
    }

    /// Runs an attempt here.
    pub(crate) async fn run(
        &self,
        attempt: &str,
        launch: &Launch,
        capture: Capture,
        timeout: Duration,
        stop: Option<Stop>,
    ) -> Report {
        match self.0.slots.take(attempt) {
            Ok(slot) => local::run(self, launch, Some(slot), capture, timeout, stop).await,
            Err(error) => {
                let folder = self.0.options.state.join("slots");
                Report::not_started(false, format!("cannot take a slot in `{}`: {error}", folder.display()))
            }
        }
    }

    /// Runs a look here: no slot, no log; dropping it kills it.
    pub(crate) async fn look(&self, launch: &Launch, capture: Capture, timeout: Duration) -> Report {
        local::run(self, launch, None, capture, timeout, None).await
    }

    /// Proves an attempt over that ran here.
    pub(crate) async fn settle(&self, attempt: &str, timeout: Duration) -> Proof {
        settle::settle(&self.0.slots, attempt, timeout).await
    }

    /// Marks an attempt that works inside this process as under way, until what is given back is dropped.
    pub(crate) fn begin_inside(&self, attempt: &str) -> Working {
        self.0.inside.begin(attempt)
    }

    /// Proves an attempt over that worked inside a process of ours.
    pub(crate) async fn settle_inside(&self, attempt: &str, timeout: Duration) -> Proof {
        self.0.inside.settle(attempt, timeout).await
    }

    /// Where an attempt's log goes.
    pub(crate) fn log(&self, relative: String) -> LogPlace {
        LogPlace { state: self.0.options.state.clone(), relative }
    }

    /// A path for a private file that does not exist yet.
    fn scratch_file(&self) -> io::Result<PathBuf> {
        let number = self.0.scratch.fetch_add(1, Ordering::Relaxed);
        let path = self.0.options.state.join("scratch").join(format!("{}-{number}", std::process::id()));
        std::path::absolute(path)
    }
}

/// Makes a folder that only we may read and write, or checks that it is one.
fn private_folder(path: &Path) -> Result<(), TransportError> {
    let folder = |source| TransportError::Folder { path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(folder)?;
    let found = fs::symlink_metadata(path).map_err(folder)?;
    if !found.is_dir() || found.uid() != rustix::process::getuid().as_raw() || found.mode() & 0o022 != 0 {
        return Err(TransportError::NotPrivate { path: path.to_owned() });
    }
    Ok(())
}
