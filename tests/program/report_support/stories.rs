//! The stories themselves.

use super::*;
use runner::saga::{CutCause, LeftRunning, Memory};

pub(crate) fn frigate() -> Definition {
    let mut start = step("start-new", "Start the new Frigate", &["stop-old"]);
    start.retry.attempts = 3;
    start.takes = [("mqtt-client:frigate".to_owned(), "new".to_owned())].into();
    let mut stop = step("stop-old", "Stop LXC 110 and keep it for rollback", &["baseline"]);
    stop.frees = [("mqtt-client:frigate".to_owned(), "old".to_owned())].into();
    stop.undone = vec![operation("frigate")];
    let mut baseline = step("baseline", "Capture what later checks compare with", &[]);
    baseline.compensate = Compensate::Nothing;
    let mut definition = definition(
        "frigate",
        "Frigate 0.14 on LXC 110 -> Frigate 0.16 on Kubernetes with an RTX 3070",
        vec![baseline, stop, start],
    );
    definition.resources = [("mqtt-client:frigate".to_owned(), resource("old"))].into();
    definition
}

/// Three steps, everything goes well; one goal held before.
pub(crate) fn hello() -> Story {
    let mut greet = step("greet", "Say hello", &[]);
    greet.compensate = Compensate::Nothing;
    let mut cache = step("warm-cache", "Fill the cache of {{ vars.site }}", &["greet"]);
    cache.probe = Some(operation("command"));
    let notify = step("notify", "Tell everybody", &["warm-cache"]);
    let mut story = Story::new(definition("hello", "", vec![greet, cache, notify]));
    story.done("greet", 1, 0.4);
    story.after(0.1).step("warm-cache", StepEvent::Probed { answer: answer(Verdict::Holds, "exit 0") });
    story.step("warm-cache", StepEvent::Satisfied { outputs: Map::new() });
    story.step("warm-cache", StepEvent::Verified { answers: Vec::new() });
    story.started("notify", FORWARD, 1).after(125.0);
    let left_running = vec![LeftRunning { pid: 4711, name: "pager".to_owned() }];
    let trace = Trace { exit: Some(0), left_running, ..Trace::default() };
    story.step("notify", StepEvent::Acted { direction: FORWARD, attempt: 1, outputs: Map::new(), trace });
    story.step("notify", StepEvent::Verified { answers: Vec::new() });
    story.run(What::Completed);
    story
}

const PULL: &str = "pulling image frigate:0.16\n\
    waiting for deployment \"frigate\" rollout to finish: 0 of 1 updated replicas are available\n\
    \u{1b}[31merror\u{1b}[0m: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu\n";

/// The third step fails in all its attempts; the run halts.
pub(crate) fn failed() -> Story {
    let mut story = Story::new(frigate());
    failing(&mut story);
    story
}

/// The first two steps go well, the third fails for good.
pub(crate) fn failing(story: &mut Story) {
    story.done("baseline", 1, 3.2).done("stop-old", 1, 21.0);
    for attempt in 1..=3 {
        story.started("start-new", FORWARD, attempt).after(30.0);
        let log = format!("logs/frigate-1/start-new.forward.{attempt}.log");
        let again = (attempt < 3).then_some(u64::from(attempt) * 1_700);
        let trace = trace(1, PULL, &log, 48_211);
        story.attempt_failed("start-new", FORWARD, attempt, "exit status 1", trace, again);
        story.after(again.map_or(0.0, |ms| ms as f64 / 1_000.0));
    }
    story.step("start-new", StepEvent::Failed { reason: "exit status 1".to_owned() });
}

/// The same, and everything is undone at once.
pub(crate) fn rolled_back() -> Story {
    let mut definition = frigate();
    for step in &mut definition.steps {
        step.on_failure = OnFailure::Rollback;
    }
    let mut story = Story::new(definition);
    failing(&mut story);
    story.rollback(None, Some("start-new"));
    story.undone("start-new", 1, 4.0);
    story.started("stop-old", BACK, 1).after(12.0).acted("stop-old", BACK, 1);
    let looked = vec![answer(Verdict::Unknown, "connection refused")];
    story.step("stop-old", StepEvent::UndoneLooked { answers: looked });
    let answers = vec![answer(Verdict::Holds, "version 0.14.1")];
    story.after(15.0).step("stop-old", StepEvent::Compensated { answers });
    story.step("baseline", StepEvent::Compensated { answers: Vec::new() });
    story.run(What::RolledBack);
    story
}

