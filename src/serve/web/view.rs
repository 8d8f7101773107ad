//! What pages say, as values for their templates.

use minijinja::value::Serde;
use minijinja::{Value, context};
use serde_json::Value as Json;

use super::board::Entry;
use super::service::PlanFile;
use crate::driver::Tails;
use crate::plan::StepId;
use crate::plan::recorded::{Compensate, Step};
use crate::report::{self, Attempt, Story, Told, duration_shown, time_shown, value_shown};
use crate::saga::{
    self, Course, Direction, GateState, Sample, Shown, Stamp, Standing, State, Status, StepState, Tail,
    Verdict, described, standing,
};

/// The sign that goes with how a run stands.
fn sign_of(standing: &Standing) -> &'static str {
    match standing {
        Standing::Complete => "done",
        Standing::NeedsAttention { .. } => "cut",
        Standing::Halted { .. } => "failed",
        Standing::RolledBack { .. } | Standing::Resting => "undone",
        Standing::Cancelled => "skipped",
        Standing::Open => "running",
    }
}

fn spaced(word: &str) -> String {
    word.replace('_', " ")
}

/// How all runs stand, in one line.
pub(super) fn summary(entries: &[Entry]) -> String {
    let of = |which: &dyn Fn(&Entry) -> bool| entries.iter().filter(|entry| which(entry)).count();
    let asking = of(&|entry| !entry.asks.is_empty());
    let mut parts = vec![match entries.len() {
        1 => "1 run".to_owned(),
        all => format!("{all} runs"),
    }];
    for word in ["open", "halted", "needs_attention"] {
        let count = of(&|entry| report::standing_word(&entry.row.standing) == word);
        if count > 0 {
            parts.push(format!("{count} {}", spaced(word)));
        }
    }
    if asking > 0 {
        parts.push(format!("{asking} waiting for an answer"));
    }
    parts.join(", ")
}

/// A run in the list.
pub(super) fn row(entry: &Entry, now: &Stamp) -> Value {
    let row = &entry.row;
    let asks = !entry.asks.is_empty();
    let (word, tone, sign) = match (asks, entry.paused) {
        (true, _) => ("waits for you", "warn", "asks"),
        (false, true) => ("paused", "warn", "pending"),
        (false, false) => {
            let word = report::standing_word(&row.standing);
            (word, report::standing_tone_word(&row.standing), sign_of(&row.standing))
        }
    };
    context! {
        run => row.run.to_string(),
        word => spaced(word), tone => tone, sign => sign,
        headline => entry.headline.clone(),
        soak => entry.soak(),
        steps => format!("{} of {} steps", row.done, row.total),
        ago => duration_shown(now.since_ms(&row.last)),
        plan => report::text_line(&row.plan),
    }
}

/// A plan that a run can be begun from.
pub(super) fn plan(plan: &PlanFile) -> Value {
    context! { file => plan.file.clone(), description => report::text_line(&plan.description) }
}

/// One event.
pub(super) fn line(told: &Told) -> Value {
    context! {
        seq => told.seq,
        at => time_shown(&told.at), exact => report::time_exact(&told.at),
        step => told.step.as_ref().map_or_else(String::new, ToString::to_string),
        word => spaced(told.word), tone => told.tone, detail => told.detail.clone(), below => told.below.clone(),
    }
}

pub(super) fn title(state: &State) -> String {
    let word = spaced(report::standing_word(&standing(state)));
    let asks = if saga::questions(state).is_empty() { "" } else { ", waits for you" };
    format!("{} is {word}{asks}", state.run)
}

/// What a run's page says.
pub(super) fn run(
    story: &Story,
    tails: &Tails,
    way_back: &Json,
    unresumed: Option<String>,
    lines: usize,
    now: &Stamp,
) -> Value {
    let shown = saga::with_tails(&story.state, tails);
    let state = &shown;
    let stands = standing(state);
    let steps = state.definition.steps.iter().zip(&state.steps);
    let head = context! {
        run => state.run.to_string(),
        word => spaced(report::standing_word(&stands)),
        tone => report::standing_tone_word(&stands),
        sign => sign_of(&stands),
        course => report::course_words(state),
        headline => report::headline(state),
        description => report::text_line(&state.definition.description),
        plan => report::text_line(&state.definition.path),
        opened => time_shown(&state.opened),
        by => report::text_line(&state.by),
        unresumed => unresumed,
    };
    context! {
        run => head,
        asks => asks(state, now),
        attention => steps.filter_map(|(step, found)| {
            let reason = report::text_line(found.needs_attention()?);
            Some(context! { step => step.id.to_string(), reason => reason })
        }).collect::<Vec<_>>(),
        ways => ways(state, &stands),
        graph => Value::from_safe_string(report::run_svg(state, now, true)),
        charts => charts(story, state, tails, now),
        steps => state.definition.steps.iter().zip(&state.steps)
            .map(|(step, found)| step_shown(story, state, (step, found), way_back, now)).collect::<Vec<_>>(),
        lines => story.lines.iter().rev().take(lines).map(line).collect::<Vec<_>>(),
        older => story.lines.len() > lines || story.left_out > 0,
        all => story.lines.len() + story.left_out,
    }
}

