//! Which fields of an object somebody owns, in the form `FieldsV1`, and which fields two values differ in.
//!
//! Source: structured-merge-diff v6 (sets, `FieldsV1` of meta/v1) and the answers of a real server (facts/transcripts/
//! k8s-apply.json). Lists with keys, sets and atomic fields are told apart by [`Shape`].

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A set of fields: a tree whose nodes are named as in `FieldsV1` (`f:name`, `k:{…}`, `v:…`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields {
    /// The field itself is in the set, not only some below it.
    pub here: bool,
    pub below: BTreeMap<String, Fields>,
}

/// How a list is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Atomic,
    Set,
    Keyed(&'static [&'static str]),
}

/// Where in an object a value stands, by the names of fields, and so how it is merged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape<'a> {
    custom: bool,
    name: &'a str,
    parent: &'a str,
    metadata: bool,
}

/// Fields that are replaced whole, though they are tables.
const ATOMIC: &[&str] = &[
    "selector",
    "matchLabels",
    "nodeSelector",
    "configMapKeyRef",
    "secretKeyRef",
    "fieldRef",
    "resourceFieldRef",
    "claimRef",
    "involvedObject",
    "scaleTargetRef",
];

impl<'a> Shape<'a> {
    /// That of a whole object.
    pub(super) fn of(custom: bool) -> Self {
        Self { custom, name: "", parent: "", metadata: false }
    }

    /// That of a field below it.
    pub(super) fn below(self, name: &'a str) -> Self {
        let metadata = self.metadata || name == "metadata";
        Self { custom: self.custom, name, parent: self.name, metadata }
    }

    fn list(self) -> List {
        if self.metadata {
            return match self.name {
                "ownerReferences" => List::Keyed(&["uid"]),
                "finalizers" => List::Set,
                _ => List::Atomic,
            };
        }
        if self.custom {
            return List::Atomic;
        }
        match self.name {
            "containers"
            | "initContainers"
            | "ephemeralContainers"
            | "volumes"
            | "env"
            | "imagePullSecrets"
            | "secrets" => List::Keyed(&["name"]),
            "volumeMounts" => List::Keyed(&["mountPath"]),
            "volumeDevices" => List::Keyed(&["devicePath"]),
            "ports" if self.parent == "containers" => List::Keyed(&["containerPort", "protocol"]),
            "ports" if self.parent == "spec" => List::Keyed(&["port", "protocol"]),
            "conditions" => List::Keyed(&["type"]),
            "hostAliases" | "podIPs" | "hostIPs" => List::Keyed(&["ip"]),
            "topologySpreadConstraints" => List::Keyed(&["topologyKey", "whenUnsatisfiable"]),
            _ => List::Atomic,
        }
    }

    fn atomic(self) -> bool {
        !self.custom && ATOMIC.contains(&self.name)
    }

    /// The parts of a value that are merged one by one, by their names; nothing for one that is replaced whole.
    pub(super) fn parts(self, value: &'a Value) -> Option<Vec<(String, Shape<'a>, &'a Value)>> {
        match value {
            Value::Object(table) if !self.atomic() => Some(
                table
                    .iter()
                    .filter(|(_, value)| !value.is_null())
                    .map(|(key, value)| (format!("f:{key}"), self.below(key), value))
                    .collect(),
            ),
            Value::Array(items) => match self.list() {
                List::Atomic => None,
                List::Set => Some(items.iter().map(|item| (format!("v:{item}"), self, item)).collect()),
                List::Keyed(keys) => {
                    Some(items.iter().map(|item| (name_of(item, keys), self, item)).collect())
                }
            },
            _ => None,
        }
    }

    /// How the item of a list is named among its parts.
    pub(super) fn item(self, item: &Value) -> Option<String> {
        match self.list() {
            List::Atomic => None,
            List::Set => Some(format!("v:{item}")),
            List::Keyed(keys) => Some(name_of(item, keys)),
        }
    }
}

fn name_of(item: &Value, keys: &[&str]) -> String {
    let mut named = Map::new();
    for key in keys {
        let value = match item.get(*key) {
            Some(value) => value.clone(),
            // The default of the field that is part of the key.
            None if *key == "protocol" => "TCP".into(),
            None => Value::Null,
        };
        named.insert((*key).to_owned(), value);
    }
    format!("k:{}", Value::Object(named))
}

impl Fields {
    /// All fields of a value. An item of a list is in the set itself; of a table only what stands in it is.
    pub(super) fn of(value: &Value, shape: Shape<'_>) -> Self {
        match shape.parts(value) {
            Some(parts) if !parts.is_empty() => {
                let mut fields = Self::default();
                for (name, shape, value) in parts {
                    let mut part = Self::of(value, shape);
                    part.here |= !name.starts_with("f:");
                    fields.below.insert(name, part);
                }
                fields
            }
            _ => Self { here: true, below: BTreeMap::new() },
        }
    }

