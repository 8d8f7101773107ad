//! What stands in a run's plan, as people are shown it.

use super::event::Outputs;
use super::state::State;
use crate::plan::template::{self, Scope, Secrets};

/// Puts variables and outputs in place and masks secrets.
#[derive(Debug)]
pub struct Shown<'s> {
    state: &'s State,
    outputs: Outputs,
    run: String,
}

impl<'s> Shown<'s> {
    /// Of the run as it stands: outputs that come later are not known to it.
    pub fn of(state: &'s State) -> Self {
        Self { state, outputs: state.outputs(), run: state.run.to_string() }
    }

    /// The text; as it stands in the plan where something in it is not known.
    pub fn text(&self, text: &str) -> String {
        self.known(text).unwrap_or_else(|| text.to_owned())
    }

    /// The text, if everything in it is known.
    pub fn known(&self, text: &str) -> Option<String> {
        let scope = Scope {
            vars: &self.state.definition.vars,
            outputs: &self.outputs,
            run: &self.run,
            secrets: Secrets::Masked,
        };
        template::render_text(text, &scope).ok()
    }
}
