//! The terminal: a bar for every step that is in motion, a line for everything that is settled.
//!
//! One [`Bars`] owns the terminal; lines go through it, above the bars, so that the two never fight.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use jiff::tz::TimeZone;

use super::bars::{Bars, Lines, Mark, Said};
use super::canvas::AskSize;
use super::human::{clock, count};
use super::plain::{columns, widest};
use super::step::{bar, detail, in_motion, tone, word};
use super::words::{Weight, line};
use super::{Level, Look, Reporter, Tone, guard};
use crate::plan::StepId;
use crate::saga::{Event, Stamp, State, Status, Tail};

/// Rows that bars leave to the lines above them.
const ROWS_LEFT: usize = 2;

/// The reporter for a terminal.
pub struct Terminal {
    bars: Bars,
    look: Look,
    zone: TimeZone,
    /// Good samples that are not recorded yet.
    tails: BTreeMap<StepId, Tail>,
    /// What attempts in flight wait for, until something happens to their step.
    waits: BTreeMap<StepId, String>,
    /// The steps that the bars tell of.
    told: BTreeSet<StepId>,
}

/// Draws on `out`, which is a terminal of `size`; that is asked anew each time, because people resize windows. What is
/// drawn is cut to the width; what went wrong is wrapped instead.
pub fn terminal(out: Box<dyn Write + Send>, size: AskSize, look: Look, zone: TimeZone) -> Terminal {
    let bars = Bars::new(out, size);
    Terminal { bars, look, zone, tails: BTreeMap::new(), waits: BTreeMap::new(), told: BTreeSet::new() }
}

impl Reporter for Terminal {
    fn event(&mut self, state: &State, event: &Event) {
        if let Some(step) = event.what.step() {
            self.waits.remove(step);
        }
        let words = line(state, event);
        let told_before = event.what.step().is_some_and(|step| self.told.contains(step));
        let bars = self.moving(state, &event.at);
        let told = told_before || event.what.step().is_some_and(|step| self.told.contains(step));
        // A start is seen by its bar; a line of its own would say it twice.
        let by_bar = told && words.tone == Tone::Busy && self.look.verbose == 0;
        let mut lines = Vec::new();
        if words.weight.shows(&self.look) && !by_bar {
            let width = self.bars.size().columns;
            let text = format!(
                "{}  {}",
                clock(&event.at, &self.zone),
                columns(event, &words, &Look { color: false, ..self.look }, widest(state))
            );
            // What went wrong is worth its lines; what went well is not.
            let trouble = matches!(words.tone, Tone::Warn | Tone::Bad);
            lines = self.lined(&text, words.word, words.tone, trouble, width);
            let failure = words.weight == Weight::Failure;
            for (_, below) in words.below.iter().filter(|(weight, _)| weight.shows(&self.look)) {
                lines.extend(self.lined(&format!("    {below}"), "", Tone::Plain, failure, width));
            }
        }
        // A terminal that is gone takes nothing; the run goes on.
        drop(self.bars.show(&lines, bars));
    }

    fn tails(&mut self, tails: &BTreeMap<StepId, Tail>) {
        self.tails.clone_from(tails);
    }

    fn waits(&mut self, _state: &State, _now: &Stamp, step: &StepId, reason: &str) {
        // Drawn with the next second: a question may stand on the last line.
        self.waits.insert(step.clone(), guard::line(reason));
    }

    fn tick(&mut self, state: &State, now: &Stamp) {
        let bars = self.moving(state, now);
        drop(self.bars.turn(bars));
    }

    fn note(&mut self, level: Level, text: &str) {
        let (mark, tone) = match level {
            Level::Info if self.look.quiet => return,
            Level::Info => ("", Tone::Plain),
            Level::Warning => ("warning: ", Tone::Warn),
        };
        let width = self.bars.size().columns;
        for each in text.lines() {
            let each = format!("{mark}{}", guard::line(each));
            drop(self.bars.put(&self.lined(&each, mark.trim_end(), tone, true, width)));
        }
    }

    fn finish(&mut self) {
        self.told.clear();
        drop(self.bars.show(&[], Vec::new()));
    }
}

impl Terminal {
    /// A writer for log lines: they appear above the bars.
    pub fn lines(&self) -> Lines {
        Lines::new(self.bars.clone())
    }

