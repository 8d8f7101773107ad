//! `file`: one file, here or on a host, put into place whole or removed.
//!
//! Its probe compares content and mode, its inverse puts back what was there, or removes what was not. Both work from
//! what the world shows, so that any attempt may be cut off anywhere (P3). An attempt here works inside our process; on
//! a host the wrapper runs it and keeps its end.

use std::path::Path;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::fields::{Fields, OnStop};
use super::outcome::{outcome_of, refused, shown};
use super::{Action, Call, Inverse, PreImage, Probe, ready, settle_inside};
use crate::saga::{Answer, Outcome, Settlement, Verdict};
use crate::transport::{
    Capture, FileError, FilePlace, FileWrite, Found, Present, Settled, Transport, told_of_file,
};

/// The mode of a new file, unless the step says otherwise; of one whose content comes from a secret the other.
const NEW_MODE: u32 = 0o644;
/// See [`NEW_MODE`].
const NEW_SECRET_MODE: u32 = 0o600;

/// How the content of the file is called in a pre-image.
const CONTENT: &str = "content";

pub(super) struct File;

/// What the step wants.
struct Wanted {
    place: FilePlace,
    /// Absent: the file shall not be there.
    content: Option<Vec<u8>>,
    mode: Option<u32>,
    parents: bool,
    on_stop: OnStop,
}

fn wanted(call: &Call) -> Result<Wanted, String> {
    let fields = Fields::new(&call.operation);
    let content = fields.text("content")?.map(String::into_bytes);
    let source = fields.recorded("source", &call.bodies)?;
    let absent = fields.flag("absent")?;
    let content = match (content, source, absent) {
        (Some(content), None, false) | (None, Some(content), false) => Some(content),
        (None, None, true) => None,
        _ => return Err("`file` needs exactly one of `content`, `source`, `absent = true`".to_owned()),
    };
    Ok(Wanted {
        place: fields.place(&call.places.hosts, &call.folder)?,
        content,
        mode: fields.mode()?,
        parents: fields.flag("parents")?,
        on_stop: fields.on_stop(OnStop::Finish)?,
    })
}

impl Action for File {
    fn act(&self, transport: Transport, call: Call) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let wanted = match wanted(&call) {
                Ok(wanted) => wanted,
                Err(message) => return refused(&message, &call.redactor),
            };
            let there = match transport.look_at_file(&wanted.place, call.timeout).await {
                Ok(there) => there,
                Err(error) => return not_looked(error, &call),
            };
            let (uid, gid, mode, keep_owner) = match there {
                Found::File(present) => (present.uid, present.gid, present.mode, true),
                Found::Nothing { .. } => (0, 0, if call.secret { NEW_SECRET_MODE } else { NEW_MODE }, false),
            };
            let mode = wanted.mode.unwrap_or(mode);
            let file = wanted.content.map(|content| Present { content, mode, uid, gid });
            let write = FileWrite {
                file,
                keep_owner,
                parents: wanted.parents,
                folders: Vec::new(),
                temporary: temporary(&call, &wanted.place.path),
            };
            change(transport, &call, &wanted.place, write, wanted.on_stop).await
        })
    }

    fn settle(&self, transport: Transport, call: Call) -> BoxFuture<'static, Settlement> {
        let place = match Fields::new(&call.operation).place(&call.places.hosts, &call.folder) {
            Ok(place) => place,
            Err(message) => {
                return ready(Settlement::Unproved { reason: shown(&message, &call.redactor) });
            }
        };
        let Some(host) = place.host.clone() else { return settle_inside(transport, call) };
        Box::pin(async move {
            let (attempt, log) = (call.key.to_string(), transport.log(call.log()));
            match transport.settle_on(&host, &attempt, &call.redactor, log, call.timeout).await {
                Settled::Over | Settled::Gone(_) => Settlement::Over,
                Settled::Ended(report) => {
                    let report = told_of_file(&place, *report);
                    Settlement::Ended(outcome_of(report, &Map::new(), &call.redactor, true))
                }
                Settled::Unproved(reason) => Settlement::Unproved { reason: shown(&reason, &call.redactor) },
            }
        })
    }

    fn probe(&self) -> Option<&dyn Probe> {
        Some(self)
    }

    fn inverse(&self) -> Option<&dyn Inverse> {
        Some(self)
    }
}

