//! `mqtt.heal`: says `online` again for a service that lives, after its last will has fired.
//!
//! Frigate publishes `online` only when it connects. The will of an instance that was killed, on the same topic prefix,
//! leaves `offline` retained, and Home Assistant then takes every entity away although the other instance is well
//! (facts/migration.md sections 6.1 and 6.3). So the service itself is asked first; only while it answers is anything
//! said in its name. There is nothing to undo: what was retained was not true.

use futures_util::future::BoxFuture;

use super::fields::Fields;
use super::mqtt_publish::{Saying, compared, retained, say};
use super::outcome::{refused, shown};
use super::{Action, Call, Probe};
use crate::saga::{Answer, FailureClass, Outcome, Trace, Verdict};
use crate::transport::{FrigateError, FrigateServer, MqttBroker, Transport};

/// What a service that lives says of itself.
const ONLINE: &[u8] = b"online";

pub(super) struct Heal;

struct Wanted {
    broker: MqttBroker,
    topic: String,
    service: FrigateServer,
}

fn wanted(call: &Call) -> Result<Wanted, String> {
    let fields = Fields::new(&call.operation);
    let prefix = fields.text("prefix")?.unwrap_or_else(|| "frigate".to_owned());
    let topic = format!("{prefix}/available");
    crate::transport::check_topic(&topic)?;
    Ok(Wanted {
        broker: fields.broker(&call.places, &call.bodies)?,
        topic,
        service: fields.frigate(&call.bodies)?,
    })
}

impl Action for Heal {
    fn act(&self, transport: Transport, call: Call) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let Wanted { broker, topic, service } = match wanted(&call) {
                Ok(wanted) => wanted,
                Err(message) => return refused(&message, &call.redactor),
            };
            if let Err(error) = transport.frigate(service, call.timeout, &call.redactor).version().await {
                let class = match error {
                    FrigateError::Wrong(_) => FailureClass::Permanent,
                    _ => FailureClass::Transient,
                };
                let message = format!(
                    "the service does not answer, so that nothing was said in its name: {}",
                    error.message()
                );
                let (message, trace) = (shown(&message, &call.redactor), Trace::default());
                return Outcome::Failed { class, message, trace };
            }
            let saying = Saying { topic, payload: ONLINE.to_vec(), qos: 1, retain: true };
            say(&transport, &call, broker, saying).await
        })
    }

    fn probe(&self) -> Option<&dyn Probe> {
        Some(self)
    }
}

impl Probe for Heal {
    fn look(&self, transport: Transport, call: Call) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let wanted = match wanted(&call) {
                Ok(wanted) => wanted,
                Err(message) => return Answer::new(Verdict::Unknown, shown(&message, &call.redactor)),
            };
            match retained(&transport, &call, wanted.broker, &wanted.topic).await {
                Ok(found) => compared(&call, &wanted.topic, ONLINE, found.as_ref()),
                Err(error) => Answer::new(Verdict::Unknown, shown(error.message(), &call.redactor)),
            }
        })
    }
}
