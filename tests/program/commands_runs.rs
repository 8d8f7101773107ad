//! `runner runs archive`, `prune` and `verify`: what is over makes room, and nothing is lost on the way.

#![expect(clippy::unwrap_used, reason = "a test")]

use crate::worlds_support;

use std::fs;
use std::process::Command;

use worlds_support::*;

/// Two steps, one with a content that goes to a body of its own.
const PLAN: &str = "[vars]\nword = \"one\"\n\n[[step]]\nid = \"note\"\n\
    forward = { action = \"file\", path = \"../note\", source = \"big.txt\" }\n\n[[step]]\nid = \"say\"\n\
    forward = { action = \"command\", argv = [\"echo\", \"{{ vars.word }}\"] }\ncompensate = \"nothing\"\n";

/// A house with three runs of one plan; the first has a content of its own.
fn three_runs() -> House {
    let house = House::new();
    house.plan("p", PLAN);
    for (number, letter) in ["a", "b", "b"].into_iter().enumerate() {
        house.write("plans/big.txt", letter.repeat(70_000));
        drop(fs::remove_file(house.path.join("note")));
        let said = house.run(&["apply", "plans/p.toml", "--new-run"]);
        assert_eq!(said.code, 0, "run {}: {said:?}", number + 1);
    }
    house
}

/// What can be read of a run.
fn told(house: &House, run: &str) -> (Said, Said, Said) {
    let json = |words: &[&str]| house.run(&[&["--json"], words].concat());
    let mut status = json(&["status", run]);
    status.out = status.out.replace(|c: char| c.is_ascii_digit(), "");
    (json(&["events", run]), status, house.run(&["why", run, "say"]))
}

fn bodies(house: &House) -> usize {
    fs::read_dir(house.path.join("state/bodies")).unwrap().count()
}

