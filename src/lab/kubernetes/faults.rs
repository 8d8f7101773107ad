//! How the cluster is told to fail: objects by rule or annotation, and its API by fault.
//!
//! The words are those of the real control plane of the tests (`tests/testbed/README.md`), so that one manifest fails
//! the same way on both.

use serde::{Deserialize, Serialize};

/// The annotation by which one object asks to fail.
pub(super) const FAIL: &str = "testbed.runner/fail";
/// How long a pod is created, as `1.5s`.
pub(super) const DELAY: &str = "testbed.runner/delay";
/// The status of a crash.
pub(super) const EXIT_CODE: &str = "testbed.runner/exit-code";
/// What the containers have written.
pub(super) const LOGS: &str = "testbed.runner/logs";
/// What commands in the containers do, as JSON.
pub(super) const EXEC: &str = "testbed.runner/exec";
/// The label of objects, or of their namespace, that admission refuses.
pub(super) const REFUSE: &str = "testbed.runner/refuse";

/// Makes objects fail that carry no annotation: those of a namespace whose name begins so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// `Pod`, `Service` or `PersistentVolumeClaim`.
    pub kind: String,
    /// The namespace.
    pub namespace: String,
    /// The beginning of the name.
    pub name: String,
    /// Of a pod: `unschedulable`, `image-pull`, `crash-loop`, `never-ready`, `creating` or `stuck`; of a Service `pending`
    /// or `address=IP`; of a claim `pending`.
    pub fail: String,
    /// Given when it is added.
    #[serde(default)]
    pub id: u64,
}

/// What happens to requests that match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Their method; empty: any.
    pub method: String,
    /// A part of their path with its query; empty: any.
    pub path: String,
    /// So many pass first.
    pub after: u32,
    /// Then so many are hit; 0: all.
    pub times: u32,
    /// What is done.
    pub what: Trouble,
    /// Given when it is added.
    #[serde(default)]
    pub id: u64,
}

/// What is done to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// It is answered with this status and not looked at. With a number for `Retry-After`.
    Answer(u16, Option<u32>),
    /// It goes on after so many milliseconds.
    Delay(u64),
    /// Its connection is cut before anybody has heard of it.
    Cut,
    /// It is done, and the connection is cut before the answer.
    Lose,
}

impl Fault {
    /// Everything that matches, from the next on.
    pub fn new(method: &str, path: &str, what: Trouble) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), after: 0, times: 0, what, id: 0 }
    }

    /// Only so many.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    pub(super) fn matches(&self, method: &str, path: &str) -> bool {
        (self.method.is_empty() || self.method == method) && path.contains(&self.path)
    }
}

/// The fault that hits this request, which is counted.
pub(super) fn hit(faults: &mut Vec<Fault>, method: &str, path: &str) -> Option<Trouble> {
    let at = faults.iter().position(|fault| fault.matches(method, path))?;
    let fault = &mut faults[at];
    if fault.after > 0 {
        fault.after -= 1;
        return None;
    }
    let what = fault.what.clone();
    if fault.times > 0 {
        fault.times -= 1;
        if fault.times == 0 {
            faults.remove(at);
        }
    }
    Some(what)
}