fn asks(state: &State, now: &Stamp) -> Vec<Value> {
    let questions = saga::questions(state).into_iter();
    let each = questions.map(|question| {
        let (text, evidence, asked) = match question.request {
            Some(request) => {
                let seen = request.evidence.iter().map(|each| {
                    let (tone, sign) = match each.answer.verdict {
                        Verdict::Holds => ("good", "done"),
                        Verdict::Unknown => ("warn", "asks"),
                        Verdict::Absent | Verdict::Partial => ("bad", "failed"),
                    };
                    context! {
                        verdict => each.answer.verdict.to_string(), tone => tone, sign => sign,
                        check => report::text_line(&each.check), reason => report::text_line(&each.answer.reason),
                    }
                });
                let asked = duration_shown(now.since_ms(&request.at));
                (report::text_line(&request.question), seen.collect::<Vec<_>>(), asked)
            }
            None => {
                let text = "The way back no longer works. Go on without it?".to_owned();
                let why = report::detail_text(state, question.step, now);
                let seen = context! { verdict => "lost", tone => "bad", sign => "failed", check => why, reason => "" };
                (text, vec![seen], String::new())
            }
        };
        context! { step => question.step.to_string(), question => text, evidence => evidence, asked => asked }
    });
    each.collect()
}

/// What a person can do with the run as a whole.
fn ways(state: &State, stands: &Standing) -> Vec<Value> {
    let run = &state.run;
    let mut ways = Vec::new();
    let mut say = |word: &str, text: &str| ways.push(context! { word => word, text => text });
    if state.end.is_none() {
        match (state.paused, stands) {
            (true, _) => say("resume", "Resume"),
            (false, Standing::Open) => say("pause", "Pause"),
            (false, _) => {}
        }
        match stands {
            Standing::Halted { .. } => say("apply", "Try again"),
            Standing::Resting => say("apply", "Go forward again"),
            Standing::NeedsAttention { .. } => say("apply", "Look again"),
            _ => {}
        }
    }
    let mut lead = |word: &str, text: &str| {
        ways.push(context! { link => format!("/runs/{run}/sure/{word}"), text => text, no => true });
    };
    if !state.to_undo(None).is_empty() {
        lead("rollback", "Roll back…");
    }
    if state.end.is_none() && !state.cancelling {
        lead("cancel", "Cancel…");
    }
    ways
}

fn charts(story: &Story, state: &State, tails: &Tails, now: &Stamp) -> Vec<Value> {
    let steps = state.definition.steps.iter().zip(&state.steps);
    let soaks = steps.filter_map(|(step, found)| {
        let (soak, terms) = (story.soaks.get(&step.id)?, step.soak.as_ref()?);
        let none = Tail::default();
        let tail = tails.get(&step.id).unwrap_or(&none);
        let id = step.id.to_string();
        let marks = soak.marks.iter().rev().map(|(at, sample, why)| {
            let kind = if *sample == Sample::Bad { "bad" } else { "inconclusive" };
            context! { at => time_shown(at), kind => kind, why => why }
        });
        let next = match &found.status {
            Status::Soaking(soaking) if state.end.is_none() && !state.paused => {
                match story.state.step(&step.id).map(|(_, found)| &found.status) {
                    Some(Status::Soaking(saved)) if soaking.ready_lost.is_none() => {
                        let due_ms = saved.due_ms(terms, tail, now);
                        format!("The next sample is due in {}.", duration_shown(due_ms))
                    }
                    _ => String::new(),
                }
            }
            _ => String::new(),
        };
        let mut whole = soak.clone();
        whole.samples[0] += tail.good;
        let healthy_ms = soak.healthy.last().map_or(0, |(_, ms)| *ms) + tail.good_ms;
        Some(context! {
            step => id,
            svg => Value::from_safe_string(report::soak_svg(step.id.as_str(), soak, terms, Some(tail), now)),
            words => report::soak_words(&whole, terms, healthy_ms),
            marks => marks.collect::<Vec<_>>(),
            next => next,
        })
    });
    soaks.collect()
}

