//! Bugs that the simulation and a close reading found, each as the shortest run that shows it.

use std::collections::BTreeMap;
use std::sync::Arc;

use runner::plan::RunId;
use runner::plan::recorded::{Compensate, OnFailure};
use runner::saga::{
    Answer, Ask, Command, Course, CutCause, Direction, Event, FailureClass, Moment, Outcome, Refusal, Reply,
    Session, Settlement, Stamp, Standing, Start, State, Status, StepEvent, Terms, Trace, Verdict, What,
    advance, command, decide, fold, held as held_by, open, receive, standing, unsaved,
};

use super::plans::{Case, Kind, case, handover, id, step};

/// A driver by hand: every answer is given by the test.
struct Hand {
    state: State,
    session: Session,
    now: Moment,
    started: Vec<Start>,
    events: Vec<What>,
    opened: Event,
}

impl Hand {
    fn new(case: &Case) -> Self {
        let at = Stamp { wall_ms: 0, boot: 1, up_ms: 1_000 };
        let run = RunId::new(case.plan.name.clone(), 1);
        let what = What::RunOpened { run, definition: Arc::new(case.plan.clone()), by: String::new() };
        let opened = Event { seq: 1, at, what };
        let state = open(&opened).unwrap();
        let now = Moment { at, entropy: 3 };
        let (started, events) = (Vec::new(), Vec::new());
        let mut hand = Self { state, session: Session::default(), now, started, events, opened };
        hand.resume(1);
        hand
    }

    fn take(&mut self, received: Vec<What>) {
        let next = advance(&mut self.state, &mut self.session, received, &self.now).unwrap();
        self.events.extend(next.append.into_iter().map(|event| event.what));
        self.started.extend(next.start);
    }

    fn try_wish(&mut self, wish: &Command) -> Result<(), Refusal> {
        let events = command(&self.state, wish, "anna")?;
        self.take(events);
        Ok(())
    }

    fn wish(&mut self, wish: &Command) {
        self.try_wish(wish).unwrap();
    }

    fn resume(&mut self, token: u64) {
        let terms = Terms { forward: true, fresh_budget: true, assume_yes: false };
        self.wish(&Command::Resume { token, terms });
    }

    fn rollback(&mut self, to: Option<usize>) {
        self.wish(&Command::Rollback { to: to.map(id), parallel: 1 });
    }

    /// A new process: the session is lost.
    fn crash(&mut self, token: u64) {
        self.session = Session::default();
        self.started.clear();
        self.resume(token);
    }

    fn pass(&mut self, ms: u64) {
        self.now.at.up_ms += ms;
        self.now.at.wall_ms += ms as i64;
    }

    /// The ask in flight for which this is true, and after how long it may start.
    fn asked(&mut self, which: impl Fn(&Ask) -> bool) -> Start {
        let at = self.started.iter().position(|start| which(&start.ask));
        let at = at.unwrap_or_else(|| panic!("not in flight; there are {:?}", self.started));
        self.started.remove(at)
    }

    fn answer(&mut self, which: impl Fn(&Ask) -> bool, reply: Reply) {
        let start = self.asked(which);
        self.pass(start.after_ms);
        let events = receive(&self.state, &mut self.session, &start.ask, reply, &self.now);
        self.take(events);
    }

    fn act(&mut self, place: usize, outcome: Outcome) {
        self.answer(|ask| matches!(ask, Ask::Act { step, .. } if *step == id(place)), Reply::Ended(outcome));
    }

    fn look(&mut self, which: impl Fn(&Ask) -> bool, verdict: Verdict) {
        self.answer(which, Reply::Looked(vec![Answer::new(verdict, "")]));
    }

    fn over(&mut self) {
        self.answer(|ask| matches!(ask, Ask::Settle { .. }), Reply::Settled(Settlement::Over));
    }

    /// Lets the wake time come.
    fn wake(&mut self) -> u64 {
        let wake = decide(&self.state, &self.session, &self.now).wake_ms;
        let wake = wake.expect("it waits for a time");
        self.pass(wake);
        self.take(Vec::new());
        wake
    }

    fn status(&self, place: usize) -> &Status {
        &self.state.steps[place].status
    }

    fn acts(&self) -> usize {
        self.started.iter().filter(|start| matches!(start.ask, Ask::Act { .. })).count()
    }
}

