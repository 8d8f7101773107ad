//! How one step stands, in words: the detail behind its status word.

use super::Tone;
use super::guard;
use super::human::{duration, wall};
use super::words::why_cut;
use crate::plan::WindowState;
use crate::plan::recorded::{Soak, Step};
use crate::saga::{Answer, Course, Soaking, Stamp, State, Status, StepState, Tail, Verdict};
use jiff::tz::TimeZone;

/// What is said of a step that another run keeps waiting.
pub(super) fn held_elsewhere(resource: &str, run: &crate::plan::RunId) -> String {
    format!("waits for `{resource}`, which run `{run}` holds")
}

/// The other run that a step waits for, in words.
fn elsewhere(found: &StepState) -> Option<String> {
    found.door.elsewhere.first_key_value().map(|(resource, held)| held_elsewhere(resource, &held.run))
}

/// What keeps a compensation waiting that is to come.
fn back_elsewhere(state: &State, found: &StepState) -> Option<String> {
    let back = state.end.is_none() && matches!(state.course, Course::Back(_));
    elsewhere(found).filter(|_| back).map(|why| format!("its way back {why}"))
}

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
    // What is known to be wrong comes before what could not be looked at.
    let mut bad: Vec<_> = answers.iter().filter(|answer| answer.verdict != Verdict::Holds).collect();
    bad.sort_by_key(|answer| answer.verdict == Verdict::Unknown);
    bad.into_iter().map(shape).collect::<Vec<_>>().join(", ")
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

/// The word for the tone of a step's status.
pub fn step_tone_word(found: &StepState) -> &'static str {
    super::story::tone_word(tone(found))
}

/// What stands behind the status word of a step, for people; empty for a step that the run does not have. Safe to
/// print.
pub fn detail_text(state: &State, step: &crate::plan::StepId, now: &Stamp) -> String {
    state.place(step).map_or_else(String::new, |place| detail(state, place, now))
}

