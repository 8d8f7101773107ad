//! Why a step is in the state it is in, line by line from the journal.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::human::time;
use super::shown::SHOWN_VERSION;
use super::step::{detail, word};
use super::words::{Weight, line};
use super::{Asked, Context, Look, ending, event_json, guard};
use crate::plan::StepId;
use crate::saga::{self, Course, Event, Stamp, State, What};

/// The events that say why: those of the step, and those of the run that moved it. Each with the state after it.
fn told<'a>(step: &StepId, events: &'a [Event], show: &mut dyn FnMut(&State, &'a Event)) {
    let mut state: Option<State> = None;
    for event in events {
        let folded = match state.take() {
            None => saga::open(event).ok(),
            Some(mut state) => saga::fold(&mut state, event).ok().map(|()| state),
        };
        // A journal that contradicts itself is refused before anybody comes here.
        let Some(now) = folded else { return };
        let matters = match &event.what {
            What::Step { step: of, .. } => of == step,
            What::PlanAmended { changes, .. } => changes.iter().any(|c| c.step.as_ref() == Some(step)),
            What::RunOpened { .. }
            | What::RunResumed { .. }
            | What::Paused { .. }
            | What::Unpaused { .. }
            | What::UntilSet { .. }
            | What::CancelRequested { .. }
            | What::Cancelled
            | What::RollbackRequested { .. }
            | What::RolledBack
            | What::Completed => !matches!(event.what, What::RunOpened { .. } | What::Completed),
        };
        if matters {
            show(&now, event);
        }
        state = Some(now);
    }
}

/// The needs of a step that have not ended well, with how they stand.
fn waits(state: &State, step: &StepId) -> Vec<String> {
    let Some((step, _)) = state.step(step) else { return Vec::new() };
    let open = step.needs.iter().filter_map(|id| state.step(id)).filter(|(_, f)| !f.status.ended_well());
    open.map(|(need, found)| format!("step `{}`, which is {}", need.id, found.status.word())).collect()
}

/// Why the step is in the state it is in, what comes next, and the commands for each way on.
pub fn why_text(
    state: &State,
    step: &StepId,
    events: &[Event],
    look: &Look,
    context: &Context<'_>,
) -> String {
    let Some((place, (_, found))) = state.place(step).zip(state.step(step)) else { return String::new() };
    let detail = detail(state, place, &context.now);
    let mut text = format!("{} step `{step}` is {}", state.run, word(state, place));
    if !detail.is_empty() {
        text.push_str(&format!(": {detail}"));
    }
    text.push('\n');
    if !found.status.ended_well() && state.end.is_none() && !matches!(state.course, Course::Back(_)) {
        for need in waits(state, step) {
            text.push_str(&format!("It waits for {need}.\n"));
        }
    }
    text.push_str("\nWhat happened, by event:\n");
    let mut any = false;
    told(step, events, &mut |after, event| {
        any = true;
        let said = line(after, event);
        let head = format!("  {:>5}  {}  {:<18}", event.seq, time(&event.at, &TimeZone::UTC), said.word);
        text.push_str(format!("{} {}", head, said.detail).trim_end());
        text.push('\n');
        // How a journal is fenced explains no step.
        for (_, below) in
            said.below.iter().filter(|(weight, _)| *weight > Weight::Trifle || weight.shows(look))
        {
            text.push_str(&format!("         {}\n", guard::line(below)));
        }
    });
    if !any {
        text.push_str("  nothing yet: no event of the run is about it\n");
    }
    text.push_str(&format!("\nThe run:\n{}", ending(state, Asked::Status, look, context)));
    text
}

/// The same for programs: one object.
pub fn why_json(state: &State, step: &StepId, events: &[Event], now: &Stamp) -> Value {
    let mut told_events = Vec::new();
    told(step, events, &mut |after, event| told_events.push(event_json(after, event)));
    let place = state.place(step);
    json!({
        "v": SHOWN_VERSION, "type": "why", "run": state.run, "step": step,
        "status": state.step(step).map(|(_, found)| found.status.word()),
        "detail": place.map(|place| detail(state, place, now)),
        "waits_for": waits(state, step),
        "events": told_events,
    })
}
