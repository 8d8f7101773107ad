//! Actions: what a step does to the world. One file each; the table below is the one place that lists them.
//!
//! Knows neither journal nor reporters, and no action knows another's inside. An action keeps P3 by leaving a handle
//! that [`settle`](Actions::settle) finds again, and P7 by redacting whatever it gives back. Start reading at
//! [`Actions::act`].

mod command;
mod fields;
mod outcome;
mod ssh;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::plan::recorded::{Host, Operation};
use crate::saga::{AttemptKey, FailureClass, Outcome, Settlement, Trace};
use crate::transport::{Redactor, Stop, Transport};

pub(crate) use fields::Fields;
pub(crate) use outcome::{outputs_of, seen_line};

/// One attempt of an action, or the attempt that is to be settled.
#[derive(Debug, Clone)]
pub struct Call {
    /// Names the attempt.
    pub key: AttemptKey,
    /// What to do, fully rendered, secrets in place.
    pub operation: Operation,
    /// How long it may take; when settling: how long to wait for it, counted from now.
    pub timeout: Duration,
    /// The plan's folder: where local commands run unless they name a `cwd`.
    pub folder: PathBuf,
    /// Replaces the `cwd` of local commands (`--cwd`).
    pub cwd_override: Option<PathBuf>,
    /// The plan's hosts, rendered.
    pub hosts: Arc<BTreeMap<String, Host>>,
    /// Recorded contents of files, by the absolute path in the field that names them.
    pub bodies: Arc<BTreeMap<String, Vec<u8>>>,
    /// Knows the secrets.
    pub redactor: Redactor,
    /// Fires when a person stops `runner`.
    pub stop: Stop,
}

/// What an action can do. Everything is owned, so that a call can be spawned and never dropped in the middle.
trait Action: Send + Sync {
    /// Does it and says how it ended. Not cancel-safe: spawn it.
    fn act(&self, transport: Transport, call: Call) -> BoxFuture<'static, Outcome>;

    /// Proves an earlier attempt over, if it can. May be called again, by any process that holds the journal.
    fn settle(&self, transport: Transport, call: Call) -> BoxFuture<'static, Settlement>;
}

/// Every action by its name in a plan.
const ACTIONS: &[(&str, &dyn Action)] = &[("command", &command::Command), ("ssh", &ssh::Ssh)];

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
            Some(action) => action.act(self.transport.clone(), call),
            None => {
                let message =
                    format!("there is no action `{}` in this version of runner", call.operation.name);
                let failed =
                    Outcome::Failed { class: FailureClass::Permanent, message, trace: Trace::default() };
                Box::pin(std::future::ready(failed))
            }
        }
    }

    /// Proves the call's attempt over, or says why that cannot be done.
    ///
    /// Waits up to the call's timeout for a process that still runs, then ends it. Changes nothing else. Cancel-safe:
    /// it may be dropped and called again.
    pub fn settle(&self, call: Call) -> BoxFuture<'static, Settlement> {
        match find(&call.operation.name) {
            Some(action) => action.settle(self.transport.clone(), call),
            None => {
                let reason =
                    format!("there is no action `{}` in this version of runner", call.operation.name);
                Box::pin(std::future::ready(Settlement::Unproved { reason }))
            }
        }
    }
}

fn find(name: &str) -> Option<&'static dyn Action> {
    ACTIONS.iter().find(|(known, _)| *known == name).map(|(_, action)| *action)
}

impl Call {
    /// Where the attempt's log goes, relative to the state folder.
    fn log(&self) -> String {
        let AttemptKey { run, step, direction, attempt } = &self.key;
        format!("logs/{run}/{step}-{direction}-{attempt}.log")
    }
}
