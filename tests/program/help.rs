//! Goal: every command and option says what it is for, with an example that works, and help, completions, the manual
//! page, README and docs agree. Method: a walk over the tree of commands, and their whole outputs as snapshots.

use crate::worlds_support;

use std::path::Path;
use std::process::{Command, Stdio};

use clap::Arg;
use runner::report::exit;
use worlds_support::*;

/// Every command with the words that lead to it: `runs prune`.
fn commands() -> Vec<(String, clap::Command)> {
    fn walk(above: &str, command: &clap::Command, all: &mut Vec<(String, clap::Command)>) {
        for each in command.get_subcommands() {
            let name = format!("{above} {}", each.get_name()).trim().to_owned();
            all.push((name.clone(), each.clone()));
            walk(&name, each, all);
        }
    }
    let root = runner::cli::command();
    let mut all = vec![(String::new(), root.clone())];
    walk("", &root, &mut all);
    all
}

/// What a person can write, but for what clap has by itself.
fn arguments(command: &clap::Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|argument| !["help", "version"].contains(&argument.get_id().as_str()))
}

#[test]
fn every_command_and_option_has_a_sentence_and_an_example() {
    let mut missing = Vec::new();
    for (name, command) in commands() {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        if about.is_empty() || about.ends_with('.') && !name.is_empty() {
            missing.push(format!("`{name}` says what it does, without a full stop: {about:?}"));
        }
        let after = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string);
        if !after.unwrap_or_default().contains("Example") {
            missing.push(format!("`{name}` has an example in its long help"));
        }
        for argument in arguments(&command) {
            let id = argument.get_id();
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            if help.is_empty() {
                missing.push(format!("`{name}`: `{id}` has a sentence"));
            }
            let long = argument.get_long_help().map(ToString::to_string).unwrap_or_default();
            if !argument.is_positional() && !long.contains("\n\nExample: runner ") {
                missing.push(format!("`{name}`: `{id}` has `Example: runner …` in its long help"));
            }
        }
    }
    assert!(missing.is_empty(), "not so:\n{}", missing.join("\n"));
}

/// The commands that helps show: from `runner` on, up to what a shell does with it or a remark.
fn examples(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.trim().trim_start_matches("Example: "));
    let shown = lines.filter(|line| line.starts_with("runner ")).map(|line| {
        let end = [" | ", " > ", "  "].iter().filter_map(|stop| line.find(stop)).min().unwrap_or(line.len());
        line[..end].to_owned()
    });
    shown.collect()
}

