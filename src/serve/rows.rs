//! How all runs stand, for the list of runs, without reading a run twice that nothing has happened to.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::driver::{HistoryError, Holder, history};
use crate::plan::RunId;
use crate::report::RunRow;

/// The rows of runs that were asked for before. One that has moved on since is made anew.
#[derive(Debug, Default)]
pub(super) struct Rows(Mutex<HashMap<RunId, (u64, RunRow)>>);

impl Rows {
    /// All runs that have an event, or one of them, in order of creation: those that are driven as their drivers have
    /// them, the others from the journal.
    pub(super) async fn of(&self, holder: &Holder, run: Option<&RunId>) -> Result<Vec<RunRow>, HistoryError> {
        let mut rows = Vec::new();
        for head in holder.history().runs().await.map_err(HistoryError::Journal)? {
            if head.last_seq == 0 || run.is_some_and(|run| *run != head.run) {
                continue;
            }
            if let Some(row) = self.known(&head.run, head.last_seq) {
                rows.push(row);
                continue;
            }
            let (seq, row) = match holder.peek(&head.run, |state| (state.seq, RunRow::of(state))).await {
                Some(found) => found,
                None => {
                    let state = history::state(holder.history(), holder.bodies(), &head.run).await?;
                    (state.seq, RunRow::of(&state))
                }
            };
            self.lock().insert(head.run, (seq, row.clone()));
            rows.push(row);
        }
        Ok(rows)
    }

    fn known(&self, run: &RunId, last_seq: u64) -> Option<RunRow> {
        self.lock().get(run).filter(|(seq, _)| *seq == last_seq).map(|(_, row)| row.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, (u64, RunRow)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
