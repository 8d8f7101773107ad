//! The words for every event: one line, and what belongs under it. Plain, terminal and `events` show the same.

use super::Tone;
use super::guard;
use super::human::{count, duration};
use super::step::{attempt_of, held_elsewhere, shape, summary, troubles};
use crate::plan::StepId;
use crate::plan::recorded::{Compensate, Step};
use crate::saga::{
    Change, CutCause, Direction, Event, How, Sample, State, Status, StepEvent, StepState, Taken, Trace,
    Verdict, What,
};

/// Lines of output shown under a failed attempt: enough for most errors, and a screen stays readable.
pub(super) const OUTPUT_LINES_MAX: usize = 10;

/// From where on a line is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// Everything that is recorded (`-vv`).
    Trifle,
    /// What a step goes through (`-v`).
    Detail,
    /// Without any flag.
    Normal,
    /// Even when quiet.
    Failure,
}

impl Weight {
    /// Whether a line of this weight is shown.
    pub(super) fn shows(self, look: &super::Look) -> bool {
        let least = match (look.quiet, look.verbose) {
            (true, _) => Weight::Failure,
            (false, 0) => Weight::Normal,
            (false, 1) => Weight::Detail,
            (false, _) => Weight::Trifle,
        };
        self >= least
    }
}

/// An event in words. Everything in it is safe to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) weight: Weight,
    pub(super) tone: Tone,
    /// What happened, as one word for a column of its own.
    pub(super) word: &'static str,
    pub(super) detail: String,
    /// What belongs under it, indented.
    pub(super) below: Vec<(Weight, String)>,
}

impl Line {
    fn new(weight: Weight, tone: Tone, word: &'static str, detail: impl AsRef<str>) -> Self {
        Self { weight, tone, word, detail: guard::line(detail.as_ref()), below: Vec::new() }
    }

    fn normal(tone: Tone, word: &'static str, detail: impl AsRef<str>) -> Self {
        Self::new(Weight::Normal, tone, word, detail)
    }

    fn detail(word: &'static str, detail: impl AsRef<str>) -> Self {
        Self::new(Weight::Detail, Tone::Plain, word, detail)
    }

    fn failure(word: &'static str, detail: impl AsRef<str>) -> Self {
        Self::new(Weight::Failure, Tone::Bad, word, detail)
    }

    /// With the end of what an attempt wrote.
    fn with_output(mut self, trace: &Trace) -> Self {
        let weight = self.weight;
        self.below.extend(output(trace).into_iter().map(|line| (weight, line)));
        self
    }
}

/// The last lines of what an attempt wrote, and where the rest is.
pub(super) fn output(trace: &Trace) -> Vec<String> {
    let shown = guard::last_lines(&trace.tail, OUTPUT_LINES_MAX);
    let mut lines: Vec<String> = shown.iter().map(|line| format!("| {line}").trim_end().to_owned()).collect();
    let more = trace.tail.trim_end().lines().count() > shown.len()
        || trace.bytes > u64::try_from(trace.tail.len()).unwrap_or(u64::MAX);
    if let Some(log) = &trace.log
        && more
    {
        lines.push(format!("full output ({} bytes) in the state folder: {}", trace.bytes, guard::line(log)));
    }
    lines
}