/// The words of a line, as a shell takes them: quotes hold them together.
fn words_of(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in line.chars() {
        match (c, quote) {
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            (' ', None) => words.push(std::mem::take(&mut word)),
            (c, _) => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_example_is_a_command_and_names_plans_that_are_there() {
    for (name, command) in commands() {
        let mut texts: Vec<String> = [command.get_after_long_help(), command.get_after_help()]
            .into_iter()
            .flatten()
            .map(ToString::to_string)
            .collect();
        texts.extend(arguments(&command).filter_map(|a| a.get_long_help()).map(ToString::to_string));
        for line in texts.iter().flat_map(|text| examples(text)) {
            let words = words_of(&line);
            if let Err(error) = runner::cli::command().try_get_matches_from(&words) {
                panic!("the example `{line}` of `{name}` is refused: {error}");
            }
            for plan in words.iter().filter(|word| word.starts_with("plans/") && !word.contains('*')) {
                assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(plan).exists(), "`{name}`: {plan}");
            }
        }
    }
}

#[test]
fn every_help() {
    let house = House::new();
    for (name, _) in commands() {
        let title = if name.is_empty() { "runner".to_owned() } else { name.replace(' ', "_") };
        for (kind, flag) in [("short", "-h"), ("long", "--help")] {
            let words: Vec<&str> = name.split_whitespace().chain([flag]).collect();
            let said = house.run(&words);
            assert_eq!((said.code, said.err.as_str()), (0, ""), "{name}");
            assert!(said.out.lines().all(|line| line.chars().count() <= 100), "{name}: {}", said.out);
            settings().bind(|| insta::assert_snapshot!(format!("{kind}_{title}"), said.out));
        }
    }
}

#[test]
fn the_table_of_exit_codes_is_one() {
    assert!(include_str!("../../README.md").contains(&exit::markdown()), "README.md:\n{}", exit::markdown());
    assert!(
        include_str!("../../docs/design.md").contains(&exit::markdown()),
        "docs/design.md:\n{}",
        exit::markdown()
    );
    let help = House::new().run(&["--help"]).out;
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
    assert!(words(&help).contains(&words(&exit::text())), "{help}");
}

fn there(program: &str) -> bool {
    let found =
        Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status();
    let there = found.is_ok_and(|status| status.success());
    if !there {
        skipped(&format!("`{program}` is not installed, so nothing is tried with it"));
    }
    there
}

#[test]
fn completions_load_and_complete() {
    let house = House::new();
    for (shell, load, complete) in [
        (
            "bash",
            "bash -n it",
            "bash -c '. ./it; COMP_WORDS=(runner val); COMP_CWORD=1; _runner runner val runner; echo ${COMPREPLY[@]}'",
        ),
        (
            "zsh",
            "zsh -n it",
            "zsh -fc 'autoload -U compinit; compinit -u -D; . ./it; echo $_comps[runner] validate'",
        ),
        ("fish", "fish --no-execute it", "fish -c 'source it; complete -C \"runner val\"'"),
    ] {
        let said = house.run(&["completions", shell]);
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        for (name, _) in commands() {
            let last = name.rsplit(' ').next().unwrap();
            assert!(said.out.contains(last), "{shell} does not know `{name}`");
        }
        house.write("it", &said.out);
        if !there(shell) {
            continue;
        }
        let loaded = house.shell(load);
        assert_eq!((loaded.code, loaded.err.as_str()), (0, ""), "{shell}");
        let completed = house.command("sh").args(["-c", complete]).output().unwrap();
        let completed = String::from_utf8_lossy(&completed.stdout).into_owned();
        assert!(completed.contains("validate"), "{shell}: {completed}");
    }
    let said = house.run(&["completions", "tcsh"]);
    assert_eq!(said.code, 2);
    assert!(said.err.contains("[possible values: bash, zsh, fish]"), "{}", said.err);
}

#[test]
fn the_manual_page_has_every_option_and_no_mistake() {
    let house = House::new();
    let said = house.run(&["man"]);
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let plain = said.out.replace("\\-", "-");
    for (name, command) in commands() {
        assert!(plain.contains(&format!("runner {name}").trim_end().to_owned()), "`{name}`");
        for argument in arguments(&command).filter(|argument| !argument.is_hide_set()) {
            if let Some(long) = argument.get_long() {
                assert!(plain.contains(&format!("--{long}")), "`{name}`: --{long}");
            }
        }
    }
    house.write("runner.1", &said.out);
    if there("groff") {
        let judged = house.shell("groff -man -Tutf8 -ww -z runner.1 2>&1");
        assert_eq!((judged.code, judged.out.as_str()), (0, ""));
        let shown = house.shell("groff -man -Tutf8 -P-cbou -rLL=100n runner.1 | col -bx 2>/dev/null");
        insta::assert_snapshot!("man", shown.out);
    }
    if there("man") {
        assert_eq!(house.shell("man -l runner.1 | cat").code, 0);
    }
}

#[test]
fn what_is_made_for_programs_is_one_object_with_json() {
    let house = House::new();
    for (words, name) in [
        (&["--json", "schema"][..], "schema"),
        (&["--json", "schema", "events"], "schema"),
        (&["--json", "completions", "bash"], "completions"),
        (&["--json", "man"], "man"),
    ] {
        let said = house.run(words);
        assert_eq!((said.code, said.err.as_str()), (0, ""));
        let all = objects(&said.out);
        assert_eq!(all.len(), 1);
        assert_eq!((&all[0]["type"], &all[0]["name"]), (&"document".into(), &name.into()));
    }
    let schema = house.run(&["schema"]).out;
    assert_eq!(schema, include_str!("../../schema/plan.schema.json"));
}
