//! Goal: what becomes of a run when its plan file is edited, lost, copied or applied once more.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use crate::support;

use std::fs;
use std::os::unix::fs::symlink;

use support::lab::Lab;
use support::pty::AtTerminal;

/// A step that writes its id and what it was told into a file, and counts how often it ran.
fn writes(id: &str, content: &str) -> String {
    format!(
        "[[step]]\nid = \"{id}\"\n\
         forward = {{ action = \"command\", script = 'echo {id} >> @W@/log; echo \"{content}\" > @W@/{id}' }}\n\
         probe = {{ check = \"command\", argv = [\"test\", \"-e\", \"@W@/{id}\"] }}\n\
         compensate = {{ action = \"command\", script = 'echo undo {id} >> @W@/log; rm -f @W@/{id}' }}\n"
    )
}

fn fails(id: &str) -> String {
    format!(
        "[[step]]\nid = \"{id}\"\nforward = {{ action = \"command\", argv = [\"false\"] }}\ncompensate = \"nothing\"\n"
    )
}

fn plan(steps: &[String]) -> String {
    format!("name = \"p\"\n{}", steps.concat())
}

#[test]
fn a_step_that_was_fixed_resumes_and_what_was_done_does_not_run_again() {
    let lab = Lab::new();
    lab.plan("p", &plan(&[writes("a", "x"), fails("b"), writes("c", "x")]));
    lab.expect(3, "apply p/p.toml").says("`b`").says("runner apply p/p.toml");
    assert_eq!(lab.seen("log"), "a\n");
    lab.plan("p", &plan(&[writes("a", "x"), writes("b", "mended"), writes("c", "x")]));
    lab.expect(0, "apply p/p.toml");
    assert_eq!((lab.seen("log").as_str(), lab.seen("b").as_str()), ("a\nb\nc\n", "mended\n"));
    let events = lab.events("p-1");
    let amended = events.iter().find(|event| event["event"] == "plan_amended").unwrap();
    assert_eq!(amended["changes"][0]["step"], "b");
    assert!(amended["changes"][0]["diff"].as_str().unwrap().contains("mended"), "{amended}");
    lab.expect(0, "rollback p");
    assert_eq!(lab.seen("log"), "a\nb\nc\nundo c\nundo b\nundo a\n");
}

#[test]
fn a_change_to_a_finished_step_is_refused_with_a_diff_and_nothing_changes() {
    let lab = Lab::new();
    lab.plan("p", &plan(&[writes("a", "x"), fails("b")]));
    lab.expect(3, "apply p/p.toml");
    let before = lab.events("p");
    for changed in [
        // What it does, how it is looked at, how it is undone.
        writes("a", "y"),
        writes("a", "x").replace("\"-e\"", "\"-s\""),
        writes("a", "x").replace("rm -f", "rm -rf"),
        format!("{}verify = [{{ check = \"command\", argv = [\"true\"] }}]\n", writes("a", "x")),
    ] {
        lab.plan("p", &plan(&[changed, writes("b", "mended")]));
        let ran = lab.expect(2, "apply p/p.toml").says("step `a`").says("finished");
        let signs = ran.err.lines().filter(|line| line.starts_with('+') || line.starts_with('-'));
        assert!(signs.count() >= 1 && ran.out.is_empty(), "{}", ran.text());
        assert_eq!((lab.events("p"), lab.seen("log").as_str()), (before.clone(), "a\n"));
    }
    // What does not decide its result may change.
    let texts = writes("a", "x").replace("forward", "summary = \"Another text\"\ntimeout = \"3m\"\nforward");
    lab.plan("p", &plan(&[texts, writes("b", "mended")]));
    lab.expect(0, "apply p/p.toml");
    assert_eq!(lab.seen("log"), "a\nb\n");
}

