//! Who owns which field of an object: its `managedFields`.

use serde_json::{Value, json};

use super::fields::{Fields, Shape};
use super::kinds::Kind;
use super::state::now_text;

/// One entry.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    manager: String,
    apply: bool,
    subresource: String,
    version: String,
    fields: Fields,
    time: String,
}

/// All entries of an object.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Managers(Vec<Entry>);

impl Managers {
    pub(super) fn read(managed: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let entries = managed.as_array().into_iter().flatten().filter(|entry| entry["manager"].is_string());
        Self(
            entries
                .map(|entry| Entry {
                    manager: text(&entry["manager"]),
                    apply: entry["operation"] == "Apply",
                    subresource: text(&entry["subresource"]),
                    version: text(&entry["apiVersion"]),
                    fields: Fields::read(&entry["fieldsV1"]),
                    time: text(&entry["time"]),
                })
                .collect(),
        )
    }

    /// Whether a request says itself who owns what: entries that are others than those that are kept. An empty list, or
    /// one of an empty entry, forgets all.
    pub(super) fn sets(given: &Value, live: &Value) -> bool {
        given.is_array() && given != live
    }

    /// Nobody owns anything.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What this manager has applied.
    pub(super) fn applied(&self, manager: &str) -> Fields {
        let mine = self
            .0
            .iter()
            .find(|entry| entry.apply && entry.manager == manager && entry.subresource.is_empty());
        mine.map(|entry| entry.fields.clone()).unwrap_or_default()
    }

    /// What everybody else owns.
    pub(super) fn others(&self, manager: &str) -> Fields {
        let mut all = Fields::default();
        for entry in self.0.iter().filter(|entry| !entry.is_apply_of(manager)) {
            all.add(&entry.fields);
        }
        all
    }

    /// The changed fields that others own: manager, as the message names it, and path.
    pub(super) fn conflicts(&self, manager: &str, changed: &Fields) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for entry in self.0.iter().filter(|entry| !entry.is_apply_of(manager)) {
            let mut named = format!("\"{}\"", entry.manager);
            if !entry.subresource.is_empty() {
                named.push_str(&format!(" with subresource \"{}\"", entry.subresource));
            }
            if !entry.apply {
                named.push_str(&format!(" using {}", entry.version));
            }
            all.extend(entry.fields.both(changed).paths().into_iter().map(|path| (named.clone(), path)));
        }
        all
    }

    /// Takes fields from everybody else.
    pub(super) fn take(&mut self, manager: &str, changed: &Fields) {
        for entry in self.0.iter_mut().filter(|entry| !entry.is_apply_of(manager)) {
            entry.fields = entry.fields.without(changed);
        }
    }

    /// This manager applies these fields and no others.
    pub(super) fn apply(&mut self, manager: &str, kind: &Kind, fields: Fields) {
        self.0.retain(|entry| !entry.is_apply_of(manager));
        self.0.push(Entry {
            manager: manager.to_owned(),
            apply: true,
            subresource: String::new(),
            version: kind.api_version(),
            fields,
            time: now_text(),
        });
    }

    /// This manager has made `new` of `old`: what it changed is its own.
    pub(super) fn update(
        &mut self,
        manager: &str,
        subresource: &str,
        kind: &Kind,
        old: Option<&Value>,
        new: &Value,
    ) {
        let shape = Shape::of(kind.custom);
        let nothing = json!({});
        let mut changed = Fields::changed(Some(old.unwrap_or(&nothing)), Some(new), shape);
        for name in ["f:apiVersion", "f:kind"] {
            changed.below.remove(name);
        }
        if kind.status && subresource != "status" {
            changed.below.remove("f:status");
        }
        changed.without_bookkeeping();
        for name in ["f:metadata", "f:spec", "f:status"] {
            if let Some(part) = changed.below.get_mut(name) {
                part.here = false;
            }
        }
        if changed.is_empty() {
            return;
        }
        let present = everything(new, shape);
        let is_mine =
            |entry: &Entry| !entry.apply && entry.manager == manager && entry.subresource == subresource;
        let mut mine = Fields::default();
        for entry in &mut self.0 {
            if is_mine(entry) {
                mine.add(&entry.fields.both(&present));
            } else {
                entry.fields = entry.fields.without(&changed);
            }
        }
        mine.add(&changed.both(&present));
        self.0.retain(|entry| !is_mine(entry));
        self.0.push(Entry {
            manager: manager.to_owned(),
            apply: false,
            subresource: subresource.to_owned(),
            version: kind.api_version(),
            fields: mine,
            time: now_text(),
        });
    }

    /// As `managedFields`. An entry that owns what it did keeps its time.
    pub(super) fn json(mut self, before: &Value) -> Value {
        let before = Self::read(before);
        for entry in &mut self.0 {
            let same =
                before.0.iter().find(|old| Entry { time: entry.time.clone(), ..(*old).clone() } == *entry);
            if let Some(old) = same {
                entry.time.clone_from(&old.time);
            }
        }
        self.0.retain(|entry| !entry.fields.is_empty());
        self.0.sort_by(|a, b| (!a.apply, &a.time, &a.manager).cmp(&(!b.apply, &b.time, &b.manager)));
        Value::Array(
            self.0
                .iter()
                .map(|entry| {
                    let mut json = json!({
                        "manager": entry.manager, "operation": if entry.apply { "Apply" } else { "Update" },
                        "apiVersion": entry.version, "time": entry.time, "fieldsType": "FieldsV1",
                        "fieldsV1": entry.fields.json(),
                    });
                    if !entry.subresource.is_empty() {
                        json["subresource"] = entry.subresource.as_str().into();
                    }
                    json
                })
                .collect(),
        )
    }
}

impl Entry {
    fn is_apply_of(&self, manager: &str) -> bool {
        self.apply && self.manager == manager && self.subresource.is_empty()
    }
}

/// All fields of a value, tables and lists themselves included.
fn everything(value: &Value, shape: Shape<'_>) -> Fields {
    let mut fields = Fields { here: true, ..Fields::default() };
    for (name, shape, value) in shape.parts(value).into_iter().flatten() {
        fields.below.insert(name, everything(value, shape));
    }
    fields
}
