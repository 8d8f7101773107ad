//! An MQTT client that plays a Frigate or somebody else in a test: with a client id, a last will, and `online` said at
//! each connection, as Frigate does.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rumqttc::{AsyncClient, Event, LastWill, MqttOptions, Outgoing, Packet, QoS};
use tokio::task::JoinHandle;

/// How it plays.
#[derive(Clone)]
pub struct Role<'a> {
    pub port: u16,
    pub id: &'a str,
    pub user: &'a str,
    /// Says `online` at PREFIX/available, and `offline` by its last will.
    pub prefix: Option<&'a str>,
    /// Has that last will, and says nothing.
    pub will_alone: bool,
    /// Connects again so long after it was thrown out.
    pub again: Option<Duration>,
    pub subscribe: Option<&'a str>,
}

impl<'a> Role<'a> {
    pub fn new(port: u16, id: &'a str, user: &'a str) -> Self {
        Self { port, id, user, prefix: None, will_alone: false, again: None, subscribe: None }
    }
}

/// A message as it came: topic, payload, retained.
pub type Came = (String, String, bool);

pub struct Player {
    client: AsyncClient,
    playing: JoinHandle<()>,
    connected: Arc<AtomicUsize>,
    acknowledged: Arc<AtomicUsize>,
    thrown_out: Arc<AtomicUsize>,
    granted: Arc<AtomicUsize>,
    closing: Arc<AtomicBool>,
    came: Arc<Mutex<Vec<Came>>>,
}

impl Player {
    /// Connects and waits until it is connected (and has said what it says).
    pub async fn start(role: Role<'_>) -> Self {
        let player = Self::try_start(role);
        player.until("connected", |player| player.connected.load(Ordering::SeqCst) > 0).await;
        player
    }

    pub fn try_start(role: Role<'_>) -> Self {
        let mut options = MqttOptions::new(role.id, "127.0.0.1", role.port);
        options.set_credentials(role.user, super::mosquitto::PASSWORD);
        options.set_keep_alive(Duration::from_secs(60));
        let available = role.prefix.map(|prefix| format!("{prefix}/available"));
        if let Some(topic) = &available {
            options.set_last_will(LastWill::new(topic, "offline", QoS::AtLeastOnce, true));
        }
        let available = available.filter(|_| !role.will_alone);
        let (client, mut events) = AsyncClient::new(options, 32);
        let count = || Arc::new(AtomicUsize::new(0));
        let (connected, acknowledged, thrown_out, granted) = (count(), count(), count(), count());
        let (came, closing) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let subscribe = role.subscribe.map(str::to_owned);
        let again = role.again;
        let playing = {
            let granted = Arc::clone(&granted);
            let (client, connected, acknowledged) =
                (client.clone(), Arc::clone(&connected), Arc::clone(&acknowledged));
            let (thrown_out, came, closing) =
                (Arc::clone(&thrown_out), Arc::clone(&came), Arc::clone(&closing));
            tokio::spawn(async move {
                let mut greeted = available.is_none() && subscribe.is_none();
                loop {
                    match events.poll().await {
                        Ok(Event::Incoming(Packet::ConnAck(_))) => {
                            if let Some(topic) = &available {
                                client.try_publish(topic, QoS::AtLeastOnce, true, "online").unwrap();
                            }
                            if let Some(filter) = &subscribe {
                                client.try_subscribe(filter, QoS::AtLeastOnce).unwrap();
                            }
                            if greeted {
                                connected.fetch_add(1, Ordering::SeqCst);
                            }
                        }
                        Ok(Event::Incoming(Packet::PubAck(_))) => {
                            if !greeted && available.is_some() {
                                greeted = true;
                                connected.fetch_add(1, Ordering::SeqCst);
                            }
                            acknowledged.fetch_add(1, Ordering::SeqCst);
                        }
                        Ok(Event::Incoming(Packet::SubAck(_))) => {
                            granted.fetch_add(1, Ordering::SeqCst);
                            if !greeted && available.is_none() {
                                greeted = true;
                                connected.fetch_add(1, Ordering::SeqCst);
                            }
                        }
                        Ok(Event::Incoming(Packet::Publish(message))) => {
                            let payload = String::from_utf8_lossy(&message.payload).into_owned();
                            came.lock().unwrap().push((message.topic, payload, message.retain));
                        }
                        Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
                        Ok(_) => {}
                        Err(_) if closing.load(Ordering::SeqCst) => return,
                        Err(_) => {
                            thrown_out.fetch_add(1, Ordering::SeqCst);
                            match again {
                                None => return,
                                Some(pause) => tokio::time::sleep(pause).await,
                            }
                        }
                    }
                }
            })
        };
        Self { client, playing, connected, acknowledged, thrown_out, granted, closing, came }
    }

    /// Publishes at QoS 1 and waits for the acknowledgement.
    pub async fn publish(&self, topic: &str, payload: &str, retain: bool) {
        let wanted = self.acknowledged.load(Ordering::SeqCst) + 1;
        self.client.publish(topic, QoS::AtLeastOnce, retain, payload).await.unwrap();
        self.until("acknowledged", |player| player.acknowledged.load(Ordering::SeqCst) >= wanted).await;
    }

    /// Publishes at QoS 0, retained nowhere.
    pub async fn mention(&self, topic: &str, payload: &str) {
        self.client.publish(topic, QoS::AtMostOnce, false, payload).await.unwrap();
    }

    /// Connects with a keep-alive of so many seconds and never says anything again, but keeps its socket open.
    pub async fn silent(role: Role<'_>, keep_alive: u16) -> Self {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut hello = rumqttc::Connect::new(role.id);
        hello.keep_alive = keep_alive;
        hello.set_login(role.user, super::mosquitto::PASSWORD);
        let topic = format!("{}/available", role.prefix.unwrap());
        hello.last_will = Some(LastWill::new(topic, "offline", QoS::AtLeastOnce, true));
        let mut bytes = bytes::BytesMut::new();
        hello.write(&mut bytes).unwrap();
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", role.port)).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[3], 0);
        let (client, _) = AsyncClient::new(MqttOptions::new("unused", "127.0.0.1", 1), 1);
        let count = || Arc::new(AtomicUsize::new(1));
        let (connected, acknowledged, thrown_out, granted) = (count(), count(), count(), count());
        let playing = tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(stream);
        });
        let (closing, came) = (Arc::new(AtomicBool::new(false)), Arc::default());
        Self { client, playing, connected, acknowledged, thrown_out, granted, closing, came }
    }

    /// Subscribes and waits for the answer.
    pub async fn subscribe(&self, filter: &str) {
        let wanted = self.granted.load(Ordering::SeqCst) + 1;
        self.client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        self.until("granted", |player| player.granted.load(Ordering::SeqCst) >= wanted).await;
    }

    /// Disconnects in good order: no last will.
    pub async fn leave(self) {
        self.closing.store(true, Ordering::SeqCst);
        self.client.disconnect().await.unwrap();
        drop(self.playing.await);
    }

    /// Is gone as a killed process is: the socket closes without a word.
    pub async fn die(self) {
        self.playing.abort();
        drop(self.playing.await);
    }

    pub fn thrown_out(&self) -> usize {
        self.thrown_out.load(Ordering::SeqCst)
    }

    pub fn came(&self) -> Vec<Came> {
        self.came.lock().unwrap().clone()
    }

    pub async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let since = Instant::now();
        while !is(self) {
            assert!(since.elapsed() < Duration::from_secs(20), "never {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