/// A compensation fails: the run needs attention.
pub(crate) fn attention_back() -> Story {
    let mut story = Story::new(frigate());
    story.done("baseline", 1, 3.2).done("stop-old", 1, 21.0).done("start-new", 1, 40.0);
    story.rollback(None, None).undone("start-new", 1, 4.0);
    story.started("stop-old", BACK, 1).after(12.0);
    let trace = trace(2, "unable to start CT 110: storage 'local-zfs' is not online\n", "logs/x.log", 57);
    story.attempt_failed("stop-old", BACK, 1, "exit status 2", trace, None);
    story.step("stop-old", StepEvent::CompensationFailed { reason: "exit status 2".to_owned() });
    story
}

/// A process dies within a step that nobody can settle.
pub(crate) fn attention_forward() -> Story {
    let mut story = Story::new(frigate());
    story.done("baseline", 1, 3.2).started("stop-old", FORWARD, 1).after(70.0);
    resume(&mut story, 2);
    story.after(0.5).step("stop-old", StepEvent::ProvedOver { direction: FORWARD, attempt: 1 });
    let reason = "attempt 1 was cut off and is over, but the step has no probe that could say whether it took \
                  effect, and is not `idempotent`";
    story.step("stop-old", StepEvent::AttentionNeeded { reason: reason.to_owned() });
    story
}

pub(crate) fn resume(story: &mut Story, token: u64) {
    let terms = Terms { forward: true, fresh_budget: true, assume_yes: false };
    story.run(What::RunResumed { token, by: "alice@maple".to_owned(), terms });
}

/// A cut-off step is settled by its probe and runs again.
pub(crate) fn settled() -> Story {
    let mut definition = frigate();
    definition.steps[1].probe = Some(operation("lxc"));
    let mut story = Story::new(definition);
    story.done("baseline", 1, 3.2).started("stop-old", FORWARD, 1).after(20.0);
    let trace = trace(255, "", "logs/frigate-1/stop-old.forward.1.log", 0);
    let message = "ssh: connect to host still-fawn.maas port 22: Connection timed out".to_owned();
    let cause = CutCause::Connection;
    story.step("stop-old", StepEvent::Cut { direction: FORWARD, attempt: 1, cause, message, trace });
    story.after(2.0).step("stop-old", StepEvent::ProvedOver { direction: FORWARD, attempt: 1 });
    let how = runner::saga::How::Probe(answer(Verdict::Absent, "status: running"));
    let settled = StepEvent::Settled {
        direction: FORWARD,
        attempt: 1,
        done: false,
        how,
        outputs: Map::new(),
        again_in_ms: 1_500,
    };
    story.step("stop-old", settled).after(1.5).done("stop-old", 2, 18.0);
    story
}

/// A gate that nobody answered.
pub(crate) fn waiting(second: Verdict) -> Story {
    let mut definition = frigate();
    definition.steps[1].gate = gate("Stop the old Frigate?");
    let mut story = Story::new(definition);
    story.done("baseline", 1, 3.2);
    let evidence = vec![
        evidence("frigate http://frigate-sf.maas:5000", Verdict::Holds, "version 0.14.1, 6 cameras"),
        evidence("gpu home node gpu-1", second, "nvidia.com/gpu: 1"),
    ];
    let question = "Stop the old Frigate?".to_owned();
    story.after(0.3).step("stop-old", StepEvent::ApprovalRequested { question, evidence });
    story
}

/// A day and a half into a soak.
pub(crate) fn soaking() -> Story {
    let mut definition = frigate();
    definition.steps.push(soak_step("soak", &["start-new"]));
    let mut story = Story::new(definition);
    story.done("baseline", 1, 3.2).done("stop-old", 1, 21.0).done("start-new", 1, 40.0);
    story.step("soak", StepEvent::SoakBegan);
    for _ in 0..3 {
        story.after(43_200.0);
        let last = story.now();
        story.step(
            "soak",
            StepEvent::SoakSaved { good: 144, good_ms: 43_200_000, last, memory: Memory::default() },
        );
    }
    let bad = vec![answer(Verdict::Absent, "status 502 instead of 200")];
    story.after(300.0).step("soak", StepEvent::SoakSampled { answers: bad, memory: Memory::default() });
    let unknown = vec![answer(Verdict::Unknown, "connection timed out")];
    story.after(300.0).step("soak", StepEvent::SoakSampled { answers: unknown, memory: Memory::default() });
    story.after(100.0);
    story
}

