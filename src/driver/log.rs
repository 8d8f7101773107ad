//! What the driver needs of the journal: append, read back, and say that it cannot.

use futures_util::future::BoxFuture;

use crate::journal::{Handle, JournalError};
use crate::plan::RunId;

/// Where events go. The real one is the journal's [`Handle`]; tests bring one that fails, is slow or is cut.
pub trait Log: Send + Sync + 'static {
    /// Appends event bodies, the first as `first_seq`; on stable storage when it returns.
    fn append(
        &self,
        run: RunId,
        first_seq: u64,
        bodies: Vec<Vec<u8>>,
    ) -> BoxFuture<'_, Result<(), JournalError>>;
    /// The same, from a caller that has nothing else in flight: there is nobody to share a barrier with, so the way
    /// through another thread may be spared. It may block the calling thread for the length of a sync.
    fn append_alone(
        &self,
        run: RunId,
        first_seq: u64,
        bodies: Vec<Vec<u8>>,
    ) -> BoxFuture<'_, Result<(), JournalError>> {
        self.append(run, first_seq, bodies)
    }
    /// Makes sure that even a lost tail would be noticed: before a state is shown to somebody.
    fn settle(&self) -> BoxFuture<'_, Result<(), JournalError>>;
    /// Keeps a folded state beside the events.
    fn checkpoint(&self, run: RunId, seq: u64, body: Vec<u8>) -> BoxFuture<'_, Result<(), JournalError>>;
    /// Keeps what the next process shall know of a run and is not worth an event yet, in place of what was kept
    /// before; on stable storage when it returns. One that keeps nothing loses nothing but that.
    fn keep(&self, _run: RunId, _body: Vec<u8>) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Log for Handle {
    fn append(
        &self,
        run: RunId,
        first_seq: u64,
        bodies: Vec<Vec<u8>>,
    ) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(Handle::append(self, run, first_seq, bodies))
    }

    fn append_alone(
        &self,
        run: RunId,
        first_seq: u64,
        bodies: Vec<Vec<u8>>,
    ) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(Handle::append_alone(self, run, first_seq, bodies))
    }

    fn settle(&self) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(Handle::settle(self))
    }

    fn checkpoint(&self, run: RunId, seq: u64, body: Vec<u8>) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(Handle::checkpoint(self, run, seq, body))
    }

    fn keep(&self, run: RunId, body: Vec<u8>) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(Handle::keep(self, run, body))
    }
}
