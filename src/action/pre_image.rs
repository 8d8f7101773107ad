//! What was there before a step's first attempt.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// What was there before a step's first attempt, as its action needs it to go back.
///
/// The driver keeps it: `value` in the event, each of `contents` as a body of its own, and both sealed when it is
/// `sensitive`, when a field of the action refers to a secret, or when a value of a secret stands in it (P7). `Debug`
/// shows neither.
#[derive(Clone, PartialEq)]
pub struct PreImage {
    /// What it is the pre-image of, see [`Actions::target`](super::Actions::target). Never sealed; never a secret.
    pub target: String,
    /// What was there; small, an object by preference.
    pub value: Value,
    /// Large contents, by a name that only the action gives a meaning.
    pub contents: BTreeMap<String, Vec<u8>>,
    /// It may hold a secret that nobody knows the value of.
    pub sensitive: bool,
}

impl fmt::Debug for PreImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PreImage({}, {} contents)", self.target, self.contents.len())
    }
}