/// The event in words; `state` is the one after it.
pub(super) fn line(state: &State, event: &Event) -> Line {
    match &event.what {
        What::RunOpened { definition, by, .. } => {
            let steps = count(definition.steps.len(), "step");
            Line::normal(Tone::Plain, "opened", format!("{steps}, by {by}: {}", definition.path))
        }
        What::RunResumed { token, terms, by } => {
            let terms = if terms.forward { "" } else { ", to settle and go back only" };
            let mut text = format!("by {by}{terms}");
            let cut = cut_off(state);
            if !cut.is_empty() {
                text.push_str(&format!("; cut off: {}", cut.join(", ")));
            }
            let mut line = Line::normal(Tone::Plain, "resumed", text);
            // The process that opens a run takes it on with the next event: no news.
            if event.seq == 2 {
                line.weight = Weight::Detail;
            }
            line.below.push((Weight::Trifle, format!("fencing token {token}")));
            line
        }
        What::PlanAmended { changes, by, .. } => amended(changes, by),
        What::UntilSet { step, by } => {
            Line::normal(Tone::Plain, "until", format!("by {by}: as far as step `{step}` and what it needs"))
        }
        What::Paused { by } => Line::normal(Tone::Warn, "paused", format!("by {by}: nothing new starts")),
        What::Unpaused { by } => Line::normal(Tone::Plain, "unpaused", format!("by {by}")),
        What::CancelRequested { by } => Line::normal(
            Tone::Warn,
            "cancelling",
            format!("asked by {by}: what is in flight settles, then the run is closed, nothing is undone"),
        ),
        What::Cancelled => {
            Line::normal(Tone::Warn, "cancelled", "the run is closed, cancelling undoes nothing")
        }
        What::RollbackRequested { to, failed, by, .. } => {
            let what = match to {
                Some(step) => format!("undoing what came after step `{step}`"),
                None => "undoing everything that this run did".to_owned(),
            };
            let why = match failed {
                Some(step) => format!("because step `{step}` failed"),
                None => format!("asked by {by}"),
            };
            let left = match state.to_undo(to.as_ref()).len() {
                0 => "which is nothing".to_owned(),
                left => count(left, "step"),
            };
            Line::normal(Tone::Warn, "rolling_back", format!("{what}, {left}, {why}"))
        }
        What::RolledBack => Line::normal(
            Tone::Warn,
            "rolled_back",
            if state.end.is_some() {
                "everything that this run did is undone"
            } else {
                "what was to be undone is undone, the run stays open"
            },
        ),
        What::Completed => {
            let took = duration(event.at.since_ms(&state.opened));
            Line::normal(Tone::Good, "complete", format!("{}, {took}", tally(state)))
        }
        What::Step { step: id, is } => match state.step(id) {
            Some((step, found)) => step_line(step, found, id, is, event),
            None => Line::failure("unknown", format!("the run has no step `{id}`")),
        },
    }
}

/// How the steps of a run that went well ended: `7 steps (5 done, 2 satisfied)`.
pub(super) fn tally(state: &State) -> String {
    let of = |word: &str| state.steps.iter().filter(|found| found.status.word() == word).count();
    let kinds = ["done", "satisfied", "skipped"].map(|word| (of(word), word));
    let kinds: Vec<String> = kinds.iter().filter(|(n, _)| *n > 0).map(|(n, w)| format!("{n} {w}")).collect();
    let steps = count(state.steps.len(), "step");
    if kinds.is_empty() { steps } else { format!("{steps} ({})", kinds.join(", ")) }
}

fn cut_off(state: &State) -> Vec<String> {
    let steps = state.definition.steps.iter().zip(&state.steps);
    let cut = steps.filter(|(_, found)| matches!(found.status, Status::Interrupted(_)));
    cut.map(|(step, _)| step.id.to_string()).collect()
}

fn amended(changes: &[Change], by: &str) -> Line {
    let name = |change: &Change| match (&change.step, change.taken) {
        (Some(step), Taken::AsEdited) => step.to_string(),
        (Some(step), Taken::Kept) => format!("{step} (its result is kept)"),
        (Some(step), Taken::Redone) => format!("{step} (it runs again)"),
        (Some(step), Taken::Compensation) => format!("{step} (its compensation, as approved)"),
        (None, _) => "the plan around the steps".to_owned(),
    };
    let each: Vec<String> = changes
        .iter()
        .map(|change| {
            let starts = |mark, head| {
                let lines = change.diff.lines();
                lines.filter(|line| line.starts_with(mark) && !line.starts_with(head)).count()
            };
            format!("{} (+{} -{} lines)", name(change), starts("+", "+++"), starts("-", "---"))
        })
        .collect();
    let mut line =
        Line::normal(Tone::Plain, "amended", format!("by {by}, the plan has changed: {}", each.join(", ")));
    for change in changes {
        let lines = guard::last_lines(&change.diff, usize::MAX);
        line.below.extend(lines.into_iter().map(|line| (Weight::Detail, line)));
    }
    line
}

