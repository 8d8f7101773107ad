//! One session with a broker: subscribe, see, publish, prove, close.

use std::collections::VecDeque;
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnectionError, Event, EventLoop, LastWill, MqttOptions, NetworkOptions, Outgoing, Packet,
    QoS, SubscribeReasonCode, Transport as Way,
};
use tokio::time::Instant;

use super::bridge::{Bridge, unreachable};
use super::{Broker, MqttError};
use crate::transport::Transport;

/// How long a connection may take to be made: what an idle broker on another continent needs, and more.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// How often a connection is tried that nothing permanent keeps from being made, and the first pause between two.
const TRIES: u32 = 3;
/// See [`TRIES`]; doubled each time.
const PAUSE: Duration = Duration::from_millis(150);

/// The largest message that is taken: a snapshot of a camera has some hundred KiB.
const MESSAGE_MAX: usize = 16 << 20;

/// How long a broker may take to hand our own message on to us, behind its acknowledgement: mosquitto does so at once.
const ECHO_MAX: Duration = Duration::from_secs(2);

/// How long is waited for a retained message behind the answer to a later subscription. mosquitto hands it out before
/// that answer; a broker may do so at its leisure (MQTT 3.1.1, section 3.8.4).
const LEISURE: Duration = Duration::from_millis(250);

/// A message that was handed to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    /// It was retained by the broker from before.
    pub(crate) retained: bool,
}

/// What a wait for a message came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Watched {
    Message(Message),
    /// None came in time.
    Nothing,
}

/// A session. Dropped, it ends without a word; it has no last will.
pub(crate) struct Session {
    client: AsyncClient,
    events: EventLoop,
    broker: Broker,
    id: String,
    /// When everything in it must be over.
    deadline: Instant,
    inbox: VecDeque<Message>,
    /// Subscriptions sent, and those that were answered.
    asked: usize,
    answered: usize,
    /// Publications that were acknowledged.
    acknowledged: usize,
    /// A publication has gone out, so that an end of the session leaves it open what became of it.
    published: bool,
    _bridge: Option<Bridge>,
}

