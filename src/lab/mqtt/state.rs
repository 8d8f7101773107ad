//! What the broker remembers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A retained message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retained {
    /// What it says.
    pub payload: Vec<u8>,
    /// 0 or 1.
    pub qos: u8,
}

impl Retained {
    /// What it says, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

/// Somebody who may log in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Its password: a lab keeps no real one.
    pub password: String,
    /// What it may read, as topic filters.
    pub read: Vec<String>,
    /// What it may write, as topic filters.
    pub write: Vec<String>,
}

/// All of it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) port: u16,
    pub(super) users: BTreeMap<String, User>,
    pub(super) retained: BTreeMap<String, Retained>,
    /// Messages that were handed on, by the client id that sent them.
    #[serde(default)]
    pub(super) written: BTreeMap<String, u64>,
}

impl State {
    pub(super) fn may(&self, user: &str, write: bool, topic: &str) -> bool {
        let Some(user) = self.users.get(user) else { return false };
        let filters = if write { &user.write } else { &user.read };
        filters.iter().any(|filter| matches(topic, filter))
    }
}

/// Whether a topic is one of those that a filter names (MQTT 3.1.1, section 4.7).
pub(super) fn matches(topic: &str, filter: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let (mut topics, mut filters) = (topic.split('/'), filter.split('/'));
    loop {
        match (topics.next(), filters.next()) {
            (_, Some("#")) | (None, None) => return true,
            (Some(_), Some("+")) => {}
            (Some(level), Some(wanted)) if level == wanted => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        for (topic, filter, matched) in [
            ("a/b", "a/b", true),
            ("a/b", "a/+", true),
            ("a/b", "#", true),
            ("a", "a/#", true),
            ("a/b/c", "a/+", false),
            ("a/b", "+/+", true),
            ("a", "+/+", false),
            ("\u{e9}/b", "+/b", true),
            ("$SYS/x", "#", false),
            ("$SYS/x", "$SYS/#", true),
        ] {
            assert_eq!(matches(topic, filter), matched, "{topic} {filter}");
        }
    }
}
