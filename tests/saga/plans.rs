//! Plans for the simulation, built as they are recorded.

use std::collections::BTreeSet;

use runner::plan::recorded::{
    Compensate, DEFINITION_VERSION, Definition, Gate, OnFailure, OnGap, Operation, Resource, Retry, Soak,
    Step,
};
use runner::plan::{PlanName, StepId};

use super::choose::Seeded;

/// A plan, and what holds in the world before it begins.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) plan: Definition,
    pub(crate) satisfied: BTreeSet<StepId>,
    /// Steps whose `when` is false.
    pub(crate) unwanted: BTreeSet<StepId>,
}

pub(crate) fn id(place: usize) -> StepId {
    StepId::new(format!("s{place}")).unwrap()
}

pub(crate) fn operation(name: &str) -> Operation {
    Operation { name: name.to_owned(), fields: serde_json::Map::new() }
}

/// An acting step with a compensation and nothing else.
pub(crate) fn step(place: usize, needs: &[usize]) -> Step {
    Step {
        id: id(place),
        summary: String::new(),
        needs: needs.iter().map(|&n| id(n)).collect(),
        when: None,
        gate: None,
        window: None,
        timeout_ms: 600_000,
        retry: Retry { attempts: 1, backoff_ms: 2_000, max_backoff_ms: 60_000, on_verify: false },
        takes: Default::default(),
        frees: Default::default(),
        on_failure: OnFailure::Halt,
        idempotent: false,
        forward: Some(operation("command")),
        probe: None,
        verify: Vec::new(),
        verify_within_ms: 12_000,
        undone: Vec::new(),
        undone_within_ms: 12_000,
        compensate: Compensate::Action(operation("command")),
        soak: None,
        rollback_ready: Vec::new(),
    }
}

pub(crate) fn plan(steps: Vec<Step>, parallelism: u32) -> Definition {
    Definition {
        version: DEFINITION_VERSION,
        name: PlanName::new("proof").unwrap(),
        description: String::new(),
        path: "/plans/proof.toml".to_owned(),
        folder: "/plans".to_owned(),
        on_failure: OnFailure::Halt,
        parallelism,
        vars: Default::default(),
        given: Default::default(),
        secrets: Default::default(),
        hosts: Default::default(),
        clusters: Default::default(),
        brokers: Default::default(),
        resources: Default::default(),
        steps,
        files: Default::default(),
    }
}

pub(crate) fn case(steps: Vec<Step>, parallelism: u32) -> Case {
    Case { plan: plan(steps, parallelism), satisfied: BTreeSet::new(), unwanted: BTreeSet::new() }
}

/// The kinds of steps that the exhaustive set is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Probed,
    Idempotent,
    Nothing,
    Irreversible,
    VerifyOnly,
    Satisfied,
    Rollback,
    Gated,
    Unwanted,
    Soak,
    OnVerify,
}

pub(crate) const KINDS: [Kind; 12] = [
    Kind::Plain,
    Kind::Probed,
    Kind::Idempotent,
    Kind::Nothing,
    Kind::Irreversible,
    Kind::VerifyOnly,
    Kind::Satisfied,
    Kind::Rollback,
    Kind::Gated,
    Kind::Unwanted,
    Kind::Soak,
    Kind::OnVerify,
];

impl Case {
    /// Makes a step one of a kind.
    pub(crate) fn make(&mut self, place: usize, kind: Kind) {
        let step = &mut self.plan.steps[place];
        let check = || vec![operation("command")];
        match kind {
            Kind::Plain => {}
            Kind::Probed => {
                step.probe = Some(operation("command"));
                step.verify = check();
            }
            Kind::Idempotent => {
                step.idempotent = true;
                step.undone = check();
                step.retry.attempts = 2;
            }
            Kind::Nothing => step.compensate = Compensate::Nothing,
            Kind::Irreversible => {
                step.probe = Some(operation("command"));
                step.compensate = Compensate::Irreversible("it is gone".to_owned());
            }
            Kind::VerifyOnly => {
                step.forward = None;
                step.compensate = Compensate::Nothing;
                step.verify = check();
            }
            Kind::Satisfied => {
                step.probe = Some(operation("command"));
                step.verify = check();
                self.satisfied.insert(id(place));
            }
            Kind::Rollback => {
                step.on_failure = OnFailure::Rollback;
                step.retry.attempts = 2;
                step.verify = check();
            }
            Kind::Gated => {
                step.gate = Some(Gate {
                    question: "go on?".to_owned(),
                    expires_ms: Some(43_200_000),
                    evidence: None,
                });
            }
            Kind::Unwanted => {
                step.when = Some(serde_json::Value::Bool(false));
                self.unwanted.insert(id(place));
            }
            Kind::Soak => {
                step.forward = None;
                step.compensate = Compensate::Nothing;
                step.verify = check();
                step.rollback_ready = check();
                step.soak = Some(Soak {
                    for_ms: 600_000,
                    every_ms: 300_000,
                    max_gap_ms: 600_000,
                    max_consecutive_failures: 1,
                    error_budget: None,
                    coverage: Some(0.5),
                    on_gap: OnGap::Extend,
                });
            }
            Kind::OnVerify => {
                step.retry.attempts = 2;
                step.retry.on_verify = true;
                step.probe = Some(operation("command"));
                step.verify = check();
            }
        }
    }
}