/// What a compensation has left on purpose, as its outputs `kept` and `left` say.
fn stays(outputs: &serde_json::Map<String, serde_json::Value>) -> Vec<String> {
    let texts = |key: &str| {
        let all = outputs.get(key).and_then(serde_json::Value::as_array).into_iter().flatten();
        all.filter_map(serde_json::Value::as_str).map(guard::line).collect::<Vec<String>>()
    };
    let kept = texts("kept").into_iter().map(|name| format!("kept: {name}"));
    kept.chain(texts("left")).collect()
}

fn step_line(step: &Step, found: &StepState, id: &StepId, is: &StepEvent, event: &Event) -> Line {
    let took = || found.started_at.map(|at| duration(event.at.since_ms(&at)));
    let since = |word: &str| took().map_or_else(|| word.to_owned(), |took| format!("{word}, {took}"));
    match is {
        StepEvent::Decided { when } => {
            Line::new(Weight::Trifle, Tone::Plain, "decided", format!("`when` is {when}"))
        }
        StepEvent::Probed { answer } if answer.verdict == Verdict::Unknown => {
            let text = format!("{}; looked at again until it can be seen, for up to 5 min", shape(answer));
            Line::normal(Tone::Warn, "probed", text)
        }
        StepEvent::Probed { answer } => Line::detail("probed", shape(answer)),
        StepEvent::Satisfied { .. } => Line::detail("verifying", "the goal holds already"),
        StepEvent::ApprovalRequested { question, evidence } => {
            let mut line = Line::normal(Tone::Warn, "awaiting_approval", question);
            for each in evidence {
                let seen = guard::line(&format!("{}: {}", each.check, shape(&each.answer)));
                line.below.push((Weight::Normal, format!("evidence: {seen}")));
            }
            line
        }
        StepEvent::Approved { by, note, .. } => Line::normal(Tone::Plain, "approved", by_note(by, note)),
        StepEvent::GateOpened { .. } => Line::detail("gate_opened", "the evidence still holds"),
        StepEvent::ApprovalVoided { why, .. } => Line::normal(Tone::Warn, "approval_void", why),
        StepEvent::Rejected { by, note, .. } => Line::normal(Tone::Bad, "rejected", by_note(by, note)),
        StepEvent::GoneLooked { resource, owner, answers } => match Sample::of(answers) {
            Sample::Good => Line::detail("resource", format!("owner `{owner}` has let go of `{resource}`")),
            Sample::Bad | Sample::Inconclusive => Line::normal(
                Tone::Warn,
                "resource",
                format!("waits until owner `{owner}` lets go of `{resource}`: {}", troubles(answers)),
            ),
        },
        StepEvent::HeldElsewhere { resource, by_run, .. } => {
            Line::normal(Tone::Warn, "resource", held_elsewhere(resource, by_run))
        }
        // What it holds may be secret and is nobody's news.
        StepEvent::PreImageTaken { .. } => Line::detail("pre_image", "recorded what was there before"),
        StepEvent::Started { direction: Direction::Forward, attempt } => {
            let summary = summary(step).map(|text| format!(": {text}")).unwrap_or_default();
            let attempt = attempt_of(*attempt, found.spent + 1, step.retry.attempts);
            Line::normal(Tone::Busy, "started", format!("{attempt}{summary}"))
        }
        StepEvent::Started { direction: Direction::Compensation, attempt } => {
            let attempt = attempt_of(*attempt, found.spent + 1, step.retry.attempts);
            Line::normal(Tone::Busy, "compensating", format!("{attempt}{}", inverse(step)))
        }
        StepEvent::Acted { direction, attempt, trace, outputs, .. } => {
            let what = match direction {
                Direction::Forward => "attempt",
                Direction::Compensation => "compensation, attempt",
            };
            let mut line = Line::detail("acted", since(&format!("{what} {attempt}")));
            if !trace.left_running.is_empty() {
                let left: Vec<String> =
                    trace.left_running.iter().map(|p| format!("{} ({})", p.name, p.pid)).collect();
                let left = guard::line(&format!("still running, left alone: {}", left.join(", ")));
                line.below.push((Weight::Normal, left));
                line.weight = Weight::Normal;
            }
            if *direction == Direction::Compensation {
                let stays = stays(outputs);
                if !stays.is_empty() {
                    line.weight = Weight::Normal;
                }
                line.below.extend(stays.into_iter().map(|line| (Weight::Normal, line)));
            }
            let output = output(trace).into_iter().map(|line| (Weight::Trifle, line));
            line.below.extend(output);
            line
        }
        StepEvent::AttemptFailed { direction, attempt, message, trace, again_in_ms, .. } => {
            let what = match direction {
                Direction::Forward => "",
                Direction::Compensation => "compensation, ",
            };
            let attempt = attempt_of(*attempt, found.spent, step.retry.attempts);
            let text = format!("{what}{attempt}: {message}");
            match again_in_ms {
                Some(ms) => {
                    let text = format!("{text}; next attempt in {}", duration(*ms));
                    Line::normal(Tone::Warn, "attempt_failed", text)
                }
                None => Line::failure("attempt_failed", text),
            }
            .with_output(trace)
        }
        StepEvent::Cut { direction, attempt, cause, message, trace } => {
            let what = match direction {
                Direction::Forward => "attempt",
                Direction::Compensation => "compensation, attempt",
            };
            let text = match cause {
                // Where it ran this was said in full already.
                CutCause::Timeout | CutCause::Stopped if !message.is_empty() => message.clone(),
                _ if message.is_empty() => why_cut(*cause).to_owned(),
                _ => format!("{}: {message}", why_cut(*cause)),
            };
            Line::normal(Tone::Warn, "interrupted", format!("{what} {attempt}: {text}")).with_output(trace)
        }
        StepEvent::ProvedOver { attempt, .. } => {
            Line::detail("proved_over", format!("nothing of attempt {attempt} runs any more"))
        }
        StepEvent::Settled { attempt, done, how, again_in_ms, .. } => {
            settled(*attempt, *done, how, *again_in_ms)
        }
        StepEvent::AttentionNeeded { reason } => Line::failure("needs_attention", reason),
        StepEvent::VerifyBegan => Line::normal(
            Tone::Busy,
            "verifying",
            summary(step).unwrap_or_else(|| count(step.verify.len(), "check")),
        ),
        StepEvent::VerifyLooked { answers } => {
            Line::normal(Tone::Warn, "verifying", format!("not yet: {}", troubles(answers)))
        }
        StepEvent::Verified { .. } if matches!(found.status, Status::Satisfied) => {
            Line::normal(Tone::Good, "satisfied", "the goal held before this run touched it")
        }
        StepEvent::Verified { .. } => Line::normal(Tone::Good, "done", took().unwrap_or_default()),
        StepEvent::Failed { reason } => Line::failure("failed", reason),
        StepEvent::Skipped { by: Some(by), note } => Line::normal(Tone::Plain, "skipped", by_note(by, note)),
        StepEvent::Skipped { by: None, .. } => Line::normal(Tone::Plain, "skipped", "`when` is false"),
        StepEvent::Redone { by } => {
            Line::normal(Tone::Plain, "redone", format!("by {by}: it runs again, without looking first"))
        }
        StepEvent::SoakBegan => {
            let terms = step.soak.as_ref().map_or_else(String::new, |soak| {
                format!("for {}, a sample every {}", duration(soak.for_ms), duration(soak.every_ms))
            });
            Line::normal(Tone::Busy, "soaking", terms)
        }
        StepEvent::SoakSaved { .. } => {
            Line::detail("soaking", super::step::detail_of_soak(step, found, None))
        }
        StepEvent::SoakSampled { answers, .. } => sampled(step, found, answers),
        StepEvent::ReadyLost { answers } => Line::failure(
            "ready_lost",
            format!("the way back no longer works, soak time stands still: {}", troubles(answers)),
        ),
        StepEvent::ReadyRegained { by: Some(by) } => {
            Line::normal(Tone::Warn, "ready_waived", format!("{by} goes on without the way back"))
        }
        StepEvent::ReadyRegained { by: None } => {
            Line::normal(Tone::Good, "ready_regained", "the way back works again, soak time goes on")
        }
        StepEvent::SoakPassed => Line::normal(Tone::Good, "done", since("the soak passed")),
        StepEvent::UndoneLooked { answers } => {
            Line::normal(Tone::Warn, "undoing_check", format!("not yet: {}", troubles(answers)))
        }
        StepEvent::Compensated { .. } if found.compensations == 0 => {
            let nothing = match &step.compensate {
                Compensate::Nothing => "there was nothing to undo",
                Compensate::Inverse | Compensate::Action(_) | Compensate::Irreversible(_) => {
                    "passed over, there was nothing of ours to undo"
                }
            };
            Line::normal(Tone::Good, "compensated", nothing)
        }
        StepEvent::Compensated { .. } => Line::normal(Tone::Good, "compensated", took().unwrap_or_default()),
        StepEvent::CompensationFailed { reason } => Line::failure("compensation_failed", reason),
        StepEvent::Resolved { done, by, .. } => {
            let word = if *done { "done" } else { "undone" };
            Line::normal(Tone::Plain, "resolved", format!("{by} says that the attempt on `{id}` is {word}"))
        }
    }
}

