//! What the driver needs of the world: somebody who acts, settles and looks.

use futures_util::future::BoxFuture;

use crate::action::{Actions, Call};
use crate::check::{Checks, Look};
use crate::saga::{Answer, Outcome, Settlement};
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

    fn close(&self) -> BoxFuture<'static, ()> {
        let transport = self.transport.clone();
        Box::pin(async move { transport.close().await })
    }
}
