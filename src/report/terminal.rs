//! The terminal: a bar for every step that runs, a line for everything that is settled.
//!
//! One `MultiProgress` owns the terminal; lines go through it, above the bars, so that the two never fight.

use std::collections::BTreeMap;
use std::io::{self, Write};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::tz::TimeZone;

use super::human::clock;
use super::plain::{columns, widest};
use super::step::{detail, tone};
use super::words::{Weight, line};
use super::{Level, Look, Reporter, Tone, guard};
use crate::plan::StepId;
use crate::saga::{Event, Stamp, State, Status};

/// The reporter for a terminal.
pub struct Terminal {
    multi: MultiProgress,
    bars: BTreeMap<StepId, ProgressBar>,
    look: Look,
    zone: TimeZone,
}

/// Draws on `target`. What is drawn is cut to the look's width; what went wrong is wrapped instead.
///
/// A hidden target (no terminal, or a dumb one) shows nothing at all: there [`plain`](super::plain()) is right.
pub fn terminal(target: ProgressDrawTarget, look: Look, zone: TimeZone) -> Terminal {
    Terminal { multi: MultiProgress::with_draw_target(target), bars: BTreeMap::new(), look, zone }
}

impl Reporter for Terminal {
    fn event(&mut self, state: &State, event: &Event) {
        self.bars(state, &event.at);
        let words = line(state, event);
        if !words.weight.shows(&self.look) || self.bar_says_it(event, words.tone) {
            return;
        }
        let text = format!(
            "{}  {}",
            clock(&event.at, &self.zone),
            columns(event, &words, &Look { color: false, ..self.look }, widest(state))
        );
        // What went wrong is worth its lines; what went well is not.
        let trouble = matches!(words.tone, Tone::Warn | Tone::Bad);
        self.put(&text, words.word, words.tone, trouble);
        for (_, below) in words.below.iter().filter(|(weight, _)| weight.shows(&self.look)) {
            self.put(&format!("    {below}"), "", Tone::Plain, words.weight == Weight::Failure);
        }
    }

    fn tick(&mut self, state: &State, now: &Stamp) {
        self.bars(state, now);
    }

    fn note(&mut self, level: Level, text: &str) {
        let (mark, tone) = match level {
            Level::Info if self.look.quiet => return,
            Level::Info => ("", Tone::Plain),
            Level::Warning => ("warning: ", Tone::Warn),
        };
        for each in text.lines() {
            let each = format!("{mark}{}", guard::line(each));
            self.put(&each, mark.trim_end(), tone, true);
        }
    }

    fn finish(&mut self) {
        for (_, bar) in std::mem::take(&mut self.bars) {
            bar.finish_and_clear();
            self.multi.remove(&bar);
        }
    }
}

impl Terminal {
    /// A writer for log lines: they appear above the bars.
    pub fn lines(&self) -> Lines {
        Lines { multi: self.multi.clone(), begun: Vec::new() }
    }

    /// A start is seen by its bar; a line of its own would say it twice.
    fn bar_says_it(&self, event: &Event, tone: Tone) -> bool {
        let has_bar = event.what.step().is_some_and(|step| self.bars.contains_key(step));
        has_bar && tone == Tone::Busy && self.look.verbose == 0
    }

    /// One line above the bars, cut to the terminal or wrapped, with `word` in its colour.
    fn put(&self, text: &str, word: &str, tone: Tone, whole: bool) {
        let lines = if whole {
            guard::wrap(text, self.look.width, 4)
        } else {
            vec![guard::cut(text, self.look.width)]
        };
        for (at, line) in lines.iter().enumerate() {
            // The word's own column, not the same letters within an id.
            let line = match line.split_once(&format!("  {word}")) {
                Some((before, after)) if at == 0 && !word.is_empty() => {
                    format!("{before}  {}{after}", tone.paint(word, self.look.color))
                }
                _ => line.clone(),
            };
            // A terminal that is gone takes nothing; the run goes on.
            drop(self.multi.println(line));
        }
    }

    /// Brings the bars in step with the state: one for every step in motion, in the plan's order.
    fn bars(&mut self, state: &State, now: &Stamp) {
        if self.look.quiet {
            return;
        }
        let steps = state.definition.steps.iter().zip(&state.steps).enumerate();
        let moving: Vec<usize> = steps
            .filter(|(_, (_, found))| state.end.is_none() && in_motion(&found.status))
            .map(|(place, _)| place)
            .collect();
        let wanted = |id: &StepId| moving.iter().any(|&place| state.definition.steps[place].id == *id);
        let over: Vec<StepId> = self.bars.keys().filter(|id| !wanted(id)).cloned().collect();
        for id in over {
            if let Some(bar) = self.bars.remove(&id) {
                bar.finish_and_clear();
                self.multi.remove(&bar);
            }
        }
        let widest = state.definition.steps.iter().map(|step| step.id.as_str().len()).max().unwrap_or(0);
        for (row, &place) in moving.iter().enumerate() {
            let (step, found) = (&state.definition.steps[place], &state.steps[place]);
            let word = found.status.word();
            let text = format!("{:<widest$}  {word}  {}", step.id, detail(state, place, now));
            // Two columns are the spinner's.
            let text = guard::cut(text.trim_end(), self.look.width.saturating_sub(3));
            let painted = tone(found).paint(word, self.look.color);
            let head = format!("{:<widest$}  ", step.id);
            let text = match text.strip_prefix(&format!("{head}{word}")) {
                Some(rest) => format!("{head}{painted}{rest}"),
                None => text,
            };
            let bar = self.bars.entry(step.id.clone()).or_insert_with(|| {
                let bar = self.multi.insert(row, ProgressBar::new_spinner());
                if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
                    bar.set_style(style);
                }
                bar
            });
            bar.set_message(text);
            bar.tick();
        }
    }
}

/// Puts complete lines above the bars of the [`Terminal`] that it came from.
#[derive(Clone)]
pub struct Lines {
    multi: MultiProgress,
    /// A line that has not ended yet.
    begun: Vec<u8>,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.extend_from_slice(bytes);
        while let Some(end) = self.begun.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.begun.drain(..=end).collect();
            self.multi.println(guard::line(&String::from_utf8_lossy(&line)))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether something happens at the step now, or it waits for a person or a time.
fn in_motion(status: &Status) -> bool {
    match status {
        Status::AwaitingApproval
        | Status::Running { .. }
        | Status::Retrying { .. }
        | Status::Verifying(_)
        | Status::Soaking(_)
        | Status::Compensating { .. }
        | Status::CompensationRetrying { .. }
        | Status::UndoingCheck { .. } => true,
        Status::Interrupted(cut) => cut.attention.is_none(),
        Status::Pending
        | Status::Done
        | Status::Satisfied
        | Status::Skipped
        | Status::Failed { .. }
        | Status::Compensated
        | Status::CompensationFailed { .. } => false,
    }
}
