//! The one signal that goes down when a person stops `runner`.

use tokio::sync::watch;

/// Receives the first Ctrl-C or SIGTERM. Cheap to clone; fires once and stays fired.
#[derive(Debug, Clone)]
pub struct Stop(Option<watch::Receiver<bool>>);

/// Fires every [`Stop`] made with it.
#[derive(Debug)]
pub struct StopSender(watch::Sender<bool>);

impl Stop {
    /// A sender and its signal.
    pub fn channel() -> (StopSender, Stop) {
        let (sender, receiver) = watch::channel(false);
        (StopSender(sender), Stop(Some(receiver)))
    }

    /// A signal that never fires.
    pub fn never() -> Self {
        Self(None)
    }

    /// Whether it has fired.
    pub fn is_fired(&self) -> bool {
        self.0.as_ref().is_some_and(|receiver| *receiver.borrow())
    }

    /// Waits until it fires; for ever when its sender is gone without firing. Cancel-safe.
    pub async fn fired(&self) {
        if let Some(receiver) = &self.0
            && receiver.clone().wait_for(|fired| *fired).await.is_ok()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

impl StopSender {
    /// Fires the signal; again is the same as once.
    pub fn fire(&self) {
        self.0.send_replace(true);
    }
}
