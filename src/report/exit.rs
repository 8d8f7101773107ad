//! Exit codes: what a script learns from a command. Documented constants and one table.

use super::Asked;
use crate::saga::Standing;

/// Complete, nothing to do, already rolled back; `status` and its like when they could answer.
pub const COMPLETE: u8 = 0;
/// Unexpected error.
pub const UNEXPECTED: u8 = 1;
/// Wrong usage, invalid plan, refused amendment or rollback, unknown run or step; nothing was touched.
pub const USAGE: u8 = 2;
/// A step failed and the run halted, resumable; or cancelled.
pub const HALTED: u8 = 3;
/// Waiting: soak, window, approval, pause.
pub const WAITING: u8 = 4;
/// A step failed and everything was rolled back.
pub const ROLLED_BACK: u8 = 5;
/// Needs attention: a compensation failed, or a cut-off step cannot be settled.
pub const NEEDS_ATTENTION: u8 = 6;
/// The journal is held by a process that does not answer.
pub const HELD: u8 = 7;
/// Stopped by SIGINT; resumable.
pub const INTERRUPTED: u8 = 130;
/// Stopped by SIGTERM; resumable.
pub const TERMINATED: u8 = 143;

/// One line of the table of exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The codes that mean the same.
    pub codes: &'static [u8],
    /// What they mean, in Markdown.
    pub meaning: &'static str,
}

/// Every exit code with its meaning: what the help, the README and the docs are made from and tested against.
pub const TABLE: &[Row] = &[
    Row {
        codes: &[COMPLETE],
        meaning: "complete, nothing to do, already rolled back; `status` and its like when they could answer",
    },
    Row { codes: &[UNEXPECTED], meaning: "unexpected error" },
    Row {
        codes: &[USAGE],
        meaning: "wrong usage, invalid plan, refused amendment or rollback, unknown run or step, stale saved plan, a \
                  problem that `doctor` found; nothing was touched",
    },
    Row { codes: &[HALTED], meaning: "a step failed and the run halted, resumable; or cancelled" },
    Row { codes: &[WAITING], meaning: "waiting: soak, window, approval, pause" },
    Row { codes: &[ROLLED_BACK], meaning: "a step failed and everything was rolled back" },
    Row {
        codes: &[NEEDS_ATTENTION],
        meaning: "needs attention: a compensation failed, or a cut-off step cannot be settled",
    },
    Row { codes: &[HELD], meaning: "the journal is held by a process that does not answer" },
    Row {
        codes: &[INTERRUPTED, TERMINATED],
        meaning: "stopped by SIGINT, SIGTERM; resumable (`serve` stopped in good order exits 0)",
    },
];

/// The table as it stands in the README and the docs.
pub fn markdown() -> String {
    let rows = TABLE.iter().map(|row| format!("| {} | {} |\n", codes(row), row.meaning));
    format!("| exit | meaning |\n|---|---|\n{}", rows.collect::<String>())
}

/// The table as it stands in the help.
pub fn text() -> String {
    TABLE.iter().map(|row| format!("  {:<9} {}\n", codes(row), hung(&row.meaning.replace('`', "")))).collect()
}

/// Lines below each other that fit beside the codes at 80 columns.
fn hung(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is a first line");
        match line.len() + 1 + word.len() {
            _ if line.is_empty() => line.push_str(word),
            long if long > 66 => lines.push(word.to_owned()),
            _ => *line += &format!(" {word}"),
        }
    }
    lines.join(&format!("\n{:12}", ""))
}

fn codes(row: &Row) -> String {
    let codes: Vec<String> = row.codes.iter().map(u8::to_string).collect();
    codes.join(", ")
}

/// The exit code of a command that was asked for and left the run standing so.
pub fn code(standing: &Standing, asked: Asked) -> u8 {
    match (standing, asked) {
        // It was asked how the run stands, and could be told.
        (
            Standing::Complete
            | Standing::NeedsAttention { .. }
            | Standing::RolledBack { .. }
            | Standing::Halted { .. }
            | Standing::Cancelled
            | Standing::Resting
            | Standing::Open,
            Asked::Status,
        ) => COMPLETE,
        (Standing::Complete, Asked::Apply | Asked::Rollback | Asked::Cancel | Asked::Resolve) => COMPLETE,
        (
            Standing::NeedsAttention { .. },
            Asked::Apply | Asked::Rollback | Asked::Cancel | Asked::Resolve,
        ) => NEEDS_ATTENTION,
        // Whoever asked to go forward did not get there, whatever led to it.
        (Standing::RolledBack { .. }, Asked::Apply) => ROLLED_BACK,
        (Standing::RolledBack { .. }, Asked::Rollback | Asked::Cancel | Asked::Resolve) => COMPLETE,
        (
            Standing::Halted { .. } | Standing::Cancelled,
            Asked::Apply | Asked::Rollback | Asked::Cancel | Asked::Resolve,
        ) => HALTED,
        (Standing::Resting, Asked::Rollback | Asked::Resolve) => COMPLETE,
        (Standing::Resting, Asked::Apply | Asked::Cancel) => WAITING,
        (Standing::Open, Asked::Apply | Asked::Rollback | Asked::Cancel) => WAITING,
        // The answer is recorded, and that is all that was asked for.
        (Standing::Open, Asked::Resolve) => COMPLETE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::StepId;

    #[test]
    fn every_standing_has_its_code_for_apply_and_rollback() {
        let step = StepId::new("a").unwrap();
        let table = [
            (Standing::Complete, 0, 0),
            (Standing::Halted { steps: vec![step.clone()] }, 3, 3),
            (Standing::Cancelled, 3, 3),
            (Standing::Open, 4, 4),
            (Standing::Resting, 4, 0),
            (Standing::RolledBack { failed: None }, 5, 0),
            (Standing::RolledBack { failed: Some(step.clone()) }, 5, 0),
            (Standing::NeedsAttention { steps: vec![step] }, 6, 6),
        ];
        for (standing, apply, rollback) in table {
            assert_eq!(code(&standing, Asked::Apply), apply, "{standing:?}");
            assert_eq!(code(&standing, Asked::Rollback), rollback, "{standing:?}");
            assert_eq!(code(&standing, Asked::Status), 0, "{standing:?}");
        }
    }

    #[test]
    fn the_design_has_the_same_table() {
        let design = include_str!("../../docs/design.md");
        assert!(design.contains(&markdown()), "{}", markdown());
    }
}
