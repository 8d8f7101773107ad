//! Goal: from elsewhere the service is asked over TLS, by who shows a token or a certificate of an authority that it
//! knows, and by nobody else. Method: the real binary with certificates that are made here, and a plain TLS client.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::serve_support;
use crate::worlds_support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serve_support::{Serve, until};
use worlds_support::House;

const TOKEN: &str = "0123456789abcdef-token";

/// An authority, and what it signs.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
struct Signed {
    certificate: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: rcgen::Issuer::new(params, key), pem }
    }

    fn signs(&self, name: &str, of_server: bool) -> Signed {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![match of_server {
            true => rcgen::ExtendedKeyUsagePurpose::ServerAuth,
            false => rcgen::ExtendedKeyUsagePurpose::ClientAuth,
        }];
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Signed { certificate, key: key.serialize_pem() }
    }
}

/// Asks once over TLS; the status, or nothing when there was no connection.
fn ask(
    address: SocketAddr,
    trusted: &Authority,
    shows: Option<&Signed>,
    head: &str,
    body: &str,
) -> Option<(u16, String)> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.pem.as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match shows {
        None => config.with_no_client_auth(),
        Some(signed) => config
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(signed.certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut stream = StreamOwned::new(connection, tcp);
    let long = body.len();
    write!(stream, "{head}\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {long}\r\n\r\n{body}")
        .ok()?;
    let mut answer = Vec::new();
    // How it ends does not matter once the answer is there.
    drop(stream.read_to_end(&mut answer));
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1)?.parse().ok()?;
    Some((status, text))
}

fn get(address: SocketAddr, trusted: &Authority, shows: Option<&Signed>, more: &str) -> Option<u16> {
    let head = format!("GET /api/v1/runs HTTP/1.1{more}");
    ask(address, trusted, shows, &head, "").map(|(status, _)| status)
}

fn write(house: &House, signed: &Signed) {
    house.write("cert.pem", &signed.certificate);
    let key = house.write("key.pem", &signed.key);
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).unwrap();
}

const FILES: [&str; 5] = ["serve", "--tls-cert", "cert.pem", "--tls-key", "key.pem"];

fn serve(house: &House, more: &[&str]) -> Serve {
    let words: Vec<&str> = FILES.iter().chain(more).copied().collect();
    Serve::start(house.runner(&words))
}

#[test]
fn a_certificate_of_a_known_authority_stands_in_for_the_token() {
    let house = House::new();
    let (servers, people, others) =
        (Authority::new("servers"), Authority::new("people"), Authority::new("others"));
    write(&house, &servers.signs("127.0.0.1", true));
    house.write("people.pem", &people.pem);
    let token = house.write("token", TOKEN);
    std::fs::set_permissions(token, std::fs::Permissions::from_mode(0o600)).unwrap();
    house.plan("g", "[[step]]\nid = \"it\"\napprove = \"Go?\"\nforward = { action = \"command\", argv = [\"true\"] }\ncompensate = \"nothing\"\n");
    let (ann, eve) = (people.signs("ann", false), others.signs("eve", false));

    // With both, either will do.
    let service = serve(&house, &["--client-ca", "people.pem", "--token-file", "token", "--plans", "plans"]);
    let at = service.address;
    until("it is ready", || {
        ask(at, &servers, None, "GET /readyz HTTP/1.1", "").is_some_and(|(status, _)| status == 200)
    });
    assert_eq!(get(at, &servers, None, ""), Some(401));
    assert_eq!(get(at, &servers, None, &format!("\r\nAuthorization: Bearer {TOKEN}")), Some(200));
    assert_eq!(get(at, &servers, Some(&ann), ""), Some(200));
    assert_eq!(get(at, &servers, Some(&eve), ""), None, "a certificate of somebody else");
    let json = "\r\nContent-Type: application/json";
    let begun = ask(
        at,
        &servers,
        Some(&ann),
        &format!("POST /api/v1/runs HTTP/1.1{json}"),
        "{\"plan\":\"g\",\"by\":\"ann\"}",
    );
    let (status, text) = begun.unwrap();
    assert_eq!(status, 201, "{text}");
    let events = ask(at, &servers, Some(&ann), "GET /api/v1/runs/g-1/events HTTP/1.1", "").unwrap().1;
    assert!(events.contains("ann via https from 127.0.0.1 with certificate "), "{events}");
    // A page of another site is refused, whoever's browser shows a certificate.
    let from = |origin: &str| {
        let head = format!("POST /api/v1/runs/g-1/pause HTTP/1.1{json}\r\nOrigin: {origin}");
        ask(at, &servers, Some(&ann), &head, "").unwrap().0
    };
    assert_eq!(from("https://evil.example"), 403);
    assert_eq!(from(&format!("http://{at}")), 403);
    assert_eq!(from(&format!("https://{at}")), 200);
    // Cookies go over TLS alone.
    let page = ask(at, &servers, None, "GET /login HTTP/1.1", "").unwrap().1.to_lowercase();
    assert!(page.contains("set-cookie") && page.contains("; secure"), "{page}");
    // Who speaks no TLS learns nothing, and who begins and never ends is let go.
    assert_eq!(service.get("/healthz").status, 0);
    let mut slow = TcpStream::connect(at).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let began = Instant::now();
    slow.write_all(b"\x16\x03\x01").unwrap();
    drop(slow.read_to_end(&mut Vec::new()));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(service.terminate().0, Some(0));
}

