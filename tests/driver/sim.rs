//! A simulated machine: clock, journal and world, all in virtual time, and processes that live and die on it.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use runner::action::Call;
use runner::check::Look;
use runner::driver::{
    Clock, DriveError, Log, Observer, Parts, Patience, Rest, RunHandle, RunTask, Secrets, Tails, World,
    encode,
};
use runner::journal::{Bodies, JournalError};
use runner::plan::recorded::{Compensate, DEFINITION_VERSION, Definition, OnFailure, Operation, Retry, Step};
use runner::plan::{PlanName, RunId, StepId};
use runner::saga::{
    self, Answer, AttemptKey, Command, CutCause, Direction, Event, FailureClass, Kept, Outcome, Refusal,
    Settlement, Stamp, State, Status, StepEvent, Tail, Terms, Trace, Verdict, What,
};
use runner::transport::{Stop, StopSender};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// When every simulated run begins, in milliseconds since 1970: Monday, 2 March 2026, 12:00 UTC.
pub(crate) const NOON: i64 = 1_772_452_800_000;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Small numbers that look random and can be had again (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// The machine's clocks. Virtual time moves them; what happens to machines is done to them by hand.
#[derive(Debug)]
pub(crate) struct SimClock(Mutex<Clocks>);

#[derive(Debug)]
struct Clocks {
    anchor: Instant,
    up_ms: u64,
    wall_ms: i64,
    boot: u64,
    passed_ms: u64,
    rng: Rng,
}

impl Clocks {
    fn move_on(&mut self) {
        let now = Instant::now();
        let passed = u64::try_from((now - self.anchor).as_millis()).unwrap();
        self.anchor = now;
        self.up_ms += passed;
        self.passed_ms += passed;
        self.wall_ms += passed.cast_signed();
    }
}

impl SimClock {
    fn new(seed: u64) -> Self {
        let anchor = Instant::now();
        Self(Mutex::new(Clocks {
            anchor,
            up_ms: 1_000_000,
            wall_ms: NOON,
            boot: 1,
            passed_ms: 0,
            rng: Rng(seed),
        }))
    }

    /// A new runtime has a new idea of virtual time.
    fn begin(&self) {
        lock(&self.0).anchor = Instant::now();
    }

    fn freeze(&self) {
        lock(&self.0).move_on();
    }

    /// The wall clock is set.
    pub(crate) fn step_wall(&self, by_ms: i64) {
        lock(&self.0).wall_ms += by_ms;
    }

    /// The machine slept: the time since boot has gone on, the monotonic clock of timers has not.
    pub(crate) fn suspend(&self, for_ms: u64) {
        let mut clocks = lock(&self.0);
        clocks.up_ms += for_ms;
        clocks.wall_ms += for_ms.cast_signed();
    }

    /// Another boot, after some time that the machine was off. Only between processes.
    pub(crate) fn reboot(&self, off_ms: u64) {
        let mut clocks = lock(&self.0);
        clocks.boot += 1;
        clocks.up_ms = 20_000;
        clocks.wall_ms += off_ms.cast_signed();
    }
}

impl Clock for SimClock {
    fn now(&self) -> Stamp {
        let mut clocks = lock(&self.0);
        clocks.move_on();
        Stamp { wall_ms: clocks.wall_ms, boot: clocks.boot, up_ms: clocks.up_ms }
    }

    fn entropy(&self) -> u64 {
        lock(&self.0).rng.next()
    }
}

/// What becomes of the process at one of its appends, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The journal says no.
    Fails(u64),
    /// The process dies and the append is lost.
    DiesBefore(u64),
    /// The process dies when the append is on disk, before anybody hears of it.
    DiesAfter(u64),
}

/// An in-memory journal of one run.
pub(crate) struct SimLog {
    inner: Mutex<Records>,
    crash: Notify,
    bodies: Bodies,
}

struct Records {
    /// On stable storage.
    events: Vec<Event>,
    /// The state after everything that was acknowledged.
    shadow: State,
    /// How often each step ended well, and was acknowledged to have.
    ended_well: BTreeMap<StepId, u64>,
    appends: u64,
    batches: Vec<usize>,
    fate: Option<Fate>,
    delay_max_ms: u64,
    rng: Rng,
    busy: bool,
    dead: bool,
    settles: u64,
    /// What is kept beside the events, and how often that was written.
    kept: Option<Vec<u8>>,
    keeps: u64,
}

