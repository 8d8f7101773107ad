//! What people and programs see of a run.
//!
//! Reads events and folded state, writes to a writer that is handed in; it never calls an action and knows no
//! journal. It keeps P8 (every stop says what happened, what state everything is in and how to go on) and
//! guards P7 (nothing unprintable, and no pre-image, ever leaves through here). Start at `words`: there every
//! event gets its words, once for all that show it to people. `shown` is the same for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::plan::StepId;
use crate::saga::{Direction, Event, Finding, How, Stamp, State, StepEvent, Tail, Trace, What};

mod ahead;
mod bars;
mod canvas;
mod chart;
mod drift;
mod ending;
pub mod exit;
mod graph;
mod guard;
mod human;
mod json;
mod paper;
mod picture;
mod plain;
mod pre_image;
mod runs;
mod shown;
mod status;
mod step;
mod story;
mod terminal;
mod watch;
mod way_back;
mod why;
mod words;

pub use ahead::{Outlook, ahead_json, ahead_text};
pub use bars::Lines;
pub use canvas::{AskSize, Size};
pub use chart::{prose_html, soak_svg, soak_words};
pub use drift::{Drift, Seen, drift_json, drift_of, drift_text, systems_json, systems_text};
pub use ending::{ending, headline};
pub use graph::{GraphFormat, graph_json, graph_text};
pub use guard::{shell_word, text_line};
pub use human::in_ms;
pub use json::{Json, json, json_line};
pub use paper::{Paper, paper_html, paper_markdown};
pub use picture::{SIGNS, run_svg, sign};
pub use plain::{Plain, event_text, plain};
pub use pre_image::pre_image_shown;
pub use runs::{RunRow, runs_json, runs_text};
pub use shown::{SHOWN_VERSION, event_json, event_line};
pub use status::{course_words, standing_tone_word, standing_word, status_json, status_text};
pub use step::{detail_text, step_tone_word};
pub use story::{
    Approval, Attempt, Looked, SoakStory, Story, Told, answers_shown, duration_shown, time_exact, time_shown,
    value_shown,
};
pub use terminal::{Terminal, terminal};
pub use watch::{Watch, watch};
pub use way_back::{WayBack, way_back_json, way_back_text};
pub use why::{why_json, why_text};

/// How pages look: the web page, and the report.
pub const STYLE: &str = include_str!("page.css");

/// What `--json` writes, as it is committed; `tests/program/report_kinds.rs` holds every kind of object to it.
pub const EVENTS_SCHEMA: &str = include_str!("../../schema/events.schema.json");

/// Something that shows a run while it happens.
pub trait Reporter {
    /// Shows `event`, after it was folded into `state`.
    fn event(&mut self, state: &State, event: &Event);
    /// Good samples that are not recorded yet, by step: what a soak has in memory and nowhere else.
    fn tails(&mut self, _tails: &BTreeMap<StepId, Tail>) {}
    /// The attempt of a step in flight, or one that was cut off, waits for this: one line, free of secrets, recorded nowhere.
    fn waits(&mut self, _state: &State, _now: &Stamp, _step: &StepId, _reason: &str) {}
    /// Called once a second or so, for elapsed times.
    fn tick(&mut self, _state: &State, _now: &Stamp) {}
    /// Shows a line of conversation that is not an event.
    fn note(&mut self, level: Level, text: &str);
    /// Puts everything away: nothing is shown after it.
    fn finish(&mut self);
}

/// How loud a [`Reporter::note`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Good to know; not shown when quiet.
    Info,
    /// Shown always.
    Warning,
}

/// How things are to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Colours are wanted. They never carry a meaning that no word says.
    pub color: bool,
    /// Columns of the terminal; lines are cut to it on a terminal alone.
    pub width: usize,
    /// Only failures, warnings and the ending.
    pub quiet: bool,
    /// How much more: 1 shows what a step goes through, 2 everything that is recorded.
    pub verbose: u8,
}

impl Default for Look {
    fn default() -> Self {
        Self { color: false, width: 100, quiet: false, verbose: 0 }
    }
}

