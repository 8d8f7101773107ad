//! L8, L9, L10, L25, X8: who this instance is to the broker.

use super::super::config::Config;
use super::super::context::Phase;
use super::super::schema::Schema;
use super::super::sink::{Sink, Surroundings};
use super::super::words::shown;
use super::super::yaml::{NodeId, Place};

/// Judges the login, then the identity against that of the old instance.
pub(crate) fn judge(config: &Config<'_>, around: &Surroundings<'_>, sink: &mut Sink) {
    let Some(mqtt) = config.get(&["mqtt"]) else { return };
    if !config.tree.is_mapping(mqtt) {
        return;
    }
    login(config, sink, mqtt);
    if config.global_truth(&["mqtt", "enabled"]) == Some(false) {
        return;
    }
    if config.text(&["mqtt", "host"]).is_none_or(|host| host.trim().is_empty())
        && config.get(&["mqtt", "host"]).is_none_or(|host| config.tree.text(host).is_some())
        && !sink.is_misspelt(Some(mqtt), "host")
    {
        sink.warn(
            "X9",
            place(config, mqtt),
            "`mqtt.host` is missing while MQTT is on: Frigate starts and never connects",
        )
        .fix("add `host:` with the broker's address, or `enabled: false`");
    }
    identity(config, around, sink, mqtt);
}

fn place(config: &Config<'_>, mqtt: NodeId) -> Place {
    config.tree.entry(config.root, "mqtt").map_or(config.at(mqtt), |entry| config.at(entry.key))
}

fn login(config: &Config<'_>, sink: &mut Sink, mqtt: NodeId) {
    let given = |key: &str| config.tree.entry(mqtt, key).filter(|entry| !config.tree.is_null(entry.value));
    let (there, missing) = match (given("user"), given("password")) {
        (Some(entry), None) => (entry, "password"),
        (None, Some(entry)) => (entry, "user"),
        _ => return,
    };
    if sink.is_misspelt(Some(mqtt), missing) {
        return;
    }
    let other = if missing == "password" { "user" } else { "password" };
    sink.error("X8", config.at(there.key), format!("`mqtt.{other}` is given without `mqtt.{missing}`"))
        .fix(format!("add `{missing}:`, or remove `{other}:`"));
}

/// One of the two names that must differ beside a running instance and be kept after it.
struct Name {
    key: &'static str,
    twin: &'static str,
    changed: &'static str,
    old: Option<String>,
    old_key: &'static str,
}

fn identity(config: &Config<'_>, around: &Surroundings<'_>, sink: &mut Sink, mqtt: NodeId) {
    let context = around.context;
    let names = [
        Name {
            key: "client_id",
            twin: "L8",
            changed: "L25",
            old: context.old_client_id.clone(),
            old_key: "old_client_id",
        },
        Name {
            key: "topic_prefix",
            twin: "L9",
            changed: "L10",
            old: context.old_topic_prefix.clone(),
            old_key: "old_topic_prefix",
        },
    ];
    for name in names {
        let Some(phase) = context.phase else {
            sink.needs(name.twin, "phase");
            sink.needs(name.changed, "phase");
            continue;
        };
        let code = match phase {
            Phase::Alone => continue,
            Phase::Parallel => name.twin,
            Phase::Cutover => name.changed,
        };
        let Some(old) = &name.old else {
            sink.needs(code, name.old_key);
            continue;
        };
        if sink.is_misspelt(Some(mqtt), name.key) {
            continue;
        }
        let node = config.tree.get(mqtt, name.key);
        let own = match node {
            None => Schema::of(config.target).default_of("mqtt", name.key),
            Some(node) => match config.tree.text(node) {
                Some(text) => text,
                None => continue,
            },
        };
        let at = node.map_or(place(config, mqtt), |node| config.at(node));
        let left = if node.is_none() { " (the default)" } else { "" };
        match phase {
            Phase::Parallel if own == old => {
                sink.error(
                    code,
                    at,
                    format!(
                        "`mqtt.{}` is `{}`{left}, and so is that of the instance that still runs",
                        name.key,
                        shown(own)
                    ),
                )
                .fix(format!("give this instance its own `{}` until the old one is gone", name.key));
            }
            Phase::Cutover if own != old => {
                sink.warn(
                    code,
                    at,
                    format!(
                        "`mqtt.{}` is `{}`{left}, and everybody knows this instance as `{}`",
                        name.key,
                        shown(own),
                        shown(old)
                    ),
                )
                .fix(format!("write `{}: {}`", name.key, shown(old)));
            }
            _ => {}
        }
    }
}
