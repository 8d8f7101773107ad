//! Goal: a name that is nearly right gets the right one back. Method: the binary from outside, with one letter wrong in
//! every kind of name.

use crate::worlds_support;

use worlds_support::*;

#[test]
fn did_you_mean() {
    let house = House::new();
    let vars = "[vars]\nfolder = \"/tmp\"\n[secrets]\ntoken = { env = \"T\" }\n[hosts.still-fawn]\naddress = \"x\"\n";
    house.plan("hello", &format!("{vars}{TWO}"));
    let with = |name: &str, lines: &str| house.plan(name, &format!("{vars}{TWO}{}", one(lines)));
    with("wrong-variable", r#"forward = { action = "command", argv = ["{{ vars.foldr }}"] }"#);
    with("wrong-root", r#"forward = { action = "command", argv = ["{{ var.folder }}", "{{ foldr }}"] }"#);
    with(
        "wrong-secret",
        r#"forward = { action = "command", argv = ["x"], env = { T = "{{ secrets.tokn }}" } }"#,
    );
    with("wrong-step", r#"forward = { action = "command", argv = ["{{ steps.tow.outputs.x }}"] }"#);
    with("wrong-host", r#"forward = { action = "ssh", host = "stil-fawn", argv = ["x"] }"#);
    with("wrong-action", r#"forward = { action = "comand", argv = ["x"] }"#);
    with("wrong-check", "forward = { action = \"command\", argv = [\"x\"] }\nverify = [{ check = \"shs\" }]");
    with("wrong-key", "forward = { action = \"command\", argv = [\"x\"] }\nverfiy = []");
    with("wrong-field", r#"forward = { action = "command", argv = ["x"], stdn = "" }"#);
    assert_eq!(house.run(&["apply", "plans/hello.toml"]).code, 0);
    for (name, words) in [
        ("run", &["status", "helo"][..]),
        ("number", &["events", "hello-7"]),
        ("nothing_like_it", &["status", "quite-another"]),
        ("step", &["rollback", "hello", "--to", "oen"]),
        ("step_resolve", &["resolve", "hello", "tow", "--as", "done"]),
        ("command", &["rolback"]),
        ("option", &["apply", "--new-rnu", "plans/hello.toml"]),
        ("var", &["apply", "plans/hello.toml", "--var", "foldr=x"]),
        ("variable", &["validate", "plans/wrong-variable.toml"]),
        ("root", &["validate", "plans/wrong-root.toml"]),
        ("secret", &["validate", "plans/wrong-secret.toml"]),
        ("needed_step", &["validate", "plans/wrong-step.toml"]),
        ("host", &["validate", "plans/wrong-host.toml"]),
        ("action", &["validate", "plans/wrong-action.toml"]),
        ("check", &["validate", "plans/wrong-check.toml"]),
        ("key", &["validate", "plans/wrong-key.toml"]),
        ("field", &["validate", "plans/wrong-field.toml"]),
    ] {
        let said = house.run(words);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
        let near = ["did you mean", "a similar "].iter().any(|hint| said.err.contains(hint));
        assert_eq!(near, name != "nothing_like_it", "{}", said.err);
        settings().bind(|| insta::assert_snapshot!(format!("near_{name}"), house.shown(&said)));
    }
}

#[test]
fn words_of_other_tools() {
    let house = House::new();
    house.plan("hello", TWO);
    for (name, words) in [
        ("run", &["run", "plans/hello.toml"][..]),
        ("undo", &["undo"]),
        ("list", &["ls"]),
        ("help", &["help", "apply"]),
        ("plan", &["plans/hello.toml"]),
        ("dry_run", &["apply", "plans/hello.toml", "--dry-run"]),
        ("no_plan", &["apply"]),
        ("other_plan", &["apply", "plans/helo.toml"]),
        ("plan_by_name", &["apply", "hello"]),
        ("folder", &["apply", "plans"]),
    ] {
        let said = house.run(words);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
        settings().bind(|| insta::assert_snapshot!(format!("elsewhere_{name}"), house.shown(&said)));
    }
}
