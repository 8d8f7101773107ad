//! `kubernetes.apply`: objects of a cluster, as manifests say.
//!
//! Everything is looked at and tried as a dry run before anything is applied, so that a conflict, a field that cannot be
//! changed or an admission that refuses leaves all as it was. An object that is already as it shall be is not touched.
//! An apply may be cut off anywhere: the annotations on what it changed say whose it is, and applied again it changes
//! nothing more (P3). It works inside our process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use super::current::{self, Foreseen};
use super::persist::{persist, together};
use super::rollout::{self, Rolled};
use super::wanted::{self, Asked, Wanted};
use super::{MANAGER, diff, order, undo};
use crate::action::fields::OnStop;
use crate::action::outcome::{refused, shown, trace_of};
use crate::action::{Action, Call, Foreseen as Foresight, Inverse, Needs, PreImage, Probe};
use crate::saga::{Answer, CutCause, FailureClass, Outcome, Verdict};
use crate::transport::{Applied, Capture, Kube, KubeError, Transport, Why};

/// Refusals that stand in the message; all of them are in the log.
const REFUSALS_MAX: usize = 5;

pub(in crate::action) struct Apply;

/// Why an attempt ended before its end.
#[derive(Debug)]
pub(super) enum Halt {
    Failed(FailureClass, String),
    Cut(CutCause, String),
}

impl Halt {
    pub(super) fn permanent(message: String) -> Self {
        Self::Failed(FailureClass::Permanent, message)
    }

    /// What an error means, once it did not heal; `sent`: something may have been changed.
    pub(super) fn of(error: &KubeError, sent: bool) -> Self {
        let message = error.message.clone();
        match error.why {
            Why::TimedOut if sent => Self::Cut(CutCause::Timeout, message),
            Why::Lost if sent => Self::Cut(CutCause::Connection, message),
            _ if error.may_heal() => Self::Failed(FailureClass::Transient, message),
            _ => Self::permanent(message),
        }
    }
}

/// What an attempt writes while it is at it. Cheap to clone.
#[derive(Clone)]
pub(super) struct Log(Arc<Mutex<Capture>>);

impl Log {
    pub(super) fn say(&self, line: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).say(line);
    }
}

/// Runs an attempt inside this process: marked as under way, with a log, ended by a stop if it says so.
pub(super) async fn inside<W, F>(transport: Transport, call: Call, on_stop: OnStop, work: W) -> Outcome
where
    W: FnOnce(Transport, Call, Log) -> F,
    F: Future<Output = Result<Map<String, Value>, Halt>>,
{
    let working = transport.begin_inside(&call.key.to_string());
    let (redactor, stop) = (call.redactor.clone(), call.stop.clone());
    let log = Log(Arc::new(Mutex::new(Capture::new(&redactor, Some(transport.log(call.log()))))));
    let stopped = async {
        match on_stop {
            OnStop::Stop => stop.fired().await,
            OnStop::Finish => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        biased;
        () = stopped => Err(Halt::Cut(CutCause::Stopped, "it was stopped; what was applied by then is applied".to_owned())),
        ended = work(transport, call, log.clone()) => ended,
    };
    drop(working);
    let capture = {
        let mut capture = log.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *capture, Capture::new(&redactor, None))
    };
    let trace = trace_of(capture.finish());
    match ended {
        Ok(outputs) => {
            let outputs = outputs.into_iter().map(|(name, value)| (name, redactor.json(value))).collect();
            Outcome::Acted { outputs, trace }
        }
        Err(Halt::Failed(class, message)) => {
            Outcome::Failed { class, message: shown(&message, &redactor), trace }
        }
        Err(Halt::Cut(cause, message)) => Outcome::Cut { cause, message: shown(&message, &redactor), trace },
    }
}

