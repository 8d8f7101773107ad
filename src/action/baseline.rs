//! `baseline`: what there is before the first change, for later steps to compare with (facts/migration.md 8.1).
//!
//! It reads and changes nothing. Each source is asked for by naming it; one that is named and cannot be read fails the
//! step, because what was not captured then can never be. Nothing of it is a secret: of Frigate only a summary is kept.

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

use super::fields::Fields;
use super::frigate::summary;
use super::outcome::{refused, seen_line, shown};
use super::{Action, Call};
use crate::saga::{FailureClass, Outcome, Trace};
use crate::transport::{
    BODY_MAX, Capture, End, FrigateError, HttpEnd, HttpRequest, Launch, MqttError, MqttSession, Program,
    Select, Target, Transport, Why, status_name,
};

pub(super) struct Baseline;

/// Why a source could not be captured.
struct Missing {
    permanent: bool,
    message: String,
}

impl From<String> for Missing {
    fn from(message: String) -> Self {
        Missing { permanent: true, message }
    }
}

impl Action for Baseline {
    fn act(&self, transport: Transport, call: Call) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let working = transport.begin_inside(&call.key.to_string());
            let captured = capture(&transport, &call).await;
            drop(working);
            match captured {
                Ok(Value::Object(outputs)) => Outcome::Acted { outputs, trace: Trace::default() },
                Ok(_) => refused("nothing was captured", &call.redactor),
                Err(Missing { permanent, message }) => {
                    let class = if permanent { FailureClass::Permanent } else { FailureClass::Transient };
                    Outcome::Failed {
                        class,
                        message: shown(&message, &call.redactor),
                        trace: Trace::default(),
                    }
                }
            }
        })
    }
}

async fn capture(transport: &Transport, call: &Call) -> Result<Value, Missing> {
    let fields = Fields::new(&call.operation);
    let named = ["url", "host", "homeassistant", "broker", "cluster"];
    if named.iter().all(|name| fields.get(name).is_none()) {
        return Err("`baseline` captures nothing: name at least one source".to_owned().into());
    }
    let mut outputs = Map::new();
    let mut keep = |name: &str, value: Value| outputs.insert(name.to_owned(), call.redactor.json(value));
    keep("frigate", frigate(transport, call, fields).await?);
    keep("container", container(transport, call, fields).await?);
    keep("homeassistant", homeassistant(transport, call, fields).await?);
    keep("mqtt", mqtt(transport, call, fields).await?);
    keep("services", services(transport, call, fields).await?);
    Ok(Value::Object(outputs))
}

async fn frigate(transport: &Transport, call: &Call, fields: Fields<'_>) -> Result<Value, Missing> {
    if fields.get("url").is_none() {
        return Ok(Value::Null);
    }
    let mut frigate = transport.frigate(fields.frigate(&call.bodies)?, call.timeout, &call.redactor);
    let seen = async {
        let version = frigate.version().await?;
        let config = frigate.json("/api/config").await?;
        let stats = frigate.json("/api/stats").await?;
        Ok::<_, FrigateError>(summary(&version, &config, &stats))
    };
    seen.await.map_err(|error| Missing {
        permanent: matches!(error, FrigateError::Wrong(_)),
        message: error.message().to_owned(),
    })
}

/// `pct config` and `pct status` on the host: the way back starts what they describe.
async fn container(transport: &Transport, call: &Call, fields: Fields<'_>) -> Result<Value, Missing> {
    if fields.get("host").is_none() {
        return Ok(Value::Null);
    }
    let target = fields.target(&call.places.hosts)?;
    let vmid = fields.text("vmid")?.ok_or_else(|| "`baseline` with `host` needs a `vmid`".to_owned())?;
    if vmid.is_empty() || !vmid.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(fields.wrong("vmid", "a number").into());
    }
    let status = pct(transport, call, &target, ["status", &vmid]).await?;
    let text = pct(transport, call, &target, ["config", &vmid]).await?;
    let config: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once(": ")).collect();
    let numbered = |prefix: &str| -> BTreeMap<&str, &str> {
        let mine = |key: &str| key.strip_prefix(prefix).is_some_and(|rest| rest.parse::<u16>().is_ok());
        config.iter().filter(|(key, _)| mine(key)).map(|(key, value)| (*key, *value)).collect()
    };
    Ok(json!({
        "vmid": vmid,
        "status": status.trim().trim_start_matches("status: "),
        "hostname": config.get("hostname"),
        // Never set is 0.
        "onboot": config.get("onboot").is_some_and(|onboot| onboot.trim() == "1"),
        "devices": numbered("dev"),
        "mounts": numbered("mp"),
        "hookscript": config.get("hookscript"),
        "config": text,
        "sha256": super::sha256(text.as_bytes()),
    }))
}

async fn pct(
    transport: &Transport,
    call: &Call,
    target: &Target,
    words: [&str; 2],
) -> Result<String, Missing> {
    let argv = ["pct"].into_iter().chain(words).map(str::to_owned).collect();
    let launch = Launch { program: Program::Argv(argv), env: BTreeMap::new(), cwd: None, stdin: None };
    let report = transport.look_on(target, &launch, Capture::new(&call.redactor, None), call.timeout).await;
    let what = format!("`pct {}` on host `{}`", words.join(" "), target.name);
    match report.end {
        End::Exit(0) => Ok(String::from_utf8_lossy(&report.seen.stdout).into_owned()),
        End::Exit(status) => {
            let message = format!("{what} ends with exit status {status}{}", seen_line(&report.seen));
            Err(Missing { permanent: message.contains("does not exist"), message })
        }
        End::Signal(signal) => {
            Err(Missing { permanent: false, message: format!("{what} was killed by {signal}") })
        }
        End::NotStarted { permanent, message } => Err(Missing { permanent, message }),
        End::TimedOut(message) | End::Stopped(message) | End::Lost(message) => {
            Err(Missing { permanent: false, message })
        }
    }
}

