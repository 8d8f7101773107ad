//! `baseline`: what there is before the first change, for later steps to compare with (facts/migration.md 8.1).
//!
//! It reads and changes nothing. Each source is asked for by naming it; one that is named and cannot be read fails the
//! step, because what was not captured then can never be. Nothing of it is a secret: of Frigate only a summary is kept.

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use tokio::time::Instant;

use super::fields::Fields;
use super::frigate::summary;
use super::homeassistant::{Trouble as HomeTrouble, census};
use super::outcome::{refused, shown};
use super::proxmox::{Guest, missing, status};
use super::{Action, Call, Needs};
use crate::saga::{FailureClass, Outcome, Trace};
use crate::transport::{
    ContainerWanted, FrigateError, Home, MqttError, MqttSession, Select, Transport, Trouble, Why,
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
    fn needs(&self) -> Option<&dyn Needs> {
        Some(self)
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

/// The configuration of the container and what it needs of its host: the way back starts what they describe.
async fn container(transport: &Transport, call: &Call, fields: Fields<'_>) -> Result<Value, Missing> {
    if fields.get("host").is_none() {
        return Ok(Value::Null);
    }
    let guest = Guest::read(&call.operation, &call.places)?;
    let wanted = ContainerWanted { digest: true, ..ContainerWanted::default() };
    let sight = transport.look_at_container(&guest.host, guest.vmid, &wanted, call.timeout).await;
    let sight = sight.map_err(|Trouble { permanent, message, .. }| Missing { permanent, message })?;
    let Some(container) = &sight.container else { return Err(missing(&guest, &sight).into()) };
    let lines: BTreeMap<&str, &str> =
        container.text.lines().filter_map(|line| line.split_once(": ")).collect();
    let numbered = |prefix: &str| -> BTreeMap<&str, &str> {
        let mine = |key: &str| key.strip_prefix(prefix).is_some_and(|rest| rest.parse::<u16>().is_ok());
        lines.iter().filter(|(key, _)| mine(key)).map(|(key, value)| (*key, *value)).collect()
    };
    Ok(json!({
        "vmid": guest.vmid,
        "status": status(container.running),
        "hostname": lines.get("hostname"),
        // Never set is off.
        "onboot": container.config.onboot() == Some(true),
        "devices": numbered("dev"),
        "mounts": numbered("mp"),
        "hookscript": lines.get("hookscript"),
        "gone": container.gone,
        "config": container.text,
        "digest": container.digest,
    }))
}

/// The entry of Frigate in Home Assistant, and what belongs to it.
async fn homeassistant(transport: &Transport, call: &Call, fields: Fields<'_>) -> Result<Value, Missing> {
    let Some(url) = fields.text("homeassistant")? else { return Ok(Value::Null) };
    let token =
        fields.text("token")?.ok_or_else(|| "`baseline` with `homeassistant` needs a `token`".to_owned())?;
    let home = Home {
        transport: transport.clone(),
        url: url.trim_end_matches('/').to_owned(),
        token: token.trim().to_owned(),
        ca: None,
        redactor: call.redactor.clone(),
    };
    let counted = census(&home, call, Instant::now() + call.timeout).await;
    counted.map_err(|trouble| match trouble {
        HomeTrouble::Failed { permanent, message } => Missing { permanent, message },
        HomeTrouble::Cut { message, .. } => Missing { permanent: false, message },
    })
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