impl SimLog {
    fn new(first: Event, seed: u64) -> Self {
        let shadow = saga::open(&first).unwrap();
        let inner = Records {
            events: vec![first],
            shadow,
            ended_well: BTreeMap::new(),
            appends: 0,
            batches: Vec::new(),
            fate: None,
            delay_max_ms: 0,
            rng: Rng(seed ^ 0x106),
            busy: false,
            dead: false,
            settles: 0,
            kept: None,
            keeps: 0,
        };
        Self { inner: Mutex::new(inner), crash: Notify::new(), bodies: no_bodies() }
    }

    /// A new process reads what is on disk.
    fn open(&self, fate: Option<Fate>, delay_max_ms: u64) -> State {
        let mut records = lock(&self.inner);
        let records = &mut *records;
        let mut state = saga::open(&records.events[0]).unwrap();
        records.ended_well.clear();
        for event in &records.events[1..] {
            saga::fold(&mut state, event).unwrap();
            note_end(&mut records.ended_well, event);
        }
        records.shadow = state.clone();
        records.fate = fate;
        records.delay_max_ms = delay_max_ms;
        (records.appends, records.busy, records.dead) = (0, false, false);
        records.batches.clear();
        state
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        lock(&self.inner).events.clone()
    }

    pub(crate) fn state(&self) -> State {
        lock(&self.inner).shadow.clone()
    }

    /// The last event that was acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        lock(&self.inner).shadow.seq
    }

    /// How many events each append of the last process had.
    pub(crate) fn batches(&self) -> Vec<usize> {
        lock(&self.inner).batches.clone()
    }

    pub(crate) fn settles(&self) -> u64 {
        lock(&self.inner).settles
    }

    /// Good samples that are kept and are no events yet.
    pub(crate) fn tails(&self) -> Tails {
        let records = lock(&self.inner);
        let kept = records.kept.as_ref().map(|bytes| serde_json::from_slice::<Kept>(bytes).unwrap());
        kept.map(|kept| kept.tails(&records.shadow)).unwrap_or_default()
    }

    pub(crate) fn keeps(&self) -> u64 {
        lock(&self.inner).keeps
    }

    /// From now on every append takes up to so long.
    pub(crate) fn slow(&self, delay_max_ms: u64) {
        lock(&self.inner).delay_max_ms = delay_max_ms;
    }

    pub(crate) fn fate(&self, fate: Fate) {
        lock(&self.inner).fate = Some(fate);
    }

    pub(crate) fn appends(&self) -> u64 {
        lock(&self.inner).appends
    }

    async fn store(&self, first_seq: u64, bodies: Vec<Vec<u8>>) -> Result<(), JournalError> {
        let (number, fate, delay) = {
            let mut records = lock(&self.inner);
            assert!(!records.dead, "an append after one that failed");
            assert!(!records.busy, "two appends at once");
            assert_eq!(first_seq, records.shadow.seq + 1, "an append out of order");
            records.busy = true;
            records.appends += 1;
            let most = records.delay_max_ms;
            let delay = if most == 0 { 0 } else { records.rng.below(most + 1) };
            (records.appends, records.fate, delay)
        };
        if delay > 0 {
            sleep(Duration::from_millis(delay)).await;
        }
        if fate == Some(Fate::DiesBefore(number)) {
            self.die().await;
        }
        let events: Vec<Event> =
            bodies.iter().map(|body| runner::driver::decode(body, &self.bodies).unwrap()).collect();
        {
            let mut records = lock(&self.inner);
            if fate == Some(Fate::Fails(number)) {
                records.dead = true;
                let source = Arc::new(std::io::Error::from(std::io::ErrorKind::StorageFull));
                return Err(JournalError::DiskFull { path: PathBuf::from("/full"), source });
            }
            records.events.extend(events.iter().cloned());
        }
        if fate == Some(Fate::DiesAfter(number)) {
            self.die().await;
        }
        let mut records = lock(&self.inner);
        for event in &events {
            saga::fold(&mut records.shadow, event).unwrap();
            note_end(&mut records.ended_well, event);
        }
        records.batches.push(events.len());
        records.busy = false;
        Ok(())
    }

    /// The process dies between two appends.
    pub(crate) fn crash_now(&self) {
        self.crash.notify_one();
    }

    async fn die(&self) {
        self.crash.notify_one();
        std::future::pending::<()>().await;
    }
}

