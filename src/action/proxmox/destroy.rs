//! `lxc.destroy`: a container and every volume that it owns, for good.
//!
//! It refuses what runs, is protected or locked, has another hostname than the plan says, or owns a volume that the plan
//! does not name (P6). There is a way back only by an archive that holds every owned volume: its pre-image is refused
//! without one, and then the step must say `irreversible`.

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::super::fields::Fields;
use super::super::outcome::{refused, shown};
use super::super::{Action, Call, Foreseen, Inverse, PreImage, Probe};
use super::{
    Guest, answer, change, failed, look, missing, not_looked, nothing, present, settle, strange, unknown,
};
use crate::saga::{Answer, FailureClass, Outcome, Settlement, Verdict};
use crate::transport::{
    Container, ContainerChange, ContainerConfig, ContainerWanted, Onboot, Transport, Volume,
};

/// What half a destruction leaves as the lock (pve-container, `destroy_lxc_container`).
const HALF: &str = "destroyed";

pub(in crate::action) struct Destroy;

struct Wanted {
    guest: Guest,
    hostname: String,
    /// Keys of volumes that may go.
    volumes: Vec<String>,
    archive: Option<String>,
    purge: bool,
}

fn wanted(call: &Call) -> Result<Wanted, String> {
    let fields = Fields::new(&call.operation);
    let hostname = fields.text("hostname")?.ok_or("`lxc.destroy` needs a `hostname`")?;
    let volumes = match fields.get("volumes") {
        None => vec!["rootfs".to_owned()],
        Some(Value::Array(keys)) => {
            let keys: Option<Vec<String>> = keys.iter().map(|key| key.as_str().map(str::to_owned)).collect();
            keys.ok_or_else(|| fields.wrong("volumes", "a list of texts"))?
        }
        Some(_) => return Err(fields.wrong("volumes", "a list of texts")),
    };
    let (archive, purge) = (fields.text("archive")?, fields.flag("purge")?);
    Ok(Wanted { guest: Guest::of(call)?, hostname, volumes, archive, purge })
}

/// Why it is not destroyed.
fn refusal(wanted: &Wanted, container: &Container) -> Option<(FailureClass, String)> {
    let (target, config) = (wanted.guest.target(), &container.config);
    let never =
        |message: String| Some((FailureClass::Permanent, format!("{target} is not destroyed: {message}")));
    match container.lock.as_deref() {
        Some(HALF) => {
            return never(
                "it was destroyed half before; look at it, then `pct unlock` and `pct destroy` it by hand"
                    .into(),
            );
        }
        Some(lock) => {
            let message = format!(
                "{target} is not destroyed: something works on it, its lock is `{lock}`; try again later"
            );
            return Some((FailureClass::Transient, message));
        }
        None => {}
    }
    let hostname = config.get("hostname").unwrap_or_default();
    if hostname != wanted.hostname {
        return never(format!(
            "its hostname is `{hostname}` and the plan says `{}`: is the id right?",
            wanted.hostname
        ));
    }
    if container.running {
        return never("it runs; stop it first".to_owned());
    }
    if config.get("protection") == Some("1") {
        return never("it is protected; take `protection` off by hand when it shall really go".to_owned());
    }
    let unnamed: Vec<String> = owned(&wanted.guest, config)
        .into_iter()
        .filter(|volume| !wanted.volumes.contains(&volume.key))
        .map(|volume| format!("`{}` ({})", volume.key, volume.source))
        .collect();
    if unnamed.is_empty() {
        return None;
    }
    never(format!(
        "it owns {}, which the plan does not name in `volumes`, and their data would be gone",
        unnamed.join(", ")
    ))
}

/// The volumes that would go with it.
fn owned(guest: &Guest, config: &ContainerConfig) -> Vec<Volume> {
    config.volumes().into_iter().filter(|volume| volume.is_owned_by(guest.vmid)).collect()
}

/// What an archive does not bring back of what the container owns.
fn lacking(guest: &Guest, now: &ContainerConfig, archived: &ContainerConfig) -> Vec<String> {
    let held: Vec<Volume> = archived.volumes().into_iter().filter(Volume::is_in_backups).collect();
    let is_held =
        |volume: &Volume| held.iter().any(|held| held.key == volume.key && held.source == volume.source);
    owned(guest, now)
        .into_iter()
        .filter(|volume| !is_held(volume))
        .map(|volume| format!("`{}` ({})", volume.key, volume.source))
        .collect()
}

