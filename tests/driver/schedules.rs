//! Thousands of random plans, worlds, journals and people, each from a seed. A seed that fails goes into the list.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use runner::driver::{Patience, Rest};
use runner::plan::StepId;
use runner::plan::recorded::{Compensate, Definition, Gate, OnFailure, OnGap, Resource, Soak, Step};
use runner::saga::{
    self, Command, CutCause, Direction, End as RunEnd, FailureClass, Moment, Session, Settlement, Standing,
    Status, StepEvent, Verdict, What,
};
use tokio::time::sleep;

use crate::sim::*;

/// Seeds that failed once.
const ONCE_FAILED: &[u64] = &[3_617_545_816_901_434];

/// How many seeds are tried.
fn seeds() -> u64 {
    let full = std::env::vars().any(|(key, value)| key == "RUNNER_FULL" && value == "1");
    if full { 100_000 } else { 2_000 }
}

/// A first seed: `RUNNER_SEED`, or new each time; always printed.
fn first_seed() -> u64 {
    let given =
        std::env::vars().find(|(key, _)| key == "RUNNER_SEED").map(|(_, value)| value.parse().unwrap());
    let seed = given.unwrap_or_else(|| u64::from(getrandom::u32().unwrap()) << 20);
    println!("seeds from RUNNER_SEED={seed}");
    seed
}

fn random_step(rng: &mut Rng, place: usize) -> Step {
    let name = format!("s{place}");
    let needs: Vec<String> = (0..place).filter(|_| rng.chance(35)).map(|need| format!("s{need}")).collect();
    let needs: Vec<&str> = needs.iter().map(String::as_str).collect();
    let mut made = if rng.chance(70) { probed(&name, &needs) } else { step(&name, &needs) };
    made.idempotent = rng.chance(40);
    made.retry.attempts = 1 + u32::try_from(rng.below(3)).unwrap();
    made.retry.on_verify = rng.chance(30);
    if rng.chance(40) {
        made.verify = vec![look(&name, "verify")];
    }
    if rng.chance(40) {
        made.undone = vec![look(&name, "undone")];
    }
    if rng.chance(15) {
        let evidence = rng.chance(50).then(|| vec![look(&name, "evidence")]);
        made.gate = Some(Gate { question: "Go?".to_owned(), expires_ms: None, evidence });
    }
    if rng.chance(10) {
        made.when = Some(rng.chance(60).into());
    }
    if rng.chance(30) {
        made.on_failure = OnFailure::Rollback;
    }
    match rng.below(12) {
        0 => {
            made.compensate = Compensate::Nothing;
            made.undone = Vec::new();
        }
        1 if rng.chance(30) => made.compensate = Compensate::Irreversible("it is so".to_owned()),
        _ => {}
    }
    match rng.below(12) {
        0 => {
            made.forward = None;
            made.probe = None;
            made.verify = vec![look(&name, "sample")];
        }
        1 => {
            made.forward = None;
            made.probe = None;
            made.verify = vec![look(&name, "sample")];
            made.rollback_ready = vec![look(&name, "ready")];
            made.soak = Some(Soak {
                for_ms: 1_200_000,
                every_ms: 60_000,
                max_gap_ms: 120_000,
                max_consecutive_failures: 2,
                error_budget: None,
                coverage: None,
                on_gap: OnGap::Extend,
            });
        }
        _ => {}
    }
    made
}

fn random_plan(rng: &mut Rng) -> Definition {
    let count = 1 + usize::try_from(rng.below(8)).unwrap();
    let steps = (0..count).map(|place| random_step(rng, place)).collect();
    let mut made = definition(1 + u32::try_from(rng.below(4)).unwrap(), steps);
    if count >= 3 && rng.chance(20) {
        // The first step frees what the last one takes.
        let last = count - 1;
        let need = made.steps[0].id.clone();
        if made.steps[0].forward.is_some() && made.steps[last].forward.is_some() {
            if !made.steps[last].needs.contains(&need) {
                made.steps[last].needs.push(need);
            }
            made.steps[0].frees.insert("it".to_owned(), "old".to_owned());
            made.steps[last].takes.insert("it".to_owned(), "new".to_owned());
            let gone = [("old".to_owned(), vec![look("s0", "gone")]), ("new".to_owned(), Vec::new())];
            let owners = vec!["old".to_owned(), "new".to_owned()];
            let resource = Resource { owners, held_at_start: Some("old".to_owned()), gone: gone.into() };
            made.resources.insert("it".to_owned(), resource);
        }
    }
    made
}

