//! `lxc` and `vm`: guests of a Proxmox node, and whether a stopped container could be started again.

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::answer::unknown;
use super::{Check, Look};
use crate::action::{Fields, Guest, container_facts, guest_status, missing_container};
use crate::saga::{Answer, Verdict};
use crate::transport::{ContainerWanted, MachineSight, Transport, one_line};

pub(super) struct Lxc;
pub(super) struct Vm;

/// What was asked for, each with what was seen instead.
#[derive(Default)]
struct Compared {
    asked: usize,
    wrong: Vec<String>,
}

impl Compared {
    fn ask(&mut self, fits: bool, otherwise: impl FnOnce() -> String) {
        self.asked += 1;
        if !fits {
            self.wrong.push(otherwise());
        }
    }

    /// All of it, some of it, or nothing.
    fn verdict(&self) -> Verdict {
        match self.wrong.len() {
            0 => Verdict::Holds,
            wrong if wrong == self.asked => Verdict::Absent,
            _ => Verdict::Partial,
        }
    }

    fn reason(&self, target: &str, seen: &str) -> String {
        match self.wrong.is_empty() {
            true => format!("{target} {seen}"),
            false => format!("{target} {}", self.wrong.join("; ")),
        }
    }
}

/// A flag that may be absent.
fn flag(fields: Fields<'_>, key: &str) -> Result<Option<bool>, String> {
    match fields.get(key) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(fields.wrong(key, "`true` or `false`")),
    }
}

struct Wanted {
    status: Option<String>,
    onboot: Option<bool>,
    exists: Option<bool>,
    hostname: Option<String>,
    startable: Option<bool>,
    archive: Option<String>,
    digest: Option<String>,
    agent: Option<bool>,
}

fn wanted(fields: Fields<'_>) -> Result<Wanted, String> {
    Ok(Wanted {
        status: fields.text("status")?,
        onboot: flag(fields, "onboot")?,
        exists: flag(fields, "exists")?,
        hostname: fields.text("hostname")?,
        startable: flag(fields, "startable")?,
        archive: fields.text("archive")?,
        digest: fields.text("digest")?,
        agent: flag(fields, "agent")?,
    })
}

/// The guest of a look, and what is asked of it.
fn read(look: &Look) -> Result<(Guest, Wanted), String> {
    Ok((Guest::read(&look.operation, &look.places)?, wanted(Fields::new(&look.operation))?))
}

impl Check for Lxc {
    fn look(&self, transport: Transport, look: Look) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let (guest, wanted) = match read(&look) {
                Ok(read) => read,
                Err(message) => return unknown(&message, &look.redactor),
            };
            let sought = ContainerWanted {
                digest: true,
                archive: wanted.archive.clone(),
                ..ContainerWanted::default()
            };
            let sight =
                match transport.look_at_container(&guest.host, guest.vmid, &sought, look.timeout).await {
                    Ok(sight) => sight,
                    Err(trouble) => return unknown(&trouble.message, &look.redactor),
                };
            let mut compared = Compared::default();
            if let Some(archive) = &wanted.archive {
                compared.ask(sight.archived.is_some(), || format!("has no archive `{archive}`"));
            }
            let target = format!("container {} on host `{}`", guest.vmid, guest.host.name);
            let (verdict, reason) = match (&sight.container, wanted.exists) {
                (None, Some(false)) if sight.elsewhere.is_none() => {
                    (Verdict::Holds, format!("{target} is not there"))
                }
                (None, _) => (Verdict::Absent, missing_container(&guest, &sight)),
                (Some(_), Some(false)) => (Verdict::Absent, format!("{target} is there")),
                (Some(container), _) => {
                    let is = guest_status(container.running);
                    if let Some(status) = &wanted.status {
                        compared.ask(status == is, || format!("is {is}"));
                    }
                    let onboot = container.config.onboot();
                    if let Some(wanted) = wanted.onboot {
                        compared.ask(wanted == (onboot == Some(true)), || match onboot {
                            Some(true) => "is started with the host".to_owned(),
                            _ => "is not started with the host".to_owned(),
                        });
                    }
                    let hostname = container.config.get("hostname").unwrap_or_default();
                    if let Some(wanted) = &wanted.hostname {
                        compared.ask(wanted == hostname, || format!("has the hostname `{hostname}`"));
                    }
                    if let Some(wanted) = wanted.startable {
                        let lock = container.lock.clone();
                        let can = container.gone.is_empty() && lock.is_none();
                        compared.ask(can == wanted, || match (&lock, container.gone.is_empty()) {
                            (_, false) => format!(
                                "could not be started: `{}` is not there",
                                container.gone.join("`, `")
                            ),
                            (Some(lock), true) => format!("could not be started: it is locked ({lock})"),
                            (None, true) => "could be started".to_owned(),
                        });
                    }
                    if let Some(wanted) = &wanted.digest {
                        let Some(digest) = &container.digest else {
                            return unknown(&format!("{target} does not tell its digest"), &look.redactor);
                        };
                        compared
                            .ask(wanted == digest, || format!("has another configuration, digest {digest}"));
                    }
                    (compared.verdict(), compared.reason(&target, &format!("is {is}")))
                }
            };
            let mut answer = Answer::new(verdict, one_line(&look.redactor.text(&reason)));
            answer.facts = container_facts(&sight);
            answer
        })
    }
}

