//! Texts that may hold templates: every one is kept with its place, and looked at when all steps are known.

use super::Loader;
use super::table::Text;
use crate::plan::diagnostic::Span;

/// Where a text stands, which decides what it may refer to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Use {
    /// The step it belongs to; absent: outside of steps, where there are no outputs.
    pub(super) step: Option<usize>,
    /// It is used after the step's own action ended.
    pub(super) own_outputs: bool,
    /// It may hold secrets.
    pub(super) secrets: bool,
    /// A shell reads it.
    pub(super) shell: bool,
    /// The key, for messages.
    pub(super) place: &'static str,
}

impl Use {
    /// A text outside of steps that may refer to variables alone.
    pub(super) fn outside(place: &'static str) -> Self {
        Self { step: None, own_outputs: false, secrets: false, shell: false, place }
    }

    /// A text of a step.
    pub(super) fn in_step(step: usize, place: &'static str) -> Self {
        Self { step: Some(step), ..Self::outside(place) }
    }
}

/// A template with its place.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) text: String,
    pub(super) span: Span,
    pub(super) using: Use,
}

impl Loader<'_, '_> {
    /// Keeps a text for the look at its references, and gives it back as it stands.
    pub(super) fn keep(&mut self, text: Text, using: Use) -> String {
        if crate::plan::template::lex::is_template(&text.text) {
            self.templates.push(Kept { text: text.text.clone(), span: text.span, using });
        }
        text.text
    }
}