impl Action for Destroy {
    fn act(&self, transport: Transport, call: Call) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let wanted = match wanted(&call) {
                Ok(wanted) => wanted,
                Err(message) => return refused(&message, &call.redactor),
            };
            let sought = ContainerWanted { archive: wanted.archive.clone(), ..ContainerWanted::default() };
            let sight = match look(&transport, &call, &wanted.guest, &sought).await {
                Ok(sight) => sight,
                Err(trouble) => return not_looked(&call, trouble),
            };
            let Some(container) = &sight.container else {
                // Gone from here is not gone, when another node has it.
                return match sight.elsewhere {
                    Some(_) => refused(&missing(&wanted.guest, &sight), &call.redactor),
                    None => nothing(),
                };
            };
            if let Some((class, message)) = refusal(&wanted, container) {
                return failed(&call, class, &message);
            }
            if let (Some(archive), None) = (&wanted.archive, &sight.archived) {
                let message =
                    format!("{} is not destroyed: there is no archive `{archive}`", wanted.guest.target());
                return failed(&call, FailureClass::Permanent, &message);
            }
            let destroy = ContainerChange::Destroy { expected: container.text.clone(), purge: wanted.purge };
            change(&transport, &call, &wanted.guest, &destroy).await
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

impl Probe for Destroy {
    fn look(&self, transport: Transport, call: Call) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let guest = match Guest::of(&call) {
                Ok(guest) => guest,
                Err(message) => return unknown(&call, &message),
            };
            let sight = match look(&transport, &call, &guest, &ContainerWanted::default()).await {
                Ok(sight) => sight,
                Err(trouble) => return unknown(&call, &trouble.message),
            };
            let target = guest.target();
            match (&sight.container, &sight.elsewhere) {
                (None, None) => answer(&call, &sight, Verdict::Holds, &format!("{target} is gone")),
                (None, Some(_)) => answer(&call, &sight, Verdict::Unknown, &missing(&guest, &sight)),
                (Some(container), _) if container.lock.as_deref() == Some(HALF) => {
                    answer(&call, &sight, Verdict::Partial, &format!("{target} is destroyed half"))
                }
                (Some(_), _) => answer(&call, &sight, Verdict::Absent, &format!("{target} is there")),
            }
        })
    }

    fn foresee(&self, transport: Transport, call: Call) -> BoxFuture<'static, Foreseen> {
        let looked = self.look(transport.clone(), call.clone());
        Box::pin(async move {
            let answer = looked.await;
            let diff = match answer.verdict {
                Verdict::Absent => losses(&transport, &call).await.unwrap_or_default(),
                Verdict::Holds | Verdict::Partial | Verdict::Unknown => String::new(),
            };
            Foreseen { answer, diff }
        })
    }
}

/// What would go, what would stay, and what nothing could bring back, a line each; `None` when it cannot be seen.
async fn losses(transport: &Transport, call: &Call) -> Option<String> {
    let wanted = wanted(call).ok()?;
    let sought = ContainerWanted { archive: wanted.archive.clone(), ..ContainerWanted::default() };
    let sight = look(transport, call, &wanted.guest, &sought).await.ok()?;
    let config = &sight.container.as_ref()?.config;
    let named = |volume: &Volume| format!("`{}` ({})", volume.key, volume.source);
    let mut lines: Vec<String> = owned(&wanted.guest, config)
        .iter()
        .map(|volume| {
            let unnamed = if wanted.volumes.contains(&volume.key) {
                ""
            } else {
                ", which the plan does not name in `volumes`: it would be refused"
            };
            format!("destroys {}{unnamed}", named(volume))
        })
        .collect();
    for bound in config.volumes().iter().filter(|volume| volume.is_bind()) {
        lines.push(format!("leaves {} as it is: a bind mount, which no archive holds", named(bound)));
    }
    let (archive, held) = match (&wanted.archive, &sight.archived) {
        (Some(archive), Some(archived)) => (format!("the archive `{archive}` does not hold"), archived),
        (Some(archive), None) => {
            lines.push(format!("there is no archive `{archive}`"));
            return Some(told(&lines, call));
        }
        (None, _) => ("an archive made now would not hold".to_owned(), config),
    };
    for volume in lacking(&wanted.guest, config, held) {
        lines.push(format!("{archive} {volume}: what it holds could not come back"));
    }
    Some(told(&lines, call))
}

fn told(lines: &[String], call: &Call) -> String {
    lines.iter().map(|line| shown(line, &call.redactor)).collect::<Vec<_>>().join("\n")
}

impl Inverse for Destroy {
    fn target(&self, call: &Call) -> Result<String, String> {
        Ok(Guest::of(call)?.target())
    }

