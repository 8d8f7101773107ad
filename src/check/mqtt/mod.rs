//! `mqtt`: what a broker hands on: a message that is as expected (`message`), or an availability that is `online` and
//! stays so (`available`).
//!
//! A broker that cannot be asked (refused, not authorised, no trust, lost in the middle) is `unknown`: whether the message
//! is there nobody saw.

mod available;
mod message;

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use super::answer::unknown;
use super::{Check, Look};
use crate::action::Fields;
use crate::saga::Answer;
use crate::transport::Transport;

/// How long is waited or watched unless the plan says otherwise.
const WINDOW: Duration = Duration::from_secs(10);

/// What connecting and closing takes of the time of a look that is shorter than what it shall watch.
const MARGIN: Duration = Duration::from_millis(500);

pub(super) struct Mqtt;

impl Check for Mqtt {
    fn look(&self, transport: Transport, look: Look) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let fields = Fields::new(&look.operation);
            let which = match (fields.text("topic"), fields.text("available")) {
                (Ok(Some(topic)), Ok(None)) => Ok((true, topic)),
                (Ok(None), Ok(Some(prefix))) => Ok((false, prefix)),
                (Err(message), _) | (_, Err(message)) => Err(message),
                _ => Err("`mqtt` needs one of `topic` and `available`".to_owned()),
            };
            match which {
                Ok((true, topic)) => message::look(&transport, &look, &topic).await,
                Ok((false, prefix)) => available::look(&transport, &look, &prefix).await,
                Err(message) => unknown(&message, &look.redactor),
            }
        })
    }
}

/// When watching ends that begins now: after `wanted`, or as late as the look's time lets it; and whether that is early.
fn window(wanted: Duration, deadline: Instant) -> (Instant, bool) {
    let end = Instant::now() + wanted;
    let latest = deadline.checked_sub(MARGIN).unwrap_or(deadline);
    (end.min(latest), end > latest)
}
