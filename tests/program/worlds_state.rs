//! Goal: a state folder that cannot be used as it is, or is used by somebody else, is never made worse, and the answer
//! says how to go on. Method: the binary from outside, the folder's bytes before and after, whole outputs as snapshots.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of any test function")]

use crate::worlds_support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use worlds_support::*;

/// A house in which `plans/p.toml` was applied.
fn lived_in() -> House {
    let house = House::new();
    house.plan("p", TWO);
    assert_eq!(house.run(&["apply", "plans/p.toml"]).code, 0);
    house
}

/// Every command says the same, with this code, and the folder is not touched.
#[track_caller]
fn all_refuse(house: &House, name: &str, code: i32) {
    let before = house.tree("state");
    let log = house.read("log");
    let said = house.run(&["status"]);
    assert_eq!(said.code, code, "{said:?}");
    settings().bind(|| insta::assert_snapshot!(name, house.shown(&said)));
    let more: &[&[&str]] =
        &[&["runs"], &["events"], &["rollback"], &["cancel"], &["resolve", "p", "one", "--as", "done"]];
    for words in more {
        assert_eq!(&house.run(words), &said, "{words:?}");
    }
    let applied = house.run(&["apply", "plans/p.toml", "--new-run"]);
    assert_eq!((applied.code, applied.out.as_str()), (code, ""), "{applied:?}");
    let json = house.run(&["--json", "status"]);
    assert_eq!(json.code, code);
    let objects = objects(&json.out);
    assert_eq!((objects.len(), &objects[0]["code"]), (1, &code.into()));
    assert_eq!(house.read("log"), log, "nothing was done");
    assert!(house.tree("state") == before, "the folder was changed");
}

#[test]
fn no_journal() {
    let house = House::new();
    for words in [&["status"][..], &["runs"], &["events"], &["rollback"], &["cancel"]] {
        let said = house.run(words);
        assert_eq!(said.code, 2);
        settings().bind(|| insta::assert_snapshot!("no_journal", house.shown(&said)));
    }
    assert!(!house.path.join("state").exists());
}

#[test]
fn a_journal_further_up() {
    let house = lived_in();
    let here = house.path.join("plans");
    let said = house.runner(&["status"]).current_dir(&here).output().unwrap();
    let err = String::from_utf8(said.stderr).unwrap().replace(&house.path.display().to_string(), "[house]");
    assert_eq!(said.status.code(), Some(2), "{err}");
    insta::assert_snapshot!("no_journal_here", err);
}

#[test]
fn a_newer_journal() {
    let house = lived_in();
    let version = house.path.join("state/journal/version");
    assert!(fs::read_to_string(&version).unwrap().starts_with("runner journal, format "));
    fs::write(&version, "runner journal, format 99\n").unwrap();
    all_refuse(&house, "newer", 2);
}

#[test]
fn damaged_journals() {
    for name in ["version", "sled/conf", "sled/db", "wal"] {
        let house = lived_in();
        if name == "sled/db" {
            // What a journal has in its log as well is no loss; so it gets more than its log takes.
            let says = |step: u32| {
                format!(
                    "[[step]]\nid = \"s{step}\"\nidempotent = true\ncompensate = \"nothing\"\n\
                     forward = {{ action = \"command\", argv = [\"seq\", \"8000\"], outputs = {{ all = \"text\" }} }}\n"
                )
            };
            house.plan("long", &(0..6).map(says).collect::<String>());
            assert_eq!(house.run(&["apply", "plans/long.toml"]).code, 0);
        }
        let path = house.path.join("state/journal").join(name);
        let mut bytes = fs::read(&path).unwrap();
        // Where there is something: the start of the file, and for the store all through its first segments.
        for at in (0..bytes.len().min(20_000)).step_by(101) {
            bytes[at] ^= 0x55;
        }
        fs::write(&path, bytes).unwrap();
        let contents = || house.tree("state/journal").into_iter().map(|(path, _, _, bytes)| (path, bytes));
        let before: Vec<_> = contents().collect();
        let said = house.run(&["status"]);
        let text = house.shown(&said);
        assert_eq!(said.code, 1, "{text}");
        settings().bind(|| insta::assert_snapshot!(format!("damaged_{}", name.replace('/', "_")), text));
        let log = house.read("log");
        assert_eq!(house.run(&["apply", "plans/p.toml", "--new-run"]).code, 1);
        assert_eq!(house.read("log"), log);
        assert!(contents().eq(before), "{name}: what is damaged was changed");
    }
}

