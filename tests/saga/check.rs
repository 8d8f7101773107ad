//! The invariants, each with its name and the promise it proves. They are kept from the events and the model
//! world alone, without asking the state that is being proved.

use std::collections::{BTreeMap, BTreeSet};

use runner::plan::StepId;
use runner::plan::recorded::{Compensate, Definition, OnFailure};
use runner::saga::{Ask, Direction, Event, StepEvent, What};

/// What is known of a step from its events.
#[derive(Debug, Default, Clone)]
pub(crate) struct Known {
    pub(crate) attempts: u32,
    pub(crate) compensations: u32,
    /// An attempt without a known end.
    pub(crate) open: Option<(Direction, u32)>,
    pub(crate) well: bool,
    pub(crate) done: bool,
    pub(crate) owned: bool,
    pub(crate) compensated: bool,
    pub(crate) satisfied: bool,
    pub(crate) gate_open: bool,
    pub(crate) failed: bool,
    /// It is to run again without a look first.
    redone: bool,
    /// Failed attempts in this budget, by direction.
    spent: BTreeMap<Direction, u32>,
    pre_image: bool,
    latest_start: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Check {
    pub(crate) steps: BTreeMap<StepId, Known>,
    /// For each step everything that depends on it, however far.
    after: BTreeMap<StepId, BTreeSet<StepId>>,
    last_wall: i64,
    paused: bool,
    cancelling: bool,
    ended: bool,
    back: Option<Option<StepId>>,
    resting: bool,
    until: Option<StepId>,
    /// `apply` finishes a rollback to a step and goes forward then.
    then_forward: bool,
    /// A full rollback began: the run only goes back.
    only_back: bool,
    /// The order that was predicted for the rollback, as long as nothing disturbs it.
    pub(crate) predicted: Option<Vec<StepId>>,
    undone_in_order: Vec<StepId>,
    started: BTreeSet<(StepId, Direction, u32)>,
    pub(crate) events: u64,
}

macro_rules! hold {
    ($name:literal, $cond:expr, $($arg:tt)+) => {
        assert!($cond, "{}: {}", $name, format!($($arg)+));
    };
}

impl Check {
    pub(crate) fn new(plan: &Definition) -> Self {
        let mut check = Self::default();
        for step in &plan.steps {
            check.steps.insert(step.id.clone(), Known::default());
        }
        for step in &plan.steps {
            let mut after = BTreeSet::new();
            let mut open = vec![&step.id];
            while let Some(id) = open.pop() {
                for other in plan.steps.iter().filter(|s| s.needs.contains(id)) {
                    if after.insert(other.id.clone()) {
                        open.push(&other.id);
                    }
                }
            }
            check.after.insert(step.id.clone(), after);
        }
        check
    }

    fn in_scope(&self, step: &StepId) -> bool {
        match &self.back {
            None => false,
            Some(None) => true,
            Some(Some(to)) => self.after[to].contains(step),
        }
    }

