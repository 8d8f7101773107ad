//! A holder that serves: runs live in it for days, whoever waits for them, and people speak to them from anywhere.
//!
//! What it does otherwise: secrets are resolved here and not by who submits, every run is driven through gates and
//! pauses, a wish to a run that nobody drives takes the run on, and open runs are taken on at the start.

use std::collections::BTreeMap;

use super::{Ended, Holder, Submission, SubmitError, Target};
use crate::driver::history::{self, History};
use crate::driver::run::{Observer, Patience, WishError};
use crate::driver::secrets::Secrets;
use crate::driver::undo::{refusals_of_rollback, secrets_of_rollback};
use crate::plan::recorded::Definition;
use crate::plan::{RunId, StepId};
use crate::saga::{self, Command, Course, State, Terms};

/// Makes an observer for each run.
pub(super) struct Watchers(Box<dyn Fn() -> Box<dyn Observer> + Send + Sync>);

impl Watchers {
    pub(super) fn watch(&self) -> Box<dyn Observer> {
        (self.0)()
    }
}

/// A run that could not be taken on at the start.
#[derive(Debug)]
pub struct Unresumed {
    /// Which.
    pub run: RunId,
    /// Why not.
    pub error: SubmitError,
}

impl Holder {
    /// Becomes a holder that serves; `observer` is asked for one for each run that is taken on.
    pub fn serving(mut self, observer: impl Fn() -> Box<dyn Observer> + Send + Sync + 'static) -> Self {
        self.serving = Some(Watchers(Box::new(observer)));
        self
    }

    /// Whether it serves.
    pub fn is_serving(&self) -> bool {
        self.serving.is_some()
    }

    /// Looks the secrets of a run up here, where it serves.
    pub(super) fn settle_in(
        &self,
        definition: &Definition,
        secrets: &mut BTreeMap<String, String>,
        terms: &Terms,
    ) -> Result<(), SubmitError> {
        if self.serving.is_none() {
            return Ok(());
        }
        let back = (!terms.forward).then(|| secrets_of_rollback(definition));
        let found = Secrets::resolve(definition, back.as_ref()).map_err(|errors| {
            let each: Vec<String> = errors.iter().map(ToString::to_string).collect();
            SubmitError::Secrets(format!("{}, in the service that holds the journal", each.join("; ")))
        })?;
        secrets.clone_from(found.values());
        Ok(())
    }

    /// Takes on every run that is open and not at rest after a rollback to a step; gives back those that it could not.
    ///
    /// A failed step is not tried again by it, a pause stays, and who was to go as far as a step goes no further.
    ///
    /// # Errors
    /// The runs cannot be listed.
    pub async fn resume_open(&self, by: &str) -> Result<Vec<Unresumed>, SubmitError> {
        let mut left = Vec::new();
        let heads = History::runs(&*self.log).await?;
        for run in heads.into_iter().filter(|head| head.last_seq > 0).map(|head| head.run) {
            let state = match history::state(&*self.log, &self.bodies, &run).await {
                Ok(state) => state,
                Err(error) => {
                    left.push(Unresumed { run, error: error.into() });
                    continue;
                }
            };
            let rests = state.course == Course::Resting || saga::reached(&state).is_some();
            if state.end.is_some() || rests {
                continue;
            }
            if let Err(error) = self.take_on(state, Vec::new(), false, by).await {
                left.push(Unresumed { run, error });
            }
        }
        Ok(left)
    }

    /// Takes a run on that is in this state.
    async fn take_on(
        &self,
        state: State,
        mut wishes: Vec<Command>,
        fresh_budget: bool,
        by: &str,
    ) -> Result<(), SubmitError> {
        let goes_back = wishes.iter().any(|wish| matches!(wish, Command::Rollback { .. }));
        let forward = match &state.course {
            Course::Forward => !goes_back,
            Course::Back(_) => false,
            Course::Resting => fresh_budget && !goes_back,
        };
        if let Some(step) = state.until.clone().filter(|_| !fresh_budget && forward) {
            wishes.insert(0, Command::Until { step });
        }
        let submission = Submission {
            target: Target::Existing(state.run.clone()),
            terms: Terms { forward, fresh_budget, assume_yes: state.terms.assume_yes },
            wishes,
            secrets: BTreeMap::new(),
            patience: Patience::Everything,
            cwd: None,
            by: by.to_owned(),
            known: Some(Box::new(state)),
            looked: None,
        };
        self.submit(submission, Vec::new()).await.map(drop)
    }

    /// Has a run do what a person asks, and takes it on for that when nobody drives it. When it returns, what was
    /// asked is on stable storage.
    ///
    /// # Errors
    /// [`SubmitError::Refused`] when the run's state does not admit it; nothing was changed then.
    pub async fn say(&self, run: &RunId, command: Command, by: String) -> Result<(), SubmitError> {
        match self.wish(run, command.clone(), by.clone()).await {
            Ok(()) => return Ok(()),
            Err(WishError::Refused(refusal)) => return Err(refusal.into()),
            Err(WishError::Gone) => {}
        }
        let state = history::state(&*self.log, &self.bodies, run).await?;
        saga::command(&state, &command, &by)?;
        let goes_on = match &command {
            Command::Rollback { .. } | Command::Cancel => true,
            Command::Pause => false,
            _ => state.end.is_none() && state.course != Course::Resting,
        };
        if !goes_on {
            return self.record(run, &command, &by).await.map(drop);
        }
        let again = matches!(command, Command::Rollback { .. });
        self.take_on(state, vec![command], again, &by).await?;
        self.taken(run).await
    }

    /// Goes on with a run that halted, or that went back to a step: failed steps are tried again.
    ///
    /// # Errors
    /// [`SubmitError`].
    pub async fn go_on(&self, run: &RunId, by: &str) -> Result<(), SubmitError> {
        let state = history::state(&*self.log, &self.bodies, run).await?;
        if let Some(end) = &state.end {
            let why = match end {
                saga::End::Complete => "is complete",
                saga::End::Cancelled => "is cancelled",
                saga::End::RolledBack { .. } => "is rolled back",
            };
            return Err(saga::Refusal::RunIs { run: run.to_string(), why: why.to_owned() }.into());
        }
        self.take_on(state, Vec::new(), true, by).await?;
        self.taken(run).await
    }

    /// Why a rollback of this run would be refused before its first act. Blocks.
    pub fn refusals_of_rollback(&self, state: &State, to: Option<&StepId>) -> Vec<String> {
        refusals_of_rollback(state, to, None, &self.bodies, &self.keys)
    }

    /// Waits until what a run was taken on for is on stable storage.
    async fn taken(&self, run: &RunId) -> Result<(), SubmitError> {
        if let Some(handle) = self.handle(run).await
            && handle.follow().changed().await.is_ok()
        {
            return Ok(());
        }
        match self.ended(run).await.as_deref() {
            Some(Ended::Refused(refusal)) => Err(refusal.clone().into()),
            Some(Ended::Failed(error)) => Err(error.clone().into()),
            Some(Ended::Rest(_)) | None => Ok(()),
        }
    }
}
