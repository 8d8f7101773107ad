//! How a run stands, drawn in place again and again: what `status --watch` shows on a terminal.

use std::io::Write;

use super::canvas::{AskSize, Canvas};
use super::status::status_text;
use super::{Look, guard};
use crate::saga::{Stamp, State};

/// A terminal that shows how one run stands.
pub struct Watch {
    canvas: Canvas,
    look: Look,
}

/// Draws on `out`, which is a terminal of `size`; that is asked anew each time. What is drawn is cut to the terminal.
pub fn watch(out: Box<dyn Write + Send>, size: AskSize, look: Look) -> Watch {
    // A line is cut by its columns, which colours would spoil; each status has its word.
    Watch { canvas: Canvas::new(out, size), look: Look { color: false, ..look } }
}

impl Watch {
    /// Draws the run as it stands, in place of what was drawn before.
    pub fn draw(&self, state: &State, now: &Stamp) {
        let size = self.canvas.measure();
        // One column less than there is, and a row for the cursor: nothing that is drawn may scroll or be broken.
        let (width, room) = (size.columns.saturating_sub(1).max(1), size.rows.saturating_sub(1).max(1));
        let text = status_text(state, now, &self.look);
        let mut lines: Vec<String> = text.lines().map(|line| guard::cut(line, width)).collect();
        if lines.len() > room {
            let more = lines.len() - (room - 1);
            lines.truncate(room - 1);
            lines.push(guard::cut(&format!("and {more} lines more"), width));
        }
        // A terminal that is gone takes nothing.
        drop(self.canvas.put(lines));
    }

    /// Takes away what was drawn.
    pub fn clear(&self) {
        drop(self.canvas.put(Vec::new()));
    }
}
