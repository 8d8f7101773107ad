//! Timestamped complete lines, for pipes, log files and whoever reads them later.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::guard;
use super::human;
use super::words::{Line, line};
use super::{Level, Look, Reporter};
use crate::plan::StepId;
use crate::plan::recorded::Definition;
use crate::saga::{Event, Stamp, State};

/// Columns of the word of an event: most fit, the others push their own detail to the right.
const WORD_COLUMNS: usize = 14;

/// How many reasons of a step that waits are remembered, so that those which take turns are not said again and again.
const REASONS_KEPT: usize = 4;

/// The reporter for everything that is not a terminal.
pub struct Plain {
    out: Box<dyn Write + Send>,
    look: Look,
    zone: TimeZone,
    /// The columns of the longest id, and the definition it was looked for in: it is not looked for at every event.
    widest: Option<(Arc<Definition>, usize)>,
    /// The reasons that were said last of steps whose attempts wait.
    waits: BTreeMap<StepId, VecDeque<String>>,
}

/// Writes complete lines to `out`: time, run, step, what happened. Never a control character but line ends.
///
/// A write that fails is passed over: who reads is gone, and the run goes on.
pub fn plain(out: Box<dyn Write + Send>, look: Look, zone: TimeZone) -> Plain {
    Plain { out, look: Look { color: false, ..look }, zone, widest: None, waits: BTreeMap::new() }
}

impl Reporter for Plain {
    fn event(&mut self, state: &State, event: &Event) {
        if let Some(step) = event.what.step() {
            self.waits.remove(step);
        }
        let columns = self.columns(state);
        let text = text(state, event, &self.look, &self.zone, columns);
        // A closed pipe is a quiet end of the report, not of the run.
        drop(self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()));
    }

    fn waits(&mut self, state: &State, now: &Stamp, step: &StepId, reason: &str) {
        let said = self.waits.entry(step.clone()).or_default();
        // Some causes come and go in turn: each is news once.
        if self.look.quiet || said.iter().any(|old| old == reason) {
            return;
        }
        said.truncate(REASONS_KEPT - 1);
        said.push_front(reason.to_owned());
        let (step, widest) = (step.as_str(), self.columns(state));
        let text = format!(
            "{}  {}  {step:<widest$}  {}  {}\n",
            human::time(now, &self.zone),
            state.run,
            guard::pad("waits", WORD_COLUMNS),
            guard::line(reason)
        );
        drop(self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()));
    }

    fn note(&mut self, level: Level, text: &str) {
        let mark = match level {
            Level::Info if self.look.quiet => return,
            Level::Info => "",
            Level::Warning => "warning: ",
        };
        let lines: String = text.lines().map(|each| format!("{mark}{}\n", guard::line(each))).collect();
        drop(self.out.write_all(lines.as_bytes()).and_then(|()| self.out.flush()));
    }

    fn finish(&mut self) {
        drop(self.out.flush());
    }
}

/// An event in complete lines, each with its line end; empty when it is not to be shown at this verbosity.
/// `state` is the one after it. Times are in UTC.
pub fn event_text(state: &State, event: &Event, look: &Look) -> String {
    text(state, event, look, &TimeZone::UTC, widest(state))
}

impl Plain {
    /// The columns of the longest id.
    fn columns(&mut self, state: &State) -> usize {
        match &self.widest {
            Some((of, columns)) if Arc::ptr_eq(of, &state.definition) => *columns,
            _ => {
                let columns = widest(state);
                self.widest = Some((Arc::clone(&state.definition), columns));
                columns
            }
        }
    }
}

fn text(state: &State, event: &Event, look: &Look, zone: &TimeZone, widest: usize) -> String {
    let words = line(state, event);
    if !words.weight.shows(look) {
        return String::new();
    }
    let mut text = format!(
        "{}  {}  {}\n",
        human::time(&event.at, zone),
        state.run,
        columns(event, &words, look, widest)
    );
    for (_, below) in words.below.iter().filter(|(weight, _)| weight.shows(look)) {
        text.push_str(&format!("    {below}\n"));
    }
    text
}

/// How many columns the longest id of a step takes.
pub(super) fn widest(state: &State) -> usize {
    state.definition.steps.iter().map(|step| step.id.as_str().len()).max().unwrap_or(1)
}

/// Step, word and detail in their columns.
pub(super) fn columns(event: &Event, words: &Line, look: &Look, widest: usize) -> String {
    let step = event.what.step().map_or("-", crate::plan::StepId::as_str);
    let word = words.tone.paint(&guard::pad(words.word, WORD_COLUMNS), look.color);
    format!("{step:<widest$}  {word}  {}", words.detail).trim_end().to_owned()
}
