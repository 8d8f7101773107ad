//! What the cluster is: its objects, who may ask, how it is told to fail, and what happened lately.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::faults::{Fault, Rule};
use super::fields::Fields;
use super::kinds::{self, Kind};
use super::smi::Gpu;

/// So many changes are kept for watches; who asks for an older one is told that it is gone (410).
const HISTORY_MAX: usize = 4096;

/// Everything that is remembered.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    pub port: u16,
    /// The version of the newest change.
    pub revision: u64,
    /// Requests that changed something.
    pub writes: u64,
    /// Objects by key: `deployments.apps/NAMESPACE/NAME`.
    pub objects: BTreeMap<String, Value>,
    pub users: Vec<User>,
    pub rules: Vec<Rule>,
    pub faults: Vec<Fault>,
    /// Numbers handed out: rules, faults, names, addresses.
    pub number: u64,
    /// How long a pod, an address or a deletion takes.
    pub delay_ms: u64,
    /// What became of each pod, by its uid.
    pub lives: BTreeMap<String, Life>,
    /// Nodes that are switched off.
    pub gone: BTreeSet<String>,
    pub gpu: Gpu,
    /// When the controllers have something to do next, in milliseconds since 1970.
    pub due_ms: Option<i64>,
    /// The newest changes, for watches.
    #[serde(skip)]
    pub history: VecDeque<Change>,
    /// What came before is not known any more.
    #[serde(skip)]
    pub since: u64,
}

/// Who may ask.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct User {
    pub name: String,
    pub token: String,
    /// May do everything, as a member of `system:masters`.
    pub master: bool,
    /// Its token counts no more from then on, in milliseconds since 1970.
    pub until_ms: Option<i64>,
}

/// What the kubelet knows of a pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Life {
    pub seen_ms: i64,
    pub started_ms: Option<i64>,
    pub ended_ms: Option<i64>,
    pub next_ms: Option<i64>,
    pub down: bool,
    pub restarts: u32,
    pub ip: String,
}

/// One change, as a watch tells it.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub revision: u64,
    pub key: String,
    pub what: &'static str,
    pub object: Arc<Value>,
    /// The object before, for selectors that it no longer matches.
    pub before: Option<Arc<Value>>,
}

