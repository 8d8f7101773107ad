//! Where rules put what they find.

use std::collections::BTreeSet;

use super::context::Context;
use super::finding::{Edit, FINDING_VERSION, Finding, Severity};
use super::yaml::{NodeId, Place, Tree};

/// How many findings of one configuration are kept: whoever has more mends those first.
pub(crate) const FINDINGS_MAX: usize = 500;

/// The findings of one configuration while it is judged.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    pub(crate) findings: Vec<Finding>,
    /// There were more findings than are kept.
    pub(crate) cut: bool,
    pub(crate) not_judged: BTreeSet<(&'static str, String)>,
    /// Values in which placeholders are expanded, found on the walk over the schema, and whether that happens twice.
    pub(crate) env_nodes: Vec<(NodeId, bool)>,
    /// Keys that are missing because they are misspelt: the mapping and the key that was meant.
    misspelt: BTreeSet<(NodeId, String)>,
}

/// All that a rule may look at besides the configuration.
pub(crate) struct Surroundings<'a> {
    pub(crate) context: &'a Context,
    /// Whether Frigate can write the file; `None` when nobody said.
    pub(crate) writable: Option<bool>,
}

impl Sink {
    /// Reports a finding; reason and general advice come from the rule's own text.
    pub(crate) fn report(
        &mut self,
        code: &'static str,
        severity: Severity,
        at: Place,
        message: impl Into<String>,
    ) -> &mut Finding {
        if self.findings.len() > FINDINGS_MAX {
            // The last one is written over, and not reported.
            self.cut = true;
            self.findings.pop();
        }
        self.findings.push(Finding {
            version: FINDING_VERSION,
            code,
            severity,
            file: String::new(),
            line: at.line,
            column: at.column,
            message: message.into(),
            why: String::new(),
            fix: String::new(),
            edit: None,
        });
        self.findings.last_mut().expect("one was just pushed")
    }

    pub(crate) fn error(
        &mut self,
        code: &'static str,
        at: Place,
        message: impl Into<String>,
    ) -> &mut Finding {
        self.report(code, Severity::Error, at, message)
    }

    pub(crate) fn warn(&mut self, code: &'static str, at: Place, message: impl Into<String>) -> &mut Finding {
        self.report(code, Severity::Warning, at, message)
    }

    pub(crate) fn info(&mut self, code: &'static str, at: Place, message: impl Into<String>) -> &mut Finding {
        self.report(code, Severity::Info, at, message)
    }

    /// Notes that a rule stays silent because something is not known.
    pub(crate) fn needs(&mut self, code: &'static str, what: &str) {
        self.not_judged.insert((code, what.to_owned()));
    }

    pub(crate) fn note_misspelt(&mut self, mapping: NodeId, meant: &str) {
        self.misspelt.insert((mapping, meant.to_owned()));
    }

    /// Whether that key of that mapping is only missing because it is misspelt, which has been said already.
    pub(crate) fn is_misspelt(&self, mapping: Option<NodeId>, key: &str) -> bool {
        mapping.is_some_and(|mapping| self.misspelt.contains(&(mapping, key.to_owned())))
    }
}

impl Finding {
    /// Says what to write instead, for this very place.
    pub(crate) fn fix(&mut self, advice: impl Into<String>) -> &mut Self {
        self.fix = advice.into();
        self
    }

    /// Adds the change that replaces a whole plain or quoted scalar, if it stands on one line.
    pub(crate) fn replace(&mut self, tree: &Tree<'_>, node: NodeId, insert: impl Into<String>) -> &mut Self {
        let node = tree.node(node);
        if node.at.line == node.end.line && node.end.column > node.at.column {
            self.edit =
                Some(Edit { at: node.at, remove: node.end.column - node.at.column, insert: insert.into() });
        }
        self
    }

    /// Adds a change that only inserts.
    pub(crate) fn insert(&mut self, at: Place, text: impl Into<String>) -> &mut Self {
        self.edit = Some(Edit { at, remove: 0, insert: text.into() });
        self
    }
}
