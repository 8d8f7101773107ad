//! The systems that a plan reaches, all looked at at once: hosts, clusters, brokers, Home Assistants, and whatever the steps
//! look at before anything is done.
//!
//! A system that cannot be reached is one problem, however many checks would meet it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Seen, program_at};
use crate::driver::{House, Survey};
use crate::plan::StepId;
use crate::plan::graph::Graph;
use crate::plan::recorded::{Operation, Step};
use crate::saga::{Answer, Glance, Purpose, Shown, State, Verdict};

/// A system and how it is called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum System {
    Host(String),
    Cluster(String),
    Broker(String),
    /// By its address, a template.
    Home(String),
}

impl System {
    /// The systems that an operation needs.
    fn of(operation: &Operation) -> Vec<Self> {
        let text = |key: &str| Some(operation.fields.get(key)?.as_str()?.to_owned());
        let home = match operation.name.as_str() {
            "baseline" => text("homeassistant"),
            name if name.starts_with("homeassistant") => text("url"),
            _ => None,
        };
        let all = [
            text("host").map(System::Host),
            text("ha_host").map(System::Host),
            text("cluster").map(System::Cluster),
            text("broker").map(System::Broker),
            home.map(System::Home),
        ];
        all.into_iter().flatten().collect()
    }

    fn name(&self, text: &dyn Fn(&str) -> String) -> String {
        match self {
            System::Host(name) => format!("host `{name}`"),
            System::Cluster(name) => format!("cluster `{name}`"),
            System::Broker(name) => format!("broker `{name}`"),
            System::Home(url) => format!("Home Assistant at `{}`", text(url)),
        }
    }

    /// What asks it for as little as can be, in the words of an operation that needs it.
    fn question(&self, by: &Operation) -> Operation {
        let field = |key: &str| by.fields.get(key).cloned();
        let check = |name: &str, fields: Vec<(&str, Value)>| {
            let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), value));
            Operation { name: name.to_owned(), fields: Map::from_iter(fields) }
        };
        match self {
            System::Host(name) => check("ssh", vec![("host", json!(name)), ("argv", json!(["true"]))]),
            System::Cluster(name) => {
                check("kubernetes", vec![("cluster", json!(name)), ("object", json!("Namespace default"))])
            }
            System::Broker(name) => {
                // A topic that the plan itself reads: another one may be forbidden.
                let prefix = field("available").or_else(|| field("prefix"));
                let prefix =
                    prefix.as_ref().and_then(Value::as_str).map(|prefix| format!("{prefix}/available"));
                let topic = field("topic").and_then(|topic| topic.as_str().map(str::to_owned));
                let topic = prefix.or(topic).unwrap_or_else(|| "$SYS/broker/version".to_owned());
                check(
                    "mqtt",
                    vec![("broker", json!(name)), ("topic", json!(topic)), ("retained", json!(true))],
                )
            }
            System::Home(url) => {
                let mut fields = vec![("url", json!(url))];
                fields.extend(["token", "ca_file"].iter().filter_map(|key| Some((*key, field(key)?))));
                check("homeassistant", fields)
            }
        }
    }

    /// What was found; of a problem what to do as well.
    fn judged(
        &self,
        answer: &Answer,
        state: &State,
        text: &dyn Fn(&str) -> String,
    ) -> Result<String, String> {
        let reason = &answer.reason;
        match self {
            System::Host(name) => {
                let sudo = state.definition.hosts.get(name).is_some_and(|host| host.sudo);
                match (answer.verdict, sudo) {
                    (Verdict::Holds, true) => Ok("lets us in, and `sudo -n` works".to_owned()),
                    (Verdict::Holds, false) => Ok("lets us in".to_owned()),
                    (_, true) => {
                        Err(format!("{reason}; try it by hand with `ssh`, and there `sudo -n true`"))
                    }
                    (_, false) => Err(format!("{reason}; try it by hand with `ssh`")),
                }
            }
            // That there is no such namespace, or that this account may not see it, is an answer too.
            System::Cluster(_) if answer.verdict != Verdict::Unknown || reason.contains("would grant it") => {
                Ok("answers".to_owned())
            }
            System::Cluster(name) => {
                let place = state.definition.clusters.get(name);
                let option = |key: &str, value: Option<&String>| {
                    let value = value.map(|value| text(value)).filter(|value| !value.is_empty());
                    value.map_or_else(String::new, |value| {
                        format!(" --{key} {}", crate::report::shell_word(&value))
                    })
                };
                let kubeconfig = option("kubeconfig", place.and_then(|place| place.kubeconfig.as_ref()));
                let context = option("context", place.and_then(|place| place.context.as_ref()));
                Err(format!(
                    "{reason}; look with `kubectl{kubeconfig}{context} get nodes`, and correct `kubeconfig` and `context` of \
                     `[clusters.{name}]`"
                ))
            }
            System::Broker(_) if answer.verdict != Verdict::Unknown => Ok("takes our login".to_owned()),
            System::Broker(name) => {
                let advice = if reason.contains("not authorised") {
                    "the secret must be the password of that user, and the broker must know the user"
                } else {
                    "see that it runs, and correct its `url`"
                };
                Err(format!("{reason}; {advice} (`[brokers.{name}]`)"))
            }
            System::Home(_) => match answer.verdict {
                Verdict::Holds => Ok("takes the token, and runs".to_owned()),
                _ if reason.contains("token") => Err(reason.clone()),
                _ => Err(format!("{reason}; see that it runs, and correct its `url`")),
            },
        }
    }
}

