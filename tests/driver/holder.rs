//! The holder on a real journal, with local commands: who submits, wishes, follows, stops and closes at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use runner::driver::{
    DriveError, Ended, Holder, House, Looked, Observer, Patience, Submission, SubmitError, SystemClock,
    Target, WishError, history,
};
use runner::journal::{self, Bodies, Handle, Journal, Options};
use runner::plan::RunId;
use runner::plan::recorded::{Compensate, Definition, FileRef, Operation, Step};
use runner::saga::{Command, Event, Stamp, Standing, State, Terms};
use runner::serve::{self, Answer, Client, Request};
use runner::transport::{Transport, TransportOptions};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::sim::{definition, step};

/// Long enough for a loaded machine; nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

struct Place {
    folder: TempDir,
    holder: Arc<Holder>,
    token: u64,
}

impl Place {
    fn new() -> Self {
        Self::at(tempfile::Builder::new().prefix("h").tempdir().unwrap())
    }

    fn at(folder: TempDir) -> Self {
        let state = folder.path().join("state");
        let holder = journal::Holder {
            pid: std::process::id(),
            host: "lab".to_owned(),
            boot_id: "boot".to_owned(),
            wall_ms: 1_000,
        };
        let journal = Journal::open(&state, &Options { create: true, holder }).unwrap();
        let (id, token) = (journal.id().to_owned(), journal.token());
        let (handle, _thread) = Handle::start(journal).unwrap();
        let runtime = folder.path().join("run");
        std::fs::create_dir_all(&runtime).unwrap();
        let options = TransportOptions { state: state.clone(), runtime, journal: id, token };
        let house = House::new(Transport::open(options).unwrap());
        let holder = Holder::new(
            handle,
            Bodies::at(&state),
            runner::driver::Keys::of(&state, None),
            house,
            SystemClock::new(),
            token,
        );
        Self { folder, holder: Arc::new(holder), token }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn plan(&self, script: &str) -> Definition {
        let shell = |script: &str| {
            let argv = serde_json::json!(["sh", "-c", script]);
            let fields = serde_json::Map::from_iter([("argv".to_owned(), argv)]);
            Operation { name: "command".to_owned(), fields }
        };
        let acts = Step {
            forward: Some(shell(script)),
            compensate: Compensate::Action(shell("echo undone >> log")),
            ..step("a", &[])
        };
        let folder = self.path().display().to_string();
        Definition {
            folder,
            path: format!("{}/plan.toml", self.path().display()),
            ..definition(1, vec![acts])
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    async fn rest(&self, run: &RunId) -> runner::driver::Rest {
        match &*timeout(PATIENCE, self.holder.ended(run)).await.unwrap().unwrap() {
            Ended::Rest(rest) => (**rest).clone(),
            other => panic!("{other:?}"),
        }
    }

    async fn close(&self) {
        timeout(PATIENCE, self.holder.rest()).await.unwrap();
        timeout(PATIENCE, self.holder.close()).await.unwrap();
    }
}

fn submission(target: Target) -> Submission {
    Submission {
        target,
        terms: Terms { forward: true, fresh_budget: true, assume_yes: false },
        wishes: Vec::new(),
        secrets: BTreeMap::new(),
        patience: Patience::Timers,
        cwd: None,
        by: "lab".to_owned(),
        known: None,
        looked: None,
    }
}

fn begin(plan: &Definition) -> Submission {
    submission(Target::New(Arc::new(plan.clone())))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_submissions_of_one_plan_at_once_are_one_run() {
    let place = Place::new();
    let plan = place.plan("echo did >> log; until [ -e go ]; do sleep 0.01; done");
    let submit = || place.holder.submit(begin(&plan), Vec::new());
    let (one, two) = futures_util::join!(submit(), submit());
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!((&one.run, one.attached != two.attached), (&two.run, true));
    // Of the same path with other contents: not the same run.
    let other = place.plan("echo other >> log");
    let refused = place.holder.submit(begin(&other), Vec::new()).await;
    assert!(matches!(refused, Err(SubmitError::Running { run }) if run == one.run));
    let mut amending = submission(Target::Existing(one.run.clone()));
    amending.wishes.push(Command::Cancel);
    let refused = place.holder.submit(amending, Vec::new()).await;
    assert!(matches!(refused, Err(SubmitError::Running { .. })));
    std::fs::write(place.path().join("go"), "").unwrap();
    assert_eq!(place.rest(&one.run).await.standing, Standing::Complete);
    assert_eq!(place.log(), "did\n");
    place.close().await;
}

/// Of two who looked before there was a run the second may come when the first one's is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_begun_and_ended_since_is_the_one_that_is_meant() {
    let place = Place::new();
    let plan = place.plan("echo did >> log");
    let begin = |newest: Option<&RunId>| {
        let looked = Some(Looked { newest: newest.cloned() });
        place.holder.submit(Submission { looked, ..begin(&plan) }, Vec::new())
    };
    let one = begin(None).await.unwrap();
    place.rest(&one.run).await;
    let two = begin(None).await.unwrap();
    assert_eq!((&two.run, two.attached), (&one.run, true));
    assert_eq!(place.rest(&two.run).await.standing, Standing::Complete);
    assert_eq!(place.log(), "did\n");
    // Who knows of it means another one.
    let three = begin(Some(&one.run)).await.unwrap();
    assert!(!three.attached && three.run != one.run);
    place.rest(&three.run).await;
    assert_eq!(place.log(), "did\ndid\n");
    // One that only rests is open.
    let failing = Definition { path: "/elsewhere".to_owned(), ..place.plan("exit 3") };
    let submit = || {
        let submission = submission(Target::New(Arc::new(failing.clone())));
        place.holder.submit(Submission { looked: Some(Looked { newest: None }), ..submission }, Vec::new())
    };
    let run = submit().await.unwrap().run;
    place.rest(&run).await;
    assert!(matches!(submit().await, Err(SubmitError::Open { run: open }) if open == run));
    place.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wishes_too_late_is_told_so() {
    let place = Place::new();
    let run = place.holder.submit(begin(&place.plan("true")), Vec::new()).await.unwrap().run;
    place.rest(&run).await;
    let gone = place.holder.wish(&run, Command::Cancel, "me".to_owned()).await;
    assert!(matches!(gone, Err(WishError::Gone)));
    assert!(place.holder.handle(&run).await.is_none());
    // An open run of the same plan file, that nobody drives, is not begun a second time.
    let failing = Definition { path: "/elsewhere".to_owned(), ..place.plan("exit 3") };
    let run = place.holder.submit(begin(&failing), Vec::new()).await.unwrap().run;
    assert!(matches!(place.rest(&run).await.standing, Standing::Halted { .. }));
    let open = place.holder.submit(begin(&failing), Vec::new()).await;
    assert!(matches!(open, Err(SubmitError::Open { run: open }) if open == run));
    place.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_waits_for_what_runs_and_takes_no_more() {
    let place = Place::new();
    let run =
        place.holder.submit(begin(&place.plan("sleep 0.3; echo did >> log")), Vec::new()).await.unwrap().run;
    place.close().await;
    assert_eq!(place.log(), "did\n");
    let late = place.holder.submit(begin(&place.plan("true")), Vec::new()).await;
    assert!(matches!(late, Err(SubmitError::Stopping)));
    let Place { folder, holder, .. } = place;
    drop(holder);
    let again = Place::at(folder);
    let state = history::state(again.holder.history(), again.holder.bodies(), &run).await.unwrap();
    assert_eq!(runner::saga::standing(&state), Standing::Complete);
    again.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_stops_commands_and_takes_no_more() {
    let place = Place::new();
    let run =
        place.holder.submit(begin(&place.plan("echo did >> log; sleep 300")), Vec::new()).await.unwrap().run;
    while place.log().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    place.holder.stop().await;
    let refused = place.holder.submit(begin(&place.plan("true")), Vec::new()).await;
    assert!(matches!(refused, Err(SubmitError::Stopping)));
    let rest = place.rest(&run).await;
    assert!(rest.stopped);
    assert_eq!(rest.state.steps[0].status.word(), "interrupted");
    place.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_cannot_be_loaded_leaves_nothing_behind() {
    let place = Place::new();
    let mut plan = place.plan("true");
    let lost = FileRef { sha256: "0".repeat(64), bytes: 3 };
    plan.files.insert("/lost".to_owned(), lost);
    let refused = place.holder.submit(begin(&plan), Vec::new()).await;
    assert!(matches!(&refused, Err(SubmitError::Drive(DriveError::Files(_)))), "{refused:?}");
    assert!(place.holder.running().await.is_empty());
    // Nor a run: the plan can be begun when its file is there.
    plan.files.clear();
    let run = place.holder.submit(begin(&plan), Vec::new()).await.unwrap().run;
    assert_eq!(place.rest(&run).await.standing, Standing::Complete);
    place.close().await;
}

/// Panics at the first event.
struct Clumsy;

impl Observer for Clumsy {
    fn events(&mut self, _state: &State, _events: &[Event]) {
        panic!("as scripted");
    }

    fn tick(&mut self, _state: &State, _now: &Stamp) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_ends_one_run_and_not_the_holder() {
    let place = Place::new();
    let plan = place.plan("echo did >> log");
    let run = place.holder.submit(begin(&plan), vec![Box::new(Clumsy)]).await.unwrap().run;
    let ended = timeout(PATIENCE, place.holder.ended(&run)).await.unwrap();
    assert!(matches!(ended.as_deref(), Some(Ended::Failed(DriveError::Panicked))));
    // The attempt was not begun, or was; the run goes on from what is on disk.
    let again = place.holder.submit(submission(Target::Existing(run.clone())), Vec::new()).await.unwrap();
    assert!(!again.attached);
    timeout(PATIENCE, place.holder.ended(&run)).await.unwrap().unwrap();
    place.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_get_everything_and_those_who_leave_take_no_place() {
    let place = Place::new();
    let (state, runtime) = (place.path().join("state"), place.path().join("run"));
    let bound = serve::bind(&state, &runtime, place.token).unwrap();
    let server = bound.offer(Arc::clone(&place.holder)).unwrap();
    let plan = place.plan("while test ! -e go; do sleep 0.05; done");
    let run = place.holder.submit(begin(&plan), Vec::new()).await.unwrap().run;
    let client = Client::connect(&state).await.unwrap();
    let follow = || client.ask(Request::Follow { run: run.clone(), from: 1 });
    let mut kept = follow().await.unwrap();
    assert!(matches!(kept.next().await.unwrap(), Some(Answer::Event(1, _))));
    for _ in 0..300 {
        let mut leaves = timeout(PATIENCE, follow()).await.unwrap().unwrap();
        assert!(matches!(
            timeout(PATIENCE, leaves.next()).await.unwrap().unwrap(),
            Some(Answer::Event(1, _))
        ));
    }
    assert!(matches!(client.ask_once(Request::Runs).await.unwrap(), Answer::Runs(runs) if runs.len() == 1));
    std::fs::write(place.path().join("go"), "").unwrap();
    let mut last = 1;
    loop {
        match timeout(PATIENCE, kept.next()).await.unwrap().unwrap() {
            Some(Answer::Event(seq, _)) => {
                assert_eq!(seq, last + 1);
                last = seq;
            }
            Some(Answer::Rest(rest)) => {
                assert_eq!(rest, runner::serve::RestLine::default());
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(place.rest(&run).await.state.seq, last);
    server.close().await;
    place.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_runs_at_once_share_a_journal_and_all_end() {
    let place = Place::new();
    let submit = |number: usize| {
        let path = format!("/plans/{number}.toml");
        let plan = Definition { path, ..place.plan("echo did >> log") };
        let place = &place;
        async move { place.holder.submit(begin(&plan), Vec::new()).await.unwrap().run }
    };
    let runs = futures_util::future::join_all((0..50).map(submit)).await;
    place.close().await;
    assert_eq!(place.log().lines().count(), runs.len());
    // The first of them are forgotten by now, the last ones are not.
    for run in &runs {
        if let Some(ended) = place.holder.ended(run).await {
            assert!(matches!(&*ended, Ended::Rest(rest) if rest.standing == Standing::Complete));
        }
    }
}