impl Check for Vm {
    fn look(&self, transport: Transport, look: Look) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let (guest, wanted) = match read(&look) {
                Ok(read) => read,
                Err(message) => return unknown(&message, &look.redactor),
            };
            let seen = transport.look_at_machine(&guest.host, guest.vmid, look.timeout).await;
            let seen = match seen {
                Ok(seen) => seen,
                Err(trouble) => return unknown(&trouble.message, &look.redactor),
            };
            let target = format!("virtual machine {} on host `{}`", guest.vmid, guest.host.name);
            let mut facts = serde_json::Map::new();
            let (verdict, reason) = match (&seen, wanted.exists) {
                (MachineSight::Absent { elsewhere: None }, Some(false)) => {
                    (Verdict::Holds, format!("{target} is not there"))
                }
                (MachineSight::Absent { elsewhere: Some(node) }, _) => (
                    Verdict::Absent,
                    format!("{target} is not there: it belongs to node `{node}`, name that one as `host`"),
                ),
                (MachineSight::Absent { elsewhere: None }, _) => {
                    (Verdict::Absent, format!("{target} is not there"))
                }
                (MachineSight::Present { .. }, Some(false)) => {
                    (Verdict::Absent, format!("{target} is there"))
                }
                (MachineSight::Present { running, config, agent }, _) => {
                    let mut compared = Compared::default();
                    let is = guest_status(*running);
                    facts.insert("status".to_owned(), is.into());
                    facts.insert("onboot".to_owned(), config.onboot().into());
                    facts.insert("agent".to_owned(), agent.is_ok().into());
                    if let Some(status) = &wanted.status {
                        compared.ask(status == is, || format!("is {is}"));
                    }
                    if let Some(wanted) = wanted.onboot {
                        let onboot = config.onboot() == Some(true);
                        compared.ask(wanted == onboot, || format!("has `onboot` {}", u8::from(onboot)));
                    }
                    if let Some(wanted) = wanted.agent {
                        compared.ask(wanted == agent.is_ok(), || match agent {
                            Ok(()) => "has a guest agent that answers".to_owned(),
                            Err(why) => format!("has no guest agent that answers: {why}"),
                        });
                    }
                    (compared.verdict(), compared.reason(&target, &format!("is {is}")))
                }
            };
            facts.insert("exists".to_owned(), matches!(seen, MachineSight::Present { .. }).into());
            let mut answer = Answer::new(verdict, one_line(&look.redactor.text(&reason)));
            answer.facts = facts;
            answer
        })
    }
}
