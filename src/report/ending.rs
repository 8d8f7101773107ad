//! The words at every stop (P8): what happened, what state everything is in now, why, and the exact command
//! for each way forward.

use jiff::tz::TimeZone;

use super::guard::{self, shell_word};
use super::human::{duration, time};
use super::status::{standing_tone, table};
use super::step::{detail, shape};
use super::words::{output, tally, why_cut};
use super::{Asked, Context, Look};
use crate::plan::StepId;
use crate::plan::recorded::{Compensate, OnFailure, Step};
use crate::saga::{
    Course, Direction, Door, End, GateState, Stamp, Standing, State, Status, StepState, Verdict, questions,
    reached, standing,
};

/// What is said when the command that was `asked` for stops, or when somebody asks how the run stands.
///
/// Ends with a line end. Nothing in it is cut, so that every cause can be read whole.
pub fn ending(state: &State, asked: Asked, look: &Look, context: &Context<'_>) -> String {
    let stands = standing(state);
    let whole = Look { width: usize::MAX, ..*look };
    let mut blocks = vec![standing_tone(&stands).paint(&happened(state, &stands, asked), look.color)];
    if asked != Asked::Status {
        blocks.push(table(state, &context.now, &whole, true).join("\n"));
    }
    let causes = causes(state, &stands, context);
    if !causes.is_empty() {
        blocks.push(format!("Why:\n{}", causes.join("\n")));
    }
    let left = left(state);
    if !left.is_empty() {
        blocks.push(format!("Left where it is, for there is nothing to undo of it:\n{}", left.join("\n")));
    }
    blocks.push(super::systems_text(context.systems).trim_end().to_owned());
    if let Some(wake_ms) = context.wake_ms.filter(|_| stands == Standing::Open) {
        let at = Stamp { wall_ms: context.now.wall_ms.saturating_add_unsigned(wake_ms), ..context.now };
        let (rest, at) = (duration(wake_ms), time(&at, &TimeZone::UTC));
        blocks.push(format!("There is something to do again in {rest}, at {at}."));
    }
    let ways = ways(state, &stands, asked, context);
    if !ways.is_empty() {
        let each = ways.iter().map(|(what, command)| format!("  {what}:\n      {command}"));
        blocks.push(format!("Ways forward:\n{}", each.collect::<Vec<_>>().join("\n")));
    }
    blocks.retain(|block| !block.is_empty());
    format!("{}\n", blocks.join("\n\n"))
}

/// `step `a``, `steps `a` and `b``.
fn named(steps: &[StepId]) -> String {
    let quoted: Vec<String> = steps.iter().map(|step| format!("`{step}`")).collect();
    match quoted.split_last() {
        None => "no step".to_owned(),
        Some((only, [])) => format!("step {only}"),
        Some((last, rest)) => format!("steps {} and {last}", rest.join(", ")),
    }
}

/// What a run that went all the way back has made and left: archives. What a compensation keeps, it has said.
fn left(state: &State) -> Vec<String> {
    if !matches!(state.end, Some(End::RolledBack { .. })) {
        return Vec::new();
    }
    let steps = state.definition.steps.iter().zip(&state.steps);
    let made = |step: &Step, found: &StepState| {
        step.compensate == Compensate::Nothing && matches!(found.status, Status::Compensated)
    };
    let kept = steps.filter(|(step, found)| made(step, found)).filter_map(|(step, found)| {
        let archive = found.outputs.as_ref()?.get("archive")?.as_str()?;
        Some(guard::line(&format!("  the archive `{archive}` of step `{}`", step.id)))
    });
    kept.collect()
}

/// How a run stands, in a sentence or two.
pub fn headline(state: &State) -> String {
    guard::line(&happened(state, &standing(state), Asked::Status))
}

