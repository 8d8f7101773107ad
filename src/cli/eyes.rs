//! The world, to look at and nothing else: a way to it of our own, which leaves nothing behind.
//!
//! The folders and connections of whoever holds the journal are not touched, so that a look can be taken beside a run
//! that is being driven, and without any journal at all.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::drive::Signals;
use super::fail::{Fail, chain};
use super::follow::{Rested, Shared};
use crate::driver::{House, Survey, World};
use crate::journal::Bodies;
use crate::plan::recorded::Definition;
use crate::plan::{Loaded, StepId};
use crate::report::{Asked, exit};
use crate::saga::{self, Finding, Glance, State, Status};
use crate::transport::{Transport, TransportOptions};

/// The world, to look at.
pub(super) struct Eyes {
    world: Arc<House>,
    folder: PathBuf,
}

impl Eyes {
    /// Opens a way to the world in a private folder that [`close`](Self::close) removes.
    pub(super) fn open() -> Result<Self, Fail> {
        let cannot = |why: String| {
            Fail::unexpected(format!("no private folder can be made to look from: {why}"))
                .help("make room in the folder for temporary files, or name another in TMPDIR")
        };
        let name = getrandom::u64().map_err(|error| cannot(error.to_string()))?;
        let name = format!("runner-look-{name:016x}");
        let mut folder = std::env::temp_dir().join(&name);
        if folder.as_os_str().len() + "/sockets".len() > crate::transport::RUNTIME_MAX {
            folder = Path::new("/tmp").join(&name);
        }
        let mut make = std::fs::DirBuilder::new();
        make.mode(0o700).create(&folder).map_err(|error| cannot(error.to_string()))?;
        let options = TransportOptions {
            state: folder.clone(),
            runtime: folder.join("sockets"),
            journal: "look".to_owned(),
            token: 0,
        };
        match Transport::open(options) {
            Ok(transport) => Ok(Self { world: Arc::new(House::new(transport)), folder }),
            Err(error) => {
                drop(std::fs::remove_dir_all(&folder));
                Err(cannot(chain(&error)))
            }
        }
    }

    /// A survey of a run whose files are stored in `bodies`, or of a plan that was just loaded.
    pub(super) fn survey(
        &self,
        definition: &Definition,
        bodies: Bodies,
        loaded: Option<&Loaded>,
        cwd: Option<PathBuf>,
    ) -> Survey<House> {
        let contents = loaded.map(|loaded| {
            let each = definition.files.iter().filter_map(|(path, file)| {
                let fresh = loaded.files.get(&file.sha256).cloned();
                Some((path.clone(), fresh.or_else(|| bodies.get(file).ok())?))
            });
            each.collect::<BTreeMap<String, Vec<u8>>>()
        });
        Survey::new(Arc::clone(&self.world), definition, bodies, contents, cwd)
    }

    /// Ends the connections and removes the folder.
    pub(super) async fn close(self) {
        self.world.close().await;
    }
}

impl Drop for Eyes {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// What was seen of the steps of a run.
#[derive(Default)]
pub(super) struct Looked {
    pub(super) findings: Vec<Finding>,
    /// The targets of the actions that name one.
    pub(super) targets: BTreeMap<StepId, String>,
}

/// Looks at the goals of every step that ended well, and with `all` at what is undone of the others too. Changes
/// nothing. What was not looked at when `enough` is over is not known, with what it says as the reason.
pub(super) async fn look_at(
    state: &State,
    bodies: Bodies,
    all: bool,
    enough: impl Future<Output = &'static str>,
) -> Result<Looked, Fail> {
    let steps = state.definition.steps.iter().zip(&state.steps);
    let questions: Vec<Glance> = steps
        .flat_map(|(step, found)| match &found.status {
            Status::Done | Status::Satisfied => Glance::goals(step),
            Status::Failed { .. }
            | Status::Interrupted(_)
            | Status::Verifying(_)
            | Status::CompensationFailed { .. }
                if all =>
            {
                Glance::goals(step)
            }
            Status::Compensated if all && step.undone.is_empty() => Glance::goals(step),
            Status::Compensated if all => Glance::undone(step),
            _ => Vec::new(),
        })
        .collect();
    if questions.is_empty() {
        return Ok(Looked::default());
    }
    let eyes = Eyes::open()?;
    let survey = eyes.survey(&state.definition, bodies, None, None);
    let findings = survey.look_until(state, questions, enough).await;
    let targets = survey.targets(state);
    eyes.close().await;
    Ok(Looked { findings, targets })
}

/// How long the looks for the end of a run may take together: somebody waits for the ending.
const SYSTEMS_MAX: Duration = Duration::from_secs(15);

/// Looks what each system looks like now when a run came to rest in a way that its exit code calls bad; nothing when
/// a person wants to leave, who may also cut the looks short.
pub(super) async fn systems(
    rested: &Rested,
    shared: &Shared,
    bodies: Bodies,
    asked: Asked,
    signals: &mut Signals,
) {
    if !rested.stopped {
        let findings = at_rest(&rested.state, bodies, asked, signals).await;
        shared.with(|screen| screen.systems = findings);
    }
}

/// The same for a state that a run is in.
pub(super) async fn at_rest(
    state: &State,
    bodies: Bodies,
    asked: Asked,
    signals: &mut Signals,
) -> Vec<Finding> {
    let bad = [exit::HALTED, exit::ROLLED_BACK, exit::NEEDS_ATTENTION];
    if !bad.contains(&exit::code(&saga::standing(state), asked)) {
        return Vec::new();
    }
    let enough = async {
        tokio::select! {
            _ = signals.next() => "the look was cut short by a signal",
            () = tokio::time::sleep(SYSTEMS_MAX) => "all the looks together took too long",
        }
    };
    match look_at(state, bodies, true, enough).await {
        Ok(looked) => looked.findings,
        // How the run ended is said all the same.
        Err(_) => {
            tracing::warn!("could not look what each system looks like now");
            Vec::new()
        }
    }
}
