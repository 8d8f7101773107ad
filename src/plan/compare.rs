//! What changed between two versions of a plan, for a run that goes on with the newer one.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};
use similar::TextDiff;

use super::catalog::{self, FieldType, Kind};
use super::id::StepId;
use super::load::sha256;
use super::recorded::{Compensate, Definition, Operation, Step};
use super::template::{self, Scope, Secrets, lex};

/// The difference between two versions of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The steps that differ: those of the new plan in its order, then those that are gone.
    pub steps: Vec<StepChange>,
    /// The other parts of the plan that differ, by their key in the plan file.
    pub other: Vec<&'static str>,
    /// The difference of those parts, as a unified diff; empty when there is none.
    pub other_diff: String,
}

impl Comparison {
    /// Whether the two plans mean the same.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.other.is_empty()
    }
}

/// How one step differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepChange {
    /// The step.
    pub id: StepId,
    /// What became of it.
    pub kind: ChangeKind,
    /// The result of a finished step would be another: its action, probe, compensation, `verify`, or the content
    /// of a file that one of them names. Texts, times, retries and `needs` do not count.
    pub result_changed: bool,
    /// Its action would be another.
    pub action_changed: bool,
    /// Its compensation would be another.
    pub compensation_changed: bool,
    /// What people are asked before it, or the evidence for that, would be another.
    pub gate_changed: bool,
    /// Its probe or its `verify` would be another.
    pub looks_changed: bool,
    /// The difference as a unified diff, with variables and outputs filled in and secrets masked.
    pub diff: String,
}

impl StepChange {
    /// Whether nothing of what decides its result differs but its compensation.
    pub fn only_compensation(&self) -> bool {
        self.compensation_changed && !self.action_changed && !self.looks_changed
    }
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// The new plan has it, the old one has not.
    Added,
    /// The old plan has it, the new one has not.
    Removed,
    /// Both have it, and they differ.
    Changed,
}