    /// One line cut to the terminal, or wrapped, with `word` in its colour.
    fn lined(&self, text: &str, word: &str, tone: Tone, whole: bool, width: usize) -> Vec<String> {
        let lines = if whole { guard::wrap(text, width, 4) } else { vec![guard::cut(text, width)] };
        let paint = |(at, line): (usize, String)| match line.split_once(&format!("  {word}")) {
            // The word's own column, not the same letters within an id.
            Some((before, after)) if at == 0 && !word.is_empty() => {
                format!("{before}  {}{after}", tone.paint(word, self.look.color))
            }
            _ => line,
        };
        lines.into_iter().enumerate().map(paint).collect()
    }

    /// The bars as they should be now: one for every step in motion, those that wait for a person first, then in the
    /// plan's order; what has no room is counted in the last one.
    fn moving(&mut self, state: &State, now: &Stamp) -> Vec<Said> {
        self.told.clear();
        if self.look.quiet || state.end.is_some() {
            return Vec::new();
        }
        let size = self.bars.size();
        // One column less than there is: a full row would be broken by some terminals and not by others.
        let width = size.columns.saturating_sub(1).max(1);
        let steps = state.steps.iter().enumerate();
        let mut moving: Vec<usize> =
            steps.filter(|(place, _)| in_motion(state, *place, now)).map(|(place, _)| place).collect();
        self.told.extend(moving.iter().map(|&place| state.definition.steps[place].id.clone()));
        let asks = |place: &usize| !matches!(state.steps[*place].status, Status::AwaitingApproval);
        moving.sort_by_key(asks);
        let room = size.rows.saturating_sub(ROWS_LEFT).max(1);
        let shown = if moving.len() > room { room - 1 } else { moving.len() };
        let ids = moving[..shown].iter().map(|&place| state.definition.steps[place].id.as_str().len());
        // Half of the row belongs to what is said of a step; in a narrow one its id is worth more.
        let widest = ids.max().unwrap_or(0).min((width / 2).max(12));
        let mut bars: Vec<Said> =
            moving[..shown].iter().map(|&place| self.one(state, place, now, widest, width)).collect();
        if shown < moving.len() {
            let text = guard::cut(&more(state, &moving[shown..], shown > 0), width);
            bars.push(Said { of: None, mark: Mark::Folds, head: String::new(), text });
        }
        bars
    }

    fn one(&self, state: &State, place: usize, now: &Stamp, widest: usize, width: usize) -> Said {
        let (step, found) = (&state.definition.steps[place], &state.steps[place]);
        let word = word(state, place);
        let mut said = bar(state, place, self.tails.get(&step.id), now);
        if let Some(reason) = self.waits.get(&step.id) {
            said = match &found.status {
                // The reason names the attempt, and there is no room for both.
                Status::Interrupted(_) => format!("waits for {reason}"),
                _ => format!("{}: waits for {reason}", detail(state, place, now)),
            };
        }
        let mark = match &found.status {
            Status::AwaitingApproval => Mark::Asks,
            Status::Pending | Status::Retrying { .. } | Status::CompensationRetrying { .. } => Mark::Waits,
            _ => Mark::Turns,
        };
        let head = format!("{}  ", guard::pad(&guard::cut(step.id.as_str(), widest), widest));
        // The mark and a space stand before it.
        let whole = guard::cut(format!("{head}{word}  {said}").trim_end(), width.saturating_sub(2));
        let (head, text) = match whole.strip_prefix(&head) {
            Some(text) => (head, text.to_owned()),
            None => (whole, String::new()),
        };
        let text = match text.strip_prefix(word) {
            Some(rest) => format!("{}{rest}", tone(found).paint(word, self.look.color)),
            None => text,
        };
        Said { of: Some(step.id.clone()), mark, head, text }
    }
}

/// `… and 32 more: 30 running, 2 retrying`.
fn more(state: &State, places: &[usize], some_shown: bool) -> String {
    let mut words: BTreeMap<&str, usize> = BTreeMap::new();
    for &place in places {
        *words.entry(word(state, place)).or_default() += 1;
    }
    let each: Vec<String> = words.iter().map(|(word, number)| format!("{number} {word}")).collect();
    let each = each.join(", ");
    match some_shown {
        true => format!("  and {} more: {each}", places.len()),
        false => format!("  {}: {each}", count(places.len(), "step")),
    }
}
