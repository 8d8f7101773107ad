//! Saved plans: what `runner plan --out` saw, and the refusal of `apply` when any of it has moved since.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::access::Access;
use super::fail::{self, Fail};
use super::plan::Meeting;
use super::session::Session;
use super::source::PlanFile;
use crate::driver::Glimpse;
use crate::plan::{PLAN_MAX, RunId, StepId};
use crate::saga::{Purpose, Verdict};

/// The form that this binary writes. It reads no other: a saved plan is for now.
const VERSION: u32 = 1;

/// The key that a saved plan begins with; no plan file can have it, since that is TOML.
const MARK: &str = "{\"runner_saved_plan\":";

/// A saved plan. Holds no secrets: variables are none, and a probe's answer is its verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Saved {
    runner_saved_plan: u32,
    /// The plan file's absolute path.
    pub(super) plan: PathBuf,
    /// Variables as they were given.
    pub(super) vars: Vec<(String, String)>,
    /// Var files, absolute.
    pub(super) var_files: Vec<PathBuf>,
    /// SHA-256 over what the plan means: its recorded form, variables filled in.
    definition: String,
    /// SHA-256 of every file that the plan names.
    files: BTreeMap<String, String>,
    /// The run that `apply` would have gone on with.
    run: Option<RunId>,
    /// Its last event.
    seq: u64,
    /// That run is over, and a new one is begun.
    #[serde(default)]
    pub(super) new_run: bool,
    /// What each probe said.
    probes: Vec<(StepId, Verdict)>,
}

