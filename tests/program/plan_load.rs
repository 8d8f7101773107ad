//! Goal: a good plan is recorded whole, and nothing that can stand in a file makes the reader panic.

use std::collections::BTreeMap;
use std::time::Instant;

use proptest::prelude::*;
use runner::plan::graph::Graph;
use runner::plan::recorded::{Compensate, Definition, OnFailure, OnGap, SecretRef};
use runner::plan::template::{secrets_of_definition, secrets_of_operation};
use runner::plan::{Diagnostics, Loaded, Request, Required, StepId, load};
use serde_json::json;

/// Every section and nearly every key of the format.
const FULL: &str = r#"
name        = "house"
description = "from here to there"
on_failure  = "rollback"
parallelism = 2

[vars]
vmid = 110
url  = "http://old:5000"
stop = true
site = { required = "string" }
list = ["a", "b"]

[secrets]
token = { env = "TOKEN" }
mqtt  = { file = "~/mqtt" }

[hosts.still-fawn]
address = "root@{{ vars.site }}"
port    = "{{ vars.vmid }}"
sudo    = true

[clusters.home]
context = "default"

[brokers.home]
url      = "mqtt://broker:1883"
password = "{{ secrets.mqtt }}"

[resources."client:x"]
owners        = ["old", "new"]
held_at_start = "old"
gone.old = [{ check = "ssh", host = "still-fawn", argv = ["gone", "{{ vars.vmid }}"] }]
gone.new = [{ check = "command", argv = ["gone"] }]

[[step]]
id         = "stop-old"
summary    = "Stop {{ vars.vmid }}"
when       = "{{ vars.stop }}"
approve    = "Stop {{ vars.vmid }}?"
approve_expires = "12h"
evidence   = [{ check = "command", argv = ["look"] }]
window     = { days = ["mon-thu", "sun"], from = "22:00", to = "05:00", zone = "America/Los_Angeles" }
timeout    = "5m"
retry      = { attempts = 3, on = "verify" }
frees      = { "client:x" = "old" }
forward    = { action = "ssh", host = "still-fawn", script = "stop {{ vars.vmid | shell_quote }}", env = { T = "{{ secrets.token }}" }, outputs = { ip = "text" } }
probe      = { check = "ssh", host = "still-fawn", argv = ["stopped"], outputs = { ip = "text" }, absent_on = [2] }
verify     = [{ check = "command", argv = ["ping", "{{ steps.stop-old.outputs.ip }}"], timeout = "5s" }]
undone     = [{ check = "command", argv = ["up"] }]
undone_within = "10m"
compensate = { action = "ssh", host = "still-fawn", argv = ["start"] }

[[step]]
id         = "start-new"
takes      = { "client:x" = "new" }
idempotent = true
on_failure = "halt"
forward    = { action = "command", script_file = "./new.sh", cwd = "work", stdin = "{{ steps.stop-old.outputs.ip }}\n", on_stop = "finish" }
irreversible = "it has met the world"

[[step]]
id   = "soak"
soak = { for = "3d", every = "5m", max_consecutive_failures = 2, error_budget = "1%", coverage = "90%" }
verify = [{ check = "command", argv = ["ok"] }]
rollback_ready = [{ check = "command", argv = ["there"] }]

[[step]]
id     = "look"
needs  = ["stop-old"]
verify = [{ check = "command", argv = ["ok", "{{ run.id }}"] }]
"#;

fn read(text: &[u8], required: Required) -> Result<Loaded, Diagnostics> {
    let vars = [("list".to_owned(), "[\"c\"]".to_owned())];
    let files = [("/v.toml".to_owned(), "vmid = 111\n".to_owned())];
    let request = Request {
        path: "/plans/house.toml",
        text,
        vars: &vars,
        var_files: &files,
        given: &std::collections::BTreeMap::new(),
        required,
        read: &|path| if path.ends_with("new.sh") { Ok(b"new".to_vec()) } else { Err("none".to_owned()) },
    };
    load(&request)
}

