//! Goal: the loader and the JSON Schema of a plan cannot drift apart. Method: every key that the loader takes, and
//! many that it refuses, given to both; the plans of the tree given to both; another implementation as a witness.

#![expect(clippy::unwrap_used, reason = "a test")]

use crate::support::json_schema;
use crate::support::skip;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use json_schema::Judge;
use runner::plan::catalog::{self, Kind};
use runner::plan::keys::{GROUPS, Group};
use runner::plan::{Request, Required, load, schema, schema_text};
use serde_json::{Value, json};

/// A document, the codes that the loader finds in it, and whether the schema takes it.
struct Judged {
    name: String,
    document: Value,
    codes: BTreeSet<&'static str>,
    valid: Result<(), String>,
}

fn judged(name: String, document: Value, schema: &Value) -> Judged {
    let text = toml::to_string(&document).unwrap();
    let codes = codes(&text);
    let valid = Judge { schema, strict: false }.judge(&document);
    Judged { name, document, codes, valid }
}

fn codes(text: &str) -> BTreeSet<&'static str> {
    let nothing = BTreeMap::new();
    let request = Request {
        path: "/plans/plan.toml",
        text: text.as_bytes(),
        given: &nothing,
        vars: &[],
        var_files: &[],
        required: Required::TakenAsPresent,
        read: &|path| match path.ends_with('/') {
            true => Ok(b"apiVersion: v1\nkind: Namespace\nmetadata: { name: n }\n".to_vec()),
            false => Ok(Vec::new()),
        },
    };
    match load(&request) {
        Ok(_) => BTreeSet::new(),
        Err(errors) => errors.iter().map(|error| error.code).collect(),
    }
}

/// A plan in which every group has its place.
fn base() -> Value {
    json!({
        "name": "p",
        "vars": { "site": "x" },
        "secrets": { "it": { "env": "IT" } },
        "hosts": { "it": { "address": "x" }, "still-fawn": { "address": "x" } },
        "clusters": { "it": {} },
        "brokers": { "it": { "url": "mqtt://x" } },
        "resources": { "it": { "owners": ["old", "new"] } },
        "step": [{
            "id": "a",
            "forward": { "action": "command", "argv": ["true"] },
            "compensate": "nothing",
            "window": { "days": "mon", "from": "02:00", "to": "05:00", "zone": "UTC" },
            "retry": {},
            "soak": { "for": "3d", "every": "5m" },
            "verify": [{ "check": "command", "argv": ["true"], "watch": { "exit": { "at_most_more": 1 } } }],
        }],
    })
}

/// Where a group stands in [`base`].
fn place(group: &Group) -> &'static str {
    match group.name {
        "plan" => "",
        "secret" => "/secrets/it",
        "host" => "/hosts/it",
        "cluster" => "/clusters/it",
        "broker" => "/brokers/it",
        "resource" => "/resources/it",
        "step" => "/step/0",
        "window" => "/step/0/window",
        "retry" => "/step/0/retry",
        "soak" => "/step/0/soak",
        "looks" => "/step/0/verify/0",
        "rule" => "/step/0/verify/0/watch/exit",
        other => panic!("group `{other}` has no place here: add one"),
    }
}

fn parsed(toml: &str) -> Value {
    let table: Value = toml::from_str(&format!("x = {toml}")).unwrap();
    table["x"].clone()
}

/// [`base`] with this key in that place, and without what excludes it.
fn with(place: &str, key: &str, value: Value, excluded: &[&str]) -> Value {
    let mut document = base();
    let table = document.pointer_mut(place).unwrap().as_object_mut().unwrap();
    table.retain(|name, _| !excluded.contains(&name.as_str()));
    table.insert(key.to_owned(), value);
    document
}

/// Every key of every group, with every example.
fn known_keys(schema: &Value) -> Vec<Judged> {
    let mut all = Vec::new();
    for group in GROUPS {
        for key in group.keys {
            for example in key.examples.iter().copied().chain(key.default) {
                let value = parsed(example);
                let excluded = if group.one_of.contains(&key.name) { group.one_of } else { &[] };
                let document = with(place(group), key.name, value, excluded);
                all.push(judged(format!("{}.{} = {example}", group.name, key.name), document, schema));
            }
        }
    }
    for kind in [Kind::Action, Kind::Check] {
        for entry in catalog::entries(kind) {
            for field in entry.fields {
                let mut operation = operation(entry, schema);
                if entry.one_of.contains(&field.name) {
                    entry
                        .one_of
                        .iter()
                        .for_each(|name| drop(operation.as_object_mut().unwrap().remove(*name)));
                }
                operation[field.name] = sample(entry, field.name, schema);
                let name = format!("{} {}.{}", kind.word(), entry.name, field.name);
                all.push(judged(name, in_step(kind, operation), schema));
            }
        }
    }
    all
}

/// A value that a field may have, as the schema itself shows it.
fn sample(entry: &catalog::Entry, field: &str, schema: &Value) -> Value {
    let shown = &schema["$defs"][format!("{}-{}", entry.kind.word(), entry.name)]["properties"][field];
    let example = shown["examples"].get(0).or(shown["enum"].get(0)).or(shown.get("default"));
    example.cloned().unwrap_or_else(|| json!("x"))
}

/// An action or check with nothing but what it must have.
fn operation(entry: &catalog::Entry, schema: &Value) -> Value {
    let mut operation = json!({ entry.kind.word(): entry.name });
    let required = entry.fields.iter().filter(|field| field.required).map(|field| field.name);
    for name in required.chain(entry.one_of.first().copied()) {
        operation[name] = sample(entry, name, schema);
    }
    operation
}

fn in_step(kind: Kind, operation: Value) -> Value {
    match kind {
        Kind::Action => with("/step/0", "forward", operation, &[]),
        Kind::Check => with("/step/0", "verify", json!([operation]), &[]),
    }
}

