//! How one step stands, in words: the detail behind its status word.

use super::Tone;
use super::guard;
use super::human::{duration, wall};
use super::words::why_cut;
use crate::plan::WindowState;
use crate::plan::recorded::Step;
use crate::saga::{Answer, Course, Stamp, State, Status, StepState, Verdict};
use jiff::tz::TimeZone;

/// An answer in words: `absent (status 502)`.
pub(super) fn shape(answer: &Answer) -> String {
    if answer.reason.is_empty() {
        answer.verdict.to_string()
    } else {
        format!("{} ({})", answer.verdict, guard::line(&answer.reason))
    }
}

/// The answers that do not hold, in words.
pub(super) fn troubles(answers: &[Answer]) -> String {
    let bad = answers.iter().filter(|answer| answer.verdict != Verdict::Holds).map(shape);
    bad.collect::<Vec<_>>().join(", ")
}

/// `attempt 2 of 3`: which one ever, and which one of the present budget if that is another number.
pub(super) fn attempt_of(attempt: u32, of_budget: u32, budget: u32) -> String {
    match (attempt == of_budget, of_budget <= budget && budget > 1) {
        (true, true) => format!("attempt {attempt} of {budget}"),
        (false, true) => format!("attempt {attempt} ({of_budget} of {budget})"),
        (_, false) => format!("attempt {attempt}"),
    }
}

/// The step's summary, unless it still holds templates, which only whoever runs the step can render.
pub(super) fn summary(step: &Step) -> Option<String> {
    let text = guard::line(&step.summary);
    (!text.is_empty() && !text.contains("{{") && !text.contains("{%")).then_some(text)
}

/// The colour of a status.
pub(super) fn tone(found: &StepState) -> Tone {
    match &found.status {
        Status::Pending | Status::Skipped => Tone::Plain,
        Status::Running { .. } | Status::Verifying(_) | Status::Soaking(_) => Tone::Busy,
        Status::Compensating { .. } | Status::UndoingCheck { .. } => Tone::Busy,
        Status::AwaitingApproval | Status::Retrying { .. } | Status::CompensationRetrying { .. } => {
            Tone::Warn
        }
        Status::Interrupted(cut) if cut.attention.is_none() => Tone::Warn,
        Status::Interrupted(_) | Status::Failed { .. } | Status::CompensationFailed { .. } => Tone::Bad,
        Status::Done | Status::Satisfied | Status::Compensated => Tone::Good,
    }
}

/// What stands behind the status word of the step at `place`. Safe to print.
pub(super) fn detail(state: &State, place: usize, now: &Stamp) -> String {
    let (step, found) = (&state.definition.steps[place], &state.steps[place]);
    let elapsed = || found.started_at.map_or_else(String::new, |at| duration(now.since_ms(&at)));
    let took = || match (found.started_at, found.ended_at) {
        (Some(from), Some(to)) => duration(to.since_ms(&from)),
        (None, _) | (_, None) => String::new(),
    };
    let last = || found.trouble.as_ref().map_or_else(String::new, |why| format!("; last: {why}"));
    let text = match &found.status {
        Status::Pending => pending(state, place, now),
        Status::AwaitingApproval => match &found.door.gate {
            crate::saga::GateState::Asked(asked) => asked.question.clone(),
            crate::saga::GateState::Answered(_) => "approved, the evidence is looked at once more".to_owned(),
            crate::saga::GateState::Shut | crate::saga::GateState::Open { .. } => String::new(),
        },
        Status::Running { attempt } => {
            format!("{}, {}", attempt_of(*attempt, found.spent + 1, step.retry.attempts), elapsed())
        }
        Status::Retrying { pause } => again(found.attempts + 1, found, step, pause.left_ms(now)) + &last(),
        Status::Verifying(verifying) => {
            let seen = verifying.last.as_deref().map_or_else(String::new, |a| format!("; {}", troubles(a)));
            let (past, all) = (now.since_ms(&verifying.within.from), verifying.within.length_ms);
            format!("{} of at most {}{seen}", duration(past.min(all)), duration(all))
        }
        Status::Soaking(_) => detail_of_soak(step, found, Some(now)),
        Status::Done => took(),
        Status::Satisfied => "the goal held before this run touched it".to_owned(),
        Status::Skipped => match (&found.trouble, found.when) {
            (Some(note), _) => note.clone(),
            (None, Some(false)) => "`when` is false".to_owned(),
            (None, _) => String::new(),
        },
        Status::Failed { reason } | Status::CompensationFailed { reason } => reason.clone(),
        Status::Interrupted(cut) => match &cut.attention {
            Some(reason) => format!("needs attention: {reason}"),
            None => {
                let next = if cut.over { "it is over, to be settled" } else { "to be proved over" };
                format!("{} attempt {}: {}; {next}", cut.direction, cut.attempt, why_cut(cut.cause))
            }
        },
        Status::Compensating { attempt } => {
            format!("{}, {}", attempt_of(*attempt, found.spent + 1, step.retry.attempts), elapsed())
        }
        Status::CompensationRetrying { pause } => {
            again(found.compensations + 1, found, step, pause.left_ms(now)) + &last()
        }
        Status::UndoingCheck { within, last } => {
            let seen = last.as_deref().map_or_else(String::new, |a| format!("; {}", troubles(a)));
            let past = now.since_ms(&within.from).min(within.length_ms);
            format!("{} of at most {}{seen}", duration(past), duration(within.length_ms))
        }
        Status::Compensated if found.compensations == 0 => "there was nothing to undo".to_owned(),
        Status::Compensated => took(),
    };
    guard::line(&text)
}

