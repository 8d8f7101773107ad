//! The world, to look at and nothing else: a way to it of our own, which leaves nothing behind.
//!
//! The folders and connections of whoever holds the journal are not touched, so that a look can be taken beside a run
//! that is being driven, and without any journal at all.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fail::{Fail, chain};
use crate::driver::{House, Survey, World};
use crate::journal::Bodies;
use crate::plan::Loaded;
use crate::plan::recorded::Definition;
use crate::saga::{Finding, Glance, State, Status};
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

/// Looks at the goals of every step that ended well, and at what is undone of the others. Changes nothing.
pub(super) async fn look_at(state: &State, bodies: Bodies, all: bool) -> Result<Vec<Finding>, Fail> {
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
        return Ok(Vec::new());
    }
    let eyes = Eyes::open()?;
    let findings = eyes.survey(&state.definition, bodies, None, None).look(state, questions).await;
    eyes.close().await;
    Ok(findings)
}
