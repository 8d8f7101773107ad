//! What `apply` is told about steps: how far to go, what to do again, what to keep, what to replace. Refused with clear
//! words before anything is touched.

use std::io::{BufRead, Write};
use std::path::Path;

use super::ask;
use super::fail::Fail;
use super::near;
use super::session::Session;
use crate::driver::{Amendment, History, history, short_hash};
use crate::plan::recorded::Definition;
use crate::plan::{RunId, StepId, did_you_mean};
use crate::report::{exit, text_line};
use crate::saga::{Change, Command, State, Status, Taken};

/// A step whose compensation is to be replaced, and the difference that was approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Amend {
    step: StepId,
    approved: Option<String>,
}

/// Reads `STEP` or `STEP@DIFF`.
pub(super) fn amend(text: &str) -> Result<Amend, String> {
    let (step, approved) = match text.split_once('@') {
        Some((step, word)) => (step, Some(word.to_owned())),
        None => (text, None),
    };
    Ok(Amend { step: near::step(step)?, approved })
}

/// What `apply` is told about steps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edits<'a> {
    pub(super) redo: &'a [StepId],
    pub(super) keep: &'a [StepId],
    pub(super) amend: &'a [Amend],
    pub(super) until: Option<&'a StepId>,
}

impl Edits<'_> {
    pub(super) fn amend_ids(&self) -> Vec<StepId> {
        self.amend.iter().map(|amend| amend.step.clone()).collect()
    }

    /// What follows on the amendment.
    pub(super) fn wishes(&self) -> Vec<Command> {
        let redo = self.redo.iter().map(|step| Command::Redo { step: step.clone() });
        let until = self.until.map(|step| Command::Until { step: step.clone() });
        redo.chain(until).collect()
    }

    fn flags(&self) -> impl Iterator<Item = (&'static str, &StepId)> {
        let redo = self.redo.iter().map(|step| ("--redo", step));
        let keep = self.keep.iter().map(|step| ("--keep", step));
        redo.chain(keep).chain(self.amend.iter().map(|amend| ("--amend", &amend.step)))
    }
}

/// Refuses what contradicts itself, whatever the run.
pub(super) fn agree(edits: &Edits<'_>) -> Result<(), Fail> {
    for (flag, step) in edits.flags().filter(|(flag, _)| *flag != "--redo") {
        if edits.redo.contains(step) {
            return Err(Fail::usage(format!("step `{step}` is named by `--redo` and by `{flag}`"))
                .help("`--redo` runs it again as it is in the file; leave the other one out"));
        }
    }
    for (place, step) in edits.redo.iter().enumerate() {
        if edits.redo[..place].contains(step) {
            return Err(Fail::usage(format!("step `{step}` is named by `--redo` twice")));
        }
    }
    Ok(())
}

fn known(definition: &Definition, flag: &str, step: &StepId) -> Result<(), Fail> {
    if definition.steps.iter().any(|known| known.id == *step) {
        return Ok(());
    }
    let fail = Fail::usage(format!("`{flag}`: the plan `{}` has no step `{step}`", definition.path));
    let ids = definition.steps.iter().map(|step| step.id.as_str());
    Err(match did_you_mean(step.as_str(), ids) {
        Some(meant) => fail.help(format!("did you mean `{meant}`?")),
        None => fail.help("the step is one that stands in the plan file"),
    })
}

/// Refuses what a run that begins cannot do.
pub(super) fn begins(definition: &Definition, edits: &Edits<'_>) -> Result<(), Fail> {
    if let Some(step) = edits.until {
        known(definition, "--until", step)?;
    }
    match edits.flags().next() {
        Some((flag, step)) => {
            known(definition, flag, step)?;
            Err(Fail::usage(format!(
                "`{flag} {step}`: no step of this plan is finished, its run only begins"
            ))
            .help("`runner apply` without it begins the run"))
        }
        None => Ok(()),
    }
}

