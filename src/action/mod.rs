//! Actions: what a step does to the world. One file each; the table below is the one place that lists them.
//!
//! Knows neither journal nor reporters, and no action knows another's inside. An action keeps P3 by leaving a handle
//! that [`settle`](Actions::settle) finds again, and P7 by redacting whatever it gives back.
//!
//! What every action can do is `Action`. Two things more it may offer: a `Probe`, which computes from the world
//! whether the goal holds already, and an `Inverse`, which takes a [`PreImage`] before the first attempt and goes
//! back to it. The catalog says of each action which it offers (`own_probe`, `own_inverse`); a test below sees that
//! both say the same. Start reading at [`Actions::act`].

mod baseline;
mod command;
mod fields;
mod file;
mod frigate;
mod homeassistant;
mod http;
pub(crate) mod kubernetes;
mod mqtt_heal;
mod mqtt_publish;
mod outcome;
mod pre_image;
mod proxmox;
mod ssh;
mod tell;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::plan::recorded::{Operation, Places};
use crate::saga::{Answer, AttemptKey, FailureClass, Outcome, Settlement, Trace, Verdict};
use crate::transport::{Proof, Redactor, Stop, Transport};

pub use pre_image::PreImage;
pub use tell::Tell;

pub(crate) use fields::Fields;
pub(crate) use file::{facts as file_facts, sha256};
pub(crate) use frigate::camera_names;
pub(crate) use homeassistant::{CameraEntities, home as home_assistant};
pub(crate) use http::{Compared, Expected, outputs as http_outputs, request as http_request};
pub(crate) use outcome::{outputs_of, seen_line};
pub(crate) use proxmox::{Guest, container_facts, missing as missing_container, status as guest_status};

/// One attempt of an action, the attempt that is to be settled, or a look on behalf of one that is still to come.
#[derive(Debug, Clone)]
pub struct Call {
    /// Names the attempt; of a probe and a pre-image, which belong to none, its `attempt` is 0.
    pub key: AttemptKey,
    /// What to do, fully rendered, secrets in place.
    pub operation: Operation,
    /// How long it may take; when settling: how long to wait for it, counted from now.
    pub timeout: Duration,
    /// The plan's folder: where local commands run unless they name a `cwd`.
    pub folder: PathBuf,
    /// Replaces the `cwd` of local commands (`--cwd`).
    pub cwd_override: Option<PathBuf>,
    /// The plan's hosts, clusters and brokers, rendered.
    pub places: Arc<Places>,
    /// Recorded contents of files, by the absolute path in the field that names them.
    pub bodies: Arc<BTreeMap<String, Vec<u8>>>,
    /// Knows the secrets.
    pub redactor: Redactor,
    /// A field of the operation refers to a secret: what it writes is for nobody else's eyes.
    pub secret: bool,
    /// Fires when a person stops `runner`.
    pub stop: Stop,
    /// Takes what the attempt waits for, for whoever watches.
    pub tell: Tell,
}

/// What an action can do. Everything is owned, so that a call can be spawned and never dropped in the middle.
trait Action: Send + Sync {
    /// Does it and says how it ended. Not cancel-safe: spawn it.
    fn act(&self, transport: Transport, call: Call) -> BoxFuture<'static, Outcome>;

    /// Proves an earlier attempt over, if it can, whichever direction it worked in. May be called again, by any
    /// process that holds the journal. The default is for what works inside our own process: see [`settle_inside`].
    fn settle(&self, transport: Transport, call: Call) -> BoxFuture<'static, Settlement> {
        settle_inside(transport, call)
    }

    /// What can say whether the goal holds already.
    fn probe(&self) -> Option<&dyn Probe> {
        None
    }

    /// What can say beforehand whether there is what the action needs.
    fn needs(&self) -> Option<&dyn Needs> {
        None
    }

    /// What can go back to what was there before.
    fn inverse(&self) -> Option<&dyn Inverse> {
        None
    }
}

/// An action's own probe.
trait Probe: Send + Sync {
    /// Computes from the world whether the goal of the rendered operation holds, with facts, and with the outputs that
    /// the action would have given. Changes nothing. Could not look is `unknown`. Cancel-safe.
    fn look(&self, transport: Transport, call: Call) -> BoxFuture<'static, Answer>;

