//! `ssh`: a program or script on a host answers by its exit status. No connection is `unknown`.

use futures_util::future::BoxFuture;

use super::answer::{answer_of, unknown};
use super::{Check, Look};
use crate::action::Fields;
use crate::saga::Answer;
use crate::transport::{Capture, Transport};

pub(super) struct Ssh;

impl Check for Ssh {
    fn look(&self, transport: Transport, look: Look) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let fields = Fields::new(&look.operation);
            let read = fields
                .target(&look.places.hosts)
                .and_then(|target| Ok((target, fields.launch(&look.bodies)?)));
            let (target, launch) = match read {
                Ok(read) => read,
                Err(message) => return unknown(&message, &look.redactor),
            };
            let capture = Capture::new(&look.redactor, None);
            let report = transport.look_on(&target, &launch, capture, look.timeout).await;
            answer_of(report, &look.operation, &look.redactor)
        })
    }
}