impl Probe for File {
    fn look(&self, transport: Transport, call: Call) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let unknown = |message: &str| Answer::new(Verdict::Unknown, shown(message, &call.redactor));
            let wanted = match wanted(&call) {
                Ok(wanted) => wanted,
                Err(message) => return unknown(&message),
            };
            let there = match transport.look_at_file(&wanted.place, call.timeout).await {
                Ok(there) => there,
                Err(error) => return unknown(&error.message),
            };
            let (verdict, reason) = compare(&wanted, &there);
            let mut answer = Answer::new(verdict, shown(&reason, &call.redactor));
            answer.facts = facts(&there, call.secret);
            answer
        })
    }
}

impl Inverse for File {
    fn target(&self, call: &Call) -> Result<String, String> {
        let place = Fields::new(&call.operation).place(&call.places.hosts, &call.folder)?;
        Ok(target(&place))
    }

    fn pre_image(&self, transport: Transport, call: Call) -> BoxFuture<'static, Result<PreImage, String>> {
        Box::pin(async move {
            let wanted = wanted(&call)?;
            let there =
                transport.look_at_file(&wanted.place, call.timeout).await.map_err(|error| error.message)?;
            let sensitive = Fields::new(&call.operation).flag("sensitive")?;
            Ok(pre_image(&wanted.place, there, sensitive))
        })
    }

    fn undo(&self, transport: Transport, call: Call, pre_image: PreImage) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let read = || {
                let on_stop = Fields::new(&call.operation).on_stop(OnStop::Finish)?;
                let (place, file, folders) = read_back(&call, &pre_image)?;
                Ok::<_, String>((place, file, folders, on_stop))
            };
            let (place, file, folders, on_stop) = match read() {
                Ok(read) => read,
                Err(message) => return refused(&message, &call.redactor),
            };
            let temporary = temporary(&call, &place.path);
            let write = FileWrite { keep_owner: file.is_some(), file, parents: false, folders, temporary };
            change(transport, &call, &place, write, on_stop).await
        })
    }
}

async fn change(
    transport: Transport,
    call: &Call,
    place: &FilePlace,
    write: FileWrite,
    on_stop: OnStop,
) -> Outcome {
    let capture = Capture::new(&call.redactor, Some(transport.log(call.log())));
    let stop = (on_stop == OnStop::Stop).then(|| call.stop.clone());
    let attempt = call.key.to_string();
    let report = transport.change_file(place, &attempt, write, capture, call.timeout, stop).await;
    let mut outcome = outcome_of(report, &Map::new(), &call.redactor, place.host.is_some());
    // No process of the user's ran: its exit status means nothing to anybody.
    if let Outcome::Acted { trace, .. } = &mut outcome {
        trace.exit = None;
    }
    outcome
}

fn not_looked(error: FileError, call: &Call) -> Outcome {
    let FileError { permanent, message } = error;
    let class = match permanent {
        true => crate::saga::FailureClass::Permanent,
        false => crate::saga::FailureClass::Transient,
    };
    let message = shown(&message, &call.redactor);
    Outcome::Failed { class, message, trace: crate::saga::Trace::default() }
}

/// The new file's name until it has its own. Equal for all attempts of a step in both directions, so that each clears
/// what the one before left; hidden, and no longer than any file system takes.
fn temporary(call: &Call, path: &str) -> String {
    let digest = Sha256::digest(format!("{}/{}/{path}", call.key.run, call.key.step));
    let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!(".runner-{hex}")
}

fn target(place: &FilePlace) -> String {
    match &place.host {
        None => format!("`{}`", place.path),
        Some(host) => format!("`{}` on host `{}`", place.path, host.name),
    }
}

