//! Goal: the commands that look and explain say what is so, and change nothing. Method: the binary from outside, real
//! journals, and the folder compared before and after.

use crate::worlds_support;

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use worlds_support::*;

/// A step with a probe, a step that cannot be known before it, a gate, a soak and a point of no return.
const LEDGER: &str = r#"
[vars]
clean = false

[[step]]
id = "make"
summary = "Make the mark"
forward = { action = "command", script = "echo here > ../mark; cat ../mark", outputs = { text = "text" } }
probe = { check = "command", script = "cat ../mark 2>/dev/null", outputs = { text = "text" } }
compensate = { action = "command", argv = ["rm", "-f", "../mark"] }

[[step]]
id = "use"
forward = { action = "command", argv = ["true"] }
probe = { check = "command", argv = ["test", "-e", "../{{ steps.make.outputs.text }}"] }
compensate = "nothing"

[[step]]
id = "clean"
when = "{{ vars.clean }}"
forward = { action = "command", argv = ["true"] }
compensate = "nothing"

[[step]]
id = "watch"
soak = { for = "3h", every = "5m" }
verify = [{ check = "command", argv = ["true"] }]

[[step]]
id = "announce"
approve = "Send the mail?"
forward = { action = "command", argv = ["true"] }
irreversible = "the mail is out"
"#;

/// What a plan and its journal hold, as far as a look may not change it.
fn everything(house: &House) -> (Said, Said, Vec<(std::path::PathBuf, Vec<u8>)>) {
    let bodies =
        if house.path.join("state/bodies").exists() { house.tree("state/bodies") } else { Vec::new() };
    let files = bodies.into_iter().chain(house.tree("plans")).map(|(path, _, _, bytes)| (path, bytes));
    (house.run(&["--json", "events"]), house.run(&["--json", "runs"]), files.collect())
}

#[test]
fn a_plan_makes_no_journal_and_opens_no_run() {
    let house = House::new();
    house.plan("p", LEDGER);
    let before = house.tree(".");
    let said = house.run(&["plan", "plans/p.toml"]);
    assert_eq!(said.code, 0, "{said:?}");
    settings().bind(|| insta::assert_snapshot!("plan_new", house.shown(&said)));
    assert_eq!(house.run(&["plan", "plans/p.toml", "--detailed-exitcode"]).code, 10);
    assert_eq!(
        objects(&house.run(&["--json", "plan", "plans/p.toml"]).out)[0]["point_of_no_return"],
        "announce"
    );
    assert_eq!(house.run(&["doctor", "plans/p.toml"]).code, 0);
    assert_eq!(house.run(&["graph", "plans/p.toml"]).code, 0);
    assert_eq!(house.tree("."), before, "a look has left something");
}

#[test]
fn a_plan_of_an_open_run_says_what_is_left() {
    let house = House::new();
    house.plan("p", LEDGER);
    house.write("mark", "here\n");
    assert_eq!(house.run(&["apply", "plans/p.toml", "--no-wait"]).code, 4);
    let before = everything(&house);
    let said = house.run(&["plan", "plans/p.toml"]);
    settings().bind(|| insta::assert_snapshot!("plan_open", house.shown(&said)));
    assert_eq!(said.code, 0);
    assert_eq!(everything(&house), before);
}

