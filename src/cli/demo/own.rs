//! A demo of somebody's own plan: a house that is furnished as its variables say, and a look that nothing of it leads out of
//! that house.
//!
//! The variables that say where things are (addresses, ports, keys, the kubeconfig) are given the house's own values; those
//! that say what things are called furnish the house. Everything else of the plan and its manifests is as it stands.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;

use super::super::fail::Fail;
use crate::action::sha256;
use crate::lab::house::{Blueprint, House, PASSWORD, TOKEN};
use crate::plan::Loaded;
use crate::plan::manifests::{self, Manifest};
use crate::plan::recorded::{Definition, Operation, SecretRef};
use crate::plan::template::{self, Scope};

/// So many samples of a soak are enough to show it.
const SAMPLES: u64 = 72;

/// What acts and looks in the house alone. Everything else could act on this machine, or on one that is real.
const INSIDE: &[&str] = &[
    "baseline",
    "frigate",
    "frigate.config",
    "gpu",
    "homeassistant",
    "homeassistant.repoint",
    "homeassistant.restart",
    "kubernetes",
    "kubernetes.apply",
    "kubernetes.delete",
    "kubernetes.exec",
    "kubernetes.restart",
    "kubernetes.scale",
    "lxc",
    "lxc.backup",
    "lxc.destroy",
    "lxc.snapshot",
    "lxc.start",
    "lxc.stop",
    "mqtt",
    "mqtt.heal",
    "mqtt.publish",
    "vm",
];

/// The house that a plan is about.
///
/// # Errors
/// Which of the variables that furnish it are missing or of another type.
pub(super) fn blueprint(loaded: &Loaded) -> Result<Blueprint, Fail> {
    let usual = Blueprint::default();
    let definition = &loaded.definition;
    let vars = &definition.vars;
    let number = |name: &str| vars.get(name)?.as_u64().and_then(|number| u32::try_from(number).ok());
    let text = |name: &str| vars.get(name)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let texts = |name: &str| {
        let items = vars.get(name)?.as_array()?;
        Some(items.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>())
    };
    let (container, machine) = (number("vmid"), number("ha_vmid"));
    let (hostname, cameras) = (text("hostname"), texts("cameras").filter(|cameras| !cameras.is_empty()));
    let lacks = [
        ("vmid", container.is_none()),
        ("ha_vmid", machine.is_none()),
        ("hostname", hostname.is_none()),
        ("cameras", cameras.is_none()),
    ];
    let lacks: Vec<String> =
        lacks.iter().filter(|(_, lacks)| *lacks).map(|(name, _)| format!("`{name}`")).collect();
    let (Some(container), Some(machine), Some(hostname), Some(mut cameras)) =
        (container, machine, hostname, cameras)
    else {
        let message = format!(
            "the demo furnishes its house by the plan's variables, and there is no {}",
            lacks.join(", no ")
        );
        return Err(Fail::usage(message).help(
            "keep the names and types of the variables of plans/frigate.toml, and change their values",
        ));
    };
    let down = texts("known_bad").unwrap_or_default();
    cameras.extend(down.iter().filter(|name| !cameras.contains(name)).cloned().collect::<Vec<_>>());
    let version = text("old_version").unwrap_or_else(|| "0.14".to_owned());
    let version = if version.matches('.').count() < 2 { format!("{version}.1") } else { version };
    let gpu =
        text("gpu").map(|gpu| if gpu.contains("NVIDIA") { gpu } else { format!("NVIDIA GeForce {gpu}") });
    Ok(Blueprint {
        container,
        hostname,
        volumes: texts("volumes").filter(|volumes| !volumes.is_empty()).unwrap_or(usual.volumes),
        coral: definition.resources.contains_key("coral"),
        machine,
        cameras,
        down,
        old_version: format!("{version}-"),
        gpu: gpu.unwrap_or(usual.gpu),
        broker_user: text("broker_user").unwrap_or(usual.broker_user),
        prefix: text("prefix").unwrap_or(usual.prefix),
        storage_classes: storage_classes(&loaded.files),
        furniture: usual.furniture,
    })
}