fn note_end(ended_well: &mut BTreeMap<StepId, u64>, event: &Event) {
    if let What::Step {
        step,
        is: StepEvent::Verified { .. } | StepEvent::Skipped { .. } | StepEvent::SoakPassed,
    } = &event.what
    {
        *ended_well.entry(step.clone()).or_default() += 1;
    }
}

impl Log for SimLog {
    fn append(
        &self,
        _run: RunId,
        first_seq: u64,
        bodies: Vec<Vec<u8>>,
    ) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(self.store(first_seq, bodies))
    }

    fn settle(&self) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async {
            lock(&self.inner).settles += 1;
            Ok(())
        })
    }

    fn checkpoint(&self, _run: RunId, seq: u64, body: Vec<u8>) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async move {
            let read: State = serde_json::from_slice(&body).unwrap();
            let records = lock(&self.inner);
            assert_eq!((read.reindexed(), seq), (records.shadow.clone(), records.shadow.seq));
            Ok(())
        })
    }

    fn keep(&self, _run: RunId, body: Vec<u8>) -> BoxFuture<'_, Result<(), JournalError>> {
        let mut records = lock(&self.inner);
        assert!(!records.dead, "something is kept after an append that failed");
        records.keeps += 1;
        records.kept = Some(body);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// How one attempt goes.
#[derive(Debug, Clone)]
pub(crate) struct Act {
    pub(crate) takes_ms: u64,
    pub(crate) end: End,
    /// It has its effect, whatever it says of it.
    pub(crate) effect: bool,
    /// `on_stop = "stop"`.
    pub(crate) stoppable: bool,
    /// When its process dies, it goes on, and its end is recorded where it runs.
    pub(crate) survives: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Acts,
    Fails(FailureClass),
    Cut(CutCause),
    Panics,
}

impl Act {
    pub(crate) fn well(takes_ms: u64) -> Self {
        Self { takes_ms, end: End::Acts, effect: true, stoppable: false, survives: false }
    }

    pub(crate) fn ends(takes_ms: u64, end: End) -> Self {
        Self { end, effect: end == End::Acts, ..Self::well(takes_ms) }
    }

    fn outcome(&self) -> Outcome {
        let (message, trace) = ("as scripted".to_owned(), Trace::default());
        match self.end {
            End::Acts => Outcome::Acted { outputs: serde_json::Map::new(), trace },
            End::Fails(class) => Outcome::Failed { class, message, trace },
            End::Cut(cause) => Outcome::Cut { cause, message, trace },
            End::Panics => panic!("as scripted"),
        }
    }
}

/// What a script knows when it says what a look sees.
#[derive(Debug, Clone)]
pub(crate) struct Seeing {
    pub(crate) step: String,
    /// `probe`, `verify`, `undone`, `ready`, `evidence` or `gone`.
    pub(crate) what: String,
    /// How many such looks there were before.
    pub(crate) before: u64,
    /// The step has its effect on the world.
    pub(crate) effect: bool,
}

impl Seeing {
    /// What a sane world shows.
    pub(crate) fn plainly(&self) -> Verdict {
        let holds = match self.what.as_str() {
            "probe" | "verify" => self.effect,
            "undone" => !self.effect,
            _ => true,
        };
        if holds { Verdict::Holds } else { Verdict::Absent }
    }
}

type ActScript = Box<dyn Fn(&AttemptKey) -> Act + Send + Sync>;
type LookScript = Box<dyn Fn(&Seeing) -> (u64, Verdict) + Send + Sync>;
type FactScript = Box<dyn Fn(&Seeing) -> serde_json::Map<String, serde_json::Value> + Send + Sync>;
type SettleScript = Box<dyn Fn(&AttemptKey, u64) -> Option<Settlement> + Send + Sync>;

/// What the world does.
pub(crate) struct Script {
    pub(crate) act: ActScript,
    /// How long it takes and what it sees.
    pub(crate) look: LookScript,
    /// An answer other than the true one, by attempt and how often it was asked before.
    pub(crate) settle: SettleScript,
    /// What a look sees, for programs.
    pub(crate) facts: FactScript,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            act: Box::new(|_| Act::well(1_000)),
            look: Box::new(|seeing| (10, seeing.plainly())),
            settle: Box::new(|_, _| None),
            facts: Box::new(|_| serde_json::Map::new()),
        }
    }
}

/// The world. It outlives processes.
pub(crate) struct SimWorld {
    log: Arc<SimLog>,
    clock: Arc<SimClock>,
    /// The world after somebody mended it.
    inner: Mutex<Things>,
}