/// Lower-case hex of the SHA-256.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Saved {
    /// What a look has seen.
    pub(super) fn of(
        file: &PlanFile,
        vars: Vec<(String, String)>,
        var_files: &[PathBuf],
        meeting: &Meeting,
        glimpse: &Glimpse,
    ) -> Result<Self, Fail> {
        let (definition, follows) = (meeting.definition(), meeting.follows.as_ref());
        let whole = serde_json::to_vec(definition).map_err(|error| Fail::unexpected(error.to_string()))?;
        let var_files: Result<Vec<PathBuf>, Fail> = var_files
            .iter()
            .map(|path| std::fs::canonicalize(path).map_err(|error| fail::file("var file", path, &error)))
            .collect();
        Ok(Self {
            runner_saved_plan: VERSION,
            plan: file.path.clone(),
            vars,
            var_files: var_files?,
            definition: digest(&whole),
            files: definition.files.iter().map(|(path, file)| (path.clone(), file.sha256.clone())).collect(),
            run: meeting.run.clone().or_else(|| follows.map(|(run, _)| run.clone())),
            seq: follows.map_or(meeting.seq, |(_, seq)| *seq),
            new_run: false,
            probes: glimpse
                .findings
                .iter()
                .filter(|finding| finding.purpose == Purpose::Probe)
                .map(|finding| (finding.step.clone(), finding.answer.verdict))
                .collect(),
        })
    }

    /// The same, of a run that is begun although the last one is over.
    pub(super) fn afresh(self, new_run: bool) -> Self {
        Self { new_run, ..self }
    }

    /// Writes it with mode 0600, whole or not at all.
    pub(super) fn write(&self, path: &Path) -> Result<(), Fail> {
        let cannot = |error: std::io::Error| {
            Fail::unexpected(format!("the saved plan `{}` cannot be written: {error}", path.display()))
                .help("name a file in a folder that you may write to; nothing else was changed")
        };
        let mut text = serde_json::to_vec(self).map_err(|error| cannot(error.into()))?;
        text.push(b'\n');
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".new-{}", std::process::id()));
        let fresh = PathBuf::from(name);
        let mut options = std::fs::OpenOptions::new();
        let written = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&fresh, path));
        if written.is_err() {
            drop(std::fs::remove_file(&fresh));
        }
        written.map_err(cannot)
    }

    /// Reads a saved plan; nothing when the file is none, recognised by how it begins.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, Fail> {
        // What cannot be read, a plan file that cannot be read is refused for in a moment.
        if !std::fs::metadata(path).is_ok_and(|found| found.is_file()) {
            return Ok(None);
        }
        let Ok(mut file) = std::fs::File::open(path) else { return Ok(None) };
        let mut bytes = vec![0; MARK.len()];
        if file.read_exact(&mut bytes).is_err() || bytes != MARK.as_bytes() {
            return Ok(None);
        }
        if file.take((PLAN_MAX + 1 - MARK.len()) as u64).read_to_end(&mut bytes).is_err() {
            return Ok(None);
        }
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            let shown = path.display();
            Fail::usage(format!("the saved plan `{shown}` cannot be read: {error}"))
                .help("save it anew with `runner plan PLAN --out FILE`; nothing was touched")
        })
    }

    /// The plan file that it is of, as it is now.
    pub(super) fn file(&self, given: bool) -> Result<PlanFile, Fail> {
        if self.runner_saved_plan != VERSION {
            let found = self.runner_saved_plan;
            return Err(Fail::usage(format!(
                "the saved plan has version {found}, and this binary knows version {VERSION}"
            ))
            .help("save it anew with `runner plan PLAN --out FILE`"));
        }
        if given {
            return Err(Fail::usage(
                "a saved plan has its variables: `--var` and `--var-file` go with a plan file",
            )
            .help("save it anew with other variables, with `runner plan PLAN --var NAME=VALUE --out FILE`"));
        }
        PlanFile::read(&self.plan, &self.vars, &self.var_files)
    }

    /// Refuses when the plan, the run or the world has moved since. The journal is held meanwhile, so that nothing
    /// comes between this look and what `apply` does.
    pub(super) async fn check(
        &self,
        session: &Session,
        file: &PlanFile,
        access: &Access,
        folder: &Path,
    ) -> Result<(), Fail> {
        let meeting = Meeting::of(session, file, Some(access), folder, self.new_run).await?;
        let glimpse = meeting.look().await?;
        let now = Self::of(file, self.vars.clone(), &self.var_files, &meeting, &glimpse)?;
        let moved = self.moved(&now);
        if moved.is_empty() {
            return Ok(());
        }
        Err(Fail::usage(format!(
            "the saved plan no longer fits; nothing was touched\n  {}",
            moved.join("\n  ")
        ))
        .help(format!("look again with `runner plan {} --out FILE`", self.plan.display())))
    }

    /// What is not as it was.
    fn moved(&self, now: &Self) -> Vec<String> {
        let mut moved = Vec::new();
        let run = |run: &Option<RunId>, seq: u64| match run {
            Some(run) => format!("run {run} at event {seq}"),
            None => "no run".to_owned(),
        };
        if (&self.run, self.seq) != (&now.run, now.seq) {
            let (was, is) = (run(&self.run, self.seq), run(&now.run, now.seq));
            moved.push(format!("the run: there was {was}, now there is {is}"));
        }
        let paths = self.files.keys().chain(now.files.keys()).collect::<std::collections::BTreeSet<_>>();
        let differ: Vec<&String> =
            paths.into_iter().filter(|path| self.files.get(*path) != now.files.get(*path)).collect();
        moved.extend(differ.iter().map(|path| format!("the file `{path}`: its content is another")));
        if self.definition != now.definition && differ.is_empty() {
            moved.push(format!("the plan `{}`: it means something else", self.plan.display()));
        }
        let before: BTreeMap<&StepId, Verdict> = self.probes.iter().map(|(s, v)| (s, *v)).collect();
        let after: BTreeMap<&StepId, Verdict> = now.probes.iter().map(|(s, v)| (s, *v)).collect();
        for (step, was) in &before {
            match after.get(step) {
                Some(is) if is == was => {}
                Some(is) => {
                    moved.push(format!("the probe of step `{step}`: it said {was}, now it says {is}"));
                }
                None => moved.push(format!("the probe of step `{step}`: it is not looked at any more")),
            }
        }
        let new = after.keys().filter(|step| !before.contains_key(*step));
        moved.extend(new.map(|step| format!("the probe of step `{step}`: it was not looked at before")));
        moved
    }
}
