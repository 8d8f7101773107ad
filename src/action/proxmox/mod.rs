//! Proxmox VE: containers (`lxc.…`) and commands in virtual machines (`vm.exec`), on the node that owns them.
//!
//! Every attempt is one script on the host, so that the wrapper keeps its end and settling finds it (P3). What the tools
//! say is read by [`transport`](crate::transport); here is what is wanted, when it is refused, and how it is undone.

mod backup;
mod destroy;
mod power;
mod snapshot;
mod vm;

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use super::fields::{Fields, OnStop};
use super::outcome::{outcome_of, refused, shown};
use super::{Call, PreImage};
use crate::plan::recorded::Operation;
use crate::saga::{Answer, FailureClass, Outcome, Settlement, Trace, Verdict};
use crate::transport::{
    Capture, Container, ContainerChange, ContainerWanted, Settled, Sight, Target, Transport, Trouble,
    told_of_container,
};

pub(super) use backup::Backup;
pub(super) use destroy::Destroy;
pub(super) use power::{Start, Stop};
pub(super) use snapshot::Snapshot;
pub(super) use vm::Exec;

/// A guest of a host.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    pub(crate) host: Target,
    pub(crate) vmid: u32,
}

impl Guest {
    /// The guest that `host` and `vmid` name.
    pub(crate) fn read(operation: &Operation, call: &crate::plan::recorded::Places) -> Result<Self, String> {
        let fields = Fields::new(operation);
        let vmid = fields.text("vmid")?.ok_or_else(|| format!("`{}` needs a `vmid`", operation.name))?;
        // Proxmox VE, `pve-vmid`: 100 to 999999999.
        let vmid = vmid.trim().parse().ok().filter(|vmid| (100..=999_999_999).contains(vmid));
        let vmid = vmid.ok_or_else(|| fields.wrong("vmid", "a number from 100 to 999999999"))?;
        Ok(Self { host: fields.target(&call.hosts)?, vmid })
    }

    fn of(call: &Call) -> Result<Self, String> {
        Self::read(&call.operation, &call.places)
    }

    /// The guest that a pre-image names.
    fn of_pre_image(call: &Call, pre_image: &PreImage) -> Result<Self, String> {
        let mut named = Operation { name: call.operation.name.clone(), fields: Map::new() };
        for key in ["host", "vmid"] {
            let value = pre_image.value.get(key).cloned().ok_or_else(|| strange(pre_image))?;
            named.fields.insert(key.to_owned(), value);
        }
        Self::read(&named, &call.places)
    }

    fn target(&self) -> String {
        format!("container {} on host `{}`", self.vmid, self.host.name)
    }
}

fn strange(pre_image: &PreImage) -> String {
    format!("the pre-image of {} cannot be understood", pre_image.target)
}

/// A duration such as `3m`.
fn duration(fields: Fields<'_>, key: &str, default: Duration) -> Result<Duration, String> {
    let Some(text) = fields.text(key)? else { return Ok(default) };
    let read = crate::plan::parse_duration(&text).map(Duration::from_millis);
    read.map_err(|_| fields.wrong(key, "a duration such as `3m`"))
}

/// Runs a change as one attempt.
async fn change(transport: &Transport, call: &Call, guest: &Guest, change: &ContainerChange) -> Outcome {
    let on_stop = match Fields::new(&call.operation).on_stop(OnStop::Finish) {
        Ok(on_stop) => on_stop,
        Err(message) => return refused(&message, &call.redactor),
    };
    let capture = Capture::new(&call.redactor, Some(transport.log(call.log())));
    let stop = (on_stop == OnStop::Stop).then(|| call.stop.clone());
    let attempt = call.key.to_string();
    let report = transport
        .change_container(&guest.host, guest.vmid, &attempt, change, capture, call.timeout, stop)
        .await;
    let stdout = report.seen.stdout.clone();
    finished(&stdout, outcome_of(report, &Map::new(), &call.redactor, true))
}

/// The end of a script: its last word tells that it came to it.
fn finished(stdout: &[u8], outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Acted { outputs, trace } if stdout.ends_with(b"done\n") => Outcome::Acted {
            outputs: [backup::outputs, power::outputs]
                .iter()
                .find_map(|read| read(&String::from_utf8_lossy(stdout)))
                .unwrap_or(outputs),
            trace: Trace { exit: None, ..trace },
        },
        Outcome::Acted { trace, .. } => Outcome::Failed {
            class: FailureClass::Transient,
            message: "the script on the host ended before its work was done".to_owned(),
            trace,
        },
        other => other,
    }
}

