//! Speaks with one client.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::{
    ConnAck, Connect, ConnectReturnCode, Packet, PubAck, PubComp, PubRec, Publish, QoS, SubAck,
    SubscribeReasonCode, UnsubAck,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::hub::Hub;

/// The largest packet that is taken.
const PACKET_MAX: usize = 16 << 20;

/// How long somebody may take to say who it is.
const HELLO_MAX: Duration = Duration::from_secs(10);

struct Wire {
    stream: TcpStream,
    read: BytesMut,
}

impl Wire {
    /// The next packet; `None` when the connection has ended or broken, or what came is no MQTT.
    async fn next(&mut self) -> Option<Packet> {
        loop {
            match Packet::read(&mut self.read, PACKET_MAX) {
                Ok(packet) => return Some(packet),
                Err(rumqttc::Error::InsufficientBytes(_)) => {}
                Err(_) => return None,
            }
            match self.stream.read_buf(&mut self.read).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    async fn say(&mut self, packet: Packet) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, usize::MAX).map_err(io::Error::other)?;
        self.stream.write_all(&bytes).await
    }
}

pub(super) async fn serve(stream: TcpStream, hub: Arc<Hub>) {
    let nodelay = stream.set_nodelay(true);
    let mut wire = Wire { stream, read: BytesMut::new() };
    let hello = tokio::time::timeout(HELLO_MAX, wire.next()).await;
    let (Ok(()), Ok(Some(Packet::Connect(hello)))) = (nodelay, hello) else { return };
    let Some(user) = user(&hub, &hello) else {
        let _gone = wire.say(Packet::ConnAck(ConnAck::new(ConnectReturnCode::NotAuthorized, false))).await;
        return;
    };
    let id = match hello.client_id.is_empty() {
        true => format!("auto-{}", wire.stream.peer_addr().map_or(0, |address| address.port())),
        false => hello.client_id.clone(),
    };
    let Ok((number, mut packets)) = hub.join(&id, &user, hello.last_will) else { return };
    let patience = match hello.keep_alive {
        0 => None,
        seconds => Some(Duration::from_millis(u64::from(seconds) * 1500)),
    };
    let client = Client { id: &id, number, user: &user };
    let mut in_order = false;
    if wire.say(Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false))).await.is_ok() {
        let mut heard = Instant::now();
        loop {
            let silence = async {
                match patience {
                    Some(patience) => tokio::time::sleep_until(heard + patience).await,
                    None => std::future::pending().await,
                }
            };
            let said = tokio::select! {
                // What a subscription brings is handed out before the next packet is read.
                biased;
                packet = packets.recv() => match packet {
                    Some(packet) => wire.say(packet).await.is_ok(),
                    // Somebody else has taken the client id.
                    None => false,
                },
                packet = wire.next() => match packet {
                    Some(Packet::Disconnect) => {
                        in_order = true;
                        false
                    }
                    Some(packet) => {
                        heard = Instant::now();
                        client.take(&mut wire, &hub, packet).await.is_ok()
                    }
                    None => false,
                },
                () = silence => false,
            };
            if !said {
                break;
            }
        }
    }
    hub.leave(&id, number, in_order);
}

/// Who a client says that it is, if that is so.
fn user(hub: &Hub, hello: &Connect) -> Option<String> {
    let login = hello.login.as_ref()?;
    let known = hub
        .store
        .look(|state| state.users.get(&login.username).is_some_and(|user| user.password == login.password));
    known.then(|| login.username.clone())
}

struct Client<'a> {
    id: &'a str,
    number: u64,
    user: &'a str,
}

impl Client<'_> {
    async fn take(&self, wire: &mut Wire, hub: &Hub, packet: Packet) -> io::Result<()> {
        match packet {
            Packet::Publish(message) => {
                let Publish { qos, pkid, .. } = message;
                // On file before it is acknowledged.
                hub.publish(self.id, self.user, &message).map_err(io::Error::other)?;
                match qos {
                    QoS::AtMostOnce => Ok(()),
                    QoS::AtLeastOnce => wire.say(Packet::PubAck(PubAck::new(pkid))).await,
                    QoS::ExactlyOnce => wire.say(Packet::PubRec(PubRec::new(pkid))).await,
                }
            }
            Packet::PubRel(released) => wire.say(Packet::PubComp(PubComp::new(released.pkid))).await,
            Packet::Subscribe(asked) => {
                let granted = asked.filters.iter().map(|filter| match filter.qos {
                    QoS::ExactlyOnce => SubscribeReasonCode::Success(QoS::AtLeastOnce),
                    qos => SubscribeReasonCode::Success(qos),
                });
                wire.say(Packet::SubAck(SubAck::new(asked.pkid, granted.collect()))).await?;
                for filter in asked.filters {
                    hub.subscribe(self.id, self.number, &filter.path, filter.qos);
                }
                Ok(())
            }
            Packet::Unsubscribe(asked) => {
                for filter in &asked.topics {
                    hub.unsubscribe(self.id, self.number, filter);
                }
                wire.say(Packet::UnsubAck(UnsubAck::new(asked.pkid))).await
            }
            Packet::PingReq => wire.say(Packet::PingResp).await,
            // Acknowledgements of what was handed out.
            _ => Ok(()),
        }
    }
}