fn attempt(place: usize, attempt: &Attempt) -> Value {
    let tone = match attempt.result {
        "acted" => "good",
        "failed" => "bad",
        "cut off" => "warn",
        _ => "busy",
    };
    context! {
        place => place,
        what => if attempt.direction == Direction::Forward { "attempt" } else { "compensation" },
        number => attempt.number, result => attempt.result, tone => tone,
        started => time_shown(&attempt.started),
        took => attempt.ended.map(|at| duration_shown(at.since_ms(&attempt.started))),
        message => attempt.message.clone(), exit => attempt.trace.exit,
        tail => attempt.trace.tail.trim_end(),
        log => attempt.trace.log.is_some(), bytes => attempt.trace.bytes,
    }
}

fn step_shown(
    story: &Story,
    state: &State,
    (step, found): (&Step, &StepState),
    way_back: &Json,
    now: &Stamp,
) -> Value {
    let attempts = story.attempts.get(&step.id).map_or(&[][..], Vec::as_slice).iter().enumerate();
    let looks = story.looks.get(&step.id).into_iter().flatten().map(|look| {
        context! {
            what => look.what, at => time_shown(&look.at),
            answers => Value::from(Serde(report::answers_shown(&look.answers))),
        }
    });
    let outputs = found.outputs.iter().flatten();
    let outputs = outputs.map(|(name, value)| context! { name => name, value => value_shown(value) });
    let does = match (&step.forward, &step.soak) {
        (Some(forward), _) => described(forward),
        (None, Some(soak)) => format!(
            "soaks for {}, a sample every {}",
            duration_shown(soak.for_ms),
            duration_shown(soak.every_ms)
        ),
        (None, None) => "looks whether it is so".to_owned(),
    };
    let asked = match &found.door.gate {
        GateState::Asked(_) => "asks",
        _ => report::sign(&found.status),
    };
    let skippable = matches!(found.status, Status::Pending | Status::Failed { .. })
        && state.end.is_none()
        && state.course == Course::Forward;
    context! {
        id => step.id.to_string(),
        word => spaced(found.status.word()), tone => report::step_tone_word(found), sign => asked,
        summary => report::text_line(&step.summary),
        detail => report::detail_text(state, &step.id, now),
        does => report::text_line(&Shown::of(state).text(&does)),
        needs => step.needs.iter().map(StepId::as_str).collect::<Vec<_>>().join(", "),
        started => found.started_at.map(|at| time_shown(&at)),
        ended => found.ended_at.map(|at| time_shown(&at)),
        rollback => rollback_of(step, way_back),
        attempts => attempts.map(|(place, each)| attempt(place, each)).rev().collect::<Vec<_>>(),
        looks => looks.collect::<Vec<_>>(),
        outputs => outputs.collect::<Vec<_>>(),
        pre_image => found.pre_image.as_ref().map(|kept| Value::from(Serde(report::pre_image_shown(kept)))),
        can_skip => skippable,
    }
}

/// What a rollback of the whole run would do to this step.
fn rollback_of(step: &Step, way_back: &Json) -> String {
    let of = |list: &str, text: &str| {
        let rows = way_back[list].as_array().into_iter().flatten();
        let row = rows.into_iter().find(|row| row["step"] == step.id.as_str());
        row.and_then(|row| row[text].as_str()).map(report::text_line)
    };
    if let Compensate::Irreversible(why) = &step.compensate {
        return report::text_line(&format!("cannot be undone: {why}"));
    }
    match (of("undo", "does"), of("stays", "why")) {
        (Some(does), _) => format!("would undo it: {does}"),
        (None, Some(why)) => format!("would leave it: {why}"),
        (None, None) => "would leave it".to_owned(),
    }
}

/// A question before something is undone or closed.
pub(super) fn sure(
    state: &State,
    word: &str,
    to: Option<&StepId>,
    way_back: &Json,
) -> Option<(String, Value)> {
    let run = state.run.to_string();
    let rows = |list: &str| Value::from(Serde(way_back[list].as_array().cloned().unwrap_or_default()));
    let steps: Vec<String> = state.definition.steps.iter().map(|step| step.id.to_string()).collect();
    match word {
        "rollback" => {
            let undo = way_back["undo"].as_array().map_or(0, Vec::len);
            let title = format!("Roll back {run}?");
            let lead = match undo {
                0 => "A rollback would have nothing to undo.".to_owned(),
                1 => "One step is undone. From then on the run only goes back.".to_owned(),
                steps => format!("{steps} steps are undone, one after the other, the last one first."),
            };
            Some((
                title.clone(),
                context! {
                    run => run, word => word, title => title, lead => lead, button => "Roll back",
                    to => to.map(ToString::to_string), steps => steps,
                    undo => rows("undo"), stays => rows("stays"), refused => rows("refused"),
                },
            ))
        }
        "cancel" => {
            let title = format!("Cancel {run}?");
            Some((
                title.clone(),
                context! {
                    run => run, word => word, title => title, button => "Cancel the run",
                    lead => "What is in flight is settled, the run is closed, and nothing is undone. It can still be rolled back later.",
                },
            ))
        }
        _ => None,
    }
}
