//! What a rollback would do, in words and for programs.

use serde_json::{Value, json};

use super::guard;
use super::human::count;
use super::shown::SHOWN_VERSION;
use crate::plan::StepId;
use crate::plan::recorded::Compensate;
use crate::saga::{Shown, State, Status, described, inverse_described};

/// What a rollback would do.
#[derive(Debug, Clone, Copy)]
pub struct WayBack<'a> {
    /// The run.
    pub state: &'a State,
    /// Only what came after this step.
    pub to: Option<&'a StepId>,
    /// Why it would be refused, each with what to do.
    pub refused: &'a [String],
}

/// What a step's compensation does, in a few words.
fn does(state: &State, shown: &Shown<'_>, id: &StepId) -> String {
    let Some((step, _)) = state.step(id) else { return String::new() };
    let mut text = match &step.compensate {
        Compensate::Action(operation) => shown.text(&described(operation)),
        Compensate::Inverse => inverse_described(step),
        Compensate::Nothing => "there is nothing to undo".to_owned(),
        Compensate::Irreversible(why) => format!("cannot be undone: {why}"),
    };
    match step.undone.len() {
        0 => {}
        1 => text.push_str("; then a check until it holds"),
        checks => text.push_str(&format!("; then {checks} checks until they hold")),
    }
    guard::line(&text)
}

/// The steps that stay as they are, and why.
fn stays<'a>(way: &WayBack<'a>) -> Vec<(&'a StepId, &'static str)> {
    let undo = way.state.to_undo(way.to);
    let steps = way.state.definition.steps.iter().zip(&way.state.steps);
    let stays = steps.filter(|(step, _)| !undo.contains(&step.id)).map(|(step, found)| {
        let why = match &found.status {
            Status::Compensated => "it is undone already",
            Status::Satisfied => "its goal held before this run touched it",
            Status::Skipped => "it was left out",
            _ if found.is_ours() => "it did not come after that step",
            _ if step.forward.is_none() => "it only looked",
            _ => "this run has not touched it",
        };
        (&step.id, why)
    });
    stays.collect()
}

/// What a rollback would do, for people.
pub fn way_back_text(way: &WayBack<'_>) -> String {
    let run = &way.state.run;
    let undo = way.state.to_undo(way.to);
    let mut text = match (way.to, undo.is_empty()) {
        (_, true) => format!("{run}: a rollback would have nothing to undo.\n"),
        (None, false) => {
            format!("{run}: a rollback would undo {}, in this order:\n", count(undo.len(), "step"))
        }
        (Some(to), false) => {
            let steps = count(undo.len(), "step");
            format!("{run}: a rollback to step `{to}` would undo {steps}, in this order:\n")
        }
    };
    let shown = Shown::of(way.state);
    let widest = way.state.definition.steps.iter().map(|step| step.id.as_str().len()).max().unwrap_or(0);
    for (at, id) in (1..).zip(&undo) {
        text.push_str(&format!("  {at:>2}. {:<widest$}  {}\n", id.as_str(), does(way.state, &shown, id)));
    }
    let stays = stays(way);
    if !stays.is_empty() {
        text.push_str("\nNot undone:\n");
        for (id, why) in stays {
            text.push_str(&format!("      {:<widest$}  {why}\n", id.as_str()));
        }
    }
    if !way.refused.is_empty() {
        text.push_str("\nIt would be refused, and nothing undone:\n");
        for why in way.refused {
            text.push_str(&format!("  {}\n", guard::line(why)));
        }
    }
    text.push_str("\nThis was a look: nothing was changed.\n");
    text
}

/// The same for programs: one object.
pub fn way_back_json(way: &WayBack<'_>) -> Value {
    let undo = way.state.to_undo(way.to);
    let shown = Shown::of(way.state);
    let undo = undo.iter().map(|id| json!({ "step": id, "does": does(way.state, &shown, id) }));
    let undo: Vec<Value> = undo.collect();
    let stays: Vec<Value> =
        stays(way).into_iter().map(|(id, why)| json!({ "step": id, "why": why })).collect();
    json!({
        "v": SHOWN_VERSION, "type": "rollback_plan", "run": way.state.run, "to": way.to,
        "undo": undo, "stays": stays, "refused": way.refused,
    })
}
