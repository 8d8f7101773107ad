//! Goal: whatever a command does, the run ends in a documented way and says what happened, and nothing that the
//! command wrote acts on a terminal or breaks a JSON line. Method: the binary from outside, whole outputs as snapshots.

use crate::worlds_support;

use std::os::unix::fs::PermissionsExt;

use worlds_support::*;

#[track_caller]
fn applied(house: &House, name: &str, code: i32, lines: &str) -> Said {
    house.plan(name, &one(lines));
    let said = house.run(&["apply", &format!("plans/{name}.toml")]);
    assert_eq!(said.code, code, "{said:?}");
    settings().bind(|| insta::assert_snapshot!(format!("command_{name}"), house.shown(&said)));
    said
}

#[test]
fn commands_that_cannot_start() {
    let house = House::new();
    applied(&house, "not-found", 3, r#"forward = { action = "command", argv = ["no-such-program"] }"#);
    house.write("plans/text.txt", "hello\n");
    applied(&house, "not-executable", 3, r#"forward = { action = "command", argv = ["./text.txt"] }"#);
    let script = house.write("plans/lost.sh", "#!/no/such/interpreter\n");
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).unwrap();
    applied(&house, "no-interpreter", 3, r#"forward = { action = "command", argv = ["./lost.sh"] }"#);
    applied(&house, "no-cwd", 3, r#"forward = { action = "command", argv = ["true"], cwd = "/no/such" }"#);
    applied(&house, "a-folder", 3, r#"forward = { action = "command", argv = ["/usr"] }"#);
}

#[test]
fn commands_that_end_badly() {
    let house = House::new();
    applied(&house, "killed", 3, r#"forward = { action = "command", script = "kill -9 $$" }"#);
    applied(
        &house,
        "seven",
        3,
        "forward = { action = \"command\", script = \"echo so far; echo no >&2; exit 7\" }",
    );
    let ignores = r#"timeout = "1s"
forward = { action = "command", script = "trap '' TERM; echo I stay; while :; do sleep 0.1; done" }"#;
    applied(&house, "ignores-term", 6, ignores);
    // Whoever reads only the status later is told the same.
    let status = house.run(&["status", "ignores-term"]);
    settings().bind(|| insta::assert_snapshot!("status_ignores_term", house.shown(&status)));
}

#[test]
fn what_a_command_writes_does_nothing() {
    let house = House::new();
    let script = r#"forward = { action = "command", script = '''
printf 'a\377\376b\033[31mred\033]0;title\007\tt\r\n\342\200\256rtl\n'; printf 'bad \033[2J\n' >&2; exit 3''' }"#;
    applied(&house, "escapes", 3, script);
    let events = house.run(&["--json", "events"]);
    let objects = objects(&events.out);
    let failed = objects.iter().find(|event| event["event"] == "attempt_failed").unwrap();
    let acts = |c: char| c.is_control() && c != '\n' && c != '\t';
    assert!(!failed["trace"]["tail"].as_str().unwrap().contains(acts), "{failed}");
    assert!(!events.out.contains('\u{202e}'));
}

#[test]
fn a_flood_ends_in_a_file() {
    let house = House::new();
    let flood = "head -c 1000000000 /dev/zero | tr '\\\\0' 'x' | fold -w 99";
    house.plan("flood", &one(&format!("forward = {{ action = \"command\", script = \"{flood}\" }}")));
    let said = house.run(&["apply", "plans/flood.toml"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.len() < 10_000);
    let log = house.path.join("state/logs/flood-1/it-forward-1.log");
    assert!(std::fs::metadata(&log).unwrap().len() >= 1_000_000_000, "all of it is in the log");
    let events = house.run(&["events"]);
    assert!(events.out.contains("logs/flood-1/it-forward-1.log"), "{}", events.out);
}

#[test]
fn a_child_left_behind_is_named_and_left_alone() {
    let house = House::new();
    // The step ends once the child is `sleep`: until then it still has the name of the shell that it was forked from.
    let script = "sleep 30 & echo $! > ../child; until grep -q sleep /proc/$!/comm; do :; done";
    let said =
        applied(&house, "left", 0, &format!("forward = {{ action = \"command\", script = \"{script}\" }}"));
    let child = house.read("child").trim().to_owned();
    assert!(said.out.contains(&format!("still running, left alone: sleep ({child})")), "{}", said.out);
    let alive = std::path::Path::new("/proc").join(&child).exists();
    assert_eq!(house.shell(&format!("kill {child}")).code, 0);
    assert!(alive);
    let events = objects(&house.run(&["--json", "events"]).out);
    let acted = events.iter().find(|event| event["event"] == "acted").unwrap();
    assert_eq!(acted["trace"]["left_running"][0]["pid"].to_string(), child, "{acted}");
}

#[test]
fn streams_that_are_closed_or_full() {
    let house = House::new();
    house.plan("p", TWO);
    // What the run came to does not depend on who reads.
    for (at, streams) in
        ["| head -1", "| true", ">&-", "2>&-", ">&- 2>&- <&-", ">/dev/full", "<&-"].iter().enumerate()
    {
        let said =
            house.shell(&format!("$R apply plans/p.toml --new-run {streams}; exit ${{PIPESTATUS[0]}}"));
        assert_eq!(said.code, 0, "{streams}: {said:?}");
        assert_eq!(house.read("log").lines().count(), 2 * (at + 1), "{streams}");
    }
    for command in ["status", "runs", "events", "--json events", "--help", "validate plans/p.toml"] {
        for streams in ["| true", ">&-", ">&- 2>&-"] {
            let said = house.shell(&format!("$R {command} {streams}; exit ${{PIPESTATUS[0]}}"));
            assert_eq!((said.code, said.err.as_str()), (0, ""), "{command} {streams}: {said:?}");
        }
    }
    // An answer that is cut short by a full disk is not taken for the whole of it.
    let said = house.shell("$R --json events > /dev/full");
    assert_eq!(said.code, 1);
    settings().bind(|| insta::assert_snapshot!("answer_lost", house.shown(&said)));
}

#[test]
fn colours_are_asked_for() {
    let house = House::new();
    house.plan("p", TWO);
    let escapes = |line: &str| house.shell(&format!("{line} | grep -c $'\\033'")).out.trim() != "0";
    assert!(!escapes("$R apply plans/p.toml"));
    assert!(!escapes("$R status"));
    assert!(escapes("$R --color always status"));
    assert!(!escapes("$R --color never status"));
    assert!(!escapes("$R --color always --json status"));
    assert!(escapes("$R --color always status nothing 2>&1"));
    assert!(!escapes("$R status nothing 2>&1"));
}

#[test]
fn a_terminal_of_any_size() {
    let house = House::new();
    house.plan("p", TWO);
    if house.shell("command -v script").code != 0 {
        skipped("there is no `script` to make a terminal with");
        return;
    }
    for (at, (columns, rows)) in [(1, 1), (20, 5), (80, 24), (200, 50)].into_iter().enumerate() {
        let line = format!("stty cols {columns} rows {rows}; $R apply plans/p.toml --new-run; echo exit $?");
        let said = house.shell(&format!("TERM=xterm script -qec '{line}' /dev/null | cat -v | tr -d '\\r'"));
        assert!(said.out.contains("exit 0"), "{columns}: {}", said.out);
        assert_eq!(house.read("log").lines().count(), 2 * (at + 1));
    }
    let dumb = house.shell("TERM=dumb script -qec '$R status' /dev/null | cat -v");
    assert!(dumb.out.contains("complete") && !dumb.out.contains("^["), "{}", dumb.out);
    for (name, columns, variables) in
        [("terminal_80", 80, "NO_COLOR=1"), ("terminal_200", 200, "NO_COLOR=1"), ("terminal_colour", 80, "")]
    {
        let line = format!("stty cols {columns} rows 24; {variables} $R status");
        let said = house.shell(&format!(
            "TERM=xterm script -qec '{line}' /dev/null | sed -e 's/\\x1b/<ESC>/g' -e 's/\\r//'"
        ));
        assert_eq!(said.out.contains("<ESC>"), variables.is_empty(), "{}", said.out);
        settings().bind(|| insta::assert_snapshot!(name, house.shown(&said)));
    }
}

#[test]
fn an_environment_with_nothing_in_it() {
    let house = House::new();
    house.plan("p", TWO);
    let said = house.shell("env -i $R apply plans/p.toml && env -i $R rollback");
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("by uid "), "{}", said.out);
    house.plan("s", &format!("[secrets]\nt = {{ file = \"~/token\" }}\nu = {{ env = \"TOKEN\" }}\n{}", one(
        "forward = { action = \"command\", argv = [\"true\"], env = { T = \"{{ secrets.t }}\", U = \"{{ secrets.u }}\" } }")));
    let said = house.shell("env -i $R apply plans/s.toml");
    assert_eq!(said.code, 2);
    settings().bind(|| insta::assert_snapshot!("secrets_missing", house.shown(&said)));
}
