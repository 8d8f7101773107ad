//! A word to somebody outside, over HTTP or MQTT: sent once, and nothing depends on it.

use std::time::Duration;

use super::Transport;
use super::capture::Capture;
use super::http::{HttpEnd, HttpRequest};
use super::mqtt::{Broker as MqttBroker, MqttError, Session as MqttSession, check_topic};
use super::redact::Redactor;

/// What is sent: a POST.
pub struct Notice {
    /// Where; may hold a secret.
    pub url: String,
    /// Names in lower case; values may be secrets.
    pub headers: Vec<(String, String)>,
    /// What is said.
    pub body: Vec<u8>,
}

impl Transport {
    /// Sends a notice. Dropping the future closes the connection.
    ///
    /// # Errors
    /// In a few words why nobody took it; the address is not in them, because it may hold a secret.
    pub async fn notify(&self, notice: Notice, timeout: Duration) -> Result<(), String> {
        let Notice { url, headers, body } = notice;
        let request = HttpRequest {
            method: "POST".to_owned(),
            url,
            headers,
            body: Some(body),
            redirects: 0,
            ca: None,
            wants_body: false,
        };
        let mut capture = Capture::new(&Redactor::new([""; 0]), None);
        match self.request(&request, &mut capture, timeout, None).await {
            HttpEnd::Answered { status: 200..=299, .. } => Ok(()),
            HttpEnd::Answered { status, .. } => Err(format!("it answered with status {status}")),
            HttpEnd::Refused(_) => Err("nobody listens there".to_owned()),
            HttpEnd::NotSent { .. } => Err("it cannot be reached".to_owned()),
            HttpEnd::TimedOut(_) => Err("it did not answer in time".to_owned()),
            HttpEnd::Lost(_) | HttpEnd::Stopped(_) => Err("the connection was lost".to_owned()),
        }
    }
}

/// A broker to speak to: for notices, and for who shows runs there.
#[derive(Clone)]
pub struct BrokerPlace(pub(crate) MqttBroker);

impl BrokerPlace {
    /// The broker at `mqtt://host[:port]` or `mqtts://host[:port]`; `ca` are certificates (PEM) that are trusted instead
    /// of the system's.
    ///
    /// # Errors
    /// In words, what is wrong with the address.
    pub fn new(
        name: &str,
        url: &str,
        username: Option<String>,
        password: Option<String>,
        ca: Option<Vec<u8>>,
    ) -> Result<Self, String> {
        let broker = MqttBroker::read(name, url)?;
        Ok(Self(MqttBroker { username, password, ca, ..broker }))
    }
}

impl Transport {
    /// Publishes a notice at a topic, not retained, in a session of its own.
    ///
    /// # Errors
    /// In a few words, why the broker did not take it.
    pub async fn publish_notice(
        &self,
        broker: &BrokerPlace,
        topic: &str,
        body: Vec<u8>,
        timeout: Duration,
    ) -> Result<(), String> {
        let said = async {
            let mut session = MqttSession::open(self, broker.0.clone(), timeout).await?;
            session.say(topic, body).await?;
            session.close().await;
            Ok::<(), MqttError>(())
        };
        said.await.map_err(|error| error.message().to_owned())
    }
}

/// Whether a notice can be published at a topic, and what is wrong with it when not.
///
/// # Errors
/// In words.
pub fn topic_for_notices(topic: &str) -> Result<(), String> {
    check_topic(topic)
}