fn acted() -> Outcome {
    Outcome::Acted { outputs: serde_json::Map::new(), trace: Trace::default() }
}

fn cut(cause: CutCause) -> Outcome {
    Outcome::Cut { cause, message: "lost".to_owned(), trace: Trace::default() }
}

fn failed(class: FailureClass) -> Outcome {
    Outcome::Failed { class, message: "no".to_owned(), trace: Trace::default() }
}

fn chain(count: usize) -> Case {
    case((0..count).map(|p| if p == 0 { step(p, &[]) } else { step(p, &[p - 1]) }).collect(), 4)
}

#[test]
fn a_cancel_after_a_rollback_to_a_step_closes_the_run() {
    let mut hand = Hand::new(&chain(2));
    hand.act(0, acted());
    hand.act(1, acted());
    hand.rollback(Some(0));
    hand.act(1, acted());
    assert_eq!(standing(&hand.state), Standing::Resting);
    hand.wish(&Command::Cancel);
    assert_eq!(standing(&hand.state), Standing::Cancelled);
}

#[test]
fn an_idempotent_step_that_is_cut_off_every_time_is_not_tried_for_ever() {
    let mut case = chain(1);
    case.plan.steps[0].idempotent = true;
    let mut hand = Hand::new(&case);
    let mut waited = 0;
    for turn in 1..=5 {
        hand.act(0, cut(CutCause::Connection));
        hand.over();
        if turn < 5 && hand.acts() == 0 {
            waited += hand.wake();
        }
    }
    assert!(matches!(hand.status(0), Status::Failed { .. }), "{:?}", hand.status(0));
    assert!(waited > 0, "it was tried again at once every time");
}

#[test]
fn a_compensation_that_is_cut_off_every_time_ends_with_a_person() {
    let mut hand = Hand::new(&chain(1));
    hand.act(0, acted());
    hand.rollback(None);
    let mut waited = 0;
    for turn in 1..=5 {
        hand.act(0, cut(CutCause::Timeout));
        hand.over();
        if turn < 5 && hand.acts() == 0 {
            waited += hand.wake();
        }
    }
    assert_eq!(standing(&hand.state), Standing::NeedsAttention { steps: vec![id(0)] });
    assert!(waited > 0, "it was tried again at once every time");
}

#[test]
fn being_stopped_by_a_person_is_no_fault_of_the_step() {
    let mut case = chain(1);
    case.plan.steps[0].probe = Some(super::plans::operation("command"));
    let mut hand = Hand::new(&case);
    hand.look(|ask| matches!(ask, Ask::Probe(_)), Verdict::Absent);
    for _ in 0..9 {
        hand.act(0, cut(CutCause::Stopped));
        hand.over();
        hand.look(|ask| matches!(ask, Ask::SettleProbe(_)), Verdict::Absent);
    }
    assert!(matches!(hand.status(0), Status::Running { .. }));
}

#[test]
fn going_back_has_a_retry_budget_of_its_own() {
    let mut case = chain(1);
    case.plan.steps[0].retry.attempts = 2;
    let mut hand = Hand::new(&case);
    hand.act(0, failed(FailureClass::Transient));
    hand.wake();
    hand.act(0, failed(FailureClass::Transient));
    assert!(matches!(hand.status(0), Status::Failed { .. }));
    hand.rollback(None);
    hand.act(0, failed(FailureClass::Transient));
    assert!(matches!(hand.status(0), Status::CompensationRetrying { .. }), "{:?}", hand.status(0));
}

#[test]
fn steps_that_only_verify_take_a_place_in_flight() {
    let mut case = case((0..5).map(|p| step(p, &[])).collect(), 2);
    (0..5).for_each(|place| case.make(place, Kind::VerifyOnly));
    let hand = Hand::new(&case);
    assert_eq!(hand.started.len(), 2);
}

#[test]
fn a_resource_that_nobody_will_free_fails_the_step_that_wants_it() {
    let mut hand = Hand::new(&handover(false));
    hand.wish(&Command::Skip { step: id(0), note: String::new() });
    hand.look(|ask| *ask == Ask::Probe(id(1)), Verdict::Absent);
    assert_eq!(standing(&hand.state), Standing::Halted { steps: vec![id(1)] });
}

