//! An HTTP server on 127.0.0.1 and a free port, with or without TLS, that answers as a test says and remembers what it
//! was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// Which connection it came on, from 1.
    pub connection: usize,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What it answers.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Status, further header lines, body.
    Say(u16, Vec<String>, Vec<u8>),
    /// Nothing: the connection is closed.
    Drop,
    /// Nothing, until the server ends.
    Hang,
    /// A body that never ends, until the server or the connection does.
    Endless,
}

impl Reply {
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Reply::Say(200, Vec::new(), body.into())
    }
    pub fn status(status: u16) -> Self {
        Reply::Say(status, Vec::new(), Vec::new())
    }
}

type Handler = Arc<dyn Fn(&Asked) -> Reply + Send + Sync>;

pub struct Server {
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    scheme: &'static str,
}

impl Server {
    pub fn start(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::run(TcpListener::bind("127.0.0.1:0").unwrap(), None, Arc::new(handler))
    }

    /// With TLS, and the certificate to trust as PEM.
    pub fn start_tls(handler: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let chain: Vec<CertificateDer<'static>> = vec![made.cert.der().clone()];
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (Self::run(listener, Some(Arc::new(config)), Arc::new(handler)), made.cert.pem())
    }

    fn run(listener: TcpListener, tls: Option<Arc<rustls::ServerConfig>>, handler: Handler) -> Self {
        let port = listener.local_addr().unwrap().port();
        let (asked, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let server = Self { port, asked: Arc::clone(&asked), stop: Arc::clone(&stop), scheme };
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (handler, asked, stop) = (Arc::clone(&handler), Arc::clone(&asked), Arc::clone(&stop));
                let tls = tls.clone();
                std::thread::spawn(move || {
                    stream.set_nodelay(true).unwrap();
                    match tls {
                        None => serve(stream, number + 1, &handler, &asked, &stop),
                        Some(config) => {
                            let connection = rustls::ServerConnection::new(config).unwrap();
                            let stream = rustls::StreamOwned::new(connection, stream);
                            serve(stream, number + 1, &handler, &asked, &stop);
                        }
                    }
                });
            }
        });
        server
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://127.0.0.1:{}{path}", self.scheme, self.port)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn serve<S: Read + Write>(
    stream: S,
    connection: usize,
    handler: &Handler,
    all: &Mutex<Vec<Asked>>,
    stop: &AtomicBool,
) {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = read(&mut stream, connection) {
        all.lock().unwrap().push(asked.clone());
        let (status, headers, body) = match handler(&asked) {
            Reply::Say(status, headers, body) => (status, headers, body),
            Reply::Drop => return,
            Reply::Hang => {
                while !stop.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(5));
                }
                return;
            }
            Reply::Endless => {
                let inner = stream.get_mut();
                let mut sent = inner.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
                while sent.is_ok() && !stop.load(Ordering::SeqCst) {
                    sent = inner.write_all(&[b'x'; 64 * 1024]).and_then(|()| inner.flush());
                }
                return;
            }
        };
        let mut head = format!("HTTP/1.1 {status} Whatever\r\ncontent-length: {}\r\n", body.len());
        for line in headers {
            head.push_str(&line);
            head.push_str("\r\n");
        }
        let body = if asked.method == "HEAD" { &[][..] } else { &body[..] };
        let answer = [head.as_bytes(), b"\r\n", body].concat();
        let inner = stream.get_mut();
        if inner.write_all(&answer).and_then(|()| inner.flush()).is_err() {
            return;
        }
    }
}

fn read<S: Read>(stream: &mut BufReader<S>, connection: usize) -> Option<Asked> {
    let line = |stream: &mut BufReader<S>| {
        let mut text = String::new();
        (stream.read_line(&mut text).ok()? > 0).then(|| text.trim_end().to_owned())
    };
    let first = line(stream)?;
    let mut words = first.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let text = line(stream)?;
        if text.is_empty() {
            break;
        }
        let (name, value) = text.split_once(':')?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Some(Asked { method, target, headers, body, connection })
}
