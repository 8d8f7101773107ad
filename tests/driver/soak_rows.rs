//! How a row of the table of soaks is lived through.

use std::time::Duration;

use runner::driver::Patience;
use runner::plan::recorded::{OnGap, Soak, Step};
use runner::plan::samples::{HOLDS, WATCH};
use runner::saga::{Command, Soaking, Status, Verdict, with_tails};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::basics::soak;
use crate::sim::*;

const MINUTE: u64 = 60_000;

/// What happens, one after the other; times in minutes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Do {
    /// A process that is killed after so long.
    Apply(u64),
    /// A process that is asked to stop after so long.
    Stop(u64),
    /// A process that goes on to the end.
    Rest,
    /// The same, and a person goes on without the way back after so long.
    Approve(u64),
    /// The same, paused after so long, for so long.
    Pause(u64, u64),
    /// The same, and after so long the machine sleeps for so long.
    Sleep(u64, u64),
    /// The same, and after so long the wall clock is moved by so much.
    WallAfter(u64, i64),
    /// So many calls of `--no-wait`, each followed by a pause of so many seconds, in turn.
    Ticks(usize, &'static [u64]),
    /// Nobody is there.
    Away(u64),
    /// The wall clock is moved.
    Wall(i64),
    /// The machine is off, and booted.
    Boot(u64),
}

/// How it stands in the end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    Passed,
    /// For a reason that contains this.
    Failed(&'static str),
    Soaking,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) says: &'static str,
    pub(crate) terms: fn(&mut Soak),
    pub(crate) sees: &'static str,
    /// Looks that are inconclusive take 30 s, others 2 s.
    pub(crate) slow: bool,
    pub(crate) ready: Option<&'static str>,
    pub(crate) watch: &'static str,
    pub(crate) holds: Option<(u32, u32)>,
    /// What the fact `n` is, sample by sample; then each 300 more than the one before. -1: it is missing.
    pub(crate) facts: &'static [i64],
    pub(crate) story: &'static [Do],
    pub(crate) good_min: u64,
    /// Good, bad, inconclusive.
    pub(crate) counts: (u64, u64, u64),
    pub(crate) end: End,
    pub(crate) events: usize,
}

impl Default for Row {
    fn default() -> Self {
        Self {
            says: "",
            terms: |_| (),
            sees: "",
            slow: false,
            ready: None,
            watch: "",
            holds: None,
            facts: &[],
            story: &[Do::Rest],
            good_min: 0,
            counts: (0, 0, 0),
            end: End::Passed,
            events: 0,
        }
    }
}

/// The verdicts that `2gb?` says; good after them.
fn verdicts(text: &'static str) -> impl Fn(u64) -> Verdict {
    let mut all = Vec::new();
    let mut times = String::new();
    for letter in text.chars() {
        if letter.is_ascii_digit() {
            times.push(letter);
            continue;
        }
        let verdict = match letter {
            'g' => Verdict::Holds,
            'b' => Verdict::Absent,
            'p' => Verdict::Partial,
            '?' => Verdict::Unknown,
            other => panic!("{other}"),
        };
        all.extend(vec![verdict; times.parse().unwrap_or(1)]);
        times.clear();
    }
    move |place| all.get(usize::try_from(place).unwrap()).copied().unwrap_or(Verdict::Holds)
}

impl Row {
    pub(crate) fn terms(self, terms: fn(&mut Soak)) -> Self {
        Self { terms, ..self }
    }

    pub(crate) fn one_bad_is_borne(self) -> Self {
        self.terms(|soak| soak.max_consecutive_failures = 1)
    }

    pub(crate) fn gaps_count(self) -> Self {
        self.terms(|soak| soak.on_gap = OnGap::Count)
    }

    pub(crate) fn gaps_fail(self) -> Self {
        self.terms(|soak| soak.on_gap = OnGap::Fail)
    }

    pub(crate) fn sees(self, sees: &'static str) -> Self {
        Self { sees, ..self }
    }

    pub(crate) fn slow(self) -> Self {
        Self { slow: true, ..self }
    }

    pub(crate) fn ready(self, ready: &'static str) -> Self {
        Self { ready: Some(ready), ..self }
    }

    pub(crate) fn watch(self, watch: &'static str) -> Self {
        Self { watch, ..self }
    }

    pub(crate) fn holds(self, of_them: u32, looks: u32) -> Self {
        Self { holds: Some((of_them, looks)), ..self }
    }

    pub(crate) fn facts(self, facts: &'static [i64]) -> Self {
        Self { facts, ..self }
    }

    pub(crate) fn story(self, story: &'static [Do]) -> Self {
        Self { story, ..self }
    }

    /// What comes of it.
    pub(crate) fn so(self, good_min: u64, counts: (u64, u64, u64), end: End, events: usize) -> Self {
        Self { good_min, counts, end, events, ..self }
    }

    fn step(&self) -> Step {
        let mut made = soak("s", &[], 60 * MINUTE, 5 * MINUTE);
        (self.terms)(made.soak.as_mut().unwrap());
        if !self.watch.is_empty() {
            made.verify[0].fields.insert(WATCH.to_owned(), serde_json::from_str(self.watch).unwrap());
        }
        if let Some((of_them, looks)) = self.holds {
            made.verify[0].fields.insert(HOLDS.to_owned(), json!({ "of_them": of_them, "looks": looks }));
        }
        if self.ready.is_some() {
            made.rollback_ready = vec![look("s", "ready")];
        }
        made
    }