#[test]
fn the_content_of_a_script_file_is_part_of_a_finished_step() {
    let lab = Lab::new();
    let step = "[[step]]\nid = \"a\"\nforward = { action = \"command\", script_file = \"a.sh\" }\ncompensate = \"nothing\"\n";
    lab.write("p/a.sh", "true\n");
    lab.plan("p", &plan(&[step.to_owned(), fails("b")]));
    lab.expect(3, "apply p/p.toml");
    lab.write("p/a.sh", "echo other\n");
    lab.expect(2, "apply p/p.toml").says("step `a`");
    lab.write("p/a.sh", "true\n");
    lab.expect(3, "apply p/p.toml");
}

#[test]
fn rollback_needs_only_the_journal() {
    let lab = Lab::new();
    // The commands run elsewhere, so that the plan's folder may go.
    let step = "[[step]]\nid = \"a\"\n\
         forward = { action = \"command\", script_file = \"do.sh\", cwd = \"@W@\", outputs = { made = \"text\" } }\n\
         compensate = \"nothing\"\n\
         [[step]]\nid = \"b\"\n\
         forward = { action = \"command\", argv = [\"true\"], cwd = \"@W@\" }\n\
         compensate = { action = \"command\", script_file = \"undo.sh\", cwd = \"@W@\", env = { MADE = \"{{ steps.a.outputs.made }}\" } }\n";
    lab.write("p/do.sh", "echo made > made; echo made\n");
    lab.write("p/undo.sh", "echo undo $MADE >> log; rm \"$MADE\"\n");
    lab.plan("p", &plan(&[step.to_owned()]));
    lab.expect(0, "apply p/p.toml");
    assert_eq!(lab.seen("made"), "made\n");
    fs::remove_dir_all(lab.path("p")).unwrap();
    lab.expect(0, "rollback p");
    assert_eq!((lab.seen("log").as_str(), lab.has("made")), ("undo made\n", false));
}

#[test]
fn a_recorded_folder_that_is_gone_is_named_before_anything_is_undone() {
    let lab = Lab::new();
    let steps = [
        writes("a", "x"),
        "[[step]]\nid = \"b\"\nforward = { action = \"command\", argv = [\"touch\", \"b\"] }\n\
         compensate = { action = \"command\", argv = [\"rm\", \"b\"] }\n"
            .to_owned(),
        writes("c", "x").replace("script = 'echo undo", "cwd = \"@W@\", script = 'echo undo"),
    ];
    lab.plan("p", &plan(&steps));
    lab.expect(0, "apply p/p.toml");
    fs::rename(lab.path("p"), lab.path("q")).unwrap();
    let before = lab.events("p");
    let folder = fs::canonicalize(lab.path(".")).unwrap().join("p");
    lab.expect(2, "rollback p").says("--cwd").says(&folder.display().to_string()).says("nothing was undone");
    assert_eq!((lab.events("p"), lab.seen("log").as_str()), (before, "a\nc\n"));
    lab.expect(0, "rollback p --cwd q");
    assert!(!lab.path("q/b").exists() && !lab.has("a") && !lab.has("c"));
}

#[test]
fn what_held_already_is_satisfied_and_not_undone() {
    let lab = Lab::new();
    lab.write("w/a", "from before\n");
    lab.plan("p", &plan(&[writes("a", "x"), writes("b", "x")]));
    lab.expect(0, "apply p/p.toml");
    assert_eq!(lab.steps("p")["a"], "satisfied");
    lab.expect(0, "rollback p");
    assert_eq!((lab.seen("log").as_str(), lab.seen("a").as_str()), ("b\nundo b\n", "from before\n"));
}

