//! What the demo says in plain words: before it begins, at every step, and at the end.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::Led;
use super::scenarios::{self, Scenario};
use crate::cli::session::Teller;
use crate::lab::house::House;
use crate::plan::StepId;
use crate::report::shell_word;
use crate::saga::{Shown, State, Status};

/// Each step of the plan: what is done, and why.
const STEPS: &[(&str, &str)] = &[
    (
        "old-is-well",
        "First everything is looked at and nothing is touched: is the container the one that is meant, does it work, could it be \
         started again? A way back that does not work is worth nothing.",
    ),
    (
        "baseline",
        "What there is now is written down, so that the new Frigate is compared with the old one: a camera that was down before \
         is not held against it.",
    ),
    (
        "lint",
        "The new configuration is judged: Frigate itself accepts about half of the mistakes that cost weeks.",
    ),
    (
        "deploy",
        "The new Frigate comes up beside the old one, with an MQTT client id of its own: two clients of one id would throw each \
         other out for ever. On the way back all of this goes again, but not the volumes.",
    ),
    (
        "prove",
        "It must work twice, a minute apart: a detector that crashes in a loop answers between two crashes.",
    ),
    (
        "repoint",
        "Home Assistant is told the new address by its own reconfigure flow. It reaches the new server before it lets go of the \
         old one; no restart, entities and history stay.",
    ),
    ("backup", "The old container is backed up, and the archive is seen to be there."),
    (
        "stop-old",
        "The old container is shut down cleanly, not killed: a killed Frigate leaves `offline` behind at the broker, and Home \
         Assistant would mark every camera of the new one unavailable. It stays, for the way back.",
    ),
    ("heal", "The broker must say `online` of a Frigate that is."),
    (
        "soak",
        "Now it is watched for three days: the new one, and whether the way back still works. Here a day passes in a moment, and \
         it is looked at by the hour, or every six hours where something is broken on purpose; the plan itself looks every five \
         minutes.",
    ),
    (
        "delete-old",
        "Only now the old container may go, and only with a yes. Its recordings are on a folder of the host, which stays.",
    ),
];

/// Tells of each step when it begins, once; breaks the house at the scenario's step.
pub(super) fn teller(house: Arc<House>, scenario: Option<&'static Scenario>) -> Teller {
    let told = Arc::new(Mutex::new(BTreeSet::new()));
    Teller(Arc::new(move |step: &str| {
        if !told.lock().unwrap_or_else(PoisonError::into_inner).insert(step.to_owned()) {
            return None;
        }
        if let Some(scenario) = scenario.filter(|scenario| scenario.at == Some(step)) {
            scenarios::strike(scenario, &house, house.folder());
        }
        STEPS.iter().find(|(name, _)| *name == step).map(|(_, words)| (*words).to_owned())
    }))
}

/// Before the second act.
pub(super) const BACK: &str =
    "\nNow all of it is brought back, from the journal alone, as one would by hand: `runner rollback`.\n";

/// Before it is told what a rollback would do.
pub(super) const UNDONE: &str =
    "\nWhat would be undone, and how, were it brought back now, as the journal knows it:\n";

/// Before it begins.
pub(super) fn before(house: &House, scenario: Option<&Scenario>, own: bool) -> String {
    let plan = if own {
        "The plan that now moves Frigate is yours: its variables furnish the house, and those that say where things are have the \
         house's own values"
    } else {
        "The plan that now moves Frigate is the real `plans/frigate.toml`, as this program was built with it (`runner demo PLAN` \
         takes your own)"
    };
    let mut text = format!(
        "A house is simulated on this machine: a Proxmox node with Frigate {} in container {}, Home Assistant, an MQTT broker and \
         a Kubernetes node with a GPU. {plan}, and what runs it is the real thing; only the house is not.",
        house.blueprint.old_version.trim_end_matches('-'),
        house.blueprint.container,
    );
    if let Some(scenario) = scenario {
        let Scenario { breaks, does, .. } = scenario;
        let _written = write!(
            text,
            "\n\nBroken on purpose ({}): {breaks}. What has to come of it: {does}.",
            scenario.numbers()
        );
    }
    text.push('\n');
    text
}

/// Before it goes back.
pub(super) fn back(step: &StepId) -> String {
    format!(
        "\nThe journey has come as far as `{step}`. Now `runner rollback`: from the journal alone every step is taken back, the \
         last one first, and the next one only when what was undone is seen to work again.\n"
    )
}