/// One sentence or two: what happened.
fn happened(state: &State, stands: &Standing, asked: Asked) -> String {
    let run = &state.run;
    let undone = undone(state);
    match stands {
        Standing::Complete => {
            let took = duration(state.last.since_ms(&state.opened));
            format!("{run} is complete: {}, {took}.", tally(state))
        }
        Standing::NeedsAttention { steps } => {
            let going = match (&state.end, &state.course) {
                (Some(_), _) => "The run is closed.",
                (None, Course::Back(_)) => {
                    "The rollback went as far as it could without undoing out of order."
                }
                (None, Course::Forward | Course::Resting) => "Nothing new starts until it is settled.",
            };
            let s = if steps.len() == 1 { "s" } else { "" };
            format!("{run} needs attention: {} need{s} a person. {going}", named(steps))
        }
        Standing::RolledBack { failed: Some(step) } => {
            format!("{run} is rolled back: step `{step}` failed, and everything that this run did is undone.")
        }
        Standing::RolledBack { failed: None } => {
            format!("{run} is rolled back: everything that this run did is undone.")
        }
        Standing::Halted { steps } => {
            format!("{run} has halted: {} failed. {undone} The run can be resumed.", named(steps))
        }
        Standing::Cancelled => format!("{run} is cancelled: the run is closed. {undone}"),
        Standing::Resting => {
            format!("{run} went back to an earlier step and rests there; `apply` goes forward again.")
        }
        Standing::Open => open(state, asked),
    }
}

/// What is undone of a run that ended on its way.
fn undone(state: &State) -> String {
    let steps = state.definition.steps.iter().zip(&state.steps);
    let back = steps.filter(|(_, found)| matches!(found.status, Status::Compensated));
    let back: Vec<StepId> = back.map(|(step, _)| step.id.clone()).collect();
    if !back.is_empty() {
        let verb = if back.len() == 1 { "was" } else { "were" };
        format!("Only {} {verb} undone.", named(&back))
    } else if state.steps.iter().any(|found| found.compensations > 0) {
        "Nothing was undone since the last rollback.".to_owned()
    } else {
        "Nothing was undone.".to_owned()
    }
}

/// Whether a step is under way.
fn in_flight(status: &Status) -> bool {
    matches!(
        status,
        Status::Running { .. }
            | Status::Verifying(_)
            | Status::Compensating { .. }
            | Status::UndoingCheck { .. }
    )
}

/// A run that is not over: what it waits for.
fn open(state: &State, asked: Asked) -> String {
    let run = &state.run;
    if state.cancelling {
        return format!("{run} is being cancelled: what is in flight settles first.");
    }
    if state.paused {
        return format!("{run} is paused: nothing new starts.");
    }
    if let Some(step) = reached(state) {
        let left = state.steps.iter().filter(|found| !found.status.ended_well()).count();
        let steps = super::human::count(state.steps.len(), "step");
        return format!("{run} has come as far as step `{step}`, as asked: {left} of {steps} still to come.");
    }
    let with = |which: &dyn Fn(&Status) -> bool| -> Vec<StepId> {
        let steps = state.definition.steps.iter().zip(&state.steps);
        steps.filter(|(_, found)| which(&found.status)).map(|(step, _)| step.id.clone()).collect()
    };
    let asking = with(&|status| matches!(status, Status::AwaitingApproval));
    let soaking = with(&|status| matches!(status, Status::Soaking(_)));
    let cut = with(&|status| matches!(status, Status::Interrupted(_)));
    let flying = with(&in_flight);
    let verb = |steps: &[StepId], one: &str, many: &str| {
        if steps.len() == 1 { one.to_owned() } else { many.to_owned() }
    };
    let mut waits = Vec::new();
    if !asking.is_empty() {
        waits.push(format!(
            "{} {}",
            named(&asking),
            verb(&asking, "waits for an approval", "wait for approvals")
        ));
    }
    for id in &soaking {
        let Some((step, found)) = state.step(id) else { continue };
        let (Status::Soaking(soak), Some(terms)) = (&found.status, &step.soak) else { continue };
        let left = duration(terms.for_ms.saturating_sub(soak.good_ms));
        waits.push(match &soak.ready_lost {
            Some(_) => format!("step `{id}` soaks and stands still, because the way back no longer works"),
            None => format!("step `{id}` soaks and needs {left} more of good time"),
        });
    }
    if !flying.is_empty() && asked == Asked::Status {
        waits.push(format!("{} {} under way", named(&flying), verb(&flying, "is", "are")));
    } else if !flying.is_empty() {
        let left = verb(&flying, "was left under way and is settled", "were left under way and are settled");
        waits.push(format!("{} {left} when the run goes on", named(&flying)));
    }
    if !cut.is_empty() {
        let was = verb(&cut, "was cut off and is settled", "were cut off and are settled");
        waits.push(format!("{} {was} when the run goes on", named(&cut)));
    }
    if waits.is_empty() {
        let left = state.steps.iter().filter(|found| !found.status.ended_well()).count();
        let back = matches!(state.course, Course::Back(_));
        return if back {
            format!("{run} is on its way back and not there yet.")
        } else {
            format!(
                "{run} is not over: {left} of {} still to come.",
                super::human::count(state.steps.len(), "step")
            )
        };
    }
    format!("{run} is not over: {}.", waits.join("; "))
}

