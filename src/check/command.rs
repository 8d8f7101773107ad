//! `command`: a program or script on this machine answers by its exit status.

use futures_util::future::BoxFuture;

use super::answer::{answer_of, unknown};
use super::{Check, Look};
use crate::action::Fields;
use crate::saga::Answer;
use crate::transport::{Capture, Transport};

pub(super) struct Command;

impl Check for Command {
    fn look(&self, transport: Transport, look: Look) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let mut launch = match Fields::new(&look.operation).launch(&look.bodies) {
                Ok(launch) => launch,
                Err(message) => return unknown(&message, &look.redactor),
            };
            launch.cwd = Some(Fields::local_cwd(launch.cwd, &look.folder, look.cwd_override.as_deref()));
            let capture = Capture::new(&look.redactor, None);
            let report = transport.look(&launch, capture, look.timeout).await;
            answer_of(report, &look.operation, &look.redactor)
        })
    }
}
