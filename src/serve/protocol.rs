//! What is said over the control socket.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::driver::Submission;
use crate::plan::RunId;
use crate::saga::{Command, Refusal};

/// The version of this protocol. A holder refuses what is newer by name of both.
pub const PROTOCOL_VERSION: u32 = 1;

/// The longest request or answer, in bytes: a submission carries a whole plan.
pub(super) const LINE_MAX: usize = 64 * 1024 * 1024;

/// What a client asks.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Whether it answers at all.
    Hello,
    /// All runs.
    Runs,
    /// Stored events of a run.
    Read {
        /// The run.
        run: RunId,
        /// From this sequence number on.
        from: u64,
        /// At most so many.
        limit: u64,
    },
    /// What is kept of a run beside its events.
    Kept {
        /// The run.
        run: RunId,
    },
    /// The newest folded state of a run, so that not every event has to be read.
    Checkpoint {
        /// The run.
        run: RunId,
    },
    /// The hash of a run up to and with an event.
    Hash {
        /// The run.
        run: RunId,
        /// The event's sequence number.
        seq: u64,
    },
    /// Stored events of a run from `from` on, and those that come, until it rests.
    Follow {
        /// The run.
        run: RunId,
        /// From this sequence number on.
        from: u64,
    },
    /// A wish to a run that is being driven.
    Wish {
        /// The run.
        run: RunId,
        /// The wish.
        command: Command,
        /// Who asks.
        by: String,
    },
    /// A wish to a run that is not being driven; recorded, and nothing starts.
    Record {
        /// The run.
        run: RunId,
        /// The wish.
        command: Command,
        /// Who asks.
        by: String,
    },
    /// A run to drive. Carries the values of secrets.
    Submit(Box<Submission>),
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Request::Hello => "hello",
            Request::Runs => "runs",
            Request::Read { .. } => "read",
            Request::Kept { .. } => "kept",
            Request::Checkpoint { .. } => "checkpoint",
            Request::Hash { .. } => "hash",
            Request::Follow { .. } => "follow",
            Request::Wish { .. } => "wish",
            Request::Record { .. } => "record",
            Request::Submit(_) => "submit",
        })
    }
}

/// A request as it stands on the line.
#[derive(Serialize, Deserialize)]
pub(super) struct Envelope {
    pub(super) v: u32,
    pub(super) request: Request,
}

/// What the holder answers; some requests have several.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// All runs: id and last sequence number.
    Runs(Vec<(RunId, u64)>),
    /// One stored event: its sequence number and its record.
    Event(u64, Box<serde_json::value::RawValue>),
    /// What is kept of a run beside its events.
    Kept(Option<Box<serde_json::value::RawValue>>),
    /// A folded state and the sequence number of its last event, when there is one.
    Checkpoint(Option<(u64, Box<serde_json::value::RawValue>)>),
    /// A hash in hex, when there is such an event.
    Hash(Option<String>),
    /// It is done: for a wish, on stable storage.
    Done,
    /// The submission was taken.
    Submitted {
        /// The run.
        run: RunId,
        /// It was being driven already.
        attached: bool,
    },
    /// The run that was followed rests.
    Rest(RestLine),
    /// The wish was refused; nothing was changed.
    Refused(Refusal),
    /// The run is not being driven.
    Gone,
    /// The run is being driven, and the request would change it.
    Running {
        /// The run.
        run: RunId,
    },
    /// Secrets that the run needs cannot be had where the journal is held; nothing was changed.
    SecretsMissing {
        /// Which, and why.
        message: String,
    },
    /// It could not be done.
    Error {
        /// What happened, causes included.
        message: String,
    },
}

/// How a run that was followed came to rest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestLine {
    /// When there is something to do again, in milliseconds.
    pub wake_ms: Option<u64>,
    /// A person stopped the process that drove it.
    pub stopped: bool,
    /// The exit code that goes with what stopped it.
    #[serde(default)]
    pub signal: Option<u8>,
    /// Its first wishes were refused.
    pub refused: Option<Refusal>,
    /// It could not go on.
    pub error: Option<String>,
}
