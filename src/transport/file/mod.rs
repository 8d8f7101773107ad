//! Single files, here and on hosts: looked at, put into place whole, removed.
//!
//! A file is never seen half-written: its content goes into a new file of the same folder, which is synced and then
//! renamed over the old one, and the folder is synced after that. A crash in between leaves the old file and at most
//! the new one beside it, under a name that the next write or removal of the same step clears. The owner and group of
//! a file that is replaced are kept; extended attributes and ACLs are not. A symbolic link at the end of the path is
//! refused, because replacing it and writing through it are both a surprise; links before it are followed. On a host
//! it is POSIX sh that does it, and what it writes comes on its stdin.

mod local;
mod remote;

use std::time::Duration;

use super::capture::Capture;
use super::launch::Report;
use super::stop::Stop;
use super::{Target, Transport};

pub(crate) use remote::told;

/// The largest file on this machine, in bytes: as large as one that a plan may name, because its old content is kept
/// beside the journal for every run.
pub(crate) const FILE_MAX: u64 = 16 << 20;

/// The largest file on a host, in bytes. A shell there reads it byte by byte: 1 MiB takes seconds.
pub(crate) const REMOTE_FILE_MAX: u64 = 1 << 20;

/// Where a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilePlace {
    /// Absent: on this machine.
    pub(crate) host: Option<Target>,
    /// Absolute, without line breaks.
    pub(crate) path: String,
}

/// What is at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing; and these folders of its path are not there either, innermost first.
    Nothing { missing: Vec<String> },
    /// A regular file.
    File(Present),
}

/// A regular file that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Present {
    pub(crate) content: Vec<u8>,
    /// Permission bits, set-id and sticky bits included.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// What is to become of a place.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    /// What shall be there; absent: nothing.
    pub(crate) file: Option<Present>,
    /// Whose owner shall be kept: without it the file belongs to who writes it.
    pub(crate) keep_owner: bool,
    /// Folders that are missing are made, with mode 0755.
    pub(crate) parents: bool,
    /// Folders that are removed afterwards as far as they are empty, innermost first.
    pub(crate) folders: Vec<String>,
    /// The name of the new file until it has its own; the same for all attempts of a step.
    pub(crate) temporary: String,
}

/// Why a place could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileError {
    /// Trying again is in vain.
    pub(crate) permanent: bool,
    /// In words that name the place.
    pub(crate) message: String,
}

impl FilePlace {
    /// The place, for messages.
    pub(crate) fn shown(&self) -> String {
        match &self.host {
            None => format!("`{}`", self.path),
            Some(host) => format!("`{}` on {}", self.path, host.shown()),
        }
    }

    /// The largest file that may be there, in bytes.
    pub(crate) fn most(&self) -> u64 {
        if self.host.is_some() { REMOTE_FILE_MAX } else { FILE_MAX }
    }

    fn error(&self, permanent: bool, what: &str) -> FileError {
        FileError { permanent, message: format!("{}: {what}", self.shown()) }
    }

    fn too_large(&self) -> FileError {
        let most = self.most();
        self.error(true, &format!("it has more than {most} bytes, the most for a file here; use a command"))
    }
}

impl Transport {
    /// Looks at a file. Cancel-safe.
    pub(crate) async fn look_at_file(
        &self,
        place: &FilePlace,
        timeout: Duration,
    ) -> Result<Found, FileError> {
        match &place.host {
            None => local::look(place, timeout).await,
            Some(host) => remote::look(self, host, place, timeout).await,
        }
    }

    /// Puts a file into its place, or removes it. Here the attempt is one inside this process, to be settled as such;
    /// on a host it is one of the wrapper's, whose reports are read by [`told`]. Spawn it.
    pub(crate) async fn change_file(
        &self,
        place: &FilePlace,
        attempt: &str,
        write: Write,
        capture: Capture,
        timeout: Duration,
        stop: Option<Stop>,
    ) -> Report {
        let size = write.file.as_ref().map_or(0, |file| file.content.len() as u64);
        if size > place.most() {
            let FileError { permanent, message } = place.too_large();
            return Report::not_started(permanent, message);
        }
        match &place.host {
            None => local::change(self, place, attempt, write, timeout, stop).await,
            Some(host) => remote::change(self, host, place, attempt, write, capture, timeout, stop).await,
        }
    }
}
