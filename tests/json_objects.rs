//! Goal: whatever a command writes with `--json` is in `schema/events.schema.json`. Method: the binary from outside,
//! every command in good and in bad hours; every line is judged, and every kind of object is seen.

mod worlds_support;

#[path = "support/json_schema.rs"]
mod json_schema;

use std::collections::BTreeSet;

use json_schema::Judge;
use worlds_support::*;

#[test]
fn every_line_of_every_command_conforms() {
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../schema/events.schema.json")).unwrap();
    let judge = Judge { schema: &schema, strict: true };
    let house = House::new();
    house.plan("good", TWO);
    house.plan("bad", &one("forward = { action = \"command\", script = \"echo why; exit 3\" }"));
    house.plan("wrong", "paralelism = 2\n");
    let gate = format!("{TWO}approve = \"Go on?\"\n");
    house.plan("gate", &gate);
    let mut kinds = BTreeSet::new();
    for (code, words) in [
        (0, &["validate", "plans/good.toml"][..]),
        (2, &["validate", "plans/wrong.toml"]),
        (2, &["status"]),
        (0, &["apply", "plans/good.toml"]),
        (0, &["apply", "plans/good.toml"]),
        (3, &["apply", "plans/bad.toml"]),
        (4, &["apply", "plans/gate.toml"]),
        (0, &["cancel", "gate"]),
        (0, &["status", "good"]),
        (0, &["events", "bad"]),
        (0, &["runs"]),
        (2, &["resolve", "good", "one", "--as", "done"]),
        (2, &["status", "goood"]),
        (2, &["apply"]),
        (0, &["rollback", "good", "-y"]),
        (5, &["apply", "plans/good.toml"]),
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
        ["diagnostic", "document", "error", "event", "runs", "status", "valid"].map(str::to_owned).into();
    assert_eq!(kinds, known, "but for `note`, which only a stop writes");
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