fn full() -> Loaded {
    read(FULL.as_bytes(), Required::TakenAsPresent).unwrap_or_else(|errors| panic!("{errors}"))
}

fn id(text: &str) -> StepId {
    StepId::new(text).expect("the tests know what an id is")
}

#[test]
fn a_plan_is_recorded_whole() {
    let Loaded { definition, files, notes, .. } = full();
    assert!(notes.is_empty());
    assert_eq!((definition.folder.as_str(), definition.parallelism), ("/plans", 2));
    assert_eq!(definition.vars["vmid"], json!(111));
    assert_eq!(definition.vars["list"], json!(["c"]));
    assert_eq!(definition.vars["site"], json!("<site>"));
    assert_eq!(definition.secrets["token"], SecretRef::Env("TOKEN".to_owned()));

    let stop = definition.step(&id("stop-old")).unwrap();
    assert_eq!(stop.window.as_ref().unwrap().days, [0, 1, 2, 3, 6]);
    assert_eq!((stop.timeout_ms, stop.undone_within_ms, stop.verify_within_ms), (300_000, 600_000, 60_000));
    assert_eq!((stop.retry.attempts, stop.retry.backoff_ms, stop.retry.max_backoff_ms), (3, 2_000, 60_000));
    assert!(stop.retry.on_verify && stop.on_failure == OnFailure::Rollback);
    assert_eq!(stop.probe.as_ref().unwrap().fields["absent_on"], json!([2]));
    assert_eq!(stop.gate.as_ref().unwrap().expires_ms, Some(43_200_000));
    assert!(matches!(&stop.compensate, Compensate::Action(action) if action.name == "ssh"));

    let start = definition.step(&id("start-new")).unwrap();
    assert_eq!(start.needs, [id("stop-old")]);
    assert_eq!(start.forward.as_ref().unwrap().fields["script_file"], json!("/plans/new.sh"));
    assert_eq!(start.forward.as_ref().unwrap().fields["cwd"], json!("/plans/work"));
    assert_eq!(start.compensate, Compensate::Irreversible("it has met the world".to_owned()));
    assert!(start.idempotent && start.on_failure == OnFailure::Halt);
    let file = &definition.files["/plans/new.sh"];
    assert_eq!((file.bytes, files[&file.sha256].as_slice()), (3, &b"new"[..]));

    let soak = definition.step(&id("soak")).unwrap().soak.as_ref().unwrap();
    assert_eq!((soak.for_ms, soak.every_ms, soak.max_gap_ms), (259_200_000, 300_000, 600_000));
    assert_eq!((soak.error_budget, soak.coverage, soak.on_gap), (Some(0.01), Some(0.9), OnGap::Extend));

    let graph = Graph::of(&definition);
    assert_eq!((graph.order(), graph.dependents(0)), (&[0, 1, 2, 3][..], &[1, 3][..]));
    assert_eq!(secrets_of_definition(&definition).into_iter().collect::<Vec<_>>(), ["mqtt", "token"]);
    assert_eq!(
        secrets_of_operation(stop.forward.as_ref().unwrap()).into_iter().collect::<Vec<_>>(),
        ["token"]
    );
}

#[test]
fn a_required_variable_must_be_given() {
    let errors = read(FULL.as_bytes(), Required::MustBeGiven).unwrap_err();
    assert_eq!(errors.iter().map(|error| error.code).collect::<Vec<_>>(), ["missing-variable"]);
}

#[test]
fn the_recorded_form_comes_back_equal() {
    let definition = full().definition;
    let text = serde_json::to_string(&definition).unwrap();
    assert_eq!(serde_json::from_str::<Definition>(&text).unwrap(), *definition);
}

