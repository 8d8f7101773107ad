//! What happened in a run, gathered from its events for whoever shows it whole: the web page and the report.
//!
//! Everything in it is safe to print and free of secrets, as the events are; whoever writes it into another language
//! (HTML, Markdown) still has to escape it for that.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::human::{duration, exact, time};
use super::step::shape;
use super::words::{line, why_cut};
use super::{Tone, guard};
use crate::plan::StepId;
use crate::saga::{
    self, Answer, Direction, Event, Evidence, Illegal, Sample, Stamp, State, StepEvent, Trace, What,
};

/// Attempts of one step that are told of; a step that was tried more often has the newest of them.
const ATTEMPTS_MAX: usize = 50;

/// Lines of the event log that are kept, the newest ones.
const LINES_MAX: usize = 5_000;

/// Samples of one soak that are drawn one by one.
const MARKS_MAX: usize = 400;

/// A run with its story.
#[derive(Debug, Clone)]
pub struct Story {
    /// The run as it is after the last event.
    pub state: State,
    /// The event log, oldest first.
    pub lines: Vec<Told>,
    /// Events that are in no line, because there were too many.
    pub left_out: usize,
    /// Each step's attempts, oldest first.
    pub attempts: BTreeMap<StepId, Vec<Attempt>>,
    /// Each step's first and last look at its checks: which, what was seen, and when.
    pub looks: BTreeMap<StepId, Vec<Looked>>,
    /// Who was asked what, on which evidence, and what was answered.
    pub approvals: Vec<Approval>,
    /// The course of every soak, by step.
    pub soaks: BTreeMap<StepId, SoakStory>,
}

/// One event in words.
#[derive(Debug, Clone)]
pub struct Told {
    /// Its sequence number.
    pub seq: u64,
    /// When.
    pub at: Stamp,
    /// The step it is about.
    pub step: Option<StepId>,
    /// What happened, as one word.
    pub word: &'static str,
    /// `good`, `busy`, `warn`, `bad` or `plain`.
    pub tone: &'static str,
    /// The rest of the line.
    pub detail: String,
    /// What belongs under it.
    pub below: Vec<String>,
}

/// One attempt of an action or a compensation.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Action or compensation.
    pub direction: Direction,
    /// Its number.
    pub number: u32,
    /// When it started.
    pub started: Stamp,
    /// When it ended, as far as that is known.
    pub ended: Option<Stamp>,
    /// `running`, `acted`, `failed` or `cut off`.
    pub result: &'static str,
    /// What happened, in one line.
    pub message: String,
    /// What it left to read.
    pub trace: Trace,
}

/// A look at checks.
#[derive(Debug, Clone)]
pub struct Looked {
    /// `probe`, `verify`, `undone` or `sample`.
    pub what: &'static str,
    /// When.
    pub at: Stamp,
    /// What was seen.
    pub answers: Vec<Answer>,
}

/// A question and its answer.
#[derive(Debug, Clone)]
pub struct Approval {
    /// The step.
    pub step: StepId,
    /// The question.
    pub question: String,
    /// When it was asked.
    pub asked: Stamp,
    /// What was seen when it was asked.
    pub evidence: Vec<Evidence>,
    /// `waiting`, `approved`, `rejected` or `void`.
    pub result: &'static str,
    /// Who answered.
    pub by: String,
    /// Why.
    pub note: String,
    /// When it was answered, or became void.
    pub answered: Option<Stamp>,
}

/// The course of a soak.
#[derive(Debug, Clone)]
pub struct SoakStory {
    /// When it began.
    pub began: Stamp,
    /// Good time by moment, in milliseconds.
    pub healthy: Vec<(Stamp, u64)>,
    /// Samples that were not good.
    pub marks: Vec<(Stamp, Sample, String)>,
    /// When the way back was lost, and when it came back.
    pub lost: Vec<(Stamp, Option<Stamp>)>,
    /// When it ended, and whether it passed.
    pub ended: Option<(Stamp, bool)>,
    /// Samples of each kind: good, bad, inconclusive.
    pub samples: [u64; 3],
}