    fn script(&self) -> Script {
        let (sees, ready) = (verdicts(self.sees), verdicts(self.ready.unwrap_or("")));
        let (slow, facts) = (self.slow, self.facts);
        Script {
            look: Box::new(move |seeing| {
                let verdict = if seeing.what == "ready" { ready(seeing.before) } else { sees(seeing.before) };
                let takes_ms = match (slow, verdict) {
                    (false, _) => 0,
                    (true, Verdict::Unknown) => 30_000,
                    (true, _) => 2_000,
                };
                (takes_ms, verdict)
            }),
            facts: Box::new(move |seeing| {
                let mut seen = serde_json::Map::new();
                let place = usize::try_from(seeing.before).unwrap();
                if let Some(last) = facts.last() {
                    let more = 300 * (place as i64 + 1 - facts.len() as i64);
                    let value = facts.get(place).copied().unwrap_or(last + more);
                    if value >= 0 {
                        seen.insert("n".to_owned(), Value::from(value));
                    }
                }
                seen
            }),
            ..Script::default()
        }
    }

    /// What is not as the row says; nothing when all is.
    pub(crate) fn lived(&self) -> Option<String> {
        let lab = Lab::new(definition(1, vec![self.step()]), self.script(), 7);
        for each in self.story {
            happen(&lab, *each);
        }
        let state = with_tails(&lab.log.state(), &lab.log.tails());
        let events = lab.log.events();
        // How far it came, also when it is over: as its events say.
        let last = self.figures(&lab);
        let ended = match (&state.steps[0].status, self.end) {
            (Status::Done, End::Passed) | (Status::Soaking(_), End::Soaking) => true,
            (Status::Failed { reason }, End::Failed(why)) => reason.contains(why),
            _ => false,
        };
        let good_min = (last.good_ms + MINUTE / 2) / MINUTE;
        let counts = (last.good, last.bad, last.inconclusive);
        let so = ended && (good_min, counts, events.len()) == (self.good_min, self.counts, self.events);
        (!so).then(|| {
            let Row { says, good_min: min, counts: wanted, end, events: number, .. } = self;
            let status = &state.steps[0].status;
            let found = events.len();
            format!(
                "{says}:\n  is  {good_min} min, {counts:?}, {found} events, {}{}\n  not {min} min, {wanted:?}, {number} events, {end:?}",
                status.word(),
                if let Status::Failed { reason } = status { format!(" ({reason})") } else { String::new() },
            )
        })
    }

    /// The last figures that the soak had.
    fn figures(&self, lab: &Lab) -> Soaking {
        let events = lab.log.events();
        let mut state = runner::saga::open(&events[0]).unwrap();
        let mut last = None;
        for event in &events[1..] {
            runner::saga::fold(&mut state, event).unwrap();
            if let Status::Soaking(soaking) = &state.steps[0].status {
                last = Some((**soaking).clone());
            }
        }
        let shown = with_tails(&state, &lab.log.tails());
        match &shown.steps[0].status {
            Status::Soaking(soaking) => (**soaking).clone(),
            _ => last.unwrap(),
        }
    }
}

fn minutes(count: u64) -> Duration {
    Duration::from_millis(count * MINUTE)
}

fn happen(lab: &Lab, what: Do) {
    let process = Process { watched: false, ..Process::apply().with(Patience::Everything) };
    let clock = std::sync::Arc::clone(&lab.clock);
    match what {
        Do::Apply(after) => {
            drop(lab.run_with(process, |inside| async move {
                sleep(minutes(after)).await;
                inside.log.crash_now();
                std::future::pending::<()>().await;
            }));
        }
        Do::Stop(after) => {
            drop(lab.run_with(process, |inside| async move {
                sleep(minutes(after)).await;
                inside.stop();
            }));
        }
        Do::Rest => drop(lab.run(process)),
        Do::Approve(after) => {
            drop(lab.run_with(process, |inside| async move {
                sleep(minutes(after)).await;
                let approve = Command::Approve { step: id("s"), note: String::new() };
                inside.handle.wish(approve, "me".to_owned()).await.unwrap();
            }));
        }
        Do::Pause(after, length) => {
            drop(lab.run_with(process, |inside| async move {
                sleep(minutes(after)).await;
                inside.handle.wish(Command::Pause, "me".to_owned()).await.unwrap();
                sleep(minutes(length)).await;
                inside.handle.wish(Command::Unpause, "me".to_owned()).await.unwrap();
            }));
        }
        Do::Sleep(after, length) => {
            drop(lab.run_with(process, |_| async move {
                sleep(minutes(after)).await;
                clock.suspend(length * MINUTE);
            }));
        }
        Do::WallAfter(after, by) => {
            drop(lab.run_with(process, |_| async move {
                sleep(minutes(after)).await;
                clock.step_wall(by * MINUTE.cast_signed());
            }));
        }
        Do::Ticks(calls, pauses) => {
            let terms = runner::saga::Terms { fresh_budget: false, ..process.terms.clone() };
            let process = Process { terms, ..process.with(Patience::Nothing) };
            for (_, pause) in (0..calls).zip(pauses.iter().cycle()) {
                drop(lab.run(process.clone()));
                clock.suspend(pause * 1_000);
            }
        }
        Do::Away(length) => clock.suspend(length * MINUTE),
        Do::Wall(by) => clock.step_wall(by * MINUTE.cast_signed()),
        Do::Boot(off) => clock.reboot(off * MINUTE),
    }
}