impl Action for Apply {
    fn act(&self, transport: Transport, call: Call) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            match wanted::read(&call) {
                Ok(asked) => {
                    let on_stop = asked.on_stop;
                    inside(transport, call, on_stop, |transport, call, log| {
                        applied(transport, call, asked, log)
                    })
                    .await
                }
                Err(message) => refused(&message, &call.redactor),
            }
        })
    }

    fn probe(&self) -> Option<&dyn Probe> {
        Some(self)
    }

    fn needs(&self) -> Option<&dyn Needs> {
        Some(self)
    }

    fn inverse(&self) -> Option<&dyn Inverse> {
        Some(self)
    }
}

async fn applied(
    transport: Transport,
    call: Call,
    asked: Asked,
    log: Log,
) -> Result<Map<String, Value>, Halt> {
    let early = |error: KubeError| Halt::of(&error, false);
    let kube = transport.cluster(&asked.place, call.timeout).await.map_err(early)?;
    let wanted = wanted::resolved(&kube, &asked).await.map_err(early)?;
    let objects: Vec<_> = wanted.iter().map(|wanted| &wanted.object).collect();
    let present = current::present(&kube, &objects).await.map_err(early)?;
    let foreseen = current::foreseen(&kube, &wanted, &present, asked.force).await.map_err(early)?;
    accepted(&wanted, &foreseen, &log)?;
    for phase in 0..order::PHASES {
        let of_phase = wanted.iter().zip(&foreseen).filter(|(wanted, foreseen)| {
            order::phase(&wanted.object.resource) == phase && !matches!(foreseen, Foreseen::Same)
        });
        let of_phase: Vec<(&Wanted, &Foreseen)> = of_phase.collect();
        let work = of_phase.iter().map(|(wanted, _)| one(&kube, wanted, &call, asked.force).boxed());
        let mut failed = None;
        // Those that are under way end, whatever became of another one.
        for ended in together(work.collect()).await {
            match ended {
                Ok(name) => log.say(&format!("applied {name}")),
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        if let Some(error) = failed {
            return Err(Halt::of(&error, true));
        }
        if of_phase.iter().any(|(wanted, _)| order::is_definition(&wanted.object.resource)) {
            established(&kube, &wanted).await?;
        }
    }
    if !asked.wait {
        let standing = rollout::look(&kube, &wanted).await.map_err(|error| Halt::of(&error, true))?;
        return Ok(standing.outputs);
    }
    let rolled = rollout::wait(&kube, &wanted, asked.give_up_after, |reason| {
        log.say(&format!("waits: {reason}"));
        call.tell.waits(reason, &call.redactor);
    });
    match rolled.await.map_err(|error| Halt::of(&error, true))? {
        Rolled::Out(outputs) => Ok(outputs),
        Rolled::Never(why) => Err(Halt::permanent(format!("it is applied and cannot be rolled out: {why}"))),
        Rolled::Late(why) => {
            let within = call.timeout;
            let message = format!("it is applied and was not rolled out within {within:?}: {why}");
            Err(Halt::Failed(FailureClass::Transient, message))
        }
    }
}

/// Refuses the whole when the server would refuse any of it.
fn accepted(wanted: &[Wanted], foreseen: &[Foreseen], log: &Log) -> Result<(), Halt> {
    let mut all = Vec::new();
    for (wanted, foreseen) in wanted.iter().zip(foreseen) {
        let Foreseen::Refused(error) = foreseen else { continue };
        all.extend(refusals(wanted, error));
    }
    if all.is_empty() {
        return Ok(());
    }
    all.iter().for_each(|refusal| log.say(refusal));
    let more = match all.len() {
        all if all > REFUSALS_MAX => format!("; and {} more", all - REFUSALS_MAX),
        _ => String::new(),
    };
    all.truncate(REFUSALS_MAX);
    Err(Halt::permanent(format!("nothing was applied: {}{more}", all.join("; "))))
}

/// A refusal in words, field by field where fields belong to others.
fn refusals(wanted: &Wanted, error: &KubeError) -> Vec<String> {
    let name = format!("{} (`{}`)", wanted.object.shown(), wanted.source);
    let conflicts = error.conflicts();
    if conflicts.is_empty() {
        return vec![format!("{name}: {}", error.message)];
    }
    conflicts
        .into_iter()
        .map(|cause| {
            let owner = cause.message.trim_start_matches("conflict with ").replace('"', "`");
            format!("{name}: `{}` belongs to {owner}; `force_conflicts = true` would take it", cause.field)
        })
        .collect()
}

async fn one(kube: &Kube, wanted: &Wanted, call: &Call, force: bool) -> Result<String, KubeError> {
    /// How long the server may need to serve a kind that it has just been told of.
    const NEW_KIND_MAX: Duration = Duration::from_secs(15);
    let value = wanted::signed(&wanted.value, call);
    let how = Applied { manager: MANAGER, force, dry_run: false };
    let began = tokio::time::Instant::now();
    loop {
        match persist(kube, || kube.apply(&wanted.object, &value, how)).await {
            Ok(_) => return Ok(wanted.object.shown()),
            Err(error)
                if error.is_not_found()
                    && began.elapsed() < NEW_KIND_MAX.min(kube.left())
                    && error.is_no_kind() =>
            {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(error) => {
                let message = format!("{}: {}", wanted.object.shown(), error.message);
                return Err(KubeError { message, ..error });
            }
        }
    }
}

/// Waits until the definitions are served.
async fn established(kube: &Kube, wanted: &[Wanted]) -> Result<(), Halt> {
    let definitions = wanted.iter().filter(|wanted| order::is_definition(&wanted.object.resource));
    for definition in definitions {
        loop {
            let is = persist(kube, || kube.get(&definition.object))
                .await
                .map_err(|error| Halt::of(&error, true))?;
            let is = is.unwrap_or_default();
            if super::cause::says(&is, "Established", "True").is_some() {
                break;
            }
            if let Some(why) = super::cause::says(&is, "NamesAccepted", "False") {
                return Err(Halt::permanent(format!("{} is not served: {why}", definition.object.shown())));
            }
            if kube.left() < Duration::from_secs(1) {
                let message = format!("{} was not served in time", definition.object.shown());
                return Err(Halt::Failed(FailureClass::Transient, message));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

/// What was looked at for the probe, and what it came to.
async fn looked(transport: &Transport, call: &Call, whole: bool) -> Result<(Answer, String), String> {
    let asked = wanted::read(call)?;
    let words = |error: KubeError| error.message;
    let kube = transport.cluster(&asked.place, call.timeout).await.map_err(words)?;
    let wanted = wanted::resolved(&kube, &asked).await.map_err(words)?;
    let objects: Vec<_> = wanted.iter().map(|wanted| &wanted.object).collect();
    let present = current::present(&kube, &objects).await.map_err(words)?;
    let missing: Vec<String> = objects
        .iter()
        .zip(&present)
        .filter(|(_, present)| present.is_none())
        .map(|(object, _)| object.shown())
        .collect();
    let mut facts = Map::new();
    facts.insert("objects".to_owned(), wanted.len().into());
    facts.insert("missing".to_owned(), missing.len().into());
    let answer = |verdict, reason: &str, facts: &Map<String, Value>| {
        let mut answer = Answer::new(verdict, shown(reason, &call.redactor));
        answer.facts.clone_from(facts);
        answer
    };
    // A run wants to know no more; who plans wants to see all of it.
    if !whole && let Some(first) = missing.first() {
        let verdict = if missing.len() == wanted.len() { Verdict::Absent } else { Verdict::Partial };
        let reason = format!("{} of {} objects are not there, {first} for one", missing.len(), wanted.len());
        return Ok((answer(verdict, &reason, &facts), String::new()));
    }
    let foreseen = current::foreseen(&kube, &wanted, &present, asked.force).await.map_err(words)?;
    let text =
        if whole { call.redactor.text(&diff::of_all(&wanted, &present, &foreseen)) } else { String::new() };
    let same = foreseen.iter().filter(|foreseen| matches!(foreseen, Foreseen::Same)).count();
    facts.insert("as_wanted".to_owned(), same.into());
    let refusal = wanted.iter().zip(&foreseen).find_map(|(wanted, foreseen)| match foreseen {
        Foreseen::Refused(error) => refusals(wanted, error).into_iter().next(),
        Foreseen::Same | Foreseen::Created(_) | Foreseen::Changed(_) => None,
    });
    let verdict = if same == 0 { Verdict::Absent } else { Verdict::Partial };
    if let Some(refusal) = refusal {
        return Ok((answer(verdict, &format!("it would be refused: {refusal}"), &facts), text));
    }
    if same < wanted.len() {
        let other = wanted.iter().zip(&foreseen).find(|(_, foreseen)| !matches!(foreseen, Foreseen::Same));
        let other = other.map(|(wanted, _)| wanted.object.shown()).unwrap_or_default();
        let reason =
            format!("{} of {} objects would be changed, {other} for one", wanted.len() - same, wanted.len());
        return Ok((answer(verdict, &reason, &facts), text));
    }
    let standing = rollout::look(&kube, &wanted).await.map_err(words)?;
    if asked.wait && !standing.waiting.is_empty() {
        let reason = format!("the objects are as they shall be and not rolled out: {}", standing.reason());
        return Ok((answer(Verdict::Partial, &reason, &facts), text));
    }
    let reason = match wanted.len() {
        1 => format!("{} is as it shall be", wanted[0].object.shown()),
        more => format!("{more} objects are as they shall be"),
    };
    let mut holds = answer(Verdict::Holds, &reason, &facts);
    holds.outputs =
        standing.outputs.into_iter().map(|(name, value)| (name, call.redactor.json(value))).collect();
    Ok((holds, text))
}

impl Probe for Apply {
    fn look(&self, transport: Transport, call: Call) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            match looked(&transport, &call, false).await {
                Ok((answer, _)) => answer,
                Err(message) => Answer::new(Verdict::Unknown, shown(&message, &call.redactor)),
            }
        })
    }

    fn foresee(&self, transport: Transport, call: Call) -> BoxFuture<'static, Foresight> {
        Box::pin(async move {
            match looked(&transport, &call, true).await {
                Ok((answer, diff)) => Foresight { answer, diff },
                Err(message) => {
                    let answer = Answer::new(Verdict::Unknown, shown(&message, &call.redactor));
                    Foresight { answer, diff: String::new() }
                }
            }
        })
    }
}

impl Inverse for Apply {
    fn target(&self, call: &Call) -> Result<String, String> {
        Ok(wanted::target(&wanted::read(call)?))
    }

    fn pre_image(&self, transport: Transport, call: Call) -> BoxFuture<'static, Result<PreImage, String>> {
        Box::pin(async move {
            let asked = wanted::read(&call)?;
            let words = |error: KubeError| error.message;
            let kube = transport.cluster(&asked.place, call.timeout).await.map_err(words)?;
            let wanted = wanted::resolved(&kube, &asked).await.map_err(words)?;
            let objects: Vec<_> = wanted.iter().map(|wanted| &wanted.object).collect();
            let present = current::present(&kube, &objects).await.map_err(words)?;
            Ok(undo::pre_image(wanted::target(&asked), &asked, &wanted, present))
        })
    }

    fn undo(&self, transport: Transport, call: Call, pre_image: PreImage) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let back = match undo::read(&call, &pre_image) {
                Ok(back) => back,
                Err(message) => return refused(&message, &call.redactor),
            };
            let on_stop = back.on_stop;
            inside(transport, call, on_stop, |transport, call, log| {
                undo::taken_back(transport, call, back, log)
            })
            .await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_sent_is_not_cut_off() {
        let lost = KubeError { why: Why::Lost, message: String::new() };
        assert!(matches!(Halt::of(&lost, true), Halt::Cut(CutCause::Connection, _)));
        assert!(matches!(Halt::of(&lost, false), Halt::Failed(FailureClass::Transient, _)));
        let access = KubeError { why: Why::Access, message: "x".to_owned() };
        assert!(matches!(Halt::of(&access, true), Halt::Failed(FailureClass::Permanent, _)));
    }
}