/// For every step that is a cause: why, the end of its output, and where the whole log is.
fn causes(state: &State, stands: &Standing, context: &Context<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for (place, (step, found)) in state.definition.steps.iter().zip(&state.steps).enumerate() {
        let why = match (&found.status, stands) {
            (Status::Failed { reason }, _) if found.attempts > 1 => {
                format!("{}, after {} attempts", guard::line(reason), found.attempts)
            }
            (Status::Failed { reason }, _) => guard::line(reason),
            (Status::Soaking(soak), Standing::Open) => {
                let Some(answers) = &soak.ready_lost else { continue };
                format!("the way back no longer works: {}", super::step::troubles(answers))
            }
            (Status::AwaitingApproval, Standing::Open) => {
                lines.extend(asked_for(&step.id, &found.door, state.terms.assume_yes));
                continue;
            }
            _ => match (found.needs_attention(), stands, &found.trouble) {
                (Some(reason), _, _) => guard::line(reason),
                (None, Standing::RolledBack { failed: Some(id) }, Some(trouble)) if *id == step.id => {
                    guard::line(trouble)
                }
                (None, Standing::Open, _) if matches!(found.status, Status::Retrying { .. }) => {
                    detail(state, place, &context.now)
                }
                (None, _, _) => continue,
            },
        };
        lines.push(format!("  step `{}`: {why}", step.id));
        if let Status::Interrupted(cut) = &found.status {
            lines.push(format!("    attempt {}: {}", cut.attempt, why_cut(cut.cause)));
        }
        if matches!(found.status, Status::CompensationFailed { .. }) && context.traces.repeated(&step.id) {
            lines.push(
                "    an attempt before it was cut off, and may have taken the step back already".to_owned(),
            );
        }
        let direction = match &found.status {
            Status::Interrupted(cut) => cut.direction,
            Status::CompensationFailed { .. } => Direction::Compensation,
            _ => Direction::Forward,
        };
        if let Some(trace) = context.traces.of(&step.id, direction) {
            // What is in the log is named in any case: the run's story is there.
            let mut shown = output(trace);
            shown.retain(|line| line.starts_with('|'));
            lines.extend(shown.into_iter().map(|line| format!("    {line}")));
            if let Some(log) = &trace.log {
                let log = context.folder.join(log);
                lines.push(format!("    full output: {}", guard::line(&log.to_string_lossy())));
            }
        }
    }
    let wanted_back = state.definition.steps.iter().zip(&state.steps).any(|(step, found)| {
        matches!(found.status, Status::Failed { .. }) && step.on_failure == OnFailure::Rollback
    });
    let crossed = state.irreversible(None);
    if wanted_back && matches!(stands, Standing::Halted { .. }) && !crossed.is_empty() {
        for (step, why) in crossed {
            let why = guard::line(&why);
            lines.push(format!("  it was not rolled back: step `{step}` cannot be undone ({why})"));
        }
    }
    lines
}

