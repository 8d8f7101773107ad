//! The end of a terminal's screen: lines that stay, and below them a block that is drawn again and again.
//!
//! Whoever draws on a terminal that people resize has to know how many rows its last lines take *now*. indicatif fills
//! every line of a bar up to the last column and lets the terminal break it, so that a window made wider joins bars
//! into one row, and it goes up by as many rows as they had when they were drawn (`draw_to_term` of 0.18.6). Here every
//! line ends by itself and is shorter than a row, and what a narrower window has broken is counted. The cursor is
//! never hidden, so there is nothing to put back after a kill.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

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

/// One owner of the end of the screen, shared by all that write there.
#[derive(Clone)]
pub(super) struct Block(Arc<Mutex<Inner>>);

struct Inner {
    out: Box<dyn Write + Send>,
    size: AskSize,
    /// The lines of the block that are on the screen.
    drawn: Vec<String>,
}

impl Block {
    pub(super) fn new(out: Box<dyn Write + Send>, size: AskSize) -> Self {
        Self(Arc::new(Mutex::new(Inner { out, size, drawn: Vec::new() })))
    }

    pub(super) fn size(&self) -> Size {
        (self.lock().size)()
    }

    /// Writes lines that stay above the block.
    pub(super) fn put(&self, lines: &[String]) -> io::Result<()> {
        let mut inner = self.lock();
        let block = inner.drawn.clone();
        inner.draw(lines, block)
    }

    /// Draws the block anew. Each of its lines is shorter than a row, escapes for colours aside.
    pub(super) fn draw(&self, block: Vec<String>) -> io::Result<()> {
        let mut inner = self.lock();
        if block.is_empty() && inner.drawn.is_empty() {
            return Ok(());
        }
        inner.draw(&[], block)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// One write for all of it: nobody sees half a screen.
    fn draw(&mut self, above: &[String], block: Vec<String>) -> io::Result<()> {
        let columns = (self.size)().columns.max(1);
        let mut text = String::new();
        // A window that was made narrower since has broken what no longer fits.
        let rows: usize = self.drawn.iter().map(|line| shown_width(line).div_ceil(columns).max(1)).sum();
        if rows > 0 {
            // Up to the block's first row, and everything from there on away (ECMA-48 CUU, ED).
            text.push_str(&format!("\u{1b}[{rows}A\u{1b}[J"));
        }
        for line in above.iter().chain(&block) {
            text.push_str(line);
            text.push('\n');
        }
        self.drawn = block;
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
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

/// Puts complete lines above the block that it came from.
#[derive(Clone)]
pub struct Lines {
    block: Block,
    /// A line that has not ended yet.
    begun: Vec<u8>,
}

impl Lines {
    pub(super) fn new(block: Block) -> Self {
        Self { block, begun: Vec::new() }
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.extend_from_slice(bytes);
        while let Some(end) = self.begun.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.begun.drain(..=end).collect();
            self.block.put(&[guard::line(&String::from_utf8_lossy(&line))])?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