#[test]
fn a_finished_plan_runs_nothing_and_an_added_step_alone_runs() {
    let lab = Lab::new();
    lab.plan("p", &plan(&[writes("a", "x"), writes("b", "x")]));
    lab.expect(0, "apply p/p.toml");
    let events = lab.events("p").len();
    for _ in 0..3 {
        lab.expect(0, "apply p/p.toml").says("complete");
    }
    assert_eq!((lab.seen("log").as_str(), lab.events("p").len()), ("a\nb\n", events));
    lab.plan("p", &plan(&[writes("a", "x"), writes("new", "x"), writes("b", "x")]));
    lab.expect(0, "apply p/p.toml");
    assert_eq!(lab.seen("log"), "a\nb\nnew\n");
    // A finished step that is gone from the file stays in the run, and is undone with it.
    lab.plan("p", &plan(&[writes("a", "x"), writes("new", "x")]));
    lab.expect(0, "apply p/p.toml");
    lab.expect(0, "rollback p");
    assert!(!lab.has("a") && !lab.has("b") && !lab.has("new"), "{}", lab.seen("log"));
    assert_eq!(lab.runs().len(), 1);
}

#[test]
fn variables_are_recorded_and_another_one_is_an_amendment() {
    let lab = Lab::new();
    let head = "name = \"p\"\n[vars]\nword = \"hello\"\nsite = { required = \"string\" }\n";
    let with = |second: String| format!("{head}{}{second}", writes("a", "{{ vars.site }}"));
    // A word of a script is given by its environment.
    let a = |second: &str| {
        with(second.to_owned()).replace(
            "script = 'echo a >> @W@/log; echo \"{{ vars.site }}\" > @W@/a'",
            "script = 'echo a >> @W@/log; echo \"$SITE\" > @W@/a', env = { SITE = \"{{ vars.site }}\" }",
        )
    };
    let b = "[[step]]\nid = \"b\"\nforward = { action = \"command\", script = 'echo \"$X\" > @W@/b; test \"$X\" = bye', env = { X = \"{{ vars.word }}\" } }\n\
         compensate = \"nothing\"\n";
    lab.plan("p", &a(b));
    lab.expect(2, "apply p/p.toml").says("site");
    assert!(!lab.state().exists());
    lab.expect(3, "apply p/p.toml --var site=here");
    assert_eq!(lab.seen("a"), "here\n");
    // Not given again: it is known.
    lab.expect(3, "apply p/p.toml");
    // A finished step depends on it.
    lab.expect(2, "apply p/p.toml --var site=there").says("step `a`");
    lab.expect(0, "apply p/p.toml --var word=bye");
    assert_eq!((lab.seen("b").as_str(), lab.seen("log").as_str()), ("bye\n", "a\n"));
    lab.expect(0, "apply p/p.toml");
    lab.expect(0, "rollback p");
    // A new run knows nothing of the old one's.
    lab.expect(2, "apply p/p.toml --new-run").says("site");
}

#[test]
fn only_new_run_starts_afresh() {
    let lab = Lab::new();
    lab.plan("p", &plan(&[writes("a", "x"), fails("b")]));
    lab.expect(3, "apply p/p.toml");
    lab.expect(2, "apply p/p.toml --new-run").says("p-1").says("runner cancel p-1");
    lab.expect(0, "cancel p");
    for _ in 0..2 {
        lab.expect(3, "apply p/p.toml").says("cancelled");
    }
    // A cancelled run can still be rolled back, and stays so.
    assert!(lab.has("a"));
    lab.expect(0, "rollback p");
    assert!(!lab.has("a"));
    for _ in 0..2 {
        lab.expect(5, "apply p/p.toml").says("rolled back");
    }
    lab.expect(0, "rollback p").says("rolled back");
    lab.plan("p", &plan(&[writes("a", "x"), writes("b", "x")]));
    lab.expect(5, "apply p/p.toml");
    lab.expect(0, "apply p/p.toml --new-run");
    assert_eq!(lab.steps("p-2")["b"], "done");
    lab.expect(0, "apply p/p.toml");
    let runs = lab.expect(0, "--json runs");
    assert!(runs.out.contains("p-1") && runs.out.contains("p-2"), "{}", runs.out);
}

