//! Every pair of a status and an event: the legal ones are listed, all others are refused and change nothing.

use serde_json::{Map, Value};

use super::*;
use crate::plan::recorded::{DEFINITION_VERSION, Operation, Retry, Step};
use crate::plan::{PlanName, RunId};
use crate::saga::event::How;
use crate::saga::memory::Memory;
use crate::saga::outcome::{Answer, FailureClass, Trace};

const AT: Stamp = Stamp { wall_ms: 1_000, boot: 1, up_ms: 1_000 };

fn id(text: &str) -> StepId {
    StepId::new(text).unwrap()
}

fn plan_step(name: &str, needs: &[&str]) -> Step {
    Step {
        id: id(name),
        summary: String::new(),
        needs: needs.iter().map(|need| id(need)).collect(),
        when: None,
        gate: None,
        window: None,
        timeout_ms: 1_000,
        retry: Retry { attempts: 1, backoff_ms: 0, max_backoff_ms: 0, on_verify: true },
        takes: BTreeMap::new(),
        frees: BTreeMap::new(),
        on_failure: OnFailure::Halt,
        idempotent: false,
        forward: Some(Operation { name: "command".to_owned(), fields: Map::new() }),
        probe: None,
        verify: Vec::new(),
        verify_within_ms: 1_000,
        undone: Vec::new(),
        undone_within_ms: 1_000,
        compensate: Compensate::Nothing,
        soak: None,
        rollback_ready: Vec::new(),
    }
}

fn state() -> State {
    let definition = Definition {
        version: DEFINITION_VERSION,
        name: PlanName::new("table").unwrap(),
        description: String::new(),
        path: String::new(),
        folder: String::new(),
        on_failure: OnFailure::Halt,
        parallelism: 1,
        vars: BTreeMap::new(),
        given: BTreeMap::new(),
        secrets: BTreeMap::new(),
        hosts: BTreeMap::new(),
        clusters: BTreeMap::new(),
        brokers: BTreeMap::new(),
        resources: BTreeMap::new(),
        steps: vec![plan_step("a", &[]), plan_step("b", &["a"]), plan_step("c", &[])],
        files: BTreeMap::new(),
    };
    let run = RunId::new(definition.name.clone(), 1);
    let what = What::RunOpened { run, definition: Arc::new(definition), by: String::new() };
    open(&Event { seq: 1, at: AT, what }).unwrap()
}

fn wait() -> Wait {
    Wait::new(AT, 0)
}

fn interrupted(direction: Direction, over: bool, attention: bool) -> Status {
    let attention = attention.then(|| "nobody knows".to_owned());
    let cause = CutCause::Crash;
    Status::Interrupted(Interrupted { direction, attempt: 1, cause, within: wait(), over, attention })
}

/// Every status, with a name for the table.
fn statuses() -> Vec<(&'static str, Status)> {
    let reason = String::new;
    vec![
        ("pending", Status::Pending),
        ("awaiting", Status::AwaitingApproval),
        ("running", Status::Running { attempt: 1 }),
        ("retrying", Status::Retrying { pause: wait() }),
        ("verifying", Status::Verifying(Verifying { satisfied: false, within: wait(), last: None })),
        ("soaking", Status::Soaking(Box::new(Soaking::began(AT)))),
        ("done", Status::Done),
        ("satisfied", Status::Satisfied),
        ("skipped", Status::Skipped),
        ("failed", Status::Failed { reason: reason() }),
        ("cut", interrupted(Direction::Forward, false, false)),
        ("over", interrupted(Direction::Forward, true, false)),
        ("attention", interrupted(Direction::Forward, false, true)),
        ("compensating", Status::Compensating { attempt: 1 }),
        ("back-cut", interrupted(Direction::Compensation, false, false)),
        ("back-over", interrupted(Direction::Compensation, true, false)),
        ("back-retrying", Status::CompensationRetrying { pause: wait() }),
        ("undoing", Status::UndoingCheck { within: wait(), last: None }),
        ("compensated", Status::Compensated),
        ("back-failed", Status::CompensationFailed { reason: reason() }),
    ]
}