/// Settles an attempt of [`change`].
fn settle(transport: Transport, call: Call) -> BoxFuture<'static, Settlement> {
    Box::pin(async move {
        let guest = match Guest::of(&call) {
            Ok(guest) => guest,
            Err(message) => return Settlement::Unproved { reason: shown(&message, &call.redactor) },
        };
        let (attempt, log) = (call.key.to_string(), transport.log(call.log()));
        match transport.settle_on(&guest.host, &attempt, &call.redactor, log, call.timeout).await {
            Settled::Over | Settled::Gone(_) => Settlement::Over,
            Settled::Ended(report) => {
                let report = told_of_container(&guest.host, guest.vmid, *report);
                let stdout = report.seen.stdout.clone();
                let outcome = outcome_of(report, &Map::new(), &call.redactor, true);
                Settlement::Ended(proved(finished(&stdout, outcome)))
            }
            Settled::Unproved(reason) => Settlement::Unproved { reason: shown(&reason, &call.redactor) },
        }
    })
}

/// The outcome of an attempt that is over: one of which the tools did not know the effect is left to the probe.
fn proved(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Cut { message, trace, .. } => {
            Outcome::Failed { class: FailureClass::Transient, message, trace }
        }
        other => other,
    }
}

/// Looks at the container of a call.
async fn look(
    transport: &Transport,
    call: &Call,
    guest: &Guest,
    wanted: &ContainerWanted,
) -> Result<Sight, Trouble> {
    let timeout = call.timeout.min(Duration::from_secs(60));
    transport.look_at_container(&guest.host, guest.vmid, wanted, timeout).await
}

/// The container, or why there is none here.
fn present<'a>(guest: &Guest, sight: &'a Sight) -> Result<&'a Container, String> {
    sight.container.as_ref().ok_or_else(|| missing(guest, sight))
}

/// Says where the container is, when it is not here.
pub(crate) fn missing(guest: &Guest, sight: &Sight) -> String {
    let host = guest.host.shown();
    match &sight.elsewhere {
        Some(node) => format!(
            "guest {} is not on {host} (node `{}`): it belongs to node `{node}` of its cluster, name that one as `host`",
            guest.vmid, sight.node
        ),
        None => format!("there is no container {} on {host} (node `{}`)", guest.vmid, sight.node),
    }
}

/// What was seen of a container, for programs.
pub(crate) fn container_facts(sight: &Sight) -> Map<String, Value> {
    let mut facts = Map::new();
    let mut put = |key: &str, value: Value| drop(facts.insert(key.to_owned(), value));
    put("node", sight.node.clone().into());
    put("exists", sight.container.is_some().into());
    if let Some(node) = &sight.elsewhere {
        put("elsewhere", node.clone().into());
    }
    if let Some(container) = &sight.container {
        put("status", status(container.running).into());
        put("onboot", container.config.onboot().into());
        put("gone", container.gone.clone().into());
        let volumes: Vec<String> = container.config.volumes().into_iter().map(|volume| volume.key).collect();
        put("volumes", volumes.into());
        for (key, value) in [
            ("hostname", container.config.get("hostname").map(str::to_owned)),
            ("lock", container.lock.clone()),
            ("digest", container.digest.clone()),
        ] {
            if let Some(value) = value {
                put(key, value.into());
            }
        }
    }
    facts
}

pub(crate) fn status(running: bool) -> &'static str {
    if running { "running" } else { "stopped" }
}

fn unknown(call: &Call, message: &str) -> Answer {
    Answer::new(Verdict::Unknown, shown(message, &call.redactor))
}

fn answer(call: &Call, sight: &Sight, verdict: Verdict, reason: &str) -> Answer {
    let mut answer = Answer::new(verdict, shown(reason, &call.redactor));
    answer.facts = container_facts(sight);
    answer
}

/// What a look that failed means for an attempt: nothing was done.
fn not_looked(call: &Call, trouble: Trouble) -> Outcome {
    let class = if trouble.permanent { FailureClass::Permanent } else { FailureClass::Transient };
    let message = shown(&trouble.message, &call.redactor);
    Outcome::Failed { class, message, trace: Trace::default() }
}

fn failed(call: &Call, class: FailureClass, message: &str) -> Outcome {
    Outcome::Failed { class, message: shown(message, &call.redactor), trace: Trace::default() }
}

/// Nothing was to be done.
fn nothing() -> Outcome {
    Outcome::Acted { outputs: Map::new(), trace: Trace::default() }
}
