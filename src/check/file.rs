//! `file`: what stands in a file, here or on a host.

use futures_util::future::BoxFuture;

use super::answer::unknown;
use super::{Check, Look};
use crate::action::{Fields, file_facts, sha256};
use crate::saga::{Answer, Verdict};
use crate::transport::{FilePlace, Found, Present, Transport, one_line};

pub(super) struct File;

/// What is expected.
enum Wanted {
    There,
    Absent,
    Content(Vec<u8>),
    Contains(String),
    Sha256(String),
}

fn wanted(look: &Look) -> Result<(FilePlace, Wanted, Option<u32>), String> {
    let fields = Fields::new(&look.operation);
    let place = fields.place(&look.places.hosts, &look.folder)?;
    let mut all = Vec::new();
    all.extend(fields.text("content")?.map(|text| Wanted::Content(text.into_bytes())));
    all.extend(fields.recorded("source", &look.bodies)?.map(Wanted::Content));
    all.extend(fields.text("contains")?.map(Wanted::Contains));
    all.extend(fields.text("sha256")?.map(|text| Wanted::Sha256(text.to_ascii_lowercase())));
    all.extend(fields.flag("absent")?.then_some(Wanted::Absent));
    if all.len() > 1 {
        return Err("`file` takes one of `content`, `source`, `contains`, `sha256`, `absent`".to_owned());
    }
    Ok((place, all.pop().unwrap_or(Wanted::There), fields.mode()?))
}

impl Check for File {
    fn look(&self, transport: Transport, look: Look) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let (place, wanted, mode) = match wanted(&look) {
                Ok(read) => read,
                Err(message) => return unknown(&message, &look.redactor),
            };
            let found = match transport.look_at_file(&place, look.timeout).await {
                Ok(found) => found,
                Err(error) => return unknown(&error.message, &look.redactor),
            };
            let (verdict, what) = compare(&wanted, mode, &found);
            let reason = format!("{} {what}", place.shown());
            let mut answer = Answer::new(verdict, one_line(&look.redactor.text(&reason)));
            answer.facts = file_facts(&found, look.secret);
            answer
        })
    }
}

fn compare(wanted: &Wanted, mode: Option<u32>, found: &Found) -> (Verdict, String) {
    let present = match (wanted, found) {
        (Wanted::Absent, Found::Nothing { .. }) => return (Verdict::Holds, "is not there".to_owned()),
        (Wanted::Absent, Found::File(_)) => return (Verdict::Absent, "is there".to_owned()),
        (_, Found::Nothing { .. }) => return (Verdict::Absent, "is not there".to_owned()),
        (_, Found::File(present)) => present,
    };
    if let Some(other) = differs(wanted, present) {
        return (Verdict::Absent, other.to_owned());
    }
    match mode {
        Some(mode) if mode != present.mode => {
            (Verdict::Partial, format!("has mode {:04o}, not {mode:04o}", present.mode))
        }
        _ => (Verdict::Holds, "is as expected".to_owned()),
    }
}

fn differs(wanted: &Wanted, present: &Present) -> Option<&'static str> {
    let content = &present.content;
    let same = match wanted {
        Wanted::There | Wanted::Absent => true,
        Wanted::Content(wanted) => wanted == content,
        Wanted::Contains(part) => memchr::memmem::find(content, part.as_bytes()).is_some(),
        Wanted::Sha256(digest) => sha256(content) == *digest,
    };
    match wanted {
        _ if same => None,
        Wanted::Contains(_) => Some("does not contain the text"),
        Wanted::There | Wanted::Absent | Wanted::Content(_) | Wanted::Sha256(_) => {
            Some("has another content")
        }
    }
}