/// A world that does all kinds of things, the same for the same seed.
fn wild(seed: u64) -> Script {
    let draw = move |words: &[&str], number: u64| {
        let mut rng = Rng(seed ^ number.wrapping_mul(0x9e37));
        for word in words {
            for byte in word.bytes() {
                rng.0 = rng.next() ^ u64::from(byte);
            }
        }
        rng
    };
    Script {
        act: Box::new(move |key| {
            let mut rng = draw(&["act", key.step.as_str(), &key.direction.to_string()], key.attempt.into());
            let takes_ms = [0, 1, 1_000, 1_000, 1_000, 7_000, 30_000][usize::try_from(rng.below(7)).unwrap()];
            let end = match rng.below(20) {
                0..=12 => End::Acts,
                13 | 14 => End::Fails(FailureClass::Transient),
                15 => End::Fails(FailureClass::Permanent),
                16 => End::Cut(CutCause::Timeout),
                17 | 18 => End::Cut(CutCause::Connection),
                _ => End::Acts,
            };
            let effect = end == End::Acts || rng.chance(40);
            Act { takes_ms, end, effect, stoppable: rng.chance(50), survives: rng.chance(40) }
        }),
        look: Box::new(move |seeing| {
            let mut rng = draw(&["look", &seeing.step, &seeing.what], seeing.before);
            let takes_ms = [0, 5, 5, 800][usize::try_from(rng.below(4)).unwrap()];
            let verdict = match rng.below(20) {
                0 => Verdict::Unknown,
                1 if seeing.what != "probe" => Verdict::Absent,
                2 if seeing.what != "probe" => Verdict::Partial,
                _ => seeing.plainly(),
            };
            (takes_ms, verdict)
        }),
        settle: Box::new(move |key, before| {
            let mut rng = draw(&["settle", key.step.as_str(), &key.direction.to_string()], before);
            let unproved = Settlement::Unproved { reason: "as scripted".to_owned() };
            (before < 3 && rng.chance(20)).then_some(unproved)
        }),
        facts: Box::new(|_| serde_json::Map::new()),
    }
}

fn random_wish(rng: &mut Rng, definition: &Definition, to: &StepId) -> Command {
    let some = usize::try_from(rng.below(definition.steps.len() as u64)).unwrap();
    let step = definition.steps[some].id.clone();
    let note = String::new();
    match rng.below(16) {
        0 | 1 => Command::Pause,
        2..=4 => Command::Unpause,
        5 => Command::Cancel,
        6 => Command::Rollback { to: None, parallel: 1 + u32::try_from(rng.below(3)).unwrap() },
        7 => Command::Rollback { to: Some(to.clone()), parallel: 1 },
        8..=10 => Command::Approve { step, note },
        11 => Command::Reject { step, note },
        12 => Command::Skip { step, note },
        _ => Command::Resolve { step, done: rng.chance(50), outputs: serde_json::Map::new() },
    }
}

/// People who ask for this and that at any time, and see that the answers are true.
async fn people(inside: Inside, definition: Definition, mut rng: Rng, wishes: u64, stop: bool) {
    // Always the same, since one that is narrower than the one under way is another matter.
    let to = definition.steps[definition.steps.len() / 2].id.clone();
    for number in 0..wishes {
        let pause = [0, 1, 500, 1_000, 3_000, 20_000][usize::try_from(rng.below(6)).unwrap()];
        sleep(Duration::from_millis(pause)).await;
        let command = random_wish(&mut rng, &definition, &to);
        let by = format!("w{}-{number}", rng.next());
        let answer = inside.handle.wish(command.clone(), by.clone()).await;
        let recorded = inside.acknowledged_by(&by);
        match answer {
            Ok(()) => assert!(recorded, "{command:?} was granted and is not recorded"),
            Err(runner::driver::WishError::Refused(_)) => {
                assert!(!recorded, "{command:?} was refused and is recorded");
            }
            Err(runner::driver::WishError::Gone) => {}
        }
    }
    if stop {
        sleep(Duration::from_millis(rng.below(40_000))).await;
        inside.stop();
    }
}

/// What is to be true of every rest.
fn check_rest(lab: &Lab, rest: &Rest, patience: Patience) {
    let events = lab.log.events();
    assert!(events.windows(2).all(|pair| pair[0].at.wall_ms <= pair[1].at.wall_ms), "times go back");
    if rest.stopped || rest.state.end.is_some() || matches!(rest.state.course, saga::Course::Resting) {
        return;
    }
    let now = Moment { at: lab.ended_at(), entropy: 0 };
    let mut next = saga::decide(&rest.state, &Session::default(), &now);
    // Whoever comes next looks again at what an earlier process was asked for; this one has looked.
    let asked = |step: &StepId| {
        rest.state.step(step).is_some_and(|(_, s)| matches!(s.status, Status::AwaitingApproval))
    };
    next.start.retain(|start| !matches!(&start.ask, saga::Ask::Evidence(step) if asked(step)));
    if patience == Patience::Timers {
        // A way back that is lost is a gate: nobody polls it while nothing else is to be waited for.
        next.start.retain(|start| !matches!(start.ask, saga::Ask::Ready(_)));
    }
    assert!(next.append.is_empty(), "it rests before {:?}", next.append);
    match patience {
        Patience::Nothing => {
            assert!(next.start.iter().all(|start| start.ask.is_long()), "it rests before {:?}", next.start);
            assert_eq!(rest.wake_ms.is_some(), next.wake_ms.is_some() || !next.start.is_empty());
        }
        Patience::Timers | Patience::Gates | Patience::Everything => {
            assert!(next.start.is_empty(), "it rests before {:?}", next.start);
            assert!(next.wake_ms.is_none(), "it rests before its time");
            if patience == Patience::Everything && rest.standing == Standing::Open && !waits_for_ever(rest) {
                tell(lab);
                panic!("it rests although people could bring it on: {:?}", lab.words());
            }
        }
    }
}

