//! Goal: whatever a command writes with `--json` is in `schema/events.schema.json`. Method: the binary from outside,
//! every command in good and in bad hours; every line is judged, and every kind of object is seen.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::worlds_support;

use crate::support::json_schema;

use std::collections::BTreeSet;

use json_schema::Judge;
use worlds_support::*;

/// A finished step that can be looked at.
const LOOKED: &str = r#"
[[step]]
id = "it"
forward = { action = "file", path = "../it", content = "it" }
verify = [{ check = "file", path = "../it", contains = "it" }]
"#;

/// A step that cannot be known, a secret that is missing, a resource that changes hands, and a point of no return.
const TAKING: &str = r#"
[secrets]
token = { env = "NOBODY_SET_THIS" }

[resources."door"]
owners = ["old", "new"]
held_at_start = "old"
gone.old = [{ check = "command", argv = ["true"] }]

[[step]]
id = "close"
frees = { door = "old" }
forward = { action = "command", argv = ["true"], env = { T = "{{ secrets.token }}" } }
probe = { check = "command", argv = ["false"] }
compensate = "nothing"

[[step]]
id = "open"
takes = { door = "new" }
forward = { action = "command", argv = ["true"] }
irreversible = "it was seen"
"#;

/// A step that fails and can be looked at.
const ILL: &str = r#"
[[step]]
id = "it"
forward = { action = "command", argv = ["false"] }
probe = { check = "command", argv = ["test", "-e", "../nothing"] }
compensate = "nothing"
"#;

/// The `type` of a kind of object in the schema.
fn title(schema: &serde_json::Value, kind: &serde_json::Value) -> String {
    let place = kind["$ref"].as_str().unwrap().trim_start_matches('#');
    schema.pointer(place).unwrap()["properties"]["type"]["const"].as_str().unwrap().to_owned()
}

#[test]
fn every_line_of_every_command_conforms() {
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../../schema/events.schema.json")).unwrap();
    let judge = Judge { schema: &schema, strict: true };
    let house = House::new();
    house.plan("good", TWO);
    house.plan("bad", &one("forward = { action = \"command\", script = \"echo why; exit 3\" }"));
    house.plan("wrong", "paralelism = 2\n");
    let gate = format!("{TWO}approve = \"Go on?\"\n");
    house.plan("gate", &gate);
    house.plan("looked", LOOKED);
    house.plan("taking", TAKING);
    house.plan("ill", ILL);
    house.plan(
        "cut",
        &one("timeout = \"100ms\"\nforward = { action = \"command\", argv = [\"sleep\", \"60\"] }"),
    );
    let mut kinds = BTreeSet::new();
    for (code, words) in [
        (0, &["validate", "plans/good.toml"][..]),
        (2, &["validate", "plans/wrong.toml"]),
        (2, &["status"]),
        (0, &["plan", "plans/good.toml"]),
        (0, &["plan", "plans/taking.toml"]),
        (0, &["doctor", "plans/good.toml"]),
        (2, &["doctor", "plans/taking.toml"]),
        (0, &["graph", "plans/good.toml"]),
        (0, &["graph", "plans/gate.toml", "--format", "dot"]),
        (0, &["apply", "plans/good.toml"]),
        (0, &["apply", "plans/good.toml"]),
        (0, &["apply", "plans/looked.toml"]),
        (0, &["apply", "plans/looked.toml"]),
        (0, &["drift", "looked"]),
        (0, &["drift", "good"]),
        (0, &["plan", "plans/looked.toml", "--new-run"]),
        (3, &["apply", "plans/bad.toml"]),
        (0, &["why", "bad", "it"]),
        (0, &["plan", "plans/bad.toml"]),
        (3, &["apply", "plans/ill.toml"]),
        (0, &["skip", "ill", "it", "--note", "not needed"]),
        (4, &["apply", "plans/gate.toml"]),
        (0, &["plan", "plans/gate.toml"]),
        (0, &["why", "gate", "two"]),
        (0, &["pause", "gate"]),
        (0, &["pause", "gate"]),
        (0, &["resume", "gate"]),
        (0, &["approve", "gate", "two"]),
        (2, &["reject", "gate", "two"]),
        (0, &["cancel", "gate"]),
        (0, &["cancel", "gate"]),
        (4, &["apply", "plans/gate.toml", "--new-run"]),
        (0, &["reject", "gate", "two", "--note", "no"]),
        (6, &["apply", "plans/cut.toml"]),
        (0, &["resolve", "cut", "it", "--as", "done"]),
        (0, &["status", "good"]),
        (0, &["status", "good", "--watch"]),
        (0, &["events", "bad"]),
        (0, &["events", "bad", "--follow"]),
        (0, &["runs"]),
        (0, &["runs", "verify"]),
        (0, &["runs", "archive", "gate-1"]),
        (0, &["runs", "prune", "gate-1", "-y"]),
        (2, &["resolve", "good", "one", "--as", "done"]),
        (2, &["status", "goood"]),
        (2, &["why", "good", "nothing"]),
        (2, &["apply"]),
        (0, &["rollback", "good", "--dry-run"]),
        (0, &["rollback", "good", "-y"]),
        (5, &["apply", "plans/good.toml"]),
        (0, &["rollback", "good", "--dry-run"]),
        (0, &["schema"]),
        (0, &["completions", "zsh"]),
        (0, &["man"]),
    ] {
        let said = house.run(&[&["--json"], words].concat());
        assert_eq!(said.code, code, "{words:?}: {said:?}");
        let all = objects(&said.out);
        assert!(!all.is_empty(), "{words:?}");
        for object in &all {
            judge.judge(object).unwrap_or_else(|why| panic!("{words:?}: {why}"));
            kinds.insert(object["type"].as_str().unwrap().to_owned());
        }
    }
    let known: BTreeSet<String> =
        schema["oneOf"].as_array().unwrap().iter().map(|kind| title(&schema, kind)).collect();
    let unseen: Vec<&String> = known.difference(&kinds).filter(|kind| *kind != "note").collect();
    assert_eq!(unseen, Vec::<&String>::new(), "only a stop writes a `note`");
}

#[test]
fn a_run_is_told_from_its_first_event_on() {
    let house = House::new();
    house.plan("good", TWO);
    let told = objects(&house.run(&["--json", "apply", "plans/good.toml"]).out);
    let events = |all: &[serde_json::Value]| -> Vec<serde_json::Value> {
        all.iter().filter(|object| object["type"] == "event").cloned().collect()
    };
    let told = events(&told);
    assert_eq!((&told[0]["event"], &told[0]["seq"]), (&"run_opened".into(), &1.into()));
    assert_eq!(told, events(&objects(&house.run(&["--json", "events"]).out)), "as `events` says it");
}