/// What was found of the systems.
#[derive(Debug, Default)]
pub(super) struct Reached {
    /// Those that cannot be used now.
    broken: BTreeSet<System>,
}

impl Reached {
    /// Whether something can be asked for: none of its systems is known to be out of reach.
    pub(super) fn allows(&self, operation: &Operation) -> bool {
        System::of(operation).iter().all(|system| !self.broken.contains(system))
    }
}

/// Looks at every system that these operations need.
pub(super) async fn reach(
    state: &State,
    survey: &Survey<House>,
    operations: &[(StepId, Operation)],
    all: &mut Vec<Seen>,
) -> Reached {
    let mut systems: BTreeMap<System, (&StepId, &Operation)> = BTreeMap::new();
    for (step, operation) in operations {
        for system in System::of(operation) {
            systems.entry(system).or_insert((step, operation));
        }
    }
    if let Some((_, (step, _))) = systems.iter().find(|(system, _)| matches!(system, System::Host(_))) {
        all.push(Seen::of("program `ssh`", program_at("ssh", Path::new("/"), step)));
    }
    let shown = Shown::of(state);
    let text = |text: &str| shown.text(text);
    let mut reached = Reached::default();
    let mut questions = Vec::new();
    let mut asked = Vec::new();
    for (system, (step, by)) in systems {
        let question = system.question(by);
        if let Some(secret) = survey.lacks(state, &question) {
            let found = Err(format!("not looked at: it needs the secret `{}`", secret.name));
            all.push(Seen::of(system.name(&text), found));
            reached.broken.insert(system);
            continue;
        }
        questions.push(Glance { step: step.clone(), purpose: Purpose::Ready, check: Some(question) });
        asked.push(system);
    }
    for (system, finding) in asked.into_iter().zip(survey.look(state, questions).await) {
        let found = system.judged(&finding.answer, state, &text);
        let broken = found.is_err();
        all.push(Seen::of(system.name(&text), found));
        if broken {
            reached.broken.insert(system);
        }
    }
    reached
}

/// Looks at what the steps look at before anything is done: it should hold already.
pub(super) async fn first_looks(
    state: &State,
    survey: &Survey<House>,
    reached: &Reached,
    all: &mut Vec<Seen>,
) {
    let definition = &state.definition;
    let graph = Graph::of(definition);
    let acts = |place: usize| definition.steps[place].forward.is_some();
    let first = |place: usize, step: &Step| {
        step.soak.is_none() && !acts(place) && !graph.ancestors(place).iter().any(|&before| acts(before))
    };
    let steps = definition.steps.iter().enumerate().filter(|(place, step)| first(*place, step));
    let glances = steps.flat_map(|(_, step)| Glance::goals(step));
    let can = |glance: &Glance| {
        glance
            .check
            .as_ref()
            .is_some_and(|check| reached.allows(check) && survey.lacks(state, check).is_none())
    };
    let questions: Vec<Glance> = glances.filter(can).collect();
    let checks: Vec<Operation> = questions.iter().filter_map(|glance| glance.check.clone()).collect();
    for (check, finding) in checks.iter().zip(survey.look(state, questions).await) {
        let what = format!("step `{}`, {}", finding.step, finding.check);
        let found = match finding.answer.verdict {
            Verdict::Holds => Ok("holds".to_owned()),
            _ => Err(format!("{}; {}", finding.answer.reason, advice(check, state))),
        };
        all.push(Seen::of(what, found));
    }
}

/// What to do about a check that does not hold before anything was done.
fn advice(check: &Operation, state: &State) -> String {
    let shown = Shown::of(state);
    let field = |key: &str| {
        check.fields.get(key).map(|value| match value {
            Value::String(text) => shown.text(text),
            other => other.to_string(),
        })
    };
    match check.name.as_str() {
        "frigate" => {
            let url = field("url").unwrap_or_default();
            format!("look with `curl {url}/api/version`, mend it there, or correct the address")
        }
        "lxc" | "vm" => {
            let tool = if check.name == "lxc" { "pct" } else { "qm" };
            let (host, vmid) = (field("host").unwrap_or_default(), field("vmid").unwrap_or_default());
            format!("look on host `{host}` with `{tool} config {vmid}`, mend it there, or correct the plan")
        }
        "gpu" => {
            let node = field("node").unwrap_or_default();
            format!("look with `kubectl describe node {node}`, mend it there, or correct the plan")
        }
        _ => "mend it there, or correct the plan".to_owned(),
    }
}