/// The classes of volumes that the manifests want.
fn storage_classes(files: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let all = files.values().filter_map(|text| manifests::read(text).ok()).flatten();
    let claims = all.filter(|manifest| manifest.kind == "PersistentVolumeClaim");
    let named =
        |manifest: Manifest| manifest.value.pointer("/spec/storageClassName")?.as_str().map(str::to_owned);
    claims.filter_map(named).filter(|name| !name.is_empty()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The house's values of those variables that the plan has, as TOML.
pub(super) fn leads(definition: &Definition, house: &House) -> String {
    let mut all: toml::Table = house.variables().parse().unwrap_or_default();
    all.retain(|name, _| definition.vars.contains_key(name));
    all.to_string()
}

/// Whether the house gives a variable its own value.
pub(super) fn is_led(name: &str, house: &House) -> bool {
    house.variables().parse::<toml::Table>().is_ok_and(|own| own.contains_key(name))
}

/// What the plan's secrets are in the house, as environment variables. Those that the plan reads from files are not read.
pub(super) fn secrets(definition: &Definition) -> Vec<(String, String)> {
    let user = definition.vars.get("broker_user").and_then(Value::as_str).unwrap_or("frigate");
    let each = definition.secrets.iter().map(|(name, from)| {
        let value = match (name.contains("token"), name.contains("mqtt"), name.contains("password")) {
            (true, ..) => TOKEN.to_owned(),
            (_, true, true) => PASSWORD.to_owned(),
            (_, true, false) => user.to_owned(),
            _ => format!("lab-value-of-{name}"),
        };
        (variable(name, from), value)
    });
    each.collect()
}

fn variable(name: &str, from: &SecretRef) -> String {
    match from {
        SecretRef::Env(variable) => variable.clone(),
        SecretRef::File(_) => format!("RUNNER_DEMO_{}", name.to_uppercase()),
    }
}

/// Makes the plan one that can be shown: long soaks have fewer samples, and secrets are the house's.
pub(super) fn fit(definition: &mut Definition) {
    for soak in definition.steps.iter_mut().filter_map(|step| step.soak.as_mut()) {
        soak.every_ms = soak.every_ms.max(soak.for_ms / SAMPLES);
        soak.max_gap_ms = soak.max_gap_ms.max(soak.every_ms.saturating_mul(2));
    }
    for (name, from) in &mut definition.secrets {
        *from = SecretRef::Env(variable(name, from));
    }
}

/// Sees to it that everything that the plan reaches is in the house.
///
/// # Errors
/// All that is not.
pub(super) fn stays_inside(definition: &Definition, house: &House) -> Result<(), Fail> {
    let outputs = std::collections::BTreeMap::new();
    let scope = Scope {
        vars: &definition.vars,
        outputs: &outputs,
        run: "demo-1",
        secrets: template::Secrets::Masked,
    };
    let text = |text: &str| template::render_text(text, &scope).unwrap_or_else(|_| text.to_owned());
    let own: toml::Table = house.variables().parse().unwrap_or_default();
    let value = |name: &str| match own.get(name) {
        Some(toml::Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let mut outside = Vec::new();
    for (name, host) in &definition.hosts {
        let at = format!(
            "{}:{}",
            text(&host.address),
            host.port
                .as_ref()
                .map_or_else(String::new, |port| { port.as_str().map_or_else(|| port.to_string(), &text) })
        );
        let doors = [["old_host", "old_port"], ["ha_host", "ha_port"]]
            .map(|[a, b]| format!("{}:{}", value(a), value(b)));
        if !doors.contains(&at) || host.jump.is_some() {
            outside.push(format!("host `{name}` is at `{at}`"));
        }
    }
    for (name, cluster) in &definition.clusters {
        let kubeconfig = cluster.kubeconfig.as_deref().map(&text).unwrap_or_default();
        if kubeconfig != value("kubeconfig") {
            outside.push(format!("cluster `{name}` has the kubeconfig `{kubeconfig}`"));
        }
    }
    for (name, broker) in &definition.brokers {
        let url = text(&broker.url);
        if url != value("broker") {
            outside.push(format!("broker `{name}` is at `{url}`"));
        }
    }
    let servers = [value("old_url"), value("new_url"), value("ha_url"), value("broker")];
    for (step, operation) in operations(definition) {
        if !INSIDE.contains(&operation.name.as_str()) {
            outside.push(format!(
                "step `{step}` has a `{}`, which would act on this machine or a real one",
                operation.name
            ));
            continue;
        }
        // A guest's commands are processes of this machine.
        let key = if operation.name == "baseline" { "ha_path" } else { "path" };
        let in_guest = key == "ha_path" || operation.name.starts_with("homeassistant");
        let file = operation.fields.get(key).and_then(Value::as_str).map(&text);
        if let Some(file) = file.filter(|file| in_guest && *file != value("ha_storage")) {
            outside.push(format!("step `{step}` names the file `{file}`"));
        }
        let mut addresses = Vec::new();
        operation.fields.values().for_each(|field| strings(field, &mut addresses));
        let elsewhere = addresses.iter().map(|field| text(field)).find(|field| {
            field.contains("://")
                && !servers.iter().any(|server| field == server || field.starts_with(&format!("{server}/")))
        });
        if let Some(elsewhere) = elsewhere {
            outside.push(format!("step `{step}` names `{elsewhere}`"));
        }
    }
    if outside.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the demo touches nothing but its own house, and this plan leads out of it: {}",
        outside.join("; ")
    );
    Err(Fail::usage(message)
        .help("write addresses as variables with the names that they have in plans/frigate.toml: the demo gives them its own values"))
}

fn operations(definition: &Definition) -> impl Iterator<Item = (&str, &Operation)> {
    let gone = definition.resources.iter().flat_map(|(name, resource)| {
        resource.gone.values().flatten().map(move |operation| (name.as_str(), operation))
    });
    let steps = definition.steps.iter().flat_map(|step| {
        let compensate = match &step.compensate {
            crate::plan::recorded::Compensate::Action(operation) => Some(operation),
            _ => None,
        };
        let evidence = step.gate.iter().filter_map(|gate| gate.evidence.as_ref()).flatten();
        let all = step.forward.iter().chain(&step.probe).chain(&step.verify).chain(&step.undone);
        let all = all.chain(&step.rollback_ready).chain(compensate).chain(evidence);
        all.map(|operation| (step.id.as_str(), operation))
    });
    gone.chain(steps)
}

fn strings<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| strings(field, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Where the demo of this plan lives, below the folder of the demos. A plan that was edited, or one of its manifests or
/// variables, has another house: what was seen in the one before says nothing of it.
pub(super) fn folder(definition: &Definition) -> PathBuf {
    let whole = serde_json::to_vec(definition).unwrap_or_default();
    let short = sha256(&whole)[..8].to_owned();
    PathBuf::from("own").join(format!("{}-{short}", definition.name))
}
