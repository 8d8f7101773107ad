//! `vm.exec`: a command in the guest of a virtual machine, by its guest agent.
//!
//! The guest's exit status is the command's; that of `qm` says nothing. A command that still runs when the time is over is
//! cut off, with its pid in the guest, and settling asks for its end.

use futures_util::future::BoxFuture;
use serde_json::Map;
use serde_json::Value;

use super::super::fields::{Fields, OnStop};
use super::super::outcome::{outputs_of, refused, shown, trace_of};
use super::super::{Action, Call};
use super::Guest;
use crate::saga::{CutCause, FailureClass, Outcome, Settlement, Trace};
use crate::transport::{
    GuestCommand, GuestEnd, GuestSettled, Redactor, Seen, Transport, harmless, signal_name,
};

pub(in crate::action) struct Exec;

/// What of the guest's words is shown, in bytes.
const TAIL_MAX: usize = 4 * 1024;

struct Wanted {
    guest: Guest,
    command: GuestCommand,
    outputs: Map<String, Value>,
    on_stop: OnStop,
}

fn wanted(call: &Call) -> Result<Wanted, String> {
    let (guest, fields) = (Guest::of(call)?, Fields::new(&call.operation));
    let argv = match (fields.get("argv"), fields.text("script")?) {
        (Some(Value::Array(words)), None) => {
            let words: Option<Vec<String>> =
                words.iter().map(|word| word.as_str().map(str::to_owned)).collect();
            words
                .filter(|words| words.first().is_some_and(|program| !program.is_empty()))
                .ok_or_else(|| fields.wrong("argv", "a list of texts that begins with a program"))?
        }
        // The only shell there is: the one that is asked for.
        (None, Some(script)) => vec!["sh".to_owned(), "-c".to_owned(), script],
        _ => return Err("`vm.exec` needs exactly one of `argv`, `script`".to_owned()),
    };
    let stdin = fields.text("stdin")?.map(String::into_bytes);
    let command = GuestCommand { vmid: guest.vmid, argv, stdin };
    Ok(Wanted { guest, command, outputs: fields.outputs()?, on_stop: fields.on_stop(OnStop::Finish)? })
}

impl Action for Exec {
    fn act(&self, transport: Transport, call: Call) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let wanted = match wanted(&call) {
                Ok(wanted) => wanted,
                Err(message) => return refused(&message, &call.redactor),
            };
            let stop = (wanted.on_stop == OnStop::Stop).then(|| call.stop.clone());
            let (attempt, log) = (call.key.to_string(), transport.log(call.log()));
            let (end, seen) = transport
                .guest_exec(
                    &wanted.guest.host,
                    &attempt,
                    &wanted.command,
                    &call.redactor,
                    Some(log),
                    call.timeout,
                    stop,
                )
                .await;
            outcome(end, seen, &wanted.outputs, &call.redactor)
        })
    }

    fn settle(&self, transport: Transport, call: Call) -> BoxFuture<'static, Settlement> {
        Box::pin(async move {
            let wanted = match wanted(&call) {
                Ok(wanted) => wanted,
                Err(message) => return Settlement::Unproved { reason: shown(&message, &call.redactor) },
            };
            let (attempt, log) = (call.key.to_string(), transport.log(call.log()));
            let Guest { host, vmid } = &wanted.guest;
            match transport.settle_guest(host, &attempt, *vmid, &call.redactor, log, call.timeout).await {
                GuestSettled::Over => Settlement::Over,
                GuestSettled::Ended(end, seen) => {
                    Settlement::Ended(outcome(end, seen, &wanted.outputs, &call.redactor))
                }
                GuestSettled::Unproved(reason) => {
                    Settlement::Unproved { reason: shown(&reason, &call.redactor) }
                }
            }
        })
    }
}

fn outcome(end: GuestEnd, seen: Seen, outputs: &Map<String, Value>, redactor: &Redactor) -> Outcome {
    let mut trace = trace_of(seen);
    let failed =
        |class, message: &str, trace| Outcome::Failed { class, message: shown(message, redactor), trace };
    let cut = |cause, message: &str, trace| Outcome::Cut { cause, message: shown(message, redactor), trace };
    match end {
        GuestEnd::Exited { code, out, err, truncated } => {
            let hint = tell(&mut trace, &out, &err, redactor);
            trace.exit = Some(code);
            if code != 0 {
                let message = format!("exit status {code} in the guest{hint}");
                return failed(FailureClass::Transient, &message, trace);
            }
            match outputs_of(outputs, &out, truncated, redactor) {
                Ok(outputs) => Outcome::Acted { outputs, trace },
                Err(message) => failed(FailureClass::Permanent, &message, trace),
            }
        }
        GuestEnd::Killed { signal, out, err } => {
            let hint = tell(&mut trace, &out, &err, redactor);
            trace.signal = Some(signal);
            let message = format!("killed by {} ({signal}) in the guest{hint}", signal_name(signal));
            failed(FailureClass::Transient, &message, trace)
        }
        GuestEnd::Running { message, .. } => cut(CutCause::Timeout, &message, trace),
        GuestEnd::Forgotten(message) | GuestEnd::Lost(message) => cut(CutCause::Connection, &message, trace),
        GuestEnd::Stopped(message) => cut(CutCause::Stopped, &message, trace),
        GuestEnd::NotStarted { permanent, message } => {
            let class = if permanent { FailureClass::Permanent } else { FailureClass::Transient };
            failed(class, &message, trace)
        }
    }
}

/// Shows what the command wrote instead of the agent's answer; gives its last line as the end of a message.
fn tell(trace: &mut Trace, out: &[u8], err: &[u8], redactor: &Redactor) -> String {
    let text = [String::from_utf8_lossy(out), String::from_utf8_lossy(err)].concat();
    let text = redactor.text(text.trim_end());
    let mut from = text.len().saturating_sub(TAIL_MAX);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    trace.tail = harmless(&text[from..]).into_owned();
    let last = trace.tail.lines().map(str::trim).rfind(|line| !line.is_empty());
    last.map_or_else(String::new, |line| format!(": {}", line.chars().take(200).collect::<String>()))
}