#[test]
fn where_a_check_can_see_the_old_owner_gone_the_step_waits_for_that() {
    let mut hand = Hand::new(&handover(true));
    hand.wish(&Command::Skip { step: id(0), note: "stopped by hand".to_owned() });
    hand.look(|ask| *ask == Ask::Probe(id(1)), Verdict::Absent);
    let gone = |ask: &Ask| matches!(ask, Ask::Gone { .. });
    hand.look(gone, Verdict::Absent);
    assert!(matches!(hand.status(1), Status::Pending));
    hand.look(gone, Verdict::Holds);
    assert!(matches!(hand.status(1), Status::Running { .. }));
    assert_eq!(hand.state.holders["r"].iter().collect::<Vec<_>>(), ["new"]);
}

#[test]
fn two_that_want_one_resource_do_not_start_in_one_pass() {
    let mut case = case(vec![step(0, &[]), step(1, &[])], 4);
    case.plan.steps[0].takes = BTreeMap::from([("r".to_owned(), "old".to_owned())]);
    case.plan.steps[1].takes = BTreeMap::from([("r".to_owned(), "new".to_owned())]);
    case.plan.resources = handover(false).plan.resources;
    case.plan.resources.get_mut("r").unwrap().held_at_start = None;
    let hand = Hand::new(&case);
    assert_eq!(hand.acts(), 1);
    assert_eq!(hand.state.holders["r"].len(), 1);
}

#[test]
fn what_another_run_holds_is_waited_for_and_said_once() {
    let mut case = chain(2);
    case.plan.steps[1].takes = BTreeMap::from([("r".to_owned(), "new".to_owned())]);
    case.plan.resources = handover(false).plan.resources;
    case.plan.resources.get_mut("r").unwrap().held_at_start = None;
    let mut hand = Hand::new(&case);
    let told = |hand: &Hand, run: &RunId| {
        let tells = |what: &&What| matches!(what, What::Step { is: StepEvent::HeldElsewhere { by_run, .. }, .. } if by_run == run);
        hand.events.iter().filter(tells).count()
    };
    // Another run of the same plan counts like any other, and so does an owner of the same name.
    for number in [7, 8] {
        let other = RunId::new(case.plan.name.clone(), number);
        let held = BTreeMap::from([(other.clone(), "new".to_owned())]);
        hand.session.elsewhere = BTreeMap::from([("r".to_owned(), held)]);
        match number {
            7 => hand.act(0, acted()),
            _ => hand.take(Vec::new()),
        }
        hand.take(Vec::new());
        assert!(matches!(hand.status(1), Status::Pending), "{:?}", hand.status(1));
        assert_eq!(told(&hand, &other), 1);
        assert!(held_by(&hand.state).is_empty());
    }
    hand.session.elsewhere.clear();
    hand.take(Vec::new());
    assert!(matches!(hand.status(1), Status::Running { .. }), "{:?}", hand.status(1));
    assert_eq!(held_by(&hand.state), BTreeMap::from([("r".to_owned(), "new".to_owned())]));
    // What is over holds nothing.
    hand.act(1, acted());
    assert_eq!(standing(&hand.state), Standing::Complete);
    assert!(held_by(&hand.state).is_empty());
}

#[test]
fn apply_again_in_the_same_process_cuts_nothing_off() {
    let mut hand = Hand::new(&chain(1));
    hand.resume(1);
    assert!(matches!(hand.status(0), Status::Running { attempt: 1 }));
    hand.act(0, acted());
    assert_eq!(standing(&hand.state), Standing::Complete);
}

#[test]
fn a_step_that_failed_into_a_rollback_is_not_tried_again_after_a_crash() {
    let mut case = case(vec![step(0, &[]), step(1, &[])], 2);
    case.plan.steps[0].on_failure = OnFailure::Rollback;
    let mut hand = Hand::new(&case);
    // The other step is still in flight, so the rollback has not been asked for when the process dies.
    hand.act(0, failed(FailureClass::Permanent));
    assert_eq!(hand.state.course, Course::Forward);
    hand.crash(2);
    hand.over();
    // It has no probe: a person says what became of it, and then the rollback begins.
    hand.wish(&Command::Resolve { step: id(1), done: false, outputs: serde_json::Map::new() });
    assert!(matches!(hand.state.course, Course::Back(_)), "{:?}", hand.state.course);
}