    /// All fields of an object that an apply says anything about.
    pub(super) fn applied(object: &Value, custom: bool) -> Self {
        let mut fields = Self::of(object, Shape::of(custom));
        for name in ["f:apiVersion", "f:kind", "f:status"] {
            fields.below.remove(name);
        }
        fields.without_bookkeeping();
        fields
    }

    /// The fields of a status.
    pub(super) fn of_status(status: &Value, custom: bool) -> Self {
        let below = Self::of(status, Shape::of(custom).below("status"));
        Self { here: false, below: BTreeMap::from([("f:status".to_owned(), below)]) }
    }

    /// Takes out what the server itself writes.
    pub(super) fn without_bookkeeping(&mut self) {
        if let Some(meta) = self.below.get_mut("f:metadata") {
            for name in [
                "name",
                "namespace",
                "uid",
                "resourceVersion",
                "generation",
                "creationTimestamp",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
                "selfLink",
                "managedFields",
                "generateName",
            ] {
                meta.below.remove(&format!("f:{name}"));
            }
            meta.here = false;
            if meta.below.is_empty() {
                self.below.remove("f:metadata");
            }
        }
    }

    /// The fields in which two values differ.
    pub(super) fn changed(old: Option<&Value>, new: Option<&Value>, shape: Shape<'_>) -> Self {
        let (old, new) = (old.filter(|value| !value.is_null()), new.filter(|value| !value.is_null()));
        match (old, new) {
            (None, None) => Self::default(),
            (Some(old), Some(new)) if old == new => Self::default(),
            (Some(old), Some(new)) => match (shape.parts(old), shape.parts(new)) {
                (Some(olds), Some(news)) => {
                    let mut both: BTreeMap<String, (Shape<'_>, Option<&Value>, Option<&Value>)> =
                        BTreeMap::new();
                    for (name, shape, value) in olds {
                        both.insert(name, (shape, Some(value), None));
                    }
                    for (name, shape, value) in news {
                        both.entry(name).or_insert((shape, None, None)).2 = Some(value);
                    }
                    let mut fields = Self::default();
                    for (name, (shape, old, new)) in both {
                        let mut part = Self::changed(old, new, shape);
                        part.here |= old.is_some() != new.is_some();
                        if !part.is_empty() {
                            fields.below.insert(name, part);
                        }
                    }
                    fields
                }
                _ => Self { here: true, below: BTreeMap::new() },
            },
            (Some(one), None) | (None, Some(one)) => {
                let mut fields = Self::of(one, shape);
                fields.here = true;
                fields
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.here && self.below.values().all(Self::is_empty)
    }

    /// What is in both.
    pub(super) fn both(&self, other: &Self) -> Self {
        let mut fields = Self { here: self.here && other.here, below: BTreeMap::new() };
        for (name, part) in &self.below {
            if let Some(there) = other.below.get(name) {
                let both = part.both(there);
                if !both.is_empty() {
                    fields.below.insert(name.clone(), both);
                }
            }
        }
        fields
    }

    /// What is in this and not in the other.
    pub(super) fn without(&self, other: &Self) -> Self {
        let mut fields = Self { here: self.here && !other.here, below: BTreeMap::new() };
        for (name, part) in &self.below {
            let left = other.below.get(name).map_or_else(|| part.clone(), |there| part.without(there));
            if !left.is_empty() {
                fields.below.insert(name.clone(), left);
            }
        }
        fields
    }

    /// Takes all of another set in.
    pub(super) fn add(&mut self, other: &Self) {
        self.here |= other.here;
        for (name, part) in &other.below {
            self.below.entry(name.clone()).or_default().add(part);
        }
    }

    /// As `fieldsV1`.
    pub(super) fn json(&self) -> Value {
        let mut table = Map::new();
        if self.here && !self.below.is_empty() {
            table.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (name, part) in &self.below {
            if !part.is_empty() {
                table.insert(name.clone(), part.json());
            }
        }
        Value::Object(table)
    }

    /// Out of `fieldsV1`.
    pub(super) fn read(json: &Value) -> Self {
        let Value::Object(table) = json else { return Self::default() };
        let mut fields = Self { here: table.is_empty() || table.contains_key("."), below: BTreeMap::new() };
        for (name, part) in table.iter().filter(|(name, _)| *name != ".") {
            fields.below.insert(name.clone(), Self::read(part));
        }
        fields
    }

    /// Every field in the set as a path, such as `.spec.containers[name="web"].image`.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut all = Vec::new();
        self.walk(String::new(), &mut all);
        all
    }

    fn walk(&self, path: String, all: &mut Vec<String>) {
        for (name, part) in &self.below {
            let path = format!("{path}{}", shown(name));
            part.walk(path.clone(), all);
            if part.here {
                all.push(path);
            }
        }
    }
}

fn shown(name: &str) -> String {
    match name.split_once(':') {
        Some(("f", field)) => format!(".{field}"),
        Some(("k", key)) => {
            let key: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
            let pairs: Vec<String> = key.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("[{}]", pairs.join(","))
        }
        Some((_, value)) => format!("[={value}]"),
        None => name.to_owned(),
    }
}
