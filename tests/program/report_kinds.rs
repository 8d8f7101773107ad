//! Every kind of event has a form for people and one for programs, and the latter is the one in the schema.

#![expect(clippy::unwrap_used, reason = "test")]

use crate::report_support;

use crate::support::json_schema;

use std::collections::BTreeSet;
use std::sync::Arc;

use report_support::stories::*;
use report_support::*;
use runner::report::{
    Level, Look, Reporter, RunRow, event_json, event_line, event_text, json, plain, runs_json, status_json,
};
use runner::saga::{
    CutCause, Event, FailureClass, How, LeftRunning, Memory, StepEvent, Terms, Trace, Verdict, What,
};
use serde_json::{Map, Value};

/// Text that would do harm if it reached a terminal as it is.
const EVIL: &str = "evil\u{1b}[2J\u{7}\u{202e}txt\u{9b}31m\u{200b}\r\n";

fn evil() -> String {
    EVIL.to_owned()
}

fn outputs() -> Map<String, Value> {
    Map::from_iter([("url".to_owned(), Value::String(evil()))])
}

fn full_trace() -> Trace {
    Trace {
        exit: Some(1),
        signal: Some(9),
        tail: EVIL.repeat(20),
        log: Some("logs/a.log".to_owned()),
        bytes: 1_000,
        left_running: vec![LeftRunning { pid: 1, name: evil() }],
    }
}

/// One event of every kind: each names the one that follows it, so that a new kind does not compile until it
/// has its place.
fn after(previous: Option<&StepEvent>) -> Option<StepEvent> {
    let answers = || vec![answer(Verdict::Absent, EVIL), answer(Verdict::Unknown, "")];
    let seen = || vec![evidence(EVIL, Verdict::Holds, EVIL)];
    let (direction, attempt) = (FORWARD, 1);
    let Some(previous) = previous else { return Some(StepEvent::Decided { when: false }) };
    Some(match previous {
        StepEvent::Decided { .. } => StepEvent::Probed { answer: answer(Verdict::Unknown, EVIL) },
        StepEvent::Probed { .. } => StepEvent::Satisfied { outputs: outputs() },
        StepEvent::Satisfied { .. } => StepEvent::ApprovalRequested { question: evil(), evidence: seen() },
        StepEvent::ApprovalRequested { .. } => StepEvent::Approved { request: 3, by: evil(), note: evil() },
        StepEvent::Approved { .. } => StepEvent::GateOpened { request: 3, evidence: seen() },
        StepEvent::GateOpened { .. } => StepEvent::ApprovalVoided { request: 3, why: evil() },
        StepEvent::ApprovalVoided { .. } => StepEvent::Rejected { request: 3, by: evil(), note: evil() },
        StepEvent::Rejected { .. } => {
            StepEvent::GoneLooked { resource: evil(), owner: evil(), answers: answers() }
        }
        StepEvent::GoneLooked { .. } => StepEvent::HeldElsewhere {
            resource: evil(),
            by_run: "other-1".to_owned().try_into().unwrap(),
            owner: evil(),
        },
        StepEvent::HeldElsewhere { .. } => StepEvent::PreImageTaken { pre_image: Value::String(evil()) },
        StepEvent::PreImageTaken { .. } => StepEvent::Started { direction, attempt },
        StepEvent::Started { .. } => {
            StepEvent::Acted { direction, attempt, outputs: outputs(), trace: full_trace() }
        }
        StepEvent::Acted { .. } => StepEvent::AttemptFailed {
            direction,
            attempt,
            class: FailureClass::Permanent,
            message: evil(),
            trace: full_trace(),
            again_in_ms: Some(1),
        },
        StepEvent::AttemptFailed { .. } => {
            let (cause, message) = (CutCause::Timeout, evil());
            StepEvent::Cut { direction: BACK, attempt, cause, message, trace: full_trace() }
        }
        StepEvent::Cut { .. } => StepEvent::ProvedOver { direction, attempt },
        StepEvent::ProvedOver { .. } => {
            let how = How::Probe(answer(Verdict::Holds, EVIL));
            StepEvent::Settled { direction, attempt, done: true, how, outputs: outputs(), again_in_ms: 0 }
        }
        StepEvent::Settled { .. } => StepEvent::AttentionNeeded { reason: evil() },
        StepEvent::AttentionNeeded { .. } => StepEvent::VerifyBegan,
        StepEvent::VerifyBegan => StepEvent::VerifyLooked { answers: answers() },
        StepEvent::VerifyLooked { .. } => StepEvent::Verified { answers: answers() },
        StepEvent::Verified { .. } => StepEvent::Failed { reason: evil() },
        StepEvent::Failed { .. } => StepEvent::Skipped { by: Some(evil()), note: evil() },
        StepEvent::Skipped { .. } => StepEvent::Redone { by: evil() },
        StepEvent::Redone { .. } => StepEvent::SoakBegan,
        StepEvent::SoakBegan => {
            StepEvent::SoakSaved { good: 1, good_ms: 2, last: at(1.0), memory: Memory::default() }
        }
        StepEvent::SoakSaved { .. } => {
            StepEvent::SoakSampled { answers: answers(), memory: Memory::default() }
        }
        StepEvent::SoakSampled { .. } => StepEvent::ReadyLost { answers: answers() },
        StepEvent::ReadyLost { .. } => StepEvent::ReadyRegained { by: Some(evil()) },
        StepEvent::ReadyRegained { .. } => StepEvent::SoakPassed,
        StepEvent::SoakPassed => StepEvent::UndoneLooked { answers: answers() },
        StepEvent::UndoneLooked { .. } => StepEvent::Compensated { answers: answers() },
        StepEvent::Compensated { .. } => StepEvent::CompensationFailed { reason: evil() },
        StepEvent::CompensationFailed { .. } => {
            StepEvent::Resolved { done: false, outputs: outputs(), by: evil() }
        }
        StepEvent::Resolved { .. } => return None,
    })
}

