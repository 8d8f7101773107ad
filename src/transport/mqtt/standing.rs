//! A session that stays as long as its broker lets it: with a client id that is always the same, a last will, and messages
//! both ways.
//!
//! It proves nothing: what is published is retained state that is published anew in every session, and a message that
//! comes is a wish that is judged elsewhere. It does not connect again by itself: who holds it knows what has to be
//! said first then.

use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, LastWill, Outgoing, Packet, QoS, SubscribeReasonCode};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::bridge::Bridge;
use super::session::{Connected, connect};
use super::{Broker, Message, MqttError};
use crate::transport::Transport;

/// Messages that wait to be taken; more are dropped with a warning.
const INBOX_MAX: usize = 64;

/// How long a message may wait for its place on the wire: a broker that takes nothing for so long is as good as gone.
const PUBLISH_MAX: Duration = Duration::from_secs(30);

/// How long the end of a session may take.
const CLOSE_MAX: Duration = Duration::from_secs(2);

/// What the broker says, retained, when the session breaks off.
#[derive(Debug, Clone)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) payload: String,
}

/// The session. Dropped, it breaks off, and its last will is said.
pub(crate) struct Standing {
    client: AsyncClient,
    heard: mpsc::Receiver<Message>,
    polling: JoinHandle<String>,
    shown: String,
    _bridge: Option<Bridge>,
}

impl Standing {
    /// Connects as `id` (`runner` and more, 23 letters and digits at most) and subscribes to these filters, within this
    /// time.
    ///
    /// # Errors
    /// [`MqttError::NotSent`], and why: also when a subscription is not granted.
    pub(crate) async fn open(
        transport: &Transport,
        broker: &Broker,
        id: &str,
        will: Will,
        filters: &[String],
        timeout: Duration,
    ) -> Result<Self, MqttError> {
        let late = || MqttError::NotSent {
            permanent: false,
            message: format!("no session with {} in time", broker.shown()),
        };
        let opening = Self::opened(transport, broker, id, will, filters);
        tokio::time::timeout(timeout, opening).await.map_err(|_| late())?
    }

    async fn opened(
        transport: &Transport,
        broker: &Broker,
        id: &str,
        will: Will,
        filters: &[String],
    ) -> Result<Self, MqttError> {
        let will = LastWill::new(will.topic, will.payload, QoS::AtLeastOnce, true);
        let Connected { client, mut events, bridge } = connect(transport, broker, id, Some(will)).await?;
        let not = |permanent, message| MqttError::NotSent { permanent, message };
        let mut early = Vec::new();
        // One after the other, so that a refusal names its filter.
        for filter in filters {
            client
                .try_subscribe(filter, QoS::AtLeastOnce)
                .map_err(|error| not(true, format!("cannot subscribe to `{filter}`: {error}")))?;
            loop {
                let event = events.poll().await.map_err(|error| {
                    not(false, format!("the session with {} broke off: {error}", broker.shown()))
                })?;
                match event {
                    Event::Incoming(Packet::SubAck(answer)) => {
                        if answer.return_codes.contains(&SubscribeReasonCode::Failure) {
                            let (broker, user) = (broker.shown(), broker.user());
                            let message = format!("{broker} does not let {user} subscribe to `{filter}`");
                            return Err(not(true, message));
                        }
                        break;
                    }
                    Event::Incoming(Packet::Publish(message)) => early.push(told(message)),
                    _ => {}
                }
            }
        }
        let (sender, heard) = mpsc::channel(INBOX_MAX);
        early.into_iter().for_each(|message| hand_on(&sender, message));
        let polling = tokio::spawn(poll(events, sender));
        Ok(Self { client, heard, polling, shown: broker.shown(), _bridge: bridge })
    }

    /// Publishes, at least once; it is on its way when this returns.
    ///
    /// # Errors
    /// [`MqttError::Lost`]: the session is over.
    pub(crate) async fn publish(&self, topic: &str, payload: &[u8], retain: bool) -> Result<(), MqttError> {
        let publishing = self.client.publish(topic, QoS::AtLeastOnce, retain, payload);
        match tokio::time::timeout(PUBLISH_MAX, publishing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(MqttError::Lost(format!("the session with {} is over", self.shown))),
            Err(_) => Err(MqttError::TimedOut(format!("{} takes nothing", self.shown))),
        }
    }

    /// The next message; `None` when the session is over. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        self.heard.recv().await
    }

    /// Ends it in good order, without the last will; or says why it ended by itself.
    pub(crate) async fn close(self) -> String {
        drop(self.client.try_disconnect());
        let Self { mut polling, .. } = self;
        match tokio::time::timeout(CLOSE_MAX, &mut polling).await {
            Ok(Ok(why)) => why,
            Ok(Err(_)) => "it ended".to_owned(),
            Err(_) => {
                polling.abort();
                "it took nothing more".to_owned()
            }
        }
    }
}

/// Carries packets until the session is over, and says why it is. A task of its own, so that no packet is dropped in the
/// middle.
async fn poll(mut events: EventLoop, heard: mpsc::Sender<Message>) -> String {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::Publish(message))) => hand_on(&heard, told(message)),
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return "it was closed".to_owned(),
            Ok(_) => {}
            Err(error) => return error.to_string(),
        }
    }
}

fn told(message: rumqttc::Publish) -> Message {
    Message {
        topic: message.topic,
        payload: message.payload.to_vec(),
        qos: message.qos as u8,
        retained: message.retain,
    }
}

/// Waiting here would keep everything else from the wire.
fn hand_on(heard: &mpsc::Sender<Message>, message: Message) {
    if let Err(error) = heard.try_send(message) {
        let message = error.into_inner();
        tracing::warn!(topic = message.topic, "a message was dropped: too many came at once");
    }
}
