//! MQTT 3.1.1: short sessions with a broker, in which one thing is seen or said, and errors that say whether anything
//! was.
//!
//! A session has a client id of its own, which no service has: two clients of one id throw each other out for ever
//! (facts/components.md section 4). It is clean, so that a broker forgets it. An acknowledgement proves nothing: a
//! broker acknowledges what its access list forbids, so that what is published is read back. rumqttc is built without
//! its TLS, which brings a certificate library with known holes; `bridge` leads it through ours. Start reading at
//! `Session::open`; `Standing` is
//! the one session that stays, for who is always there.

mod bridge;
mod session;
#[cfg(feature = "serve")]
mod standing;

use rumqttc::ConnectReturnCode;

pub(crate) use session::{Message, Session, Watched};
#[cfg(feature = "serve")]
pub(crate) use standing::{Standing, Will};

/// Where a broker is and who we are there.
#[derive(Clone)]
pub(crate) struct Broker {
    /// How the plan calls it.
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    /// Certificates (PEM) that are trusted instead of the system's.
    pub(crate) ca: Option<Vec<u8>>,
}

/// Why there is no session, or no longer, or nothing was proved in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MqttError {
    /// Nothing was published.
    NotSent {
        /// Trying again does not help.
        permanent: bool,
        message: String,
    },
    /// The broker acknowledged it and did not hand it on to us.
    Unproved(String),
    /// The session broke off: what was published may have arrived.
    Lost(String),
    /// The same, because it took too long.
    TimedOut(String),
}

impl MqttError {
    pub(crate) fn message(&self) -> &str {
        match self {
            MqttError::NotSent { message, .. }
            | MqttError::Unproved(message)
            | MqttError::Lost(message)
            | MqttError::TimedOut(message) => message,
        }
    }
}

impl Broker {
    /// Reads `mqtt://host[:port]` or `mqtts://host[:port]`; the ports are 1883 and 8883 unless it says so.
    ///
    /// # Errors
    /// In words, what is wrong with the address.
    pub(crate) fn read(name: &str, url: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("the `url` of broker `{name}` {what}");
        let (tls, rest) = match (url.strip_prefix("mqtt://"), url.strip_prefix("mqtts://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(wrong("must begin with `mqtt://` or `mqtts://`")),
        };
        let rest = rest.trim_end_matches('/');
        if rest.contains('@') {
            return Err(wrong("must not hold a user: write `username` and `password`"));
        }
        if rest.contains(['/', '?', '#']) {
            return Err(wrong("must end after host and port"));
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (rest, None),
        };
        let port = match port {
            None => {
                if tls {
                    8883
                } else {
                    1883
                }
            }
            Some(port) => port
                .parse()
                .ok()
                .filter(|&port| port != 0)
                .ok_or_else(|| wrong("must have a port from 1 to 65535 behind its `:`"))?,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(wrong("must name a host"));
        }
        Ok(Self { name: name.to_owned(), host, port, tls, username: None, password: None, ca: None })
    }

    /// How it is called in messages.
    pub(crate) fn shown(&self) -> String {
        format!("broker `{}` ({}:{})", self.name, self.host, self.port)
    }

    /// Who we are there, for messages.
    pub(crate) fn user(&self) -> String {
        match &self.username {
            Some(user) => format!("user `{user}`"),
            None => "somebody without a user".to_owned(),
        }
    }

    /// What the answer to a connection means.
    fn refused(&self, code: ConnectReturnCode) -> MqttError {
        let (permanent, why) = match code {
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => {
                (true, "not authorised: check `username` and `password` of the broker")
            }
            ConnectReturnCode::RefusedProtocolVersion => (true, "it does not speak MQTT 3.1.1"),
            ConnectReturnCode::BadClientId => (true, "it does not like the client id"),
            ConnectReturnCode::ServiceUnavailable => (false, "it is not available"),
            ConnectReturnCode::Success => (false, "it said yes and no"),
        };
        let message = format!("{} refuses {}: {why}", self.shown(), self.user());
        MqttError::NotSent { permanent, message }
    }
}

/// Whether a message may be published there (MQTT 3.1.1, sections 3.3.2.1 and 4.7).
///
/// # Errors
/// In words, why not.
pub(crate) fn check_topic(topic: &str) -> Result<(), String> {
    if topic.is_empty() || topic.len() > 65_535 || topic.contains('\0') {
        return Err("a topic has 1 to 65535 bytes and no NUL".to_owned());
    }
    if topic.contains(['+', '#']) {
        return Err(format!("`{topic}` has a wildcard: only a subscription may have one"));
    }
    Ok(())
}

/// Whether a subscription may be made to it.
///
/// # Errors
/// In words, why not.
pub(crate) fn check_filter(filter: &str) -> Result<(), String> {
    if filter.len() > 65_535 || filter.contains('\0') || !rumqttc::valid_filter(filter) {
        return Err(format!(
            "`{filter}` is no topic: `+` stands for a whole level, `#` for all that follow at the end"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (url, host, port, tls) in [
            ("mqtt://a", "a", 1883, false),
            ("mqtts://a/", "a", 8883, true),
            ("mqtt://a.b:99", "a.b", 99, false),
            ("mqtt://[::1]:5", "::1", 5, false),
            ("mqtt://[::1]", "::1", 1883, false),
        ] {
            let broker = Broker::read("home", url).map_err(|error| format!("{url}: {error}")).unwrap();
            assert_eq!((broker.host.as_str(), broker.port, broker.tls), (host, port, tls), "{url}");
        }
        for (url, words) in [
            ("http://a", "must begin with"),
            ("mqtt://me:pw@a", "must not hold a user"),
            ("mqtt://a/b", "must end after"),
            ("mqtt://a:0", "a port from 1"),
            ("mqtt://a:x", "a port from 1"),
            ("mqtt://", "must name a host"),
        ] {
            let message = Broker::read("home", url).err().unwrap();
            assert!(message.contains(words) && !message.contains("pw"), "{url}: {message}");
        }
    }

    #[test]
    fn topics_and_filters() {
        assert!(
            check_topic("frigate/available").is_ok()
                && check_topic("a/+").is_err()
                && check_topic("").is_err()
        );
        assert!(check_filter("frigate/#").is_ok() && check_filter("a/+/b").is_ok());
        assert!(check_filter("a#").is_err() && check_filter("").is_err() && check_filter("#/a").is_err());
    }
}