fn asked_for(step: &StepId, door: &Door, assume_yes: bool) -> Vec<String> {
    let (GateState::Asked(request) | GateState::Answered(request) | GateState::Open { request, .. }) =
        &door.gate
    else {
        return Vec::new();
    };
    let mut lines =
        vec![format!("  step `{step}` waits for an approval: {}", guard::line(&request.question))];
    for each in &request.evidence {
        let seen = format!("    evidence: {}: {}", each.check, shape(&each.answer));
        lines.push(guard::line(&seen));
    }
    let shaky: Vec<&str> = request
        .evidence
        .iter()
        .filter(|each| each.answer.verdict != Verdict::Holds)
        .map(|each| each.check.as_str())
        .collect();
    if assume_yes && !shaky.is_empty() {
        lines.push(guard::line(&format!("    `-y` does not approve it, because of: {}", shaky.join("; "))));
    } else if assume_yes && door.wavered {
        lines.push(
            "    `-y` does not approve it again: its approval became void before the gate opened".to_owned(),
        );
    }
    lines
}

/// Every way forward with the command to paste.
fn ways(state: &State, stands: &Standing, asked: Asked, context: &Context<'_>) -> Vec<(String, String)> {
    let run = &state.run;
    let options = if context.options.is_empty() { String::new() } else { format!(" {}", context.options) };
    let plan = shell_word(&guard::line(context.plan.unwrap_or(&state.definition.path)));
    let apply = format!("runner apply {plan}{options}");
    let rollback = format!("runner rollback {run}{options}");
    let afresh =
        ("start afresh with a new run".to_owned(), format!("runner apply {plan} --new-run{options}"));
    let events = ("read everything that happened".to_owned(), format!("runner events {run}{options}"));
    let close = match &state.course {
        Course::Back(_) => "close the run and undo nothing more",
        Course::Forward | Course::Resting => "close the run and undo nothing",
    };
    let cancel = (close.to_owned(), format!("runner cancel {run}{options}"));
    let mut ways: Vec<(String, String)> = Vec::new();
    let mut way = |what: &str, command: &str| ways.push((what.to_owned(), command.to_owned()));
    match stands {
        Standing::Complete => {}
        Standing::NeedsAttention { steps } => {
            let back = matches!(state.course, Course::Back(_));
            for id in steps {
                let Some((_, found)) = state.step(id) else { continue };
                for (what, word) in resolutions(state, id, &found.status) {
                    way(&what, &format!("runner resolve {run} {id} --as {word}{options}"));
                }
            }
            match (&state.end, back) {
                (Some(_), _) => {}
                (None, true) => way("try again and look again, once the cause is removed", &rollback),
                (None, false) => {
                    let blind = |id: &StepId| {
                        state.step(id).is_some_and(|(step, _)| step.probe.is_none() && !step.idempotent)
                    };
                    if steps.iter().all(blind) {
                        way("look again, once the plan has a `probe` for it", &apply);
                    } else {
                        way("look again, once the cause is removed", &apply);
                    }
                }
            }
        }
        Standing::RolledBack { .. } => {}
        Standing::Halted { .. } => way("try again from where it halted, once the cause is removed", &apply),
        Standing::Cancelled => {}
        Standing::Resting => way("go forward again", &apply),
        Standing::Open => match &state.course {
            // Somebody drives it right now: whoever looks at it need not.
            _ if asked == Asked::Status && state.steps.iter().any(|found| in_flight(&found.status)) => {
                way("watch it", &format!("runner status {run} --watch{options}"));
            }
            Course::Back(_) => way("go on with the rollback", &rollback),
            // Nothing goes on until whoever paused it takes that back.
            Course::Forward | Course::Resting if state.paused => {
                way("take the pause back", &format!("runner resume {run}{options}"));
            }
            Course::Forward | Course::Resting => {
                let gates: Vec<_> = state
                    .steps
                    .iter()
                    .filter_map(|found| match (&found.status, &found.door.gate) {
                        (Status::AwaitingApproval, GateState::Asked(request)) => Some(request),
                        _ => None,
                    })
                    .collect();
                let holds = gates
                    .iter()
                    .all(|gate| gate.evidence.iter().all(|each| each.answer.verdict == Verdict::Holds));
                for step in
                    questions(state).iter().filter(|asked| asked.request.is_none()).map(|asked| asked.step)
                {
                    let approve = format!("runner approve {run} {step}{options}");
                    way(&format!("go on with step `{step}` without the way back"), &approve);
                }
                if gates.is_empty() {
                    way("go on", &apply);
                } else {
                    let asked = questions(state);
                    for step in asked.iter().filter(|asked| asked.request.is_some()).map(|asked| asked.step) {
                        way(
                            &format!("approve step `{step}`"),
                            &format!("runner approve {run} {step}{options}"),
                        );
                        way(
                            &format!("reject step `{step}`, which fails then"),
                            &format!("runner reject {run} {step}{options}"),
                        );
                    }
                    way("go on, and answer at a terminal", &apply);
                    if holds {
                        let yes = format!("runner apply {plan} -y{options}");
                        way("go on, and approve as long as the evidence holds", &yes);
                    }
                }
            }
        },
    }
    let back_already = matches!(state.course, Course::Back(_)) && state.end.is_none();
    let over = matches!(stands, Standing::RolledBack { .. });
    if !back_already && !over {
        ways.extend(way_back(state, &rollback));
    }
    match stands {
        Standing::RolledBack { .. } | Standing::Cancelled => ways.push(afresh),
        Standing::NeedsAttention { .. } | Standing::Halted { .. } if state.end.is_none() => ways.push(cancel),
        Standing::NeedsAttention { .. } | Standing::Halted { .. } => ways.push(afresh),
        Standing::Complete | Standing::Resting | Standing::Open => {}
    }
    if !matches!(stands, Standing::Complete) {
        ways.push(events);
    }
    ways
}

