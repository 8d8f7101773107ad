//! `tcp`: whether somebody listens. From here alone: a host that shall try needs a program for it, so use `ssh` there.

use std::io;

use futures_util::future::BoxFuture;
use tokio::net::TcpStream;

use super::answer::unknown;
use super::{Check, Look};
use crate::action::Fields;
use crate::saga::{Answer, Verdict};
use crate::transport::Transport;

pub(super) struct Tcp;

impl Check for Tcp {
    fn look(&self, _transport: Transport, look: Look) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let address = match Fields::new(&look.operation).text("address") {
                Ok(Some(address)) => address,
                Ok(None) => return unknown("`tcp` needs an `address`", &look.redactor),
                Err(message) => return unknown(&message, &look.redactor),
            };
            let connected = tokio::time::timeout(look.timeout, TcpStream::connect(&address)).await;
            let (verdict, reason) = match connected {
                Ok(Ok(_)) => (Verdict::Holds, format!("`{address}` takes connections")),
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    (Verdict::Absent, format!("`{address}` refuses connections: nobody listens there"))
                }
                Ok(Err(error)) => (Verdict::Unknown, format!("`{address}` cannot be reached: {error}")),
                Err(_) => {
                    (Verdict::Unknown, format!("`{address}` does not answer within {:?}", look.timeout))
                }
            };
            let reason = crate::transport::one_line(&look.redactor.text(&reason));
            Answer::new(verdict, reason)
        })
    }
}
