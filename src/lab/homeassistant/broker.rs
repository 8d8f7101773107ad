//! Home Assistant's client of the broker: it hears the retained `PREFIX/available` that its Frigate entities follow.
//!
//! Only a message changes what is known: while the broker is away the last one holds, as in the integration.

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde::{Deserialize, Serialize};

use super::complain;
use super::core::Inner;

/// Where the broker is, and who Home Assistant is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broker {
    /// Its host.
    pub host: String,
    /// Its port, without TLS.
    pub port: u16,
    /// Empty: nobody.
    pub username: String,
    /// The password of `username`.
    pub password: String,
}

/// Listens until it is dropped; connects again for ever.
pub(super) async fn listen(inner: Arc<Inner>, broker: Broker) {
    const AGAIN: Duration = Duration::from_millis(250);
    let mut options = MqttOptions::new("homeassistant", broker.host, broker.port);
    options.set_keep_alive(Duration::from_secs(15));
    if !broker.username.is_empty() {
        options.set_credentials(broker.username, broker.password);
    }
    let (client, mut events) = AsyncClient::new(options, 16);
    loop {
        match events.poll().await {
            // A new session knows nothing of what was asked for before.
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                for topic in ["+/available", "+/+/available"] {
                    drop(client.try_subscribe(topic, QoS::AtLeastOnce));
                }
            }
            Ok(Event::Incoming(Packet::Publish(message))) => {
                if let Some(prefix) = message.topic.strip_suffix("/available") {
                    let payload = String::from_utf8_lossy(&message.payload);
                    complain(inner.shared.heard_available(prefix, &payload));
                    inner.note_cameras();
                }
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
}