fn compare(wanted: &Wanted, there: &Found) -> (Verdict, String) {
    let shown = wanted.place.shown();
    match (&wanted.content, there) {
        (None, Found::Nothing { .. }) => (Verdict::Holds, format!("{shown} is not there")),
        (None, Found::File(_)) => (Verdict::Absent, format!("{shown} is there")),
        (Some(_), Found::Nothing { .. }) => (Verdict::Absent, format!("{shown} is not there")),
        (Some(content), Found::File(present)) => {
            let same_mode = wanted.mode.is_none_or(|mode| mode == present.mode);
            match (*content == present.content, same_mode) {
                (true, true) => (Verdict::Holds, format!("{shown} is as it shall be")),
                (true, false) => {
                    (Verdict::Partial, format!("{shown} has another mode: {:04o}", present.mode))
                }
                (false, _) => (Verdict::Absent, format!("{shown} has another content")),
            }
        }
    }
}

/// What was seen, for programs. The digest of what may be a secret would let it be guessed.
pub(crate) fn facts(there: &Found, secret: bool) -> Map<String, Value> {
    let mut facts = Map::new();
    match there {
        Found::Nothing { .. } => {
            facts.insert("exists".to_owned(), false.into());
        }
        Found::File(present) => {
            facts.insert("exists".to_owned(), true.into());
            facts.insert("mode".to_owned(), format!("{:04o}", present.mode).into());
            if !secret {
                facts.insert("bytes".to_owned(), present.content.len().into());
                facts.insert("sha256".to_owned(), sha256(&present.content).into());
            }
        }
    }
    facts
}

/// SHA-256 as lower-case hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pre_image(place: &FilePlace, there: Found, sensitive: bool) -> PreImage {
    let mut contents = std::collections::BTreeMap::new();
    let host = place.host.as_ref().map(|host| host.name.clone());
    let mut value = json!({ "path": place.path, "host": host });
    let mut private = false;
    match there {
        Found::Nothing { missing } => {
            value["missing"] = json!(missing);
        }
        Found::File(Present { content, mode, uid, gid }) => {
            value["file"] = json!({ "mode": format!("{mode:04o}"), "uid": uid, "gid": gid });
            // What its owner lets nobody else read is not kept where others might.
            private = mode & 0o044 == 0;
            contents.insert(CONTENT.to_owned(), content);
        }
    }
    PreImage { target: target(place), value, contents, sensitive: sensitive || private }
}

type Back = (FilePlace, Option<Present>, Vec<String>);

/// What a pre-image says: where, what was there, and the folders that were not.
fn read_back(call: &Call, pre_image: &PreImage) -> Result<Back, String> {
    let strange = || format!("the pre-image of {} cannot be understood", pre_image.target);
    let value = &pre_image.value;
    let mut named = crate::plan::recorded::Operation { name: "file".to_owned(), fields: Map::new() };
    for key in ["path", "host"] {
        named.fields.insert(key.to_owned(), value.get(key).cloned().ok_or_else(strange)?);
    }
    let place = Fields::new(&named).place(&call.places.hosts, Path::new("/"))?;
    let Some(file) = value.get("file") else {
        let missing: Vec<String> = value
            .get("missing")
            .and_then(|missing| serde_json::from_value(missing.clone()).ok())
            .ok_or_else(strange)?;
        return Ok((place, None, missing));
    };
    let number = |key: &str| file.get(key).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    let mode = file.get("mode").and_then(Value::as_str).and_then(|mode| u32::from_str_radix(mode, 8).ok());
    let content = pre_image.contents.get(CONTENT).cloned().ok_or_else(strange)?;
    let present = Present {
        content,
        mode: mode.ok_or_else(strange)?,
        uid: number("uid").ok_or_else(strange)?,
        gid: number("gid").ok_or_else(strange)?,
    };
    Ok((place, Some(present), Vec::new()))
}
