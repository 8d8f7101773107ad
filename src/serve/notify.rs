//! What the service manager is told: ready, still alive, stopping (sd_notify(3), systemd 257).
//!
//! A message is one datagram to the socket that `NOTIFY_SOCKET` names, a path or, after `@`, an abstract name. Without
//! that variable nobody listens and nothing is said.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Speaks to the service manager, where there is one.
#[derive(Debug, Default)]
pub struct Notify {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// From what the environment says: `NOTIFY_SOCKET`, and `WATCHDOG_USEC` with `WATCHDOG_PID`.
    ///
    /// # Errors
    /// The socket's name makes no sense.
    pub fn new(
        socket: Option<&str>,
        watchdog_us: Option<&str>,
        watchdog_pid: Option<&str>,
    ) -> io::Result<Self> {
        let Some(name) = socket.filter(|name| !name.is_empty()) else { return Ok(Self::default()) };
        let address = match name.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        let datagram = UnixDatagram::unbound()?;
        datagram.set_nonblocking(true)?;
        let ours = watchdog_pid.is_none_or(|pid| pid.parse() == Ok(std::process::id()));
        let us = watchdog_us.filter(|_| ours).and_then(|us| us.parse::<u64>().ok()).filter(|us| *us > 0);
        Ok(Self { to: Some((datagram, address)), watchdog: us.map(Duration::from_micros) })
    }

    /// How often it has to hear that we are alive: half of what it waits.
    pub fn watchdog_every(&self) -> Option<Duration> {
        self.watchdog.map(|every| every / 2)
    }

    /// Everything that was open has been taken on.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// Still alive.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// In good order towards the end; what is in flight is let finish.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// A line for `systemctl status`.
    pub fn status(&self, text: &str) {
        self.say(&format!("STATUS={}", text.replace('\n', " ")));
    }

    fn say(&self, text: &str) {
        let Some((datagram, to)) = &self.to else { return };
        if let Err(error) = datagram.send_to_addr(text.as_bytes(), to) {
            tracing::debug!(%error, "the service manager does not listen");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_heard_at_a_path_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("runner-test-{}", std::process::id());
        for (at, said) in [
            (SocketAddr::from_pathname(&path).unwrap(), path.display().to_string()),
            (SocketAddr::from_abstract_name(&name).unwrap(), format!("@{name}")),
        ] {
            let manager = UnixDatagram::bind_addr(&at).unwrap();
            let notify = Notify::new(Some(&said), Some("4000000"), None).unwrap();
            assert_eq!(notify.watchdog_every(), Some(Duration::from_secs(2)));
            notify.ready();
            notify.status("two\nlines");
            let mut heard = [0; 64];
            for text in ["READY=1", "STATUS=two lines"] {
                let count = manager.recv(&mut heard).unwrap();
                assert_eq!(&heard[..count], text.as_bytes());
            }
        }
        let silent = Notify::new(None, Some("1"), None).unwrap();
        silent.ready();
        assert_eq!(silent.watchdog_every(), None);
        let other = Notify::new(Some("/x"), Some("1"), Some("1")).unwrap();
        assert_eq!(other.watchdog_every(), None, "the watchdog of another process");
    }
}