fn random_process(rng: &mut Rng) -> Process {
    let patience = match rng.below(6) {
        0 => Patience::Nothing,
        1 => Patience::Everything,
        _ => Patience::Timers,
    };
    let mut process = Process::apply().with(patience);
    process.terms.fresh_budget = rng.chance(70);
    process.terms.assume_yes = rng.chance(50);
    process.delay_max_ms = [0, 0, 3, 2_000][usize::try_from(rng.below(4)).unwrap()];
    process.fate = match rng.below(5) {
        0 => Some(Fate::Fails(1 + rng.below(12))),
        1 => Some(Fate::DiesBefore(1 + rng.below(12))),
        2 => Some(Fate::DiesAfter(1 + rng.below(12))),
        _ => None,
    };
    process.watched = rng.chance(50);
    process
}

/// One seed: processes come and go while the world is wild; then it is mended, and the run comes to its end.
fn live(seed: u64) -> u64 {
    let mut rng = Rng(seed);
    let plan = random_plan(&mut rng);
    let lab = Lab::new(plan.clone(), wild(seed), seed);
    let mut processes = 0;
    for _ in 0..1 + rng.below(4) {
        processes += 1;
        let mut process = random_process(&mut rng);
        let everything = process.patience == Patience::Everything;
        if everything {
            // Somebody has to end what waits for people.
            process.limit = Duration::from_secs(40 * 24 * 3_600);
        }
        let patience = process.patience;
        let (wishes, stop) = (rng.below(6), rng.chance(25) || everything);
        let people_rng = Rng(rng.next());
        let definition = plan.clone();
        let ended = lab.run_with(process, |inside| people(inside, definition, people_rng, wishes, stop));
        if let Ended::Rest(rest) = &ended {
            check_rest(&lab, rest, patience);
        }
        if matches!(ended, Ended::Crashed) && rng.chance(30) {
            lab.clock.reboot(rng.below(600_000));
        }
        if rng.chance(20) {
            lab.clock.step_wall(rng.below(7_200_000).cast_signed() - 3_600_000);
        }
    }
    lab.world.script(Script::default());
    // Attempts that nobody can settle are resolved, gates are opened, pauses taken back.
    for _ in 0..6 {
        processes += 1;
        let mut process = Process::apply();
        process.terms.assume_yes = true;
        let back = matches!(&lab.log.state().course, saga::Course::Back(back) if back.to.is_none());
        process.terms.forward = !back;
        let rest = lab.run_with(process, help).rest();
        check_rest(&lab, &rest, Patience::Timers);
        if let Some(end) = &rest.state.end {
            check_end(&lab, end);
            return processes;
        }
        if irreversible_failure(&rest) || waits_for_ever(&rest) {
            return processes;
        }
    }
    tell(&lab);
    panic!("it never ends: {:?}", lab.words());
}

fn tell(lab: &Lab) {
    let events = lab.log.events();
    for event in &events[events.len().saturating_sub(25)..] {
        println!("{} {}", event.seq, serde_json::to_string(&event.what).unwrap());
    }
}

/// A step keeps failing only where the plan itself makes it: a soak that failed for good, a rejected gate.
fn irreversible_failure(rest: &Rest) -> bool {
    matches!(&rest.standing, Standing::Halted { .. }) && !rest.state.irreversible(None).is_empty()
}

/// What an owner frees in a step that was left out is never freed, so whoever takes it waits; and what a step with
/// nothing to undo has taken stays taken, so whoever would have it back needs a person.
fn waits_for_ever(rest: &Rest) -> bool {
    let stays_taken = |found: &saga::StepState| matches!(&found.status, Status::CompensationFailed { reason } if reason.contains("no step is left"));
    if rest.state.steps.iter().any(stays_taken) {
        return true;
    }
    let steps = rest.state.definition.steps.iter().zip(&rest.state.steps);
    let mut left_out =
        steps.filter(|(step, found)| matches!(found.status, Status::Skipped) && !step.frees.is_empty());
    left_out.next().is_some()
}

