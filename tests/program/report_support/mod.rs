//! Stories built by hand and folded as they are told, so that every one of them is legal.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![expect(clippy::unwrap_used, reason = "test support")]

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use runner::plan::recorded::{
    Compensate, Definition, Gate, OnFailure, OnGap, Operation, Resource, Retry, Soak, Step,
};
use runner::plan::{PlanName, RunId, StepId};
use runner::report::{Asked, Context, Look, Reporter, Traces, ending, json, plain};
use runner::saga::{
    Answer, Direction, Event, Evidence, FailureClass, Stamp, State, StepEvent, Terms, Trace, Verdict, What,
    fold, open, standing,
};
use serde_json::{Map, Value};

pub(crate) const FORWARD: Direction = Direction::Forward;
pub(crate) const BACK: Direction = Direction::Compensation;

/// A moment, in seconds after 2026-11-23T16:31:02Z.
pub(crate) fn at(seconds: f64) -> Stamp {
    let ms = (seconds * 1_000.0) as i64;
    let up_ms = 50_000_000_u64.wrapping_add_signed(ms);
    Stamp { wall_ms: 1_795_451_462_000 + ms, boot: 7, up_ms }
}

pub(crate) fn id(text: &str) -> StepId {
    StepId::new(text).unwrap()
}

pub(crate) fn operation(name: &str) -> Operation {
    Operation { name: name.to_owned(), fields: Map::new() }
}

/// A step that runs a command and needs `needs`.
pub(crate) fn step(name: &str, summary: &str, needs: &[&str]) -> Step {
    Step {
        id: id(name),
        summary: summary.to_owned(),
        needs: needs.iter().map(|need| id(need)).collect(),
        when: None,
        gate: None,
        window: None,
        timeout_ms: 600_000,
        retry: Retry { attempts: 1, backoff_ms: 2_000, max_backoff_ms: 60_000, on_verify: false },
        takes: [].into(),
        frees: [].into(),
        on_failure: OnFailure::Halt,
        idempotent: false,
        forward: Some(operation("command")),
        probe: None,
        verify: Vec::new(),
        verify_within_ms: 60_000,
        undone: Vec::new(),
        undone_within_ms: 60_000,
        compensate: Compensate::Action(operation("command")),
        soak: None,
        rollback_ready: Vec::new(),
    }
}

pub(crate) fn gate(question: &str) -> Option<Gate> {
    Some(Gate { question: question.to_owned(), expires_ms: None, evidence: None })
}

pub(crate) fn soak_step(name: &str, needs: &[&str]) -> Step {
    let soak = Soak {
        for_ms: 3 * 86_400_000,
        every_ms: 300_000,
        max_gap_ms: 600_000,
        max_consecutive_failures: 2,
        error_budget: Some(0.01),
        coverage: Some(0.9),
        on_gap: OnGap::Extend,
    };
    let mut step = step(name, "Watch the new Frigate for three days", needs);
    (step.forward, step.soak, step.compensate) = (None, Some(soak), Compensate::Nothing);
    step.verify = vec![operation("http")];
    step
}

pub(crate) fn definition(name: &str, description: &str, steps: Vec<Step>) -> Definition {
    Definition {
        version: 1,
        name: PlanName::new(name).unwrap(),
        description: description.to_owned(),
        path: format!("/srv/plans/{name}.toml"),
        folder: "/srv/plans".to_owned(),
        on_failure: OnFailure::Halt,
        parallelism: 4,
        vars: [].into(),
        given: [].into(),
        secrets: [].into(),
        hosts: [].into(),
        clusters: [].into(),
        brokers: [].into(),
        resources: [].into(),
        steps,
        files: [].into(),
    }
}

pub(crate) fn resource(held_at_start: &str) -> Resource {
    Resource {
        owners: vec!["old".to_owned(), "new".to_owned()],
        held_at_start: Some(held_at_start.to_owned()),
        gone: [].into(),
    }
}

pub(crate) fn answer(verdict: Verdict, reason: &str) -> Answer {
    Answer::new(verdict, reason)
}

pub(crate) fn evidence(check: &str, verdict: Verdict, reason: &str) -> Evidence {
    Evidence { check: check.to_owned(), answer: answer(verdict, reason) }
}

/// What a failed attempt wrote.
pub(crate) fn trace(exit: i32, tail: &str, log: &str, bytes: u64) -> Trace {
    Trace { exit: Some(exit), tail: tail.to_owned(), log: Some(log.to_owned()), bytes, ..Trace::default() }
}

/// What happened in a run, with the state after each event.
pub(crate) struct Story {
    pub(crate) told: Vec<(State, Event)>,
    seconds: f64,
}