    /// One event has become durable.
    pub(crate) fn event(&mut self, plan: &Definition, event: &Event) {
        self.events += 1;
        // times_monotonic (section 4, Time): event times never go back within a run.
        hold!("times_monotonic", event.at.wall_ms >= self.last_wall, "{event:?}");
        self.last_wall = event.at.wall_ms;
        match &event.what {
            What::RunResumed { terms, .. } => {
                self.until = None;
                for step in self.steps.values_mut() {
                    if terms.fresh_budget {
                        step.spent.clear();
                    }
                }
                let crossed = plan.steps.iter().any(|s| {
                    let known = &self.steps[&s.id];
                    let ours = known.owned && !known.compensated;
                    ours && matches!(s.compensate, Compensate::Irreversible(_))
                });
                let stays = |id: &StepId| {
                    !crossed && plan.step(id).is_some_and(|s| s.on_failure == OnFailure::Rollback)
                };
                if terms.forward && terms.fresh_budget && !self.ended {
                    for (id, step) in &mut self.steps {
                        step.failed &= stays(id);
                    }
                }
                if terms.forward {
                    self.resting = false;
                    self.then_forward = matches!(self.back, Some(Some(_)));
                }
            }
            What::UntilSet { step, .. } => self.until = Some(step.clone()),
            What::Paused { .. } => self.paused = true,
            What::Unpaused { .. } => self.paused = false,
            What::CancelRequested { .. } => self.cancelling = true,
            What::Cancelled => {
                // cancel_settles (section 4): nothing is in flight when the run is closed.
                self.cancelling = false;
                self.ended = true;
            }
            What::RollbackRequested { to, .. } => {
                self.back = Some(to.clone());
                (self.paused, self.cancelling, self.ended, self.resting) = (false, false, false, false);
                self.only_back |= to.is_none();
                self.undone_in_order.clear();
                self.then_forward = false;
                // irreversible_never_crossed (section 4): refused before anything is undone.
                for step in &plan.steps {
                    let ours = self.steps[&step.id].owned && !self.steps[&step.id].compensated;
                    if ours && self.in_scope(&step.id) {
                        hold!(
                            "irreversible_never_crossed",
                            !matches!(step.compensate, Compensate::Irreversible(_)),
                            "{}",
                            step.id
                        );
                    }
                }
            }
            What::RolledBack => {
                // to_undo_predicts (P8): what was said beforehand is what was done.
                if let Some(predicted) = self.predicted.take() {
                    hold!(
                        "to_undo_predicts",
                        predicted == self.undone_in_order,
                        "said {predicted:?}, did {:?}",
                        self.undone_in_order
                    );
                }
                let scope = self.back.clone().expect("a rollback has begun");
                let left: Vec<_> = self
                    .steps
                    .iter()
                    .filter(|(id, s)| self.in_scope(id) && s.owned && !s.compensated)
                    .map(|(id, _)| id)
                    .collect();
                // rollback_is_whole (P4): it ends when everything of ours in its scope is taken back.
                hold!("rollback_is_whole", left.is_empty(), "{left:?} are not undone");
                if let Some(to) = scope {
                    let scope = self.after[&to].clone();
                    for (id, step) in &mut self.steps {
                        if scope.contains(id) || step.compensated {
                            let (attempts, compensations) = (step.attempts, step.compensations);
                            *step = Known { attempts, compensations, ..Known::default() };
                        }
                    }
                    self.resting = !self.then_forward;
                } else {
                    self.ended = true;
                }
                self.back = None;
            }
            What::Completed => {
                self.ended = true;
                // complete_means_complete (P2).
                for (id, step) in &self.steps {
                    hold!("complete_means_complete", step.well, "{id} has not ended well");
                }
            }
            What::RunOpened { .. } | What::PlanAmended { .. } => {}
            What::Step { step, is } => self.step(plan, event, step, is),
        }
    }