    /// The same for somebody who reads: with what would be changed. The default has nothing to show. Changes nothing.
    fn foresee(&self, transport: Transport, call: Call) -> BoxFuture<'static, Foreseen> {
        let looked = self.look(transport, call);
        Box::pin(async move { Foreseen { answer: looked.await, diff: String::new() } })
    }
}

/// What a probe saw, and what the action would change.
#[derive(Debug, Clone, PartialEq)]
pub struct Foreseen {
    /// What the probe answers.
    pub answer: Answer,
    /// What the action would change, as lines of text, secrets masked; empty: nothing, or that cannot be said.
    pub diff: String,
}

/// What an action needs and can be asked for before anything is done.
trait Needs: Send + Sync {
    /// Looks for all of it, that of the way back included. Changes nothing. Cancel-safe.
    fn look(&self, transport: Transport, call: Call) -> BoxFuture<'static, Vec<Need>>;
}

/// Something that an action needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// What, in a few words.
    pub what: String,
    /// What was found; or what is missing, and what to do.
    pub met: Result<String, String>,
}

/// An action's own way back.
trait Inverse: Send + Sync {
    /// What the operation would change, in a few words that are equal for equal targets; for example a path and its
    /// host. No I/O. An attempt at another target than the pre-image's is refused, because it could not be undone.
    ///
    /// # Errors
    /// In words, a field that cannot be read.
    fn target(&self, call: &Call) -> Result<String, String>;

    /// Takes what the target is now. Called once, before the step's first attempt. Changes nothing. Cancel-safe.
    fn pre_image(&self, transport: Transport, call: Call) -> BoxFuture<'static, Result<PreImage, String>>;

    /// Brings the pre-image back, whatever the attempts did: nothing, half of it, or all. Done again it changes
    /// nothing, and it is done again after every cut. It works on what the pre-image names, because the operation may
    /// have been amended since. Not cancel-safe: spawn it.
    fn undo(&self, transport: Transport, call: Call, pre_image: PreImage) -> BoxFuture<'static, Outcome>;
}

/// Settles an attempt that worked inside a process of ours: it ended with that process, and the lease proves that
/// process gone. One of this process is waited for.
fn settle_inside(transport: Transport, call: Call) -> BoxFuture<'static, Settlement> {
    Box::pin(async move {
        match transport.settle_inside(&call.key.to_string(), call.timeout).await {
            Proof::Over => Settlement::Over,
            Proof::Unproved(reason) => Settlement::Unproved { reason },
        }
    })
}

/// Every action by its name in a plan.
const ACTIONS: &[(&str, &dyn Action)] = &[
    ("command", &command::Command),
    ("ssh", &ssh::Ssh),
    ("file", &file::File),
    ("baseline", &baseline::Baseline),
    ("http", &http::Http),
    ("homeassistant.repoint", &homeassistant::Repoint),
    ("homeassistant.restart", &homeassistant::Restart),
    ("kubernetes.apply", &kubernetes::Apply),
    ("mqtt.publish", &mqtt_publish::Publish),
    ("mqtt.heal", &mqtt_heal::Heal),
    ("lxc.stop", &proxmox::Stop),
    ("lxc.start", &proxmox::Start),
    ("lxc.snapshot", &proxmox::Snapshot),
    ("lxc.backup", &proxmox::Backup),
    ("lxc.destroy", &proxmox::Destroy),
    ("vm.exec", &proxmox::Exec),
    ("kubernetes.delete", &kubernetes::Delete),
    ("kubernetes.exec", &kubernetes::Exec),
    ("kubernetes.restart", &kubernetes::Restart),
    ("kubernetes.scale", &kubernetes::Scale),
];

/// All actions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Actions {
    transport: Transport,
}

impl Actions {
    /// The actions, with the way they reach the world.
    pub fn new(transport: Transport) -> Self {
        Self { transport }
    }