/// Somebody who brings on whatever waits for a person.
async fn help(inside: Inside) {
    let mut seq = inside.handle.follow();
    loop {
        seq.borrow_and_update();
        let state = inside.log.state();
        let steps: Vec<_> = state.definition.steps.iter().zip(&state.steps).collect();
        if state.paused {
            drop(inside.handle.wish(Command::Unpause, "help".to_owned()).await);
        }
        for (step, found) in steps {
            if found.needs_attention().is_some() {
                let effect = inside.world.effects().get(&step.id).copied().unwrap_or(false);
                let back = matches!(&found.status, Status::Interrupted(cut) if cut.direction == Direction::Compensation)
                    || matches!(found.status, Status::CompensationFailed { .. });
                let command = Command::Resolve {
                    step: step.id.clone(),
                    done: effect != back,
                    outputs: serde_json::Map::new(),
                };
                drop(inside.handle.wish(command, "help".to_owned()).await);
            }
            if matches!(found.status, Status::AwaitingApproval) {
                let command = Command::Approve { step: step.id.clone(), note: String::new() };
                drop(inside.handle.wish(command, "help".to_owned()).await);
            }
        }
        if seq.changed().await.is_err() {
            return;
        }
    }
}

fn resolved(lab: &Lab, step: &Step) -> bool {
    lab.log.events().iter().any(|event| {
        matches!(&event.what, What::Step { step: id, is: StepEvent::Resolved { .. } } if *id == step.id)
    })
}

fn check_end(lab: &Lab, end: &RunEnd) {
    let state = lab.log.state();
    let effects = lab.world.effects();
    let effect = |step: &Step| effects.get(&step.id).copied().unwrap_or(false);
    for (step, found) in state.definition.steps.iter().zip(&state.steps) {
        match end {
            RunEnd::Complete => {
                assert!(found.status.ended_well());
                if matches!(found.status, Status::Done) && step.forward.is_some() {
                    // Unless a person said so.
                    assert!(effect(step) || resolved(lab, step), "{} is done and has no effect", step.id);
                }
            }
            RunEnd::RolledBack { .. } => {
                if found.owned && matches!(step.compensate, Compensate::Action(_)) && step.forward.is_some() {
                    assert!(
                        !effect(step) || resolved(lab, step),
                        "{} is rolled back and has its effect",
                        step.id
                    );
                }
            }
            RunEnd::Cancelled => {}
        }
    }
}

/// Seeds under way and since when, one place per worker.
type Underway = Arc<[Mutex<Option<(u64, Instant)>>; 2]>;

/// A seed takes milliseconds. One that takes this long never ends, and is named instead of waited for.
const HANGS: Duration = Duration::from_secs(60);

#[test]
fn random_schedules_keep_every_promise() {
    let first = first_seed();
    let next = Arc::new(AtomicU64::new(0));
    let processes = Arc::new(AtomicU64::new(0));
    let underway = Underway::default();
    // Nothing is sent: it hangs up with the last worker.
    let (working, ended) = mpsc::channel::<()>();
    let all: Vec<u64> = ONCE_FAILED.iter().copied().chain((0..seeds()).map(|i| first + i)).collect();
    let all = Arc::new(all);
    let workers: Vec<_> = (0..underway.len())
        .map(|worker| {
            let (next, processes, all) = (Arc::clone(&next), Arc::clone(&processes), Arc::clone(&all));
            let (underway, working) = (Arc::clone(&underway), working.clone());
            std::thread::spawn(move || {
                let _working = working;
                let mut failed = Vec::new();
                while failed.is_empty() {
                    let place = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
                    let Some(&seed) = all.get(place) else { break };
                    *underway[worker].lock().unwrap() = Some((seed, Instant::now()));
                    match std::panic::catch_unwind(|| live(seed)) {
                        Ok(lived) => drop(processes.fetch_add(lived, Ordering::Relaxed)),
                        Err(_) => {
                            println!("seed {seed} failed");
                            failed.push(seed);
                        }
                    }
                    *underway[worker].lock().unwrap() = None;
                }
                failed
            })
        })
        .collect();
    drop(working);
    while ended.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
        for seed in underway.iter() {
            let seed = *seed.lock().unwrap();
            assert!(
                seed.is_none_or(|(_, since)| since.elapsed() < HANGS),
                "the seed {} never ends; RUNNER_SEED=<seed> begins with one",
                seed.unwrap().0
            );
        }
    }
    let failed: Vec<u64> = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
    println!("{} seeds, {} processes", all.len(), processes.load(Ordering::Relaxed));
    assert!(failed.is_empty(), "these seeds failed: {failed:?}; RUNNER_SEED=<seed> begins with one");
}
