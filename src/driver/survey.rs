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
use crate::action::{Call, Foreseen, Need};
use crate::check::Look;
use crate::journal::Bodies;
use crate::plan::recorded::{Compensate, Definition, Operation, Step};
use crate::plan::{StepId, catalog, template};
use crate::saga::{Answer, Direction, Finding, Glance, Purpose, Shown, State, Verdict, described, place};
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

    /// The same with more time for each check.
    #[must_use]
    pub fn patient(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// The secrets that could not be had.
    pub fn missing(&self) -> &[SecretError] {
        &self.missing
    }

    /// What the actions of finished steps change, in words that are equal for equal targets; those of actions that
    /// name their target and whose fields can be rendered. Looks at nothing.
    pub fn targets(&self, state: &State) -> BTreeMap<StepId, String> {
        let steps = state.definition.steps.iter().zip(&state.steps);
        let finished = steps.filter(|(step, found)| step.forward.is_some() && found.status.ended_well());
        let named = finished.filter_map(|(step, _)| {
            let call = self.renderer.look_of_action(state, step).ok()?;
            Some((step.id.clone(), self.world.target(&call).ok()??))
        });
        named.collect()
    }

    /// Whether there is what a step's actions need, in both directions, and what can be asked for beforehand: rights, by
    /// and large. Changes
    /// nothing. May be dropped.
    pub async fn needs(&self, state: &State, step: &Step) -> Vec<Need> {
        let back = match &step.compensate {
            Compensate::Action(operation) => Some(operation),
            Compensate::Inverse | Compensate::Nothing | Compensate::Irreversible(_) => None,
        };
        let both = [(Direction::Forward, step.forward.as_ref()), (Direction::Compensation, back)];
        let mut all = Vec::new();
        for (direction, operation) in both {
            let Some(operation) = operation else { continue };
            // What cannot be rendered is reported with the secrets, or is not known before a step has run.
            let Ok(call) = self.rendered_call(state, step, direction, operation) else { continue };
            let limit = call.timeout;
            let asked = tokio::time::timeout(limit + GRACE, self.world.needs(call));
            all.extend(
                asked.await.unwrap_or_else(|_| {
                    vec![Need { what: described(operation), met: Err(late(limit).reason) }]
                }),
            );
        }
        all
    }

    /// The same of a check of a step.
    pub async fn needs_of(&self, state: &State, step: &StepId, check: &Operation) -> Vec<Need> {
        let Ok(look) = self.rendered(state, check) else { return Vec::new() };
        let limit = look.timeout;
        let what = format!("for step `{step}`, {}", Shown::of(state).text(&described(check)));
        let asked = tokio::time::timeout(limit + GRACE, self.world.needs_of(look));
        let late = |_| vec![Need { what: "rights".to_owned(), met: Err(late(limit).reason) }];
        let needs = asked.await.unwrap_or_else(late).into_iter();
        needs.map(|need| Need { what: format!("{} {what}", need.what), ..need }).collect()
    }

    /// A call that only looks, of the action in one direction.
    fn rendered_call(
        &self,
        state: &State,
        step: &Step,
        direction: Direction,
        operation: &Operation,
    ) -> Result<Call, String> {
        self.has_secrets(state, operation)?;
        let call = self.renderer.call(state, step, direction, 0).map_err(|why| self.masked(&why))?;
        Ok(Call { timeout: call.timeout.min(self.limit), ..call })
    }

    /// Looks at everything at once, at most `LOOKS_MAX` checks at a time; the findings stand in the order of the
    /// questions. May be dropped.
    pub async fn look(&self, state: &State, questions: Vec<Glance>) -> Vec<Finding> {
        self.look_until(state, questions, std::future::pending()).await
    }

    /// The same, for no longer than until `enough` is over: what was not looked at by then is `unknown`.
    pub async fn look_until(
        &self,
        state: &State,
        questions: Vec<Glance>,
        enough: impl Future<Output = &'static str>,
    ) -> Vec<Finding> {
        let mut findings = Vec::with_capacity(questions.len());
        let mut each = stream::iter(questions.iter().cloned().map(|question| self.one(state, question)))
            .buffered(LOOKS_MAX);
        let mut enough = std::pin::pin!(enough);
        let why = loop {
            tokio::select! {
                biased;
                found = each.next() => match found {
                    Some(found) => findings.push(found),
                    None => return findings,
                },
                why = &mut enough => break why,
            }
        };
        drop(each);
        let late = questions.into_iter().skip(findings.len()).map(|Glance { step, purpose, check }| {
            let operation = check.or_else(|| state.step(&step).and_then(|(step, _)| step.forward.clone()));
            let told =
                |operation: &Operation| (Shown::of(state).text(&described(operation)), place(operation));
            let (check, place) = operation.as_ref().map(told).unwrap_or_default();
            let answer = Answer::new(Verdict::Unknown, why);
            Finding { step, purpose, check, place, answer, diff: String::new() }
        });
        findings.extend(late.collect::<Vec<_>>());
        findings
    }

    async fn one(&self, state: &State, question: Glance) -> Finding {
        let Glance { step, purpose, check } = question;
        let Some(operation) = check else { return self.own_probe(state, step, purpose).await };
        let (check, place) = (Shown::of(state).text(&described(&operation)), place(&operation));
        let answer = match self.rendered(state, &operation) {
            Ok(look) => within(look.timeout, self.world.look(look)).await,
            Err(why) => Answer::new(Verdict::Unknown, why),
        };
        Finding { step, purpose, check, place, answer, diff: String::new() }
    }

    /// Asks the action's own probe, as a run does for a step without a check of its own.
    async fn own_probe(&self, state: &State, step: StepId, purpose: Purpose) -> Finding {
        let found = state.step(&step).and_then(|(step, _)| Some((step, step.forward.as_ref()?)));
        let Some((recorded, operation)) = found else {
            let answer =
                Answer::new(Verdict::Unknown, format!("step `{step}` does nothing that could be looked at"));
            let (check, place, diff) = Default::default();
            return Finding { step, purpose, check, place, answer, diff };
        };
        let (check, place) = (Shown::of(state).text(&described(operation)), place(operation));
        let answer = match self.rendered_probe(state, recorded, operation) {
            Ok(call) => {
                let asked = tokio::time::timeout(call.timeout + GRACE, self.world.foresee(call.clone()));
                asked.await.unwrap_or_else(|_| unseen(late(call.timeout)))
            }
            Err(why) => {
                let answer = Answer::new(Verdict::Unknown, why);
                let diff = match self.rendered_without_what_comes(state, recorded, operation) {
                    Some(call) => {
                        let asked = tokio::time::timeout(call.timeout + GRACE, self.world.foresee(call));
                        asked.await.map_or_else(|_| String::new(), |foreseen| foreseen.diff)
                    }
                    None => String::new(),
                };
                Foreseen { answer, diff }
            }
        };
        let Foreseen { answer, diff } = answer;
        Finding { step, purpose, check, place, answer, diff }
    }

    /// The look, or why there is none.
    fn rendered(&self, state: &State, operation: &Operation) -> Result<Look, String> {
        self.has_secrets(state, operation)?;
        let look = self.renderer.look(state, operation).map_err(|why| self.masked(&why))?;
        Ok(Look { timeout: look.timeout.min(self.limit), ..look })
    }

    /// The same for an action's own probe.
    fn rendered_probe(&self, state: &State, step: &Step, operation: &Operation) -> Result<Call, String> {
        self.has_secrets(state, operation)?;
        let call = self.renderer.look_of_action(state, step).map_err(|why| self.masked(&why))?;
        Ok(Call { timeout: call.timeout.min(self.limit), ..call })
    }

    /// The same without the fields that an earlier step has still to put out, for an action that can say what it would
    /// change without them.
    fn rendered_without_what_comes(&self, state: &State, step: &Step, operation: &Operation) -> Option<Call> {
        let entry = catalog::find(catalog::Kind::Action, &operation.name)?;
        let mut known = operation.clone();
        for field in entry.fields.iter().filter(|field| field.comes_later) {
            known.fields.remove(field.name);
        }
        if known == *operation {
            return None;
        }
        let step = Step { forward: Some(known.clone()), ..step.clone() };
        self.rendered_probe(state, &step, &known).ok()
    }

    fn has_secrets(&self, state: &State, operation: &Operation) -> Result<(), String> {
        self.lacks(state, operation).map_or(Ok(()), |missing| Err(missing.to_string()))
    }

    /// A secret that an operation, or the broker that it names, needs and that cannot be had.
    pub fn lacks(&self, state: &State, operation: &Operation) -> Option<&SecretError> {
        let mut wanted = template::secrets_of_operation(operation);
        let broker = operation.fields.get("broker").and_then(serde_json::Value::as_str);
        let broker = broker.and_then(|name| state.definition.brokers.get(name));
        if let Some(password) = broker.and_then(|broker| broker.password.clone()) {
            wanted.extend(template::secrets_in(&password.into()));
        }
        self.missing.iter().find(|missing| wanted.contains(&missing.name))
    }

    fn masked(&self, text: &str) -> String {
        self.renderer.secrets.redactor().text(text)
    }

    /// The value of a `when` as things are now.
    ///
    /// # Errors
    /// Why it cannot be said.
    pub(super) fn when(&self, state: &State, step: &Step) -> Result<bool, String> {
        step.when.as_ref().map_or(Ok(true), |when| self.renderer.when(state, when))
    }
}

/// What is answered within the limit and a little more.
async fn within(limit: Duration, asked: impl Future<Output = Answer>) -> Answer {
    match tokio::time::timeout(limit + GRACE, asked).await {
        Ok(answer) => answer,
        Err(_) => late(limit),
    }
}

fn late(limit: Duration) -> Answer {
    Answer::new(Verdict::Unknown, format!("no answer within {} s", limit.as_secs().max(1)))
}

fn unseen(answer: Answer) -> Foreseen {
    Foreseen { answer, diff: String::new() }
}
