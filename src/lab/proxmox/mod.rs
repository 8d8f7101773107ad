//! A node of Proxmox VE, as far as a move of one container needs it: `pct`, `vzdump`, `qm`, `pvesh` and `pvesm` to the
//! text, the stream and the exit status of the real ones.
//!
//! Every call is a process, as there: it takes the lock of the lab's folder, reads the node, changes it and says what the
//! real tool says. The state is [`Node`], in one file; what takes time (a shutdown) is a time in that file, so that no
//! daemon is needed. Commands of a virtual machine's guest are real processes. The texts are those of pve-container
//! 5.3/6.1 and qemu-server 8.4/9.2, as the facts about Proxmox list them (sections 2 and 3).
//!
//! [`Place::install`] writes small executables with the tools' names into a folder, for the `PATH` of an sshd. Start
//! reading at [`tool`].

mod backup;
mod guest;
mod node;
mod options;
mod pct;
mod pvesh;
mod qm;
mod stand_ins;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

pub use node::{Agent, Archive, Container, Faults, Machine, Node, Pending, Snapshot, Volume};

use super::{Store, StoreError};

/// The variable that names the lab's folder to a tool.
pub const FOLDER: &str = "RUNNER_LAB";

/// The variable that a stand-in for `sudo` sets: who calls is root, whatever the node says.
pub const SUDO: &str = "RUNNER_LAB_SUDO";

/// The node's folder: its state, and its guests.
#[derive(Debug, Clone)]
pub struct Place {
    folder: PathBuf,
}

impl Place {
    /// The node that lives in a folder. Nothing is made yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Where it lives.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a volume of the storage `local` lies, `local:snippets/hook.sh`; other storages have no files here.
    pub fn path_of(&self, volume: &str) -> Option<PathBuf> {
        Some(self.folder.join("local").join(volume.strip_prefix("local:")?))
    }

    /// The node as it is now.
    ///
    /// # Errors
    /// [`StoreError`] when its file cannot be used.
    pub fn look<R>(&self, work: impl FnOnce(&Node) -> R) -> Result<R, StoreError> {
        self.locked(|store| {
            Ok(store.look(|node| {
                let mut node = node.clone();
                node.pass_time();
                work(&node)
            }))
        })
    }

    /// Changes the node. Another call sees all of the change or nothing of it.
    ///
    /// # Errors
    /// [`StoreError`] when its file cannot be used.
    pub fn change<R>(&self, work: impl FnOnce(&mut Node) -> R) -> Result<R, StoreError> {
        self.locked(|store| {
            store.change(|node| {
                node.pass_time();
                work(node)
            })
        })
    }

    fn locked<R>(&self, work: impl FnOnce(&Store<Node>) -> Result<R, StoreError>) -> Result<R, StoreError> {
        let path = self.folder.join("node.lock");
        let at = |source| StoreError::File { path: path.clone(), source };
        fs::create_dir_all(&self.folder).map_err(at)?;
        let lock = File::create(&path).map_err(at)?;
        lock.lock().map_err(at)?;
        let store = Store::open(self.folder.join("node.json"), Node::default)?;
        let result = work(&store);
        drop(lock);
        result
    }
}

/// What a tool says, and its exit status.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    out: String,
    err: String,
    code: u8,
}

impl Said {
    /// Ends well.
    fn ok(out: impl Into<String>) -> Self {
        Self { out: out.into(), ..Self::default() }
    }

    /// Fails before a task was begun. The number is that of some errno in the real one, and means nothing.
    fn die(err: impl Into<String>) -> Self {
        Self { err: line(err.into()), code: 2, ..Self::default() }
    }

    /// Fails in a task: 255, and only the last words on stderr.
    fn task(err: impl Into<String>) -> Self {
        Self { err: line(err.into()), code: 255, ..Self::default() }
    }

    /// With this on stdout before.
    fn after(mut self, out: impl Into<String>) -> Self {
        self.out = out.into();
        self
    }
}

fn line(mut text: String) -> String {
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// Runs one of the tools: `NAME ARGUMENT…`. The lab's folder is in the environment. Gives its exit status.
pub fn tool(arguments: &[OsString]) -> u8 {
    let words: Vec<String> = arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let said = match (words.split_first(), folder()) {
        (Some((name, rest)), Some(folder)) => run(&Place::new(folder), name, rest),
        _ => Ok(Said::die(format!("a tool of the lab needs its name and the variable {FOLDER}"))),
    };
    let said = said.unwrap_or_else(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        Said::die(format!("{error}{cause}"))
    });
    // Who does not listen any more is no concern of a tool.
    drop(std::io::stdout().lock().write_all(said.out.as_bytes()));
    drop(std::io::stderr().lock().write_all(said.err.as_bytes()));
    said.code
}

fn folder() -> Option<OsString> {
    std::env::var_os(FOLDER)
}

fn run(place: &Place, name: &str, words: &[String]) -> Result<Said, StoreError> {
    let (root, node) = place.look(|node| (node.root, node.name.clone()))?;
    let root = root || std::env::var_os(SUDO).is_some();
    if !root && !["hostname", "ha", "docker"].contains(&name) {
        return Ok(Said::die("please run as root"));
    }
    match name {
        "pct" => pct::run(place, words),
        "vzdump" => backup::vzdump(place, words),
        "qm" => qm::run(place, words),
        "pvesh" => pvesh::pvesh(place, words),
        "pvesm" => pvesh::pvesm(place, words),
        "hostname" => Ok(Said::ok(format!("{node}\n"))),
        "ha" => Ok(guest::ha(place, words)),
        "docker" => Ok(guest::docker(words)),
        other => Ok(Said::die(format!("the lab has no tool `{other}`"))),
    }
}