#[test]
fn a_file_where_the_folder_should_be() {
    let house = House::new();
    house.plan("p", TWO);
    house.write("state", "mine");
    for words in [&["status"][..], &["apply", "plans/p.toml"]] {
        let said = house.run(words);
        assert_eq!(said.code, 2);
        assert!(
            said.err.contains("is not a folder\n  help: name another folder with `--state DIR`"),
            "{}",
            said.err
        );
    }
    assert_eq!(house.read("state"), "mine");
}

#[test]
fn a_folder_of_somebody_else() {
    let house = lived_in();
    let before = house.tree("state");
    let Some(said) = as_nobody(&house, "true", &["status"]) else { return };
    assert_eq!(said.code, 1);
    settings().bind(|| insta::assert_snapshot!("not_ours", house.shown(&said)));
    let said = as_nobody(&house, "true", &["--state", "mine", "apply", "plans/p.toml"]).unwrap();
    assert_eq!(said.code, 1);
    settings().bind(|| insta::assert_snapshot!("not_ours_new", house.shown(&said)));
    assert!(house.tree("state") == before);
    assert_eq!(house.read("log"), "one\ntwo\n");
}

/// A small file system in memory, unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(house: &House, name: &str, size: &str) -> Option<Self> {
        let at = house.path.join(name);
        fs::create_dir_all(&at).unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(&at)
            .output();
        if done.is_ok_and(|output| output.status.success()) {
            return Some(Self(at));
        }
        skipped("no file system can be mounted here (needs root)");
        None
    }

    fn remount(&self, option: &str) {
        let done = Command::new("mount").args(["-o"]).arg(format!("remount,{option}")).arg(&self.0).status();
        assert!(done.unwrap().success(), "{option}");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[test]
fn a_read_only_file_system() {
    let house = House::new();
    house.plan("p", TWO);
    let Some(mount) = Mount::new(&house, "disk", "20m") else { return };
    let said = house.run(&["--state", "disk/state", "apply", "plans/p.toml"]);
    assert_eq!(said.code, 0, "{said:?}");
    mount.remount("ro");
    for (name, state) in [("read_only", "disk/state"), ("read_only_new", "disk/new")] {
        let said = house.run(&["--state", state, "apply", "plans/p.toml", "--new-run"]);
        assert_eq!(said.code, 1);
        settings().bind(|| insta::assert_snapshot!(name, house.shown(&said)));
    }
    assert_eq!(house.read("log"), "one\ntwo\n");
}

#[test]
fn a_disk_that_fills_up_and_is_emptied_again() {
    const STEPS: usize = 150;
    let house = House::new();
    let mut steps = String::new();
    for step in 0..STEPS {
        // The fourth takes what is left; every one says enough to fill the journal's own reserve soon.
        let fill = if step == 3 { "cat /dev/zero > ../disk/fill 2>/dev/null;" } else { "" };
        steps.push_str(&format!(
            "[[step]]\nid = \"s{step:03}\"\nprobe = {{ check = \"command\", argv = [\"grep\", \"-qx\", \"{step}\", \"../log\"] }}\n\
             forward = {{ action = \"command\", script = \"echo {step} >> ../log; {fill} head -c 4000 /dev/urandom | od -c\" }}\n\
             compensate = \"nothing\"\n"
        ));
    }
    house.plan("full", &steps);
    house.write("log", "");
    let Some(mount) = Mount::new(&house, "disk", "3m") else { return };
    let apply = ["--state", "disk/state", "-q", "apply", "plans/full.toml"];
    let said = house.run(&apply);
    assert_eq!(said.code, 1, "{said:?}");
    let started = house.read("log").lines().count();
    assert!((4..STEPS).contains(&started), "{started}");
    let error = &said.err[said.err.find("error:").unwrap()..];
    settings().bind(|| {
        insta::assert_snapshot!("disk_full", error.replace(&house.path.display().to_string(), "[house]"));
    });
    // As long as there is no room nothing more happens. The next process may find some: what the write that failed has taken.
    let counts = (0..5).map(|_| {
        let again = house.run(&apply);
        assert_eq!(again.code, 1, "{again:?}");
        house.read("log").lines().count()
    });
    let counts: Vec<usize> = counts.collect();
    assert!(
        counts.is_sorted() && counts[1] == counts[4] && counts[4] < started + 5,
        "{started}, then {counts:?}"
    );
    fs::remove_file(mount.0.join("fill")).unwrap();
    mount.remount("size=40m");
    let said = house.run(&apply);
    assert_eq!(said.code, 0, "{said:?}");
    let log = house.read("log");
    let done: Vec<usize> = log.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(done, (0..STEPS).collect::<Vec<_>>(), "every step ran once and in order");
}

#[test]
fn a_folder_in_memory_is_warned_of() {
    let house = House::new();
    house.plan("p", TWO);
    let Some(_mount) = Mount::new(&house, "disk", "20m") else { return };
    let said = house.run(&["--state", "disk/state", "apply", "plans/p.toml"]);
    assert_eq!(said.code, 0, "{said:?}");
    settings().bind(|| insta::assert_snapshot!("in_memory", house.shown(&said)));
}

#[test]
fn the_ways_forward_find_the_same_journal() {
    let house = House::new();
    house.write("far/plans/p.toml", format!("name = \"p\"\n{TWO}"));
    let said = house.run(&["apply", "far/plans/p.toml"]);
    let way = said.out.lines().find(|line| line.contains("runner rollback")).unwrap().trim().to_owned();
    let said = house.shell(&way.replace("runner ", "$R "));
    assert_eq!(said.code, 0, "{way}: {said:?}");
    assert_eq!(house.read("far/log"), "one\ntwo\nback two\nback one\n");
    let way = said.out.lines().find(|line| line.contains("--new-run")).unwrap().trim().to_owned();
    assert_eq!(house.shell(&way.replace("runner ", "$R ")).code, 0, "{way}");
}

#[test]
fn unknown_runs_and_steps() {
    let house = lived_in();
    for (name, words) in [
        ("unknown_run", &["status", "nothing"][..]),
        ("unknown_number", &["events", "p-9"]),
        ("unknown_step", &["rollback", "p", "--to", "three"]),
        ("resolve_unknown_step", &["resolve", "p", "three", "--as", "done"]),
        ("resolve_done", &["resolve", "p", "one", "--as", "done"]),
        ("cancel_complete", &["cancel"]),
        ("rollback_cwd", &["rollback", "--cwd", "/no/such"]),
        ("run_that_acts", &["status", "\u{1b}[2J"]),
    ] {
        let before = house.tree("state/journal").len();
        let said = house.run(words);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
        settings().bind(|| insta::assert_snapshot!(name, house.shown(&said)));
        assert_eq!(house.tree("state/journal").len(), before);
    }
    assert_eq!(house.read("log"), "one\ntwo\n");
}

#[test]
fn json_is_objects_and_nothing_else() {
    let house = House::new();
    house.plan("p", TWO);
    for (words, code) in [
        (&["validate", "plans/p.toml"][..], 0),
        (&["status"], 2),
        (&["apply", "plans/p.toml"], 0),
        (&["apply", "plans/p.toml"], 0),
        (&["status"], 0),
        (&["runs"], 0),
        (&["events", "--follow"], 0),
        (&["resolve", "p", "one", "--as", "done"], 2),
        (&["cancel"], 2),
        (&["rollback", "--to", "one"], 0),
        (&["cancel"], 0),
        (&["rollback"], 0),
        (&["apply", "plans/p.toml"], 5),
    ] {
        let said = house.run(&[&["--json"], words].concat());
        assert_eq!(said.code, code, "{words:?}: {said:?}");
        let objects = objects(&said.out);
        assert!(!objects.is_empty(), "{words:?}: {said:?}");
        if code == 2 {
            assert_eq!(objects.last().unwrap()["type"], "error");
        }
        // What people read is the same, on the other stream.
        assert!(
            words[0] == "validate" || words.len() < 2 || !said.err.is_empty() || words[0] == "events",
            "{words:?}"
        );
    }
    assert_eq!(house.read("log"), "one\ntwo\nback two\nback one\n");
}

#[test]
fn rollbacks_with_nothing_to_do() {
    let house = House::new();
    house.plan("never", &one("probe = { check = \"command\", argv = [\"false\"] }\nforward = { action = \"command\", argv = [\"false\"] }\napprove = \"Go?\""));
    let said = house.run(&["apply", "plans/never.toml"]);
    assert_eq!(said.code, 4, "{said:?}");
    settings().bind(|| insta::assert_snapshot!("waits_at_a_gate", house.shown(&said)));
    for name in ["rollback_of_nothing", "rollback_again"] {
        let said = house.run(&["rollback"]);
        assert_eq!(said.code, 0, "{said:?}");
        settings().bind(|| insta::assert_snapshot!(name, house.shown(&said)));
    }
    // Going forward again would be another run.
    assert_eq!(house.run(&["apply", "plans/never.toml"]).code, 5);
}

#[test]
fn two_at_the_same_time() {
    let house = House::new();
    let wait = r#"
[[step]]
id = "wait"
probe = { check = "command", argv = ["test", "-e", "../go"] }
forward = { action = "command", script = "echo wait >> ../log; until [ -e ../go ]; do sleep 0.02; done" }
compensate = { action = "command", script = "echo back wait >> ../log" }
"#;
    house.plan("slow", &format!("{wait}{TWO}"));
    house.plan("p", TWO);
    let first = house.start(&["apply", "plans/slow.toml"]);
    until("the first step runs", || house.read("log") == "wait\n");
    let status = house.run(&["status"]);
    assert_eq!(status.code, 0);
    settings().bind(|| insta::assert_snapshot!("status_while_running", house.shown(&status)));
    // Another plan is driven by who is there.
    let other = house.run(&["apply", "plans/p.toml"]);
    assert_eq!(other.code, 0, "{other:?}");
    settings().bind(|| insta::assert_snapshot!("submitted", house.shown(&other)));
    // The same plan is not started twice, nor changed under way.
    let refused = house.run(&["apply", "plans/slow.toml", "--new-run"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    let second = house.start(&["apply", "plans/slow.toml"]);
    // A rollback is asked for meanwhile: the step in flight ends, then all goes back.
    let back = house.start(&["rollback", "slow"]);
    until("the rollback is asked for", || house.run(&["events", "slow"]).out.contains("rolling_back"));
    house.write("go", "");
    let mut first = said(first.wait_with_output().unwrap());
    assert_eq!(first.code, 5, "{first:?}");
    // Who asked for the rollback may still be followed here when the run has come to rest: then that is said too.
    first.err = first.err.replace("Staying for what other terminals have submitted: `slow-1`.\n", "");
    settings().bind(|| insta::assert_snapshot!("rolled_back_meanwhile", house.shown(&first)));
    let back = said(back.wait_with_output().unwrap());
    assert_eq!(back.code, 0, "{back:?}");
    drop(second.wait_with_output().unwrap());
    assert_eq!(house.read("log"), "wait\none\ntwo\nback wait\n");
}

#[test]
fn a_holder_that_hangs() {
    let house = House::new();
    house.plan("p", &one("forward = { action = \"command\", script = \"echo $$ > ../pid; echo it >> ../log; exec sleep 60\" }"));
    let mut first = house.start(&["apply", "plans/p.toml"]);
    until("the step runs", || house.read("log") == "it\n");
    assert_eq!(house.shell(&format!("kill -STOP {}", first.id())).code, 0);
    let said = house.run(&["status"]);
    drop(first.kill());
    drop(first.wait());
    settings().bind(|| insta::assert_snapshot!("holder_hangs", house.shown(&said)));
    assert_eq!(said.code, 7);
    // With it gone, the step is neither lost nor taken for done.
    let said = house.run(&["status"]);
    assert_eq!(said.code, 0);
    settings().bind(|| insta::assert_snapshot!("status_after_a_kill", house.shown(&said)));
    // What was left under way ends with this test.
    house.shell("kill $(cat pid)");
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < limit, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
