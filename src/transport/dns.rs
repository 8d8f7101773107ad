//! Questions to name servers, over UDP and, for what is too long for that, TCP (RFC 1035, RFC 7766).
//!
//! Names are asked for as they stand: `/etc/hosts` and search domains play no part, so that the answer is that of the
//! server and of nothing else.

use core::net::{IpAddr, SocketAddr};
use std::io;
use std::time::Duration;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::Transport;

/// Where a resolver of the system names its servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// How long one server has for one question, as resolvers do (resolv.conf(5): `timeout`).
const SERVER_MAX: Duration = Duration::from_secs(5);

/// How often a question is asked over UDP, which loses some.
const ASKED_MAX: u32 = 2;

/// What a name server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// These records, sorted; none: the name has no such record, or does not exist.
    Records(Vec<String>),
    /// Nobody knows.
    Unknown(String),
}

impl Transport {
    /// Asks a name server, or those of the system one after the other. Cancel-safe.
    pub(crate) async fn resolve(
        &self,
        name: &str,
        kind: &str,
        server: Option<SocketAddr>,
        limit: Duration,
    ) -> Resolved {
        let asking = async {
            let servers = match server {
                Some(server) => vec![server],
                None => match servers().await {
                    Ok(servers) if servers.is_empty() => {
                        return Resolved::Unknown(format!(
                            "`{RESOLV_CONF}` names no server: write `server = \"…\"`"
                        ));
                    }
                    Ok(servers) => servers,
                    Err(error) => {
                        return Resolved::Unknown(format!("`{RESOLV_CONF}` cannot be read: {error}"));
                    }
                },
            };
            let mut last = Resolved::Unknown("nobody was asked".to_owned());
            for server in servers {
                last = match ask(name, kind, server).await {
                    Ok(records) => return Resolved::Records(records),
                    Err(why) => Resolved::Unknown(format!("name server `{server}`: {why}")),
                };
            }
            last
        };
        let late = || Resolved::Unknown(format!("no name server answers within {limit:?}"));
        timeout(limit, asking).await.unwrap_or_else(|_| late())
    }
}

/// The servers of the system, in its order.
async fn servers() -> io::Result<Vec<SocketAddr>> {
    let text = tokio::task::spawn_blocking(|| std::fs::read_to_string(RESOLV_CONF)).await??;
    Ok(servers_in(&text))
}

fn servers_in(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let ips = lines.filter_map(|rest| rest.split_whitespace().next()?.parse::<IpAddr>().ok());
    ips.map(|ip| SocketAddr::new(ip, 53)).collect()
}

async fn ask(name: &str, kind: &str, server: SocketAddr) -> Result<Vec<String>, String> {
    let kind = match kind {
        "AAAA" => TYPE::AAAA,
        "CNAME" => TYPE::CNAME,
        "TXT" => TYPE::TXT,
        _ => TYPE::A,
    };
    let id = getrandom::u32().map_err(|error| error.to_string())? as u16;
    let asked = Name::new(name.trim_end_matches('.'))
        .map_err(|_| format!("`{name}` cannot be a name: a part of it is empty or longer than 63 bytes"))?;
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(asked, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false));
    let question = packet.build_bytes_vec().map_err(|error| format!("cannot be asked: {error}"))?;
    let mut why = String::new();
    for _ in 0..ASKED_MAX {
        match timeout(SERVER_MAX, over_udp(&question, id, name, kind, server)).await {
            Ok(Ok(Some(records))) => return records,
            // Too long for UDP.
            Ok(Ok(None)) => {
                let answer = timeout(SERVER_MAX, over_tcp(&question, server)).await;
                let answer = answer.map_err(|_| "no answer over TCP".to_owned())?;
                let answer = answer.map_err(|error| format!("over TCP: {error}"))?;
                return match read(&answer, id, name, kind) {
                    Read::Records(records) => records,
                    Read::Truncated | Read::NotOurs => Err("an answer that cannot be read".to_owned()),
                };
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return Err("nobody listens there".to_owned());
            }
            Ok(Err(error)) => why = error.to_string(),
            Err(_) => why = "no answer".to_owned(),
        }
    }
    Err(why)
}

type Records = Result<Vec<String>, String>;

/// `None`: the answer did not fit.
async fn over_udp(
    question: &[u8],
    id: u16,
    name: &str,
    kind: TYPE,
    server: SocketAddr,
) -> io::Result<Option<Records>> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(question).await?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match read(&buffer[..length], id, name, kind) {
            Read::Records(records) => return Ok(Some(records)),
            Read::Truncated => return Ok(None),
            // Somebody else's, or a late one.
            Read::NotOurs => {}
        }
    }
}

async fn over_tcp(question: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(question.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes()[..], question].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

enum Read {
    Records(Records),
    Truncated,
    NotOurs,
}

fn read(answer: &[u8], id: u16, name: &str, kind: TYPE) -> Read {
    let Ok(packet) = Packet::parse(answer) else { return Read::NotOurs };
    let ours = packet.questions.first().is_some_and(|question| {
        question.qname.to_string().eq_ignore_ascii_case(name.trim_end_matches('.'))
            && question.qtype == QTYPE::TYPE(kind)
    });
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) || !ours {
        return Read::NotOurs;
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Read::Truncated;
    }
    match packet.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Read::Records(Ok(Vec::new())),
        other => return Read::Records(Err(format!("it answers {other:?}"))),
    }
    let mut records: Vec<String> = packet
        .answers
        .iter()
        .filter_map(|record| match (&record.rdata, kind) {
            (RData::A(a), TYPE::A) => Some(core::net::Ipv4Addr::from(a.address).to_string()),
            (RData::AAAA(a), TYPE::AAAA) => Some(core::net::Ipv6Addr::from(a.address).to_string()),
            (RData::CNAME(to), TYPE::CNAME) => Some(to.0.to_string()),
            (RData::TXT(text), TYPE::TXT) => String::try_from(text.clone()).ok(),
            _ => None,
        })
        .collect();
    records.sort();
    records.dedup();
    Read::Records(Ok(records))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_the_system_are_found() {
        let text = "# a\nsearch x\nnameserver 10.0.0.1\n nameserver\tfd00::1 # b\nnameserver nonsense\n";
        let found: Vec<String> = servers_in(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.1:53", "[fd00::1]:53"]);
    }
}
