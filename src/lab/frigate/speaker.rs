//! Its MQTT client: `online` at each connection and never else, `offline` by its last will, the state of its switches
//! retained, and its statistics now and then. It reconnects by itself for ever, as paho does, which is what makes two of
//! one client id fight.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, LastWill, MqttOptions, Outgoing, Packet, QoS};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::stats::stats;
use super::{End, Inner};

/// How long after the end of a connection it tries again: paho's first pause.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Speaker {
    good_bye: Option<oneshot::Sender<()>>,
    speaking: JoinHandle<()>,
}

impl Speaker {
    /// Starts it, if there is a broker.
    pub(super) fn start(inner: &Arc<Inner>) -> Option<Self> {
        let (setup, switches) = inner.store.look(|state| (state.setup.clone(), state.switches.clone()));
        let login = setup.broker.filter(|_| !switches.mute)?;
        let client_id = switches.client_id.unwrap_or(setup.client_id);
        let mut options = MqttOptions::new(client_id, "127.0.0.1", login.port);
        options.set_credentials(login.user, login.password);
        options.set_keep_alive(Duration::from_secs(60));
        let prefix = setup.topic_prefix;
        options.set_last_will(LastWill::new(
            format!("{prefix}/available"),
            "offline",
            QoS::AtLeastOnce,
            true,
        ));
        let (client, events) = AsyncClient::new(options, 256);
        let (good_bye, leaving) = oneshot::channel();
        let speaking = tokio::spawn(speak(Arc::clone(inner), prefix, client, events, leaving));
        Some(Self { good_bye: Some(good_bye), speaking })
    }

    /// Ends it, with or without a word.
    pub(super) async fn end(mut self, how: End) {
        let told =
            self.good_bye.take().filter(|_| how == End::Shutdown).is_some_and(|say| say.send(()).is_ok());
        let limit = Duration::from_secs(2);
        if told && tokio::time::timeout(limit, &mut self.speaking).await.is_ok() {
            return;
        }
        self.speaking.abort();
        // Its connection is closed when it is gone.
        let _ended = (&mut self.speaking).await;
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.speaking.abort();
    }
}

async fn speak(
    inner: Arc<Inner>,
    prefix: String,
    client: AsyncClient,
    mut events: EventLoop,
    leaving: oneshot::Receiver<()>,
) {
    // The real one's `mqtt.stats_interval` is 60 s, and 15 at least.
    let every = Duration::from_secs(inner.store.look(|state| state.setup.stats_every.max(1)));
    let mut next = Instant::now() + every;
    tokio::pin!(leaving);
    let mut going = false;
    loop {
        let event = tokio::select! {
            told = &mut leaving, if !going => {
                going = true;
                if told.is_err() || client.try_disconnect().is_err() {
                    return;
                }
                continue;
            }
            () = tokio::time::sleep_until(next) => {
                next = Instant::now() + every;
                let now = inner.clock.now().as_secs();
                let stats = inner.store.look(|state| stats(state, now)).to_string();
                // While it is not connected they are lost, as the real one's are.
                let _sent = client.try_publish(format!("{prefix}/stats"), QoS::AtMostOnce, false, stats);
                continue;
            }
            event = events.poll() => event,
        };
        match event {
            Ok(Event::Incoming(Packet::ConnAck(_))) => greet(&inner, &prefix, &client),
            Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
            Ok(_) => {}
            Err(_) if going => return,
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}

fn greet(inner: &Inner, prefix: &str, client: &AsyncClient) {
    let say = |topic: String, payload: &str| {
        // The channel holds more than is said at once; what does not fit was not heard, as on a bad line.
        let _sent = client.try_publish(topic, QoS::AtLeastOnce, true, payload);
    };
    say(format!("{prefix}/available"), "online");
    let (cameras, detection) = inner.store.look(|state| (state.setup.cameras.clone(), state.detection()));
    for camera in cameras.iter().take(50) {
        say(format!("{prefix}/{camera}/detect/state"), if detection { "ON" } else { "OFF" });
        say(format!("{prefix}/{camera}/recordings/state"), "ON");
    }
}