#[test]
fn an_unfinished_rollback_is_not_narrowed() {
    // Two branches behind one step.
    let steps = vec![step(0, &[]), step(1, &[0]), step(2, &[1]), step(3, &[0]), step(4, &[3])];
    let mut hand = Hand::new(&case(steps, 4));
    for place in [0, 1, 3, 2, 4] {
        hand.act(place, acted());
    }
    hand.rollback(Some(1));
    let refused = hand.try_wish(&Command::Rollback { to: Some(id(3)), parallel: 1 });
    assert!(matches!(refused, Err(Refusal::RunIs { .. })), "{refused:?}");
    // More is always possible.
    hand.rollback(Some(0));
    hand.rollback(None);
}

#[test]
fn a_look_from_before_a_rollback_says_nothing_after_it() {
    let mut case = chain(2);
    case.make(1, Kind::Probed);
    let mut hand = Hand::new(&case);
    hand.act(0, acted());
    hand.look(|ask| *ask == Ask::Probe(id(1)), Verdict::Absent);
    hand.act(1, acted());
    // `verify` is being looked at, slowly, when the step is undone and done again.
    let slow = hand.asked(|ask| *ask == Ask::Verify(id(1)));
    hand.rollback(Some(0));
    hand.act(1, acted());
    hand.resume(1);
    hand.look(|ask| *ask == Ask::Probe(id(1)), Verdict::Absent);
    hand.act(1, acted());
    let reply = Reply::Looked(vec![Answer::new(Verdict::Holds, "long ago")]);
    let events = receive(&hand.state, &mut hand.session, &slow.ask, reply, &hand.now);
    hand.take(events);
    assert!(matches!(hand.status(1), Status::Verifying(_)), "{:?}", hand.status(1));
    hand.look(|ask| *ask == Ask::Verify(id(1)), Verdict::Holds);
    assert_eq!(standing(&hand.state), Standing::Complete);
}

#[test]
fn a_soak_does_not_inherit_the_samples_of_one_that_was_undone() {
    let mut case = chain(2);
    case.make(1, Kind::Soak);
    let mut hand = Hand::new(&case);
    hand.act(0, acted());
    let good = || Reply::Looked(vec![Answer::new(Verdict::Holds, ""); 2]);
    hand.answer(|ask| *ask == Ask::Sample(id(1)), good());
    assert_eq!(hand.session.tails[&id(1)].good, 1);
    hand.rollback(Some(0));
    hand.resume(1);
    assert!(matches!(hand.status(1), Status::Soaking(_)));
    assert!(unsaved(&hand.state, &mut hand.session).is_empty());
}

#[test]
fn a_compensation_that_needs_a_person_does_not_hold_up_the_others() {
    let mut hand = Hand::new(&case(vec![step(0, &[]), step(1, &[])], 2));
    hand.act(0, acted());
    hand.act(1, acted());
    hand.rollback(None);
    hand.act(1, cut(CutCause::Connection));
    while hand.state.steps[1].needs_attention().is_none() {
        let unproved = Settlement::Unproved { reason: "the host is gone".to_owned() };
        hand.answer(|ask| matches!(ask, Ask::Settle { .. }), Reply::Settled(unproved));
    }
    hand.act(0, acted());
    assert!(matches!(hand.status(0), Status::Compensated));
    assert_eq!(standing(&hand.state), Standing::NeedsAttention { steps: vec![id(1)] });
}

#[test]
fn a_closed_run_stays_as_it_is() {
    let mut case = case(vec![step(0, &[]), step(1, &[])], 2);
    case.make(1, Kind::Probed);
    let mut hand = Hand::new(&case);
    hand.act(0, cut(CutCause::Crash));
    hand.over();
    hand.wish(&Command::Cancel);
    // It needs attention, and a late answer or a new process changes nothing of that.
    assert_eq!(standing(&hand.state), Standing::NeedsAttention { steps: vec![id(0)] });
    let seq = hand.state.seq;
    hand.look(|ask| *ask == Ask::Probe(id(1)), Verdict::Absent);
    assert_eq!(hand.state.seq, seq);
    hand.crash(2);
    assert_eq!(standing(&hand.state), Standing::NeedsAttention { steps: vec![id(0)] });
}

