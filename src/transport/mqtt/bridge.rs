//! TLS for rumqttc: the connection is made here, with rustls on ring, and rumqttc reaches it over a Unix socket in the
//! private runtime folder.
//!
//! rumqttc's own TLS features bring rustls-webpki 0.102 (RUSTSEC-2026-0049, -0098, -0099, -0104), and its public
//! interface takes no stream that is made elsewhere (0.25.1, `eventloop.rs`). The socket takes one connection and is
//! gone then.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixListener};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::{Broker, MqttError};
use crate::transport::http::{roots, tls_error};

/// Carries bytes until it is dropped.
#[derive(Debug)]
pub(super) struct Bridge {
    path: PathBuf,
    carrying: JoinHandle<()>,
}

impl Bridge {
    /// Makes the trusted connection and listens for rumqttc at `path`.
    pub(super) async fn open(broker: &Broker, path: PathBuf) -> Result<Self, MqttError> {
        let never = |why: String| MqttError::NotSent {
            permanent: true,
            message: format!("no trusted connection to {}: {why}", broker.shown()),
        };
        let name = ServerName::try_from(broker.host.clone())
            .map_err(|_| never(format!("`{}` cannot be the name in a certificate", broker.host)))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| never(error.to_string()))?
            .with_root_certificates(roots(broker.ca.clone(), "ca").await.map_err(never)?)
            .with_no_client_auth();
        let tcp = TcpStream::connect((broker.host.as_str(), broker.port))
            .await
            .map_err(|error| unreachable(broker, &error))?;
        let nodelay = tcp.set_nodelay(true);
        let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
        let mut tls = nodelay.and(tls).map_err(|error| untrusted(broker, &error))?;
        let listener = listen(&path).map_err(|error| MqttError::NotSent {
            permanent: false,
            message: format!("cannot listen at `{}`: {error}", path.display()),
        })?;
        let removed = path.clone();
        let carrying = tokio::spawn(async move {
            let Ok((mut ours, _)) = listener.accept().await else { return };
            drop(listener);
            remove(&removed);
            // However it ends, rumqttc sees its connection end, and says so.
            let _ended = tokio::io::copy_bidirectional(&mut ours, &mut tls).await;
        });
        Ok(Self { path, carrying })
    }

    pub(super) fn path(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.carrying.abort();
        remove(&self.path);
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    remove(path);
    UnixListener::bind(path)
}

/// Removes the socket; it may be gone already.
fn remove(path: &Path) {
    let _gone = std::fs::remove_file(path);
}

/// A connection that was not made.
pub(super) fn unreachable(broker: &Broker, error: &io::Error) -> MqttError {
    let message = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("{} refuses the connection: nobody listens there", broker.shown())
        }
        _ => format!("no connection to {}: {error}", broker.shown()),
    };
    MqttError::NotSent { permanent: false, message }
}

fn untrusted(broker: &Broker, error: &io::Error) -> MqttError {
    let Some(tls) = tls_error(error) else {
        let message = format!("no trusted connection to {}: {error}", broker.shown());
        return MqttError::NotSent { permanent: false, message };
    };
    let permanent = matches!(tls, rustls::Error::InvalidCertificate(_) | rustls::Error::InvalidMessage(_));
    let advice = match tls {
        rustls::Error::InvalidCertificate(_) => {
            ": name its authority with `ca` of the broker, or correct `url`"
        }
        rustls::Error::InvalidMessage(_) => ": it does not speak TLS there; `mqtt://` is without",
        _ => "",
    };
    let message = format!("no trusted connection to {}, {tls}{advice}", broker.shown());
    MqttError::NotSent { permanent, message }
}
