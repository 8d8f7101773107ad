//! Goal: what the pages in `docs/` show is so. Every command of a `console` or `sh` block is run against the real
//! binary in a folder of its own, every plan shown loads, every message quoted occurs in the sources, and what is
//! made from the sources is fresh. How a page is written is said in `docs_support/page.rs`.

#![expect(clippy::unwrap_used, reason = "a test")]

use crate::docs_support::page;
use crate::docs_support::shell;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use page::Part;
use runner::plan::{Request, Required, load};
use shell::Shell;

/// The pages of this test. The others have tests of their own, or no commands.
const PAGES: [&str; 5] =
    ["first-plan.md", "plan-file.md", "resume-and-rollback.md", "recipes.md", "troubleshooting.md"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(page: &str) -> String {
    fs::read_to_string(root().join("docs").join(page)).unwrap()
}

/// Goes through a page as a reader would: writes the files, types the commands, looks at what they say.
fn follow(page: &str) {
    let mut shell: Option<Shell> = None;
    let mut commands = 0;
    for part in page::parts(&read(page)) {
        match part {
            Part::Folder(shown) => shell = Some(Shell::new(&shown)),
            Part::File { path, text } => shell.as_ref().unwrap().write(&path, &text),
            // `cargo` has built what is tested, and it is on the path.
            Part::Session(session) if session.iter().any(|typed| typed.command.starts_with("cargo ")) => {}
            Part::Session(session) => {
                let shell = shell.as_ref().unwrap_or_else(|| panic!("{page}: no folder before a command"));
                for step in session {
                    shell.type_in(page, &step);
                    commands += 1;
                }
            }
            Part::Toml(_) | Part::Text(_) | Part::Other => {}
        }
    }
    assert!(commands > 0, "{page} has no command");
}

#[test]
fn the_first_plan_goes_as_it_is_told() {
    follow("first-plan.md");
}

#[test]
fn resume_and_rollback_go_as_they_are_told() {
    follow("resume-and-rollback.md");
}

#[test]
fn the_recipes_work() {
    follow("recipes.md");
}

#[test]
fn every_plan_shown_loads() {
    let mut seen = 0;
    for page in PAGES {
        let parts = page::parts(&read(page));
        // Files that plans name stand in the same page.
        let files: BTreeMap<String, String> = parts
            .iter()
            .filter_map(|part| match part {
                Part::File { path, text } => Some((path.clone(), text.clone())),
                _ => None,
            })
            .collect();
        for part in &parts {
            let text = match part {
                Part::Toml(text) => text,
                Part::File { path, text } if path.ends_with(".toml") => text,
                _ => continue,
            };
            let nothing = BTreeMap::new();
            let request = Request {
                path: "/plans/plan.toml",
                text: text.as_bytes(),
                given: &nothing,
                vars: &[],
                var_files: &[],
                required: Required::TakenAsPresent,
                read: &|path| {
                    let path = Path::new(path.trim_end_matches('/'));
                    let found = files.iter().find(|(name, _)| path.ends_with(name));
                    found
                        .map(|(_, text)| text.clone().into_bytes())
                        .ok_or_else(|| "it is not in the page".to_owned())
                },
            };
            if let Err(errors) = load(&request) {
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                panic!("docs/{page}:\n{text}\n{}", errors.join("\n"));
            }
            seen += 1;
        }
    }
    assert!(seen >= 10, "{seen}");
}

/// Set RUNNER_WRITE_MANUAL to write the page anew.
#[test]
fn the_reference_of_the_plan_file_is_fresh() {
    let path = root().join("docs/plan-file.md");
    if std::env::vars().any(|(key, _)| key == "RUNNER_WRITE_MANUAL") {
        fs::write(&path, runner::plan::manual()).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap();
    assert!(
        committed == runner::plan::manual(),
        "docs/plan-file.md is stale: run this test with RUNNER_WRITE_MANUAL=1 to write it anew"
    );
}

/// All sources and all recorded screens, spaces folded and Rust's line continuations taken out.
fn words_of_the_program() -> String {
    let mut all = String::new();
    let mut open: Vec<PathBuf> = vec![root().join("src"), root().join("tests/program/snapshots")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default().to_owned();
            if path.is_dir() {
                open.push(path);
            } else if end == "rs" || end == "snap" {
                all.push_str(&fs::read_to_string(&path).unwrap().replace("\\\n", " "));
            }
        }
    }
    folded(&all.replace("\\\"", "\""))
}

fn folded(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A `text` block of the page on troubles is a message, with `…` for what differs from case to case.
#[test]
fn every_message_quoted_is_one_of_the_program() {
    let program = words_of_the_program();
    let mut messages = 0;
    let mut unknown = BTreeSet::new();
    for part in page::parts(&read("troubleshooting.md")) {
        let Part::Text(message) = part else { continue };
        messages += 1;
        let message = message.replace("error: ", "").replace("warning: ", "");
        for line in message.lines() {
            for piece in line.split('…').map(folded).filter(|piece| piece.chars().any(char::is_alphabetic))
            {
                if !program.contains(&piece) {
                    unknown.insert(piece);
                }
            }
        }
    }
    assert!(messages >= 25, "{messages}");
    assert!(unknown.is_empty(), "not said by the program:\n{unknown:#?}");
}

/// Units and lines of cron name commands that exist, with options that they take.
#[test]
fn what_timers_call_is_taken() {
    let mut seen = 0;
    for page in PAGES {
        for line in read(page).lines() {
            let Some((_, call)) = line.split_once("/usr/local/bin/runner ") else { continue };
            let words = call.split(['>', '|', '&', ';', '`']).next().unwrap();
            let mut said = std::process::Command::new(env!("CARGO_BIN_EXE_runner"));
            let said = said.args(words.split_whitespace()).arg("--help").output().unwrap();
            assert!(said.status.success(), "docs/{page}: {line}\n{}", String::from_utf8_lossy(&said.stderr));
            seen += 1;
        }
    }
    assert!(seen >= 2, "{seen}");
}

/// Links between the pages, the README and the plans lead somewhere, titles included.
#[test]
fn every_link_leads_somewhere() {
    let mut links = 0;
    for page in PAGES.iter().map(|page| format!("docs/{page}")).chain(["README.md".to_owned()]) {
        let text = fs::read_to_string(root().join(&page)).unwrap();
        let folder = root().join(&page).parent().unwrap().to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            let (file, title) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { root().join(&page) } else { folder.join(file) };
            assert!(target.exists(), "{page}: `{link}`");
            if !title.is_empty() {
                let titles = page::anchors(&fs::read_to_string(&target).unwrap());
                assert!(titles.iter().any(|found| found == title), "{page}: `{link}` of {titles:?}");
            }
            links += 1;
        }
    }
    assert!(links >= 15, "{links}");
}

/// Every page of the folder is named in the README or by a page that is.
#[test]
fn every_page_is_found_from_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for page in PAGES {
        assert!(readme.contains(&format!("docs/{page}")), "the README does not name docs/{page}");
    }
}