/// Every event with the statuses in which it is legal; `back`: in a rollback, else going forward.
fn table() -> Vec<(StepEvent, bool, &'static str)> {
    let (forward, back) = (Direction::Forward, Direction::Compensation);
    let answers = Vec::<Answer>::new;
    let outputs = Map::<String, Value>::new;
    let started = |direction, attempt| StepEvent::Started { direction, attempt };
    let acted = |direction, attempt| StepEvent::Acted {
        direction,
        attempt,
        outputs: outputs(),
        trace: Trace::default(),
    };
    let failed = |direction| StepEvent::AttemptFailed {
        direction,
        attempt: 1,
        class: FailureClass::Transient,
        message: String::new(),
        trace: Trace::default(),
        again_in_ms: None,
    };
    let cut = |direction| StepEvent::Cut {
        direction,
        attempt: 1,
        cause: CutCause::Timeout,
        message: String::new(),
        trace: Trace::default(),
    };
    let settled = |direction, how| StepEvent::Settled {
        direction,
        attempt: 1,
        done: false,
        how,
        outputs: outputs(),
        again_in_ms: 0,
    };
    let answer = Answer::new(Verdict::Absent, "");
    let reason = String::new;
    let other_run = || RunId::new(PlanName::new("other").unwrap(), 1);
    let everywhere = "pending awaiting running retrying verifying soaking done satisfied skipped failed cut over \
                      attention compensating back-cut back-over back-retrying undoing compensated back-failed";
    let undoable = "pending awaiting retrying verifying done skipped failed over back-retrying";
    vec![
        (StepEvent::Decided { when: true }, false, "pending"),
        (StepEvent::Probed { answer: answer.clone() }, false, "pending"),
        (StepEvent::Satisfied { outputs: outputs() }, false, "pending"),
        (StepEvent::ApprovalRequested { question: reason(), evidence: Vec::new() }, false, "pending"),
        (StepEvent::Approved { request: 7, by: reason(), note: reason() }, false, "awaiting"),
        // Only an answered request is opened; the table's is asked.
        (StepEvent::GateOpened { request: 7, evidence: Vec::new() }, false, ""),
        (StepEvent::ApprovalVoided { request: 7, why: reason() }, false, "pending awaiting"),
        (StepEvent::Rejected { request: 7, by: reason(), note: reason() }, false, "awaiting"),
        (StepEvent::Rejected { request: 6, by: reason(), note: reason() }, false, ""),
        (
            StepEvent::GoneLooked { resource: reason(), owner: reason(), answers: answers() },
            false,
            everywhere,
        ),
        (
            StepEvent::HeldElsewhere { resource: reason(), by_run: other_run(), owner: reason() },
            false,
            everywhere,
        ),
        (StepEvent::PreImageTaken { pre_image: Value::Null }, false, "pending"),
        // One attempt has been started before: the next one is the second.
        (started(forward, 2), false, "pending retrying"),
        (started(forward, 1), false, ""),
        (started(forward, 3), false, ""),
        (started(forward, 2), true, ""),
        (started(back, 2), true, undoable),
        (started(back, 1), true, ""),
        (started(back, 2), false, ""),
        (acted(forward, 1), false, "running"),
        (acted(forward, 2), false, ""),
        (acted(back, 1), true, "compensating"),
        (failed(forward), false, "running verifying"),
        (failed(back), true, "compensating"),
        (cut(forward), false, "running"),
        (cut(back), true, "compensating"),
        (StepEvent::ProvedOver { direction: forward, attempt: 1 }, false, "cut attention"),
        (StepEvent::ProvedOver { direction: forward, attempt: 2 }, false, ""),
        (StepEvent::ProvedOver { direction: back, attempt: 1 }, true, "back-cut"),
        (settled(forward, How::Recorded), false, "cut over attention"),
        (settled(forward, How::Probe(answer)), false, "over"),
        (settled(forward, How::Idempotent), false, "over"),
        (settled(back, How::Compensation), true, "back-over"),
        (StepEvent::AttentionNeeded { reason: reason() }, false, "cut over back-cut back-over"),
        (StepEvent::VerifyBegan, false, "pending"),
        (StepEvent::VerifyLooked { answers: answers() }, false, "verifying"),
        (StepEvent::Verified { answers: answers() }, false, "verifying"),
        (StepEvent::Failed { reason: reason() }, false, "pending awaiting retrying verifying soaking"),
        (StepEvent::Skipped { by: None, note: reason() }, false, "pending awaiting retrying failed"),
        (StepEvent::SoakBegan, false, "pending"),
        (StepEvent::SoakSaved { good: 1, good_ms: 0, last: AT, memory: Memory::default() }, false, "soaking"),
        (StepEvent::SoakSampled { answers: answers(), memory: Memory::default() }, false, "soaking"),
        (StepEvent::ReadyLost { answers: answers() }, false, "soaking"),
        // Only a way back that was lost is regained.
        (StepEvent::ReadyRegained { by: None }, false, ""),
        (StepEvent::SoakPassed, false, "soaking"),
        (StepEvent::UndoneLooked { answers: answers() }, true, "undoing"),
        (
            StepEvent::Compensated { answers: answers() },
            true,
            "pending awaiting retrying verifying done skipped failed over back-retrying undoing",
        ),
        (StepEvent::Compensated { answers: answers() }, false, ""),
        (
            StepEvent::CompensationFailed { reason: reason() },
            true,
            "pending awaiting retrying verifying done skipped failed over back-retrying undoing",
        ),
        (
            StepEvent::Resolved { done: true, outputs: outputs(), by: reason() },
            false,
            "attention back-failed",
        ),
    ]
}