/// The word for a tone, as it is a class in a page.
pub(super) fn tone_word(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "plain",
        Tone::Good => "good",
        Tone::Busy => "busy",
        Tone::Warn => "warn",
        Tone::Bad => "bad",
    }
}

impl Story {
    /// Gathers the story of a run from all of its events; `None` when there are none.
    ///
    /// # Errors
    /// [`Illegal`] when they contradict each other.
    pub fn of(events: &[Event]) -> Result<Option<Self>, Illegal> {
        let Some(first) = events.first() else { return Ok(None) };
        let state = saga::open(first)?;
        let mut story = Self {
            state,
            lines: Vec::new(),
            left_out: events.len().saturating_sub(LINES_MAX),
            attempts: BTreeMap::new(),
            looks: BTreeMap::new(),
            approvals: Vec::new(),
            soaks: BTreeMap::new(),
        };
        for (place, event) in events.iter().enumerate() {
            if place > 0 {
                saga::fold(&mut story.state, event)?;
            }
            if place >= story.left_out {
                story.tell(event);
            }
            if let What::Step { step, is } = &event.what {
                story.attempt(step, is, event.at);
                story.look(step, is, event.at);
                story.approval(step, is, event.at);
                story.soak(step, is, event.at);
            }
        }
        Ok(Some(story))
    }

    fn tell(&mut self, event: &Event) {
        let said = line(&self.state, event);
        self.lines.push(Told {
            seq: event.seq,
            at: event.at,
            step: event.what.step().cloned(),
            word: said.word,
            tone: tone_word(said.tone),
            detail: said.detail,
            below: said.below.into_iter().map(|(_, line)| line).collect(),
        });
    }

    fn attempt(&mut self, step: &StepId, is: &StepEvent, at: Stamp) {
        let attempts = self.attempts.entry(step.clone()).or_default();
        let mut end = |direction: Direction, number: u32, result, message: String, trace: Option<&Trace>| {
            let found = attempts.iter_mut().rev().find(|a| a.direction == direction && a.number == number);
            let Some(found) = found else { return };
            (found.ended, found.result) = (Some(at), result);
            found.message = guard::line(&message);
            if let Some(trace) = trace {
                found.trace = trace.clone();
            }
        };
        match is {
            StepEvent::Started { direction, attempt } => {
                attempts.push(Attempt {
                    direction: *direction,
                    number: *attempt,
                    started: at,
                    ended: None,
                    result: "running",
                    message: String::new(),
                    trace: Trace::default(),
                });
                if attempts.len() > ATTEMPTS_MAX {
                    attempts.remove(0);
                }
            }
            StepEvent::Acted { direction, attempt, trace, .. } => {
                end(*direction, *attempt, "acted", String::new(), Some(trace));
            }
            StepEvent::AttemptFailed { direction, attempt, message, trace, .. } => {
                end(*direction, *attempt, "failed", message.clone(), Some(trace));
            }
            StepEvent::Cut { direction, attempt, cause, message, trace } => {
                let why = match message.as_str() {
                    "" => why_cut(*cause).to_owned(),
                    message => format!("{}: {message}", why_cut(*cause)),
                };
                end(*direction, *attempt, "cut off", why, Some(trace));
            }
            StepEvent::Settled { direction, attempt, done, .. } => {
                let (result, why) = match done {
                    true => ("acted", "it was cut off, and its goal was found reached"),
                    false => ("cut off", "it was cut off, and its goal was found not reached"),
                };
                end(*direction, *attempt, result, why.to_owned(), None);
            }
            _ => {}
        }
    }

    fn look(&mut self, step: &StepId, is: &StepEvent, at: Stamp) {
        let (what, answers) = match is {
            StepEvent::Probed { answer } => ("probe", std::slice::from_ref(answer)),
            StepEvent::VerifyLooked { answers } | StepEvent::Verified { answers } => ("verify", &answers[..]),
            StepEvent::UndoneLooked { answers } | StepEvent::Compensated { answers } => {
                ("undone", &answers[..])
            }
            StepEvent::SoakSampled { answers, .. } => ("sample", &answers[..]),
            StepEvent::ReadyLost { answers } => ("rollback_ready", &answers[..]),
            _ => return,
        };
        if answers.is_empty() {
            return;
        }
        let looks = self.looks.entry(step.clone()).or_default();
        // The first one says what was found, the last one what came of it.
        let same = looks.iter().enumerate().filter(|(_, look)| look.what == what);
        if let Some((place, _)) = same.skip(1).last() {
            looks.remove(place);
        }
        looks.push(Looked { what, at, answers: answers.to_vec() });
    }