#[test]
fn without_a_token_nobody_is_answered_who_has_no_certificate() {
    let house = House::new();
    let (servers, people) = (Authority::new("servers"), Authority::new("people"));
    write(&house, &servers.signs("127.0.0.1", true));
    house.write("people.pem", &people.pem);
    let ann = people.signs("ann", false);
    let service = serve(&house, &["--client-ca", "people.pem"]);
    let at = service.address;
    until("it answers", || get(at, &servers, Some(&ann), "") == Some(200));
    assert_eq!(get(at, &servers, None, ""), None);
    assert_eq!(get(at, &servers, Some(&servers.signs("eve", false)), ""), None);
    // A new certificate is taken up, a broken one is not.
    let next = Authority::new("next");
    write(&house, &next.signs("127.0.0.1", true));
    until("the new certificate is shown", || get(at, &next, Some(&ann), "") == Some(200));
    assert_eq!(get(at, &servers, Some(&ann), ""), None);
    house.write("cert.pem", "no certificate");
    assert_eq!(get(at, &next, Some(&ann), ""), Some(200));
    let (code, error) = service.terminate();
    assert_eq!(code, Some(0), "{error}");
    assert!(error.contains("the certificates of before stay in place"), "{error}");
}

#[test]
fn files_that_do_not_go_together_are_refused() {
    let house = House::new();
    let servers = Authority::new("servers");
    let (one, other) = (servers.signs("127.0.0.1", true), servers.signs("127.0.0.1", true));
    write(&house, &one);
    house.write("other.pem", &other.key);
    house.write("open.pem", &one.key);
    house.write("empty.pem", "");
    house.shell("chmod 600 other.pem empty.pem && chmod 644 open.pem");
    for (words, why) in [
        (&["--tls-cert", "cert.pem"][..], "--tls-key"),
        (&["--client-ca", "cert.pem"], "--tls-cert"),
        (&["--tls-cert", "cert.pem", "--tls-key", "other.pem"], "does not go with"),
        (&["--tls-cert", "cert.pem", "--tls-key", "open.pem"], "can be read by others"),
        (&["--tls-cert", "empty.pem", "--tls-key", "key.pem"], "there is no certificate in"),
        (&["--tls-cert", "cert.pem", "--tls-key", "empty.pem"], "there is no key in"),
        (&["--tls-cert", "nowhere.pem", "--tls-key", "key.pem"], "nowhere.pem"),
        (
            &["--tls-cert", "cert.pem", "--tls-key", "key.pem", "--client-ca", "empty.pem"],
            "there is no certificate in",
        ),
        (
            &["--tls-cert", "cert.pem", "--tls-key", "key.pem", "--listen", "0.0.0.0:0"],
            "can be reached from other machines",
        ),
    ] {
        let mut all = vec!["serve"];
        all.extend(words);
        if !words.contains(&"--listen") {
            all.extend(["--listen", "127.0.0.1:0"]);
        }
        let said = house.run(&all);
        assert_eq!(said.code, 2, "{words:?}: {said:?}");
        assert!(said.err.contains(why), "{words:?}: {}", said.err);
    }
    assert!(!house.path.join("state").exists());
}
