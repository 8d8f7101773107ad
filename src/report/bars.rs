//! The bars of a terminal: one `indicatif::ProgressBar` for every step in motion, held by one `MultiProgress`.
//!
//! indicatif composes, [`Canvas`] writes. There is no ticker: bars turn when the driver says that a second is over.
//! Nothing here is made unless there is a terminal. Two of indicatif's ways are not taken: `suspend`, which panics when
//! the terminal is gone (`MultiState::suspend` of 0.18.6), and bars that end by being dropped, which each draw anew.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::canvas::{AskSize, Canvas, Size};
use super::guard;
use crate::plan::StepId;

/// How often a second indicatif may draw unasked, beyond its first 20 times: what it draws so is not shown.
const UNASKED_HZ: u8 = 1;

/// What stands before a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Something runs, and it turns.
    Turns,
    /// A person is asked.
    Asks,
    /// A time is waited for.
    Waits,
    /// It tells of the bars that have no room.
    Folds,
}

impl Mark {
    fn style(self) -> ProgressStyle {
        let (template, marks): (_, &[&str]) = match self {
            // The last one is indicatif's for a bar that has ended.
            Mark::Turns => ("{spinner} {prefix}{msg}", &["|", "/", "-", "\\", " "]),
            Mark::Asks => ("{spinner} {prefix}{msg}", &["?", " "]),
            Mark::Waits => ("{spinner} {prefix}{msg}", &[".", " "]),
            Mark::Folds => ("{prefix}{msg}", &[" ", " "]),
        };
        ProgressStyle::with_template(template).expect("a template without a mistake").tick_strings(marks)
    }
}

/// What a bar says; all of it together is shorter than a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// Whose bar it is; the one that folds is nobody's.
    pub(super) of: Option<StepId>,
    pub(super) mark: Mark,
    /// The column before the text.
    pub(super) head: String,
    pub(super) text: String,
}

/// One owner of the end of the screen, shared by all that write there.
#[derive(Clone)]
pub(super) struct Bars(Arc<Mutex<Inner>>);

struct Inner {
    canvas: Canvas,
    multi: MultiProgress,
    /// In the order in which `multi` has them.
    held: Vec<(Said, ProgressBar)>,
}

impl Bars {
    pub(super) fn new(out: Box<dyn Write + Send>, size: AskSize) -> Self {
        let canvas = Canvas::new(out, size);
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(canvas.clone()), UNASKED_HZ);
        let multi = MultiProgress::with_draw_target(target);
        Self(Arc::new(Mutex::new(Inner { canvas, multi, held: Vec::new() })))
    }

    pub(super) fn size(&self) -> Size {
        self.lock().canvas.measure()
    }

    /// Writes lines that stay above the bars.
    pub(super) fn put(&self, lines: &[String]) -> io::Result<()> {
        let inner = self.lock();
        inner.canvas.measure();
        inner.draw(lines)
    }

    /// Makes the bars these, in this order, and draws them at once with lines that stay above them.
    pub(super) fn show(&self, lines: &[String], bars: Vec<Said>) -> io::Result<()> {
        let mut inner = self.lock();
        inner.canvas.measure();
        inner.hold(bars);
        inner.draw(lines)
    }

    /// The same, and what turns has turned.
    pub(super) fn turn(&self, bars: Vec<Said>) -> io::Result<()> {
        let mut inner = self.lock();
        inner.canvas.measure();
        inner.hold(bars);
        inner.held.iter().for_each(|(_, bar)| bar.tick());
        inner.draw(&[])
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn hold(&mut self, bars: Vec<Said>) {
        self.held.retain(|(held, bar)| {
            let stays = bars.iter().any(|said| said.of == held.of);
            if !stays {
                self.multi.remove(bar);
            }
            stays
        });
        for (place, said) in bars.into_iter().enumerate() {
            match self.held.iter().position(|(held, _)| held.of == said.of) {
                Some(at) => {
                    if at != place {
                        let (held, bar) = self.held.remove(at);
                        self.multi.remove(&bar);
                        self.held.insert(place, (held, self.multi.insert(place, bar)));
                    }
                    let (held, bar) = &mut self.held[place];
                    if *held != said {
                        say(bar, (held.mark != said.mark).then_some(said.mark), &said);
                        *held = said;
                    }
                }
                None => {
                    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
                    let bar = self.multi.insert(place, bar);
                    say(&bar, Some(said.mark), &said);
                    self.held.insert(place, (said, bar));
                }
            }
        }
    }

    fn draw(&self, lines: &[String]) -> io::Result<()> {
        match (lines, self.held.last()) {
            ([], Some((_, bar))) => bar.force_draw(),
            ([], None) => self.multi.clear()?,
            _ => self.multi.println(lines.iter().map(|line| format!("{line}\n")).collect::<String>())?,
        }
        self.canvas.show(lines, self.held.len())
    }
}

fn say(bar: &ProgressBar, mark: Option<Mark>, said: &Said) {
    if let Some(mark) = mark {
        bar.set_style(mark.style());
    }
    bar.set_prefix(said.head.clone());
    bar.set_message(said.text.clone());
}

/// Puts complete lines above the bars of the terminal that it came from.
#[derive(Clone)]
pub struct Lines {
    bars: Bars,
    /// A line that has not ended yet.
    begun: Vec<u8>,
}

impl Lines {
    pub(super) fn new(bars: Bars) -> Self {
        Self { bars, begun: Vec::new() }
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.extend_from_slice(bytes);
        while let Some(end) = self.begun.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.begun.drain(..=end).collect();
            self.bars.put(&[guard::line(&String::from_utf8_lossy(&line))])?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
