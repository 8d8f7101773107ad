//! How a pre-image is kept: small values in the event, contents as bodies, and what may hold a secret sealed (P7).
//!
//! It is on stable storage when [`keep`] returns, so that the event that names it may be appended.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::seal::{KeyId, Keys, SealError};
use crate::action::PreImage;
use crate::journal::{Bodies, JournalError};
use crate::plan::StepId;
use crate::plan::recorded::FileRef;
use crate::saga::State;
use crate::transport::Redactor;

/// The version of the kept form that this binary writes. It reads this one and every older one.
const VERSION: u32 = 1;

/// The kept form: the `pre_image` of an event.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    v: u32,
    target: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clear: Option<Clear>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<Sealed>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Clear {
    value: Value,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    contents: BTreeMap<String, FileRef>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Sealed {
    key: KeyId,
    body: FileRef,
}

/// What is sealed begins with this as JSON and a line break; the contents follow one after the other.
#[derive(Debug, Serialize, Deserialize)]
struct Inside {
    value: Value,
    contents: Vec<(String, usize)>,
}

/// Why a pre-image cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum PreImageError {
    /// It was kept by a newer version.
    #[error("it has version {found}, and this binary reads versions up to {VERSION}: use the newer `runner`")]
    Newer {
        /// Its version.
        found: u32,
    },
    /// It is not what a pre-image looks like.
    #[error("it cannot be read")]
    Malformed,
    /// A body of it cannot be written or read.
    #[error(transparent)]
    Body(#[from] JournalError),
    /// It cannot be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Keeps a pre-image; gives what the event says of it. Blocks.
///
/// It is sealed when it is sensitive, when `secret` (the step's action refers to a secret), and when the value of a
/// secret stands in it.
///
/// # Errors
/// [`PreImageError`]; nothing refers to what was written by then.
pub(super) fn keep(
    pre_image: &PreImage,
    secret: bool,
    purpose: &str,
    redactor: &Redactor,
    bodies: &Bodies,
    keys: &Keys,
) -> Result<Value, PreImageError> {
    let seals = pre_image.sensitive || secret || holds_secret(pre_image, redactor);
    let mut kept = Kept { v: VERSION, target: pre_image.target.clone(), clear: None, sealed: None };
    if seals {
        let inside = Inside {
            value: pre_image.value.clone(),
            contents: pre_image.contents.iter().map(|(name, bytes)| (name.clone(), bytes.len())).collect(),
        };
        let mut plain = serde_json::to_vec(&inside).map_err(|_| PreImageError::Malformed)?;
        plain.push(b'\n');
        pre_image.contents.values().for_each(|bytes| plain.extend_from_slice(bytes));
        let (key, sealed) = keys.seal(&plain, purpose)?;
        kept.sealed = Some(Sealed { key, body: bodies.put(&sealed)? });
    } else {
        let mut contents = BTreeMap::new();
        for (name, bytes) in &pre_image.contents {
            contents.insert(name.clone(), bodies.put(bytes)?);
        }
        kept.clear = Some(Clear { value: pre_image.value.clone(), contents });
    }
    serde_json::to_value(kept).map_err(|_| PreImageError::Malformed)
}

/// Reads back what [`keep`] kept. Blocks.
///
/// # Errors
/// [`PreImageError`].
pub(super) fn read(
    kept: &Value,
    purpose: &str,
    bodies: &Bodies,
    keys: &Keys,
) -> Result<PreImage, PreImageError> {
    let found = kept.get("v").and_then(Value::as_u64).ok_or(PreImageError::Malformed)?;
    if found > u64::from(VERSION) {
        return Err(PreImageError::Newer { found: u32::try_from(found).unwrap_or(u32::MAX) });
    }
    let kept: Kept = serde_json::from_value(kept.clone()).map_err(|_| PreImageError::Malformed)?;
    let (value, contents, sensitive) = match (kept.clear, kept.sealed) {
        (Some(clear), None) => {
            let mut contents = BTreeMap::new();
            for (name, body) in clear.contents {
                contents.insert(name, bodies.get(&body)?);
            }
            (clear.value, contents, false)
        }
        (None, Some(sealed)) => {
            let plain = keys.open(&sealed.key, &bodies.get(&sealed.body)?, purpose)?;
            let (value, contents) = opened(&plain).ok_or(PreImageError::Malformed)?;
            (value, contents, true)
        }
        _ => return Err(PreImageError::Malformed),
    };
    Ok(PreImage { target: kept.target, value, contents, sensitive })
}

fn opened(plain: &[u8]) -> Option<(Value, BTreeMap<String, Vec<u8>>)> {
    let end = plain.iter().position(|&byte| byte == b'\n')?;
    let inside: Inside = serde_json::from_slice(&plain[..end]).ok()?;
    let mut rest = &plain[end + 1..];
    let mut contents = BTreeMap::new();
    for (name, length) in inside.contents {
        let (bytes, after) = rest.split_at_checked(length)?;
        contents.insert(name, bytes.to_vec());
        rest = after;
    }
    rest.is_empty().then_some((inside.value, contents))
}

fn holds_secret(pre_image: &PreImage, redactor: &Redactor) -> bool {
    let in_value = redactor.json(pre_image.value.clone()) != pre_image.value;
    in_value
        || pre_image.contents.values().any(|bytes| {
            let text = String::from_utf8_lossy(bytes);
            redactor.text(&text) != text
        })
}

/// What a kept pre-image is of.
pub(super) fn target(kept: &Value) -> Option<&str> {
    kept.get("target").and_then(Value::as_str)
}

/// What binds a pre-image to its step, so that none can be put in the place of another.
pub(super) fn purpose(run: &crate::plan::RunId, step: &StepId) -> String {
    format!("pre-image of {run}/{step}")
}

/// Proves, before anything is undone, that the pre-images of these steps can be read. Blocks.
///
/// # Errors
/// The first step whose pre-image cannot be, and why.
pub fn readable(
    state: &State,
    steps: &[StepId],
    bodies: &Bodies,
    keys: &Keys,
) -> Result<(), (StepId, PreImageError)> {
    for id in steps {
        let Some((step, found)) = state.step(id) else { continue };
        let inverse = matches!(step.compensate, crate::plan::recorded::Compensate::Inverse);
        if let Some(kept) = found.pre_image.as_ref().filter(|_| inverse && found.owned) {
            read(kept, &purpose(&state.run, id), bodies, keys).map_err(|error| (id.clone(), error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn image(sensitive: bool, content: &[u8]) -> PreImage {
        PreImage {
            target: "`/x`".to_owned(),
            value: json!({ "mode": "0644" }),
            contents: BTreeMap::from([("a".to_owned(), content.to_vec()), ("b".to_owned(), Vec::new())]),
            sensitive,
        }
    }

    #[test]
    fn it_comes_back_whether_sealed_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let (bodies, keys) = (Bodies::at(folder.path()), Keys::of(folder.path(), None));
        let redactor = Redactor::new(["hunter2-secret"]);
        for (sensitive, secret, content, sealed) in [
            (false, false, &b"plain\n\0\xff"[..], false),
            (true, false, b"plain", true),
            (false, true, b"plain", true),
            (false, false, b"pw=hunter2-secret;", true),
        ] {
            let image = image(sensitive, content);
            let kept = keep(&image, secret, "p", &redactor, &bodies, &keys).unwrap();
            assert_eq!(kept.get("sealed").is_some(), sealed, "{kept}");
            let back = read(&kept, "p", &bodies, &keys).unwrap();
            assert_eq!((back.value, back.contents), (image.value, image.contents));
            assert_eq!(target(&kept), Some("`/x`"));
            assert_eq!(read(&kept, "q", &bodies, &keys).is_err(), sealed);
        }
    }

    #[test]
    fn a_newer_one_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let (bodies, keys) = (Bodies::at(folder.path()), Keys::of(folder.path(), None));
        let newer = read(&json!({ "v": 2 }), "p", &bodies, &keys).unwrap_err();
        assert!(matches!(newer, PreImageError::Newer { found: 2 }), "{newer}");
        for strange in [json!({}), json!({ "v": 1 }), json!({ "v": 1, "target": "x" }), json!(null)] {
            assert!(matches!(read(&strange, "p", &bodies, &keys), Err(PreImageError::Malformed)));
        }
    }
}
