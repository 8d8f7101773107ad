//! The integration's client of a Frigate server.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::client::danger::ServerCertVerifier;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

use crate::transport::Anyone;

/// How long a server may take for an answer (`api.py`).
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How much of an answer is read.
const BODY_MAX: usize = 4 << 20;

/// What a server said.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) config: Value,
    pub(super) stats: Value,
}

/// Why there is no view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoView {
    /// It does not answer, or not as a Frigate does.
    Unreachable,
    /// It is older than 0.12.
    TooOld,
}

/// The title that the integration gives an entry with this address.
pub(super) fn title_of(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}

/// As the integration sets itself up: version, configuration, stats. With `validate` no certificate that a Frigate made
/// itself is taken.
pub(super) async fn view(url: &str, validate: bool) -> Result<View, NoView> {
    let version = text(url, validate, "/api/version").await.ok_or(NoView::Unreachable)?;
    let mut numbers = version.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (0, 12) {
        return Err(NoView::TooOld);
    }
    let config = json(url, validate, "/api/config").await.ok_or(NoView::Unreachable)?;
    let stats = stats(url, validate).await.ok_or(NoView::Unreachable)?;
    Ok(View { config, stats })
}

/// The stats, as they are polled and as a flow tries a new address.
pub(super) async fn stats(url: &str, validate: bool) -> Option<Value> {
    json(url, validate, "/api/stats").await.filter(Value::is_object)
}

async fn json(url: &str, validate: bool, path: &str) -> Option<Value> {
    serde_json::from_str(&text(url, validate, path).await?).ok()
}

async fn text(url: &str, validate: bool, path: &str) -> Option<String> {
    let uri = format!("{}{path}", url.trim_end_matches('/'));
    let request = Request::get(uri).body(Empty::<Bytes>::new()).ok()?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    if !validate {
        let anyone: Arc<dyn ServerCertVerifier> = Arc::new(Anyone(provider));
        tls.dangerous().set_certificate_verifier(anyone);
    }
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let asked = async {
        let answer = client.request(request).await.ok()?;
        if answer.status() != StatusCode::OK {
            return None;
        }
        let body = Limited::new(answer.into_body(), BODY_MAX).collect().await.ok()?;
        String::from_utf8(body.to_bytes().to_vec()).ok()
    };
    tokio::time::timeout(ANSWER_MAX, asked).await.ok().flatten()
}

impl View {
    /// The names of its cameras.
    pub(super) fn cameras(&self) -> Vec<String> {
        let cameras = self.config.get("cameras").and_then(Value::as_object);
        cameras.map(|cameras| cameras.keys().cloned().collect()).unwrap_or_default()
    }

    /// What it looks for at a camera.
    pub(super) fn objects(&self, camera: &str) -> Vec<String> {
        let track =
            self.config.pointer(&format!("/cameras/{camera}/objects/track")).and_then(Value::as_array);
        match track {
            Some(track) => track.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            None => vec!["person".to_owned()],
        }
    }

    /// Whether frames come in.
    pub(super) fn sees(&self, camera: &str) -> bool {
        let fps = self.stats.pointer(&format!("/cameras/{camera}/camera_fps"));
        fps.and_then(Value::as_f64).is_some_and(|fps| fps > 0.0)
    }

    fn mqtt(&self, key: &str, default: &str) -> String {
        let value = self.config.pointer(&format!("/mqtt/{key}")).and_then(Value::as_str);
        value.unwrap_or(default).to_owned()
    }

    /// The name by which cards and notifications know the server.
    pub(super) fn client_id(&self) -> String {
        self.mqtt("client_id", "frigate")
    }

    /// What its messages begin with.
    pub(super) fn prefix(&self) -> String {
        self.mqtt("topic_prefix", "frigate")
    }
}
