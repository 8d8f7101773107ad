//! Requests that only look: one object, or a list of them by selectors; and what discovery says there is.

use serde_json::{Value, json};

use super::kinds::{self, Kind, REVIEWS};
use super::place::{Place, Query};
use super::refusal::Refusal;
use super::state::State;

/// What a list or a watch is restricted to.
#[derive(Debug, Clone, Default)]
pub(super) struct Selector {
    labels: Vec<Term>,
    fields: Vec<Term>,
}

#[derive(Debug, Clone)]
enum Term {
    Is(String, String),
    IsNot(String, String),
    In(String, Vec<String>, bool),
    Has(String, bool),
}

impl Selector {
    pub(super) fn read(query: &Query) -> Self {
        let terms = |name: &str| query.get(name).map(terms).unwrap_or_default();
        Self { labels: terms("labelSelector"), fields: terms("fieldSelector") }
    }

    pub(super) fn matches(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        let label = |key: &str| labels.get(key).and_then(Value::as_str).map(str::to_owned);
        let field = |key: &str| {
            let value = object.pointer(&format!("/{}", key.replace('.', "/")));
            Some(value.and_then(Value::as_str).unwrap_or_default().to_owned())
        };
        self.labels.iter().all(|term| term.holds(label)) && self.fields.iter().all(|term| term.holds(field))
    }
}

impl Term {
    fn holds(&self, value: impl Fn(&str) -> Option<String>) -> bool {
        match self {
            Self::Is(key, wanted) => value(key).as_ref() == Some(wanted),
            Self::IsNot(key, other) => value(key).as_ref() != Some(other),
            Self::In(key, all, inside) => value(key).is_some_and(|value| all.contains(&value)) == *inside,
            Self::Has(key, there) => value(key).is_some() == *there,
        }
    }
}

fn terms(text: &str) -> Vec<Term> {
    let (mut parts, mut depth, mut part) = (Vec::new(), 0, String::new());
    for letter in text.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(letter);
    }
    parts.push(part);
    let owned = |text: &str| text.trim().to_owned();
    let list = |text: &str| text.trim().trim_matches(['(', ')']).split(',').map(owned).collect();
    parts
        .iter()
        .filter(|part| !part.trim().is_empty())
        .map(|part| {
            if let Some((key, value)) = part.split_once("!=") {
                Term::IsNot(owned(key), owned(value))
            } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
                Term::Is(owned(key), owned(value))
            } else if let Some((key, all)) = part.split_once(" notin ") {
                Term::In(owned(key), list(all), false)
            } else if let Some((key, all)) = part.split_once(" in ") {
                Term::In(owned(key), list(all), true)
            } else if let Some(key) = part.trim().strip_prefix('!') {
                Term::Has(owned(key), false)
            } else {
                Term::Has(owned(part), true)
            }
        })
        .collect()
}

/// One object.
pub(super) fn get(state: &State, place: &Place) -> Result<Value, Refusal> {
    let found = state.get(&place.key()).ok_or_else(|| Refusal::not_found(&place.kind, &place.name))?;
    Ok(if place.subresource == "scale" { super::write::scale_of(found) } else { found.clone() })
}

/// Whether an object's key is at a place.
pub(super) fn at(place: &Place, key: &str) -> bool {
    let prefix = place.kind.prefix();
    let rest = key.strip_prefix(&prefix).and_then(|rest| rest.split_once('/'));
    rest.is_some_and(|(namespace, name)| {
        (place.namespace.is_empty() || place.namespace == namespace)
            && (place.name.is_empty() || place.name == name)
    })
}

/// A collection.
pub(super) fn list(state: &State, place: &Place, query: &Query) -> Value {
    let selector = Selector::read(query);
    let found = state.all(&place.kind.plural, &place.kind.group);
    let mut items: Vec<Value> = found
        .filter(|(key, object)| at(place, key) && selector.matches(object))
        .map(|(_, object)| {
            let mut object = object.clone();
            if let Some(object) = object.as_object_mut() {
                object.remove("apiVersion");
                object.remove("kind");
            }
            object
        })
        .collect();
    let mut meta = json!({ "resourceVersion": state.revision.to_string() });
    let start = query.get("continue").and_then(|at| at.parse().ok()).unwrap_or(0).min(items.len());
    items.drain(..start);
    if let Some(limit) =
        query.number("limit").and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0)
        && items.len() > limit
    {
        meta["remainingItemCount"] = (items.len() - limit).into();
        meta["continue"] = (start + limit).to_string().into();
        items.truncate(limit);
    }
    json!({ "kind": format!("{}List", place.kind.kind), "apiVersion": place.kind.api_version(), "metadata": meta, "items": items })
}