impl State {
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.objects.get(key)
    }

    /// The objects of a kind, by key.
    pub(super) fn all(&self, plural: &str, group: &str) -> impl Iterator<Item = (&String, &Value)> {
        let prefix = kinds::prefix(plural, group);
        self.objects.range(prefix.clone()..).take_while(move |(key, _)| key.starts_with(&prefix))
    }

    /// The keys of a kind's objects.
    pub(super) fn keys(&self, plural: &str, group: &str) -> Vec<String> {
        self.all(plural, group).map(|(key, _)| key.clone()).collect()
    }

    /// Keeps an object in its next version.
    pub(super) fn put(&mut self, key: &str, mut object: Value) -> Value {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let before = self.objects.insert(key.to_owned(), object.clone());
        let what = if before.is_some() { "MODIFIED" } else { "ADDED" };
        self.tell(key, what, object.clone(), before);
        object
    }

    /// Forgets an object.
    pub(super) fn remove(&mut self, key: &str) {
        if let Some(mut object) = self.objects.remove(key) {
            self.revision += 1;
            object["metadata"]["resourceVersion"] = self.revision.to_string().into();
            if let Some(uid) = object["metadata"]["uid"].as_str() {
                self.lives.remove(uid);
            }
            self.tell(key, "DELETED", object.clone(), Some(object));
        }
    }

    fn tell(&mut self, key: &str, what: &'static str, object: Value, before: Option<Value>) {
        if self.history.len() == HISTORY_MAX
            && let Some(oldest) = self.history.pop_front()
        {
            self.since = oldest.revision;
        }
        self.history.push_back(Change {
            revision: self.revision,
            key: key.to_owned(),
            what,
            object: Arc::new(object),
            before: before.map(Arc::new),
        });
    }

    /// Changes an object as a controller does, and says whether that changed anything. What stands in its `status` then
    /// is owned by this manager.
    pub(super) fn edit(&mut self, key: &str, manager: &str, work: impl FnOnce(&mut Value)) -> bool {
        let Some(old) = self.objects.get(key) else { return false };
        let mut new = old.clone();
        work(&mut new);
        if new == *old {
            return false;
        }
        if new["spec"] != old["spec"] && kinds::of_key(self, key).is_some_and(|kind| kind.generation) {
            let generation = new["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
            new["metadata"]["generation"] = generation.into();
        }
        if new["status"] != old["status"] {
            let owned = Fields::of_status(&new["status"], manager == "custom");
            let entry = json!({
                "manager": manager, "operation": "Update", "apiVersion": new["apiVersion"], "time": now_text(),
                "fieldsType": "FieldsV1", "fieldsV1": owned.json(), "subresource": "status",
            });
            if let Some(meta) = new["metadata"].as_object_mut() {
                let all = meta.entry("managedFields").or_insert_with(|| json!([]));
                if let Some(all) = all.as_array_mut() {
                    all.retain(|one| one["subresource"] != "status" || one["manager"] != manager);
                    all.push(entry);
                }
            }
        }
        self.put(key, new);
        true
    }

    /// Makes an object as a controller does, with everything that the server fills in, unless it is there.
    pub(super) fn make(&mut self, kind: &Kind, mut object: Value) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]));
        let key = kind.key(&namespace, &name);
        if self.objects.contains_key(&key) {
            return;
        }
        object["apiVersion"] = kind.api_version().into();
        object["kind"] = kind.kind.as_ref().into();
        object["metadata"]["uid"] = uid().into();
        object["metadata"]["creationTimestamp"] = now_text().into();
        if kind.generation {
            object["metadata"]["generation"] = 1.into();
        }
        super::defaults::fill(self, kind, &mut object);
        self.put(&key, object);
    }

    /// The next number.
    pub(super) fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Wakes the controllers no later than then.
    pub(super) fn wake_at(&mut self, ms: i64) {
        self.due_ms = Some(self.due_ms.map_or(ms, |due| due.min(ms)));
    }

    /// Says something about an object, or once more.
    pub(super) fn event(&mut self, about: &str, source: &str, kind: &str, reason: &str, message: &str) {
        let Some(object) = self.objects.get(about) else { return };
        let meta = &object["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (namespace, name) = (text(&meta["namespace"]), text(&meta["name"]));
        let namespace = if namespace.is_empty() { "default".to_owned() } else { namespace };
        let involved = json!({
            "kind": object["kind"], "apiVersion": object["apiVersion"], "namespace": meta["namespace"], "name": name,
            "uid": meta["uid"], "resourceVersion": meta["resourceVersion"],
        });
        let now = now_text();
        let same = self.all("events", "").find(|(_, event)| {
            event["involvedObject"]["uid"] == involved["uid"]
                && event["reason"] == reason
                && event["message"] == message
        });
        if let Some(key) = same.map(|(key, _)| key.clone()) {
            self.edit(&key, source, |event| {
                if event["lastTimestamp"] != now.as_str() {
                    event["count"] = (event["count"].as_i64().unwrap_or(1) + 1).into();
                    event["lastTimestamp"] = now.as_str().into();
                }
            });
            return;
        }
        let number = self.next_number();
        let event = json!({
            "metadata": { "name": format!("{name}.{number:016x}"), "namespace": namespace },
            "involvedObject": involved, "reason": reason, "message": message, "type": kind, "count": 1,
            "firstTimestamp": now, "lastTimestamp": now, "eventTime": null, "source": { "component": source },
            "reportingComponent": source, "reportingInstance": "",
        });
        if let Some(kind) = kinds::find(self, "", "v1", "events") {
            self.make(&kind, event);
        }
    }

    /// What an object has been told to do, by a rule or by its annotation.
    pub(super) fn failure(&self, kind: &str, object: &Value) -> String {
        let meta = &object["metadata"];
        let (namespace, name) = (&meta["namespace"], meta["name"].as_str().unwrap_or_default());
        let rule = self.rules.iter().find(|rule| {
            rule.kind == kind && *namespace == rule.namespace.as_str() && name.starts_with(&rule.name)
        });
        match rule {
            Some(rule) => rule.fail.clone(),
            None => annotation(object, super::faults::FAIL).unwrap_or_default().to_owned(),
        }
    }
}

/// An annotation of an object.
pub(super) fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["annotations"].get(key).and_then(Value::as_str)
}

/// A label of an object.
pub(super) fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object["metadata"]["labels"].get(key).and_then(Value::as_str)
}

/// Whether all of these pairs are among an object's labels.
pub(super) fn has_labels(object: &Value, wanted: &Map<String, Value>) -> bool {
    !wanted.is_empty()
        && wanted.iter().all(|(key, value)| object["metadata"]["labels"].get(key) == Some(value))
}

/// The time, as objects say it.
pub(super) fn now_text() -> String {
    text_of(now_ms())
}

/// A time as objects say it, to the second.
pub(super) fn text_of(ms: i64) -> String {
    let at = Timestamp::from_second(ms.div_euclid(1000)).unwrap_or(Timestamp::UNIX_EPOCH);
    at.to_string()
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// A name for what has none yet.
pub(super) fn uid() -> String {
    let half = || getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
    let (a, b) = (half(), half());
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        a >> 32,
        (a >> 16) & 0xffff,
        a & 0xfff,
        b >> 52,
        b & 0xffff_ffff_ffff
    )
}

/// The end of a generated name.
pub(super) fn suffix(length: usize) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut bits = getrandom::u64().unwrap_or_default();
    let mut text = String::new();
    for _ in 0..length {
        text.push(char::from(LETTERS[usize::try_from(bits % 27).unwrap_or_default()]));
        bits /= 27;
    }
    text
}