/// Compares two versions of a plan. `outputs` are those of the run `run` so far; each side is rendered with its
/// own variables.
pub fn compare(
    old: &Definition,
    new: &Definition,
    outputs: &BTreeMap<StepId, Map<String, Value>>,
    run: &str,
) -> Comparison {
    let old = Side::new(old, outputs, run);
    let new = Side::new(new, outputs, run);
    let before: BTreeMap<&StepId, &Step> = old.definition.steps.iter().map(|step| (&step.id, step)).collect();
    let after: BTreeMap<&StepId, &Step> = new.definition.steps.iter().map(|step| (&step.id, step)).collect();
    let mut steps = Vec::new();
    // What a step is rendered with is the same: a step that reads the same is the same.
    let alike = old.definition.vars == new.definition.vars && old.definition.files == new.definition.files;
    for step in &new.definition.steps {
        match before.get(&step.id) {
            Some(earlier) if alike && *earlier == step => {}
            None => steps.push(whole(step, ChangeKind::Added, diff("", &new.shown(step)))),
            Some(earlier) => {
                let result_changed = old.result(earlier) != new.result(step);
                let rendered = diff(&old.shown(earlier), &new.shown(step));
                if result_changed || *earlier != step || !rendered.is_empty() {
                    let shown =
                        if rendered.is_empty() { diff(&text_of(earlier), &text_of(step)) } else { rendered };
                    steps.push(StepChange {
                        id: step.id.clone(),
                        kind: ChangeKind::Changed,
                        result_changed,
                        action_changed: old.action(earlier) != new.action(step),
                        compensation_changed: old.compensation(earlier) != new.compensation(step),
                        gate_changed: old.gate(earlier) != new.gate(step),
                        looks_changed: old.looks(earlier) != new.looks(step),
                        diff: shown,
                    });
                }
            }
        }
    }
    for step in old.definition.steps.iter().filter(|step| !after.contains_key(&step.id)) {
        steps.push(whole(step, ChangeKind::Removed, diff(&old.shown(step), "")));
    }
    let (before, after) = (other_parts(old.definition), other_parts(new.definition));
    let differ: Vec<&'static str> =
        before.iter().zip(&after).filter(|(a, b)| a != b).map(|((name, _), _)| *name).collect();
    let shown = |parts: &[(&'static str, Value)]| {
        let parts = parts.iter().filter(|(name, _)| differ.contains(name));
        text_of(&parts.cloned().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
    };
    let other_diff = diff(&shown(&before), &shown(&after));
    Comparison { steps, other: differ, other_diff }
}

/// A step that only one of the plans has.
fn whole(step: &Step, kind: ChangeKind, diff: String) -> StepChange {
    let id = step.id.clone();
    StepChange {
        id,
        kind,
        result_changed: true,
        action_changed: true,
        compensation_changed: true,
        gate_changed: true,
        looks_changed: true,
        diff,
    }
}

/// One version of the plan, with what its templates see.
struct Side<'a> {
    definition: &'a Definition,
    scope: Scope<'a>,
}

impl<'a> Side<'a> {
    fn new(
        definition: &'a Definition,
        outputs: &'a BTreeMap<StepId, Map<String, Value>>,
        run: &'a str,
    ) -> Self {
        Self { definition, scope: Scope { vars: &definition.vars, outputs, run, secrets: Secrets::Masked } }
    }

    /// The digest over what decides the result of a step.
    fn result(&self, step: &Step) -> String {
        let parts = json!({
            "forward": self.action(step),
            "compensate": self.compensation(step),
            "looks": self.looks(step),
        });
        sha256(parts.to_string().as_bytes())
    }

    fn action(&self, step: &Step) -> Value {
        step.forward.as_ref().map_or(Value::Null, |operation| self.operation(operation))
    }

    fn compensation(&self, step: &Step) -> Value {
        match &step.compensate {
            Compensate::Action(operation) => self.operation(operation),
            Compensate::Inverse => json!("inverse"),
            Compensate::Nothing => json!("nothing"),
            Compensate::Irreversible(_) => json!("irreversible"),
        }
    }

    fn looks(&self, step: &Step) -> Value {
        let each =
            |checks: &[Operation]| checks.iter().map(|check| self.operation(check)).collect::<Vec<_>>();
        json!({ "probe": each(step.probe.as_slice()), "verify": each(&step.verify) })
    }

    fn gate(&self, step: &Step) -> Value {
        self.rendered(&json!(step.gate))
    }

    /// An operation, rendered, with contents in the place of files.
    fn operation(&self, operation: &Operation) -> Value {
        let fields = operation.fields.iter().map(|(name, value)| {
            let value = match file_of(operation, name, value).and_then(|path| self.definition.files.get(path))
            {
                Some(file) => json!({ "sha256": file.sha256 }),
                None => self.rendered(value),
            };
            (name.clone(), value)
        });
        json!({ "name": operation.name, "fields": fields.collect::<Map<_, _>>() })
    }

    /// A value with what can be rendered rendered. A text that cannot, because an output is not there yet, stays
    /// as it is, with the variables it uses beside it.
    fn rendered(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => template::render(value, &self.scope).unwrap_or_else(|_| {
                let vars = lex::lex(text).references.into_iter().filter_map(|reference| {
                    let name = reference.path.get(1).filter(|_| reference.path[0] == "vars")?.clone();
                    self.definition.vars.get(&name).map(|value| (name, value.clone()))
                });
                let vars: Map<String, Value> = vars.collect();
                if vars.is_empty() { value.clone() } else { json!({ "template": text, "vars": vars }) }
            }),
            Value::Array(items) => Value::Array(items.iter().map(|item| self.rendered(item)).collect()),
            Value::Object(table) => {
                Value::Object(table.iter().map(|(key, item)| (key.clone(), self.rendered(item))).collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    /// A step as a reader sees it: rendered, with the digests of the files it names.
    fn shown(&self, step: &Step) -> String {
        let mut value = self.rendered(&serde_json::to_value(step).unwrap_or(Value::Null));
        let mut files = Map::new();
        for operation in operations(step) {
            for (name, field) in &operation.fields {
                let file = file_of(operation, name, field)
                    .and_then(|path| self.definition.files.get_key_value(path));
                if let Some((path, file)) = file {
                    files
                        .insert(path.clone(), json!(format!("{} bytes, sha256 {}", file.bytes, file.sha256)));
                }
            }
        }
        if let (false, Value::Object(table)) = (files.is_empty(), &mut value) {
            table.insert("contents".to_owned(), Value::Object(files));
        }
        text_of(&value)
    }
}

/// What decides the result of a step.
fn operations(step: &Step) -> impl Iterator<Item = &Operation> {
    let compensation = match &step.compensate {
        Compensate::Action(operation) => Some(operation),
        Compensate::Inverse | Compensate::Nothing | Compensate::Irreversible(_) => None,
    };
    [step.forward.as_ref(), step.probe.as_ref(), compensation].into_iter().flatten().chain(&step.verify)
}

/// The path in a field, when the field names a file.
fn file_of<'v>(operation: &Operation, name: &str, value: &'v Value) -> Option<&'v str> {
    let is_file = [Kind::Action, Kind::Check].into_iter().any(|kind| {
        let field = catalog::find(kind, &operation.name).and_then(|entry| entry.field(name));
        field.is_some_and(|field| matches!(field.kind, FieldType::File | FieldType::Manifests))
    });
    value.as_str().filter(|_| is_file)
}

/// A value as TOML, which is how people know a plan.
fn text_of(value: &impl Serialize) -> String {
    // JSON's nothing has no form in TOML, and says nothing.
    let without = serde_json::to_value(value).map(without_nothing).unwrap_or(Value::Null);
    toml::to_string_pretty(&without).unwrap_or_else(|_| format!("{without:#}\n"))
}

fn without_nothing(value: Value) -> Value {
    match value {
        Value::Object(table) => Value::Object(
            table
                .into_iter()
                .filter(|(_, item)| !item.is_null())
                .map(|(key, item)| (key, without_nothing(item)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nothing).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn diff(old: &str, new: &str) -> String {
    if old == new {
        return String::new();
    }
    TextDiff::from_lines(old, new).unified_diff().context_radius(3).header("recorded", "edited").to_string()
}

/// The parts of a plan that are not steps, by their key.
fn other_parts(definition: &Definition) -> Vec<(&'static str, Value)> {
    vec![
        ("name", json!(definition.name)),
        ("description", json!(definition.description)),
        ("on_failure", json!(definition.on_failure)),
        ("parallelism", json!(definition.parallelism)),
        ("vars", json!(definition.vars)),
        ("secrets", json!(definition.secrets)),
        ("hosts", json!(definition.hosts)),
        ("clusters", json!(definition.clusters)),
        ("brokers", json!(definition.brokers)),
        ("resources", json!(definition.resources)),
    ]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::plan::{Request, Required, load};

    fn plan(text: &str, script: &str) -> Definition {
        let read = |_: &str| Ok(script.as_bytes().to_vec());
        let request = Request {
            path: "/p/plan.toml",
            text: text.as_bytes(),
            vars: &[],
            var_files: &[],
            given: &std::collections::BTreeMap::new(),
            required: Required::MustBeGiven,
            read: &read,
        };
        Arc::unwrap_or_clone(load(&request).unwrap_or_else(|errors| panic!("{errors}")).definition)
    }

    const BEFORE: &str = r#"
name = "p"
[vars]
x = 1
[[step]]
id = "a"
forward = { action = "command", argv = ["run", "{{ vars.x }}"] }
compensate = "nothing"
[[step]]
id = "b"
forward = { action = "command", script_file = "b.sh" }
compensate = "nothing"
"#;

    fn changes(text: &str, script: &str) -> Comparison {
        compare(&plan(BEFORE, "one"), &plan(text, script), &BTreeMap::new(), "p-1")
    }

    #[test]
    fn an_equal_plan_has_no_changes() {
        assert!(changes(BEFORE, "one").is_empty());
    }

    #[test]
    fn a_variable_changes_the_steps_that_use_it() {
        let found = changes(&BEFORE.replace("x = 1", "x = 2"), "one");
        assert_eq!(found.other, ["vars"]);
        assert_eq!(found.steps.len(), 1);
        assert!(found.steps[0].result_changed && found.steps[0].kind == ChangeKind::Changed);
        assert_eq!(found.steps[0].id.as_str(), "a");
        assert!(found.steps[0].diff.contains("-    1,\n+    2,"), "{}", found.steps[0].diff);
    }

    #[test]
    fn the_content_of_a_file_counts() {
        let found = changes(BEFORE, "two");
        assert_eq!(found.steps.iter().map(|step| step.id.as_str()).collect::<Vec<_>>(), ["b"]);
        assert!(found.steps[0].result_changed && found.steps[0].diff.contains("sha256"));
    }

    #[test]
    fn texts_and_times_do_not_change_the_result() {
        let edited = BEFORE.replace("id = \"a\"", "id = \"a\"\nsummary = \"A\"\ntimeout = \"1m\"");
        let found = changes(&edited, "one");
        assert_eq!(found.steps.len(), 1);
        assert!(!found.steps[0].result_changed);
        assert!(found.steps[0].diff.contains("+summary = \"A\""), "{}", found.steps[0].diff);
    }

    #[test]
    fn steps_come_and_go() {
        let found = changes(&BEFORE.replace("id = \"b\"", "id = \"c\""), "one");
        let kinds: Vec<_> = found.steps.iter().map(|step| (step.id.as_str(), step.kind)).collect();
        assert_eq!(kinds, [("c", ChangeKind::Added), ("b", ChangeKind::Removed)]);
    }
}
