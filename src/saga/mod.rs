//! The saga core: a pure state machine that knows nothing of tokio, sled, clocks or sockets.

mod outcome;

pub use outcome::{
    Answer, AttemptKey, CutCause, Direction, FailureClass, LeftRunning, Outcome, Settlement, Trace, Verdict,
};
