//! The list of runs.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::human::{exact, time};
use super::shown::SHOWN_VERSION;
use super::status::{standing_tone, standing_word};
use super::{Look, guard};
use crate::plan::RunId;
use crate::saga::{Stamp, Standing, State, standing};

/// Columns from which on everything is shown.
const ROOMY: usize = 100;

/// One run in the list.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    /// The run.
    pub run: RunId,
    /// The path of its plan file.
    pub plan: String,
    /// How it stands.
    pub standing: Standing,
    /// When it was opened.
    pub opened: Stamp,
    /// When its last event was recorded.
    pub last: Stamp,
    /// Steps that ended well.
    pub done: usize,
    /// All steps.
    pub total: usize,
}

impl RunRow {
    /// The row of a run.
    pub fn of(state: &State) -> Self {
        Self {
            run: state.run.clone(),
            plan: state.definition.path.clone(),
            standing: standing(state),
            opened: state.opened,
            last: state.last,
            done: state.steps.iter().filter(|found| found.status.ended_well()).count(),
            total: state.steps.len(),
        }
    }
}

/// The runs for people, in the order given; one line says so when there are none.
pub fn runs_text(rows: &[RunRow], look: &Look) -> String {
    if rows.is_empty() {
        return "There are no runs yet; `runner apply PLAN` starts one.\n".to_owned();
    }
    let runs: Vec<String> = rows.iter().map(|row| row.run.to_string()).collect();
    let steps: Vec<String> = rows.iter().map(|row| format!("{}/{}", row.done, row.total)).collect();
    let widest =
        |words: &mut dyn Iterator<Item = usize>, head: &str| words.max().unwrap_or(0).max(head.len());
    let run_columns = widest(&mut runs.iter().map(String::len), "run");
    let step_columns = widest(&mut steps.iter().map(String::len), "steps");
    let word_columns = widest(&mut rows.iter().map(|row| standing_word(&row.standing).len()), "standing");
    // When a run was opened is the first thing to go where there is no room.
    let roomy = look.width >= ROOMY;
    let opened_head = if roomy { format!("{:<20}  ", "opened") } else { String::new() };
    let mut text = format!(
        "{:<run_columns$}  {:<word_columns$}  {:<step_columns$}  {opened_head}{:<20}  plan\n",
        "run", "standing", "steps", "last event"
    );
    for ((row, run), steps) in rows.iter().zip(&runs).zip(&steps) {
        let word = guard::pad(standing_word(&row.standing), word_columns);
        let word = standing_tone(&row.standing).paint(&word, look.color);
        let opened = if roomy { format!("{}  ", time(&row.opened, &TimeZone::UTC)) } else { String::new() };
        let last = time(&row.last, &TimeZone::UTC);
        let used = run_columns + word_columns + step_columns + opened.len() + 20 + 8;
        // A path that does not fit is worth more than a tidy edge when hardly anything of it would be left.
        let plan = guard::cut(&guard::line(&row.plan), look.width.saturating_sub(used).max(24));
        text.push_str(&format!(
            "{run:<run_columns$}  {word}  {steps:<step_columns$}  {opened}{last}  {plan}\n"
        ));
    }
    text
}

/// The runs for programs: one object.
pub fn runs_json(rows: &[RunRow]) -> Value {
    let runs: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "run": row.run,
                "plan": row.plan,
                "standing": standing_word(&row.standing),
                "opened": exact(&row.opened),
                "last": exact(&row.last),
                "steps_done": row.done,
                "steps_total": row.total,
            })
        })
        .collect();
    json!({ "v": SHOWN_VERSION, "type": "runs", "runs": runs })
}
