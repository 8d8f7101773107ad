//! Waiting until what was changed has come about, with the reason while it has not.
//!
//! The server is asked again and again, as in `rollout`: a restart of it needs no care of its own then.

use std::time::Duration;

use serde_json::Value;

use super::object::{pods, unready, why_not};
use crate::action::Call;
use crate::action::outcome::shown;
use crate::saga::{CutCause, FailureClass, Outcome, Trace};
use crate::transport::{Kube, KubeError, Object, Why};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How much before the end of its time a wait gives up, so that there is time to say why.
const SPARE: Duration = Duration::from_millis(500);

/// Waits until `lacks` says that nothing is lacking, and tells whoever watches what is.
///
/// # Errors
/// What is still lacking, when the time is over or the object has gone; or that the server cannot be asked.
pub(super) async fn until<F>(kube: &Kube, object: &Object, call: &Call, mut lacks: F) -> Result<(), Late>
where
    F: FnMut(Option<&Value>, &[Value]) -> Option<String> + Send,
{
    let mut pause = FIRST_PAUSE;
    loop {
        let looked = async {
            let is = kube.get(object).await?;
            let all = match &is {
                Some(is) => pods(kube, object, is).await?,
                None => Vec::new(),
            };
            Ok::<_, KubeError>((is, all))
        };
        let reason = match looked.await {
            Ok((is, all)) => match lacks(is.as_ref(), &all) {
                None => return Ok(()),
                Some(reason) => reason,
            },
            Err(error) if error.may_heal() => error.to_string(),
            Err(error) => return Err(Late(error.to_string())),
        };
        call.tell.waits(&format!("{}: {reason}", object.shown()), &call.redactor);
        if kube.left() <= pause + SPARE {
            return Err(Late(reason));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

/// What did not come in time, and why.
#[derive(Debug)]
pub(super) struct Late(pub(super) String);

/// What a workload lacks, with the reason of its first pod that does not run.
pub(super) fn rolled_out(is: Option<&Value>, pods: &[Value]) -> Option<String> {
    let Some(is) = is else { return Some("it is not there (any more)".to_owned()) };
    let mut reason = unready(is)?;
    let told = pods.iter().find_map(|pod| {
        Some((pod["metadata"]["name"].as_str().unwrap_or_default().to_owned(), why_not(pod)?))
    });
    if let Some((name, why)) = told {
        reason.push_str(&format!("; pod {name}: {why}"));
    }
    Some(reason)
}

/// A request that did not end well, as an outcome.
pub(super) fn outcome_of(error: &KubeError, call: &Call) -> Outcome {
    let message = shown(&error.message, &call.redactor);
    let trace = Trace::default();
    match error.why {
        Why::TimedOut => Outcome::Cut { cause: CutCause::Timeout, message, trace },
        Why::Lost => Outcome::Cut { cause: CutCause::Connection, message, trace },
        _ if error.may_have_happened() => Outcome::Cut { cause: CutCause::Connection, message, trace },
        _ => {
            let class = if error.may_heal() { FailureClass::Transient } else { FailureClass::Permanent };
            Outcome::Failed { class, message, trace }
        }
    }
}

/// It was done, and did not come about in time: it may be tried again.
pub(super) fn late(what: &str, late: &Late, call: &Call) -> Outcome {
    let message = shown(&format!("{what}: {}", late.0), &call.redactor);
    Outcome::Failed { class: FailureClass::Transient, message, trace: Trace::default() }
}

/// Done, with outputs or without.
pub(super) fn acted(outputs: serde_json::Map<String, Value>) -> Outcome {
    Outcome::Acted { outputs, trace: Trace::default() }
}

/// There was no way to the cluster.
pub(super) fn unreached((permanent, message): (bool, String), call: &Call) -> Outcome {
    let class = if permanent { FailureClass::Permanent } else { FailureClass::Transient };
    Outcome::Failed { class, message: shown(&message, &call.redactor), trace: Trace::default() }
}
