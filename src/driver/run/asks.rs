//! From an ask of the core to the future that finds its reply: rendered with what is known now, owning what it needs.

use std::sync::Arc;

use futures_util::future::join_all;

use super::RunTask;
use crate::check::Look;
use crate::driver::clock::Clock;
use crate::driver::log::Log;
use crate::driver::world::World;
use crate::plan::recorded::{Operation, Step};
use crate::saga::{
    Answer, Ask, CutCause, Evidence, FailureClass, Outcome, Reply, Settlement, Trace, Verdict, described,
};

impl<W: World, L: Log, C: Clock> RunTask<W, L, C> {
    /// The future that finds the reply; it owns what it needs.
    pub(super) fn work(&self, ask: &Ask) -> futures_util::future::BoxFuture<'static, Reply> {
        let state = &self.state;
        let Some((step, _)) = state.step(ask.step()) else { return ready(Reply::Looked(Vec::new())) };
        match ask {
            Ask::When(_) => {
                let value = step.when.as_ref().map_or(Ok(true), |when| self.renderer.when(state, when));
                ready(Reply::When(value))
            }
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
            Ask::PreImage(_) => {
                let action = step.forward.as_ref().map_or("", |forward| forward.name.as_str());
                ready(Reply::PreImage(Err(format!("the action `{action}` takes no pre-image"))))
            }
            Ask::Act { direction, attempt, .. } => {
                match self.renderer.call(state, step, *direction, *attempt) {
                    Ok(call) => {
                        let world = Arc::clone(&self.parts.world);
                        Box::pin(async move { Reply::Ended(world.act(call).await) })
                    }
                    Err(message) => ready(Reply::Ended(Outcome::Failed {
                        class: FailureClass::Permanent,
                        message: self.renderer.secrets.redactor().text(&message),
                        trace: Trace::default(),
                    })),
                }
            }
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

    fn looked(&self, operations: &[Operation]) -> futures_util::future::BoxFuture<'static, Reply> {
        let answers = self.answers(operations);
        Box::pin(async move { Reply::Looked(answers.await) })
    }

    /// The evidence of a gate: its own checks, else what the steps it needs verify; of a soak its way back.
    fn evidence(&self, step: &Step) -> futures_util::future::BoxFuture<'static, Reply> {
        let state = &self.state;
        let own = step.gate.as_ref().and_then(|gate| gate.evidence.clone());
        let operations = own.unwrap_or_else(|| {
            let needs = step.needs.iter().filter_map(|id| state.step(id));
            needs
                .flat_map(|(need, _)| if need.soak.is_some() { &need.rollback_ready } else { &need.verify })
                .cloned()
                .collect()
        });
        let question = step.gate.as_ref().map_or("", |gate| gate.question.as_str());
        let question = self.renderer.text(state, question);
        let names: Vec<String> = operations.iter().map(described).collect();
        let answers = self.answers(&operations);
        Box::pin(async move {
            let answers = answers.await;
            let evidence = names.into_iter().zip(answers);
            let evidence = evidence.map(|(check, answer)| Evidence { check, answer }).collect();
            Reply::Evidence { question, evidence }
        })
    }
}

/// The reply when what was to find it has panicked: nobody knows.
pub(super) fn lost(ask: &Ask) -> Reply {
    let why = "`runner` panicked over it; please report that".to_owned();
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

fn ready(reply: Reply) -> futures_util::future::BoxFuture<'static, Reply> {
    Box::pin(std::future::ready(reply))
}
