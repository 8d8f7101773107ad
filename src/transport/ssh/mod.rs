//! Hosts over the system's ssh: one multiplexed connection each, and a wrapper on the host that keeps an attempt
//! alive and its end known whatever becomes of the connection (P3).
//!
//! [`master`] makes and finds connections, [`pool`] shares them, [`wrapper`] is the text that runs on the host,
//! [`marks`] reads what it says, and [`exchange`] is one call of it.

mod exchange;
mod marks;
mod master;
mod pool;
mod refusal;
mod wrapper;

pub(crate) use exchange::Settled;
pub(super) use master::end_stale_masters;
pub(super) use pool::Pool;

/// A host as ssh needs it; equal targets share a connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    /// Its name in the plan, for messages.
    pub(crate) name: String,
    /// `[user@]host`.
    pub(crate) address: String,
    pub(crate) port: Option<u16>,
    pub(crate) identity_file: Option<String>,
    pub(crate) known_hosts: Option<String>,
    pub(crate) jump: Option<String>,
    /// Run everything through `sudo -n`.
    pub(crate) sudo: bool,
}

impl Target {
    /// The ssh command line that reaches it, for messages: what a person can type.
    pub(crate) fn command(&self) -> String {
        let mut words = vec!["ssh".to_owned()];
        for (flag, value) in [
            ("-p ", self.port.map(|port| port.to_string())),
            ("-i ", self.identity_file.clone()),
            ("-J ", self.jump.clone()),
            ("-o UserKnownHostsFile=", self.known_hosts.clone()),
        ] {
            if let Some(value) = value {
                words.push(format!("{flag}{value}"));
            }
        }
        words.push(self.address.clone());
        words.join(" ")
    }

    /// Its name and address, for messages.
    pub(crate) fn shown(&self) -> String {
        match self.port {
            Some(port) => format!("host `{}` ({} port {port})", self.name, self.address),
            None => format!("host `{}` ({})", self.name, self.address),
        }
    }
}
