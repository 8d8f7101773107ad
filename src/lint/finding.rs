//! What the lint says: findings, and the rules it could not judge.

use std::fmt;

use serde::Serialize;

use super::yaml::Place;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing, harmless.
    Info,
    /// Works, but not as meant or not for long.
    Warning,
    /// Frigate refuses it, or the service is broken.
    Error,
}

impl Severity {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// One mistake at one place. Serialised in this order, it is the line of `--json`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// Version of this line's form.
    #[serde(rename = "v")]
    pub version: u32,
    /// The rule, such as `L7` or `X1`.
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The source it is in, by the name it was given under.
    pub file: String,
    /// The line, counted from 1.
    pub line: u32,
    /// The column in characters, counted from 1.
    pub column: u32,
    /// What is wrong here.
    pub message: String,
    /// What happens because of it.
    pub why: String,
    /// What to write instead.
    pub fix: String,
    /// The change that is certain to be right, if there is one.
    #[serde(skip)]
    pub(crate) edit: Option<Edit>,
}

/// The version of a finding's JSON form.
pub const FINDING_VERSION: u32 = 1;

impl Finding {
    /// Whether `--fix` would make this change.
    pub fn can_be_fixed(&self) -> bool {
        self.edit.is_some()
    }
}

/// A replacement of part of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) at: Place,
    /// Characters that go.
    pub(crate) remove: u32,
    pub(crate) insert: String,
}

/// A rule that was not judged because the context does not say enough.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NotJudged {
    /// The rule.
    pub code: &'static str,
    /// The source.
    pub file: String,
    /// What was missing.
    pub needs: String,
}

/// All that was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// By file, line, column and code.
    pub findings: Vec<Finding>,
    /// By file and code.
    pub not_judged: Vec<NotJudged>,
    /// Some file had more findings than are kept; mend these first.
    pub cut: bool,
    /// How many configurations were judged; 0 means that the sources held none.
    pub configurations: usize,
}

impl Report {
    /// Whether something was found that Frigate refuses or that breaks the service.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many findings of that severity there are.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}
