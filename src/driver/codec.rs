//! Events as the journal keeps them: JSON with a version; a large one as a content-addressed body of its own.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::journal::{Bodies, JournalError};
use crate::plan::recorded::{Definition, FileRef};
use crate::saga::{EVENT_VERSION, Event, What};

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

/// A definition that is at hand, and how it is recorded: where the same is recorded, it is this one and need not be made of it.
#[derive(Debug)]
pub struct Known {
    definition: Arc<Definition>,
    recorded: Vec<u8>,
}

impl Known {
    /// Takes 1 ms for a thousand steps, of the 5 that reading the record takes.
    pub fn new(definition: Arc<Definition>) -> Self {
        // One that cannot be written is like none.
        Self { recorded: serde_json::to_vec(&*definition).unwrap_or_default(), definition }
    }

    /// The event of a body in which this very definition is recorded.
    fn event(&self, body: &[u8]) -> Option<Whole> {
        const KEY: &[u8] = b"\"definition\":";
        let at = memchr::memmem::find(body, KEY)? + KEY.len();
        let (before, rest) = body.split_at(at);
        let after = rest.strip_prefix(self.recorded.as_slice()).filter(|_| !self.recorded.is_empty())?;
        let mut whole: Whole = serde_json::from_slice(&[before, ANY_DEFINITION, after].concat()).ok()?;
        match &mut whole.event.what {
            What::RunOpened { definition, .. } | What::PlanAmended { definition, .. }
                if definition.steps.is_empty() && definition.path.is_empty() =>
            {
                *definition = Arc::clone(&self.definition);
                Some(whole)
            }
            _ => None,
        }
    }
}

/// Stands where a definition is known.
const ANY_DEFINITION: &[u8] =
    br#"{"version":1,"name":"any","path":"","folder":"","on_failure":"halt","parallelism":1,"steps":[]}"#;

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

/// The event that `bytes` say by themselves; none where they name a body, or say nothing that can be read.
pub(super) fn decode_alone(bytes: &[u8]) -> Option<Event> {
    serde_json::from_slice::<Whole>(bytes).ok()?.known().ok()
}

/// The event that `bytes` say.
///
/// # Errors
/// [`CodecError`] when it is newer, damaged, or its body is.
pub fn decode(bytes: &[u8], bodies: &Bodies) -> Result<Event, CodecError> {
    decode_knowing(bytes, bodies, None)
}

/// The same; a definition in it that is `known` is that one.
pub(super) fn decode_knowing(
    bytes: &[u8],
    bodies: &Bodies,
    known: Option<&Known>,
) -> Result<Event, CodecError> {
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
                    match known.and_then(|known| known.event(&bytes)) {
                        Some(whole) => whole,
                        None => serde_json::from_slice::<Whole>(&bytes).map_err(CodecError::Malformed)?,
                    }
                    .known()
                }
                (None, None) => Err(CodecError::Empty),
            }
        }
    }
}

/// The path of the plan file in a run's first event. Nothing of it is read beyond the path, which stands at its beginning: a
/// definition of a thousand steps has a megabyte, and is checked by whoever takes the run.
///
/// # Errors
/// As [`decode`]; also when it is another event.
pub(super) fn plan_path(bytes: &[u8], bodies: &Bodies) -> Result<String, CodecError> {
    let read: Named = serde_json::from_slice(bytes).map_err(CodecError::Malformed)?;
    let stored = read.body.map(|body| bodies.beginning(&body, BEGINNING)).transpose()?;
    let found = Cell::new(None);
    let place = Place { keys: &["event", "what", "run_opened", "definition", "path"], found: &found };
    let ended =
        place.deserialize(&mut serde_json::Deserializer::from_slice(stored.as_deref().unwrap_or(bytes)));
    match (found.take(), ended) {
        (Some(path), _) => Ok(path),
        (None, Err(error)) => Err(CodecError::Malformed(error)),
        (None, Ok(())) => Err(CodecError::Empty),
    }
}

