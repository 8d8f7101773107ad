//! Every command in the README is run, in a copy of the tree's plans, and does what the README says.
//!
//! `cargo run --release --` stands for the binary that this test was built with; the one command that builds and
//! the one that runs these tests are run by `.ci/run`.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};

const README: &str = include_str!("../../README.md");

/// The contents of the fenced blocks in this language, in order.
fn blocks(language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in README.lines() {
        match &mut open {
            None if line == format!("```{language}") => open = Some(String::new()),
            Some(_) if line == "```" => blocks.extend(open.take()),
            Some(block) => {
                block.push_str(line);
                block.push('\n');
            }
            None => {}
        }
    }
    blocks
}

/// A folder like a fresh clone, as far as the README's commands see it. What its plans make is in it, where no other clone makes
/// the same; and what is to be killed within a second takes more than a little longer than that.
fn clone() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let plans = folder.path().join("plans");
    fs::create_dir(&plans).unwrap();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("plans")).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            let text = fs::read_to_string(entry.path()).unwrap();
            let text = text
                .replace("/tmp/", &format!("{}/", folder.path().display()))
                .replace("sleep 1;", "sleep 3;");
            fs::write(plans.join(entry.file_name()), text).unwrap();
        }
    }
    folder
}

fn sh(folder: &Path, line: &str) -> Output {
    let line = line.replace("cargo run --release --", env!("CARGO_BIN_EXE_runner"));
    Command::new("bash")
        .args(["-c", &line])
        .current_dir(folder)
        .env_remove("RUNNER_STATE")
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn every_command_of_the_readme_does_what_it_says() {
    let folder = clone();
    let mut seen = Vec::new();
    for line in blocks("sh").iter().flat_map(|block| block.lines()) {
        let (command, comment) = line.split_once(" #").unwrap_or((line, ""));
        let command = command.trim();
        if command == "tests/run" {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(command);
            assert!(Command::new("bash").arg("-n").arg(script).status().unwrap().success());
            continue;
        }
        if command.contains("plans/mine.toml") {
            fs::write(folder.path().join("plans/mine.toml"), &blocks("toml")[0]).unwrap();
        }
        let output = sh(folder.path(), command);
        let killed = command.starts_with("timeout -s KILL");
        // `timeout` kills itself with what it kills, and the shell may have become it.
        let code = output.status.code().or(output.status.signal().map(|signal| 128 + signal));
        let says = comment.trim_start().strip_prefix("exits ").and_then(|rest| rest.split(':').next());
        let wanted = if killed { 137 } else { says.map_or(0, |code| code.parse().unwrap()) };
        assert_eq!(code, Some(wanted), "`{command}`:\n{}", text(&output));
        seen.push((command.to_owned(), text(&output)));
    }
    let said = |command: &str, words: &str| {
        let found = seen.iter().find(|(line, _)| line.contains(command));
        let (_, output) = found.unwrap_or_else(|| panic!("the README has no `{command}`"));
        assert!(output.contains(words), "`{command}` does not say `{words}`:\n{output}");
    };
    said("-- demo", "frigate-1 is complete");
    said("demo --list", "started-by-hand");
    // What is shown of it is what it says, but for times, lengths of time and columns.
    for line in blocks("text")[0].lines().flat_map(|line| line.split('…')) {
        let plain = |text: &str| {
            let mut words: Vec<char> =
                text.split_whitespace().collect::<Vec<_>>().join(" ").chars().collect();
            words.retain(|letter| *letter != '.');
            words.iter_mut().filter(|letter| letter.is_ascii_digit()).for_each(|digit| *digit = '0');
            words.dedup_by(|a, b| *a == '0' && *b == '0');
            words.into_iter().collect::<String>()
        };
        let (_, output) = seen.iter().find(|(line, _)| line.contains("--scenario")).unwrap();
        let shown = plain(line);
        assert!(output.lines().any(|line| plain(line).contains(&shown)), "`{line}` is not said:\n{output}");
    }
    said("apply plans/hello.toml", "hello-1 is complete");
    said("apply plans/parallel.toml", "parallel-1");
    said("status", "is complete");
    said("rollback", "is rolled back");
    said("validate plans/mine.toml", "valid, 2 steps");
    said("plan plans/approval.toml", "This was a look");
    said("apply plans/approval.toml --no-wait", "waits for an approval");
    said("why publish", "step `publish` is awaiting_approval");
    said("drift", "0 drifted");
    said("approve publish", "is approved by");
    said("lint --explain L1", "NVENC");
}

#[test]
fn the_table_of_exit_codes_is_the_one_of_the_program() {
    assert!(README.contains(&runner::report::exit::markdown()), "{}", runner::report::exit::markdown());
}

#[test]
fn every_file_the_readme_names_is_there() {
    for part in README.split("](").skip(1) {
        let target = part.split(')').next().unwrap();
        let target = target.split('#').next().unwrap();
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(target).exists(), "`{target}`");
    }
}