#[test]
fn a_copy_elsewhere_is_another_plan_and_a_link_is_the_same() {
    let lab = Lab::new();
    lab.plan("p", &plan(&[writes("a", "x")]));
    lab.expect(0, "apply p/p.toml");
    fs::create_dir(lab.path("q")).unwrap();
    symlink(lab.path("p/p.toml"), lab.path("q/link.toml")).unwrap();
    lab.expect(0, "apply q/link.toml");
    assert_eq!(lab.runs().len(), 1);
    fs::copy(lab.path("p/p.toml"), lab.path("q/p.toml")).unwrap();
    lab.expect(0, "apply q/p.toml");
    assert_eq!(lab.steps("p-2")["a"], "satisfied");
    lab.expect(0, "rollback p-2");
    assert!(lab.has("a"));
}

#[test]
fn a_step_is_done_again_and_what_depends_on_it_keeps_its_result() {
    let lab = Lab::new();
    lab.write("w/b", "from before\n");
    lab.plan("p", &plan(&[writes("a", "x"), writes("b", "x"), writes("c", "x")]));
    lab.expect(2, "apply p/p.toml --redo a").says("only begins");
    assert!(!lab.state().exists() || lab.runs().is_empty());
    lab.expect(0, "apply p/p.toml");
    // Edited, and done again without a look; what was satisfied becomes ours.
    lab.plan("p", &plan(&[writes("a", "y"), writes("b", "x"), writes("c", "x")]));
    lab.expect(2, "apply p/p.toml").says("--redo a").says("--keep a");
    lab.expect(0, "apply p/p.toml --redo a --redo b");
    assert_eq!((lab.seen("log").as_str(), lab.seen("a").as_str()), ("a\nc\na\nb\n", "y\n"));
    lab.expect(0, "apply p/p.toml");
    lab.expect(0, "rollback p");
    assert_eq!(lab.seen("log"), "a\nc\na\nb\nundo c\nundo b\nundo a\n");
}

#[test]
fn flags_about_steps_are_refused_in_clear_words() {
    let lab = Lab::new();
    lab.plan("p", &plan(&[writes("a", "x"), fails("b"), writes("c", "x")]));
    lab.expect(3, "apply p/p.toml");
    let before = lab.events("p");
    lab.expect(2, "apply p/p.toml --redo b").says("step `b` is failed, not finished");
    lab.expect(2, "apply p/p.toml --keep c").says("step `c` is pending, not finished");
    lab.expect(2, "apply p/p.toml --amend c").says("not finished");
    lab.expect(2, "apply p/p.toml --until nothing").says("has no step `nothing`");
    lab.expect(2, "apply p/p.toml --redo a --keep a").says("`--redo` and by `--keep`");
    lab.expect(2, "apply p/p.toml --redo a --redo a").says("twice");
    assert_eq!(lab.events("p"), before);
}

#[test]
fn a_kept_step_does_not_run_and_its_compensation_is_replaced_by_approval_alone() {
    let lab = Lab::new();
    lab.plan("p", &plan(&[writes("a", "x"), fails("b")]));
    lab.expect(3, "apply p/p.toml");
    lab.plan("p", &plan(&[writes("a", "y"), writes("b", "x")]));
    lab.expect(0, "apply p/p.toml --keep a");
    assert_eq!((lab.seen("log").as_str(), lab.seen("a").as_str()), ("a\nb\n", "x\n"));
    // It is recorded: nothing differs any more.
    lab.expect(0, "apply p/p.toml");
    let amended = lab.events("p").into_iter().find(|event| event["event"] == "plan_amended").unwrap();
    assert_eq!(amended["changes"][0]["taken"], "kept");
    let other = writes("a", "y").replace("echo undo a", "echo away with a");
    lab.plan("p", &plan(&[other.clone(), writes("b", "x")]));
    lab.expect(2, "apply p/p.toml --keep a").says("add `--amend a`");
    let before = lab.events("p");
    for yes in ["", " -y"] {
        let ran =
            lab.expect(4, &format!("apply p/p.toml --amend a{yes}")).says("away with a").says("--amend a@");
        assert!(ran.text().contains("waits for an approval"), "{}", ran.text());
    }
    lab.expect(2, "apply p/p.toml --amend a@00000000").says("approves another difference");
    assert_eq!(lab.events("p"), before);
    let said = lab.expect(4, "apply p/p.toml --amend a").text();
    let word: String = said.split("--amend a@").nth(1).unwrap().chars().take(8).collect();
    lab.expect(0, &format!("apply p/p.toml --amend a@{word}"));
    // More than the compensation is not amended.
    lab.plan("p", &plan(&[other.replace("\"y\"", "\"z\"").replace("undo", "other"), writes("b", "x")]));
    lab.expect(2, "apply p/p.toml --amend a").says("--keep a");
    lab.plan("p", &plan(&[other, writes("b", "x")]));
    lab.expect(0, "rollback p");
    assert_eq!(lab.seen("log"), "a\nb\nundo b\naway with a\n");
}