/// What the run moved and from where to where: its own operations and what they put out, from the journal.
pub(super) fn moved(state: &State) -> String {
    let shown = Shown::of(state);
    let mut text = String::new();
    for (step, found) in state.definition.steps.iter().zip(&state.steps).filter(|(_, found)| found.owned) {
        let (Some(forward), Some(outputs)) = (&step.forward, &found.outputs) else { continue };
        let plain = |value: &Value| match value {
            Value::String(text) => shown.text(text),
            other => other.to_string(),
        };
        let told = |name: &str| forward.fields.get(name).map(plain);
        let got = |name: &str| outputs.get(name).map(plain);
        let part = |word: &str, value: Option<String>| {
            value.map_or_else(String::new, |value| format!(" {word} {value}"))
        };
        let container = || {
            format!(
                "container {} on host `{}`",
                told("vmid").unwrap_or_default(),
                told("host").unwrap_or_default()
            )
        };
        let (what, way) = match forward.name.as_str() {
            "kubernetes.apply" => {
                let way = format!("came up{}{}", part("at", got("address")), part("on node", got("node")));
                ("the new Frigate".to_owned(), way)
            }
            "homeassistant.repoint" => {
                let way = format!("moved{}{}", part("from", told("current_url")), part("to", got("url")));
                ("Home Assistant".to_owned(), way)
            }
            "lxc.backup" => (container(), format!("backed up{}", part("as", got("archive")))),
            "lxc.stop" => (container(), "shut down, and kept".to_owned()),
            "lxc.destroy" => (container(), "deleted".to_owned()),
            _ => continue,
        };
        let back =
            if found.status == Status::Compensated && found.compensations > 0 { "; taken back" } else { "" };
        let _written = writeln!(text, "  {:<12} {what}: {way}{back}", step.id.as_str());
    }
    match text.is_empty() {
        true => "\nNothing was moved, as the journal has it.".to_owned(),
        false => format!("\nWhat was moved, as the journal has it:\n{}", text.trim_end()),
    }
}

/// After the run has come to rest.
pub(super) fn after(house: &House) -> String {
    let mut text = String::from("\nWhat the house itself says:\n");
    let says = |is: bool| if is { "runs" } else { "does not run" };
    let _written = writeln!(
        text,
        "  the old Frigate {}, the new one {}",
        says(house.old.is_running()),
        says(house.new.is_running())
    );
    let number = house.blueprint.container;
    let container = house.still_fawn.look(|node| node.containers.contains_key(&number));
    let _written = writeln!(
        text,
        "  container {number} {}, its recordings {}",
        if container.unwrap_or(true) { "is there" } else { "is deleted" },
        if house.recordings_are_there() { "are there" } else { "are GONE" },
    );
    for camera in house.blueprint.cameras.iter().filter(|camera| !house.blueprint.down.contains(camera)) {
        let gaps: Vec<_> = house.home.gaps().into_iter().filter(|gap| gap.camera == *camera).collect();
        let ms: u64 = gaps.iter().filter_map(|gap| Some(gap.to_ms?.saturating_sub(gap.from_ms))).sum();
        let open = gaps.iter().any(|gap| gap.to_ms.is_none());
        let _written = writeln!(
            text,
            "  Home Assistant was without `{camera}` for {}.{:03} s in all{}",
            ms / 1_000,
            ms % 1_000,
            if open { ", and is without it now" } else { "" },
        );
    }
    text.trim_end().to_owned()
}

/// Where all of it can be read.
pub(super) fn where_it_stands(folder: &Path, deleted: bool) -> String {
    let state = folder.join("state");
    let mut text = format!(
        "\nAll of it is in the journal: `runner --state {0} events`, `runner --state {0} why STEP`.\n",
        state.display()
    );
    if deleted {
        text.push_str("There is no way back from a deletion but the archive; until then `runner rollback` had one at every step.\n");
    }
    text
}

/// Where a command above would need the house, which is gone.
pub(super) const RESTS: &str = "\nThe house rests now, so that a command above that acts or looks in it reaches nothing. The same command \
    with `--keep` brings it up again, and says what those commands need.\n";

/// Where to look around.
pub(super) fn around(house: &House, folder: &Path, led: &Led, secrets: &[(String, String)]) -> String {
    let plan = shell_word(&led.plan.display().to_string());
    let vars: String = led
        .var_files
        .iter()
        .map(|file| format!(" --var-file {}", shell_word(&file.display().to_string())))
        .collect();
    let vars: String = led
        .vars
        .iter()
        .fold(vars, |vars, (name, value)| format!("{vars} --var {}", shell_word(&format!("{name}={value}"))));
    let secrets: Vec<String> =
        secrets.iter().map(|(name, value)| shell_word(&format!("{name}={value}"))).collect();
    format!(
        "\nThe house stays until Ctrl-C. From another terminal, with the house's own secrets (they open nothing else):\n  \
         export {}\n\n  the old Frigate  {}\n  the new Frigate  {}\n  Home Assistant   {}\n  the cluster      {} \
         (its token is in {}; kubectl sends none over plain HTTP, curl does)\n  status           runner --state {state} status\n  plan             runner --state {state} plan \
         {plan}{vars}\n  doctor           runner --state {state} doctor {plan}{vars}\n  rollback         runner --state {state} \
         rollback\n",
        secrets.join(" "),
        house.old.url(),
        house.new.url(),
        house.home.url(),
        house.cluster.url(),
        house.cluster.kubeconfig().display(),
        state = shell_word(&folder.join("state").display().to_string()),
    )
}