    fn step(&mut self, plan: &Definition, event: &Event, id: &StepId, is: &StepEvent) {
        let definition = plan.step(id).expect("the plan has it");
        // closed_is_closed (section 4): nothing happens to the steps of a run that has ended.
        hold!(
            "closed_is_closed",
            !self.ended || matches!(is, StepEvent::Resolved { .. } | StepEvent::Redone { .. }),
            "{id} {is:?} after the end"
        );
        match is {
            StepEvent::Started { direction: Direction::Forward, attempt } => {
                self.may_go_forward(id);
                self.needs_met(plan, id);
                let known = self.steps.get_mut(id).expect("known");
                // done_never_runs_again (P3).
                hold!("done_never_runs_again", !known.well && !known.done, "{id} attempt {attempt}");
                // attempts_never_reused (section 4): one more than the last, for ever.
                hold!("attempts_never_reused", *attempt == known.attempts + 1, "{id} attempt {attempt}");
                // one_attempt_at_once (section 4): the last one is proved over first.
                hold!("one_attempt_at_once", known.open.is_none(), "{id}: {:?} is open", known.open);
                // door_order (section 4): approval before intent.
                hold!("door_order", definition.gate.is_none() || known.gate_open, "{id} has no approval");
                let spent = known.spent.get(&Direction::Forward).copied().unwrap_or(0);
                // retry_budget (section 4, Retries).
                hold!("retry_budget", spent < definition.retry.attempts, "{id} failed {spent} times");
                let comes_back = !matches!(definition.compensate, Compensate::Irreversible(_));
                let takes =
                    definition.forward.as_ref().is_some_and(|f| runner::saga::takes_pre_image(&f.name));
                if takes && comes_back {
                    // pre_image_first (section 4, Ownership).
                    hold!("pre_image_first", known.pre_image, "{id} has no pre-image");
                }
                known.attempts = *attempt;
                (known.owned, known.satisfied) = (true, false);
                known.latest_start = event.seq;
                known.open = Some((Direction::Forward, *attempt));
            }
            StepEvent::Started { direction: Direction::Compensation, attempt } => {
                self.may_go_back(id);
                let known = self.steps.get_mut(id).expect("known");
                hold!("attempts_never_reused", *attempt == known.compensations + 1, "{id} back {attempt}");
                hold!("one_attempt_at_once", known.open.is_none(), "{id}: {:?} is open", known.open);
                let spent = known.spent.get(&Direction::Compensation).copied().unwrap_or(0);
                hold!("retry_budget", spent < definition.retry.attempts, "{id} failed {spent} times back");
                let held = self.paused || self.cancelling || self.ended;
                hold!("nothing_new_after_stop", !held, "{id} starts back");
                known.compensations = *attempt;
                known.open = Some((Direction::Compensation, *attempt));
            }
            StepEvent::Acted { direction, attempt, .. } => {
                let known = self.steps.get_mut(id).expect("known");
                hold!("one_attempt_at_once", known.open == Some((*direction, *attempt)), "{id} {is:?}");
                known.open = None;
            }
            StepEvent::AttemptFailed { direction, attempt, .. } => {
                let known = self.steps.get_mut(id).expect("known");
                if known.open == Some((*direction, *attempt)) {
                    known.open = None;
                } else {
                    hold!("one_attempt_at_once", definition.retry.on_verify, "{id} {is:?}");
                }
                *known.spent.entry(*direction).or_insert(0) += 1;
                if known.spent[direction] >= definition.retry.attempts {
                    self.predicted = None;
                }
            }
            StepEvent::ProvedOver { direction, attempt } => {
                let known = self.steps.get_mut(id).expect("known");
                hold!("one_attempt_at_once", known.open == Some((*direction, *attempt)), "{id} {is:?}");
                known.open = None;
            }
            StepEvent::Resolved { .. } => {
                let known = self.steps.get_mut(id).expect("known");
                known.open = None;
                known.spent.clear();
                self.predicted = None;
            }
            StepEvent::Settled { how, .. } => {
                let known = self.steps.get_mut(id).expect("known");
                let recorded = matches!(how, runner::saga::How::Recorded);
                // settled_after_proof (section 4, Cut off): proved over first, unless its end was recorded.
                hold!("settled_after_proof", recorded == known.open.is_some(), "{id} {is:?}");
            }
            StepEvent::Satisfied { .. } => {
                self.needs_met(plan, id);
                let known = self.steps.get_mut(id).expect("known");
                // redone_without_looking (section 4, --redo): what is done again is done, not seen to hold.
                hold!("redone_without_looking", !known.redone, "{id}");
                known.satisfied = !known.owned;
            }
            StepEvent::Verified { .. } => {
                let known = self.steps.get_mut(id).expect("known");
                (known.well, known.done, known.redone) = (true, true, false);
                known.spent.clear();
            }
            StepEvent::SoakPassed | StepEvent::Skipped { .. } => {
                let known = self.steps.get_mut(id).expect("known");
                (known.well, known.failed, known.redone) = (true, false, false);
            }
            StepEvent::Redone { .. } => {
                // redone_was_finished (section 4): only what has a result is done again, and never on the way back.
                let back = self.back.is_some() || self.only_back || self.cancelling;
                let known = self.steps.get_mut(id).expect("known");
                hold!("redone_was_finished", known.well && known.open.is_none() && !back, "{id}");
                (known.well, known.done, known.gate_open, known.redone) = (false, false, false, true);
                known.spent.clear();
                self.ended = false;
            }
            StepEvent::Failed { .. } => self.steps.get_mut(id).expect("known").failed = true,
            StepEvent::Compensated { .. } => {
                self.may_go_back(id);
                let known = self.steps.get_mut(id).expect("known");
                hold!("one_attempt_at_once", known.open.is_none(), "{id}: {:?} is open", known.open);
                known.compensated = true;
                (known.well, known.done) = (false, false);
                self.undone_in_order.push(id.clone());
            }
            // What needs a person is passed by.
            StepEvent::CompensationFailed { .. } | StepEvent::AttentionNeeded { .. } => self.predicted = None,
            StepEvent::PreImageTaken { .. } => {
                self.needs_met(plan, id);
                let known = self.steps.get_mut(id).expect("known");
                // pre_image_once (section 4, Ownership): before the first attempt, and never again.
                hold!("pre_image_once", !known.pre_image && !known.owned, "{id}");
                known.pre_image = true;
            }
            StepEvent::GateOpened { .. } => self.steps.get_mut(id).expect("known").gate_open = true,
            StepEvent::ApprovalVoided { .. } => self.steps.get_mut(id).expect("known").gate_open = false,
            StepEvent::SoakBegan | StepEvent::VerifyBegan => {
                self.may_go_forward(id);
                self.needs_met(plan, id);
            }
            StepEvent::Decided { .. }
            | StepEvent::Probed { .. }
            | StepEvent::ApprovalRequested { .. }
            | StepEvent::Approved { .. }
            | StepEvent::Rejected { .. }
            | StepEvent::GoneLooked { .. }
            | StepEvent::HeldElsewhere { .. }
            | StepEvent::Cut { .. }
            | StepEvent::VerifyLooked { .. }
            | StepEvent::SoakSaved { .. }
            | StepEvent::SoakSampled { .. }
            | StepEvent::ReadyLost { .. }
            | StepEvent::ReadyRegained { .. }
            | StepEvent::UndoneLooked { .. } => {}
        }
    }