/// Step `a` in this status, after one attempt in each direction.
fn with(status: Status, back: bool) -> State {
    let mut state = state();
    let step = &mut state.steps[0];
    (step.attempts, step.compensations, step.owned) = (1, 1, true);
    let request = Request { seq: 7, at: AT, question: String::new(), evidence: Vec::new(), said: None };
    step.door.gate = match status {
        Status::Pending => GateState::Open { request, at: AT },
        _ => GateState::Asked(request),
    };
    step.status = status;
    if back {
        state.course = Course::Back(Back { to: None, parallel: 1, failed: None, then_forward: false });
    }
    state.reindexed()
}

fn happens(state: &mut State, step: &str, is: StepEvent) -> Result<(), Illegal> {
    let event = Event { seq: state.seq + 1, at: AT, what: What::Step { step: id(step), is } };
    fold(state, &event)
}

#[test]
fn every_pair_of_a_status_and_an_event() {
    let mut pairs = 0;
    for (event, back, legal) in table() {
        let legal: BTreeSet<&str> = legal.split_whitespace().collect();
        for (word, status) in statuses() {
            // What failed elsewhere is not this table's business: the step itself may have.
            let before = with(status, back);
            let mut after = before.clone();
            let found = happens(&mut after, "a", event.clone());
            assert_eq!(found.is_ok(), legal.contains(word), "{event:?} while {word}: {found:?}");
            if found.is_err() {
                assert_eq!(after, before, "{event:?} was refused while {word} and changed something");
            } else {
                assert_eq!(after.clone().reindexed(), after, "{event:?} while {word}: the index is wrong");
            }
            pairs += 1;
        }
    }
    assert!(pairs > 900);
}

#[test]
fn nothing_starts_in_a_run_that_is_held() {
    let begin = || StepEvent::Started { direction: Direction::Forward, attempt: 1 };
    assert!(happens(&mut state(), "a", begin()).is_ok());
    assert!(happens(&mut state(), "b", begin()).is_err(), "what it needs has not ended");
    let held: [fn(&mut State); 6] = [
        |state| state.paused = true,
        |state| state.cancelling = true,
        |state| state.course = Course::Resting,
        |state| state.terms.forward = false,
        |state| state.end = Some(End::Cancelled),
        |state| state.steps[2].status = Status::Failed { reason: String::new() },
    ];
    for (place, hold) in held.into_iter().enumerate() {
        let mut state = state();
        hold(&mut state);
        let mut state = state.reindexed();
        assert!(happens(&mut state, "a", begin()).is_err(), "{place}");
    }
}

#[test]
fn a_run_says_no_to_what_cannot_follow() {
    let by = String::new;
    let terms = Terms { forward: true, fresh_budget: true, assume_yes: false };
    let run = |state: &mut State, what: What| {
        let event = Event { seq: state.seq + 1, at: AT, what };
        fold(state, &event).is_ok()
    };
    let mut open = state();
    assert!(!run(&mut open, What::Unpaused { by: by() }));
    assert!(!run(&mut open, What::Cancelled));
    assert!(!run(&mut open, What::RolledBack));
    assert!(!run(&mut open, What::Completed));
    assert!(run(&mut open, What::RunResumed { token: 4, by: by(), terms: terms.clone() }));
    assert!(!run(&mut open, What::RunResumed { token: 3, by: by(), terms }), "an older process");
    assert!(run(&mut open, What::Paused { by: by() }));
    assert!(!run(&mut open, What::Paused { by: by() }));
    assert!(run(&mut open, What::CancelRequested { by: by() }));
    assert!(!run(&mut open, What::CancelRequested { by: by() }));
    let back = What::RollbackRequested { to: None, parallel: 1, failed: None, by: by() };
    assert!(run(&mut open, back.clone()));
    assert!(!open.paused && !open.cancelling);
    assert!(run(&mut open, What::RolledBack));
    assert!(!run(&mut open, What::RolledBack));
    assert!(!run(&mut open, back));
    // Out of order, and a step that is not there.
    let stray = Event { seq: open.seq + 2, at: AT, what: What::Completed };
    assert!(matches!(fold(&mut open, &stray), Err(Illegal::OutOfOrder { .. })));
    assert!(matches!(happens(&mut open, "z", StepEvent::SoakPassed), Err(Illegal::NoSuchStep { .. })));
}