#[test]
fn an_archived_run_is_read_as_before_and_is_nothing_but_read() {
    let house = three_runs();
    let before = (told(&house, "p-1"), house.run(&["runs"]).out);
    let said = house.run(&["runs", "archive", "--older-than", "1ms"]);
    assert_eq!((said.code, said.out.as_str()), (0, "archived  p-1\narchived  p-2\n"), "{said:?}");
    assert_eq!((told(&house, "p-1"), house.run(&["runs"]).out), before);
    let lines = house.read("state/archive/p-1");
    assert!(lines.starts_with("{\"runner_archive\":1,"), "{lines}");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(house.path.join("state/archive/p-1")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let said = house.run(&["runs", "verify"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("ok       p-1:"), "{said:?}");
    // Once is enough.
    let said = house.run(&["runs", "archive", "--older-than", "1ms"]);
    assert!(said.code == 0 && said.out.starts_with("Nothing to be archived"), "{said:?}");
    for words in
        [&["rollback", "p-1", "-y"][..], &["resolve", "p-1", "say", "--as", "done"], &["cancel", "p-1"]]
    {
        let said = house.run(words);
        assert_eq!(said.code, 2, "{words:?}: {said:?}");
    }
    let said = house.run(&["rollback", "p-1", "-y"]);
    assert!(said.err.contains("run `p-1` is archived: it can be read"), "{said:?}");
    assert_eq!(told(&house, "p-1"), before.0, "a refused command adds nothing");
    // The newest is where `apply` looks for it, and new runs go on counting.
    assert!(house.run(&["apply", "plans/p.toml"]).out.contains("p-3 is complete"));
    assert!(house.run(&["apply", "plans/p.toml", "--new-run"]).out.contains("p-4 is complete"));
    assert_eq!(house.run(&["rollback", "-y"]).code, 0);
}

#[test]
fn what_must_stay_is_not_archived() {
    let house = three_runs();
    let said = house.run(&["runs", "archive", "p-3"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("it is the newest of its plan file"), "{said:?}");
    house.plan("open", "[[step]]\nid = \"a\"\nforward = { action = \"command\", argv = [\"false\"] }\ncompensate = \"nothing\"\n");
    assert_eq!(house.run(&["apply", "plans/open.toml"]).code, 3);
    let said = house.run(&["runs", "archive", "open-1"]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("it is halted, not over: `runner cancel open-1` closes it"), "{said:?}");
    let said = house.run(&["runs", "archive", "p-9"]);
    assert!(said.code == 2 && said.err.contains("there is no run `p-9`"), "{said:?}");
    let said = house.run(&["runs", "archive"]);
    assert!(
        said.code == 0 && said.out.starts_with("Nothing to be archived"),
        "nothing is 90 days old: {said:?}"
    );
    assert!(!house.path.join("state/archive").exists());
    assert_eq!(house.run(&["runs", "archive", "--older-than", "soon"]).code, 2);
}

#[test]
fn pruning_deletes_for_good_and_asks_first() {
    let house = three_runs();
    let all = bodies(&house);
    let said = house.run(&["runs", "prune", "p-1"]);
    assert!(
        said.code == 2 && said.err.contains("run `p-1` is not archived; nothing was deleted"),
        "{said:?}"
    );
    assert_eq!(house.run(&["runs", "archive", "p-1", "p-2"]).code, 0);
    let said = house.run(&["runs", "prune", "--older-than", "1ms"]);
    assert!(said.code == 2 && said.err.contains("`-y` deletes p-1, p-2 without asking"), "{said:?}");
    assert_eq!(bodies(&house), all);
    let said = house.run(&["runs", "prune", "--older-than", "1ms", "--keep", "1", "-y"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.starts_with("pruned  p-1\n"), "{said:?}");
    assert!(said.out.contains("that nothing names any more"), "{said:?}");
    assert!(bodies(&house) < all, "the content that p-1 alone had is gone");
    assert!(!house.path.join("state/archive/p-1").exists() && house.path.join("state/archive/p-2").exists());
    let runs = house.run(&["runs"]).out;
    assert!(!runs.contains("p-1 ") && runs.contains("p-2") && runs.contains("p-3"), "{runs}");
    assert_eq!(house.run(&["events", "p-1"]).code, 2);
    // What the others need is there.
    assert_eq!(house.run(&["runs", "verify"]).code, 0);
    assert_eq!(house.run(&["rollback", "p-3", "-y"]).code, 0);
    assert!(house.run(&["apply", "plans/p.toml", "--new-run"]).out.contains("p-4 is complete"));
}

#[test]
fn a_damaged_archive_is_named_and_hurts_nobody_else() {
    let house = three_runs();
    assert_eq!(house.run(&["runs", "archive", "p-1", "p-2"]).code, 0);
    let whole = house.read("state/archive/p-1");
    let lines: Vec<&str> = whole.lines().collect();
    for (bent, why) in [
        (whole.replacen("one", "two", 1), "does not match its hash"),
        (lines[..lines.len() - 1].join("\n"), "it is missing"),
        (whole.replacen("p-1", "p-2", 1), "another run or journal"),
        (String::new(), "it is empty"),
    ] {
        house.write("state/archive/p-1", &bent);
        let said = house.run(&["runs", "verify"]);
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.out.contains("damaged  p-1") && said.out.contains(why), "{why}: {said:?}");
        assert!(said.out.contains("ok       p-2") && said.out.contains("ok       p-3"), "{said:?}");
        assert_eq!(house.run(&["status", "p-3"]).code, 0);
    }
    fs::remove_file(house.path.join("state/archive/p-1")).unwrap();
    let said = house.run(&["events", "p-1"]);
    assert!(said.code == 1 && said.err.contains("the file is gone"), "{said:?}");
    house.write("state/archive/p-1", whole);
    assert_eq!(house.run(&["runs", "verify"]).code, 0);
}

#[test]
fn a_journal_that_drives_runs_is_not_disturbed() {
    let house = three_runs();
    house.plan(
        "long",
        "[[step]]\nid = \"a\"\nforward = { action = \"command\", script = \"echo $$ > ../up; exec sleep 60\" }\ncompensate = \"nothing\"\n",
    );
    let mut child = house.start(&["apply", "plans/long.toml"]);
    while !house.read("up").ends_with('\n') {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    for words in [&["runs", "archive", "p-1"][..], &["runs", "prune", "-y"]] {
        let said = house.run(words);
        assert!(said.code == 2 && said.err.contains("holds the journal and drives runs"), "{said:?}");
    }
    assert_eq!(house.run(&["runs", "verify"]).code, 0);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(house.shell(&format!("kill {}", house.read("up").trim())).code, 0);
}

/// Killed at every call that makes something last: the run is there afterwards, and archiving it again ends it.
#[test]
fn killed_at_any_instant_the_run_is_in_the_journal_or_in_the_archive() {
    if Command::new("strace").arg("-V").output().is_err() {
        return skipped("strace is not installed, so nobody was killed while archiving");
    }
    let house = three_runs();
    let before = told(&house, "p-1").0.out;
    let calls = ["fdatasync", "fsync", "rename", "pwrite64", "openat", "unlink"];
    let (mut kills, mut ended) = (0, 0);
    for call in calls {
        // A fresh copy for every kind of call; each kill comes one call later.
        for when in 1.. {
            let copy = house.path.join("copy");
            drop(fs::remove_dir_all(&copy));
            assert_eq!(house.shell("cp -a state copy").code, 0);
            let inject = format!("inject={call}:signal=KILL:when={when}");
            let mut strace = house.command("strace");
            strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]);
            strace.arg(env!("CARGO_BIN_EXE_runner")).args(["--state", "copy", "runs", "archive", "p-1"]);
            let said = said(strace.output().unwrap());
            let events = house.run(&["--state", "copy", "--json", "events", "p-1"]);
            assert_eq!((events.code, &events.out), (0, &before), "{call} {when}: {said:?}");
            let again = house.run(&["--state", "copy", "runs", "archive", "p-1"]);
            assert_eq!(again.code, 0, "{call} {when}: {again:?}");
            let whole = house.run(&["--state", "copy", "runs", "verify"]);
            assert_eq!(whole.code, 0, "{call} {when}: {whole:?}");
            if said.code == 0 {
                ended += 1;
                break;
            }
            kills += 1;
            // In the everyday run a few of the many files that are opened will do.
            if call == "openat" && when >= 8 && std::env::var_os("RUNNER_FULL").is_none() {
                break;
            }
        }
    }
    assert!(kills >= 12 && ended >= 4, "{kills} kills, {ended} ended");
}
