//! Goal: whatever is given as a plan or as arguments gets an answer that says what, where and what next, exits 2 and
//! leaves nothing behind. Method: the binary from outside; whole outputs as snapshots, to be read like prose.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of any test function")]

use crate::worlds_support;

use std::os::unix::fs::symlink;
use std::process::Command;

use worlds_support::*;

/// Applies and validates `plan`, which nobody could: the words once, the same from both, and no state folder.
#[track_caller]
fn refused(house: &House, name: &str, plan: &str) {
    let said = house.run(&["apply", plan]);
    assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
    assert_eq!(said, house.run(&["validate", plan]), "validate says the same");
    let json = house.run(&["--json", "apply", plan]);
    assert_eq!((json.code, &json.err), (2, &said.err));
    let objects = objects(&json.out);
    let last = objects.last().unwrap();
    assert_eq!((&last["type"], &last["code"]), (&"error".into(), &2.into()), "{last}");
    settings().bind(|| insta::assert_snapshot!(name, house.shown(&said)));
    assert!(!house.path.join("state").exists(), "nothing is made for a plan that is not one");
}

#[test]
fn what_is_not_a_plan() {
    let house = House::new();
    for (name, text) in [
        ("empty", &b""[..]),
        ("nul", b"\0\0\0"),
        ("utf16", b"\xff\xfen\0"),
        ("prose", b"please move my camera\n"),
        ("json", b"{\"name\": \"x\"}\n"),
        ("shape", b"\xef\xbb\xbfname = \"x\"\nsteps = 3\n"),
        ("escapes", b"name = \"x\x1b[31m\"\n"),
    ] {
        house.write(&format!("plans/{name}.toml"), text);
        refused(&house, name, &format!("plans/{name}.toml"));
    }
    // 100 MB of comments, of which no more is read than tells that it is too much.
    let file = std::fs::File::create(house.path.join("plans/big.toml")).unwrap();
    file.set_len(100_000_000).unwrap();
    refused(&house, "big", "plans/big.toml");
}

#[test]
fn what_is_not_a_file() {
    let house = House::new();
    std::fs::create_dir(house.path.join("plans/folder")).unwrap();
    symlink("gone.toml", house.path.join("plans/dangling")).unwrap();
    symlink("circle", house.path.join("plans/circle")).unwrap();
    // Nobody ever writes into it: opening it would wait for ever.
    assert!(Command::new("mkfifo").arg(house.path.join("plans/pipe")).status().unwrap().success());
    house.write("plans/file", "");
    for (name, plan) in [
        ("folder", "plans/folder"),
        ("dangling", "plans/dangling"),
        ("circle", "plans/circle"),
        ("pipe", "plans/pipe"),
        ("device", "/dev/zero"),
        ("missing", "plans/missing.toml"),
        ("through_a_file", "plans/file/x.toml"),
        ("name_that_acts", "plans/a\nb\u{1b}[31m.toml"),
    ] {
        refused(&house, name, plan);
    }
}

#[test]
fn a_plan_that_may_not_be_read() {
    let house = House::new();
    house.write("plans/secret.toml", "name = \"x\"\n");
    let said = as_nobody(&house, "chmod 000 plans/secret.toml", &["apply", "plans/secret.toml"]);
    let Some(said) = said else { return };
    assert_eq!(said.code, 2);
    settings().bind(|| insta::assert_snapshot!("unreadable", house.shown(&said)));
}

#[test]
fn plans_that_are_wrong() {
    let house = House::new();
    house.plan(
        "wrong",
        "paralelism = 2\n[[step]]\nid = \"a\"\nneeds = [\"b\"]\nforward = { action = \"command\", argv = [\"{{ vars.x }}\"] }\n",
    );
    refused(&house, "wrong", "plans/wrong.toml");
    let objects = objects(&house.run(&["--json", "validate", "plans/wrong.toml"]).out);
    assert!(objects.len() > 4, "every problem is an object: {objects:#?}");
    // One that is fine beside it is still looked at.
    house.plan("fine", TWO);
    let said = house.run(&["validate", "plans/wrong.toml", "plans/fine.toml"]);
    assert_eq!((said.code, said.out.as_str()), (2, "plans/fine.toml: valid, 2 steps\n"));
}

#[test]
fn variables() {
    let house = House::new();
    house.plan("v", &format!("[vars]\nport = 80\nsite = {{ required = \"string\" }}\n{TWO}"));
    house.write("plans/vars.toml", "prot = 1\n");
    let big = std::fs::File::create(house.path.join("big.toml")).unwrap();
    big.set_len(5 << 20).unwrap();
    for (name, words) in [
        ("var_missing", &["apply", "plans/v.toml"][..]),
        ("var_type", &["apply", "plans/v.toml", "--var", "port=many", "--var", "site=x"]),
        ("var_unknown", &["apply", "plans/v.toml", "--var", "prot=1", "--var", "site=x"]),
        ("var_form", &["apply", "plans/v.toml", "--var", "site"]),
        ("var_file_unknown", &["apply", "plans/v.toml", "--var-file", "plans/vars.toml", "--var", "site=x"]),
        ("var_file_missing", &["apply", "plans/v.toml", "--var-file", "nothing.toml"]),
        ("var_file_big", &["apply", "plans/v.toml", "--var-file", "big.toml"]),
    ] {
        let said = house.run(words);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
        settings().bind(|| insta::assert_snapshot!(name, house.shown(&said)));
    }
    assert!(!house.path.join("state").exists());
    // A plan alone can be valid without what only a run must be given.
    assert_eq!(house.run(&["validate", "plans/v.toml"]).code, 0);
}

#[test]
fn arguments() {
    let house = House::new();
    for (name, words) in [
        ("no_command", &[][..]),
        ("no_plan", &["apply"]),
        ("wrong_command", &["aply", "x"]),
        ("wrong_flag", &["apply", "--wiat", "x"]),
        ("both_waits", &["apply", "x", "--wait", "--no-wait"]),
        ("wrong_step", &["resolve", "x", "No Step", "--as", "done"]),
        ("argument_that_acts", &["\u{1b}[31mapply"]),
    ] {
        let said = house.run(words);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
        settings().bind(|| insta::assert_snapshot!(name, house.shown(&said)));
        let json = house.run(&[&["--json"], words].concat());
        assert_eq!((json.code, json.err.is_empty()), (2, false));
        assert_eq!(
            objects(&json.out).last().map(|last| last["type"].clone()),
            Some("error".into()),
            "{name}"
        );
    }
    for line in [r#"$R status "$(printf '\xff')""#, r#"$R apply plans/x.toml --var "$(printf 'a=\xff')""#] {
        let said = house.shell(line);
        assert_eq!(said.code, 2);
        assert!(said.err.starts_with("error: invalid UTF-8"), "{}", said.err);
    }
    let said = house.shell(r#"$R apply "$(printf 'plans/\xff.toml')" 2>&1 | cat -v"#);
    assert!(said.out.contains("there is no plan"), "{}", said.out);
}
