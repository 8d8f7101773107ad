//! Windows.
use super::recorded::Window;

/// Whether a window is open.
#[derive(Debug)]
pub enum WindowState {
    /// Open until then.
    Open {
        /// When it closes.
        closes_ms: i64,
    },
    /// Closed until then.
    Closed {
        /// When it opens.
        opens_ms: i64,
    },
}

impl Window {
    /// Whether it is open.
    pub fn at(&self, _wall_ms: i64) -> WindowState {
        WindowState::Open { closes_ms: 0 }
    }
}
