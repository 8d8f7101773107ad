//! One ssh master: a connection to a host that every call shares.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use openssh::Session;
use tokio::sync::Semaphore;

use super::Target;
use super::refusal::Refusal;
use crate::transport::spawn_alone;

/// How long a connection may take, in seconds: TCP and the key exchange (`ConnectTimeout` of ssh_config(5)).
const CONNECT_SECONDS: u64 = 15;

/// How long connecting may take in all, authentication and a jump host included.
const CONNECT_MAX: Duration = Duration::from_secs(45);

/// A silent connection is asked for life this often, in seconds, and given up after three times without an answer.
const ALIVE_SECONDS: u64 = 15;

/// How long a stale master has to obey `-O exit`.
const EXIT_MAX: Duration = Duration::from_secs(5);

/// How many commands share a connection at once. sshd takes 10 by default (`MaxSessions`); two are left for ending
/// commands.
const SESSIONS_MAX: usize = 8;

/// What folders of masters begin with.
const PREFIX: &str = "m";

/// A connection. Its folder and its process end with [`end`](Self::end); a killed process leaves both behind.
#[derive(Debug)]
pub(super) struct Master {
    folder: PathBuf,
    pub(super) session: Arc<Session>,
    pub(super) sessions: Arc<Semaphore>,
}

impl Master {
    /// Connects: strict host keys, no questions, the user's configuration, agent and jump hosts.
    ///
    /// ssh goes to the background once it is authenticated. It has its own process group, so that a Ctrl-C in the
    /// terminal is not for it.
    pub(super) async fn connect(runtime: &Path, target: &Target) -> Result<Self, Refusal> {
        let machine = |what: &str, error: io::Error| {
            Refusal::new(false, target, &format!("{what}: {error}"), "look at this machine")
        };
        if target.address.starts_with('-') || target.address.is_empty() {
            return Err(Refusal::new(true, target, "its address is not one", "correct `address`"));
        }
        let folder = new_folder(runtime).map_err(|error| machine("cannot make a folder for ssh", error))?;
        let log = folder.join("log");
        let socket = folder.join("s");
        let mut command = command(target, &socket, &log);
        let started = spawn_alone(|| command.spawn());
        let mut child = match started {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                remove(&folder);
                return Err(Refusal::new(
                    true,
                    target,
                    "there is no `ssh` on this machine",
                    "install openssh-client",
                ));
            }
            Err(error) => {
                remove(&folder);
                return Err(machine("cannot start ssh", error));
            }
        };
        // A thread of its own waits: ssh's first process ends as soon as the connection stands.
        let pid = child.id();
        let waiting = tokio::task::spawn_blocking(move || child.wait());
        let status = match tokio::time::timeout(CONNECT_MAX, waiting).await {
            Ok(Ok(status)) => status.map_err(|error| machine("cannot wait for ssh", error))?,
            Ok(Err(_)) => return Err(machine("cannot wait for ssh", io::ErrorKind::Other.into())),
            Err(_) => {
                crate::transport::local::signal_group(pid, rustix::process::Signal::KILL);
                remove(&folder);
                return Err(Refusal::from_log(target, "Connection timed out"));
            }
        };
        if !status.success() {
            let words =
                fs::read(&log).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default();
            remove(&folder);
            return Err(Refusal::from_log(target, &words));
        }
        let session = Arc::new(Session::resume_mux(socket.into_boxed_path(), Some(log.into_boxed_path())));
        Ok(Self { folder, session, sessions: Arc::new(Semaphore::new(SESSIONS_MAX)) })
    }

    /// Ends the connection and removes its folder.
    pub(super) async fn end(&self) {
        let folder = self.folder.clone();
        let ended = tokio::task::spawn_blocking(move || end_one(&folder)).await;
        if let Err(error) = ended {
            tracing::warn!(%error, "cannot end an ssh master");
        }
    }

    /// Whether the connection stands.
    pub(super) async fn is_alive(&self) -> bool {
        self.session.check().await.is_ok()
    }
}

fn command(target: &Target, socket: &Path, log: &Path) -> Command {
    let mut command = Command::new("ssh");
    command.arg("-E").arg(log).arg("-S").arg(socket).args(["-M", "-f", "-N", "-x", "-a", "-T"]);
    for option in [
        "ControlPersist=yes",
        "BatchMode=yes",
        "StrictHostKeyChecking=yes",
        "ClearAllForwardings=yes",
        "PermitLocalCommand=no",
        "RemoteCommand=none",
        "ServerAliveCountMax=3",
    ] {
        command.arg("-o").arg(option);
    }
    command.arg("-o").arg(format!("ConnectTimeout={CONNECT_SECONDS}"));
    command.arg("-o").arg(format!("ServerAliveInterval={ALIVE_SECONDS}"));
    if let Some(port) = target.port {
        command.arg("-p").arg(port.to_string());
    }
    if let Some(file) = &target.identity_file {
        command.args(["-o", "IdentitiesOnly=yes", "-i"]).arg(file);
    }
    if let Some(file) = &target.known_hosts {
        command.arg("-o").arg(format!("UserKnownHostsFile=\"{file}\""));
    }
    if let Some(jump) = &target.jump {
        command.arg("-J").arg(jump);
    }
    command.arg("--").arg(&target.address);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command
}

/// A folder of its own for a master.
fn new_folder(runtime: &Path) -> io::Result<PathBuf> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let folder =
        runtime.join(format!("{PREFIX}{}.{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    Ok(folder)
}

/// Ends every master that an earlier process left in this folder. Only the holder of the journal may do that.
pub(in crate::transport) fn end_stale_masters(runtime: &Path) -> io::Result<()> {
    for entry in fs::read_dir(runtime)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && entry.file_type()?.is_dir() {
            tracing::debug!(folder = %entry.path().display(), "ending a stale ssh master");
            end_one(&entry.path());
        }
    }
    Ok(())
}

/// Asks the master behind a folder's socket to exit, then removes the folder. One that is gone is fine.
fn end_one(folder: &Path) {
    let socket = folder.join("s");
    if socket.exists() {
        let mut ask = Command::new("ssh");
        ask.arg("-S").arg(&socket).args(["-F", "none", "-O", "exit", "--", "none"]);
        ask.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        match spawn_alone(|| ask.spawn()) {
            Ok(mut child) => {
                let limit = std::time::Instant::now() + EXIT_MAX;
                while child.try_wait().is_ok_and(|status| status.is_none()) {
                    if std::time::Instant::now() > limit {
                        crate::transport::local::signal_group(child.id(), rustix::process::Signal::KILL);
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            Err(error) => tracing::warn!(%error, "cannot run ssh to end a master"),
        }
    }
    remove(folder);
}

fn remove(folder: &Path) {
    if let Err(error) = fs::remove_dir_all(folder)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, folder = %folder.display(), "cannot remove the folder of an ssh master");
    }
}
