//! `mqtt.publish`: one message to a broker, read back, because an acknowledgement proves nothing.
//!
//! A retained message is a state: its probe compares it, its pre-image is the one that was retained before, and its
//! inverse puts that back or clears what is there. A message that is not retained is gone when it was handed on: there is
//! nothing to look at and nothing to undo, and a cut-off attempt is made again (at least once, as MQTT says).

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

use super::fields::{Fields, OnStop};
use super::outcome::{refused, shown};
use super::{Action, Call, Inverse, PreImage, Probe};
use crate::saga::{Answer, CutCause, FailureClass, Outcome, Trace, Verdict};
use crate::transport::{MqttBroker, MqttError, MqttMessage, MqttSession, Transport, check_topic};

/// How the payload is called in a pre-image.
const PAYLOAD: &str = "payload";

pub(super) struct Publish;

/// What the step wants.
struct Wanted {
    broker: MqttBroker,
    topic: String,
    payload: Vec<u8>,
    qos: u8,
    retain: bool,
}

fn wanted(call: &Call) -> Result<Wanted, String> {
    let fields = Fields::new(&call.operation);
    let topic = fields.text("topic")?.ok_or("`mqtt.publish` needs a `topic`")?;
    check_topic(&topic)?;
    let qos = fields.number("qos")?.unwrap_or(1);
    Ok(Wanted {
        broker: fields.broker(&call.places, &call.bodies)?,
        topic,
        payload: fields.text("payload")?.ok_or("`mqtt.publish` needs a `payload`")?.into_bytes(),
        qos: u8::try_from(qos)
            .ok()
            .filter(|qos| *qos <= 2)
            .ok_or_else(|| fields.wrong("qos", "0, 1 or 2"))?,
        retain: fields.flag("retain")?,
    })
}

impl Action for Publish {
    fn act(&self, transport: Transport, call: Call) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let Wanted { broker, topic, payload, qos, retain } = match wanted(&call) {
                Ok(wanted) => wanted,
                Err(message) => return refused(&message, &call.redactor),
            };
            say(&transport, &call, broker, Saying { topic, payload, qos, retain }).await
        })
    }

    fn probe(&self) -> Option<&dyn Probe> {
        Some(self)
    }

    fn inverse(&self) -> Option<&dyn Inverse> {
        Some(self)
    }
}

impl Probe for Publish {
    fn look(&self, transport: Transport, call: Call) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let wanted = match wanted(&call) {
                Ok(wanted) => wanted,
                Err(message) => return Answer::new(Verdict::Unknown, shown(&message, &call.redactor)),
            };
            if !wanted.retain {
                return Answer::new(
                    Verdict::Absent,
                    "a message that is not retained leaves nothing to look at",
                );
            }
            match retained(&transport, &call, wanted.broker, &wanted.topic).await {
                Ok(found) => compared(&call, &wanted.topic, &wanted.payload, found.as_ref()),
                Err(error) => Answer::new(Verdict::Unknown, shown(error.message(), &call.redactor)),
            }
        })
    }
}

impl Inverse for Publish {
    fn target(&self, call: &Call) -> Result<String, String> {
        let wanted = wanted(call)?;
        Ok(target(&wanted.broker, &wanted.topic))
    }

    fn pre_image(&self, transport: Transport, call: Call) -> BoxFuture<'static, Result<PreImage, String>> {
        Box::pin(async move {
            let wanted = wanted(&call)?;
            let target = target(&wanted.broker, &wanted.topic);
            let mut value =
                json!({ "broker": wanted.broker.name, "topic": wanted.topic, "retain": wanted.retain });
            let mut contents = BTreeMap::new();
            if wanted.retain {
                let found = retained(&transport, &call, wanted.broker, &wanted.topic).await;
                if let Some(message) = found.map_err(|error| shown(error.message(), &call.redactor))? {
                    value["qos"] = json!(message.qos);
                    contents.insert(PAYLOAD.to_owned(), message.payload);
                }
            }
            Ok(PreImage { target, value, contents, sensitive: false })
        })
    }

    fn undo(&self, transport: Transport, call: Call, pre_image: PreImage) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let strange = || format!("the pre-image of {} cannot be understood", pre_image.target);
            let text = |key: &str| pre_image.value.get(key).and_then(Value::as_str);
            let (Some(name), Some(topic)) = (text("broker"), text("topic")) else {
                return refused(&strange(), &call.redactor);
            };
            if pre_image.value.get("retain") != Some(&Value::Bool(true)) {
                return done();
            }
            let mut named =
                crate::plan::recorded::Operation { name: "mqtt.publish".to_owned(), fields: Map::new() };
            named.fields.insert("broker".to_owned(), name.into());
            let broker = match Fields::new(&named).broker(&call.places, &call.bodies) {
                Ok(broker) => broker,
                Err(message) => return refused(&message, &call.redactor),
            };
            let was = pre_image.contents.get(PAYLOAD).cloned().unwrap_or_default();
            let qos =
                pre_image.value.get("qos").and_then(Value::as_u64).and_then(|qos| u8::try_from(qos).ok());
            let found = match retained(&transport, &call, broker.clone(), topic).await {
                Ok(found) => found,
                Err(error) => return failed(&error, &call),
            };
            // Nothing was retained, or what is there is what was.
            if found.map(|message| message.payload).unwrap_or_default() == was {
                return done();
            }
            let saying =
                Saying { topic: topic.to_owned(), payload: was, qos: qos.unwrap_or(1), retain: true };
            say(&transport, &call, broker, saying).await
        })
    }
}