/// The same for the run itself.
fn run_after(previous: &What) -> Option<What> {
    let by = evil;
    Some(match previous {
        What::RunOpened { .. } => {
            let terms = Terms { forward: false, fresh_budget: false, assume_yes: true };
            What::RunResumed { token: 9, by: by(), terms }
        }
        What::RunResumed { .. } => {
            let change =
                runner::saga::Change { step: None, diff: evil(), matters: true, taken: Default::default() };
            What::PlanAmended { definition: Arc::new(frigate()), changes: vec![change], by: by() }
        }
        What::PlanAmended { .. } => What::UntilSet { step: id("baseline"), by: by() },
        What::UntilSet { .. } => What::Paused { by: by() },
        What::Paused { .. } => What::Unpaused { by: by() },
        What::Unpaused { .. } => What::CancelRequested { by: by() },
        What::CancelRequested { .. } => What::Cancelled,
        What::Cancelled => {
            What::RollbackRequested { to: Some(id("baseline")), parallel: 2, failed: None, by: by() }
        }
        What::RollbackRequested { .. } => What::RolledBack,
        What::RolledBack => What::Completed,
        What::Completed => What::Step { step: id("stop-old"), is: after(None)? },
        What::Step { step, is } => What::Step { step: step.clone(), is: after(Some(is))? },
    })
}

/// Every kind of event. They are not folded: how a kind looks must not depend on a story that has it.
fn every_kind() -> Vec<What> {
    let mut definition = frigate();
    definition.description = evil();
    definition.path = evil();
    let run = runner::plan::RunId::new(definition.name.clone(), 1);
    let mut all = vec![What::RunOpened { run, definition: Arc::new(definition), by: evil() }];
    while let Some(next) = run_after(&all[all.len() - 1]) {
        all.push(next);
    }
    all
}

fn schema() -> Value {
    serde_json::from_str(include_str!("../../schema/events.schema.json")).unwrap()
}

/// Whether `value` is what the schema says, and has no field beside those that it names.
fn conforms(schema: &Value, value: &Value) -> Result<(), String> {
    json_schema::Judge { schema, strict: true }.judge(value)
}

#[test]
fn every_kind_has_words_and_a_json_form_that_the_schema_knows() {
    let story = failed();
    let state = story.state();
    let schema = schema();
    let mut names = BTreeSet::new();
    for (seq, what) in (1..).zip(every_kind()) {
        let event = Event { seq, at: at(200.0), what };
        let shown = event_json(state, &event);
        assert_eq!(shown["v"], 1);
        assert_eq!(shown["seq"], seq);
        conforms(&schema, &shown).unwrap();
        let line = event_line(state, &event);
        assert!(line.starts_with(r#"{"v":1,"type":"event","run":"frigate-1","seq":"#), "{line}");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), shown);
        assert!(!line.contains('\n') && !line.contains(is_harmful), "{line}");
        assert!(!line.contains("pre_image\":"), "{line}");
        assert!(names.insert(shown["event"].as_str().unwrap().to_owned()), "{shown} twice");

        let text = event_text(state, &event, &Look { verbose: 2, ..Look::default() });
        assert!(text.ends_with('\n') && text.lines().count() >= 1, "{text:?}");
        assert!(!text.replace('\n', "").contains(is_harmful), "{text:?}");
        let quiet = event_text(state, &event, &Look { quiet: true, ..Look::default() });
        assert!(text.starts_with(quiet.lines().next().unwrap_or_default()));
    }
    let known = schema["$defs"]["event_name"]["enum"].as_array().unwrap();
    let known: BTreeSet<String> = known.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    assert_eq!(names, known);
}

fn is_harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202e}' | '\u{200b}')
}

#[test]
fn every_line_of_every_story_conforms() {
    let schema = schema();
    let stories = [
        hello(),
        failed(),
        rolled_back(),
        attention_back(),
        attention_forward(),
        settled(),
        waiting(Verdict::Holds),
        soaked(),
        parallel(),
        meddled(),
    ];
    for story in &stories {
        for line in story.json().lines() {
            conforms(&schema, &serde_json::from_str(line).unwrap()).unwrap();
            assert!(!line.contains("NEVER SHOWN"));
        }
        let status = status_json(story.state(), &story.now());
        conforms(&schema, &status).unwrap();
    }
    let rows: Vec<RunRow> = stories.iter().map(|story| RunRow::of(story.state())).collect();
    conforms(&schema, &runs_json(&rows)).unwrap();
}

#[test]
fn notes_are_lines_too() {
    let page = Page::default();
    let mut programs = json(Box::new(page.clone()));
    programs.note(Level::Warning, EVIL);
    let line: Value = serde_json::from_str(&page.text()).unwrap();
    conforms(&schema(), &line).unwrap();
    assert_eq!(line["text"], EVIL);

    let page = Page::default();
    let mut people = plain(Box::new(page.clone()), Look::default(), jiff::tz::TimeZone::UTC);
    people.note(Level::Info, "state folder: /srv/state");
    people.note(Level::Warning, EVIL);
    assert_eq!(page.text(), "state folder: /srv/state\nwarning: evil␛[2J␇<U+202E>txt<U+009B>31m<U+200B>\n");
}