impl Story {
    /// Opens a run at second 0; the same process takes it on.
    pub(crate) fn new(definition: Definition) -> Self {
        let run = RunId::new(definition.name.clone(), 1);
        let what = What::RunOpened { run, definition: Arc::new(definition), by: "alice@maple".to_owned() };
        let event = Event { seq: 1, at: at(0.0), what };
        let state = open(&event).unwrap();
        let mut story = Self { told: vec![(state, event)], seconds: 0.0 };
        story.run(What::RunResumed {
            token: 1,
            by: "alice@maple".to_owned(),
            terms: Terms { forward: true, fresh_budget: true, assume_yes: false },
        });
        story
    }

    /// Lets time pass.
    pub(crate) fn after(&mut self, seconds: f64) -> &mut Self {
        self.seconds += seconds;
        self
    }

    /// Tells of the run.
    pub(crate) fn run(&mut self, what: What) -> &mut Self {
        let mut state = self.state().clone();
        let event = Event { seq: state.seq + 1, at: at(self.seconds), what };
        fold(&mut state, &event).unwrap();
        self.told.push((state, event));
        self
    }

    /// Tells of a step.
    pub(crate) fn step(&mut self, step: &str, is: StepEvent) -> &mut Self {
        self.run(What::Step { step: id(step), is })
    }

    pub(crate) fn started(&mut self, step: &str, direction: Direction, attempt: u32) -> &mut Self {
        self.step(step, StepEvent::Started { direction, attempt })
    }

    pub(crate) fn acted(&mut self, step: &str, direction: Direction, attempt: u32) -> &mut Self {
        let trace = Trace { exit: Some(0), ..Trace::default() };
        self.step(step, StepEvent::Acted { direction, attempt, outputs: Map::new(), trace })
    }

    pub(crate) fn attempt_failed(
        &mut self,
        step: &str,
        direction: Direction,
        attempt: u32,
        message: &str,
        trace: Trace,
        again_in_ms: Option<u64>,
    ) -> &mut Self {
        let (class, message) = (FailureClass::Transient, message.to_owned());
        self.step(step, StepEvent::AttemptFailed { direction, attempt, class, message, trace, again_in_ms })
    }

    /// A step that runs for so long and goes well.
    pub(crate) fn done(&mut self, step: &str, attempt: u32, seconds: f64) -> &mut Self {
        self.started(step, FORWARD, attempt).after(seconds).acted(step, FORWARD, attempt);
        self.step(step, StepEvent::Verified { answers: Vec::new() })
    }

    /// A compensation that runs for so long and goes well.
    pub(crate) fn undone(&mut self, step: &str, attempt: u32, seconds: f64) -> &mut Self {
        self.started(step, BACK, attempt).after(seconds).acted(step, BACK, attempt);
        self.step(step, StepEvent::Compensated { answers: Vec::new() })
    }

    pub(crate) fn rollback(&mut self, to: Option<&str>, failed: Option<&str>) -> &mut Self {
        let by = if failed.is_some() { "on_failure" } else { "bob@maple" }.to_owned();
        self.run(What::RollbackRequested { to: to.map(id), parallel: 1, failed: failed.map(id), by })
    }

    pub(crate) fn state(&self) -> &State {
        &self.told.last().unwrap().0
    }

    pub(crate) fn now(&self) -> Stamp {
        at(self.seconds)
    }

    pub(crate) fn traces(&self) -> Traces {
        let mut traces = Traces::default();
        for (_, event) in &self.told {
            traces.event(event);
        }
        traces
    }

    /// The words at the stop.
    pub(crate) fn ending(&self, asked: Asked) -> String {
        let traces = self.traces();
        let context = Context {
            folder: Path::new("/srv/state"),
            traces: &traces,
            plan: Some("plans/frigate.toml"),
            options: "",
            now: self.now(),
            wake_ms: Some(260_000),
            systems: &[],
        };
        ending(self.state(), asked, &Look::default(), &context)
    }

    /// Every event through a reporter.
    pub(crate) fn through(&self, reporter: &mut dyn Reporter) {
        for (state, event) in &self.told {
            reporter.event(state, event);
        }
        reporter.finish();
    }

    pub(crate) fn plain(&self, look: Look) -> String {
        let page = Page::default();
        self.through(&mut plain(Box::new(page.clone()), look, jiff::tz::TimeZone::UTC));
        page.text()
    }

    pub(crate) fn json(&self) -> String {
        let page = Page::default();
        self.through(&mut json(Box::new(page.clone())));
        page.text()
    }

    pub(crate) fn stands(&self) -> runner::saga::Standing {
        standing(self.state())
    }
}

/// Paper to write on.
#[derive(Clone, Default)]
pub(crate) struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(crate) mod stories;
