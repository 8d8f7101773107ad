//! `command`: a program or script on this machine.
//!
//! It runs in a process group of its own, in the plan's folder unless `cwd` says otherwise, with `env` added to the
//! environment of `runner`. It ends when its own process exits. Its slot proves when it is over (P3).

use futures_util::future::BoxFuture;

use super::fields::{Fields, OnStop};
use super::outcome::{outcome_of, refused};
use super::{Action, Call};
use crate::saga::{Outcome, Settlement};
use crate::transport::{Capture, Proof, Transport};

pub(super) struct Command;

impl Action for Command {
    fn act(&self, transport: Transport, call: Call) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let fields = Fields::new(&call.operation);
            let read = || {
                let mut launch = fields.launch(&call.bodies)?;
                launch.cwd = Some(Fields::local_cwd(launch.cwd, &call.folder, call.cwd_override.as_deref()));
                Ok::<_, String>((launch, fields.outputs()?, fields.on_stop(OnStop::Stop)?))
            };
            let (launch, outputs, on_stop) = match read() {
                Ok(read) => read,
                Err(message) => return refused(&message, &call.redactor),
            };
            let capture = Capture::new(&call.redactor, Some(transport.log(call.log())));
            let stop = (on_stop == OnStop::Stop).then(|| call.stop.clone());
            let report = transport.run(&call.key.to_string(), &launch, capture, call.timeout, stop).await;
            outcome_of(report, &outputs, &call.redactor, false)
        })
    }

    fn settle(&self, transport: Transport, call: Call) -> BoxFuture<'static, Settlement> {
        Box::pin(async move {
            match transport.settle(&call.key.to_string(), call.timeout).await {
                Proof::Over => Settlement::Over,
                Proof::Unproved(reason) => Settlement::Unproved { reason },
            }
        })
    }
}