struct Things {
    script: Arc<Script>,
    effects: BTreeMap<StepId, bool>,
    /// Attempts that were begun, with the time.
    begun: Vec<(AttemptKey, Stamp)>,
    in_flight: BTreeMap<AttemptKey, (Act, Stamp)>,
    /// Attempts whose process died, and that go on.
    orphans: BTreeMap<AttemptKey, (Act, Stamp)>,
    looks: BTreeMap<(String, String), u64>,
    look_times: Vec<(String, String, Stamp)>,
    settles: BTreeMap<AttemptKey, u64>,
    crashing: bool,
    wrong: Vec<String>,
    most_at_once: usize,
    ended_at: Option<Stamp>,
}

impl SimWorld {
    fn new(log: Arc<SimLog>, clock: Arc<SimClock>, script: Script) -> Self {
        let inner = Things {
            script: Arc::new(script),
            effects: BTreeMap::new(),
            begun: Vec::new(),
            in_flight: BTreeMap::new(),
            orphans: BTreeMap::new(),
            looks: BTreeMap::new(),
            look_times: Vec::new(),
            settles: BTreeMap::new(),
            crashing: false,
            wrong: Vec::new(),
            most_at_once: 0,
            ended_at: None,
        };
        Self { log, clock, inner: Mutex::new(inner) }
    }

    pub(crate) fn script(&self, script: Script) {
        lock(&self.inner).script = Arc::new(script);
    }

    pub(crate) fn begun(&self) -> Vec<(AttemptKey, Stamp)> {
        lock(&self.inner).begun.clone()
    }

    pub(crate) fn effects(&self) -> BTreeMap<StepId, bool> {
        lock(&self.inner).effects.clone()
    }

    pub(crate) fn acting(&self) -> usize {
        lock(&self.inner).in_flight.len()
    }

    pub(crate) fn most_at_once(&self) -> usize {
        lock(&self.inner).most_at_once
    }

    /// When each look of a kind at a step was begun.
    pub(crate) fn looked(&self, step: &str, what: &str) -> Vec<Stamp> {
        let things = lock(&self.inner);
        let found = things.look_times.iter().filter(|(s, w, _)| s == step && w == what);
        found.map(|(_, _, at)| *at).collect()
    }

    pub(crate) fn set_effect(&self, step: &str, effect: bool) {
        lock(&self.inner).effects.insert(id(step), effect);
    }

    fn wrong(&self, what: String) {
        lock(&self.inner).wrong.push(what);
    }

    /// The process that acts is gone from here on.
    fn crash(&self) {
        lock(&self.inner).crashing = true;
    }

    fn begin(&self) {
        let mut things = lock(&self.inner);
        things.crashing = false;
        assert!(things.in_flight.is_empty(), "the last process left something in flight");
    }

    /// P1: the intent is acknowledged before the first byte of the effect.
    fn check_act(&self, key: &AttemptKey) {
        let state = self.log.state();
        let found = state.step(&key.step).map(|(_, found)| found.status.clone());
        let running = match (&found, key.direction) {
            (Some(Status::Running { attempt }), Direction::Forward)
            | (Some(Status::Compensating { attempt }), Direction::Compensation) => *attempt == key.attempt,
            _ => false,
        };
        if !running {
            self.wrong(format!("P1: {key} begins while the journal has it {found:?}"));
        }
        let things = lock(&self.inner);
        let again = things.begun.iter().any(|(begun, _)| begun == key);
        let alive = things.in_flight.keys().chain(things.orphans.keys()).any(|live| live.step == key.step);
        drop(things);
        if again {
            self.wrong(format!("{key} begins twice"));
        }
        if alive {
            self.wrong(format!("{key} begins while an attempt of its step is alive"));
        }
        if key.direction == Direction::Forward {
            self.check_needs(&key.step, &format!("{key}"));
        }
    }

    /// P1: what it depends on has ended, and that is acknowledged, before anything of a step starts.
    fn check_needs(&self, step: &StepId, who: &str) {
        let records = lock(&self.log.inner);
        let Some((definition, _)) = records.shadow.step(step) else { return };
        let open: Vec<String> = definition
            .needs
            .iter()
            .filter(|need| !records.ended_well.contains_key(need))
            .map(ToString::to_string)
            .collect();
        drop(records);
        if !open.is_empty() {
            self.wrong(format!("P1: {who} before the end of {open:?} was acknowledged"));
        }
    }

