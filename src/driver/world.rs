//! What the driver needs of the world: somebody who acts, settles and looks.

use futures_util::future::BoxFuture;

use crate::action::{Actions, Call, Foreseen, Need, PreImage};
use crate::check::{Checks, Look};
use crate::saga::{Answer, Outcome, Settlement, Verdict};
use crate::transport::Transport;

/// Acts and looks. The real one is [`House`]; tests bring their own, with virtual time.
///
/// The driver spawns every future it is given and never drops one of `act` in the middle.
pub trait World: Send + Sync + 'static {
    /// Runs one attempt to its end.
    fn act(&self, call: Call) -> BoxFuture<'static, Outcome>;
    /// Proves a cut-off attempt over, or finds its recorded end.
    fn settle(&self, call: Call) -> BoxFuture<'static, Settlement>;
    /// Looks at one check. May be dropped.
    fn look(&self, look: Look) -> BoxFuture<'static, Answer>;
    /// Asks the action's own probe. May be dropped. A world whose actions have none answers `unknown`.
    fn probe(&self, call: Call) -> BoxFuture<'static, Answer> {
        let reason = format!("the action `{}` has no probe here", call.operation.name);
        Box::pin(std::future::ready(Answer::new(Verdict::Unknown, reason)))
    }
    /// The same with what the action would change, for somebody who reads. May be dropped.
    fn foresee(&self, call: Call) -> BoxFuture<'static, Foreseen> {
        let looked = self.probe(call);
        Box::pin(async move { Foreseen { answer: looked.await, diff: String::new() } })
    }
    /// Whether there is what the action needs and what can be asked for beforehand. May be dropped.
    fn needs(&self, call: Call) -> BoxFuture<'static, Vec<Need>> {
        drop(call);
        Box::pin(std::future::ready(Vec::new()))
    }
    /// The same of a look. May be dropped.
    fn needs_of(&self, look: Look) -> BoxFuture<'static, Vec<Need>> {
        drop(look);
        Box::pin(std::future::ready(Vec::new()))
    }
    /// What the call would change, in words that are equal for equal targets; `None`: it cannot be undone by itself.
    ///
    /// # Errors
    /// In words, a field that cannot be read.
    fn target(&self, call: &Call) -> Result<Option<String>, String> {
        let _ = call;
        Ok(None)
    }
    /// Takes the action's pre-image. May be dropped. A world whose actions take none says so.
    fn pre_image(&self, call: Call) -> BoxFuture<'static, Result<PreImage, String>> {
        let message = format!("the action `{}` takes no pre-image here", call.operation.name);
        Box::pin(std::future::ready(Err(message)))
    }
    /// Brings a pre-image back, to its end.
    fn undo(&self, call: Call, pre_image: PreImage) -> BoxFuture<'static, Outcome> {
        drop(pre_image);
        self.act(call)
    }
    /// Ends what is shared between calls.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// The real world: actions and checks over one transport.
#[derive(Debug)]
pub struct House {
    transport: Transport,
    actions: Actions,
    checks: Checks,
}

impl House {
    /// Actions and checks that share `transport`.
    pub fn new(transport: Transport) -> Self {
        let (actions, checks) = (Actions::new(transport.clone()), Checks::new(transport.clone()));
        Self { transport, actions, checks }
    }
}

impl World for House {
    fn act(&self, call: Call) -> BoxFuture<'static, Outcome> {
        self.actions.act(call)
    }

    fn settle(&self, call: Call) -> BoxFuture<'static, Settlement> {
        self.actions.settle(call)
    }

    fn look(&self, look: Look) -> BoxFuture<'static, Answer> {
        self.checks.look(look)
    }

    fn probe(&self, call: Call) -> BoxFuture<'static, Answer> {
        self.actions.probe(call)
    }

    fn foresee(&self, call: Call) -> BoxFuture<'static, Foreseen> {
        self.actions.foresee(call)
    }

    fn needs(&self, call: Call) -> BoxFuture<'static, Vec<Need>> {
        self.actions.needs(call)
    }

    fn needs_of(&self, look: Look) -> BoxFuture<'static, Vec<Need>> {
        self.checks.needs(look)
    }

    fn target(&self, call: &Call) -> Result<Option<String>, String> {
        self.actions.target(call)
    }

    fn pre_image(&self, call: Call) -> BoxFuture<'static, Result<PreImage, String>> {
        self.actions.pre_image(call)
    }

    fn undo(&self, call: Call, pre_image: PreImage) -> BoxFuture<'static, Outcome> {
        self.actions.undo(call, pre_image)
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let transport = self.transport.clone();
        Box::pin(async move { transport.close().await })
    }
}