    /// nothing_new_after_stop (section 4, Failure, Pause, Cancel) and back_stays_back (section 4).
    fn may_go_forward(&self, id: &StepId) {
        let failed: Vec<_> = self.steps.iter().filter(|(_, s)| s.failed).map(|(id, _)| id).collect();
        hold!("nothing_new_after_stop", failed.is_empty(), "{id} starts though {failed:?} failed");
        hold!("nothing_new_after_stop", !self.paused, "{id} starts in a pause");
        hold!("nothing_new_after_stop", !self.cancelling, "{id} starts in a cancel");
        hold!("nothing_new_after_stop", !self.ended, "{id} starts after the end");
        hold!("nothing_new_after_stop", self.back.is_none() && !self.resting, "{id} starts going back");
        hold!("back_stays_back", !self.only_back, "{id} starts after a rollback");
        // until_bounds (section 6): nothing beyond what the process was to go as far as.
        let wanted = self.until.as_ref().is_none_or(|until| until == id || self.after[id].contains(until));
        hold!("until_bounds", wanted, "{id} is beyond {:?}", self.until);
    }

    /// outcome_before_dependents (P1): everything it needs has ended well, durably.
    fn needs_met(&self, plan: &Definition, id: &StepId) {
        for need in &plan.step(id).expect("the plan has it").needs {
            hold!("outcome_before_dependents", self.steps[need].well, "{id} goes on before {need} is done");
        }
    }

    fn may_go_back(&self, id: &StepId) {
        let known = &self.steps[id];
        // satisfied_never_compensated (P5).
        hold!("satisfied_never_compensated", known.owned && !known.compensated, "{id}");
        hold!("satisfied_never_compensated", self.in_scope(id), "{id} is not in scope");
        // reverse_order (section 4, Rollback order): everything of ours that depends on it is undone before,
        // however far away and through whatever untouched steps.
        for after in &self.after[id] {
            let other = &self.steps[after];
            hold!("reverse_order", !other.owned || other.compensated, "{id} before {after}");
        }
    }

    /// Something is handed to the driver to start; everything before it is durable.
    pub(crate) fn start(&mut self, plan: &Definition, ask: &Ask) {
        match ask {
            Ask::Act { step, direction, attempt } => {
                let known = &self.steps[step];
                // intent_before_effect (P1): the intent is durable, and is followed by one start only.
                hold!("intent_before_effect", known.open == Some((*direction, *attempt)), "{ask:?}");
                let key = (step.clone(), *direction, *attempt);
                hold!("intent_before_effect", self.started.insert(key), "{ask:?} twice");
            }
            Ask::When(step) | Ask::Probe(step) | Ask::PreImage(step) => {
                let looks = matches!(ask, Ask::Probe(_));
                hold!("redone_without_looking", !looks || !self.steps[step].redone, "{ask:?}");
                self.may_go_forward(step);
                self.needs_met(plan, step);
                hold!("done_never_runs_again", !self.steps[step].well, "{ask:?}");
            }
            Ask::Evidence(step) => self.needs_met(plan, step),
            Ask::Settle { step, direction, attempt } => {
                let open = self.steps[step].open;
                hold!("settle_what_is_cut", open == Some((*direction, *attempt)), "{ask:?}");
            }
            Ask::SettleProbe(step) => {
                hold!("settled_after_proof", self.steps[step].open.is_none(), "{ask:?}");
            }
            Ask::Gone { .. } | Ask::Verify(_) | Ask::Undone(_) | Ask::Sample(_) | Ask::Ready(_) => {}
        }
    }
}