    fn end(&self, key: &AttemptKey, act: &Act) {
        let mut things = lock(&self.inner);
        things.in_flight.remove(key);
        things.orphans.remove(key);
        if act.effect {
            things.effects.insert(key.step.clone(), key.direction == Direction::Forward);
        }
    }
}

/// Notices when an `act` is dropped in the middle.
struct Guard {
    world: Arc<SimWorld>,
    key: AttemptKey,
    done: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut things = lock(&self.world.inner);
        let Some((act, at)) = things.in_flight.remove(&self.key) else { return };
        if !things.crashing {
            things.wrong.push(format!("{} was dropped in the middle", self.key));
        } else if act.survives {
            things.orphans.insert(self.key.clone(), (act, at));
        } else if act.effect && self.key.attempt.is_multiple_of(2) {
            // Killed after its effect, now and then.
            things.effects.insert(self.key.step.clone(), self.key.direction == Direction::Forward);
        }
    }
}

/// The world as one process sees it.
struct Seen(Arc<SimWorld>);

impl World for Seen {
    fn act(&self, call: Call) -> BoxFuture<'static, Outcome> {
        let (world, key) = (Arc::clone(&self.0), call.key);
        world.check_act(&key);
        let now = world.clock.now();
        let mut things = lock(&world.inner);
        let act = (things.script.act)(&key);
        things.begun.push((key.clone(), now));
        things.in_flight.insert(key.clone(), (act.clone(), now));
        things.most_at_once = things.most_at_once.max(things.in_flight.len());
        if things.crashing {
            things.wrong.push(format!("{key} begins after the journal failed"));
        }
        drop(things);
        let guard = Guard { world: Arc::clone(&world), key: key.clone(), done: false };
        Box::pin(async move {
            // The whole guard, not its flag.
            let mut guard = guard;
            let stopped = async {
                if !act.stoppable {
                    std::future::pending::<()>().await;
                }
                call.stop.fired().await;
            };
            tokio::select! {
                () = sleep(Duration::from_millis(act.takes_ms)) => {
                    world.end(&key, &act);
                    guard.done = true;
                    act.outcome()
                }
                () = stopped => {
                    let act = Act { effect: false, ..Act::ends(0, End::Cut(CutCause::Stopped)) };
                    world.end(&key, &act);
                    guard.done = true;
                    act.outcome()
                }
            }
        })
    }

    fn settle(&self, call: Call) -> BoxFuture<'static, Settlement> {
        let (world, key) = (Arc::clone(&self.0), call.key);
        let mut things = lock(&world.inner);
        let asked = things.settles.entry(key.clone()).or_default();
        *asked += 1;
        let before = *asked - 1;
        let scripted = (things.script.settle)(&key, before);
        let orphan = things.orphans.get(&key).cloned();
        drop(things);
        Box::pin(async move {
            sleep(Duration::from_millis(20)).await;
            if let Some(settlement) = scripted {
                return settlement;
            }
            let Some((act, began)) = orphan else { return Settlement::Over };
            let left = act.takes_ms.saturating_sub(world.clock.now().since_ms(&began));
            sleep(Duration::from_millis(left)).await;
            world.end(&key, &act);
            Settlement::Ended(act.outcome())
        })
    }

    fn look(&self, look: Look) -> BoxFuture<'static, Answer> {
        let field = |name: &str| look.operation.fields[name].as_str().unwrap().to_owned();
        let (step, what) = (field("step"), field("what"));
        let world = Arc::clone(&self.0);
        if matches!(what.as_str(), "probe" | "evidence" | "gone") {
            world.check_needs(&id(&step), &format!("a {what} of {step}"));
        }
        let now = world.clock.now();
        let mut things = lock(&world.inner);
        let seen = things.looks.entry((step.clone(), what.clone())).or_default();
        *seen += 1;
        let before = *seen - 1;
        let effect = things.effects.get(&id(&step)).copied().unwrap_or(false);
        things.look_times.push((step.clone(), what.clone(), now));
        if things.crashing {
            things.wrong.push(format!("a {what} of {step} begins after the journal failed"));
        }
        let seeing = Seeing { step, what, before, effect };
        let (takes_ms, verdict) = (things.script.look)(&seeing);
        let facts = (things.script.facts)(&seeing);
        drop(things);
        Box::pin(async move {
            sleep(Duration::from_millis(takes_ms)).await;
            Answer { facts, ..Answer::new(verdict, "as scripted") }
        })
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Sees everything that is told, and that it is true.
struct Watcher {
    log: Arc<SimLog>,
    world: Arc<SimWorld>,
    last: u64,
    tails: BTreeMap<StepId, Tail>,
    /// The healthy time that was last shown, by soak.
    healthy_ms: BTreeMap<StepId, u64>,
}