/// A stop of the old owner and a start of the new one.
pub(crate) fn handover(gone: bool) -> Case {
    let mut stop = step(0, &[]);
    stop.frees.insert("r".to_owned(), "old".to_owned());
    stop.probe = Some(operation("command"));
    let mut start = step(1, &[0]);
    start.takes.insert("r".to_owned(), "new".to_owned());
    start.probe = Some(operation("command"));
    let mut case = case(vec![stop, start], 2);
    add_resource(&mut case.plan, "r", gone);
    case
}

fn add_resource(plan: &mut Definition, name: &str, gone: bool) {
    let mut resource = Resource {
        owners: vec!["old".to_owned(), "new".to_owned()],
        held_at_start: Some("old".to_owned()),
        gone: Default::default(),
    };
    if gone {
        for owner in ["old", "new"] {
            resource.gone.insert(owner.to_owned(), vec![operation("command")]);
        }
    }
    plan.resources.insert(name.to_owned(), resource);
}

/// A random plan of up to `most` steps.
pub(crate) fn random(dice: &mut Seeded, most: usize) -> Case {
    let count = 1 + dice.below(most);
    let density = 1 + dice.below(4);
    let mut steps = Vec::new();
    for place in 0..count {
        let mut needs = BTreeSet::new();
        for _ in 0..dice.below(density + 1) {
            if place > 0 {
                let back = 1 + dice.below(place.min(6));
                needs.insert(place - back);
            }
        }
        let needs: Vec<usize> = needs.into_iter().collect();
        steps.push(step(place, &needs));
    }
    let mut case = case(steps, 1 + dice.below(6) as u32);
    for place in 0..count {
        let kind = match dice.below(100) {
            0..25 => Kind::Plain,
            25..45 => Kind::Probed,
            45..58 => Kind::Idempotent,
            58..64 => Kind::Nothing,
            64 => Kind::Irreversible,
            65..70 => Kind::VerifyOnly,
            70..76 => Kind::Satisfied,
            76..80 => Kind::Rollback,
            80..85 => Kind::Gated,
            85..89 => Kind::Unwanted,
            89..93 => Kind::Soak,
            _ => Kind::OnVerify,
        };
        case.make(place, kind);
        let step = &mut case.plan.steps[place];
        step.retry.attempts = step.retry.attempts.max(1 + dice.below(3) as u32);
        if dice.below(5) == 0 && step.forward.is_some() {
            step.undone = vec![operation("command"); 1 + dice.below(2)];
        }
        if dice.below(10) == 0 && step.forward.is_some() {
            // Actions with an inverse of their own take a pre-image first.
            step.forward = Some(operation("file"));
            if matches!(step.compensate, Compensate::Action(_)) {
                step.compensate = Compensate::Inverse;
            }
        }
        if dice.below(12) == 0 {
            let zone = "America/Los_Angeles".to_owned();
            let days = (0..7).filter(|d| d % 2 == dice.below(2) as u8).collect::<Vec<u8>>();
            if !days.is_empty() {
                step.window =
                    Some(runner::plan::recorded::Window { days, from_minute: 120, to_minute: 300, zone });
            }
        }
    }
    // Handovers: two acting steps, the second after the first.
    for number in 0..dice.below(3) {
        let acting: Vec<usize> = (0..count)
            .filter(|&p| {
                let step = &case.plan.steps[p];
                step.forward.is_some()
                    && step.takes.is_empty()
                    && step.frees.is_empty()
                    && matches!(step.compensate, Compensate::Inverse | Compensate::Action(_))
                    && !case.satisfied.contains(&step.id)
            })
            .collect();
        if acting.len() < 2 {
            break;
        }
        let at = dice.below(acting.len() - 1);
        let (first, second) = (acting[at], acting[at + 1]);
        let name = format!("r{number}");
        add_resource(&mut case.plan, &name, dice.below(2) == 0);
        case.plan.steps[first].frees.insert(name.clone(), "old".to_owned());
        case.plan.steps[second].takes.insert(name, "new".to_owned());
        let need = id(first);
        if !case.plan.steps[second].needs.contains(&need) {
            case.plan.steps[second].needs.push(need);
        }
    }
    case
}
