//! The ways to break the simulated house on purpose. Each is one of the failures that were seen in a real one or follow
//! from how its parts behave, with what a run must do about it. `docs/scenarios.md` is made from them.
//!
//! They stand by the part of the house that they break: `beside` (the new Frigate), `home` (Home Assistant and the
//! broker), `node` (the old one's Proxmox node), `days` (what shows only in the days after).

mod beside;
mod days;
mod home;
mod node;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::lab::StoreError;
use crate::lab::homeassistant::Release;
use crate::lab::house::{CONTAINER, Furniture, House};
use crate::lab::proxmox::{Container, Node};
use crate::plan::did_you_mean;
use crate::report::exit;

type Done = Result<(), Box<dyn std::error::Error>>;

/// One way to break it.
#[derive(Debug)]
pub(super) struct Scenario {
    /// How it is called.
    pub(super) name: &'static str,
    /// Its numbers among the known failures.
    pub(super) facts: &'static [u8],
    /// What is broken.
    pub(super) breaks: &'static str,
    /// What a run does about it.
    pub(super) does: &'static str,
    /// How that ends.
    pub(super) end: End,
    /// The step at which it breaks; absent: before anything begins.
    pub(super) at: Option<&'static str>,
    /// The step after which nothing is left to be seen; absent: the whole journey.
    pub(super) until: Option<&'static str>,
    /// The house that it needs.
    pub(super) furniture: Furniture,
    /// What is written into the manifests: file, text, and what stands there instead.
    pub(super) manifests: &'static [(&'static str, &'static str, &'static str)],
    strike: fn(&Arc<House>, &Path) -> Done,
    /// What else is broken when the house has come to it.
    then: Option<Then>,
}

/// What is broken later.
#[derive(Debug, Clone, Copy)]
struct Then {
    when: When,
    work: fn(&House) -> Done,
}

/// When something is broken.
#[derive(Debug, Clone, Copy)]
enum When {
    /// So many hours of the house's clock later.
    Hours(u64),
    /// As soon as this is so.
    Seen(fn(&House) -> bool),
}