impl Watcher {
    /// What a bar shows of a soak never goes back.
    fn look(&mut self, state: &State) {
        for (step, found) in state.definition.steps.iter().zip(&state.steps) {
            let Status::Soaking(soaking) = &found.status else {
                self.healthy_ms.remove(&step.id);
                continue;
            };
            let healthy = soaking.healthy_ms(self.tails.get(&step.id).unwrap_or(&Tail::default()));
            if self.healthy_ms.insert(step.id.clone(), healthy).is_some_and(|before| before > healthy) {
                self.world.wrong(format!("the healthy time of `{}` goes back to {healthy}", step.id));
            }
        }
    }
}

impl Observer for Watcher {
    fn tails(&mut self, tails: &BTreeMap<StepId, Tail>) {
        self.tails.clone_from(tails);
    }

    fn events(&mut self, state: &State, events: &[Event]) {
        self.look(state);
        let acknowledged = self.log.state();
        if *state != acknowledged {
            self.world.wrong(format!("P2: state {} is shown at {}", state.seq, acknowledged.seq));
        }
        for event in events {
            if event.seq != self.last + 1 {
                self.world.wrong(format!("event {} is shown after {}", event.seq, self.last));
            }
            self.last = event.seq;
        }
        if self.last != state.seq {
            self.world.wrong(format!("events to {} are shown with state {}", self.last, state.seq));
        }
    }

    fn tick(&mut self, state: &State, _now: &Stamp) {
        self.look(state);
        if state.seq != self.log.acknowledged() {
            self.world.wrong(format!("P2: a tick shows {}", state.seq));
        }
    }
}

/// How a process ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Rest(Box<Rest>),
    Refused(Refusal),
    Failed(DriveError),
    Crashed,
}

impl Ended {
    #[track_caller]
    pub(crate) fn rest(self) -> Rest {
        match self {
            Ended::Rest(rest) => *rest,
            other => panic!("no rest but {other:?}"),
        }
    }
}

/// What a scenario inside a process may use.
#[derive(Clone)]
pub(crate) struct Inside {
    pub(crate) handle: RunHandle,
    pub(crate) stopper: Arc<StopSender>,
    pub(crate) log: Arc<SimLog>,
    pub(crate) world: Arc<SimWorld>,
    pub(crate) clock: Arc<SimClock>,
}

impl Inside {
    /// As the holder does it.
    pub(crate) fn stop(&self) {
        self.stopper.fire();
        self.handle.stop();
    }

    pub(crate) fn status(&self, step: &str) -> Status {
        self.log.state().step(&id(step)).unwrap().1.status.clone()
    }

    /// Whether an event of this person is acknowledged.
    pub(crate) fn acknowledged_by(&self, who: &str) -> bool {
        let (last, events) = (self.log.acknowledged(), self.log.events());
        let mut acknowledged = events.iter().filter(|event| event.seq <= last);
        acknowledged.any(|event| serde_json::to_string(&event.what).unwrap().contains(who))
    }

    /// Waits until the journal has it so.
    pub(crate) async fn until(&self, what: impl Fn(&State) -> bool) {
        let mut seq = self.handle.follow();
        while !what(&self.log.state()) {
            if seq.changed().await.is_err() {
                return;
            }
        }
    }
}

/// How a process is started.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) patience: Patience,
    pub(crate) terms: Terms,
    pub(crate) wishes: Vec<Command>,
    pub(crate) fate: Option<Fate>,
    pub(crate) delay_max_ms: u64,
    /// Whether somebody watches, with ticks.
    pub(crate) watched: bool,
    /// Virtual time after which it counts as hanging.
    pub(crate) limit: Duration,
}

impl Process {
    pub(crate) fn apply() -> Self {
        Self {
            patience: Patience::Timers,
            terms: Terms { forward: true, fresh_budget: true, assume_yes: false },
            wishes: Vec::new(),
            fate: None,
            delay_max_ms: 0,
            watched: true,
            limit: Duration::from_secs(24 * 3_600),
        }
    }

