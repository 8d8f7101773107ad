//! `runner doctor`: reach and rights, all of it at once. Changes nothing.

mod systems;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::access::Access;
use super::drift;
use super::eyes::Eyes;
use super::fail::Fail;
use super::session::{Session, environment};
use super::source::{self, PlanFile};
use crate::driver::{self, House, Survey, history};
use crate::journal::{self, Bodies};
use crate::plan::StepId;
use crate::plan::recorded::{Compensate, Definition, Operation, SecretRef};
use crate::report::{self, SHOWN_VERSION, exit};
use crate::saga::{Glance, Shown, State, Verdict};

/// How long one look may take: a broker is watched for some seconds.
const LOOK: Duration = Duration::from_secs(15);

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    runner doctor plans/remote.toml --var from=me@old.example --var to=me@new.example\n  \
    runner doctor plans/hello.toml --rollback    (what undoing its newest run needs)\n\n\
    Everything is looked at, whatever was found before: files, secrets, hosts, clusters, brokers, Home Assistant, the rights \
    that are needed, and what the plan itself looks at before it does anything. Changes nothing. Exits 0 when all is well, and 2 when there is a problem: nothing was touched.")]
pub(super) struct DoctorArgs {
    /// The plan file
    #[arg(value_name = "PLAN")]
    plan: PathBuf,
    /// Look at what a rollback of the plan's newest run needs
    ///
    /// Example: runner doctor plans/hello.toml --rollback
    #[arg(long)]
    rollback: bool,
    /// Set a variable; may be repeated
    ///
    /// Example: runner doctor plans/hello.toml --var folder=/tmp/elsewhere
    #[arg(long, value_name = "NAME=VALUE", value_hint = clap::ValueHint::Other, value_parser = source::variable)]
    var: Vec<(String, String)>,
    /// Read variables from a TOML file; may be repeated
    ///
    /// Example: runner doctor plans/remote.toml --var-file hosts.toml
    #[arg(long, value_name = "FILE")]
    var_file: Vec<PathBuf>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Seen {
    /// What.
    what: String,
    /// Whether all is well with it.
    ok: bool,
    /// What was found; of a problem what to do as well.
    found: String,
}

impl Seen {
    fn of(what: impl Into<String>, found: Result<String, String>) -> Self {
        let ok = found.is_ok();
        Self { what: what.into(), ok, found: found.unwrap_or_else(|problem| problem) }
    }
}

pub(super) async fn run(session: &Session, args: &DoctorArgs) -> Result<u8, Fail> {
    let file = PlanFile::read(&args.plan, &args.var, &args.var_file)?;
    let folder = session.state_folder(Some(&file.path));
    let newest = newest(session, &file, &folder).await?;
    let mut all = vec![Seen::of(format!("state folder `{}`", folder.display()), state_folder(&folder))];
    let bodies = Bodies::at(&folder);
    let (mut loaded, mut lacking) = (None, Vec::new());
    let state = if args.rollback {
        let Some(state) = newest else {
            return Err(Fail::usage(format!("there is no run of the plan `{}` to roll back", file.path()))
                .help(
                    "`runner runs` lists what there is; without `--rollback` the plan itself is looked at",
                ));
        };
        all.extend(state.irreversible(None).into_iter().map(|(step, why)| {
            let found = format!("it cannot be undone ({why}): only what came after it can be, with `--to`");
            Seen::of(format!("step `{step}`"), Err(found))
        }));
        pre_images(&state, &bodies, &folder, &mut all);
        state
    } else {
        let given = newest.map(|state| state.definition.given.clone()).unwrap_or_default();
        let (found, missing) = file.load_without(session, &given)?;
        for (path, why) in &missing {
            let advice = "bring it there, or correct the path in the plan";
            all.push(Seen::of(format!("file `{path}`"), Err(format!("cannot be read: {why}; {advice}"))));
        }
        lacking = missing;
        let loaded = loaded.insert(found);
        let run = crate::plan::RunId::new(loaded.definition.name.clone(), 1);
        let now = driver::Clock::now(&driver::SystemClock::new());
        driver::unopened(run, Arc::clone(&loaded.definition), now)
            .map_err(|error| Fail::unexpected(error.to_string()))?
    };
    let eyes = Eyes::open()?;
    let survey = eyes.survey(&state.definition, bodies, loaded.as_ref(), None).patient(LOOK);
    secrets(&state.definition, &survey, args.rollback, &mut all);
    let operations = operations(&state, args.rollback);
    here(&state, &operations, &mut all);
    let reached = systems::reach(&state, &survey, &operations, &mut all).await;
    let can = |operation: &Operation| {
        let mut texts = operation.fields.values().filter_map(Value::as_str);
        reached.allows(operation) && !texts.any(|text| lacking.iter().any(|(path, _)| path == text))
    };
    needs(&state, &survey, args.rollback, &operations, &can, &mut all).await;
    if args.rollback {
        ready(&state, &survey, &mut all).await;
    } else {
        systems::first_looks(&state, &survey, &reached, &mut all).await;
    }
    eyes.close().await;
    show(session, &file, &all);
    Ok(if all.iter().all(|seen| seen.ok) { exit::COMPLETE } else { exit::USAGE })
}

/// Whether what was there before each step that is undone by itself can be brought back: with the key, where it is sealed.
fn pre_images(state: &State, bodies: &Bodies, folder: &Path, all: &mut Vec<Seen>) {
    let keys = super::access::keys(folder);
    for step in state.to_undo(None) {
        if state.step(&step).is_none_or(|(_, found)| found.pre_image.is_none()) {
            continue;
        }
        let found = driver::pre_images_readable(state, std::slice::from_ref(&step), bodies, &keys)
            .map(|()| "can be brought back".to_owned())
            .map_err(|(_, error)| format!("cannot be brought back: {error}"));
        all.push(Seen::of(format!("what was there before step `{step}`"), found));
    }
}

fn show(session: &Session, file: &PlanFile, all: &[Seen]) {
    let problems = all.iter().filter(|seen| !seen.ok).count();
    if session.json {
        let object = json!({
            "v": SHOWN_VERSION, "type": "doctor", "plan": file.path(), "problems": problems, "looked": all,
        });
        return session.say(&format!("{}\n", report::json_line(&object)));
    }
    for seen in all {
        let word = if seen.ok { "ok     " } else { "problem" };
        session.say(&format!("{word}  {}\n", report::text_line(&format!("{}: {}", seen.what, seen.found))));
    }
    session.say(&match problems {
        0 => "All is well. Nothing was changed.\n".to_owned(),
        1 => "There is 1 problem. Nothing was changed.\n".to_owned(),
        more => format!("There are {more} problems. Nothing was changed.\n"),
    });
}

/// The newest run of the plan file, when there is a journal.
async fn newest(session: &Session, file: &PlanFile, folder: &Path) -> Result<Option<State>, Fail> {
    if !folder.join("journal").exists() {
        return Ok(None);
    }
    let access = Access::open(session, folder, false).await?;
    let found = history::newest_of(access.history(), access.bodies(), file.path()).await;
    let state = match found {
        Ok(Some(run)) => drift::state(&access, Some(&run.to_string())).await.map(Some),
        Ok(None) => Ok(None),
        Err(error) => Err(error.into()),
    };
    access.close().await;
    state
}

/// Whether a journal can be kept there.
fn state_folder(folder: &Path) -> Result<String, String> {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let there = whole.ancestors().find(|above| above.exists()).unwrap_or(&whole);
    let shown = there.display();
    if !there.is_dir() {
        return Err(format!("`{shown}` is not a folder: name another with `--state DIR`"));
    }
    if rustix::fs::access(there, rustix::fs::Access::WRITE_OK).is_err() {
        return Err(format!("`{shown}` may not be written by this user: name another with `--state DIR`"));
    }
    match journal::warnings(there) {
        Ok(warnings) if warnings.is_empty() => Ok("can be written, on a disk".to_owned()),
        Ok(warnings) => Err(warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        Err(error) => Err(super::fail::chain(&error)),
    }
}

/// The operations that would run here or on hosts.
fn operations(state: &State, rollback: bool) -> Vec<(StepId, Operation)> {
    let mut all = Vec::new();
    let undo: BTreeSet<StepId> = state.to_undo(None).into_iter().collect();
    for step in &state.definition.steps {
        if rollback && !undo.contains(&step.id) {
            continue;
        }
        let mut add = |operation: &Operation| all.push((step.id.clone(), operation.clone()));
        match &step.compensate {
            Compensate::Action(operation) => add(operation),
            Compensate::Inverse if rollback => step.forward.iter().for_each(&mut add),
            Compensate::Inverse | Compensate::Nothing | Compensate::Irreversible(_) => {}
        }
        step.undone.iter().for_each(&mut add);
        // Whoever takes what only one may have looks first whether the other has let go.
        let resources = step.takes.keys().chain(step.frees.keys());
        let resources = resources.filter_map(|name| state.definition.resources.get(name));
        resources.flat_map(|resource| resource.gone.values().flatten()).for_each(&mut add);
        if !rollback {
            step.gate.iter().flat_map(|gate| gate.evidence.iter().flatten()).for_each(&mut add);
            step.forward.iter().chain(&step.probe).chain(&step.verify).for_each(&mut add);
            step.rollback_ready.iter().for_each(&mut add);
        }
    }
    all
}

fn secrets(definition: &Definition, survey: &Survey<House>, rollback: bool, all: &mut Vec<Seen>) {
    let wanted = if rollback {
        driver::secrets_of_rollback(definition)
    } else {
        crate::plan::template::secrets_of_definition(definition)
    };
    for name in wanted {
        let found = match survey.missing().iter().find(|missing| missing.name == name) {
            Some(missing) => Err(missing.why.clone()),
            None => Ok(match definition.secrets.get(&name) {
                Some(SecretRef::Env(variable)) => format!("in the environment variable `{variable}`"),
                Some(SecretRef::File(path)) => format!("in the file `{path}`"),
                None => continue,
            }),
        };
        all.push(Seen::of(format!("secret `{name}`"), found));
    }
}

/// What commands on this machine need: their folders and their programs.
fn here(state: &State, operations: &[(StepId, Operation)], all: &mut Vec<Seen>) {
    let shown = Shown::of(state);
    let text = |value: &Value| shown.known(value.as_str()?);
    let mut seen = BTreeSet::new();
    for (step, operation) in operations.iter().filter(|(_, operation)| operation.name == "command") {
        let cwd = operation.fields.get("cwd").and_then(&text);
        let cwd = PathBuf::from(cwd.unwrap_or_else(|| state.definition.folder.clone()));
        if seen.insert(format!("folder {}", cwd.display())) {
            let found = if cwd.is_dir() {
                Ok("is there".to_owned())
            } else {
                Err(format!("is gone: step `{step}` runs in it; bring it back, or give `rollback` a `--cwd`"))
            };
            all.push(Seen::of(format!("folder `{}`", cwd.display()), found));
        }
        let words = operation.fields.get("argv").and_then(Value::as_array);
        let Some(program) = words.and_then(|words| words.first()).and_then(&text) else { continue };
        if seen.insert(format!("program {program} {}", cwd.display())) {
            all.push(Seen::of(format!("program `{program}`"), program_at(&program, &cwd, step)));
        }
    }
}

/// Where a program is found, as the system would find it.
fn program_at(program: &str, cwd: &Path, step: &StepId) -> Result<String, String> {
    let runs = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    let found = if program.contains('/') {
        Some(cwd.join(program)).filter(|path| runs(path))
    } else {
        let path = environment("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| runs(path))
    };
    found.map(|path| path.display().to_string()).ok_or_else(|| {
        format!(
            "cannot be found or run: install it or mend PATH; step `{step}` needs it (unless a step makes it)"
        )
    })
}

/// Whether actions and checks have the rights that they need, as far as a system can be asked for them.
async fn needs(
    state: &State,
    survey: &Survey<House>,
    rollback: bool,
    operations: &[(StepId, Operation)],
    can: &(dyn Fn(&Operation) -> bool + Sync),
    all: &mut Vec<Seen>,
) {
    let undo: BTreeSet<StepId> = state.to_undo(None).into_iter().collect();
    let steps = state.definition.steps.iter().filter(|step| !rollback || undo.contains(&step.id));
    let steps = steps.filter(|step| step.forward.as_ref().is_some_and(can));
    for step in steps {
        let needs = survey.needs(state, step).await;
        all.extend(needs.into_iter().map(|need| Seen::of(need.what, need.met)));
    }
    for (step, operation) in operations.iter().filter(|(_, operation)| can(operation)) {
        let needs = survey.needs_of(state, step, operation).await;
        all.extend(needs.into_iter().map(|need| Seen::of(need.what, need.met)));
    }
}

/// Whether the checks hold that say that the way back works.
async fn ready(state: &State, survey: &Survey<House>, all: &mut Vec<Seen>) {
    let questions = state.definition.steps.iter().flat_map(Glance::ready).collect();
    for finding in survey.look(state, questions).await {
        let found = match finding.answer.verdict {
            Verdict::Holds => Ok("holds".to_owned()),
            verdict => Err(format!("{verdict} ({}): the way back may not work", finding.answer.reason)),
        };
        all.push(Seen::of(format!("rollback_ready of step `{}`, {}", finding.step, finding.check), found));
    }
}