#[test]
fn an_edited_plan_is_shown_before_it_is_taken_and_a_refused_one_exits_2() {
    let house = House::new();
    let failing = TWO.replace("echo two >> ../log", "exit 3");
    house.plan("p", &failing);
    assert_eq!(house.run(&["apply", "plans/p.toml"]).code, 3);
    house.plan("p", TWO);
    let before = everything(&house);
    let said = house.run(&["plan", "plans/p.toml", "--detailed-exitcode"]);
    settings().bind(|| insta::assert_snapshot!("plan_amended", house.shown(&said)));
    assert_eq!(said.code, 10);
    house.plan("p", &TWO.replace("echo one", "echo other"));
    let said = house.run(&["plan", "plans/p.toml"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("-") && said.err.contains("other"), "{}", said.err);
    house.plan("p", TWO);
    assert_eq!(everything(&house).0, before.0);
}

/// A plan whose step runs a script of its own and has a probe and a secret.
const SAVED: &str = r#"
[vars]
word = "a"

[secrets]
token = { env = "TOKEN" }

[[step]]
id = "it"
forward = { action = "command", script_file = "it.sh", env = { T = "{{ secrets.token }}", W = "{{ vars.word }}" } }
probe = { check = "command", argv = ["test", "-e", "../made"] }
compensate = "nothing"
"#;

/// A saved plan in a house where the token is `hunter2-hunter2`.
fn saved() -> House {
    let house = House::new();
    house.write("plans/it.sh", "echo $W >> ../log\n");
    house.plan("p", SAVED);
    let said = said(with_token(&house, &["plan", "plans/p.toml", "--var", "word=b", "--out", "out.plan"]));
    assert_eq!(said.code, 0, "{said:?}");
    house
}

fn with_token(house: &House, words: &[&str]) -> std::process::Output {
    house.runner(words).env("TOKEN", "hunter2-hunter2").output().expect("the binary runs")
}

#[test]
fn a_saved_plan_is_run_exactly() {
    let house = saved();
    let mode = std::fs::metadata(house.path.join("out.plan")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!house.read("out.plan").contains("hunter2"));
    let applied = said(with_token(&house, &["apply", "out.plan"]));
    assert_eq!(applied.code, 0, "{applied:?}");
    assert_eq!(house.read("log"), "b\n", "the variables are those that were given to `plan`");
    let given = said(with_token(&house, &["apply", "out.plan", "--var", "word=c"]));
    assert_eq!(given.code, 2, "{given:?}");
}

#[test]
fn a_saved_plan_is_refused_with_what_moved() {
    type Move<'a> = (&'a str, &'a dyn Fn(&House));
    let moves: [Move<'_>; 4] = [
        ("world", &|house| drop(house.write("made", ""))),
        ("file", &|house| drop(house.write("plans/it.sh", "echo other >> ../log\n"))),
        ("plan", &|house| house.plan("p", &SAVED.replace("\"a\"", "\"a\"\nmore = 1"))),
        ("run", &|house| {
            house.write("plans/it.sh", "exit 1\n");
            assert_eq!(said(with_token(house, &["apply", "plans/p.toml", "--var", "word=b"])).code, 3);
            house.write("plans/it.sh", "echo $W >> ../log\n");
        }),
    ];
    for (name, change) in moves {
        let house = saved();
        change(&house);
        let refused = said(with_token(&house, &["apply", "out.plan"]));
        assert_eq!(refused.code, 2, "{name}: {refused:?}");
        assert_eq!(house.read("log"), "", "{name}");
        settings().bind(|| insta::assert_snapshot!(format!("saved_{name}_moved"), house.shown(&refused)));
    }
    let house = saved();
    house.write("out.plan", "{\"runner_saved_plan\":1,\"nonsense\":2}");
    assert_eq!(said(with_token(&house, &["apply", "out.plan"])).code, 2);
}

/// Two finished things that can be taken away, and one that cannot be looked at.
const GOALS: &str = r#"
[[step]]
id = "kept"
forward = { action = "command", argv = ["touch", "../kept"] }
verify = [{ check = "command", argv = ["test", "-e", "../kept"] }]
compensate = { action = "command", argv = ["rm", "-f", "../kept"] }

[[step]]
id = "lost"
forward = { action = "command", argv = ["touch", "../lost"] }
probe = { check = "command", argv = ["test", "-e", "../lost"] }
compensate = { action = "command", argv = ["rm", "-f", "../lost"] }

[[step]]
id = "far"
forward = { action = "command", argv = ["true"] }
verify = [{ check = "command", script = "test ! -e ../cut || exit 99" }]
compensate = "nothing"

[[step]]
id = "blind"
forward = { action = "command", argv = ["true"] }
compensate = "nothing"
"#;

#[test]
fn drift_tells_gone_from_not_looked() {
    let house = House::new();
    house.plan("p", GOALS);
    assert_eq!(house.run(&["apply", "plans/p.toml"]).code, 0);
    std::fs::remove_file(house.path.join("lost")).unwrap();
    house.write("cut", "");
    let before = everything(&house);
    let text = house.run(&["drift"]);
    assert_eq!(text.code, 0);
    settings().bind(|| insta::assert_snapshot!("drift", house.shown(&text)));
    let object = objects(&house.run(&["--json", "drift", "p"]).out).remove(0);
    let words: Vec<&str> =
        object["steps"].as_array().unwrap().iter().map(|step| step["drift"].as_str().unwrap()).collect();
    assert_eq!(words, ["holds", "drifted", "not_looked", "no_check"]);
    // A finished, unchanged plan says the same, and does nothing about it.
    let again = house.run(&["apply", "plans/p.toml"]);
    assert_eq!(again.code, 0);
    assert!(again.out.contains("1 drifted, 1 as it was left, 1 not looked at"), "{}", again.out);
    assert!(!house.path.join("lost").exists());
    assert_eq!(everything(&house), before);
    assert_eq!(house.run(&["drift", "nothing"]).code, 2);
}

#[test]
fn a_check_that_hangs_is_not_looked() {
    let house = House::new();
    house.plan("p", &one("forward = { action = \"command\", argv = [\"true\"] }\nverify = [{ check = \"command\", script = \"test ! -e ../hang || sleep 600\" }]"));
    assert_eq!(house.run(&["apply", "plans/p.toml"]).code, 0);
    house.write("hang", "");
    let began = std::time::Instant::now();
    let said = house.run(&["--json", "drift"]);
    assert_eq!(objects(&said.out)[0]["steps"][0]["drift"], "not_looked", "{said:?}");
    // A limit against hanging, ten times of what it takes.
    assert!(began.elapsed().as_secs() < 70);
}

#[test]
fn a_halted_run_says_what_each_system_looks_like() {
    let house = House::new();
    let fails = GOALS.replace(
        "id = \"blind\"\nforward = { action = \"command\", argv = [\"true\"] }",
        "id = \"blind\"\nforward = { action = \"command\", script = \"echo so far; exit 7\" }",
    );
    house.plan("p", &fails);
    let said = house.run(&["apply", "plans/p.toml"]);
    assert_eq!(said.code, 3);
    settings().bind(|| insta::assert_snapshot!("halted_systems", house.shown(&said)));
    let again = house.run(&["--json", "apply", "plans/p.toml"]);
    let systems = objects(&again.out).into_iter().find(|object| object["type"] == "systems").unwrap();
    assert_eq!(systems["systems"][0]["place"], "this machine");
    // `status` shows what was recorded, and looks at nothing.
    std::fs::remove_file(house.path.join("kept")).unwrap();
    assert!(!house.run(&["status"]).out.contains("looks like now"));
}

#[test]
fn why_a_step_is_what_it_is() {
    let house = House::new();
    house.plan(
        "p",
        &GOALS.replace("argv = [\"touch\", \"../lost\"]", "script = \"echo no room >&2; exit 7\""),
    );
    assert_eq!(house.run(&["apply", "plans/p.toml"]).code, 3);
    let failed = house.run(&["why", "lost"]);
    settings().bind(|| insta::assert_snapshot!("why_failed", house.shown(&failed)));
    let waits = house.run(&["why", "p-1", "far"]);
    settings().bind(|| insta::assert_snapshot!("why_waits", house.shown(&waits)));
    let object = objects(&house.run(&["--json", "why", "p", "lost"]).out).remove(0);
    assert_eq!(object["status"], "failed");
    assert!(object["events"].as_array().unwrap().iter().any(|event| event["event"] == "attempt_failed"));
    assert_eq!(house.run(&["why", "nowhere"]).code, 2);
}

#[test]
fn a_rollback_that_is_only_shown() {
    let house = House::new();
    house.write("mark", "here\n");
    house.plan("p", LEDGER);
    assert_eq!(house.run(&["apply", "plans/p.toml", "--no-wait"]).code, 4);
    let before = everything(&house);
    let said = house.run(&["rollback", "--dry-run"]);
    assert_eq!(said.code, 0);
    settings().bind(|| insta::assert_snapshot!("dry_run", house.shown(&said)));
    assert_eq!(everything(&house), before);
    let house = House::new();
    house.plan("two", TWO);
    assert_eq!(house.run(&["apply", "plans/two.toml"]).code, 0);
    let object = objects(&house.run(&["--json", "rollback", "--dry-run", "--to", "one"]).out).remove(0);
    assert_eq!(object["undo"][0]["step"], "two");
    assert_eq!(house.run(&["rollback", "--dry-run", "--to", "nowhere"]).code, 2);
    assert_eq!(house.read("log"), "one\ntwo\n");
    // What would refuse the rollback refuses the show, and nothing is asked of anybody.
    std::fs::rename(house.path.join("plans"), house.path.join("moved")).unwrap();
    let gone = house.run(&["rollback", "--dry-run"]);
    assert_eq!(gone.code, 2);
    settings().bind(|| insta::assert_snapshot!("dry_run_refused", house.shown(&gone)));
}

#[test]
fn doctor_says_what_is_wrong_and_what_to_do() {
    let house = House::new();
    let token = house.write("token", "hunter2-hunter2\n");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    house.plan("p", &format!(r#"
[secrets]
open = {{ file = "{}" }}
unset = {{ env = "NOT_SET" }}
[hosts.far]
address = "me@127.0.0.1"
port = 1
[[step]]
id = "a"
forward = {{ action = "command", argv = ["no-such-program"], env = {{ A = "{{{{ secrets.open }}}}", B = "{{{{ secrets.unset }}}}" }} }}
compensate = "nothing"
[[step]]
id = "b"
forward = {{ action = "ssh", host = "far", argv = ["true"] }}
compensate = "nothing"
"#, token.display()));
    let before = house.tree(".");
    let said = house.run(&["doctor", "plans/p.toml"]);
    assert_eq!(said.code, 2, "{said:?}");
    for part in [
        "problem  secret `open`",
        "chmod 600",
        "problem  secret `unset`",
        "problem  program `no-such-program`",
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    if house.shell("command -v ssh").code == 0 {
        assert!(said.out.contains("problem  host `far`"), "{}", said.out);
        assert_eq!(house.tree("."), before);
    } else {
        skipped("there is no ssh");
    }
    assert_eq!(house.run(&["doctor", "plans/p.toml", "--rollback"]).code, 2, "there is no run");
    house.plan("two", TWO);
    assert_eq!(house.run(&["apply", "plans/two.toml"]).code, 0);
    assert_eq!(house.run(&["doctor", "plans/two.toml", "--rollback"]).code, 0);
}

#[test]
fn they_answer_beside_a_holder() {
    let house = House::new();
    house.plan("p", &format!("{TWO}\n[[step]]\nid = \"ask\"\napprove = \"Go on?\"\nforward = {{ action = \"command\", argv = [\"true\"] }}\ncompensate = \"nothing\"\n"));
    let mut holder = house
        .runner(&["apply", "plans/p.toml", "--wait"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !house.run(&["status"]).out.contains("awaiting_approval") {
        assert!(std::time::Instant::now() < limit, "it never came to its gate");
    }
    let words: [&[&str]; 6] = [
        &["plan", "plans/p.toml"],
        &["drift"],
        &["why", "ask"],
        &["rollback", "--dry-run"],
        &["doctor", "plans/p.toml"],
        &["runs", "verify"],
    ];
    let said: Vec<Said> = words.iter().map(|words| house.run(words)).collect();
    rustix::process::kill_process(rustix::process::Pid::from_child(&holder), rustix::process::Signal::TERM)
        .unwrap();
    holder.wait().unwrap();
    for (words, said) in words.iter().zip(said) {
        assert_eq!(said.code, 0, "{words:?}: {said:?}");
        let alone = house.run(words);
        // What the holder's end recorded since is no part of it.
        if words[0] != "plan" && words[0] != "runs" && words[0] != "why" {
            assert_eq!(said.out, alone.out, "{words:?}");
        }
    }
}

#[test]
fn verify_finds_a_content_that_is_another() {
    let house = saved();
    assert_eq!(said(with_token(&house, &["apply", "out.plan"])).code, 0);
    let whole = house.run(&["runs", "verify"]);
    assert_eq!(whole.code, 0);
    settings().bind(|| insta::assert_snapshot!("verify_whole", house.shown(&whole)));
    let body = std::fs::read_dir(house.path.join("state/bodies")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(&body, "other").unwrap();
    let damaged = house.run(&["runs", "verify"]);
    assert_eq!(damaged.code, 1, "{damaged:?}");
    assert!(damaged.out.contains("damaged  p-1: event 1 names"), "{}", damaged.out);
}

/// The plan that ships, on a folder of the house.
fn files(house: &House) -> String {
    let plans = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/file.toml");
    std::fs::copy(plans, house.path.join("plans/file.toml")).expect("the plan that ships is there");
    format!("folder={}/out", house.path.display())
}

#[test]
fn the_own_probe_of_an_action_is_looked_at() {
    let house = House::new();
    let folder = files(&house);
    let plan = |words: &[&str]| {
        let said = house.run(&[&["--json", "plan", "plans/file.toml", "--var", &folder][..], words].concat());
        assert_eq!(said.code, 0, "{said:?}");
        objects(&said.out).remove(0)
    };
    let does = |ahead: &serde_json::Value| -> Vec<String> {
        let steps = ahead["steps"].as_array().unwrap().iter();
        steps.map(|step| step["does"].as_str().unwrap().to_owned()).collect()
    };
    let ahead = plan(&[]);
    assert_eq!(does(&ahead), ["run", "run"], "{ahead}");
    assert_eq!(ahead["looked"][0]["answer"]["verdict"], "absent", "{ahead}");
    assert!(ahead["looked"][0]["check"].as_str().unwrap().contains("/out/motd"), "{ahead}");
    assert_eq!(house.run(&["apply", "plans/file.toml", "--var", &folder]).code, 0);
    assert_eq!(does(&plan(&[])), ["done", "done"]);
    // A run that begins anew finds its goals reached.
    assert_eq!(does(&plan(&["--new-run"])), ["satisfied", "satisfied"]);
    let drift = || objects(&house.run(&["--json", "drift"]).out).remove(0);
    assert_eq!(drift()["steps"][0]["drift"], "holds", "{}", drift());
    house.write("out/motd", "something else\n");
    let found = drift();
    assert_eq!(
        (&found["steps"][0]["drift"], &found["steps"][1]["drift"]),
        (&"drifted".into(), &"drifted".into())
    );
    assert_eq!(found["steps"][0]["looked"][0]["purpose"], "probe", "{found}");
    assert_eq!(does(&plan(&["--new-run"])), ["run", "satisfied"]);
}

/// Two steps that write the same file, the later one on purpose.
const REPLACED: &str = r#"
[[step]]
id = "draft"
forward = { action = "file", path = "../it", content = "draft" }

[[step]]
id = "final"
forward = { action = "file", path = "../it", content = "final" }

[[step]]
id = "other"
forward = { action = "file", path = "../other", content = "other" }
"#;

#[test]
fn what_a_later_step_changed_on_purpose_has_not_drifted() {
    let house = House::new();
    house.plan("p", REPLACED);
    assert_eq!(house.run(&["apply", "plans/p.toml"]).code, 0);
    let drift = || {
        let found = objects(&house.run(&["--json", "drift"]).out).remove(0);
        let steps = found["steps"].as_array().unwrap().iter();
        steps.map(|step| step["drift"].as_str().unwrap().to_owned()).collect::<Vec<String>>()
    };
    assert_eq!(drift(), ["replaced", "holds", "holds"]);
    let text = house.run(&["drift"]).out;
    assert!(text.contains("1 replaced on purpose") && text.contains("by step `final`"), "{text}");
    house.write("it", "neither");
    assert_eq!(drift(), ["replaced", "drifted", "holds"], "the last one that wrote it answers for it");
}

/// A resource that changes hands.
const HANDS: &str = r#"
[secrets]
token = { env = "NOBODY_SET_THIS" }

[resources."door"]
owners = ["old", "new"]
held_at_start = "old"
gone.old = [{ check = "command", argv = ["true"] }]
gone.new = [{ check = "command", argv = ["true"] }]

[[step]]
id = "close"
frees = { door = "old" }
forward = { action = "command", argv = ["true"], env = { T = "{{ secrets.token }}" } }
compensate = "nothing"

[[step]]
id = "open"
takes = { door = "new" }
forward = { action = "command", argv = ["true"] }
compensate = "nothing"
"#;

#[test]
fn a_plan_foresees_waits_for_resources_and_missing_secrets() {
    let house = House::new();
    house.plan("p", HANDS);
    let said = house.run(&["plan", "plans/p.toml"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.out.contains(
            "takes `door` as `new`; waits until step `close` has made `old` let go and is seen to be gone"
        ),
        "{}",
        said.out
    );
    assert!(
        said.out.contains("Secrets that are missing") && said.out.contains("NOBODY_SET_THIS"),
        "{}",
        said.out
    );
    let ahead = objects(&house.run(&["--json", "plan", "plans/p.toml"]).out).remove(0);
    assert_eq!(ahead["secrets_missing"][0]["name"], "token");
    assert_eq!(ahead["steps"][1]["takes"][0]["others"][0]["freed_by"], "close");
    assert_eq!(house.run(&["apply", "plans/p.toml"]).code, 2);
}

#[test]
fn a_plan_of_a_new_run_is_saved_as_one() {
    let house = House::new();
    house.plan("p", TWO);
    assert_eq!(house.run(&["apply", "plans/p.toml", "--until", "one"]).code, 0);
    let open = house.run(&["plan", "plans/p.toml", "--new-run"]);
    assert_eq!(open.code, 2, "{open:?}");
    assert!(open.err.contains("still open"), "{}", open.err);
    assert_eq!(house.run(&["apply", "plans/p.toml"]).code, 0);
    assert_eq!(house.run(&["plan", "plans/p.toml", "--out", "old.plan"]).code, 0);
    assert_eq!(house.run(&["apply", "old.plan", "--new-run"]).code, 2);
    for name in ["a.plan", "b.plan"] {
        assert_eq!(house.run(&["plan", "plans/p.toml", "--new-run", "--out", name]).code, 0);
    }
    assert_eq!(house.run(&["apply", "a.plan"]).code, 0);
    assert_eq!(house.read("log"), "one\ntwo\none\ntwo\n");
    let stale = house.run(&["apply", "b.plan"]);
    assert_eq!(stale.code, 2, "{stale:?}");
    assert!(stale.err.contains("p-1") && stale.err.contains("p-2"), "{}", stale.err);
}

#[test]
fn a_cancelled_or_failing_way_back_shows_what_each_system_looks_like_now() {
    let house = House::new();
    let gate = "approve = \"Go on?\"\nforward = { action = \"command\", argv = [\"true\"] }\ncompensate = \"nothing\"\n";
    let looked =
        "[[step]]\nid = \"it\"\nforward = { action = \"file\", path = \"../it\", content = \"it\" }\n";
    house.plan("c", &format!("{looked}[[step]]\nid = \"gate\"\n{gate}"));
    assert_eq!(house.run(&["apply", "plans/c.toml"]).code, 4);
    let said = house.run(&["cancel", "c"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(
        said.out.contains("What each system looks like now") && said.out.contains("/it: holds"),
        "{}",
        said.out
    );
    let said = objects(&house.run(&["--json", "cancel", "c"]).out);
    assert_eq!((&said[0]["type"], &said[0]["changed"]), (&"recorded".into(), &false.into()));

    let failing = "[[step]]\nid = \"it\"\nforward = { action = \"command\", argv = [\"true\"] }\n\
        probe = { check = \"command\", argv = [\"test\", \"-e\", \"../made\"] }\n\
        compensate = { action = \"command\", argv = [\"false\"] }\n";
    house.plan("r", failing);
    assert_eq!(house.run(&["apply", "plans/r.toml"]).code, 0);
    let said = house.run(&["rollback", "r", "-y"]);
    assert_eq!(said.code, 6, "{said:?}");
    assert!(said.out.contains("What each system looks like now"), "{}", said.out);
}