/// Refuses what the run's steps do not admit.
pub(super) fn fit(
    session: &Session,
    state: &State,
    definition: &Definition,
    edits: &Edits<'_>,
) -> Result<(), Fail> {
    if let Some(step) = edits.until {
        known(definition, "--until", step)?;
    }
    for (flag, step) in edits.flags() {
        known(definition, flag, step)?;
        let status = state.step(step).map_or(&Status::Pending, |(_, found)| &found.status);
        if status.is_finished() {
            continue;
        }
        let anyway = match (status, flag) {
            (Status::Skipped, _) => "it was left out, and has no result",
            (_, "--redo") => "`runner apply` runs it anyway, or goes on with it",
            _ => "it takes the edited definition anyway",
        };
        return Err(Fail::usage(format!(
            "`{flag} {step}`: step `{step}` is {}, not finished",
            status.word()
        ))
        .help(format!("{anyway}; leave `{flag} {step}` out")));
    }
    let edited = |step: &StepId| {
        let new = definition.steps.iter().find(|new| new.id == *step);
        state.step(step).map(|(old, _)| old) != new
            || state.definition.vars != definition.vars
            || state.definition.files != definition.files
    };
    for (flag, step) in edits.flags().filter(|(flag, step)| *flag != "--redo" && !edited(step)) {
        session.note(&format!("Step `{step}` is not edited: `{flag}` has nothing to do."));
    }
    Ok(())
}

/// The newest run of this name, wherever its plan file lies.
pub(super) async fn same_run(history: &dyn History, definition: &Definition) -> Result<RunId, Fail> {
    let name = definition.name.as_str();
    history::find(history, Some(name)).await.map_err(|error| {
        Fail::from(error).after("`--same-run` has no run to go on with").help("`runner runs` lists them")
    })
}

/// The plan counts as moved: the run goes on from where the file lies now.
pub(super) fn move_to(state: &State, new: &Definition, amendment: &mut Option<Amendment>) {
    let (old, here) = (&state.definition.path, &new.path);
    let change = Change {
        step: None,
        diff: format!("--- recorded\n+++ moved\n-path = {old:?}\n+path = {here:?}\n"),
        matters: false,
        taken: Taken::AsEdited,
    };
    let amendment = amendment.get_or_insert_with(|| Amendment {
        definition: Definition::clone(&state.definition),
        changes: Vec::new(),
    });
    amendment.definition.path.clone_from(&new.path);
    amendment.definition.folder.clone_from(&new.folder);
    amendment.changes.push(change);
}

/// The word that approves one difference and no other.
fn word(diff: &str) -> String {
    format!("{:014x}", short_hash(diff.as_bytes()))[..8].to_owned()
}

/// Whether a person has approved every compensation that would be replaced; else the exit code.
pub(super) fn approved(
    session: &Session,
    state: &State,
    amendment: &Amendment,
    edits: &Edits<'_>,
    plan: &str,
    folder: &Path,
) -> Result<Option<u8>, Fail> {
    for (step, diff) in amendment.to_approve() {
        let given =
            edits.amend.iter().find(|amend| amend.step == *step).and_then(|amend| amend.approved.as_ref());
        let word = word(diff);
        if given == Some(&word) {
            continue;
        }
        let shown = super::fail::lines(diff);
        session.tell(&format!(
            "Step `{step}` of run `{}` would be undone in another way:\n\n{shown}\n",
            state.run
        ));
        if let Some(given) = given {
            return Err(Fail::usage(format!("`{given}` approves another difference than this one"))
                .help(format!("read it; `--amend {step}@{word}` approves it")));
        }
        if session.json || !ask::somebody_is_here() {
            let options = match session.options(folder) {
                none if none.is_empty() => none,
                some => format!(" {some}"),
            };
            let plan = crate::report::shell_word(&text_line(plan));
            session.tell(&format!(
                "Nothing was changed: this waits for an approval. To approve exactly this difference:\n      \
                 runner apply {plan} --amend {step}@{word}{options}\n"
            ));
            return Ok(Some(exit::WAITING));
        }
        if !yes(&format!("Undo step `{step}` in this way from now on? [y/N] "))? {
            session.tell("Nothing was changed.\n");
            return Ok(Some(exit::WAITING));
        }
    }
    Ok(None)
}

/// Asks a person who is here.
pub(super) fn yes(question: &str) -> Result<bool, Fail> {
    let mut err = std::io::stderr().lock();
    drop(write!(err, "{question}").and_then(|()| err.flush()));
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Fail::unexpected(format!("the answer cannot be read: {error}")))?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}