fn again(attempt: u32, found: &StepState, step: &Step, left_ms: u64) -> String {
    let attempt = attempt_of(attempt, found.spent + 1, step.retry.attempts);
    if left_ms == 0 { format!("{attempt} follows") } else { format!("{attempt} in {}", duration(left_ms)) }
}

/// `1 d 03 h of 3 d good (37 %), 2 bad and 1 inconclusive samples`.
pub(super) fn detail_of_soak(step: &Step, found: &StepState, now: Option<&Stamp>) -> String {
    let (Status::Soaking(soaking), Some(terms)) = (&found.status, &step.soak) else { return String::new() };
    let share = 100 * soaking.good_ms.min(terms.for_ms) / terms.for_ms.max(1);
    let mut text = format!("{} of {} good ({share} %)", duration(soaking.good_ms), duration(terms.for_ms));
    let mut samples = Vec::new();
    for (number, word) in
        [(soaking.good, "good"), (soaking.bad, "bad"), (soaking.inconclusive, "inconclusive")]
    {
        if number > 0 {
            samples.push(format!("{number} {word}"));
        }
    }
    if !samples.is_empty() {
        text.push_str(&format!(", samples: {}", samples.join(", ")));
    }
    if let Some(answers) = &soaking.ready_lost {
        text.push_str(&format!("; stands still, the way back no longer works: {}", troubles(answers)));
    } else if let (Some(now), Some(last)) = (now, &soaking.last_sample) {
        text.push_str(&format!("; last recorded sample {} ago", duration(now.since_ms(last))));
    }
    text
}

/// What a pending step waits for.
fn pending(state: &State, place: usize, now: &Stamp) -> String {
    let (step, found) = (&state.definition.steps[place], &state.steps[place]);
    // Going back, a step that has not begun waits for nothing.
    if state.end.is_some() || matches!(state.course, Course::Back(_)) {
        return String::new();
    }
    let unmet: Vec<&str> = step
        .needs
        .iter()
        .filter(|id| state.step(id).is_some_and(|(_, needed)| !needed.status.ended_well()))
        .map(crate::plan::StepId::as_str)
        .collect();
    if !unmet.is_empty() {
        return format!("waits for {}", unmet.join(", "));
    }
    if let Some(seen) = found.door.probe.as_ref().filter(|seen| seen.answer.verdict == Verdict::Unknown) {
        return format!("its probe could not look: {}", seen.answer.reason);
    }
    if let Some(window) = &step.window
        && let WindowState::Closed { opens_ms } = window.at(now.wall_ms)
    {
        return format!("waits for its window, which opens {}", wall(opens_ms, &TimeZone::UTC));
    }
    for (resource, owner) in &step.takes {
        let holders = state.holders.get(resource);
        if let Some(other) = holders.and_then(|holders| holders.iter().find(|holder| *holder != owner)) {
            return format!("waits for `{resource}`, held by `{other}`");
        }
        let mut gone = found.door.gone.get(resource).into_iter().flatten();
        if let Some((other, seen)) = gone.find(|(_, seen)| seen.answer.verdict != Verdict::Holds) {
            return format!("waits until `{other}` lets go of `{resource}`: {}", shape(&seen.answer));
        }
    }
    if state.paused { "the run is paused".to_owned() } else { String::new() }
}