/// The soak's way back is lost and comes again, then the soak passes.
pub(crate) fn soaked() -> Story {
    let mut story = soaking();
    let lost = vec![answer(Verdict::Absent, "container 110 does not exist on still-fawn")];
    story.after(200.0).step("soak", StepEvent::ReadyLost { answers: lost });
    story.after(3_600.0).step("soak", StepEvent::ReadyRegained { by: None });
    story.after(129_600.0);
    let last = story.now();
    story.step(
        "soak",
        StepEvent::SoakSaved { good: 432, good_ms: 129_600_000, last, memory: Memory::default() },
    );
    story.step("soak", StepEvent::SoakPassed);
    story.run(What::Completed);
    story
}

/// Two steps at once; one of them fails, the other ends.
pub(crate) fn parallel() -> Story {
    let left = step("copy-config", "Copy the configuration", &[]);
    let mut right = step("copy-recordings", "Copy the recordings", &[]);
    right.verify = vec![operation("command")];
    let join = step("start", "Start it", &["copy-config", "copy-recordings"]);
    let mut story = Story::new(definition("frigate", "", vec![left, right, join]));
    story.started("copy-config", FORWARD, 1).started("copy-recordings", FORWARD, 1).after(2.0);
    let full = trace(28, "rsync: write failed: No space left on device (28)", "logs/c.log", 49);
    story.attempt_failed("copy-config", FORWARD, 1, "exit status 28", full, None);
    story.step("copy-config", StepEvent::Failed { reason: "exit status 28".to_owned() });
    story.after(61.0).acted("copy-recordings", FORWARD, 1);
    let partial = vec![answer(Verdict::Partial, "1,204 of 1,250 files")];
    story.after(1.0).step("copy-recordings", StepEvent::VerifyLooked { answers: partial });
    let answers = vec![answer(Verdict::Holds, "1,250 of 1,250 files")];
    story.after(5.0).step("copy-recordings", StepEvent::Verified { answers });
    story
}

/// Everything a person can do to a run that is not told elsewhere.
pub(crate) fn meddled() -> Story {
    let mut definition = frigate();
    definition.steps[1].gate = gate("Stop the old Frigate?");
    definition.steps[2].when = Some(Value::String("{{ vars.start }}".to_owned()));
    let mut story = Story::new(definition.clone());
    story.done("baseline", 1, 3.2);
    story.run(What::Paused { by: "bob@maple".to_owned() });
    story.after(60.0).run(What::Unpaused { by: "bob@maple".to_owned() });
    let seen = || vec![evidence("http http://frigate-sf.maas:5000", Verdict::Holds, "status 200")];
    let question = || "Stop the old Frigate?".to_owned();
    story.step("stop-old", StepEvent::ApprovalRequested { question: question(), evidence: seen() });
    let request = story.state().seq;
    let why = "http http://frigate-sf.maas:5000 held when it was asked for and is now absent".to_owned();
    story.step("stop-old", StepEvent::ApprovalVoided { request, why });
    definition.steps[1].timeout_ms = 300_000;
    let diff = "--- recorded\n+++ plan file\n@@ -3 +3 @@\n-timeout = \"10m\"\n+timeout = \"5m\"\n";
    let change = runner::saga::Change {
        step: Some(id("stop-old")),
        diff: diff.to_owned(),
        matters: true,
        taken: Default::default(),
    };
    let by = "alice@maple".to_owned();
    story.run(What::PlanAmended { definition: Arc::new(definition), changes: vec![change], by: by.clone() });
    story.step("stop-old", StepEvent::ApprovalRequested { question: question(), evidence: seen() });
    let request = story.state().seq;
    let note = "neighbours are asleep".to_owned();
    story.step("stop-old", StepEvent::Approved { request, by: by.clone(), note });
    story.step("stop-old", StepEvent::GateOpened { request, evidence: seen() });
    let pre_image = Value::String("NEVER SHOWN".to_owned());
    story.step("stop-old", StepEvent::PreImageTaken { pre_image });
    story.done("stop-old", 1, 9.0);
    story.step("start-new", StepEvent::Decided { when: true });
    let (resource, owner) = ("mqtt-client:frigate".to_owned(), "old".to_owned());
    let answers = vec![answer(Verdict::Absent, "status: running")];
    let looked =
        |answers| StepEvent::GoneLooked { resource: resource.clone(), owner: owner.clone(), answers };
    story.step("start-new", looked(answers));
    story.after(5.0).step("start-new", looked(vec![answer(Verdict::Holds, "status: stopped")]));
    story.step("start-new", StepEvent::Skipped { by: Some(by.clone()), note: "done by hand".to_owned() });
    story.run(What::CancelRequested { by });
    story.run(What::Cancelled);
    story
}