    fn pre_image(&self, transport: Transport, call: Call) -> BoxFuture<'static, Result<PreImage, String>> {
        Box::pin(async move {
            let wanted = wanted(&call)?;
            let guest = &wanted.guest;
            let irreversible =
                "so that it could not be undone; name one in `archive`, or say `irreversible = \"why\"`";
            let Some(archive) = wanted.archive.clone() else {
                return Err(format!("{} has no archive to come back from, {irreversible}", guest.target()));
            };
            let sought = ContainerWanted { archive: Some(archive.clone()), ..ContainerWanted::default() };
            let sight = look(&transport, &call, guest, &sought).await.map_err(|trouble| trouble.message)?;
            let container = present(guest, &sight)?;
            if let Some((_, message)) = refusal(&wanted, container) {
                return Err(message);
            }
            let Some(archived) = &sight.archived else {
                return Err(format!("there is no archive `{archive}`, {irreversible}"));
            };
            let lacking = lacking(guest, &container.config, archived);
            if !lacking.is_empty() {
                let lacking = lacking.join(", ");
                return Err(format!("the archive `{archive}` does not hold {lacking}, {irreversible}"));
            }
            let rootfs = container.config.get("rootfs").unwrap_or_default();
            let storage = rootfs.split(':').next().unwrap_or_default();
            let value = json!({
                "host": guest.host.name, "vmid": guest.vmid, "archive": archive, "storage": storage,
                "onboot": container.config.onboot(), "config": container.text,
            });
            Ok(PreImage { target: guest.target(), value, contents: Default::default(), sensitive: false })
        })
    }

    fn undo(&self, transport: Transport, call: Call, pre_image: PreImage) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let read = || {
                let text = |key: &str| pre_image.value.get(key).and_then(Value::as_str).map(str::to_owned);
                let onboot = pre_image.value.get("onboot").map(Value::as_bool);
                match (text("archive"), text("storage"), onboot) {
                    (Some(archive), Some(storage), Some(onboot)) => {
                        let onboot = Onboot::Exactly(onboot);
                        Ok((Guest::of_pre_image(&call, &pre_image)?, archive, storage, onboot))
                    }
                    _ => Err(strange(&pre_image)),
                }
            };
            let (guest, archive, storage, onboot) = match read() {
                Ok(read) => read,
                Err(message) => return refused(&message, &call.redactor),
            };
            let sight = match look(&transport, &call, &guest, &ContainerWanted::default()).await {
                Ok(sight) => sight,
                Err(trouble) => return not_looked(&call, trouble),
            };
            if sight.container.is_none() && sight.elsewhere.is_some() {
                return refused(&missing(&guest, &sight), &call.redactor);
            }
            // A destruction or a restoration that stopped in the middle: what is there is no container.
            let lock = sight.container.as_ref().and_then(|container| container.lock.as_deref());
            if let Some(half @ (HALF | "create")) = lock {
                let half = if half == HALF { "destroyed" } else { "restored" };
                let message = format!(
                    "{} is {half} half: look at it, `pct unlock` and `pct destroy` it by hand, then go back again, which \
                     restores `{archive}`",
                    guest.target()
                );
                return failed(&call, FailureClass::Permanent, &message);
            }
            change(&transport, &call, &guest, &ContainerChange::Restore { archive, storage, onboot }).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::recorded::{Operation, Places};

    #[test]
    fn an_archive_that_lacks_an_owned_volume_is_no_way_back() {
        let host = json!({ "address": "root@n" });
        let mut places = Places::default();
        places.hosts.insert("n".to_owned(), serde_json::from_value(host).unwrap());
        let Value::Object(fields) = json!({ "host": "n", "vmid": 110 }) else { unreachable!() };
        let guest = Guest::read(&Operation { name: "lxc.destroy".to_owned(), fields }, &places).unwrap();
        let now = ContainerConfig::read(&[
            "rootfs: z:subvol-110-disk-0,size=8G",
            "mp0: /tank/x,mp=/media",
            "mp1: z:subvol-110-disk-1,mp=/data",
        ]);
        assert_eq!(lacking(&guest, &now, &now), ["`mp1` (z:subvol-110-disk-1)"]);
        let with = ContainerConfig::read(&[
            "rootfs: z:subvol-110-disk-0,size=8G",
            "mp1: z:subvol-110-disk-1,mp=/data,backup=1",
        ]);
        assert!(lacking(&guest, &now, &with).is_empty());
        // An archive of another volume under the same key.
        let other = ContainerConfig::read(&["rootfs: z:subvol-110-disk-7,size=8G"]);
        assert_eq!(lacking(&guest, &now, &other).len(), 2);
    }
}
