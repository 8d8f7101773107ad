//! From an ask of the core to the future that finds its reply: rendered with what is known now, owning what it needs.

use std::sync::Arc;

use futures_util::future::{BoxFuture, join_all};

use super::{Message, RunTask};
use crate::action::Tell;
use crate::check::Look;
use crate::driver::clock::Clock;
use crate::driver::log::Log;
use crate::driver::pre_image;
use crate::driver::world::World;
use crate::plan::recorded::{Compensate, Operation, Step};
use crate::saga::{
    Answer, Ask, CutCause, Direction, Evidence, FailureClass, Outcome, Reply, Settlement, Shown, Status,
    StepState, Trace, Verdict, described,
};

impl<W: World, L: Log, C: Clock> RunTask<W, L, C> {
    /// The future that finds the reply; it owns what it needs.
    pub(super) fn work(&self, ask: &Ask) -> BoxFuture<'static, Reply> {
        let state = &self.state;
        let Some((step, _)) = state.step(ask.step()) else { return ready(Reply::Looked(Vec::new())) };
        match ask {
            Ask::When(_) => {
                let value = step.when.as_ref().map_or(Ok(true), |when| self.renderer.when(state, when));
                ready(Reply::When(value))
            }
            Ask::Probe(_) | Ask::SettleProbe(_) if step.probe.is_none() => self.own_probe(step),
            Ask::Probe(_) | Ask::SettleProbe(_) => self.looked(step.probe.as_slice()),
            Ask::Verify(_) => self.looked(&step.verify),
            Ask::Undone(_) => self.looked(&step.undone),
            Ask::Ready(_) => self.looked(&step.rollback_ready),
            Ask::Sample(_) => {
                let all: Vec<Operation> = step.verify.iter().chain(&step.rollback_ready).cloned().collect();
                self.looked(&all)
            }
            Ask::Gone { resource, owner, .. } => {
                let checks = state.definition.resources.get(resource).and_then(|r| r.gone.get(owner));
                self.looked(checks.map_or(&[], Vec::as_slice))
            }
            Ask::Evidence(_) => self.evidence(step),
            Ask::PreImage(_) => self.pre_image(step),
            Ask::Act { direction, attempt, .. } => self.act(step, *direction, *attempt),
            Ask::Settle { direction, attempt, .. } => {
                match self.renderer.call(state, step, *direction, *attempt) {
                    Ok(call) => {
                        let world = Arc::clone(&self.parts.world);
                        Box::pin(async move { Reply::Settled(world.settle(call).await) })
                    }
                    Err(reason) => ready(Reply::Settled(Settlement::Unproved { reason })),
                }
            }
        }
    }

    /// The action's own probe; without a check of its own, a step has that.
    fn own_probe(&self, step: &Step) -> BoxFuture<'static, Reply> {
        let world = Arc::clone(&self.parts.world);
        match self.renderer.look_of_action(&self.state, step) {
            Ok(call) => Box::pin(async move { Reply::Looked(vec![world.probe(call).await]) }),
            Err(message) => {
                let message = self.renderer.secrets.redactor().text(&message);
                ready(Reply::Looked(vec![Answer::new(Verdict::Unknown, message)]))
            }
        }
    }

    /// Takes the step's pre-image and keeps it: what the reply names is on stable storage.
    fn pre_image(&self, step: &Step) -> BoxFuture<'static, Reply> {
        let redactor = self.renderer.secrets.redactor().clone();
        let call = match self.renderer.look_of_action(&self.state, step) {
            Ok(call) => call,
            Err(message) => return ready(Reply::PreImage(Err(redactor.text(&message)))),
        };
        let world = Arc::clone(&self.parts.world);
        let (bodies, keys) = (self.parts.bodies.clone(), self.parts.keys.clone());
        let purpose = pre_image::purpose(&self.state.run, &step.id);
        Box::pin(async move {
            let secret = call.secret;
            let masks = redactor.clone();
            let kept = match world.pre_image(call).await {
                Ok(taken) => tokio::task::spawn_blocking(move || {
                    let kept = pre_image::keep(&taken, secret, &purpose, &redactor, &bodies, &keys);
                    kept.map_err(|error| error.to_string())
                })
                .await
                .unwrap_or_else(|_| Err(PANICKED.to_owned())),
                Err(message) => Err(message),
            };
            Reply::PreImage(kept.map_err(|message| masks.text(&message)))
        })
    }

    /// Runs an attempt, in either direction.
    fn act(&self, step: &Step, direction: Direction, attempt: u32) -> BoxFuture<'static, Reply> {
        let redactor = self.renderer.secrets.redactor().clone();
        let failed = move |message: &str| {
            let (class, message) = (FailureClass::Permanent, redactor.text(message));
            Reply::Ended(Outcome::Failed { class, message, trace: Trace::default() })
        };
        let mut call = match self.renderer.call(&self.state, step, direction, attempt) {
            Ok(call) => call,
            Err(message) => return ready(failed(&message)),
        };
        let (sender, id) = (self.sender.clone(), step.id.clone());
        call.tell = Tell::to(move |reason| {
            drop(sender.send(Message::Waits { step: id.clone(), reason }));
        });
        let world = Arc::clone(&self.parts.world);
        let kept = self.state.step(&step.id).and_then(|(_, found)| found.pre_image.clone());
        if direction == Direction::Forward {
            // What no pre-image was taken of could not be brought back: the plan was edited since.
            if let Some(was) = kept.as_ref().and_then(pre_image::target) {
                match world.target(&call) {
                    Ok(Some(now)) if now != was => {
                        return ready(failed(&format!(
                            "it would change {now}, but what was there before is known of {was} alone, and so it could \
                             not be undone: roll the step back first, or leave its target as it was"
                        )));
                    }
                    Ok(_) => {}
                    Err(message) => return ready(failed(&message)),
                }
            }
            return Box::pin(async move { Reply::Ended(world.act(call).await) });
        }
        let inverse = matches!(step.compensate, Compensate::Inverse);
        if !inverse && self.state.steps.iter().all(|found| found.pre_image.is_none()) {
            return Box::pin(async move { Reply::Ended(world.act(call).await) });
        }
        // Before anything is undone, whatever is still to be undone must be possible.
        let steps = self.state.to_undo(None);
        let state = self.state.clone();
        let (bodies, keys) = (self.parts.bodies.clone(), self.parts.keys.clone());
        let id = step.id.clone();
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || {
                pre_image::readable(&state, &steps, &bodies, &keys).map_err(|(step, error)| {
                    format!("what was there before step `{step}` cannot be brought back: {error}")
                })?;
                let Some(kept) = kept.filter(|_| inverse) else { return Ok(None) };
                let purpose = pre_image::purpose(&state.run, &id);
                let read = pre_image::read(&kept, &purpose, &bodies, &keys);
                read.map(Some)
                    .map_err(|error| format!("what was there before cannot be brought back: {error}"))
            });
            match read.await.unwrap_or_else(|_| Err(PANICKED.to_owned())) {
                Ok(Some(pre_image)) => Reply::Ended(world.undo(call, pre_image).await),
                Ok(None) if inverse => failed(
                    "what was there before is not known, because the step's action was another one when it first ran: \
                     undo it by hand, then say so with `runner resolve`",
                ),
                Ok(None) => Reply::Ended(world.act(call).await),
                Err(message) => failed(&message),
            }
        })
    }

    fn look(&self, operation: &Operation) -> Result<Look, Answer> {
        self.renderer
            .look(&self.state, operation)
            .map_err(|message| Answer::new(Verdict::Unknown, self.renderer.secrets.redactor().text(&message)))
    }

    /// Looks at several checks at once.
    fn answers(
        &self,
        operations: &[Operation],
    ) -> impl Future<Output = Vec<Answer>> + Send + 'static + use<W, L, C> {
        let looks: Vec<Result<Look, Answer>> = operations.iter().map(|op| self.look(op)).collect();
        let world = Arc::clone(&self.parts.world);
        async move {
            let each = looks.into_iter().map(|look| {
                let world = Arc::clone(&world);
                async move {
                    match look {
                        Ok(look) => world.look(look).await,
                        Err(answer) => answer,
                    }
                }
            });
            join_all(each).await
        }
    }

    fn looked(&self, operations: &[Operation]) -> BoxFuture<'static, Reply> {
        let answers = self.answers(operations);
        Box::pin(async move { Reply::Looked(answers.await) })
    }

    /// The evidence of a gate: its own checks, else what the steps it needs verify; of a soak its way back.
    fn evidence(&self, step: &Step) -> BoxFuture<'static, Reply> {
        let state = &self.state;
        let own = step.gate.as_ref().and_then(|gate| gate.evidence.clone());
        let operations = own.unwrap_or_else(|| {
            let needs = step.needs.iter().filter_map(|id| state.step(id));
            needs
                .flat_map(|(need, _)| if need.soak.is_some() { &need.rollback_ready } else { &need.verify })
                .cloned()
                .collect()
        });
        let shown = Shown::of(state);
        let question = step.gate.as_ref().map_or("", |gate| gate.question.as_str());
        let question = shown.text(question);
        let soaks = if step.gate.as_ref().is_some_and(|gate| gate.evidence.is_none()) {
            step.needs.iter().filter_map(|id| state.step(id)).filter_map(soak_result).collect()
        } else {
            Vec::new()
        };
        let names: Vec<String> = operations.iter().map(|check| shown.text(&described(check))).collect();
        let answers = self.answers(&operations);
        Box::pin(async move {
            let answers = answers.await;
            let evidence = names.into_iter().zip(answers);
            let evidence = evidence.map(|(check, answer)| Evidence { check, answer });
            let evidence = soaks.into_iter().chain(evidence).collect();
            Reply::Evidence { question, evidence }
        })
    }
}