/// Which command it was that ends here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// To go forward.
    Apply,
    /// To go back.
    Rollback,
    /// To close the run.
    Cancel,
    /// To say what became of a step.
    Resolve,
    /// To be told how it stands.
    Status,
}

/// What an ending needs beside the state.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The state folder: log files are relative to it.
    pub folder: &'a Path,
    /// What failed attempts left to read.
    pub traces: &'a Traces,
    /// The plan file as the user names it; absent: the recorded path.
    pub plan: Option<&'a str>,
    /// Global options that every command to paste needs, for example `--state DIR`; may be empty.
    pub options: &'a str,
    /// The present.
    pub now: Stamp,
    /// When there is something to do again without anybody's doing, in milliseconds from now.
    pub wake_ms: Option<u64>,
    /// What each system looks like now, as far as somebody looked.
    pub systems: &'a [Finding],
}

/// What the last attempts that did not end well left to read, by step, and which compensations ran again.
///
/// The folded state does not keep it; whoever shows an ending feeds every event of the run through
/// [`Traces::event`], on replay and live.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Traces {
    by_step: BTreeMap<(StepId, Direction), Trace>,
    repeated: BTreeSet<StepId>,
}

impl Traces {
    /// Keeps what `event` says about it.
    pub fn event(&mut self, event: &Event) {
        let What::Step { step, is } = &event.what else { return };
        match is {
            StepEvent::AttemptFailed { direction, trace, .. } | StepEvent::Cut { direction, trace, .. } => {
                self.by_step.insert((step.clone(), *direction), trace.clone());
            }
            // What failed before it is not the cause of anything any more.
            StepEvent::Started { direction, .. } | StepEvent::Acted { direction, .. } => {
                self.by_step.remove(&(step.clone(), *direction));
            }
            StepEvent::Settled { how: How::Compensation, .. } => {
                self.repeated.insert(step.clone());
            }
            StepEvent::Compensated { .. } | StepEvent::Resolved { .. } => {
                self.repeated.remove(step);
            }
            StepEvent::Decided { .. }
            | StepEvent::Probed { .. }
            | StepEvent::Satisfied { .. }
            | StepEvent::ApprovalRequested { .. }
            | StepEvent::Approved { .. }
            | StepEvent::GateOpened { .. }
            | StepEvent::ApprovalVoided { .. }
            | StepEvent::Rejected { .. }
            | StepEvent::GoneLooked { .. }
            | StepEvent::HeldElsewhere { .. }
            | StepEvent::PreImageTaken { .. }
            | StepEvent::ProvedOver { .. }
            | StepEvent::Settled { .. }
            | StepEvent::AttentionNeeded { .. }
            | StepEvent::VerifyBegan
            | StepEvent::VerifyLooked { .. }
            | StepEvent::Verified { .. }
            | StepEvent::Failed { .. }
            | StepEvent::Skipped { .. }
            | StepEvent::Redone { .. }
            | StepEvent::SoakBegan
            | StepEvent::SoakSaved { .. }
            | StepEvent::SoakSampled { .. }
            | StepEvent::ReadyLost { .. }
            | StepEvent::ReadyRegained { .. }
            | StepEvent::SoakPassed
            | StepEvent::UndoneLooked { .. }
            | StepEvent::CompensationFailed { .. } => {}
        }
    }

    /// What the last attempt of `step` in this direction left, if it did not end well.
    pub fn of(&self, step: &StepId, direction: Direction) -> Option<&Trace> {
        self.by_step.get(&(step.clone(), direction))
    }

    /// Whether the compensation of `step` was cut off and ran again.
    pub fn repeated(&self, step: &StepId) -> bool {
        self.repeated.contains(step)
    }
}

/// What a colour underlines; the word beside it says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    Plain,
    Good,
    Busy,
    Warn,
    Bad,
}

impl Tone {
    /// The text in this tone's colour, if colours are wanted (ECMA-48 SGR).
    fn paint(self, text: &str, color: bool) -> String {
        let code = match self {
            Tone::Plain => return text.to_owned(),
            Tone::Good => "32",
            Tone::Busy => "36",
            Tone::Warn => "33",
            Tone::Bad => "31",
        };
        if color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}
