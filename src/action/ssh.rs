//! `ssh`: a program or script on a host.
//!
//! A lost connection does not hurt it: a wrapper on the host keeps it running and writes its end down, and settling
//! finds that again (P3). The connection is shared by all steps that use the host.

use futures_util::future::BoxFuture;

use super::fields::{Fields, OnStop};
use super::outcome::{outcome_of, refused, shown};
use super::{Action, Call};
use crate::saga::{Outcome, Settlement};
use crate::transport::{Capture, Settled, Transport};

pub(super) struct Ssh;

impl Action for Ssh {
    fn act(&self, transport: Transport, call: Call) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let fields = Fields::new(&call.operation);
            let read = || {
                Ok::<_, String>((
                    fields.target(&call.places.hosts)?,
                    fields.launch(&call.bodies)?,
                    fields.outputs()?,
                    fields.on_stop(OnStop::Stop)?,
                ))
            };
            let (target, launch, outputs, on_stop) = match read() {
                Ok(read) => read,
                Err(message) => return refused(&message, &call.redactor),
            };
            let capture = Capture::new(&call.redactor, Some(transport.log(call.log())));
            let stop = (on_stop == OnStop::Stop).then(|| call.stop.clone());
            let attempt = call.key.to_string();
            let report = transport.act_on(&target, &attempt, &launch, capture, call.timeout, stop).await;
            outcome_of(report, &outputs, &call.redactor, true)
        })
    }

    fn settle(&self, transport: Transport, call: Call) -> BoxFuture<'static, Settlement> {
        Box::pin(async move {
            let fields = Fields::new(&call.operation);
            let (target, outputs) =
                match fields.target(&call.places.hosts).and_then(|target| Ok((target, fields.outputs()?))) {
                    Ok(read) => read,
                    Err(message) => return Settlement::Unproved { reason: shown(&message, &call.redactor) },
                };
            let log = transport.log(call.log());
            let attempt = call.key.to_string();
            match transport.settle_on(&target, &attempt, &call.redactor, log, call.timeout).await {
                Settled::Over | Settled::Gone(_) => Settlement::Over,
                Settled::Ended(report) => {
                    Settlement::Ended(outcome_of(*report, &outputs, &call.redactor, true))
                }
                Settled::Unproved(reason) => Settlement::Unproved { reason: shown(&reason, &call.redactor) },
            }
        })
    }
}
