//! A plan of twenty steps drawn by lot, whose effects can be counted.
//!
//! Every script appends `start ID` and `end ID` to one log around its effect, a file that appears at once by its
//! name. A step is left running by a kill of the runner and ends by itself, so a step with a probe must show up
//! exactly once, however often the runner was killed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::Value;

use super::lab::{Dice, Lab};

pub const STEPS: usize = 20;

/// What kind of step it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// With a probe.
    Probed,
    /// With a probe and an output.
    Giving,
    /// Uses an output of the step it needs first.
    Taking,
    /// Its goal is looked at once more after it.
    Verified,
    /// Fails twice before it succeeds.
    Retried,
    /// `when` is true.
    Wanted,
    /// `when` is false.
    Unwanted,
    /// May run again when it was cut off; nothing can say whether it took effect.
    Idempotent,
    /// There before the run touched it.
    Satisfied,
}

#[derive(Debug)]
pub struct Step {
    pub id: String,
    pub kind: Kind,
    pub needs: Vec<usize>,
    pause_ms: u64,
}

#[derive(Debug)]
pub struct Twenty {
    pub steps: Vec<Step>,
    remote: bool,
}

impl Twenty {
    /// A plan by lot; `remote`: its steps run over ssh.
    pub fn new(dice: &mut Dice, remote: bool) -> Self {
        use Kind::*;
        let all = [Probed, Giving, Taking, Verified, Retried, Wanted, Unwanted, Idempotent, Satisfied];
        let mut steps: Vec<Step> = Vec::new();
        for number in 0..STEPS {
            // Every kind is there at least twice, in any order.
            let mut kind = all[(number + dice.below(2) as usize * 4) % all.len()];
            let giving: Vec<usize> = (0..number).filter(|&at| steps[at].kind == Giving).collect();
            let mut needs = BTreeSet::new();
            for _ in 0..dice.below(3) {
                if number > 0 {
                    needs.insert(number - 1 - dice.below(number.min(4) as u64) as usize);
                }
            }
            let mut needs: Vec<usize> = needs.into_iter().collect();
            if kind == Taking {
                match giving.last() {
                    None => kind = Probed,
                    Some(&giving) => {
                        needs.retain(|&need| need != giving);
                        needs.insert(0, giving);
                    }
                }
            }
            // Some outlive the next start of the runner, which has to wait for them.
            let pause_ms = if dice.below(4) == 0 { 200 + dice.below(150) } else { 1 + dice.below(30) };
            steps.push(Step { id: format!("s{number:02}"), kind, needs, pause_ms });
        }
        Self { steps, remote }
    }

    /// Makes the world as it is before the run and writes the plan; `hosts` are the lines that describe `box`.
    pub fn write(&self, lab: &Lab, name: &str, hosts: &str) {
        std::fs::create_dir_all(lab.path("w/files")).unwrap();
        for step in self.steps.iter().filter(|step| step.kind == Kind::Satisfied) {
            lab.write(&format!("w/files/{}", step.id), "from before\n");
        }
        lab.plan(name, &format!("{}{hosts}", self.text(name)));
    }

    fn text(&self, name: &str) -> String {
        let mut text = format!("name = \"{name}\"\nparallelism = 3\n[vars]\nyes = true\nno = false\n");
        for step in &self.steps {
            self.step(step, &mut text);
        }
        text
    }

    fn operation(&self, kind: &str, script: &str, rest: &str) -> String {
        let (name, host) = if self.remote { ("ssh", ", host = \"box\"") } else { ("command", "") };
        format!("{{ {kind} = \"{name}\"{host}, script = '''{script}'''{rest} }}")
    }

    fn step(&self, step: &Step, text: &mut String) {
        let (id, kind) = (&step.id, step.kind);
        let needs: Vec<String> =
            step.needs.iter().map(|&need| format!("\"{}\"", self.steps[need].id)).collect();
        writeln!(text, "\n[[step]]\nid = \"{id}\"\nneeds = [{}]", needs.join(", ")).unwrap();
        let fails = format!(
            "n=$(($(cat @W@/tries-{id} 2>/dev/null || echo 0) + 1)); echo $n > @W@/.t-{id}; \
             mv @W@/.t-{id} @W@/tries-{id}; [ $n -ge 3 ] || {{ echo fail {id} >> @W@/log; exit 9; }}; "
        );
        let fails = if kind == Kind::Retried { fails } else { String::new() };
        let content = if kind == Kind::Taking { "$TAKEN" } else { id };
        let said = if kind == Kind::Giving { format!("; echo out-{id}") } else { String::new() };
        let script = format!(
            "set -e; echo start {id} >> @W@/log; sleep 0.{:03}; {fails}echo {content} > @W@/.{id}; \
             mv @W@/.{id} @W@/files/{id}; echo end {id} >> @W@/log{said}",
            step.pause_ms
        );
        let mut rest = String::new();
        if kind == Kind::Taking {
            let from = &self.steps[step.needs[0]].id;
            write!(rest, ", env = {{ TAKEN = \"{{{{ steps.{from}.outputs.said }}}}\" }}").unwrap();
        }
        let outputs = if kind == Kind::Giving { ", outputs = { said = \"text\" }" } else { "" };
        writeln!(text, "forward = {}", self.operation("action", &script, &format!("{rest}{outputs}")))
            .unwrap();
        if kind == Kind::Idempotent {
            writeln!(text, "idempotent = true").unwrap();
        } else {
            let probe = format!("test -e @W@/files/{id} || exit 1{said}");
            writeln!(text, "probe = {}", self.operation("check", &probe, outputs)).unwrap();
        }
        match kind {
            Kind::Verified => {
                let verify = format!("grep -qx {id} @W@/files/{id}");
                writeln!(text, "verify = [{}]", self.operation("check", &verify, "")).unwrap();
            }
            Kind::Retried => {
                writeln!(text, "retry = {{ attempts = 5, backoff = \"1ms\", max_backoff = \"5ms\" }}")
                    .unwrap();
            }
            Kind::Wanted => writeln!(text, "when = \"{{{{ vars.yes }}}}\"").unwrap(),
            Kind::Unwanted => writeln!(text, "when = \"{{{{ vars.no }}}}\"").unwrap(),
            _ => {}
        }
        let undo = format!(
            "echo undo {id} >> @W@/log; sleep 0.{:03}; rm -f @W@/files/{id}; echo undone {id} >> @W@/log",
            step.pause_ms
        );
        writeln!(text, "compensate = {}", self.operation("action", &undo, "")).unwrap();
    }