/// Keys that stand where they do not belong: with a letter too many, and those of the other groups.
fn unknown_keys(schema: &Value) -> Vec<Judged> {
    let mut all = Vec::new();
    for group in GROUPS {
        let own = group.keys.iter().map(|key| format!("{}x", key.name));
        let others = GROUPS.iter().flat_map(|other| other.keys).map(|key| key.name.to_owned());
        // What is said of looks stands among a check's own keys.
        let of_check =
            |name: &str| group.name == "looks" && catalog::check("command").unwrap().field(name).is_some();
        let wrong = own.chain(others).filter(|name| group.key(name).is_none() && !of_check(name));
        let wrong: BTreeSet<String> = wrong.collect();
        for name in wrong {
            let document = with(place(group), &name, json!("x"), &[]);
            all.push(judged(format!("{}.{name}", group.name), document, schema));
        }
    }
    for kind in [Kind::Action, Kind::Check] {
        for entry in catalog::entries(kind) {
            let every =
                catalog::entries(kind).flat_map(|other| other.fields).map(|field| field.name.to_owned());
            let wrong: BTreeSet<String> = every
                .chain(entry.fields.iter().map(|field| format!("{}x", field.name)))
                .filter(|name| entry.field(name).is_none())
                .collect();
            for name in wrong {
                let mut operation = operation(entry, schema);
                operation[&name] = json!("x");
                let document = in_step(kind, operation);
                all.push(judged(format!("{} {}.{name}", kind.word(), entry.name), document, schema));
            }
        }
    }
    all
}

#[test]
fn every_key_that_the_loader_takes_is_in_the_schema() {
    let schema = schema();
    assert_eq!(Judge { schema: &schema, strict: false }.judge(&base()), Ok(()));
    let all = known_keys(&schema);
    assert!(all.len() > 60);
    for Judged { name, codes, valid, .. } in all {
        assert!(!codes.contains("unknown-key") && !codes.contains("wrong-type"), "{name}: {codes:?}");
        assert_eq!(valid, Ok(()), "{name}");
    }
}

#[test]
fn every_key_that_the_loader_refuses_is_refused_by_the_schema() {
    let all = unknown_keys(&schema());
    assert!(all.len() > 200);
    for Judged { name, codes, valid, .. } in all {
        assert!(codes.contains("unknown-key"), "{name}: {codes:?}");
        assert!(valid.is_err(), "{name}");
    }
}

#[test]
fn the_committed_schema_is_the_one_that_is_made() {
    let committed = include_str!("../../schema/plan.schema.json");
    assert!(committed == schema_text(), "stale: cargo run -- schema > schema/plan.schema.json");
}

/// The plans of the tree.
fn plans() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
    let mut plans = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // A file of variables is no plan.
        let variables = path.to_string_lossy().contains(".vars.");
        if !variables && path.extension().is_some_and(|end| end == "toml") {
            let text = std::fs::read_to_string(&path).unwrap();
            let first = text.lines().next().unwrap();
            assert_eq!(first, "#:schema ../schema/plan.schema.json", "first line of {}", path.display());
            plans.push((path.display().to_string(), toml::from_str(&text).unwrap()));
        }
    }
    plans
}

#[test]
fn the_plans_of_the_tree_name_the_schema_and_keep_it() {
    let schema = schema();
    let plans = plans();
    assert!(plans.len() >= 3);
    for (name, document) in plans {
        assert_eq!(Judge { schema: &schema, strict: false }.judge(&document), Ok(()), "{name}");
    }
}

#[test]
fn every_key_is_described() {
    fn walk(schema: &Value, at: &str) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let doc = property["description"].as_str().unwrap_or_default();
            assert!(doc.ends_with('.'), "{at}.{name}: {doc:?}");
            assert!(!doc.contains("{{ \""), "{at}.{name}");
        }
    }
    let schema = schema();
    walk(&schema, "plan");
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        assert!(definition["description"].is_string() || definition["oneOf"].is_array(), "{name}");
        walk(definition, name);
    }
}

/// The same judgments by Python's `jsonschema`, where it is installed; it checks the schema itself, too.
#[test]
fn another_implementation_judges_the_same() {
    const WITNESS: &str = r#"
import json, sys
from jsonschema import Draft202012Validator
given = json.load(sys.stdin)
Draft202012Validator.check_schema(given["schema"])
Draft202012Validator.check_schema(given["events"])
judge = Draft202012Validator(given["schema"])
for name, document, valid in given["documents"]:
    if judge.is_valid(document) != valid:
        print(name, "is", "invalid" if valid else "valid", "there")
"#;
    let there =
        Command::new("/usr/bin/python3").args(["-c", "import jsonschema"]).stderr(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        skip::skip(
            "/usr/bin/python3 with jsonschema is not installed, so our own reading of the schema has no witness",
        );
        return;
    }
    let schema = schema();
    let mut documents: Vec<(String, Value, bool)> = known_keys(&schema)
        .into_iter()
        .chain(unknown_keys(&schema))
        .map(|judged| (judged.name, judged.document, judged.valid.is_ok()))
        .collect();
    documents.extend(plans().into_iter().map(|(name, plan)| (name, plan, true)));
    let events: Value = serde_json::from_str(include_str!("../../schema/events.schema.json")).unwrap();
    let given = json!({ "schema": schema, "events": events, "documents": documents });
    let mut python = Command::new("/usr/bin/python3")
        .args(["-c", WITNESS])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(given.to_string().as_bytes()).unwrap();
    let said = python.wait_with_output().unwrap();
    assert!(said.status.success());
    assert_eq!(String::from_utf8(said.stdout).unwrap(), "");
}
