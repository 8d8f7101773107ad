//! `lxc.backup`: an archive of a container by `vzdump`, proved to exist, with what it lacks.
//!
//! The archive is noted with the run and the step. So the probe knows whether an attempt that was cut off has made one,
//! however it was cut. Nothing is to be undone: an archive stays.

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

use super::super::fields::Fields;
use super::super::outcome::{refused, shown};
use super::super::{Action, Call, Foreseen, Probe};
use super::{Guest, answer, change, look, missing, not_looked, settle, unknown};
use crate::saga::{Answer, FailureClass, Outcome, Settlement, Verdict};
use crate::transport::{
    Archive, ContainerChange, ContainerConfig, ContainerWanted, Transport, archives, lines_of,
};

pub(in crate::action) struct Backup;

struct Wanted {
    guest: Guest,
    storage: String,
    mode: String,
    note: String,
}

fn wanted(call: &Call) -> Result<Wanted, String> {
    let fields = Fields::new(&call.operation);
    let storage = fields.text("storage")?.ok_or("`lxc.backup` needs a `storage`")?;
    if storage.is_empty() || storage.contains([':', '/', ' ']) {
        return Err(fields.wrong("storage", "the name of a storage"));
    }
    let mode = fields.text("mode")?.unwrap_or_else(|| "snapshot".to_owned());
    let note = format!("runner {}/{}", call.key.run, call.key.step);
    Ok(Wanted { guest: Guest::of(call)?, storage, mode, note })
}

impl Action for Backup {
    fn act(&self, transport: Transport, call: Call) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let Wanted { guest, storage, mode, note } = match wanted(&call) {
                Ok(wanted) => wanted,
                Err(message) => return refused(&message, &call.redactor),
            };
            match look(&transport, &call, &guest, &ContainerWanted::default()).await {
                Ok(sight) if sight.container.is_none() => {
                    return refused(&missing(&guest, &sight), &call.redactor);
                }
                Ok(_) => {}
                Err(trouble) => return not_looked(&call, trouble),
            }
            match change(&transport, &call, &guest, &ContainerChange::Backup { storage, mode, note }).await {
                Outcome::Acted { outputs, trace } if outputs.is_empty() => Outcome::Failed {
                    class: FailureClass::Transient,
                    message: "`vzdump` ended well, and its storage shows no archive of it".to_owned(),
                    trace,
                },
                outcome => outcome,
            }
        })
    }

    fn settle(&self, transport: Transport, call: Call) -> BoxFuture<'static, Settlement> {
        settle(transport, call)
    }

    fn probe(&self) -> Option<&dyn Probe> {
        Some(self)
    }
}

impl Probe for Backup {
    fn look(&self, transport: Transport, call: Call) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let Wanted { guest, storage, note, .. } = match wanted(&call) {
                Ok(wanted) => wanted,
                Err(message) => return unknown(&call, &message),
            };
            let sought = ContainerWanted { storage: Some(storage.clone()), ..ContainerWanted::default() };
            let sight = match look(&transport, &call, &guest, &sought).await {
                Ok(sight) => sight,
                Err(trouble) => return unknown(&call, &trouble.message),
            };
            let made = sight.archives.iter().rfind(|archive| archive.notes == note && archive.size > 0);
            let Some(archive) = made else {
                let reason = format!("`{storage}` holds no archive of {} by this step", guest.target());
                return answer(&call, &sight, Verdict::Absent, &reason);
            };
            let sought =
                ContainerWanted { archive: Some(archive.volid.clone()), ..ContainerWanted::default() };
            let config = match look(&transport, &call, &guest, &sought).await {
                Ok(sight) => sight.archived,
                Err(trouble) => return unknown(&call, &trouble.message),
            };
            let Some(config) = config else {
                return unknown(&call, &format!("the archive `{}` cannot be read", archive.volid));
            };
            let reason = format!("`{}` is there, {} bytes", archive.volid, archive.size);
            let mut answer = answer(&call, &sight, Verdict::Holds, &reason);
            answer.outputs = told(archive, &config);
            answer
        })
    }

    fn foresee(&self, transport: Transport, call: Call) -> BoxFuture<'static, Foreseen> {
        let looked = self.look(transport.clone(), call.clone());
        Box::pin(async move {
            let answer = looked.await;
            let diff = match answer.verdict {
                Verdict::Absent => lacking(&transport, &call).await,
                Verdict::Holds | Verdict::Partial | Verdict::Unknown => String::new(),
            };
            Foreseen { answer, diff }
        })
    }
}

/// What an archive made now would lack, a line each.
async fn lacking(transport: &Transport, call: &Call) -> String {
    let Ok(guest) = Guest::of(call) else { return String::new() };
    let Ok(sight) = look(transport, call, &guest, &ContainerWanted::default()).await else {
        return String::new();
    };
    let lacks = sight.container.map(|container| container.config.lacks()).unwrap_or_default();
    let line = |what: &String| shown(&format!("the archive will not hold {what}"), &call.redactor);
    lacks.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What later steps may use of an archive.
fn told(archive: &Archive, config: &ContainerConfig) -> Map<String, Value> {
    let value = json!({
        "archive": archive.volid, "bytes": archive.size, "made": archive.made, "lacks": config.lacks(),
    });
    match value {
        Value::Object(outputs) => outputs,
        _ => Map::new(),
    }
}

/// The outputs of the script for a backup; nothing for another script.
pub(super) fn outputs(text: &str) -> Option<Map<String, Value>> {
    let rows = serde_json::from_str(lines_of(text, "archives").first()?).ok()?;
    let note = *lines_of(text, "note").first()?;
    let newest = archives(&rows).into_iter().rfind(|archive| archive.notes == note && archive.size > 0)?;
    Some(told(&newest, &ContainerConfig::read(&lines_of(text, "config"))))
}