#[test]
fn at_a_terminal_another_compensation_is_asked_about() {
    let lab = Lab::new();
    lab.plan("p", &plan(&[writes("a", "x"), fails("b")]));
    lab.expect(3, "apply p/p.toml");
    let other = writes("a", "x").replace("echo undo a", "echo away with a");
    lab.plan("p", &plan(&[other, writes("b", "x")]));
    let before = lab.events("p");
    // Anything but yes leaves everything as it was: an empty line too, which a key hit by accident is.
    for answer in ["", "n", "maybe"] {
        let mut terminal = AtTerminal::start(&lab, "apply p/p.toml --amend a");
        terminal.shows("Undo step `a` in this way from now on? [y/N]", 1);
        terminal.types(answer);
        let (code, seen) = terminal.end();
        assert_eq!(code, 4, "{seen}");
        assert!(seen.contains("away with a") && seen.contains("Nothing was changed."), "{seen}");
    }
    assert_eq!(lab.events("p"), before);
    let mut terminal = AtTerminal::start(&lab, "apply p/p.toml --amend a");
    terminal.shows("[y/N]", 1);
    terminal.types("y");
    let (code, seen) = terminal.end();
    assert_eq!(code, 0, "{seen}");
    lab.expect(0, "rollback p");
    assert_eq!(lab.seen("log"), "a\nb\nundo b\naway with a\n");
}

#[test]
fn a_run_goes_as_far_as_it_is_told_and_on_when_it_is_not() {
    let lab = Lab::new();
    let apart = |text: String| text.replace("forward", "needs = []\nforward");
    lab.plan("p", &plan(&[writes("a", "x"), writes("b", "x"), apart(writes("c", "x")), writes("d", "x")]));
    lab.expect(0, "apply p/p.toml --until b")
        .says("as far as step `b`, as asked: 2 of 4 steps still to come");
    assert_eq!(lab.seen("log"), "a\nb\n");
    lab.expect(0, "apply p/p.toml --until a");
    lab.expect(0, "apply p/p.toml --until b --no-wait");
    assert_eq!(lab.seen("log"), "a\nb\n");
    lab.expect(0, "status p").says("as far as step `b`");
    lab.expect(0, "apply p/p.toml");
    assert_eq!(lab.seen("log"), "a\nb\nc\nd\n");
}

#[test]
fn a_plan_that_was_moved_goes_on_with_its_run_when_told_so() {
    let lab = Lab::new();
    lab.plan("p", &plan(&[writes("a", "x"), fails("b")]));
    lab.expect(3, "apply p/p.toml");
    lab.write("q/p.toml", &plan(&[writes("a", "x"), writes("b", "x")]).replace("@W@", &lab.world()));
    lab.expect(0, "apply q/p.toml --same-run");
    assert_eq!((lab.runs().len(), lab.seen("log").as_str()), (1, "a\nb\n"));
    lab.plan("other", "name = \"other\"\n[[step]]\nid = \"x\"\nforward = { action = \"command\", argv = [\"true\"] }\ncompensate = \"nothing\"\n");
    lab.expect(2, "apply p/other.toml --same-run").says("--same-run");
}