/// How a scenario ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The run goes on as if nothing had been.
    GoesOn,
    /// The process is killed; the same command goes on.
    Resumed,
    /// It halts at a step.
    Halts(&'static str),
    /// It halts at a step, and `runner rollback` then brings everything back.
    BroughtBack(&'static str),
    /// Nothing has failed, and `runner rollback` brings everything back all the same.
    ChangedMind,
    /// A step fails, and the run goes all the way back by itself.
    RolledBack(&'static str),
    /// It waits for a person.
    Waits(&'static str),
    /// What is half done needs a person.
    NeedsAttention(&'static str),
}

impl End {
    /// Whether `runner rollback` is the second act.
    pub(super) fn goes_back(self) -> bool {
        matches!(self, End::BroughtBack(_) | End::ChangedMind)
    }

    fn words(self) -> String {
        let code = |code: u8| format!("exit {code}");
        match self {
            End::GoesOn => format!("goes on ({})", code(exit::COMPLETE)),
            End::Resumed => format!("killed; started again it goes on ({})", code(exit::COMPLETE)),
            End::Halts(step) => format!("halts at `{step}` ({})", code(exit::HALTED)),
            End::BroughtBack(step) => {
                format!("halts at `{step}`, then `runner rollback` ({})", code(exit::COMPLETE))
            }
            End::ChangedMind => format!("`runner rollback` ({})", code(exit::COMPLETE)),
            End::RolledBack(step) => {
                format!("`{step}` fails, rolled back by itself ({})", code(exit::ROLLED_BACK))
            }
            End::Waits(step) => format!("waits at `{step}` ({})", code(exit::WAITING)),
            End::NeedsAttention(step) => {
                format!("`{step}` needs a person ({})", code(exit::NEEDS_ATTENTION))
            }
        }
    }
}

/// What most of them have in common.
const PLAIN: Scenario = Scenario {
    name: "",
    facts: &[],
    breaks: "",
    does: "",
    end: End::GoesOn,
    at: None,
    until: None,
    furniture: MODERN,
    manifests: &[],
    strike: |_, _| Ok(()),
    then: None,
};

const MODERN: Furniture = Furniture { release: Release::Reconfigures, lived_in: false };

/// A Home Assistant whose entries cannot be reconfigured: its storage file is edited while it is stopped.
const OLDER: Furniture = Furniture { release: Release::AddsSecond, lived_in: true };

/// Known failures that nothing can be broken for, and why.
const NOTES: &[(u8, &str)] = &[(
    45,
    "faces are not carried over: 0.14 has none, and trained ones lie on the volume of the recordings; only to be known",
)];

/// All of them, in the order of their numbers.
fn all() -> Vec<&'static Scenario> {
    let mut all: Vec<_> = [beside::ALL, home::ALL, node::ALL, days::ALL].into_iter().flatten().collect();
    all.sort_by_key(|scenario| scenario.facts[0]);
    all
}

/// The scenario with this name.
pub(super) fn named(name: &str) -> Result<&'static Scenario, String> {
    let found = all().into_iter().find(|scenario| scenario.name == name);
    found.ok_or_else(|| {
        let lists = "`runner demo --list` names them";
        match did_you_mean(name, all().iter().map(|scenario| scenario.name)) {
            Some(meant) => format!("there is no such scenario, did you mean `{meant}`? {lists}"),
            None => format!("there is no such scenario; {lists}"),
        }
    })
}

impl Scenario {
    /// Its numbers, as `F16 F41`.
    pub(super) fn numbers(&self) -> String {
        let each: Vec<String> = self.facts.iter().map(|fact| format!("F{fact}")).collect();
        each.join(" ")
    }
}

/// All of them, a line each.
pub(super) fn list() -> String {
    let mut text = String::new();
    for scenario in all() {
        let Scenario { name, breaks, end, .. } = scenario;
        let _written =
            writeln!(text, "{name:<22} {:<8} {breaks}: {}", scenario.numbers(), end.words().replace('`', ""));
    }
    for (fact, why) in NOTES {
        let _written = writeln!(text, "{:<22} {:<8} {why}", "(no scenario)", format!("F{fact}"));
    }
    text
}

/// The same as a table in Markdown.
pub(super) fn table() -> String {
    let mut text = String::from(
        "| scenario | failure | what breaks | what the run does | how it ends |\n|---|---|---|---|---|\n",
    );
    for scenario in all() {
        let Scenario { name, breaks, does, end, .. } = scenario;
        let _written =
            writeln!(text, "| `{name}` | {} | {breaks} | {does} | {} |", scenario.numbers(), end.words());
    }
    for (fact, why) in NOTES {
        let _written = writeln!(text, "| none | F{fact} | {why} | | |");
    }
    text
}

/// Breaks the house, once: a house that was opened again stays as it is. `struck` in it says that this was done.
pub(super) fn strike(scenario: &Scenario, house: &Arc<House>, folder: &Path) {
    let mark = house.folder().join("broken");
    if mark.exists() {
        return;
    }
    let begun = fs::write(&mark, scenario.name).map_err(Into::into);
    let done = begun.and_then(|()| (scenario.strike)(house, folder));
    match (done, scenario.then) {
        (Ok(()), Some(then)) => later(house, then),
        (done, _) => note(house, done),
    }
}

/// Breaks it when it has come to that, which is looked at again and again.
fn later(house: &Arc<House>, then: Then) {
    let begun = house.clock.now();
    let house = Arc::downgrade(house);
    tokio::spawn(async move {
        loop {
            let Some(house) = house.upgrade() else { return };
            let come = match then.when {
                When::Hours(hours) => house.clock.now() >= begun + Duration::from_secs(hours * 3_600),
                When::Seen(seen) => seen(&house),
            };
            if come {
                return note(&house, (then.work)(&house));
            }
            drop(house);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
}

/// Notes in the house that it is broken, or says why it is not.
fn note(house: &House, done: Done) {
    if let Err(error) = done.and_then(|()| struck(house)) {
        tracing::warn!(%error, "the simulated house cannot be broken");
    }
}

fn struck(house: &House) -> Done {
    Ok(fs::write(house.folder().join("struck"), "")?)
}

/// Changes the old Frigate's container.
fn container(node: &mut Node, work: impl FnOnce(&mut Container)) {
    if let Some(found) = node.containers.get_mut(&CONTAINER) {
        work(found);
    }
}

/// Changes the old Frigate's container, from outside.
fn on_container(house: &House, work: impl FnOnce(&mut Container)) -> Result<(), StoreError> {
    house.still_fawn.change(|node| container(node, work))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_known_failure_is_a_scenario_or_a_note() {
        let broken: BTreeSet<u8> = all().iter().flat_map(|scenario| scenario.facts.iter().copied()).collect();
        let noted: BTreeSet<u8> = NOTES.iter().map(|(fact, _)| *fact).collect();
        assert!(broken.is_disjoint(&noted), "{noted:?}");
        assert_eq!(broken.union(&noted).copied().collect::<Vec<_>>(), (1..=45).collect::<Vec<_>>());
        let names: BTreeSet<_> = all().iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), all().len(), "a name twice");
        assert!(names.len() >= 35, "{}", names.len());
    }
}