    pub(crate) fn rollback() -> Self {
        let wishes = vec![Command::Rollback { to: None, parallel: 1 }];
        let terms = Terms { forward: false, fresh_budget: false, assume_yes: false };
        Self { wishes, terms, ..Self::apply() }
    }

    pub(crate) fn with(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    pub(crate) fn fate(self, fate: Fate) -> Self {
        Self { fate: Some(fate), ..self }
    }
}

/// One run on one machine.
pub(crate) struct Lab {
    pub(crate) log: Arc<SimLog>,
    pub(crate) world: Arc<SimWorld>,
    pub(crate) clock: Arc<SimClock>,
    token: Mutex<u64>,
}

impl Lab {
    pub(crate) fn new(definition: Definition, script: Script, seed: u64) -> Self {
        let clock = Arc::new(SimClock::new(seed));
        let run = RunId::new(definition.name.clone(), 1);
        let what = What::RunOpened { run, definition: Arc::new(definition), by: "lab".to_owned() };
        let first = Event { seq: 1, at: clock.now(), what };
        encode(&first, &no_bodies()).unwrap();
        let log = Arc::new(SimLog::new(first, seed));
        let world = Arc::new(SimWorld::new(Arc::clone(&log), Arc::clone(&clock), script));
        Self { log, world, clock, token: Mutex::new(0) }
    }

    pub(crate) fn run(&self, process: Process) -> Ended {
        self.run_with(process, |_| std::future::ready(()))
    }

    /// Lives one process to its end; `scenario` is what happens around it meanwhile.
    pub(crate) fn run_with<F>(&self, process: Process, scenario: impl FnOnce(Inside) -> F) -> Ended
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.unwrap();
        let ended = runtime.block_on(self.live(process, scenario));
        self.clock.freeze();
        // Who was told that it is over is not acted for any more; a crash ends everything.
        let alive = runtime.metrics().num_alive_tasks();
        if !matches!(ended, Ended::Crashed | Ended::Failed(_)) && alive > 0 {
            self.world.wrong(format!("{alive} tasks are left behind"));
        }
        drop(runtime);
        let wrong = std::mem::take(&mut lock(&self.world.inner).wrong);
        assert!(wrong.is_empty(), "{wrong:#?}");
        ended
    }

    async fn live<F>(&self, process: Process, scenario: impl FnOnce(Inside) -> F) -> Ended
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.clock.begin();
        self.world.begin();
        let state = self.log.open(process.fate, process.delay_max_ms);
        let (stopper, stop) = Stop::channel();
        let watcher = Watcher {
            log: Arc::clone(&self.log),
            world: Arc::clone(&self.world),
            last: state.seq,
            tails: BTreeMap::new(),
            healthy_ms: BTreeMap::new(),
        };
        let observers: Vec<Box<dyn Observer>> =
            if process.watched { vec![Box::new(watcher)] } else { Vec::new() };
        let parts = Parts {
            world: Arc::new(Seen(Arc::clone(&self.world))),
            log: Arc::clone(&self.log),
            clock: Arc::clone(&self.clock),
            bodies: no_bodies(),
            keys: runner::driver::Keys::at("/nonexistent/key".into()),
            secrets: Secrets::new(BTreeMap::new()),
            stop,
            cwd: None,
            patience: process.patience,
            tails: self.log.tails(),
            holdings: Arc::default(),
            observers,
        };
        let token = {
            let mut token = lock(&self.token);
            *token += 1;
            *token
        };
        let (task, handle) = RunTask::new(state, parts).unwrap();
        let resume = Command::Resume { token, terms: process.terms };
        let by = |command| (command, "lab".to_owned());
        let first = std::iter::once(resume).chain(process.wishes).map(by).collect();
        let inside = Inside {
            handle: handle.clone(),
            stopper: Arc::new(stopper),
            log: Arc::clone(&self.log),
            world: Arc::clone(&self.world),
            clock: Arc::clone(&self.clock),
        };
        let follower = tokio::spawn(follow(inside.clone()));
        let scenario = tokio::spawn(scenario(inside));
        let mut task = tokio::spawn(task.drive(first));
        let ended = tokio::select! {
            ended = &mut task => match ended.expect("the task does not panic") {
                Ok(Ok(rest)) => Ended::Rest(Box::new(rest)),
                Ok(Err(refusal)) => Ended::Refused(refusal),
                Err(error) => Ended::Failed(error),
            },
            () = self.log.crash.notified() => Ended::Crashed,
            () = sleep(process.limit) => panic!("it hangs in {:#?}", self.log.state()),
        };
        match &ended {
            Ended::Crashed => self.world.crash(),
            Ended::Failed(_) => {
                self.world.crash();
                // Whatever would still come, comes now.
                sleep(Duration::from_secs(7 * 24 * 3_600)).await;
            }
            Ended::Rest(rest) => {
                assert_eq!(rest.state, self.log.state(), "it rests in the state that is on disk");
                assert_eq!(self.world.acting(), 0, "nothing acts when it rests");
            }
            Ended::Refused(_) => {}
        }
        if matches!(ended, Ended::Rest(_) | Ended::Refused(_)) {
            lock(&self.world.inner).ended_at = Some(self.clock.now());
            // The scenario may still be asking; whoever asks now is told that nobody is there.
            sleep(Duration::from_millis(1)).await;
            scenario.abort();
            follower.await.unwrap();
            if let Err(error) = scenario.await
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        ended
    }

