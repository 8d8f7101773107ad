//! The end of a terminal's screen, as indicatif is handed it: what it draws is kept here and written at once.
//!
//! Whoever draws on a terminal that people resize has to know how many rows its last lines take *now*. indicatif fills
//! every line up to the last column and lets the terminal break it, so that a window made wider joins bars into one
//! row, and it goes up by as many rows as they had when they were drawn (`draw_to_term` of 0.18.6). So the canvas takes
//! the lines and leaves the filling and the going up: every line ends by itself, and what a narrower window has broken
//! is counted. The cursor is never hidden, so there is nothing to put back after a kill.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::TermLike;

use super::guard;

/// Rows and columns of a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Rows, at least 1.
    pub rows: usize,
    /// Columns, at least 1.
    pub columns: usize,
}

/// Asks how large the terminal is now.
pub type AskSize = Box<dyn Fn() -> Size + Send>;

/// What indicatif draws on; a clone is the same canvas.
#[derive(Clone)]
pub(super) struct Canvas(Arc<Mutex<Inner>>);

struct Inner {
    out: Box<dyn Write + Send>,
    ask: AskSize,
    size: Size,
    /// Lines of the drawing that has begun.
    lines: Vec<String>,
    /// A line whose filling has not come yet.
    open: Option<String>,
    /// The last drawing that is whole and was not shown.
    drawing: Option<Vec<String>>,
    /// The lines of the block that are on the screen.
    block: Vec<String>,
}

impl Canvas {
    pub(super) fn new(out: Box<dyn Write + Send>, ask: AskSize) -> Self {
        let size = ask();
        let inner = Inner { out, ask, size, lines: Vec::new(), open: None, drawing: None, block: Vec::new() };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// The size now, which is that of the canvas until it is asked for again: one drawing has one size.
    pub(super) fn measure(&self) -> Size {
        let mut inner = self.lock();
        let Size { rows, columns } = (inner.ask)();
        inner.size = Size { rows: rows.max(1), columns: columns.max(1) };
        inner.size
    }

    /// Writes the last drawing: its last `bars` lines become the block, those before them stay above it. Where
    /// indicatif drew nothing, as it does while a thread panics, `above` is put above the block that there is.
    pub(super) fn show(&self, above: &[String], bars: usize) -> io::Result<()> {
        let mut inner = self.lock();
        match inner.drawing.take() {
            Some(mut drawing) => {
                let block = drawing.split_off(drawing.len().saturating_sub(bars));
                inner.write(&drawing, block)
            }
            None => {
                let block = inner.block.clone();
                inner.write(above, block)
            }
        }
    }

    /// Puts lines in the place of the block, without indicatif.
    pub(super) fn put(&self, lines: Vec<String>) -> io::Result<()> {
        self.lock().write(&[], lines)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// One write for all of it: nobody sees half a screen.
    fn write(&mut self, above: &[String], block: Vec<String>) -> io::Result<()> {
        if above.is_empty() && block.is_empty() && self.block.is_empty() {
            return Ok(());
        }
        let columns = self.size.columns;
        let mut text = String::new();
        // A window that was made narrower since has broken what no longer fits.
        let rows: usize = self.block.iter().map(|line| shown_width(line).div_ceil(columns).max(1)).sum();
        if rows > 0 {
            // Up to the block's first row, and everything from there on away (ECMA-48 CUU, ED).
            text.push_str(&format!("\u{1b}[{rows}A\u{1b}[J"));
        }
        for line in above.iter().chain(&block) {
            text.push_str(line);
            text.push('\n');
        }
        self.block = block;
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    fn end_line(&mut self) {
        if let Some(line) = self.open.take() {
            self.lines.push(line.trim_end_matches(' ').to_owned());
        }
    }
}

/// Where the cursor is and what is cleared is known here better than there: these do nothing.
impl TermLike for Canvas {
    fn width(&self) -> u16 {
        u16::try_from(self.lock().size.columns).unwrap_or(u16::MAX)
    }

    /// Without an end: what has no room is folded into the last bar, and a bar is never left out in silence.
    fn height(&self) -> u16 {
        u16::MAX
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)?;
        self.lock().end_line();
        Ok(())
    }

    /// A line, or the spaces that fill its last row.
    fn write_str(&self, text: &str) -> io::Result<()> {
        let mut inner = self.lock();
        let fills = inner.open.is_some() && text.bytes().all(|byte| byte == b' ');
        inner.end_line();
        if !fills {
            inner.open = Some(text.to_owned());
        }
        Ok(())
    }

    /// The drawing is whole; [`Canvas::show`] writes it.
    fn flush(&self) -> io::Result<()> {
        let mut inner = self.lock();
        inner.end_line();
        inner.drawing = Some(std::mem::take(&mut inner.lines));
        Ok(())
    }
}

impl fmt::Debug for Canvas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canvas").finish_non_exhaustive()
    }
}

/// The columns of a line in which nothing but colours (ECMA-48 SGR) is not seen.
fn shown_width(line: &str) -> usize {
    let mut seen = String::with_capacity(line.len());
    let mut parts = line.split("\u{1b}[");
    seen.extend(parts.next());
    for part in parts {
        seen.push_str(part.split_once('m').map_or("", |(_, after)| after));
    }
    guard::width(&seen)
}

#[cfg(test)]
mod tests {
    use super::shown_width;

    #[test]
    fn colours_take_no_columns() {
        assert_eq!(shown_width("a  \u{1b}[31mfailed\u{1b}[0m  猫"), 13);
        assert_eq!(shown_width(""), 0);
    }
}
