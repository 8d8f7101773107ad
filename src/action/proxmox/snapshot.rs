//! `lxc.snapshot`: a snapshot of a container; its inverse deletes it, unless it was there before.

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::super::fields::Fields;
use super::super::outcome::refused;
use super::super::{Action, Call, Inverse, PreImage, Probe};
use super::{Guest, answer, change, look, nothing, present, settle, strange, unknown};
use crate::saga::{Answer, Outcome, Settlement, Verdict};
use crate::transport::{ContainerChange, ContainerWanted, Sight, Transport};

pub(in crate::action) struct Snapshot;

fn name(call: &Call) -> Result<String, String> {
    let fields = Fields::new(&call.operation);
    let name = fields.text("snapshot")?.ok_or("`lxc.snapshot` needs a `snapshot`")?;
    // Proxmox VE, `pve-configid` and the names that pve-container keeps for itself.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    let fits = (2..=40).contains(&name.len()) && name.bytes().all(plain);
    if !fits || !name.as_bytes()[0].is_ascii_alphabetic() || matches!(name.as_str(), "current" | "vzdump") {
        return Err(fields.wrong(
            "snapshot",
            "a letter and then letters, digits, `_` and `-`, up to 40; `current` and `vzdump` are taken",
        ));
    }
    Ok(name)
}

async fn seen(transport: &Transport, call: &Call, guest: &Guest) -> Result<Sight, String> {
    let wanted = ContainerWanted { snapshots: true, ..ContainerWanted::default() };
    look(transport, call, guest, &wanted).await.map_err(|trouble| trouble.message)
}

impl Action for Snapshot {
    fn act(&self, transport: Transport, call: Call) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let read = || Ok::<_, String>((Guest::of(&call)?, name(&call)?));
            let (guest, name) = match read() {
                Ok(read) => read,
                Err(message) => return refused(&message, &call.redactor),
            };
            let description = match Fields::new(&call.operation).text("description") {
                Ok(text) => text.unwrap_or_else(|| format!("made by runner, {}", call.key.run)),
                Err(message) => return refused(&message, &call.redactor),
            };
            change(&transport, &call, &guest, &ContainerChange::Snapshot { name, description }).await
        })
    }

    fn settle(&self, transport: Transport, call: Call) -> BoxFuture<'static, Settlement> {
        settle(transport, call)
    }

    fn probe(&self) -> Option<&dyn Probe> {
        Some(self)
    }

    fn inverse(&self) -> Option<&dyn Inverse> {
        Some(self)
    }
}

impl Probe for Snapshot {
    fn look(&self, transport: Transport, call: Call) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let read = || Ok::<_, String>((Guest::of(&call)?, name(&call)?));
            let (guest, name) = match read() {
                Ok(read) => read,
                Err(message) => return unknown(&call, &message),
            };
            let sight = match seen(&transport, &call, &guest).await {
                Ok(sight) => sight,
                Err(message) => return unknown(&call, &message),
            };
            match present(&guest, &sight) {
                Err(message) => answer(&call, &sight, Verdict::Unknown, &message),
                Ok(container) if container.snapshots.contains(&name) => {
                    let reason = format!("{} has the snapshot `{name}`", guest.target());
                    answer(&call, &sight, Verdict::Holds, &reason)
                }
                Ok(_) => {
                    let reason = format!("{} has no snapshot `{name}`", guest.target());
                    answer(&call, &sight, Verdict::Absent, &reason)
                }
            }
        })
    }
}

impl Inverse for Snapshot {
    fn target(&self, call: &Call) -> Result<String, String> {
        Ok(format!("snapshot `{}` of {}", name(call)?, Guest::of(call)?.target()))
    }

    fn pre_image(&self, transport: Transport, call: Call) -> BoxFuture<'static, Result<PreImage, String>> {
        Box::pin(async move {
            let (guest, name) = (Guest::of(&call)?, name(&call)?);
            let sight = seen(&transport, &call, &guest).await?;
            let there = present(&guest, &sight)?.snapshots.contains(&name);
            let target = format!("snapshot `{name}` of {}", guest.target());
            let value =
                json!({ "host": guest.host.name, "vmid": guest.vmid, "snapshot": name, "there": there });
            Ok(PreImage { target, value, contents: Default::default(), sensitive: false })
        })
    }

    fn undo(&self, transport: Transport, call: Call, pre_image: PreImage) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let read = || {
                let there = pre_image.value.get("there").and_then(Value::as_bool);
                let name = pre_image.value.get("snapshot").and_then(Value::as_str).map(str::to_owned);
                let (Some(there), Some(name)) = (there, name) else { return Err(strange(&pre_image)) };
                Ok((Guest::of_pre_image(&call, &pre_image)?, name, there))
            };
            match read() {
                Ok((_, _, true)) => nothing(),
                Ok((guest, name, false)) => {
                    change(&transport, &call, &guest, &ContainerChange::DeleteSnapshot { name }).await
                }
                Err(message) => refused(&message, &call.redactor),
            }
        })
    }
}