/// What is said of a panic.
const PANICKED: &str = "`runner` panicked over it; please report that";

/// What a soak came to, as evidence: only one that passed holds.
fn soak_result((step, found): (&Step, &StepState)) -> Option<Evidence> {
    step.soak.as_ref()?;
    let answer = match found.status {
        Status::Done => Answer::new(Verdict::Holds, "it passed"),
        _ => Answer::new(Verdict::Absent, format!("it is {} and has not passed", found.status.word())),
    };
    Some(Evidence { check: format!("soak: step `{}`", step.id), answer })
}

/// The reply when what was to find it has panicked: nobody knows.
pub(super) fn lost(ask: &Ask) -> Reply {
    let why = PANICKED.to_owned();
    let unknown = || Answer::new(Verdict::Unknown, why.clone());
    match ask {
        Ask::When(_) => Reply::When(Err(why)),
        Ask::PreImage(_) => Reply::PreImage(Err(why)),
        Ask::Evidence(_) => {
            let evidence = vec![Evidence { check: "the evidence".to_owned(), answer: unknown() }];
            Reply::Evidence { question: String::new(), evidence }
        }
        Ask::Act { .. } => {
            Reply::Ended(Outcome::Cut { cause: CutCause::Crash, message: why, trace: Trace::default() })
        }
        Ask::Settle { .. } => Reply::Settled(Settlement::Unproved { reason: why }),
        Ask::Probe(_)
        | Ask::Gone { .. }
        | Ask::SettleProbe(_)
        | Ask::Verify(_)
        | Ask::Undone(_)
        | Ask::Sample(_)
        | Ask::Ready(_) => Reply::Looked(vec![unknown()]),
    }
}

fn ready(reply: Reply) -> BoxFuture<'static, Reply> {
    Box::pin(std::future::ready(reply))
}