/// Reads a body that the record names, so that damage in it is noticed.
///
/// # Errors
/// As [`decode`].
pub(super) fn check_body(bytes: &[u8], bodies: &Bodies) -> Result<(), CodecError> {
    let read: Named = serde_json::from_slice(bytes).map_err(CodecError::Malformed)?;
    Ok(read.body.map_or(Ok(()), |body| bodies.get(&body).map(drop))?)
}

/// How much of a definition has its path in it, in bytes: what stands before are a name and one line for people.
const BEGINNING: usize = 64 * 1024;

/// A text in an object in an object, by the keys that lead to it. Reading ends there, with an error that says nothing.
struct Place<'a> {
    keys: &'a [&'a str],
    found: &'a Cell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if !self.keys.is_empty() {
            return deserializer.deserialize_map(self);
        }
        self.found.set(Some(String::deserialize(deserializer)?));
        Err(D::Error::custom("found"))
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match self.keys.split_first() {
                Some((first, keys)) if *first == key => {
                    map.next_value_seed(Place { keys, found: self.found })?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A definition at hand is taken where the very same is recorded, and nowhere else.
    #[test]
    fn what_is_known_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let bodies = Bodies::at(folder.path());
        let any: Definition = serde_json::from_slice(ANY_DEFINITION).unwrap();
        // Long enough for a body, with what could be taken for the beginning or the end of it.
        let definition = |name: &str| {
            let description = format!("\"definition\":{{}}{}", "x".repeat(INLINE_MAX));
            Arc::new(Definition { name: name.to_owned().try_into().unwrap(), description, ..any.clone() })
        };
        let run = crate::plan::RunId::try_from("p-1".to_owned()).unwrap();
        let at = crate::saga::Stamp { wall_ms: 1, boot: 2, up_ms: 3 };
        let event = |definition: &Arc<Definition>, amends: bool| {
            let (definition, by) = (Arc::clone(definition), "\"definition\":".to_owned());
            let what = match amends {
                true => What::PlanAmended { definition, changes: Vec::new(), by },
                false => What::RunOpened { run: run.clone(), definition, by },
            };
            Event { seq: 1, at, what }
        };
        let recorded = |event: &Event| match &event.what {
            What::RunOpened { definition, .. } | What::PlanAmended { definition, .. } => {
                Arc::clone(definition)
            }
            other => panic!("{other:?}"),
        };
        let (ours, other) = (definition("ours"), definition("other"));
        for amends in [false, true] {
            let written = event(&ours, amends);
            let bytes = encode(&written, &bodies).unwrap();
            let read = |known: Option<&Known>| {
                let read = decode_knowing(&bytes, &bodies, known).unwrap();
                assert_eq!(read, written);
                Arc::ptr_eq(&recorded(&read), &ours)
            };
            let (this, another) = (Known::new(Arc::clone(&ours)), Known::new(Arc::clone(&other)));
            assert!(read(Some(&this)));
            assert!(!read(Some(&another)) && !read(None));
        }
    }

    #[test]
    fn the_path_is_found_without_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let bodies = Bodies::at(folder.path());
        let before = r#"{"v":1,"event":{"seq":1,"at":{"path":"at"},"what":{"run_opened":{"run":"p-1","definition":{"version":1"#;
        let path = |text: String| plan_path(text.as_bytes(), &bodies).ok();
        let said = r#""description":"\"path\":\"/no\"","path":"/srv/ü \"p\".toml","folder":"/srv"#;
        let whole = |rest: &str| format!("{before},{said}\",\"steps\":\"{rest}\"}}}}}}}}}}");
        assert_eq!(path(whole("")), Some("/srv/ü \"p\".toml".to_owned()));
        for other in [before.to_owned(), format!("{before}}}}}}}}}}}"), String::new(), "{\"v\":1}".to_owned()]
        {
            assert_eq!(path(other), None);
        }
        // The same in a body, which is much longer than what is read of it.
        let body = bodies.put(whole(&"x".repeat(2 * BEGINNING)).as_bytes()).unwrap();
        let named = serde_json::to_string(&Written { v: 1, event: None, body: Some(body) }).unwrap();
        assert_eq!(path(named), Some("/srv/ü \"p\".toml".to_owned()));
    }
}
