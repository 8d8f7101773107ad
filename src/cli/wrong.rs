//! Arguments that are wrong: what was probably meant, where the spelling alone does not tell.

use std::path::Path;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Commands as other tools call them, and what to do here.
const ELSEWHERE: &[(&[&str], &str)] = &[
    (
        &["run", "start", "up", "go", "execute", "deploy", "continue"],
        "`runner apply PLAN` does that, and goes on where it stopped",
    ),
    (&["undo", "revert", "down", "back", "destroy"], "`runner rollback` does that"),
    (
        &["check", "test", "verify"],
        "`runner validate PLAN` checks a plan, `runner plan PLAN` looks what it would do",
    ),
    (
        &["diff", "preview", "dry-run", "show"],
        "`runner plan PLAN` shows what would happen, `runner status` how a run stands",
    ),
    (&["log", "logs", "history"], "`runner events` says what happened, event by event"),
    (&["ls", "list", "ps"], "`runner runs` lists the runs, `runner status` shows the newest"),
    (
        &["stop", "kill", "abort"],
        "`runner pause` starts nothing new, `runner cancel` closes the run; Ctrl-C stops the process",
    ),
    (&["yes", "ok", "confirm", "accept"], "`runner approve STEP` says yes"),
    (&["no", "deny", "decline"], "`runner reject STEP` says no"),
    (&["help"], "`runner --help` says what there is, `runner COMMAND --help` all about a command"),
    (&["version"], "`runner --version` says it"),
];

/// Options that other tools have, and what to do here.
const OPTIONS: &[(&[&str], &str)] = &[
    (
        &["--dry-run", "--dryrun", "-n", "--check"],
        "`runner plan PLAN` shows what `apply` would do, `runner rollback --dry-run` what a rollback would",
    ),
    (&["--auto-approve", "--assume-yes"], "`-y` opens gates whose evidence all holds"),
    (&["--force", "-f"], "nothing is forced here: `runner status` names every way forward"),
    (&["--resume", "--continue"], "the same `apply` goes on where it stopped, without an option"),
];

/// Puts what was probably meant in the place of a word that is merely spelled alike.
pub(super) fn meant(error: &mut clap::Error) {
    let given = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.clone()),
        _ => None,
    };
    let tip = match (given(ContextKind::InvalidSubcommand), given(ContextKind::InvalidArg)) {
        (Some(word), _) if is_plan(&word) => {
            let plan = crate::report::shell_word(&crate::report::text_line(&word));
            Some(format!("`runner apply {plan}` goes to its goal, `runner plan {plan}` looks first"))
        }
        (Some(word), _) => find(ELSEWHERE, &word),
        (None, Some(word)) => find(OPTIONS, &word),
        (None, None) => plans_here(error),
    };
    if let Some(tip) = tip {
        for alike in [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg] {
            // The usage that goes with it shows the word that was not meant.
            if error.remove(alike).is_some() {
                error.remove(ContextKind::Usage);
            }
        }
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
    }
}

/// The plans that are here, when one must be named and was not.
fn plans_here(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else { return None };
    let plan =
        error.kind() == ErrorKind::MissingRequiredArgument && missing.iter().any(|m| m.contains("<PLAN>"));
    let plans = super::source::plans_in(&[Path::new("")]);
    super::source::named(&plans)
        .filter(|_| plan)
        .map(|plans| crate::report::text_line(&format!("plans here: {plans}")))
}

fn find(words: &[(&[&str], &str)], word: &str) -> Option<String> {
    let found = words.iter().find(|(words, _)| words.contains(&word))?;
    Some(found.1.to_owned())
}

/// Whether somebody named a plan where a command is wanted.
fn is_plan(word: &str) -> bool {
    Path::new(word).extension().is_some_and(|extension| extension == "toml")
}
