//! Ports of loopback that stay whose they are, while others in the same process and outside it look for free ones.
//!
//! A socket that is bound and does not listen refuses connections, and keeps its port from everybody who asks for any free one
//! or connects from one; only who names this very port and sets `SO_REUSEADDR`, as servers do, may listen on it (socket(7);
//! `inet_csk_bind_conflict` in Linux).

use std::net::{SocketAddr, TcpListener, UdpSocket};

use tokio::net::TcpSocket;

/// A port on which nobody listens, unless a server was told to; its holder keeps it.
pub struct Port {
    number: u16,
    _held: TcpSocket,
}

impl Port {
    pub fn held() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self { number: socket.local_addr().unwrap().port(), _held: socket }
    }

    pub fn number(&self) -> u16 {
        self.number
    }
}

/// Listens for both, on one address: what is free for one of them is often somebody's for the other.
pub fn tcp_and_udp() -> (TcpListener, UdpSocket, SocketAddr) {
    (0..1_000)
        .find_map(|_| {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = tcp.local_addr().unwrap();
            Some((tcp, UdpSocket::bind(address).ok()?, address))
        })
        .expect("a port that is free for both")
}