/// What stands behind the status word of the step at `place`. Safe to print.
pub(super) fn detail(state: &State, place: usize, now: &Stamp) -> String {
    let (step, found) = (&state.definition.steps[place], &state.steps[place]);
    let elapsed = || found.started_at.map_or_else(String::new, |at| duration(now.since_ms(&at)));
    let took = || match (found.started_at, found.ended_at) {
        (Some(from), Some(to)) => duration(to.since_ms(&from)),
        (None, _) | (_, None) => String::new(),
    };
    if let Some(why) = back_elsewhere(state, found) {
        return guard::line(&why);
    }
    let last = || found.trouble.as_ref().map_or_else(String::new, |why| format!("; last: {why}"));
    let text = match &found.status {
        Status::Pending => pending(state, place, now),
        Status::AwaitingApproval if !asks(state) => String::new(),
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

/// Whether something happens at the step now, or it waits for a person or a time: then it has a bar.
pub(super) fn in_motion(state: &State, place: usize, now: &Stamp) -> bool {
    if back_elsewhere(state, &state.steps[place]).is_some() {
        return true;
    }
    match &state.steps[place].status {
        Status::AwaitingApproval => asks(state),
        Status::Running { .. }
        | Status::Retrying { .. }
        | Status::Verifying(_)
        | Status::Soaking(_)
        | Status::Compensating { .. }
        | Status::CompensationRetrying { .. }
        | Status::UndoingCheck { .. } => true,
        Status::Interrupted(cut) => cut.attention.is_none(),
        Status::Pending => unmet(state, place).is_empty() && door(state, place, now).is_some(),
        Status::Done
        | Status::Satisfied
        | Status::Skipped
        | Status::Failed { .. }
        | Status::Compensated
        | Status::CompensationFailed { .. } => false,
    }
}

/// The word that people read of the step at `place`: as the manual has it, but a pause between two attempts is told
/// from an attempt, and a gate at which nobody is asked any more is no gate.
pub(super) fn word(state: &State, place: usize) -> &'static str {
    match &state.steps[place].status {
        Status::Retrying { .. } | Status::CompensationRetrying { .. } => "retrying",
        Status::AwaitingApproval if !asks(state) => Status::Pending.word(),
        other => other.word(),
    }
}

/// Whether the run goes forward, so that what waits for a person is theirs to answer.
fn asks(state: &State) -> bool {
    state.end.is_none() && state.course == Course::Forward
}

/// What a bar says of a step in motion: as [`detail`], with what only the process that drives it knows.
pub(super) fn bar(state: &State, place: usize, tail: Option<&Tail>, now: &Stamp) -> String {
    let (step, found) = (&state.definition.steps[place], &state.steps[place]);
    match &found.status {
        Status::Soaking(soaking) => {
            let none = Tail::default();
            let text = step.soak.as_ref().map(|terms| soak_bar(soaking, terms, tail.unwrap_or(&none), now));
            guard::line(&text.unwrap_or_default())
        }
        Status::Running { .. } => match summary(step) {
            Some(summary) => format!("{}: {summary}", detail(state, place, now)),
            None => detail(state, place, now),
        },
        Status::Pending => match window(step, now) {
            Some(opens_ms) => {
                let left = u64::try_from(opens_ms.saturating_sub(now.wall_ms)).unwrap_or(0);
                let at = wall(opens_ms, &TimeZone::UTC);
                format!("its window opens in {}, at {at}", duration(left))
            }
            None => detail(state, place, now),
        },
        _ => detail(state, place, now),
    }
}

/// `1 d 03 h of 3 d healthy, budget 6 of 8, sample in 4 m 10 s`: what the budget bears of bad samples.
fn soak_bar(soaking: &Soaking, terms: &Soak, tail: &Tail, now: &Stamp) -> String {
    let healthy_ms = soaking.healthy_ms(tail).min(terms.for_ms);
    let mut text = format!("{} of {} healthy", duration(healthy_ms), duration(terms.for_ms));
    if let Some(answers) = &soaking.ready_lost {
        text.push_str(&format!("; stands still, the way back no longer works: {}", troubles(answers)));
        return text;
    }
    if let Some(left) = soaking.budget_left(terms) {
        text.push_str(&format!(", budget {left} of {}", left.saturating_add(soaking.bad)));
    }
    match soaking.due_ms(terms, tail, now) {
        0 => text.push_str(", a sample is being taken"),
        left_ms => text.push_str(&format!(", sample in {}", duration(left_ms))),
    }
    if soaking.consecutive > 0 && tail.good == 0 {
        text.push_str(&format!(", {} bad in a row", soaking.consecutive));
    }
    text
}

/// The steps that it needs and that have not ended well.
fn unmet(state: &State, place: usize) -> Vec<&str> {
    let needs = state.definition.steps[place].needs.iter();
    needs
        .filter(|id| state.step(id).is_some_and(|(_, needed)| !needed.status.ended_well()))
        .map(crate::plan::StepId::as_str)
        .collect()
}

/// When the step's window opens, if it is closed now.
fn window(step: &Step, now: &Stamp) -> Option<i64> {
    match step.window.as_ref()?.at(now.wall_ms) {
        WindowState::Closed { opens_ms } => Some(opens_ms),
        WindowState::Open { .. } => None,
    }
}

/// What a pending step waits for.
fn pending(state: &State, place: usize, now: &Stamp) -> String {
    // Going back, a step that has not begun waits for nothing.
    if state.end.is_some() || matches!(state.course, Course::Back(_)) {
        return String::new();
    }
    let unmet = unmet(state, place);
    if !unmet.is_empty() {
        return format!("waits for {}", unmet.join(", "));
    }
    match door(state, place, now) {
        Some(why) => why,
        None if state.paused => "the run is paused".to_owned(),
        None => String::new(),
    }
}

/// What a step whose needs are met still waits for.
fn door(state: &State, place: usize, now: &Stamp) -> Option<String> {
    let (step, found) = (&state.definition.steps[place], &state.steps[place]);
    if state.end.is_some() || matches!(state.course, Course::Back(_)) {
        return None;
    }
    if let Some(seen) = found.door.probe.as_ref().filter(|seen| seen.answer.verdict == Verdict::Unknown) {
        return Some(format!("its probe could not look: {}", seen.answer.reason));
    }
    if let Some(opens_ms) = window(step, now) {
        return Some(format!("waits for its window, which opens {}", wall(opens_ms, &TimeZone::UTC)));
    }
    for (resource, owner) in &step.takes {
        let holders = state.holders.get(resource);
        if let Some(other) = holders.and_then(|holders| holders.iter().find(|holder| *holder != owner)) {
            return Some(format!("waits for `{resource}`, held by `{other}`"));
        }
        if let Some(held) = found.door.elsewhere.get(resource) {
            return Some(held_elsewhere(resource, &held.run));
        }
        let mut gone = found.door.gone.get(resource).into_iter().flatten();
        if let Some((other, seen)) = gone.find(|(_, seen)| seen.answer.verdict != Verdict::Holds) {
            return Some(format!("waits until `{other}` lets go of `{resource}`: {}", shape(&seen.answer)));
        }
    }
    None
}