impl Session {
    /// Connects, for so long at most, everything that follows included.
    ///
    /// # Errors
    /// [`MqttError::NotSent`], and why.
    pub(crate) async fn open(
        transport: &Transport,
        broker: Broker,
        timeout: Duration,
    ) -> Result<Self, MqttError> {
        let deadline = super::super::launch::after(timeout);
        let mut pause = PAUSE;
        for tried in 1.. {
            let connecting = Self::connect(transport, &broker, deadline);
            let limit = deadline.min(Instant::now() + CONNECT_MAX);
            let error = match tokio::time::timeout_at(limit, connecting).await {
                Ok(Ok(session)) => return Ok(session),
                Ok(Err(error)) => error,
                Err(_) => MqttError::NotSent {
                    permanent: false,
                    message: format!("no connection to {} in time", broker.shown()),
                },
            };
            let permanent = matches!(error, MqttError::NotSent { permanent: true, .. });
            if permanent || tried >= TRIES || Instant::now() + pause >= deadline {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        unreachable!("the loop ends by returning")
    }

    async fn connect(transport: &Transport, broker: &Broker, deadline: Instant) -> Result<Self, MqttError> {
        let id = client_id();
        let Connected { client, events, bridge } = connect(transport, broker, &id, None).await?;
        Ok(Self {
            client,
            events,
            broker: broker.clone(),
            id,
            deadline,
            inbox: VecDeque::new(),
            asked: 0,
            answered: 0,
            acknowledged: 0,
            published: false,
            _bridge: bridge,
        })
    }

    /// Subscribes, and waits until the broker has handed out what it retains there.
    pub(crate) async fn subscribe(&mut self, filter: &str) -> Result<(), MqttError> {
        // The answer to a second subscription comes behind what the first one brings.
        let fence = format!("runner/{}", self.id);
        for filter in [filter, &fence] {
            self.client.try_subscribe(filter, QoS::AtLeastOnce).map_err(|error| MqttError::NotSent {
                permanent: true,
                message: format!("cannot subscribe to `{filter}`: {error}"),
            })?;
            self.asked += 1;
        }
        while self.answered < self.asked {
            self.turn(self.deadline).await?;
        }
        Ok(())
    }

    /// The message that is retained at a topic now, if there is one that we may see.
    pub(crate) async fn retained(&mut self, topic: &str) -> Result<Option<Message>, MqttError> {
        self.inbox.clear();
        self.subscribe(topic).await?;
        let limit = self.deadline.min(Instant::now() + LEISURE);
        let mut live = VecDeque::new();
        let found = loop {
            match self.next(limit).await? {
                Watched::Message(message) if message.retained && message.topic == topic => {
                    break Some(message);
                }
                Watched::Message(message) => live.push_back(message),
                Watched::Nothing => break None,
            }
        };
        live.append(&mut self.inbox);
        self.inbox = live;
        if found.is_none() && Instant::now() >= self.deadline {
            return Err(self.late());
        }
        Ok(found)
    }

    /// The next message, until `limit` or the end of the session's time. Cancel-safe.
    pub(crate) async fn next(&mut self, limit: Instant) -> Result<Watched, MqttError> {
        let limit = limit.min(self.deadline);
        loop {
            if let Some(message) = self.inbox.pop_front() {
                return Ok(Watched::Message(message));
            }
            if !self.turn_until(limit).await? {
                return Ok(Watched::Nothing);
            }
        }
    }

    /// Publishes, and proves by reading it back that it arrived: as a message, and when it is to be retained as the
    /// retained one. An empty retained message clears what is retained.
    ///
    /// # Errors
    /// [`MqttError::Unproved`] when the broker acknowledged it and nothing of it is to be seen: its access list forbids
    /// it (and says nothing), or somebody else was faster.
    pub(crate) async fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        qos: u8,
        retain: bool,
    ) -> Result<(), MqttError> {
        self.subscribe(topic).await?;
        self.inbox.clear();
        let level = match qos {
            0 => QoS::AtMostOnce,
            1 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        self.client.try_publish(topic, level, retain, payload).map_err(|error| MqttError::NotSent {
            permanent: true,
            message: format!("cannot publish at `{topic}`: {error}"),
        })?;
        self.published = true;
        let wanted = self.acknowledged + usize::from(qos > 0);
        while self.acknowledged < wanted {
            self.turn(self.deadline).await?;
        }
        let limit = self.deadline.min(Instant::now() + ECHO_MAX);
        loop {
            match self.next(limit).await? {
                Watched::Message(message) if message.topic == topic && message.payload == payload => break,
                Watched::Message(_) => {}
                Watched::Nothing => return Err(self.unproved(topic, qos)),
            }
        }
        if retain {
            let found = self.retained(topic).await?;
            let there = found.as_ref().map_or(&[][..], |message| &message.payload);
            if there != payload {
                return Err(MqttError::Unproved(format!(
                    "{} handed the message on, but retains another one at `{topic}`: somebody else publishes there",
                    self.broker.shown()
                )));
            }
        }
        Ok(())
    }

    /// Publishes what nothing depends on: when the broker has acknowledged it, that is enough.
    #[cfg(feature = "serve")]
    pub(crate) async fn say(&mut self, topic: &str, payload: Vec<u8>) -> Result<(), MqttError> {
        let said = self.client.try_publish(topic, QoS::AtLeastOnce, false, payload);
        said.map_err(|error| MqttError::NotSent {
            permanent: true,
            message: format!("cannot publish at `{topic}`: {error}"),
        })?;
        self.published = true;
        let wanted = self.acknowledged + 1;
        while self.acknowledged < wanted {
            self.turn(self.deadline).await?;
        }
        Ok(())
    }

    /// Everything that is retained below a filter, until the broker has been silent for a moment.
    #[cfg(feature = "serve")]
    pub(crate) async fn all_retained(&mut self, filter: &str) -> Result<Vec<Message>, MqttError> {
        self.inbox.clear();
        self.subscribe(filter).await?;
        let mut found = Vec::new();
        loop {
            match self.next(Instant::now() + LEISURE).await? {
                Watched::Message(message) if message.retained => found.push(message),
                Watched::Message(_) => {}
                Watched::Nothing => return Ok(found),
            }
        }
    }

    fn unproved(&self, topic: &str, qos: u8) -> MqttError {
        let said = if qos > 0 { "acknowledged the message" } else { "took the message" };
        MqttError::Unproved(format!(
            "{} {said}, but it is not to be seen at `{topic}`: its access list does not let {} write there, or read",
            self.broker.shown(),
            self.broker.user()
        ))
    }

    /// Ends the session in good order, as far as that goes.
    pub(crate) async fn close(mut self) {
        let limit = Instant::now() + Duration::from_secs(1);
        if self.client.try_disconnect().is_err() {
            return;
        }
        while let Ok(Ok(event)) = tokio::time::timeout_at(limit, self.events.poll()).await {
            if matches!(event, Event::Outgoing(Outgoing::Disconnect)) {
                return;
            }
        }
    }

    /// One turn of the event loop; the end of the time is an error.
    async fn turn(&mut self, limit: Instant) -> Result<(), MqttError> {
        match self.turn_until(limit).await? {
            true => Ok(()),
            false => Err(self.late()),
        }
    }

    /// One turn of the event loop; `false` when nothing happened until then.
    async fn turn_until(&mut self, limit: Instant) -> Result<bool, MqttError> {
        let event = match tokio::time::timeout_at(limit, self.events.poll()).await {
            Err(_) => return Ok(false),
            Ok(Err(error)) => return Err(self.lost(&error)),
            Ok(Ok(event)) => event,
        };
        match event {
            Event::Incoming(Packet::Publish(message)) => self.inbox.push_back(Message {
                topic: message.topic,
                payload: message.payload.to_vec(),
                qos: message.qos as u8,
                retained: message.retain,
            }),
            Event::Incoming(Packet::SubAck(answer)) => {
                self.answered += 1;
                // The second of two is the fence, about which nobody cares.
                if self.answered % 2 == 1 && answer.return_codes.contains(&SubscribeReasonCode::Failure) {
                    return Err(MqttError::NotSent {
                        permanent: true,
                        message: format!(
                            "{} does not let {} subscribe there",
                            self.broker.shown(),
                            self.broker.user()
                        ),
                    });
                }
            }
            Event::Incoming(Packet::PubAck(_) | Packet::PubComp(_)) => self.acknowledged += 1,
            _ => {}
        }
        Ok(true)
    }

    fn late(&self) -> MqttError {
        let message = format!("{} did not answer in time", self.broker.shown());
        match self.published {
            true => MqttError::TimedOut(format!("{message}; what was published may have arrived")),
            false => MqttError::NotSent { permanent: false, message },
        }
    }

    fn lost(&self, error: &ConnectionError) -> MqttError {
        let message = format!("the session with {} broke off: {error}", self.broker.shown());
        match self.published {
            true => MqttError::Lost(format!("{message}; what was published may have arrived")),
            false => MqttError::NotSent { permanent: false, message },
        }
    }
}

/// A connection that the broker has taken.
pub(super) struct Connected {
    pub(super) client: AsyncClient,
    pub(super) events: EventLoop,
    pub(super) bridge: Option<Bridge>,
}

/// Connects as `id`, of which the first six letters are the same for all, with this last will.
pub(super) async fn connect(
    transport: &Transport,
    broker: &Broker,
    id: &str,
    will: Option<LastWill>,
) -> Result<Connected, MqttError> {
    let bridge = match broker.tls {
        true => Some(Bridge::open(broker, transport.0.options.runtime.join(format!("m{}", &id[6..]))).await?),
        false => None,
    };
    let mut options = match &bridge {
        Some(bridge) => {
            let mut options = MqttOptions::new(id, bridge.path(), 0);
            options.set_transport(Way::Unix);
            options
        }
        None => {
            let host = match broker.host.contains(':') {
                true => format!("[{}]", broker.host),
                false => broker.host.clone(),
            };
            MqttOptions::new(id, host, broker.port)
        }
    };
    options.set_keep_alive(Duration::from_secs(30));
    options.set_clean_session(true);
    options.set_max_packet_size(MESSAGE_MAX, MESSAGE_MAX);
    if let Some(will) = will {
        options.set_last_will(will);
    }
    if broker.username.is_some() || broker.password.is_some() {
        options.set_credentials(
            broker.username.clone().unwrap_or_default(),
            broker.password.clone().unwrap_or_default(),
        );
    }
    let (client, mut events) = AsyncClient::new(options, 16);
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(CONNECT_MAX.as_secs());
    network.set_tcp_nodelay(true);
    events.set_network_options(network);
    match events.poll().await {
        Ok(_) => Ok(Connected { client, events, bridge }),
        Err(ConnectionError::ConnectionRefused(code)) => Err(broker.refused(code)),
        Err(ConnectionError::Io(error)) => Err(unreachable(broker, &error)),
        Err(error) => Err(MqttError::NotSent {
            permanent: false,
            message: format!("no session with {}: {error}", broker.shown()),
        }),
    }
}

/// A client id that nobody has: 23 characters of `[0-9a-zA-Z]` at most are what every broker takes (MQTT 3.1.1,
/// section 3.1.3.1).
fn client_id() -> String {
    let number = getrandom::u64().unwrap_or_else(|_| {
        // Without randomness of the system a process still differs from all others by its pid and its count.
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        u64::from(std::process::id()) << 32 | count
    });
    format!("runner{number:016x}")
}