#[test]
fn a_rejection_whose_second_half_was_lost_still_fails_the_step() {
    let mut case = chain(1);
    case.make(0, Kind::Gated);
    let mut hand = Hand::new(&case);
    let evidence = Reply::Evidence { question: "go on?".to_owned(), evidence: Vec::new() };
    hand.answer(|ask| matches!(ask, Ask::Evidence(_)), evidence);
    let both = command(&hand.state, &Command::Reject { step: id(0), note: String::new() }, "anna").unwrap();
    let event = Event { seq: hand.state.seq + 1, at: hand.now.at, what: both[0].clone() };
    fold(&mut hand.state, &event).unwrap();
    hand.crash(2);
    assert_eq!(standing(&hand.state), Standing::Halted { steps: vec![id(0)] });
}

#[test]
fn a_failure_whose_second_half_was_lost_is_still_the_last_one() {
    for back in [false, true] {
        let mut hand = Hand::new(&chain(1));
        if back {
            hand.act(0, acted());
            hand.rollback(None);
        }
        let start = hand.asked(|ask| matches!(ask, Ask::Act { .. }));
        let reply = Reply::Ended(failed(FailureClass::Transient));
        let both = receive(&hand.state, &mut hand.session, &start.ask, reply, &hand.now);
        assert_eq!(both.len(), 2);
        let event = Event { seq: hand.state.seq + 1, at: hand.now.at, what: both[0].clone() };
        fold(&mut hand.state, &event).unwrap();
        hand.session = Session::default();
        let terms = Terms { forward: true, fresh_budget: false, assume_yes: false };
        hand.wish(&Command::Resume { token: 2, terms });
        assert_eq!(hand.acts(), 0);
        let steps = vec![id(0)];
        let stands = if back { Standing::NeedsAttention { steps } } else { Standing::Halted { steps } };
        assert_eq!(standing(&hand.state), stands);
    }
}

#[test]
fn a_failure_stops_what_would_start_in_the_same_breath() {
    // A soak fails in the pass in which a retry is due.
    let mut case = case(vec![step(0, &[]), step(1, &[])], 2);
    case.make(1, Kind::Soak);
    case.plan.steps[1].soak.as_mut().unwrap().max_consecutive_failures = 0;
    case.plan.steps[0].retry.attempts = 2;
    case.plan.steps[0].retry.max_backoff_ms = 0;
    let mut hand = Hand::new(&case);
    let sample = hand.asked(|ask| matches!(ask, Ask::Sample(_)));
    let act = hand.asked(|ask| matches!(ask, Ask::Act { .. }));
    let bad = Reply::Looked(vec![Answer::new(Verdict::Absent, "")]);
    let mut events = receive(
        &hand.state,
        &mut hand.session,
        &act.ask,
        Reply::Ended(failed(FailureClass::Transient)),
        &hand.now,
    );
    events.extend(receive(&hand.state, &mut hand.session, &sample.ask, bad, &hand.now));
    hand.take(events);
    assert_eq!(hand.state.steps[0].attempts, 1);
    assert_eq!(standing(&hand.state), Standing::Halted { steps: vec![id(1)] });
}

#[test]
fn a_person_may_go_on_without_the_way_back() {
    let mut case = chain(1);
    case.make(0, Kind::Soak);
    let mut hand = Hand::new(&case);
    let lost = vec![Answer::new(Verdict::Holds, ""), Answer::new(Verdict::Absent, "")];
    hand.answer(|ask| matches!(ask, Ask::Sample(_)), Reply::Looked(lost));
    assert!(matches!(hand.status(0), Status::Soaking(soak) if soak.ready_lost.is_some()));
    hand.wish(&Command::Approve { step: id(0), note: String::new() });
    assert!(matches!(hand.status(0), Status::Soaking(soak) if soak.ready_lost.is_none()));
}

#[test]
fn what_the_run_has_touched_cannot_be_amended_away() {
    let mut hand = Hand::new(&chain(2));
    hand.act(0, acted());
    let mut less = (*hand.state.definition).clone();
    less.steps.remove(0);
    let amend = Command::Amend { definition: Arc::new(less), changes: Vec::new() };
    assert!(matches!(hand.try_wish(&amend), Err(Refusal::RunIs { .. })));
}

