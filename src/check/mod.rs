//! Checks: read-only looks at the world. One file each; the table below is the one place that lists them.
//!
//! A check never changes anything and never guesses: what it could not see is `unknown`. Its answer is free of
//! secrets (P7). Start reading at [`Checks::look`].

mod answer;
mod command;
mod dns;
mod file;
mod frigate;
mod frigate_config;
mod gpu;
mod homeassistant;
mod http;
mod kubernetes;
mod mqtt;
mod proxmox;
mod ssh;
mod tcp;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::action::Need;
use crate::action::kubernetes::Asker;
use crate::plan::recorded::{Operation, Places};
use crate::saga::{Answer, Verdict};
use crate::transport::{Redactor, Transport};

/// How long a look may take unless somebody says otherwise.
pub const LOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// One look.
#[derive(Debug, Clone)]
pub struct Look {
    /// What to look at, fully rendered, secrets in place.
    pub operation: Operation,
    /// How long it may take; [`LOOK_TIMEOUT`] unless somebody says otherwise.
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
    /// A field of the operation refers to a secret: what is seen is for nobody else's eyes.
    pub secret: bool,
}

impl Look {
    /// Whose rights are asked for.
    fn asker(&self) -> Asker<'_> {
        let Self { operation, places, folder, timeout, redactor, .. } = self;
        Asker { operation, places, folder, timeout: *timeout, redactor }
    }
}

/// What a check can do.
trait Check: Send + Sync {
    /// Looks. Cancel-safe: a look that is dropped is ended.
    fn look(&self, transport: Transport, look: Look) -> BoxFuture<'static, Answer>;

    /// Looks for what the look itself needs and can be asked for beforehand: rights. Changes nothing. Cancel-safe.
    fn needs(&self, transport: Transport, look: Look) -> BoxFuture<'static, Vec<Need>> {
        drop((transport, look));
        Box::pin(std::future::ready(Vec::new()))
    }
}

/// Every check by its name in a plan.
const CHECKS: &[(&str, &dyn Check)] = &[
    ("command", &command::Command),
    ("ssh", &ssh::Ssh),
    ("file", &file::File),
    ("homeassistant", &homeassistant::HomeAssistant),
    ("frigate", &frigate::Frigate),
    ("frigate.config", &frigate_config::FrigateConfig),
    ("http", &http::Http),
    ("mqtt", &mqtt::Mqtt),
    ("kubernetes", &kubernetes::Kubernetes),
    ("gpu", &gpu::Gpu),
    ("tcp", &tcp::Tcp),
    ("dns", &dns::Dns),
    ("lxc", &proxmox::Lxc),
    ("vm", &proxmox::Vm),
];

/// All checks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Checks {
    transport: Transport,
}

impl Checks {
    /// The checks, with the way they reach the world.
    pub fn new(transport: Transport) -> Self {
        Self { transport }
    }

    /// Whether there is what a look needs, as far as that can be asked for beforehand. Cancel-safe.
    pub fn needs(&self, look: Look) -> BoxFuture<'static, Vec<Need>> {
        match CHECKS.iter().find(|(known, _)| *known == look.operation.name) {
            Some((_, check)) => check.needs(self.transport.clone(), look),
            None => Box::pin(std::future::ready(Vec::new())),
        }
    }

    /// Looks and answers. An unknown check answers `unknown`. Cancel-safe: a look that is dropped is ended.
    pub fn look(&self, look: Look) -> BoxFuture<'static, Answer> {
        match CHECKS.iter().find(|(known, _)| *known == look.operation.name) {
            Some((_, check)) => check.look(self.transport.clone(), look),
            None => {
                let reason = format!("there is no check `{}` in this version of runner", look.operation.name);
                Box::pin(std::future::ready(Answer::new(Verdict::Unknown, reason)))
            }
        }
    }
}
