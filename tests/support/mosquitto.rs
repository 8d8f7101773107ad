//! A real mosquitto on 127.0.0.1 and free ports, with users, an access list and TLS, in a temporary folder; ended by its
//! handle.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::port::Port;

const MOSQUITTO: &str = "/usr/sbin/mosquitto";

/// Everybody's password.
pub const PASSWORD: &str = "correct horse";

/// Who may do what, as in facts/transcripts/mqtt-trace.jsonl.
pub const RIGHTS: &[(&str, &str)] = &[
    ("frigate-k8s", "readwrite frigate/#"),
    ("frigate-lxc", "readwrite frigate/#"),
    ("observer", "read frigate/#"),
    ("ha", "readwrite #"),
];

/// A running mosquitto.
pub struct Mosquitto {
    folder: TempDir,
    port: Port,
    tls_port: Port,
    ca: String,
    process: Child,
}

impl Mosquitto {
    /// Starts one, or says loudly why not.
    pub fn start() -> Option<Self> {
        Self::start_with(RIGHTS)
    }

    /// The same with these users and rights.
    pub fn start_with(rights: &[(&str, &str)]) -> Option<Self> {
        if !Path::new(MOSQUITTO).exists() {
            super::skip::skip("there is no mosquitto on this machine: apt-get install mosquitto");
            return None;
        }
        let folder = tempfile::Builder::new().prefix("mosq").tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut acl = String::new();
        let mut passwords = String::new();
        for (user, right) in rights {
            acl.push_str(&format!("user {user}\ntopic {right}\n\n"));
            passwords.push_str(&format!("{user}:{PASSWORD}\n"));
        }
        fs::write(path("acl"), acl).unwrap();
        fs::write(path("passwords"), passwords).unwrap();
        // Turns the plain passwords of the file into hashed ones.
        let hashed = Command::new("mosquitto_passwd").args(["-U", &path("passwords")]).output().unwrap();
        assert!(hashed.status.success(), "{hashed:?}");
        let ca = certificate(&folder);
        let (port, tls_port) = (Port::held(), Port::held());
        let user = if rustix::process::geteuid().is_root() { "user root\n" } else { "" };
        let config = format!(
            "{user}allow_anonymous false\npassword_file {}\nacl_file {}\nlistener {} 127.0.0.1\n\
             listener {} 127.0.0.1\ncertfile {}\nkeyfile {}\n",
            path("passwords"),
            path("acl"),
            port.number(),
            tls_port.number(),
            path("server.pem"),
            path("server.key"),
        );
        fs::write(path("config"), config).unwrap();
        let process = spawn(&folder);
        let mosquitto = Self { folder, port, tls_port, ca, process };
        mosquitto.until_it_answers();
        Some(mosquitto)
    }

    fn until_it_answers(&self) {
        let since = Instant::now();
        for port in [&self.port, &self.tls_port] {
            while TcpStream::connect(("127.0.0.1", port.number())).is_err() {
                assert!(
                    since.elapsed() < Duration::from_secs(20),
                    "mosquitto does not come up: {}",
                    self.log()
                );
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }

    /// Ends it; everything that it retained is forgotten.
    pub fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again, at the same ports, after [`stop`](Self::stop).
    pub fn again(&mut self) {
        self.process = spawn(&self.folder);
        self.until_it_answers();
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port())
    }

    pub fn tls_url(&self) -> String {
        format!("mqtts://127.0.0.1:{}", self.tls_port.number())
    }

    /// The authority that vouches for its certificate, as PEM.
    pub fn ca(&self) -> &str {
        &self.ca
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn spawn(folder: &TempDir) -> Child {
    let log = fs::File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
    Command::new(MOSQUITTO)
        .arg("-c")
        .arg(folder.path().join("config"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::from(log))
        .spawn()
        .unwrap()
}

/// Makes an authority and a certificate of it for 127.0.0.1; gives the authority's.
fn certificate(folder: &TempDir) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.distinguished_name.push(rcgen::DnType::CommonName, "an authority of the tests");
    let signed = authority.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(authority, key);
    let server_key = rcgen::KeyPair::generate().unwrap();
    let server = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let server = server.signed_by(&server_key, &issuer).unwrap();
    fs::write(folder.path().join("server.pem"), server.pem()).unwrap();
    fs::write(folder.path().join("server.key"), server_key.serialize_pem()).unwrap();
    signed.pem()
}
