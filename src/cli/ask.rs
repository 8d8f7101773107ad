//! Gates at a terminal: whoever applies is asked, while others may answer from elsewhere.
//!
//! Nothing here decides: an answer is a wish like one from a second terminal, and the first that the run takes counts.

use std::io::{BufRead, IsTerminal, Write};

use tokio::sync::{mpsc, watch};

use super::follow::Shared;
use crate::plan::StepId;
use crate::report::text_line;
use crate::saga::{Command, State, questions};

/// A question that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Open {
    step: StepId,
    /// The request; absent: whether to go on without a way back.
    request: Option<u64>,
    question: String,
}

/// What people are asked in this state.
pub(super) fn open(state: &State) -> Vec<Open> {
    let each = questions(state).into_iter();
    each.map(|asked| Open {
        step: asked.step.clone(),
        request: asked.request.map(|request| request.seq),
        question: asked.request.map_or_else(
            || "The way back no longer works. Go on without it?".to_owned(),
            |request| text_line(&request.question),
        ),
    })
    .collect()
}

/// Whether a person can be asked: they see what is written, and what they type comes to this process and not to
/// another one in the foreground.
pub(super) fn somebody_is_here() -> bool {
    let stdin = std::io::stdin();
    let ours = match rustix::termios::tcgetpgrp(&stdin) {
        Ok(foreground) => foreground == rustix::process::getpgrp(),
        // Not our controlling terminal: nobody's foreground.
        Err(_) => true,
    };
    stdin.is_terminal() && std::io::stderr().is_terminal() && ours
}

/// How a question is answered.
const HOW: &str =
    "`y` approves, `n` rejects: the step fails; both take a note behind them. `q` leaves it open.";

/// What a person at this terminal wants.
pub(super) enum Heard {
    /// A gate is answered.
    Answer(Command),
    /// They answer nothing any more.
    Leaves,
}

/// Asks at this terminal.
pub(super) struct Asking {
    /// What is open; nothing where nobody is asked.
    open: Option<watch::Receiver<Vec<Open>>>,
    lines: Option<mpsc::UnboundedReceiver<String>>,
    shown: Option<Open>,
    /// It was said how questions are answered.
    told: bool,
    /// Answered here; the screen may not have heard of it yet.
    answered: Option<Open>,
}

impl Asking {
    /// Asks what the screen hears of, if somebody is to be asked there.
    pub(super) fn new(shared: &Shared) -> Self {
        Self { open: shared.questions(), lines: None, shown: None, told: false, answered: None }
    }

    /// The next thing that a person says. Never comes where nobody is asked. Cancel-safe.
    pub(super) async fn next(&mut self, shared: &Shared) -> Heard {
        loop {
            let Some(open) = &mut self.open else { return std::future::pending().await };
            let mut now = open.borrow_and_update().clone();
            self.answered.take_if(|answered| !now.contains(answered));
            now.retain(|open| self.answered.as_ref() != Some(open));
            let still = self.shown.as_ref().is_some_and(|shown| now.contains(shown));
            if !still {
                self.shown = now.first().cloned();
                if self.shown.is_some() {
                    if !std::mem::replace(&mut self.told, true) {
                        shared.note(HOW);
                    }
                    // What was typed before the question is no answer to it.
                    rustix::termios::tcflush(std::io::stdin(), rustix::termios::QueueSelector::IFlush).ok();
                }
            }
            if let Some(shown) = &self.shown {
                shared.prompt(&format!("Step `{}`: {} [y/n/q] ", shown.step, shown.question));
            }
            if self.shown.is_some() && self.lines.is_none() {
                self.lines = Some(read());
            }
            let line = tokio::select! {
                changed = open.changed() => {
                    if changed.is_err() {
                        self.open = None;
                    }
                    continue;
                }
                line = line(&mut self.lines) => line,
            };
            shared.answered();
            let (Some(line), Some(shown)) = (line, &self.shown) else {
                self.open = None;
                return Heard::Leaves;
            };
            let line = line.trim();
            let (word, note) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let (step, note) = (shown.step.clone(), note.trim().to_owned());
            match word.to_lowercase().as_str() {
                "y" | "yes" => return Heard::Answer(self.done(Command::Approve { step, note })),
                "n" | "no" => return Heard::Answer(self.done(Command::Reject { step, note })),
                "q" | "quit" => {
                    self.open = None;
                    return Heard::Leaves;
                }
                _ => shared.note(HOW),
            }
        }
    }

    fn done(&mut self, command: Command) -> Command {
        self.answered = self.shown.take();
        command
    }
}

/// The next line that was typed while a question was open; nothing at the end of the input.
async fn line(lines: &mut Option<mpsc::UnboundedReceiver<String>>) -> Option<String> {
    match lines {
        Some(lines) => lines.recv().await,
        None => std::future::pending().await,
    }
}

/// Reads lines for as long as the process lives: a read that has begun cannot be taken back.
fn read() -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Writes a question where it is typed behind.
pub(super) fn write(text: &str) {
    let mut err = std::io::stderr().lock();
    drop(err.write_all(text.as_bytes()).and_then(|()| err.flush()));
}
