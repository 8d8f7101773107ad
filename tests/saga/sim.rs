//! Drives the core exactly as a driver would: a journal of JSON lines, asks answered in any order, delays in
//! virtual time, crashes at any point, people who interfere, and a model world that has real effects.

use std::sync::Arc;

use runner::plan::recorded::Step;
use runner::plan::{RunId, StepId};
use runner::saga::{
    Advance, Answer, Ask, Command, Course, CutCause, Direction, Event, Evidence, FailureClass, GateState,
    Moment, Outcome, Reply, Session, Settlement, Stamp, Standing, State, Status, StepEvent, Terms, Trace,
    Verdict, What, advance, command, decide, fold, open, questions, reached, receive, standing, unsaved,
};

use super::check::Check;
use super::choose::Choose;
use super::plans::Case;
use super::world::{Fate, Level, World};

const DAY_MS: u64 = 86_400_000;

pub(crate) struct Sim<'a> {
    case: &'a Case,
    choose: &'a mut dyn Choose,
    journal: Vec<String>,
    state: State,
    /// What is folded from the journal as it was read back.
    shadow: State,
    session: Session,
    at: Stamp,
    world: World,
    /// What was started and has not answered: when it is due, and what.
    flight: Vec<(u64, Ask)>,
    wake: Option<u64>,
    /// When something lapses that waits for a person.
    lapse: Option<u64>,
    token: u64,
    pub(crate) check: Check,
    /// Whether people and crashes interfere.
    meddling: bool,
    /// Compares and round-trips the whole state after every event, not only at crashes and ends.
    thorough: bool,
    /// A step needed attention, so more may be in flight than the plan says.
    loosened: bool,
    most_back: usize,
    meddled: u32,
    halts: u32,
    gone_looks: u32,
    log: Vec<String>,
}

fn moment(at: Stamp) -> Moment {
    Moment { at, entropy: at.up_ms ^ 0x5EED }
}

impl<'a> Sim<'a> {
    pub(crate) fn new(case: &'a Case, choose: &'a mut dyn Choose, meddling: bool, thorough: bool) -> Self {
        let at = Stamp { wall_ms: 1_800_000_000_000, boot: 1, up_ms: 5_000 };
        let definition = Arc::new(case.plan.clone());
        let run = RunId::new(case.plan.name.clone(), 1);
        let event = Event { seq: 1, at, what: What::RunOpened { run, definition, by: "anna".to_owned() } };
        let state = open(&event).expect("it opens the run");
        let mut check = Check::new(&case.plan);
        check.event(&case.plan, &event);
        let journal = vec![serde_json::to_string(&event).expect("an event is JSON")];
        let mut sim = Self {
            world: World::new(&case.plan, &case.satisfied),
            shadow: state.clone(),
            case,
            choose,
            journal,
            state,
            session: Session::default(),
            at,
            flight: Vec::new(),
            wake: None,
            lapse: None,
            token: 0,
            check,
            meddling,
            thorough,
            loosened: false,
            most_back: 1,
            meddled: 0,
            halts: 0,
            gone_looks: 0,
            log: Vec::new(),
        };
        sim.resume(true, true);
        sim
    }

    fn say(&mut self, text: impl FnOnce() -> String) {
        if self.thorough {
            self.log.push(text());
        }
    }

