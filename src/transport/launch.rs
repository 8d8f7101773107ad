//! What is to be run, and how it went: the words that the local and the remote way share.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::capture::Seen;

/// How long a process that was asked to end (SIGTERM) has before it is made to (SIGKILL).
pub const GRACE: Duration = Duration::from_secs(5);

/// One process to run.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) program: Program,
    /// Added to the environment.
    pub(crate) env: BTreeMap<String, String>,
    /// Where it runs; absent: the default of the place.
    pub(crate) cwd: Option<String>,
    /// Its stdin; absent: `/dev/null`.
    pub(crate) stdin: Option<Vec<u8>>,
}

/// What to execute.
#[derive(Debug, Clone)]
pub(crate) enum Program {
    /// A program and its arguments, executed directly; never empty.
    Argv(Vec<String>),
    /// A text for `sh -c`.
    Script(String),
    /// A file's content: executed as a file when it begins with `#!`, else read by `sh`.
    File(Vec<u8>),
}

/// How a process ended, and what was seen of it.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) end: End,
    pub(crate) seen: Seen,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) enum End {
    /// With this exit status.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// It took too long; proved over unless the words say otherwise.
    TimedOut(String),
    /// A person stopped it; proved over unless the words say otherwise.
    Stopped(String),
    /// Nobody knows: the connection is gone.
    Lost(String),
    /// It never started.
    NotStarted { permanent: bool, message: String },
}

/// The instant that lies this far ahead; 30 years for one that no clock can hold.
pub(crate) fn after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or_else(|| now + Duration::from_secs(30 * 365 * 86_400))
}

impl Report {
    /// A process that never started and left nothing.
    pub(crate) fn not_started(permanent: bool, message: impl Into<String>) -> Self {
        Self { end: End::NotStarted { permanent, message: message.into() }, seen: Seen::default() }
    }
}
