//! Events as the journal keeps them: JSON with a version; a large one as a content-addressed body of its own.

use serde::{Deserialize, Serialize};

use crate::journal::{Bodies, JournalError};
use crate::plan::recorded::FileRef;
use crate::saga::{EVENT_VERSION, Event};

/// Events longer than this go to a body file, and the record names it: definitions of hundreds of steps do.
const INLINE_MAX: usize = 48 * 1024;

#[derive(Serialize)]
struct Written<'a> {
    v: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a Event>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<FileRef>,
}

#[derive(Deserialize)]
struct Read {
    v: u32,
    #[serde(default)]
    event: Option<serde_json::Value>,
    #[serde(default)]
    body: Option<FileRef>,
}

#[derive(Deserialize)]
struct Whole {
    v: u32,
    event: Event,
}

impl Whole {
    /// The event, unless a newer version wrote it: what this one can read of it may be half of what it says.
    fn known(self) -> Result<Event, CodecError> {
        if self.v > EVENT_VERSION { Err(CodecError::Newer { found: self.v }) } else { Ok(self.event) }
    }
}

/// A record that may name a body.
#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    body: Option<FileRef>,
}

/// The one thing of a `run_opened` that is asked for without the rest of it.
#[derive(Deserialize)]
struct Opening {
    event: OpeningEvent,
}

#[derive(Deserialize)]
struct OpeningEvent {
    what: OpeningWhat,
}

#[derive(Deserialize)]
struct OpeningWhat {
    run_opened: OpeningRun,
}

#[derive(Deserialize)]
struct OpeningRun {
    definition: OpeningDefinition,
}

#[derive(Deserialize)]
struct OpeningDefinition {
    path: String,
}

/// Why an event cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// It was written by a newer version.
    #[error(
        "an event has version {found}, and this binary reads versions up to {EVENT_VERSION}: use the newer \
         `runner` that wrote it"
    )]
    Newer {
        /// Its version.
        found: u32,
    },
    /// It is not what an event looks like.
    #[error("an event cannot be read")]
    Malformed(#[source] serde_json::Error),
    /// It has neither an event nor a body.
    #[error("an event's record is empty")]
    Empty,
    /// Its body cannot be written or read.
    #[error(transparent)]
    Body(#[from] JournalError),
}

/// An event as bytes for the journal. A large one is put among the bodies first, and is durable there.
///
/// # Errors
/// [`CodecError::Body`] when a body cannot be stored.
pub fn encode(event: &Event, bodies: &Bodies) -> Result<Vec<u8>, CodecError> {
    let whole = Written { v: EVENT_VERSION, event: Some(event), body: None };
    let bytes = serde_json::to_vec(&whole).map_err(CodecError::Malformed)?;
    if bytes.len() <= INLINE_MAX {
        return Ok(bytes);
    }
    let body = Some(bodies.put(&bytes)?);
    serde_json::to_vec(&Written { v: EVENT_VERSION, event: None, body }).map_err(CodecError::Malformed)
}

/// The event that `bytes` say.
///
/// # Errors
/// [`CodecError`] when it is newer, damaged, or its body is.
pub fn decode(bytes: &[u8], bodies: &Bodies) -> Result<Event, CodecError> {
    // The usual event first, in one pass.
    match serde_json::from_slice::<Whole>(bytes) {
        Ok(whole) => whole.known(),
        Err(error) => {
            let read: Read = serde_json::from_slice(bytes).map_err(CodecError::Malformed)?;
            if read.v > EVENT_VERSION {
                return Err(CodecError::Newer { found: read.v });
            }
            match (read.event, read.body) {
                (Some(_), _) => Err(CodecError::Malformed(error)),
                (None, Some(body)) => {
                    let bytes = bodies.get(&body)?;
                    let whole: Whole = serde_json::from_slice(&bytes).map_err(CodecError::Malformed)?;
                    whole.known()
                }
                (None, None) => Err(CodecError::Empty),
            }
        }
    }
}

/// The path of the plan file in a run's first event; a definition of a thousand steps is passed over, not built.
///
/// # Errors
/// As [`decode`]; also when it is another event.
pub(super) fn plan_path(bytes: &[u8], bodies: &Bodies) -> Result<String, CodecError> {
    let read: Named = serde_json::from_slice(bytes).map_err(CodecError::Malformed)?;
    let stored = read.body.map(|body| bodies.get(&body)).transpose()?;
    let opening: Opening =
        serde_json::from_slice(stored.as_deref().unwrap_or(bytes)).map_err(CodecError::Malformed)?;
    Ok(opening.event.what.run_opened.definition.path)
}