    /// Runs to the end of everything: forward, whatever people want, and back.
    pub(crate) fn run(mut self) -> Check {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.go_to_the_end()));
        if let Err(panic) = outcome {
            eprintln!("--- {}", self.choose.name());
            for line in self.journal.iter().skip(1).take(400) {
                eprintln!("{line}");
            }
            for line in &self.log {
                eprintln!("{line}");
            }
            let steps = self.state.definition.steps.iter().zip(&self.state.steps);
            for (step, found) in steps.take(12) {
                eprintln!("{}: {:?} world {:?}", step.id, found.status, self.world.level[&step.id]);
            }
            eprintln!("{:?} end {:?} in flight {:?}", self.state.course, self.state.end, self.flight);
            std::panic::resume_unwind(panic);
        }
        self.check
    }

    fn go_to_the_end(&mut self) {
        let mut rounds = 0;
        for turn in 0.. {
            assert!(turn < 20_000, "never_ends: {:?}", standing(&self.state));
            if self.session.stopping && !self.flight.iter().any(|(_, a)| matches!(a, Ask::Act { .. })) {
                self.stopped();
                continue;
            }
            if self.meddling && self.meddle() {
                self.meddled += 1;
                // Whoever begins anew for ever never lets anything come to an end.
                self.meddling = self.meddled < 100;
                continue;
            }
            if let Some(which) = self.next_due() {
                let (_, ask) = self.flight.remove(which);
                self.answer(&ask);
                continue;
            }
            if let Some(wake) = self.wake.take() {
                self.pass_to(wake);
                self.step(Vec::new());
                continue;
            }
            rounds += 1;
            if rounds > 60 + 4 * self.case.plan.steps.len() {
                self.meddling = false;
            }
            assert!(
                rounds < 200 + 10 * self.case.plan.steps.len(),
                "never_ends: {:?}",
                standing(&self.state)
            );
            if !self.at_rest() {
                break;
            }
        }
        self.whole();
    }

    fn pass_to(&mut self, up_ms: u64) {
        let by = up_ms.saturating_sub(self.at.up_ms);
        assert!(by < 30 * DAY_MS, "waits too long");
        self.at.up_ms += by;
        self.at.wall_ms += by as i64;
    }

    /// The next ask to be answered: any one that is due, or else the first that will be.
    fn next_due(&mut self) -> Option<usize> {
        let first = self.flight.iter().map(|(due, _)| *due).min()?;
        if first > self.at.up_ms {
            if let Some(wake) = self.wake
                && wake < first
            {
                return None;
            }
            self.pass_to(first);
        }
        let due: Vec<usize> = (0..self.flight.len()).filter(|&i| self.flight[i].0 <= self.at.up_ms).collect();
        let n = due.len().min(4);
        Some(due[self.choose.pick(n, 1)])
    }

    fn plan_step(&self, id: &StepId) -> &'a Step {
        self.case.plan.step(id).expect("the plan has it")
    }

    /// What the world answers to an ask; effects happen here.
    fn answer(&mut self, ask: &Ask) {
        self.pass_to(self.at.up_ms + 7);
        let id = ask.step().clone();
        let reply = match ask {
            Ask::When(_) => match self.choose.pick(2, 1) {
                0 => Reply::When(Ok(!self.case.unwanted.contains(&id))),
                _ => Reply::When(Err("no such output".to_owned())),
            },
            Ask::Probe(_) | Ask::SettleProbe(_) => {
                let truth = self.truth(&id);
                Reply::Looked(vec![self.look(truth, &[Verdict::Unknown])])
            }
            Ask::Evidence(_) => {
                let answer = self.look(Verdict::Holds, &[Verdict::Absent, Verdict::Unknown]);
                let evidence = vec![Evidence { check: "the site answers".to_owned(), answer }];
                Reply::Evidence { question: "go on?".to_owned(), evidence }
            }
            Ask::Gone { resource, owner, .. } => {
                self.gone_looks += 1;
                if self.gone_looks.is_multiple_of(50) && self.state.course == Course::Forward {
                    // The step that would end it was left out: somebody does it by hand.
                    self.world.owners.entry(resource.clone()).or_default().remove(owner);
                }
                let alive = self.world.owners.get(resource).is_some_and(|o| o.contains(owner));
                let truth = if alive { Verdict::Absent } else { Verdict::Holds };
                Reply::Looked(vec![self.look(truth, &[Verdict::Unknown])])
            }
            Ask::PreImage(_) => match self.choose.pick(2, 1) {
                0 => Reply::PreImage(Ok(serde_json::json!({ "was": 1 }))),
                _ => Reply::PreImage(Err("no connection".to_owned())),
            },
            Ask::Act { direction, attempt, .. } => Reply::Ended(self.act(&id, *direction, *attempt)),
            Ask::Settle { direction, attempt, .. } => Reply::Settled(self.settle(&id, *direction, *attempt)),
            Ask::Verify(_) => {
                let step = self.plan_step(&id);
                let well = self.truth(&id) == Verdict::Holds || step.forward.is_none();
                let truth = if self.world.unwell.contains(&id) { Verdict::Absent } else { Verdict::Holds };
                let truth = if well { truth } else { Verdict::Partial };
                let answer = match self.choose.pick(4, 1) {
                    0 => Answer::new(truth, ""),
                    1 => Answer::new(Verdict::Absent, "not yet"),
                    2 => Answer::new(Verdict::Unknown, "no connection"),
                    _ => {
                        self.world.unwell.insert(id.clone());
                        Answer::new(Verdict::Absent, "never")
                    }
                };
                Reply::Looked(vec![answer; step.verify.len()])
            }
            Ask::Undone(_) => {
                let step = self.plan_step(&id);
                let answer = match self.choose.pick(3, 1) {
                    0 if self.world.not_undone.contains(&id) => Answer::new(Verdict::Absent, "never"),
                    0 => Answer::new(Verdict::Holds, ""),
                    1 => Answer::new(Verdict::Unknown, "not yet"),
                    _ => {
                        self.world.not_undone.insert(id.clone());
                        Answer::new(Verdict::Absent, "never")
                    }
                };
                Reply::Looked(vec![answer; step.undone.len()])
            }
            Ask::Sample(_) => {
                let step = self.plan_step(&id);
                let bad = [Verdict::Absent, Verdict::Unknown];
                let mut answers = vec![self.look(Verdict::Holds, &bad); step.verify.len()];
                answers.extend(vec![self.look(Verdict::Holds, &bad); step.rollback_ready.len()]);
                Reply::Looked(answers)
            }
            Ask::Ready(_) => {
                let answer = self.look(Verdict::Holds, &[Verdict::Absent]);
                Reply::Looked(vec![answer; self.plan_step(&id).rollback_ready.len()])
            }
        };
        self.say(|| format!("{ask:?} -> {reply:?}"));
        let now = moment(self.at);
        let events = receive(&self.state, &mut self.session, ask, reply, &now);
        self.step(events);
    }

    fn look(&mut self, truth: Verdict, else_: &[Verdict]) -> Answer {
        match self.choose.pick(1 + else_.len(), 1) {
            0 => Answer::new(truth, ""),
            other => Answer::new(else_[other - 1], "so it seems"),
        }
    }

    fn truth(&self, id: &StepId) -> Verdict {
        match self.world.level[id] {
            Level::None => Verdict::Absent,
            Level::Half => Verdict::Partial,
            Level::Full => Verdict::Holds,
        }
    }

    fn act(&mut self, id: &StepId, direction: Direction, attempt: u32) -> Outcome {
        let step = self.plan_step(id);
        // one_attempt_at_once, in the world itself: no other attempt of the step can still have an effect.
        let loose = self.world.loose.get(id);
        assert!(
            !loose.is_some_and(|(_, _, fate)| matches!(fate, Fate::Alive(_) | Fate::Unprovable)),
            "one_attempt_at_once: {id} {direction} {attempt} runs beside {loose:?}"
        );
        let trace = Trace::default;
        let failed = |class| Outcome::Failed { class, message: "it failed".to_owned(), trace: trace() };
        let stopped = self.session.stopping;
        let cut = |cause| {
            let cause = if stopped { CutCause::Stopped } else { cause };
            Outcome::Cut { cause, message: "nobody knows".to_owned(), trace: trace() }
        };
        let loose = |sim: &mut Self, fate| {
            sim.world.loose.insert(id.clone(), (direction, attempt, fate));
        };
        match self.choose.pick(9, 1) {
            0 => {
                self.world.effect(step, direction, true);
                Outcome::Acted { outputs: serde_json::Map::new(), trace: trace() }
            }
            1 => failed(FailureClass::Transient),
            2 => {
                self.world.effect(step, direction, false);
                failed(FailureClass::Transient)
            }
            3 => {
                self.world.effect(step, direction, false);
                failed(FailureClass::Permanent)
            }
            4 => {
                self.world.effect(step, direction, true);
                loose(self, Fate::Dead);
                cut(CutCause::Timeout)
            }
            5 => {
                loose(self, Fate::Dead);
                cut(CutCause::Connection)
            }
            6 => {
                loose(self, Fate::Alive(2));
                cut(CutCause::Connection)
            }
            7 => {
                self.world.effect(step, direction, true);
                let outcome = Outcome::Acted { outputs: serde_json::Map::new(), trace: trace() };
                loose(self, Fate::Recorded(outcome));
                cut(CutCause::Connection)
            }
            _ => {
                self.world.effect(step, direction, true);
                loose(self, Fate::Unprovable);
                cut(CutCause::Connection)
            }
        }
    }

    fn settle(&mut self, id: &StepId, direction: Direction, attempt: u32) -> Settlement {
        let unproved = || Settlement::Unproved { reason: "the host does not answer".to_owned() };
        if self.choose.pick(2, 1) == 1 {
            return unproved();
        }
        let Some((d, a, fate)) = self.world.loose.get_mut(id) else {
            panic!("settle_what_is_cut: {id} {direction} {attempt} was never cut");
        };
        assert_eq!((*d, *a), (direction, attempt), "settle_what_is_cut: {id}");
        match fate {
            Fate::Unprovable => unproved(),
            Fate::Alive(0) => {
                let step = self.plan_step(id);
                self.world.effect(step, direction, true);
                self.world.loose.remove(id);
                Settlement::Over
            }
            Fate::Alive(looks) => {
                *looks -= 1;
                unproved()
            }
            Fate::Dead => {
                self.world.loose.remove(id);
                Settlement::Over
            }
            Fate::Recorded(outcome) => {
                let outcome = outcome.clone();
                self.world.loose.remove(id);
                Settlement::Ended(outcome)
            }
        }
    }

    /// Folds, decides, appends and starts; or crashes in between.
    fn step(&mut self, received: Vec<What>) {
        let now = moment(self.at);
        let Advance { append, start, wake_ms, lapse_ms, waits_for_run } =
            match advance(&mut self.state, &mut self.session, received, &now) {
                Ok(all) => all,
                Err(illegal) => panic!("legal: {illegal}"),
            };
        // decide_at_rest: once nothing is to be appended, asking again gives the same, and nothing new.
        let again = decide(&self.state, &self.session, &now);
        assert_eq!(again, decide(&self.state, &self.session, &now), "decide_is_deterministic");
        assert!(again.append.is_empty() && again.start.is_empty(), "decide_at_rest: {again:?}");
        assert_eq!((again.wake_ms, again.lapse_ms), (wake_ms, lapse_ms), "decide_at_rest");
        assert!(!waits_for_run, "there is no other run");
        let crash = match self.meddling && !append.is_empty() {
            true => self.choose.pick(append.len() + 2, 1),
            false => 0,
        };
        if crash > 0 {
            // A batch that was torn, for the prefix of every journal is one; all of it, but nothing started.
            self.append(&append[..crash - 1]);
            return self.crash();
        }
        self.append(&append);
        // replay_equals_live (P3): what was read back from the disk folds to the state that goes on.
        assert!(self.shadow == self.state, "replay_equals_live\n{:#?}\n{:#?}", self.shadow, self.state);
        for start in start {
            self.say(|| format!("start {start:?}"));
            self.check.start(&self.case.plan, &start.ask);
            self.flight.push((self.at.up_ms + start.after_ms, start.ask));
        }
        self.bounded();
        self.wake = wake_ms.map(|ms| self.at.up_ms + ms.max(1));
        self.lapse = lapse_ms.map(|ms| self.at.up_ms + ms.max(1));
    }

    fn append(&mut self, events: &[Event]) {
        for event in events {
            let line = serde_json::to_string(event).expect("an event is JSON");
            let read: Event = serde_json::from_str(&line).expect("an event reads back");
            // json_round_trip (section 5): the stored form loses nothing.
            assert_eq!(&read, event, "json_round_trip");
            fold(&mut self.shadow, &read).unwrap_or_else(|illegal| panic!("legal on replay: {illegal}"));
            self.check.event(&self.case.plan, &read);
            if let What::Step { step, is } = &read.what {
                self.seen(step, is);
            }
            self.journal.push(line);
            if self.thorough {
                self.whole();
            }
        }
    }

    /// What an event says about the world is so.
    fn seen(&mut self, id: &StepId, is: &StepEvent) {
        let step = self.plan_step(id);
        match is {
            StepEvent::Verified { .. } if step.forward.is_some() => {
                // done_means_done (P3): the goal holds in the world when the step is called done or satisfied.
                assert_eq!(self.world.level[id], Level::Full, "done_means_done: {id}");
            }
            StepEvent::Compensated { .. } => {
                use runner::plan::recorded::Compensate;
                let left = self.world.level[id] != self.world.start[id];
                let acts = matches!(step.compensate, Compensate::Action(_) | Compensate::Inverse);
                assert!(!(left && acts), "undone_means_undone: {id}");
            }
            StepEvent::AttentionNeeded { .. } | StepEvent::CompensationFailed { .. } => self.loosened = true,
            _ => {}
        }
    }

    /// parallelism_bounded (section 3): no more in flight than the plan says.
    fn bounded(&mut self) {
        let acts = |which| {
            self.flight
                .iter()
                .filter(|(_, a)| matches!(a, Ask::Act { direction, .. } if *direction == which))
                .count()
        };
        let most = self.case.plan.parallelism as usize;
        assert!(acts(Direction::Forward) <= most, "parallelism_bounded: {:?}", self.flight);
        if let Course::Back(back) = &self.state.course {
            // A second request may ask for less at once; what is in flight stays.
            self.most_back = self.most_back.max(back.parallel as usize);
            assert!(acts(Direction::Compensation) <= self.most_back, "parallelism_bounded back");
            return;
        }
        self.most_back = 1;
        let doors =
            self.flight.iter().filter(|(_, a)| matches!(a, Ask::When(_) | Ask::Probe(_) | Ask::PreImage(_)));
        let moving = self.state.steps.iter().filter(|s| {
            matches!(s.status, Status::Running { .. } | Status::Verifying(_) | Status::Interrupted(_))
        });
        let all = doors.count() + moving.count();
        assert!(self.loosened || all <= most, "parallelism_bounded: {all} of {most} in flight");
    }

    /// checkpoint (section 5): the whole state as JSON and back is the state.
    fn whole(&mut self) {
        let text = serde_json::to_string(&self.shadow).expect("a state is JSON");
        let read: State = serde_json::from_str(&text).expect("a state reads back");
        assert!(read.reindexed() == self.shadow, "checkpoint: the state does not read back");
        assert!(self.shadow.clone().reindexed() == self.shadow, "index_is_derived");
    }

    /// The process ends without a word. Attempts in flight go on, end, or had ended.
    fn crash(&mut self) {
        self.say(|| "crash".to_owned());
        for (_, ask) in std::mem::take(&mut self.flight) {
            let Ask::Act { step: id, direction, attempt } = ask else { continue };
            let step = self.plan_step(&id);
            let outcome = Outcome::Acted { outputs: serde_json::Map::new(), trace: Trace::default() };
            let fate = match self.choose.pick(5, 0) {
                0 => {
                    self.world.effect(step, direction, true);
                    Fate::Dead
                }
                1 => Fate::Dead,
                2 => {
                    self.world.effect(step, direction, true);
                    Fate::Recorded(outcome)
                }
                3 => {
                    self.world.effect(step, direction, false);
                    Fate::Dead
                }
                _ => Fate::Alive(1),
            };
            self.world.loose.insert(id, (direction, attempt, fate));
        }
        // An intent that is durable and was never started: that attempt is over, without an effect.
        for (id, known) in &self.check.steps {
            if let Some((direction, attempt)) = known.open {
                let has = self.world.loose.get(id).is_some_and(|(d, a, _)| (*d, *a) == (direction, attempt));
                if !has {
                    self.world.loose.insert(id.clone(), (direction, attempt, Fate::Dead));
                }
            }
        }
        if self.journal.len().is_multiple_of(2) {
            // The machine is rebooted, and its clock set back an hour.
            self.at = Stamp { boot: self.at.boot + 1, up_ms: 3_000, wall_ms: self.at.wall_ms - 3_600_000 };
        }
        self.restart();
        let fresh = self.choose.pick(2, 1) == 0;
        self.resume(true, fresh);
    }

    /// A new process reads the journal.
    fn restart(&mut self) {
        let read = |line: &String| serde_json::from_str::<Event>(line).expect("an event reads back");
        let mut state = open(&read(&self.journal[0])).expect("it opens the run");
        for line in &self.journal[1..] {
            fold(&mut state, &read(line)).unwrap_or_else(|illegal| panic!("legal on replay: {illegal}"));
        }
        assert!(state == self.shadow, "replay_equals_live: after a crash");
        self.whole();
        self.state = state;
        self.session = Session::default();
        self.flight.clear();
        (self.wake, self.lapse) = (None, None);
    }

    fn resume(&mut self, forward: bool, fresh_budget: bool) {
        self.token += 1;
        self.pass_to(self.at.up_ms + 500);
        let terms = Terms { forward, fresh_budget, assume_yes: false };
        let accepted = self.wish(&Command::Resume { token: self.token, terms });
        assert!(accepted, "a resume with a higher token is accepted");
    }

    fn stopped(&mut self) {
        self.session.stopping = false;
        self.flight.clear();
        let tails = unsaved(&self.state, &mut self.session);
        self.session.stopping = true;
        self.step(tails);
        if self.session.stopping {
            self.crash();
        }
    }

    /// A command, if it is accepted.
    fn wish(&mut self, wish: &Command) -> bool {
        match command(&self.state, wish, "anna") {
            Ok(events) => {
                self.say(|| format!("{wish:?}"));
                if let Command::Rollback { to, parallel } = wish
                    && (*parallel == 1 && self.state.course == Course::Forward)
                {
                    let settled = self.flight.is_empty()
                        && self.state.steps.iter().all(|s| !matches!(s.status, Status::Interrupted(_)));
                    self.check.predicted = settled.then(|| self.state.to_undo(to.as_ref()));
                } else if matches!(wish, Command::Rollback { .. }) {
                    self.check.predicted = None;
                }
                self.step(events);
                true
            }
            Err(_) => false,
        }
    }

    /// A person interferes, or the power fails.
    fn meddle(&mut self) -> bool {
        let terms = Terms { forward: true, fresh_budget: true, assume_yes: false };
        let mut wishes = vec![
            Command::Cancel,
            Command::Pause,
            Command::Unpause,
            Command::Rollback { to: None, parallel: 1 },
            // `apply` again, in the process that has the run already.
            Command::Resume { token: self.token, terms },
        ];
        if self.state.steps.len() > 1 {
            wishes.push(Command::Rollback { to: None, parallel: 3 });
        }
        for step in self.case.plan.steps.iter().map(|step| &step.id) {
            let note = String::new;
            if self.state.steps.len() > 1 {
                wishes.push(Command::Rollback { to: Some(step.clone()), parallel: 2 });
            }
            wishes.push(Command::Redo { step: step.clone() });
            if self.state.until.is_none() {
                wishes.push(Command::Until { step: step.clone() });
            }
            wishes.push(Command::Skip { step: step.clone(), note: note() });
            wishes.push(Command::Reject { step: step.clone(), note: note() });
            wishes.push(Command::Approve { step: step.clone(), note: note() });
            wishes.push(Command::Resolve { step: step.clone(), done: true, outputs: serde_json::Map::new() });
        }
        wishes.retain(|wish| command(&self.state, wish, "anna").is_ok());
        if self.state.end.is_some() {
            // What is complete can be done again; what is closed or undone cannot.
            wishes.retain(|wish| matches!(wish, Command::Redo { .. }));
        }
        match self.choose.pick(3 + wishes.len(), 1) {
            0 => return false,
            1 => self.crash(),
            2 => self.session.stopping = true,
            n => {
                match &wishes[n - 3] {
                    Command::Resolve { step, .. } => self.resolve(&step.clone()),
                    wish => self.wish(wish),
                };
            }
        }
        true
    }

    /// A person looks, sees to it that nothing runs any more, and says what is so.
    fn resolve(&mut self, id: &StepId) -> bool {
        self.world.repair();
        let (_, found) = self.state.step(id).expect("the run has it");
        let direction = match &found.status {
            Status::Interrupted(cut) => cut.direction,
            _ => Direction::Compensation,
        };
        if let Some((_, _, Fate::Alive(_))) = self.world.loose.remove(id) {
            let step = self.plan_step(id);
            self.world.effect(step, direction, true);
        }
        let done = match direction {
            Direction::Forward => self.world.level[id] == Level::Full,
            Direction::Compensation => self.world.level[id] == self.world.start[id],
        };
        self.wish(&Command::Resolve { step: id.clone(), done, outputs: serde_json::Map::new() })
    }

    /// Nothing is in flight and nothing to wait for: somebody comes and goes on. False: that was the end.
    fn at_rest(&mut self) -> bool {
        let stands = standing(&self.state);
        self.say(|| format!("at rest: {stands:?}"));
        let forward = self.state.course == Course::Forward;
        match stands {
            Standing::NeedsAttention { .. } if self.state.paused => self.wish(&Command::Unpause),
            Standing::NeedsAttention { steps } if self.state.end.is_none() => self.resolve(&steps[0]),
            Standing::NeedsAttention { .. } | Standing::Cancelled | Standing::Complete => {
                self.world.repair();
                self.wish(&Command::Rollback { to: None, parallel: 1 })
            }
            Standing::RolledBack { .. } => {
                // rollback_restores_world (P4).
                let left = self.world.left_over(&self.case.plan);
                assert!(left.is_empty(), "rollback_restores_world: {left:?} are left");
                false
            }
            Standing::Halted { .. } => {
                self.world.repair();
                self.halts += 1;
                // What fails every time is given up, if it can be.
                if self.halts > 20 {
                    return self.wish(&Command::Rollback { to: None, parallel: 1 });
                }
                self.crash_quietly();
                true
            }
            Standing::Resting => {
                self.crash_quietly();
                true
            }
            Standing::Open if self.state.paused => self.wish(&Command::Unpause),
            Standing::Open if self.state.course == Course::Forward && !self.state.terms.forward => {
                self.crash_quietly();
                true
            }
            Standing::Open if self.state.until.is_some() && forward && questions(&self.state).is_empty() => {
                // until_reached (section 6): it stops there, and whoever comes without it goes on.
                let gone_for_now =
                    self.state.steps.iter().any(|s| matches!(s.status, Status::Interrupted(_)));
                assert!(
                    reached(&self.state).is_some() || gone_for_now,
                    "until_reached: {:?}",
                    self.state.until
                );
                self.crash_quietly();
                true
            }
            Standing::Open => {
                let asked: Vec<StepId> = self
                    .state
                    .definition
                    .steps
                    .iter()
                    .zip(&self.state.steps)
                    .filter(|(_, s)| matches!(s.door.gate, GateState::Asked(_)))
                    .filter(|(_, s)| matches!(s.status, Status::AwaitingApproval))
                    .map(|(s, _)| s.id.clone())
                    .collect();
                // never_stuck (section 4): some end, or something to wait for.
                assert!(self.state.course == Course::Forward && !asked.is_empty(), "never_stuck: {stands:?}");
                if let Some(lapse) = self.lapse.take()
                    && self.meddling
                    && self.choose.pick(2, 1) == 1
                {
                    // Nobody answers for so long that the request expires.
                    self.pass_to(lapse);
                    self.step(Vec::new());
                    return true;
                }
                self.wish(&Command::Approve { step: asked[0].clone(), note: String::new() })
            }
        }
    }

    /// A new process with a new budget.
    fn crash_quietly(&mut self) {
        self.restart();
        self.resume(true, true);
    }
}
