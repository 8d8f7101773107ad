//! Requests that may be sent again: an apply, a delete of one object and a look change nothing more the second time, so
//! that a server that restarts, is busy or loses an answer is borne for a while.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};

use crate::transport::{Kube, KubeError};

/// How long a server may be away: it restarts in some seconds, and a node of it in a minute.
const AWAY_MAX: Duration = Duration::from_secs(90);

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Requests in flight at once: enough to hide the way to the server, few enough to leave it to others as well.
const PARALLEL: usize = 16;

/// Does everything, not more than [`PARALLEL`] at once; the results stand in the order of the work. All of it is done,
/// whatever becomes of any.
pub(super) async fn together<'w, T: Send + 'w>(work: Vec<BoxFuture<'w, T>>) -> Vec<T> {
    stream::iter(work).buffered(PARALLEL).collect().await
}

/// Asks until there is an answer that is not going to be another one. Cancel-safe when `ask` is.
pub(super) async fn persist<T, F>(kube: &Kube, ask: impl Fn() -> F) -> Result<T, KubeError>
where
    F: Future<Output = Result<T, KubeError>>,
{
    let began = tokio::time::Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let wait = error.retry_after().unwrap_or(pause).min(LONGEST_PAUSE * 6);
        // One that is stale has to be read again first, which only the caller can.
        let heals = error.may_heal() && !error.is_stale();
        if !heals || began.elapsed() + wait > AWAY_MAX || wait >= kube.left() {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
