//! Looks at the world and changes nothing: the same checks that a run would look at, all at once and not for long.
//!
//! What cannot be reached within [`LOOK_MAX`] is `unknown`, which means *not looked* and never *drifted*. Nothing is
//! recorded. `plan`, `drift`, `doctor` and the endings of halted runs are made from it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;

use super::render::Renderer;
use super::secrets::{SecretError, Secrets};
use super::world::World;
use crate::check::Look;
use crate::journal::Bodies;
use crate::plan::recorded::{Definition, Operation, Step};
use crate::plan::{StepId, template};
use crate::saga::{Answer, Finding, Glance, State, Verdict, described, place};
use crate::transport::Stop;

/// How long one check may take: somebody waits in front of a screen.
pub const LOOK_MAX: Duration = Duration::from_secs(5);

/// How much longer the whole of a look may take than the check itself: to connect, and to end what hangs.
const GRACE: Duration = Duration::from_secs(2);

/// Checks looked at at once: each may be a process or a connection.
const LOOKS_MAX: usize = 8;

/// Looks for one run or plan. Nothing that it does changes anything.
pub struct Survey<W> {
    world: Arc<W>,
    renderer: Renderer,
    missing: Vec<SecretError>,
    /// How long one check may take.
    limit: Duration,
}

impl<W: World> Survey<W> {
    /// A survey with the secrets that can be had; checks that need another are not looked at.
    ///
    /// `contents` are files that are not stored yet, by their path: those of a plan that was only loaded.
    pub fn new(
        world: Arc<W>,
        definition: &Definition,
        bodies: Bodies,
        contents: Option<BTreeMap<String, Vec<u8>>>,
        cwd: Option<PathBuf>,
    ) -> Self {
        let (secrets, missing) = Secrets::what_there_is(definition);
        let (_, stop) = Stop::channel();
        let mut renderer = Renderer::new(secrets, cwd, stop, bodies);
        match contents {
            Some(contents) => renderer.with_files(contents),
            // A content that cannot be read makes the checks that need it unknown, and no others.
            None => renderer.load_what_there_is(definition),
        }
        Self { world, renderer, missing, limit: LOOK_MAX }
    }

    /// The secrets that could not be had.
    pub fn missing(&self) -> &[SecretError] {
        &self.missing
    }

    /// Looks at everything at once, at most [`LOOKS_MAX`] checks at a time; the findings stand in the order of the
    /// questions. May be dropped.
    pub async fn look(&self, state: &State, questions: Vec<Glance>) -> Vec<Finding> {
        let each = questions.into_iter().map(|question| self.one(state, question));
        stream::iter(each).buffered(LOOKS_MAX).collect().await
    }

    async fn one(&self, state: &State, question: Glance) -> Finding {
        let Glance { step, purpose, check } = question;
        let Some(operation) = check else {
            let (check, place, answer) = own_probe(state, &step);
            return Finding { step, purpose, check, place, answer };
        };
        let (check, place) = (self.text(state, &described(&operation)), place(&operation));
        let answer = match self.rendered(state, &operation) {
            Ok(look) => self.asked(look).await,
            Err(why) => Answer::new(Verdict::Unknown, why),
        };
        Finding { step, purpose, check, place, answer }
    }

    /// The look, or why there is none.
    fn rendered(&self, state: &State, operation: &Operation) -> Result<Look, String> {
        let wanted = template::secrets_of_operation(operation);
        if let Some(missing) = self.missing.iter().find(|missing| wanted.contains(&missing.name)) {
            return Err(missing.to_string());
        }
        let look = self.renderer.look(state, operation);
        let look = look.map_err(|why| self.renderer.secrets.redactor().text(&why))?;
        Ok(Look { timeout: look.timeout.min(self.limit), ..look })
    }

    async fn asked(&self, look: Look) -> Answer {
        let limit = look.timeout;
        match tokio::time::timeout(limit + GRACE, self.world.look(look)).await {
            Ok(answer) => answer,
            Err(_) => Answer::new(Verdict::Unknown, format!("no answer within {} s", limit.as_secs().max(1))),
        }
    }

    /// The value of a `when` as things are now.
    ///
    /// # Errors
    /// Why it cannot be said.
    pub(super) fn when(&self, state: &State, step: &Step) -> Result<bool, String> {
        step.when.as_ref().map_or(Ok(true), |when| self.renderer.when(state, when))
    }

    /// A text of the plan, rendered; secrets stay masked.
    pub(super) fn text(&self, state: &State, text: &str) -> String {
        self.renderer.text(state, text)
    }
}

/// The one place where an action's own probe is asked. No action of this build has one.
fn own_probe(state: &State, step: &StepId) -> (String, String, Answer) {
    let forward = state.step(step).and_then(|(step, _)| step.forward.clone());
    let name = forward.as_ref().map_or("", |forward| forward.name.as_str());
    let place = forward.as_ref().map_or_else(String::new, place);
    let reason = format!("the action `{name}` has no probe of its own");
    (format!("{name}: its own probe"), place, Answer::new(Verdict::Unknown, reason))
}