/// What a compensation is about to do.
fn inverse(step: &Step) -> String {
    match &step.compensate {
        Compensate::Inverse => {
            let forward = step.forward.as_ref().map(|forward| format!(": the inverse of `{}`", forward.name));
            forward.unwrap_or_default()
        }
        Compensate::Action(action) => format!(": its `compensate` (`{}`)", action.name),
        Compensate::Nothing | Compensate::Irreversible(_) => String::new(),
    }
}

/// What cut an attempt off.
pub(super) fn why_cut(cause: CutCause) -> &'static str {
    match cause {
        CutCause::Crash => "the process that ran it ended without a word",
        CutCause::Timeout => "it took longer than its `timeout`",
        CutCause::Connection => "the connection was lost",
        CutCause::Stopped => "it was stopped",
    }
}

fn by_note(by: &str, note: &str) -> String {
    if note.is_empty() { format!("by {by}") } else { format!("by {by}: {note}") }
}

fn settled(attempt: u32, done: bool, how: &How, again_in_ms: u64) -> Line {
    let again = if again_in_ms == 0 {
        "the next attempt follows".to_owned()
    } else {
        format!("the next attempt follows in {}", duration(again_in_ms))
    };
    let text = match (how, done) {
        (How::Recorded, _) => format!("how attempt {attempt} ended was recorded where it ran"),
        (How::Probe(answer), true) => {
            format!("attempt {attempt} took effect, the probe says {}", shape(answer))
        }
        (How::Probe(answer), false) => {
            format!("attempt {attempt} did not take effect, the probe says {}; {again}", shape(answer))
        }
        (How::Idempotent, _) => format!("attempt {attempt} may be repeated, the step is idempotent; {again}"),
        (How::Compensation, _) => format!("attempt {attempt} is repeated, it is a compensation; {again}"),
    };
    Line::normal(Tone::Plain, "settled", text)
}

fn sampled(step: &Step, found: &StepState, answers: &[crate::saga::Answer]) -> Line {
    let Status::Soaking(soaking) = &found.status else {
        return Line::normal(Tone::Warn, "sampled", troubles(answers));
    };
    match Sample::of(answers) {
        Sample::Bad => {
            let most = step.soak.as_ref().map_or(0, |soak| soak.max_consecutive_failures);
            let text = format!(
                "bad, {} in a row of at most {most}, {} in all: {}",
                soaking.consecutive,
                soaking.bad,
                troubles(answers)
            );
            Line::normal(Tone::Warn, "sampled", text)
        }
        Sample::Inconclusive => {
            Line::normal(Tone::Warn, "sampled", format!("inconclusive: {}", troubles(answers)))
        }
        Sample::Good => {
            let gap = soaking
                .gap_ms
                .map_or_else(String::new, |ms| format!(", after {} that nobody watched", duration(ms)));
            Line::normal(Tone::Plain, "sampled", format!("good{gap}"))
        }
    }
}