/// What discovery says at this path; nothing for another one.
pub(super) fn discovery(state: &State, path: &str, aggregated: bool) -> Option<Value> {
    let kinds = kinds::all(state);
    let mut groups: Vec<(String, String)> = Vec::new();
    for kind in &kinds {
        let group = (kind.group.to_string(), kind.version.to_string());
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups.extend(REVIEWS.iter().map(|(group, _, _)| ((*group).to_owned(), "v1".to_owned())));
    groups.sort();
    let version = |group: &str, version: &str| {
        let name = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        json!({ "groupVersion": name, "version": version })
    };
    let words: Vec<&str> = path.split('/').filter(|word| !word.is_empty()).collect();
    match &words[..] {
        ["version"] => Some(json!({
            "major": "1", "minor": "36", "gitVersion": "v1.36.2", "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": "linux/amd64",
        })),
        ["api" | "apis"] if aggregated => {
            let core = words == ["api"];
            let items: Vec<Value> = groups
                .iter()
                .filter(|(group, _)| group.is_empty() == core)
                .map(|(group, version)| {
                    let resources = resources(&kinds, group, version, true);
                    let meta = if group.is_empty() { json!({}) } else { json!({ "name": group }) };
                    json!({ "metadata": meta, "versions": [{ "version": version, "resources": resources, "freshness": "Current" }] })
                })
                .collect();
            Some(json!({
                "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items,
            }))
        }
        ["api"] => {
            Some(json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] }))
        }
        ["apis"] => {
            let all: Vec<Value> = groups
                .iter()
                .filter(|(group, _)| !group.is_empty())
                .map(|(group, name)| {
                    let one = version(group, name);
                    json!({ "name": group, "versions": [one], "preferredVersion": one })
                })
                .collect();
            Some(json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": all }))
        }
        ["apis", group] => {
            let (group, name) = groups.iter().find(|(known, _)| known == group)?;
            let one = version(group, name);
            Some(json!({
                "kind": "APIGroup", "apiVersion": "v1", "name": group, "versions": [one], "preferredVersion": one,
            }))
        }
        ["api", name] | ["apis", _, name] => {
            let group = if words[0] == "api" { "" } else { words[1] };
            groups.iter().find(|(known, version)| known == group && version == name)?;
            let named = version(group, name)["groupVersion"].clone();
            let resources = resources(&kinds, group, name, false);
            Some(
                json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": named, "resources": resources }),
            )
        }
        _ => None,
    }
}

const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

fn resources(kinds: &[Kind], group: &str, version: &str, aggregated: bool) -> Vec<Value> {
    let mut all = Vec::new();
    for kind in kinds.iter().filter(|kind| kind.group == group && kind.version == version) {
        let mut below: Vec<(&str, &str, &str, &str, &[&str])> = Vec::new();
        if kind.status {
            below.push(("status", &kind.kind, group, version, &["get", "patch", "update"]));
        }
        if kind.scale {
            below.push(("scale", "Scale", "autoscaling", "v1", &["get", "patch", "update"]));
        }
        if kind.plural == "pods" {
            below.push(("log", "Pod", "", "v1", &["get"]));
            below.push(("exec", "PodExecOptions", "", "v1", &["create", "get"]));
        }
        if aggregated {
            let kind_of = |group: &str, version: &str, kind: &str| json!({ "group": group, "version": version, "kind": kind });
            let below: Vec<Value> = below
                .iter()
                .map(|(name, kind, group, version, verbs)| {
                    json!({ "subresource": name, "responseKind": kind_of(group, version, kind), "verbs": verbs })
                })
                .collect();
            all.push(json!({
                "resource": kind.plural, "responseKind": kind_of(group, version, &kind.kind),
                "scope": if kind.namespaced { "Namespaced" } else { "Cluster" }, "singularResource": kind.singular(),
                "verbs": VERBS, "shortNames": kind.short, "subresources": below,
            }));
        } else {
            all.push(json!({
                "name": kind.plural, "singularName": kind.singular(), "namespaced": kind.namespaced, "kind": kind.kind,
                "verbs": VERBS, "shortNames": kind.short,
            }));
            for (name, below, _, _, verbs) in below {
                all.push(json!({
                    "name": format!("{}/{name}", kind.plural), "singularName": "", "namespaced": kind.namespaced,
                    "kind": below, "verbs": verbs,
                }));
            }
        }
    }
    for (_, kind, plural) in REVIEWS.iter().filter(|(reviewed, _, _)| *reviewed == group) {
        all.push(if aggregated {
            json!({
                "resource": plural, "responseKind": { "group": group, "version": version, "kind": kind }, "scope": "Cluster",
                "singularResource": kind.to_lowercase(), "verbs": ["create"],
            })
        } else {
            json!({ "name": plural, "singularName": kind.to_lowercase(), "namespaced": false, "kind": kind, "verbs": ["create"] })
        });
    }
    all
}