/// A step whose window opens in the night, beside one that is tried again after a while.
pub(crate) fn window_and_retry() -> Story {
    let mut night = step("stop-old", "Stop LXC 110", &[]);
    let days = (0..7).collect();
    night.window = Some(runner::plan::recorded::Window {
        days,
        from_minute: 120,
        to_minute: 300,
        zone: "UTC".to_owned(),
    });
    let mut pull = step("pull", "Pull the image", &[]);
    pull.retry.attempts = 4;
    let join = step("start", "Start it", &["stop-old", "pull"]);
    let mut story = Story::new(definition("frigate", "", vec![night, pull, join]));
    story.started("pull", FORWARD, 1).after(30.0);
    let full = trace(1, "429 Too Many Requests\n", "logs/p.log", 22);
    story.attempt_failed("pull", FORWARD, 1, "exit status 1", full, Some(48_000));
    story
}

/// Fifty steps at once; some of them wait to be tried again, and one asks a person.
pub(crate) fn fifty() -> Story {
    let id = |n: usize| format!("camera-{n:02}");
    let mut steps: Vec<_> = (1..=50).map(|n| step(&id(n), "Move one camera", &[])).collect();
    steps[29].gate = gate("Move the camera at the door?");
    steps.iter_mut().for_each(|step| step.retry.attempts = 2);
    let mut story = Story::new(definition("cameras", "", steps));
    for n in (1..=50).filter(|n| *n != 30) {
        story.started(&id(n), FORWARD, 1);
    }
    let question = "Move the camera at the door?".to_owned();
    story.step("camera-30", StepEvent::ApprovalRequested { question, evidence: Vec::new() });
    for n in 40..=42 {
        let full = trace(1, "connection refused\n", "logs/p.log", 22);
        story.attempt_failed(&id(n), FORWARD, 1, "exit status 1", full, Some(9_000));
    }
    story.after(3.0);
    story
}

/// Wide characters in everything that people write.
pub(crate) fn wide() -> Story {
    let mut story = Story::new(definition(
        "frigate",
        "",
        vec![step("copy", "録画を新しいサーバーにコピーする（猫カメラと庭のカメラと玄関のカメラ）", &[])],
    ));
    story.started("copy", FORWARD, 1).after(2.0);
    story
}

/// A run is asked to close while a step runs.
pub(crate) fn cancelled() -> Story {
    let mut story = Story::new(frigate());
    story.done("baseline", 1, 3.2).done("stop-old", 1, 20.0);
    story.run(What::CancelRequested { by: "bob@maple".to_owned() }).run(What::Cancelled);
    story
}

/// It went back to an earlier step and rests there.
pub(crate) fn resting() -> Story {
    let mut story = Story::new(frigate());
    story.done("baseline", 1, 3.2).done("stop-old", 1, 20.0);
    story.rollback(Some("baseline"), None).undone("stop-old", 1, 9.0).run(What::RolledBack);
    story
}

/// It goes back, and a compensation runs.
pub(crate) fn going_back() -> Story {
    let mut story = Story::new(frigate());
    story.done("baseline", 1, 3.2).done("stop-old", 1, 20.0).rollback(None, None);
    story.started("stop-old", BACK, 1).after(12.0);
    story
}