    /// Milliseconds that have passed on this machine, whatever was done to its clocks.
    pub(crate) fn clock_ms(&self) -> u64 {
        lock(&self.clock.0).passed_ms
    }

    /// When the last process came to rest.
    pub(crate) fn ended_at(&self) -> Stamp {
        lock(&self.world.inner).ended_at.unwrap()
    }

    pub(crate) fn status(&self, step: &str) -> Status {
        self.log.state().step(&id(step)).unwrap().1.status.clone()
    }

    pub(crate) fn words(&self) -> Vec<&'static str> {
        self.log.state().steps.iter().map(|step| step.status.word()).collect()
    }
}

/// P2: what is followed is on disk, and only grows.
async fn follow(inside: Inside) {
    let mut seq = inside.handle.follow();
    drop(inside.stopper);
    let mut last = 0;
    loop {
        let now = *seq.borrow_and_update();
        if now > inside.log.acknowledged() || now < last {
            inside.world.wrong(format!("P2: `follow` shows {now} after {last}"));
        }
        last = now;
        if seq.changed().await.is_err() {
            return;
        }
    }
}

fn no_bodies() -> Bodies {
    Bodies::at(Path::new("/nonexistent"))
}

pub(crate) fn id(step: &str) -> StepId {
    StepId::new(step).unwrap()
}

/// A look of some kind at a step.
pub(crate) fn look(step: &str, what: &str) -> Operation {
    operation("look", &[("step", step), ("what", what)])
}

fn operation(name: &str, fields: &[(&str, &str)]) -> Operation {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    Operation { name: name.to_owned(), fields }
}

/// A step that acts, has a compensation and nothing else.
pub(crate) fn step(name: &str, needs: &[&str]) -> Step {
    Step {
        id: id(name),
        summary: String::new(),
        needs: needs.iter().map(|need| id(need)).collect(),
        when: None,
        gate: None,
        window: None,
        timeout_ms: 600_000,
        retry: Retry { attempts: 1, backoff_ms: 2_000, max_backoff_ms: 60_000, on_verify: false },
        takes: BTreeMap::new(),
        frees: BTreeMap::new(),
        on_failure: OnFailure::Halt,
        idempotent: false,
        forward: Some(operation("act", &[("step", name)])),
        probe: None,
        verify: Vec::new(),
        verify_within_ms: 60_000,
        undone: Vec::new(),
        undone_within_ms: 60_000,
        compensate: Compensate::Action(operation("act", &[("step", name)])),
        soak: None,
        rollback_ready: Vec::new(),
    }
}

/// The same with a probe: a cut-off attempt can be settled.
pub(crate) fn probed(name: &str, needs: &[&str]) -> Step {
    Step { probe: Some(look(name, "probe")), ..step(name, needs) }
}

pub(crate) fn definition(parallelism: u32, steps: Vec<Step>) -> Definition {
    Definition {
        version: DEFINITION_VERSION,
        name: PlanName::new("sim").unwrap(),
        description: String::new(),
        path: "/plans/sim.toml".to_owned(),
        folder: "/plans".to_owned(),
        on_failure: OnFailure::Halt,
        parallelism,
        vars: BTreeMap::new(),
        given: BTreeMap::new(),
        secrets: BTreeMap::new(),
        hosts: BTreeMap::new(),
        clusters: BTreeMap::new(),
        brokers: BTreeMap::new(),
        resources: BTreeMap::new(),
        steps,
        files: BTreeMap::new(),
    }
}