    /// Holds the log of the world against what the journal says, after the run is complete.
    pub fn check_forward(&self, log: &str, events: &[Value]) {
        let told = Told::of(events);
        for step in &self.steps {
            let (id, count) = (&step.id, |word: &str| lines(log, &format!("{word} {}", step.id)));
            let (starts, ends, fails) = (count("start"), count("end"), count("fail"));
            let exactly = match step.kind {
                Kind::Unwanted | Kind::Satisfied => Some((0, 0, 0)),
                Kind::Retried => Some((3, 1, 2)),
                // Cut off, it ran again, as it was allowed to.
                Kind::Idempotent => None,
                _ => Some((1, 1, 0)),
            };
            if let Some(exactly) = exactly {
                assert_eq!((starts, ends, fails), exactly, "{step:?}\n{log}");
            } else {
                let again = told.count("settled", id);
                assert!(ends == starts && starts >= 1 && starts <= 1 + again, "{step:?} {again}\n{log}");
            }
            // P1: nothing ran without an intent.
            assert!(starts <= told.count("started", id), "{step:?}\n{log}");
            // P3: what was finished was not started again.
            let finished = told.last("verified", id).or(told.last("satisfied", id));
            assert!(told.last("started", id) <= finished || step.kind == Kind::Unwanted, "{step:?}");
        }
        // Needs are met before anything that depends on them begins.
        let place = |line: String| log.lines().position(|found| found == line);
        for step in &self.steps {
            for &need in &step.needs {
                let (before, after) = (&self.steps[need], step);
                if let (Some(end), Some(start)) =
                    (place(format!("end {}", before.id)), place(format!("start {}", after.id)))
                {
                    assert!(end < start, "{} before {}\n{log}", after.id, before.id);
                }
            }
        }
    }

    /// The same after it was rolled back; `log` is what was written since.
    pub fn check_back(&self, log: &str, events: &[Value]) {
        let told = Told::of(events);
        let place = |line: String| log.lines().position(|found| found == line);
        for step in &self.steps {
            let (id, undos) = (&step.id, lines(log, &format!("undo {}", step.id)));
            assert_eq!(lines(log, &format!("start {id}")), 0, "{log}");
            if matches!(step.kind, Kind::Unwanted | Kind::Satisfied) {
                assert_eq!(undos, 0, "P5: {step:?}\n{log}");
                continue;
            }
            assert!(undos >= 1 && undos <= told.compensations(id), "{step:?}\n{log}");
            assert!(told.last("started", id) < told.last("compensated", id), "{step:?}");
            for &need in &step.needs {
                let (first, then) =
                    (place(format!("undone {id}")), place(format!("undo {}", self.steps[need].id)));
                assert!(then.is_none() || first < then, "{id} after what it needs\n{log}");
            }
        }
    }
}

fn lines(log: &str, line: &str) -> usize {
    log.lines().filter(|found| *found == line).count()
}

/// Events by kind and step.
struct Told(BTreeMap<(String, String), Vec<(u64, bool)>>);

impl Told {
    fn of(events: &[Value]) -> Self {
        let mut all: BTreeMap<_, Vec<(u64, bool)>> = BTreeMap::new();
        for (at, event) in events.iter().enumerate() {
            assert_eq!(event["seq"], at as u64 + 1);
            let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
            let back = event["direction"] == "compensation";
            all.entry((text("event"), text("step"))).or_default().push((at as u64 + 1, back));
        }
        Self(all)
    }

    fn of_kind(&self, event: &str, step: &str) -> &[(u64, bool)] {
        self.0.get(&(event.to_owned(), step.to_owned())).map_or(&[], Vec::as_slice)
    }

    fn count(&self, event: &str, step: &str) -> usize {
        self.of_kind(event, step).iter().filter(|(_, back)| !back).count()
    }

    fn compensations(&self, step: &str) -> usize {
        self.of_kind("started", step).iter().filter(|(_, back)| *back).count()
    }

    fn last(&self, event: &str, step: &str) -> Option<u64> {
        self.of_kind(event, step).last().map(|(seq, _)| *seq)
    }
}