#[test]
fn a_rollback_does_not_wait_for_an_owner_that_nobody_will_end() {
    // The new owner was there when its step came: not ours, and not ended by this rollback.
    let mut hand = Hand::new(&handover(false));
    hand.look(|ask| *ask == Ask::Probe(id(0)), Verdict::Absent);
    hand.act(0, acted());
    hand.look(|ask| *ask == Ask::Probe(id(1)), Verdict::Holds);
    assert_eq!(standing(&hand.state), Standing::Complete);
    hand.rollback(None);
    assert_eq!(standing(&hand.state), Standing::NeedsAttention { steps: vec![id(0)] });
}

#[test]
fn every_event_of_the_hand_is_replayed_to_the_same_state() {
    let mut case = chain(3);
    case.plan.steps[1].compensate = Compensate::Nothing;
    let mut hand = Hand::new(&case);
    for place in 0..3 {
        hand.act(place, acted());
    }
    hand.rollback(None);
    hand.act(2, acted());
    let mut state = open(&hand.opened).unwrap();
    for (at, what) in hand.events.iter().enumerate() {
        fold(&mut state, &Event { seq: at as u64 + 2, at: hand.opened.at, what: what.clone() }).unwrap();
    }
    let undone = hand.events.iter().filter(|what| {
        matches!(what, What::Step { is: StepEvent::Started { direction: Direction::Compensation, .. }, .. })
    });
    assert_eq!(undone.count(), 2, "what has nothing to undo is not started");
    assert_eq!(state.steps.len(), hand.state.steps.len());
    assert!(state.steps.iter().zip(&hand.state.steps).all(|(a, b)| a.status.word() == b.status.word()));
}

#[test]
fn at_the_door_one_thing_comes_after_the_other() {
    let mut case = handover(true);
    case.make(0, Kind::Probed);
    case.make(1, Kind::Gated);
    let last = &mut case.plan.steps[1];
    last.when = Some(serde_json::Value::Bool(true));
    last.forward = Some(super::plans::operation("file"));
    let mut hand = Hand::new(&case);
    let only = |hand: &Hand, ask: Ask| {
        let all: Vec<&Ask> = hand.started.iter().map(|start| &start.ask).collect();
        assert_eq!(all, [&ask]);
    };
    // needs: nothing of it is looked at before the step it needs is done.
    only(&hand, Ask::Probe(id(0)));
    hand.look(|_| true, Verdict::Absent);
    hand.act(0, acted());
    only(&hand, Ask::Verify(id(0)));
    hand.look(|_| true, Verdict::Holds);
    // `when`, the probe, the approval with its evidence before and after.
    only(&hand, Ask::When(id(1)));
    hand.answer(|_| true, Reply::When(Ok(true)));
    only(&hand, Ask::Probe(id(1)));
    hand.look(|_| true, Verdict::Absent);
    let evidence = || Reply::Evidence { question: "go on?".to_owned(), evidence: Vec::new() };
    only(&hand, Ask::Evidence(id(1)));
    hand.answer(|_| true, evidence());
    assert!(hand.started.is_empty() && matches!(hand.status(1), Status::AwaitingApproval));
    hand.pass(59_000);
    hand.wish(&Command::Approve { step: id(1), note: String::new() });
    only(&hand, Ask::Evidence(id(1)));
    hand.answer(|_| true, evidence());
    // The old owner has to be gone.
    let gone = Ask::Gone { step: id(1), resource: "r".to_owned(), owner: "old".to_owned() };
    only(&hand, gone.clone());
    hand.look(|_| true, Verdict::Absent);
    only(&hand, gone);
    hand.look(|_| true, Verdict::Holds);
    // More than a minute has passed since the probe.
    only(&hand, Ask::Probe(id(1)));
    hand.look(|_| true, Verdict::Partial);
    if runner::saga::takes_pre_image("file") {
        only(&hand, Ask::PreImage(id(1)));
        hand.answer(|_| true, Reply::PreImage(Ok(serde_json::Value::Null)));
    }
    only(&hand, Ask::Act { step: id(1), direction: Direction::Forward, attempt: 1 });
}