/// One message on its way.
pub(super) struct Saying {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
    pub(super) retain: bool,
}

/// Publishes and proves it.
pub(super) async fn say(transport: &Transport, call: &Call, broker: MqttBroker, saying: Saying) -> Outcome {
    let on_stop = match Fields::new(&call.operation).on_stop(OnStop::Finish) {
        Ok(on_stop) => on_stop,
        Err(message) => return refused(&message, &call.redactor),
    };
    let working = transport.begin_inside(&call.key.to_string());
    let Saying { topic, payload, qos, retain } = saying;
    let speaking = async {
        let mut session = MqttSession::open(transport, broker, call.timeout).await?;
        session.publish(&topic, &payload, qos, retain).await?;
        session.close().await;
        Ok::<_, MqttError>(())
    };
    let stopped = async {
        match on_stop {
            OnStop::Stop => call.stop.fired().await,
            OnStop::Finish => std::future::pending().await,
        }
    };
    let outcome = tokio::select! {
        biased;
        () = stopped => Outcome::Cut {
            cause: CutCause::Stopped,
            message: format!("it was stopped while it published at `{topic}`, and may have done so"),
            trace: Trace::default(),
        },
        said = speaking => match said {
            Ok(()) => done(),
            Err(error) => failed(&error, call),
        },
    };
    drop(working);
    outcome
}

/// What is retained at a topic.
pub(super) async fn retained(
    transport: &Transport,
    call: &Call,
    broker: MqttBroker,
    topic: &str,
) -> Result<Option<MqttMessage>, MqttError> {
    let mut session = MqttSession::open(transport, broker, call.timeout).await?;
    let found = session.retained(topic).await?;
    session.close().await;
    Ok(found)
}

/// Whether what is retained is what shall be; an empty payload is nothing.
pub(super) fn compared(call: &Call, topic: &str, payload: &[u8], found: Option<&MqttMessage>) -> Answer {
    let there = found.map_or(&[][..], |message| &message.payload);
    let (verdict, reason) = match (there == payload, found) {
        (true, None) => (Verdict::Holds, format!("nothing is retained at `{topic}`")),
        (true, Some(_)) => (Verdict::Holds, format!("it is retained at `{topic}`")),
        (false, None) => (Verdict::Absent, format!("nothing is retained at `{topic}`")),
        (false, Some(_)) => (Verdict::Absent, format!("another message is retained at `{topic}`")),
    };
    let mut answer = Answer::new(verdict, shown(&reason, &call.redactor));
    answer.facts.insert("retained".to_owned(), Value::Bool(found.is_some()));
    answer
}

fn target(broker: &MqttBroker, topic: &str) -> String {
    format!("`{topic}` at broker `{}`", broker.name)
}

pub(super) fn done() -> Outcome {
    Outcome::Acted { outputs: Map::new(), trace: Trace::default() }
}

pub(super) fn failed(error: &MqttError, call: &Call) -> Outcome {
    let (message, trace) = (shown(error.message(), &call.redactor), Trace::default());
    match error {
        MqttError::NotSent { permanent: true, .. } | MqttError::Unproved(_) => {
            Outcome::Failed { class: FailureClass::Permanent, message, trace }
        }
        MqttError::NotSent { permanent: false, .. } => {
            Outcome::Failed { class: FailureClass::Transient, message, trace }
        }
        MqttError::Lost(_) => Outcome::Cut { cause: CutCause::Connection, message, trace },
        MqttError::TimedOut(_) => Outcome::Cut { cause: CutCause::Timeout, message, trace },
    }
}