/// The entry of Frigate in Home Assistant, and how many entities it has.
async fn homeassistant(transport: &Transport, call: &Call, fields: Fields<'_>) -> Result<Value, Missing> {
    let Some(url) = fields.text("homeassistant")? else { return Ok(Value::Null) };
    let url = url.trim_end_matches('/');
    let token =
        fields.text("token")?.ok_or_else(|| "`baseline` with `homeassistant` needs a `token`".to_owned())?;
    let entries = ask(transport, call, url, "/api/config/config_entries/entry", &token, None).await?;
    let all = entries.as_array().map(Vec::len);
    let mine: Vec<Value> = entries
        .as_array()
        .into_iter()
        .flatten()
        .filter(|entry| entry.get("domain") == Some(&json!("frigate")))
        .map(|entry| {
            let keep = ["entry_id", "title", "state", "supports_reconfigure", "disabled_by"];
            keep.into_iter()
                .map(|key| (key.to_owned(), entry.get(key).cloned().unwrap_or_default()))
                .collect()
        })
        .collect();
    let template = json!({ "template": "{{ integration_entities('frigate') | list | length }}" });
    // A user without rights on templates still has the rest.
    let entities = ask(transport, call, url, "/api/template", &token, Some(template)).await.ok();
    Ok(json!({ "entries": all, "frigate": mine, "entities": entities }))
}

async fn ask(
    transport: &Transport,
    call: &Call,
    url: &str,
    path: &str,
    token: &str,
    body: Option<Value>,
) -> Result<Value, Missing> {
    let mut headers = vec![("authorization".to_owned(), format!("Bearer {token}"))];
    if body.is_some() {
        headers.push(("content-type".to_owned(), "application/json".to_owned()));
    }
    let request = HttpRequest {
        method: if body.is_some() { "POST" } else { "GET" }.to_owned(),
        url: format!("{url}{path}"),
        headers,
        body: body.map(|body| body.to_string().into_bytes()),
        redirects: 0,
        ca: None,
        wants_body: true,
    };
    let mut capture = Capture::with_room(&call.redactor, None, 8 * BODY_MAX);
    let end = transport.request(&request, &mut capture, call.timeout, None).await;
    let seen = capture.finish();
    let message = match end {
        HttpEnd::Answered { status: 200, .. } => {
            return serde_json::from_slice(&seen.stdout).map_err(|error| Missing {
                permanent: false,
                message: format!("`{url}{path}` does not answer with JSON: {error}"),
            });
        }
        HttpEnd::Answered { status: 401, .. } => {
            return Err(format!("`{url}{path}` answers 401 Unauthorized: check `token`").into());
        }
        HttpEnd::Answered { status, .. } => format!("`{url}{path}` answers {}", status_name(status)),
        HttpEnd::NotSent { permanent, message } => return Err(Missing { permanent, message }),
        HttpEnd::Refused(message)
        | HttpEnd::Lost(message)
        | HttpEnd::TimedOut(message)
        | HttpEnd::Stopped(message) => message,
    };
    Err(Missing { permanent: false, message })
}

/// What is retained as the availability of the service.
async fn mqtt(transport: &Transport, call: &Call, fields: Fields<'_>) -> Result<Value, Missing> {
    if fields.get("broker").is_none() {
        return Ok(Value::Null);
    }
    let broker = fields.broker(&call.places, &call.bodies)?;
    let prefix = fields.text("prefix")?.unwrap_or_else(|| "frigate".to_owned());
    let topic = format!("{prefix}/available");
    crate::transport::check_topic(&topic)?;
    let seen = async {
        let mut session = MqttSession::open(transport, broker, call.timeout).await?;
        let found = session.retained(&topic).await?;
        session.close().await;
        Ok::<_, MqttError>(found)
    };
    let found = seen.await.map_err(|error| Missing {
        permanent: matches!(error, MqttError::NotSent { permanent: true, .. }),
        message: error.message().to_owned(),
    })?;
    let available = found.map(|message| String::from_utf8_lossy(&message.payload).into_owned());
    Ok(json!({ "topic": topic, "available": available }))
}

/// The addresses that the cluster's load balancers have: a new one must not take one of them.
async fn services(transport: &Transport, call: &Call, fields: Fields<'_>) -> Result<Value, Missing> {
    if fields.get("cluster").is_none() {
        return Ok(Value::Null);
    }
    let place = fields.cluster(&call.places.clusters, &call.folder)?;
    let seen = async {
        let cluster = transport.cluster(&place, call.timeout).await?;
        let services = cluster.resource("v1", "Service").await?;
        cluster.list(&services, &Select::default()).await
    };
    let all = seen
        .await
        .map_err(|error| Missing { permanent: matches!(error.why, Why::Access), message: error.message })?;
    let balanced = |service: &&Value| service.pointer("/spec/type") == Some(&json!("LoadBalancer"));
    let services = all.iter().filter(balanced).map(|service| {
        let addresses: Vec<&Value> = service
            .pointer("/status/loadBalancer/ingress")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|ingress| ingress.get("ip").or_else(|| ingress.get("hostname")))
            .collect();
        json!({
            "namespace": service.pointer("/metadata/namespace"),
            "name": service.pointer("/metadata/name"),
            "addresses": addresses,
        })
    });
    Ok(Value::Array(services.collect()))
}