    /// Does what the call says and says how it ended. An unknown action fails permanently.
    ///
    /// The intent must be on stable storage before the future is first polled (P1). Spawn the future: dropped, it
    /// leaves a process running that only [`settle`](Self::settle) can account for, as a crash would.
    pub fn act(&self, call: Call) -> BoxFuture<'static, Outcome> {
        match find(&call.operation.name) {
            Ok(action) => action.act(self.transport.clone(), call),
            Err(message) => ready(impossible(message)),
        }
    }

    /// Proves the call's attempt over, or says why that cannot be done.
    ///
    /// Waits up to the call's timeout for a process that still runs, then ends it. Changes nothing else. Cancel-safe:
    /// it may be dropped and called again.
    pub fn settle(&self, call: Call) -> BoxFuture<'static, Settlement> {
        match find(&call.operation.name) {
            Ok(action) => action.settle(self.transport.clone(), call),
            Err(reason) => ready(Settlement::Unproved { reason }),
        }
    }

    /// Asks the action's own probe. An action that has none answers `unknown`. Cancel-safe.
    pub fn probe(&self, call: Call) -> BoxFuture<'static, Answer> {
        match find(&call.operation.name).and_then(|action| {
            action.probe().ok_or_else(|| format!("the action `{}` has no probe", call.operation.name))
        }) {
            Ok(probe) => probe.look(self.transport.clone(), call),
            Err(reason) => ready(Answer::new(Verdict::Unknown, reason)),
        }
    }

    /// Asks the action's own probe, and what the action would change. Cancel-safe.
    pub fn foresee(&self, call: Call) -> BoxFuture<'static, Foreseen> {
        match find(&call.operation.name).ok().and_then(Action::probe) {
            Some(probe) => probe.foresee(self.transport.clone(), call),
            None => {
                let looked = self.probe(call);
                Box::pin(async move { Foreseen { answer: looked.await, diff: String::new() } })
            }
        }
    }

    /// Whether there is what the action needs, as far as that can be asked for beforehand. Cancel-safe.
    pub fn needs(&self, call: Call) -> BoxFuture<'static, Vec<Need>> {
        match find(&call.operation.name).ok().and_then(Action::needs) {
            Some(needs) => needs.look(self.transport.clone(), call),
            None => ready(Vec::new()),
        }
    }

    /// What the call would change, in words that are equal for equal targets; `None` for an action without an inverse.
    ///
    /// # Errors
    /// In words, a field that cannot be read.
    pub fn target(&self, call: &Call) -> Result<Option<String>, String> {
        find(&call.operation.name)?.inverse().map(|inverse| inverse.target(call)).transpose()
    }

    /// Takes the action's pre-image. Changes nothing. Cancel-safe.
    ///
    /// # Errors
    /// In words: what could not be read, or that the action takes none.
    pub fn pre_image(&self, call: Call) -> BoxFuture<'static, Result<PreImage, String>> {
        match inverse(&call) {
            Ok(inverse) => inverse.pre_image(self.transport.clone(), call),
            Err(message) => ready(Err(message)),
        }
    }

    /// Brings a pre-image back. As [`act`](Self::act): the intent first, and spawn the future.
    pub fn undo(&self, call: Call, pre_image: PreImage) -> BoxFuture<'static, Outcome> {
        match inverse(&call) {
            Ok(inverse) => inverse.undo(self.transport.clone(), call, pre_image),
            Err(message) => ready(impossible(message)),
        }
    }
}

fn find(name: &str) -> Result<&'static dyn Action, String> {
    let found = ACTIONS.iter().find(|(known, _)| *known == name).map(|(_, action)| *action);
    found.ok_or_else(|| format!("there is no action `{name}` in this version of runner"))
}

fn inverse(call: &Call) -> Result<&'static dyn Inverse, String> {
    let name = &call.operation.name;
    find(name)?.inverse().ok_or_else(|| format!("the action `{name}` takes no pre-image"))
}

fn ready<T: Send + 'static>(value: T) -> BoxFuture<'static, T> {
    Box::pin(std::future::ready(value))
}

fn impossible(message: String) -> Outcome {
    Outcome::Failed { class: FailureClass::Permanent, message, trace: Trace::default() }
}

impl Call {
    /// Where the attempt's log goes, relative to the state folder.
    fn log(&self) -> String {
        let AttemptKey { run, step, direction, attempt } = &self.key;
        format!("logs/{run}/{step}-{direction}-{attempt}.log")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::catalog::{Kind, entries};

    #[test]
    fn the_catalog_says_what_each_action_offers() {
        let names: Vec<&str> = entries(Kind::Action).map(|entry| entry.name).collect();
        assert_eq!(names.len(), ACTIONS.len(), "{names:?}");
        for entry in entries(Kind::Action) {
            let action = find(entry.name).unwrap();
            assert_eq!(action.probe().is_some(), entry.own_probe, "probe of `{}`", entry.name);
            assert_eq!(action.inverse().is_some(), entry.own_inverse, "inverse of `{}`", entry.name);
        }
    }
}
