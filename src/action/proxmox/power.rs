//! `lxc.stop` and `lxc.start`: the state of a container, and its `onboot` with it.
//!
//! Both are one thing: bring it to a state. Their probe compares state and `onboot`; their inverse brings back what was
//! there, an absent `onboot` included. A stop is a clean shutdown; it kills only where the plan says so. The output is the
//! digest of the configuration as it is then: whoever compares it later sees that nobody has edited it since.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

use super::super::fields::Fields;
use super::super::outcome::refused;
use super::super::{Action, Call, Inverse, PreImage, Probe};
use super::{
    Guest, answer, change, duration, look, missing, not_looked, present, settle, status, strange, unknown,
};
use crate::saga::{Answer, Outcome, Settlement, Verdict};
use crate::transport::{
    Container, ContainerChange, ContainerWanted, Onboot, Power as Wanted, Transport, lines_of,
};

/// How long a clean shutdown may take unless the plan says otherwise: Frigate 0.14 joins every camera, detector and
/// recorder one after the other (facts, section 2.2).
const WITHIN: Duration = Duration::from_secs(180);

pub(in crate::action) struct Stop;
pub(in crate::action) struct Start;

/// What both share; the flag is the state they bring about.
struct Power(bool);

impl Power {
    fn wanted(&self, call: &Call) -> Result<(Guest, Wanted), String> {
        let fields = Fields::new(&call.operation);
        let onboot = match fields.get("onboot") {
            None => Onboot::Keep,
            Some(Value::Bool(false)) => Onboot::Off,
            Some(Value::Bool(true)) => Onboot::On,
            Some(_) => return Err(fields.wrong("onboot", "`true` or `false`")),
        };
        let within = duration(fields, "within", WITHIN)?;
        let wanted = Wanted { running: Some(self.0), onboot, within, kill: fields.flag("kill")? };
        Ok((Guest::of(call)?, wanted))
    }

    async fn act(self, transport: Transport, call: Call) -> Outcome {
        let (guest, wanted) = match self.wanted(&call) {
            Ok(read) => read,
            Err(message) => return refused(&message, &call.redactor),
        };
        // Where it is instead can only be told by looking.
        match look(&transport, &call, &guest, &ContainerWanted::default()).await {
            Ok(sight) if sight.container.is_none() => {
                return refused(&missing(&guest, &sight), &call.redactor);
            }
            Ok(_) => {}
            Err(trouble) => return not_looked(&call, trouble),
        }
        change(&transport, &call, &guest, &ContainerChange::Power(wanted)).await
    }

    async fn look(self, transport: Transport, call: Call) -> Answer {
        let (guest, wanted) = match self.wanted(&call) {
            Ok(read) => read,
            Err(message) => return unknown(&call, &message),
        };
        let sought = ContainerWanted { digest: true, ..ContainerWanted::default() };
        let sight = match look(&transport, &call, &guest, &sought).await {
            Ok(sight) => sight,
            Err(trouble) => return unknown(&call, &trouble.message),
        };
        match present(&guest, &sight) {
            // Not there is not stopped: nothing can be brought to its state.
            Err(message) => answer(&call, &sight, Verdict::Unknown, &message),
            Ok(container) => {
                let (verdict, reason) = compare(&guest, &wanted, container);
                let Some(digest) = &container.digest else {
                    return unknown(&call, &format!("{} does not tell its digest", guest.target()));
                };
                let mut answer = answer(&call, &sight, verdict, &reason);
                if verdict == Verdict::Holds {
                    answer.outputs = told(digest);
                }
                answer
            }
        }
    }

    async fn pre_image(self, transport: Transport, call: Call) -> Result<PreImage, String> {
        let guest = Guest::of(&call)?;
        let wanted = ContainerWanted::default();
        let sight = look(&transport, &call, &guest, &wanted).await.map_err(|trouble| trouble.message)?;
        let container = present(&guest, &sight)?;
        let value = json!({
            "host": guest.host.name, "vmid": guest.vmid, "running": container.running,
            "onboot": container.config.onboot(),
        });
        Ok(PreImage { target: guest.target(), value, contents: Default::default(), sensitive: false })
    }
}

/// What a script that brought a container to its state says of it.
pub(super) fn outputs(text: &str) -> Option<Map<String, Value>> {
    let config: Value = serde_json::from_str(lines_of(text, "digest").first()?).ok()?;
    Some(told(config.get("digest")?.as_str()?))
}

fn told(digest: &str) -> Map<String, Value> {
    [("digest".to_owned(), digest.into())].into_iter().collect()
}

fn compare(guest: &Guest, wanted: &Wanted, container: &Container) -> (Verdict, String) {
    let onboot = container.config.onboot();
    let onboot_fits = match wanted.onboot {
        Onboot::Keep => true,
        Onboot::Off => onboot != Some(true),
        Onboot::On => onboot == Some(true),
        Onboot::Exactly(exactly) => onboot == exactly,
    };
    let running_fits = wanted.running.is_none_or(|running| running == container.running);
    let verdict = match (running_fits, onboot_fits) {
        (true, true) => Verdict::Holds,
        (true, false) => Verdict::Partial,
        (false, _) => Verdict::Absent,
    };
    let line = match onboot {
        None => "without `onboot`",
        Some(false) => "with `onboot` 0",
        Some(true) => "with `onboot` 1",
    };
    let lock = container.lock.as_ref().map_or_else(String::new, |lock| format!(", locked ({lock})"));
    (verdict, format!("{} is {} {line}{lock}", guest.target(), status(container.running)))
}

async fn undo(transport: Transport, call: Call, pre_image: PreImage) -> Outcome {
    let read = || {
        let was =
            pre_image.value.get("running").and_then(Value::as_bool).ok_or_else(|| strange(&pre_image))?;
        let onboot = pre_image.value.get("onboot").ok_or_else(|| strange(&pre_image))?.as_bool();
        let within = duration(Fields::new(&call.operation), "within", WITHIN)?;
        let wanted = Wanted { running: Some(was), onboot: Onboot::Exactly(onboot), within, kill: false };
        Ok::<_, String>((Guest::of_pre_image(&call, &pre_image)?, wanted))
    };
    match read() {
        Ok((guest, wanted)) => change(&transport, &call, &guest, &ContainerChange::Power(wanted)).await,
        Err(message) => refused(&message, &call.redactor),
    }
}

macro_rules! power {
    ($action:ident, $running:literal) => {
        impl Action for $action {
            fn act(&self, transport: Transport, call: Call) -> BoxFuture<'static, Outcome> {
                Box::pin(Power($running).act(transport, call))
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

        impl Probe for $action {
            fn look(&self, transport: Transport, call: Call) -> BoxFuture<'static, Answer> {
                Box::pin(Power($running).look(transport, call))
            }
        }

        impl Inverse for $action {
            fn target(&self, call: &Call) -> Result<String, String> {
                Ok(Guest::of(call)?.target())
            }

            fn pre_image(
                &self,
                transport: Transport,
                call: Call,
            ) -> BoxFuture<'static, Result<PreImage, String>> {
                Box::pin(Power($running).pre_image(transport, call))
            }

            fn undo(
                &self,
                transport: Transport,
                call: Call,
                pre_image: PreImage,
            ) -> BoxFuture<'static, Outcome> {
                Box::pin(undo(transport, call, pre_image))
            }
        }
    };
}

power!(Stop, false);
power!(Start, true);