#[test]
fn fields_of_a_later_version_are_passed_over() {
    let definition = full().definition;
    let mut value = serde_json::to_value(&definition).unwrap();
    value["later"] = json!(1);
    value["steps"][0]["later"] = json!({ "a": [1] });
    value["steps"][0]["forward"]["later"] = json!(true);
    value["hosts"]["still-fawn"]["later"] = json!("x");
    value["steps"][2]["soak"]["later"] = json!(null);
    assert_eq!(serde_json::from_value::<Definition>(value).unwrap(), *definition);
}

#[test]
fn secrets_that_stand_in_the_plan_are_not_shown() {
    for lines in [
        "[secrets]\ntoken = \"hunter2\"",
        "[secrets]\ntoken = { value = \"hunter2\" }",
        "[secrets.token]\nvalue = \"hunter2\"",
        "[brokers.b]\nurl = \"mqtt://b\"\npassword = \"hunter2\"",
        "[brokers.b]\nurl = \"mqtt://b\"\npassword = 'hunter2-{{ vars.x }}'",
    ] {
        let text = format!("name = \"p\"\n{lines}\n");
        let errors = read(text.as_bytes(), Required::MustBeGiven).unwrap_err();
        assert!(!errors.to_string().contains("hunter2"), "{errors}");
        assert!(!serde_json::to_string(&errors).unwrap().contains("hunter2"));
    }
}

#[test]
fn ten_thousand_steps_are_read_in_time() {
    let mut text = "name = \"p\"\n[vars]\nx = 1\n".to_owned();
    for at in 0..10_000 {
        text.push_str(&format!(
            "[[step]]\nid = \"s{at}\"\nsummary = \"{{{{ vars.x }}}}\"\nforward = {{ action = \"command\", argv = \
             [\"run\", \"{{{{ vars.x }}}}\"], outputs = {{ o = \"text\" }} }}\ncompensate = \"nothing\"\n"
        ));
        if at > 0 {
            text.push_str("verify = [{ check = \"command\", argv = [\"{{ steps.s0.outputs.o }}\"] }]\n");
        }
    }
    let before = Instant::now();
    let loaded = load(&Request {
        path: "/p.toml",
        text: text.as_bytes(),
        vars: &[],
        var_files: &[],
        given: &std::collections::BTreeMap::new(),
        required: Required::MustBeGiven,
        read: &|_| Err(String::new()),
    });
    let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(loaded.definition.steps.len(), 10_000);
    // Far above what it takes; a quadratic step would pass it by far too.
    assert!(before.elapsed().as_secs() < 30, "it took {:?}", before.elapsed());
    println!("10,000 steps: {:?}", before.elapsed());
}

fn never_panics(text: &[u8]) {
    for required in [Required::MustBeGiven, Required::TakenAsPresent] {
        match read(text, required) {
            Ok(loaded) => {
                let outputs = BTreeMap::new();
                runner::plan::compare(&full().definition, &loaded.definition, &outputs, "house-1");
            }
            Err(errors) => {
                assert!(errors.iter().next().is_some());
                errors.render(true, 80);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        never_panics(&bytes);
    }

    #[test]
    fn random_text_never_panics(text in "[a-z\\[\\]{}=\"'%.#|\\-\n é0-9]{0,200}") {
        never_panics(text.as_bytes());
        never_panics(format!("name = \"p\"\n[[step]]\nid = \"a\"\nsummary = '''{text}'''\n").as_bytes());
    }

    #[test]
    fn mutated_plans_never_panic(
        edits in proptest::collection::vec((0..FULL.len(), 0..30_usize, "[a-z\\[\\]{}=\"'%.#|\\-\n ,é0-9]{0,6}"), 1..4)
    ) {
        let mut text = FULL.as_bytes().to_vec();
        for (at, length, insert) in edits {
            let at = at.min(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, insert.bytes());
        }
        never_panics(&text);
    }

    #[test]
    fn swapped_lines_never_panic(a in 0..90_usize, b in 0..90_usize) {
        let mut lines: Vec<&str> = FULL.lines().collect();
        let count = lines.len();
        lines.swap(a % count, b % count);
        never_panics(lines.join("\n").as_bytes());
    }
}
