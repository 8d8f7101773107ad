//! TLS for who asks from elsewhere, and certificates of clients that say who asks.
//!
//! The files are looked at again at each connection, and read again when they have changed: a certificate is renewed
//! more often than a service that soaks for weeks is started. One that cannot be read then leaves the one before in its
//! place, with a warning.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;

/// The largest file that is read, in bytes: a bundle of all public authorities has 230 KB.
const FILE_MAX: u64 = 4 * 1024 * 1024;

/// Where certificates and the key are, as PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Our certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Authorities of clients: whoever has a certificate of one of them needs no token.
    pub clients: Option<PathBuf>,
}

/// What is known of the files: who knows all of it of two looks knows whether they are the same.
type Seen = Vec<Option<(u64, u64, i64, i64)>>;

struct Made {
    seen: Seen,
    acceptor: TlsAcceptor,
}

/// Makes connections secret, and knows who is at the other end.
pub struct Tls {
    files: TlsFiles,
    /// Nobody without a certificate gets in.
    only_known: bool,
    made: Mutex<Made>,
}

impl Tls {
    /// TLS with these files; with `only_known` a client without a certificate of `clients` is refused.
    ///
    /// # Errors
    /// In words, what is wrong with which file.
    pub fn new(files: TlsFiles, only_known: bool) -> Result<Self, String> {
        let seen = seen(&files);
        let acceptor = acceptor(&files, only_known)?;
        Ok(Self { files, only_known, made: Mutex::new(Made { seen, acceptor }) })
    }

    /// What accepts a connection now.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let now = seen(&self.files);
        if now != made.seen {
            match acceptor(&self.files, self.only_known) {
                Ok(acceptor) => made.acceptor = acceptor,
                Err(why) => tracing::warn!("the certificates of before stay in place: {why}"),
            }
            made.seen = now;
        }
        made.acceptor.clone()
    }
}

fn paths(files: &TlsFiles) -> impl Iterator<Item = &PathBuf> {
    [&files.certificate, &files.key].into_iter().chain(&files.clients)
}

fn seen(files: &TlsFiles) -> Seen {
    let each = paths(files).map(|path| std::fs::metadata(path).ok());
    each.map(|found| found.map(|found| (found.ino(), found.len(), found.mtime(), found.mtime_nsec())))
        .collect()
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let found = std::fs::metadata(path).map_err(|error| format!("cannot read `{shown}`: {error}"))?;
    if found.len() > FILE_MAX {
        return Err(format!("`{shown}` is larger than {FILE_MAX} bytes"));
    }
    std::fs::read(path).map_err(|error| format!("cannot read `{shown}`: {error}"))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let (pem, shown) = (read(path)?, path.display());
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|error| format!("a certificate in `{shown}` cannot be read: {error}"))?;
    if all.is_empty() {
        return Err(format!("there is no certificate in `{shown}`: it takes PEM"));
    }
    Ok(all)
}

fn acceptor(files: &TlsFiles, only_known: bool) -> Result<TlsAcceptor, String> {
    let chain = certificates(&files.certificate)?;
    let shown = files.key.display();
    let key = PrivateKeyDer::from_pem_slice(&read(&files.key)?)
        .map_err(|error| format!("there is no key in `{shown}`, which takes PEM: {error}"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be used: {error}"))?;
    let config = match &files.clients {
        None => config.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots
                    .add(certificate)
                    .map_err(|error| format!("a certificate in `{}` is none: {error}", path.display()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if only_known { verifier } else { verifier.allow_unauthenticated() };
            let verifier = verifier.build().map_err(|error| {
                format!("the authorities in `{}` cannot be used: {error}", path.display())
            })?;
            config.with_client_cert_verifier(verifier)
        }
    };
    let mut config = config.with_single_cert(chain, key).map_err(|error| {
        format!("the key in `{shown}` does not go with `{}`: {error}", files.certificate.display())
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// How a client's certificate is called: the first 16 digits of its SHA-256, as `openssl x509 -fingerprint` shows it.
pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    Sha256::digest(certificate).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
