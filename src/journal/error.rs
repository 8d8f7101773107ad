//! What can go wrong with the journal, in a form that every waiter of a group commit can have a copy of.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::plan::RunId;

/// Why the journal could not do what it was asked. Cheap to clone: causes are shared.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The run is in the archive: it can be read, and nothing else. Nothing was written.
    #[error("run `{run}` is archived: it can be read, and nothing is added to it any more")]
    Archived {
        /// The run.
        run: RunId,
    },
    /// There is no journal, and [`Options::create`](super::Options::create) was off. Nothing was written.
    #[error("there is no journal in `{}`", folder.display())]
    NotFound {
        /// The state folder.
        folder: PathBuf,
    },
    /// Another process, or another place in this one, holds the journal. Nothing was written.
    #[error("the journal in `{}` is held by another process{}", folder.display(), pid_text(*pid))]
    Held {
        /// The state folder.
        folder: PathBuf,
        /// The holder's process id as it noted it, if it could be read.
        pid: Option<u32>,
    },
    /// A newer `runner` wrote this journal. Nothing was written.
    #[error(
        "the journal in `{}` has format {found}, and this binary knows formats up to {known}",
        folder.display()
    )]
    Newer {
        /// The state folder.
        folder: PathBuf,
        /// The format that was found.
        found: u32,
        /// The newest format this binary knows, [`FORMAT`](super::FORMAT).
        known: u32,
    },
    /// The state folder, or something that must be a folder inside it, is none.
    #[error("`{}` is not a folder", path.display())]
    NotAFolder {
        /// What was found instead.
        path: PathBuf,
    },
    /// The file system has no room left. Nothing of the refused batch counts; the journal is poisoned.
    #[error("no space left to write `{}`", path.display())]
    DiskFull {
        /// What was being written.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: Arc<io::Error>,
    },
    /// The operating system refused something else.
    #[error("cannot {what} `{}`", path.display())]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: Arc<io::Error>,
    },
    /// An earlier write or sync failed, so what is on stable storage is not known any more. Nothing was written,
    /// and nothing will be for as long as this process lives; opening the journal again in a new one is safe.
    #[error("the journal in `{}` takes no more events in this process, because a write failed before", folder.display())]
    Poisoned {
        /// The state folder.
        folder: PathBuf,
        /// The first failure.
        #[source]
        source: Arc<JournalError>,
    },
    /// What is stored is not what was acknowledged. Nothing was repaired and nothing more is written.
    #[error(
        "the journal at `{}` is damaged{}: {what}",
        path.display(),
        place_text(run.as_ref(), *seq)
    )]
    Damaged {
        /// The folder or file that holds the damage.
        path: PathBuf,
        /// The run it was noticed in, if it was one.
        run: Option<RunId>,
        /// The event it was noticed at, if it was one.
        seq: Option<u64>,
        /// What does not fit.
        what: String,
    },
    /// An event that is not the next of its run. Nothing of the batch was written; a bug of the caller.
    #[error("event {given} of run `{run}` was given to the journal, but the next one is {expected}")]
    OutOfOrder {
        /// The run.
        run: RunId,
        /// The sequence number that would be right.
        expected: u64,
        /// The one that was given.
        given: u64,
    },
    /// An event body above [`BODY_MAX`](super::BODY_MAX). Nothing of the batch was written.
    #[error(
        "event {seq} of run `{run}` has {bytes} bytes, and the journal takes at most {max}: large contents belong into \
         a body file that the event names"
    )]
    TooLarge {
        /// The run.
        run: RunId,
        /// The event.
        seq: u64,
        /// Its length.
        bytes: u64,
        /// The longest one allowed.
        max: u64,
    },
    /// The journal does not know the run.
    #[error("the journal knows no run `{run}`")]
    NoSuchRun {
        /// The run that was asked for.
        run: RunId,
    },
    /// Nothing is stored under this content hash.
    #[error("the stored content `{sha256}` is missing at `{}`", path.display())]
    NoSuchBody {
        /// SHA-256, lower-case hex.
        sha256: String,
        /// Where it should be.
        path: PathBuf,
    },
    /// The thread that owns the journal has ended.
    #[error("the journal was closed")]
    Closed,
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

fn place_text(run: Option<&RunId>, seq: Option<u64>) -> String {
    match (run, seq) {
        (Some(run), Some(seq)) => format!(" at event {seq} of run `{run}`"),
        (Some(run), None) => format!(" in run `{run}`"),
        (None, Some(seq)) => format!(" at lease {seq}"),
        (None, None) => String::new(),
    }
}

/// The operating system's answer out of what sled makes of it: an error that holds the `Debug` text of another.
fn plain(source: io::Error) -> io::Error {
    if source.raw_os_error().is_some() {
        return source;
    }
    let text = source.to_string();
    let code = text.split_once("Os { code: ").and_then(|(_, rest)| rest.split(',').next()?.parse().ok());
    code.map_or(source, io::Error::from_raw_os_error)
}

impl JournalError {
    /// An error of the operating system; a full disk and a quota become [`JournalError::DiskFull`].
    pub(super) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        let source = plain(source);
        let (path, kind) = (path.to_owned(), source.kind());
        let source = Arc::new(source);
        match kind {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path, source },
            io::ErrorKind::NotADirectory => Self::NotAFolder { path },
            _ => Self::Io { what, path, source },
        }
    }

    /// Damage that belongs to no run.
    pub(super) fn damaged(path: &Path, what: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), run: None, seq: None, what: what.into() }
    }

    /// An error of sled. What it reads and does not understand is damage, whatever it calls it.
    pub(super) fn sled(what: &'static str, path: &Path, source: sled::Error) -> Self {
        match source {
            sled::Error::Io(source)
                if !matches!(source.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) =>
            {
                Self::io(what, path, source)
            }
            sled::Error::Corruption { .. } => Self::damaged(path, "a part of the store fails its checksum"),
            other => Self::damaged(path, format!("the store says: {other}")),
        }
    }

    /// Whether the failure leaves unknown what is on stable storage.
    pub(super) fn poisons(&self) -> bool {
        matches!(
            self,
            Self::Io { .. } | Self::DiskFull { .. } | Self::Damaged { .. } | Self::NotAFolder { .. }
        )
    }
}