/// What `resolve` can say about a step, in words that tell the two directions apart.
fn resolutions(state: &State, id: &StepId, status: &Status) -> Vec<(String, &'static str)> {
    let compensation = match status {
        Status::Interrupted(cut) => cut.direction == Direction::Compensation,
        _ => true,
    };
    // What follows on the answer, as long as the run goes on.
    let (done, undone) = match (&state.end, compensation, &state.course) {
        (Some(_), _, _) => ("", ""),
        (None, true, _) => ("", ", so that it runs again"),
        (None, false, Course::Back(_)) => (", so that it is taken back", ", and the rollback goes on"),
        (None, false, Course::Forward | Course::Resting) => ("", ", so that it runs again"),
    };
    if compensation {
        vec![
            (format!("say that step `{id}` is taken back, because you saw to it{done}"), "done"),
            (format!("say that the compensation of step `{id}` had no effect{undone}"), "undone"),
        ]
    } else {
        vec![
            (format!("say that step `{id}` took effect, because you have seen it{done}"), "done"),
            (format!("say that step `{id}` had no effect{undone}"), "undone"),
        ]
    }
}

/// The rollback that is possible from here: all of it, or down to what cannot be undone.
fn way_back(state: &State, rollback: &str) -> Vec<(String, String)> {
    if state.to_undo(None).is_empty() {
        return Vec::new();
    }
    let crossed = state.irreversible(None);
    if crossed.is_empty() {
        return vec![("undo everything that this run did".to_owned(), rollback.to_owned())];
    }
    // Going back ends at an irreversible step that nothing irreversible came after.
    let bound = crossed
        .iter()
        .find(|(step, _)| state.irreversible(Some(step)).is_empty() && !state.to_undo(Some(step)).is_empty());
    let Some((step, why)) = bound else { return Vec::new() };
    let what = format!("undo what came after step `{step}`, which cannot be undone ({})", guard::line(why));
    let (base, options) = rollback.split_once(state.run.to_string().as_str()).unwrap_or((rollback, ""));
    vec![(what, format!("{base}{} --to {step}{options}", state.run))]
}