    fn approval(&mut self, step: &StepId, is: &StepEvent, at: Stamp) {
        let mut answer = |result, by: &str, note: &str| {
            let last = self.approvals.iter_mut().rev().find(|approval| approval.step == *step);
            if let Some(last) = last {
                (last.result, last.answered) = (result, Some(at));
                (last.by, last.note) = (guard::line(by), guard::line(note));
            }
        };
        match is {
            StepEvent::ApprovalRequested { question, evidence } => self.approvals.push(Approval {
                step: step.clone(),
                question: guard::line(question),
                asked: at,
                evidence: evidence.clone(),
                result: "waiting",
                by: String::new(),
                note: String::new(),
                answered: None,
            }),
            StepEvent::Approved { by, note, .. } => answer("approved", by, note),
            StepEvent::Rejected { by, note, .. } => answer("rejected", by, note),
            StepEvent::ApprovalVoided { why, .. } => answer("void", "", why),
            _ => {}
        }
    }

    fn soak(&mut self, step: &StepId, is: &StepEvent, at: Stamp) {
        if matches!(is, StepEvent::SoakBegan) {
            let began = SoakStory {
                began: at,
                healthy: vec![(at, 0)],
                marks: Vec::new(),
                lost: Vec::new(),
                ended: None,
                samples: [0; 3],
            };
            self.soaks.insert(step.clone(), began);
            return;
        }
        let Some(soak) = self.soaks.get_mut(step) else { return };
        let healthy = soak.healthy.last().map_or(0, |(_, ms)| *ms);
        match is {
            StepEvent::SoakSaved { good, good_ms, last, .. } => {
                soak.samples[0] += good;
                soak.healthy.push((*last, healthy + good_ms));
            }
            StepEvent::SoakSampled { answers, .. } => {
                let sample = Sample::of(answers);
                let kind = match sample {
                    Sample::Good => 0,
                    Sample::Bad => 1,
                    Sample::Inconclusive => 2,
                };
                soak.samples[kind] += 1;
                soak.healthy.push((at, healthy));
                if sample != Sample::Good && soak.marks.len() < MARKS_MAX {
                    soak.marks.push((at, sample, super::step::troubles(answers)));
                }
            }
            StepEvent::ReadyLost { .. } => soak.lost.push((at, None)),
            StepEvent::ReadyRegained { .. } => {
                if let Some(lost) = soak.lost.last_mut() {
                    lost.1 = Some(at);
                }
            }
            StepEvent::SoakPassed => soak.ended = Some((at, true)),
            StepEvent::Failed { .. } => soak.ended = Some((at, false)),
            _ => {}
        }
    }
}

/// Answers for a template: verdict, reason, and the facts one by one.
pub fn answers_shown(answers: &[Answer]) -> Value {
    let each = answers.iter().map(|answer| {
        let facts: Vec<Value> = answer
            .facts
            .iter()
            .map(|(name, value)| json!({ "name": guard::line(name), "value": value_shown(value) }))
            .collect();
        json!({ "verdict": answer.verdict.to_string(), "words": shape(answer), "facts": facts })
    });
    each.collect()
}

/// A value in one line, as people read it, cut where it is long.
pub fn value_shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    guard::cut(&guard::line(&text), 400)
}

/// A moment for people, in UTC.
pub fn time_shown(at: &Stamp) -> String {
    time(at, &TimeZone::UTC).replace('T', " ").replace('Z', " UTC")
}

/// A moment for programs.
pub fn time_exact(at: &Stamp) -> String {
    exact(at)
}

/// A length of time for people.
pub fn duration_shown(ms: u64) -> String {
    duration(ms)
}
