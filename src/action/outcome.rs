//! Turns what was seen of a process into what the core decides on.

use serde_json::{Map, Value};

use crate::saga::{CutCause, FailureClass, LeftRunning, Outcome, Trace};
use crate::transport::{CAPTURE_MAX, End, Redactor, Report, Seen, one_line, signal_name};

/// The outcome of an action's process. `outputs` are the declared ones; their values are free of secrets.
pub(super) fn outcome_of(
    report: Report,
    outputs: &Map<String, Value>,
    redactor: &Redactor,
    remote: bool,
) -> Outcome {
    let Report { end, mut seen } = report;
    let stdout = std::mem::take(&mut seen.stdout);
    let overflow = seen.overflow;
    let hint = seen_line(&seen);
    let mut trace = trace_of(seen);
    let failed =
        |class, message: String, trace| Outcome::Failed { class, message: shown(&message, redactor), trace };
    match end {
        End::Exit(0) => {
            trace.exit = Some(0);
            match outputs_of(outputs, &stdout, overflow, redactor) {
                Ok(outputs) => Outcome::Acted { outputs, trace },
                Err(message) => failed(FailureClass::Permanent, message, trace),
            }
        }
        End::Exit(status) => {
            trace.exit = Some(status);
            let signal = status - 128;
            let how = if remote && (1..=64).contains(&signal) {
                format!(
                    "exit status {status}, which is how a shell reports {} ({signal})",
                    signal_name(signal)
                )
            } else {
                format!("exit status {status}")
            };
            failed(FailureClass::Transient, format!("{how}{hint}"), trace)
        }
        End::Signal(signal) => {
            trace.signal = Some(signal);
            let message = format!("killed by {} ({signal}){hint}", signal_name(signal));
            failed(FailureClass::Transient, message, trace)
        }
        End::NotStarted { permanent, message } => {
            let class = if permanent { FailureClass::Permanent } else { FailureClass::Transient };
            failed(class, message, trace)
        }
        End::TimedOut(message) => {
            Outcome::Cut { cause: CutCause::Timeout, message: shown(&message, redactor), trace }
        }
        End::Stopped(message) => {
            Outcome::Cut { cause: CutCause::Stopped, message: shown(&message, redactor), trace }
        }
        End::Lost(message) => {
            Outcome::Cut { cause: CutCause::Connection, message: shown(&message, redactor), trace }
        }
    }
}

/// A call that cannot be made at all.
pub(super) fn refused(message: &str, redactor: &Redactor) -> Outcome {
    Outcome::Failed {
        class: FailureClass::Permanent,
        message: shown(message, redactor),
        trace: Trace::default(),
    }
}

/// A message without secrets and terminal escapes, on one line.
pub(super) fn shown(message: &str, redactor: &Redactor) -> String {
    one_line(&redactor.text(message))
}

/// The last line that a process wrote, as the end of a message.
pub(crate) fn seen_line(seen: &Seen) -> String {
    match seen.tail.lines().map(str::trim).rfind(|line| !line.is_empty()) {
        Some(line) => format!(": {}", line.chars().take(200).collect::<String>()),
        None => String::new(),
    }
}

pub(super) fn trace_of(seen: Seen) -> Trace {
    let mut tail = seen.tail;
    if let Some(error) = seen.log_error {
        tail.push_str(&format!("\n({error})"));
    }
    Trace {
        exit: None,
        signal: None,
        tail,
        log: seen.log,
        bytes: seen.bytes,
        left_running: seen
            .left
            .into_iter()
            .map(|(pid, name)| LeftRunning { pid, name: one_line(&name) })
            .collect(),
    }
}

/// The declared outputs out of stdout: `text` is all of it without the line breaks at its end, a JSON pointer
/// (RFC 6901) is a value in it. Secrets in them are masked.
///
/// # Errors
/// In words: stdout was longer than [`CAPTURE_MAX`], is not UTF-8, is not JSON, or has nothing at the pointer.
pub(crate) fn outputs_of(
    declared: &Map<String, Value>,
    stdout: &[u8],
    overflow: bool,
    redactor: &Redactor,
) -> Result<Map<String, Value>, String> {
    if declared.is_empty() {
        return Ok(Map::new());
    }
    if overflow {
        return Err(format!(
            "stdout is longer than {CAPTURE_MAX} bytes, too long for `outputs`: write less, or into a file"
        ));
    }
    let text = std::str::from_utf8(stdout).map_err(|error| {
        format!("stdout is not UTF-8 from byte {} on, so that `outputs` cannot be taken", error.valid_up_to())
    })?;
    let mut json = None;
    let mut outputs = Map::new();
    for (name, how) in declared {
        let value = match how.as_str() {
            Some("text") => Value::String(text.trim_end_matches(['\n', '\r']).to_owned()),
            Some(pointer) if pointer.is_empty() || pointer.starts_with('/') => {
                let document = match &json {
                    Some(document) => document,
                    None => json.insert(serde_json::from_str::<Value>(text).map_err(|error| {
                        format!("stdout is not JSON, so that the output `{name}` cannot be taken: {error}")
                    })?),
                };
                let value = document.pointer(pointer);
                value.cloned().ok_or_else(|| {
                    format!("the JSON on stdout has nothing at `{pointer}` for the output `{name}`")
                })?
            }
            _ => {
                return Err(format!(
                    "the output `{name}` must be `text` or a JSON pointer such as `/status/url`"
                ));
            }
        };
        outputs.insert(name.clone(), redactor.json(value));
    }
    Ok(outputs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn take(declared: Value, stdout: &[u8]) -> Result<Value, String> {
        let Value::Object(declared) = declared else { panic!("a table") };
        outputs_of(&declared, stdout, false, &Redactor::new(["hunter2"])).map(Value::Object)
    }

    #[test]
    fn text_and_pointers() {
        assert_eq!(take(json!({ "a": "text" }), b" x\ny\n\n").unwrap(), json!({ "a": " x\ny" }));
        let stdout = br#"{"s":{"url":"http://x","n":[1,2]},"pw":"hunter2"}"#;
        assert_eq!(
            take(json!({ "u": "/s/url", "n": "/s/n/1", "p": "/pw" }), stdout).unwrap(),
            json!({ "u": "http://x", "n": 2, "p": "***" })
        );
    }

    #[test]
    fn each_lack_has_its_words() {
        for (stdout, words) in
            [(&b"{}"[..], "nothing at `/a`"), (b"no", "not JSON"), (b"\"\xff\"", "not UTF-8 from byte 1")]
        {
            let message = take(json!({ "a": "/a" }), stdout).unwrap_err();
            assert!(message.contains(words), "{message}");
        }
        assert!(take(json!({ "a": "json" }), b"{}").unwrap_err().contains("must be `text`"));
        let Value::Object(declared) = json!({ "a": "text" }) else { unreachable!() };
        assert!(outputs_of(&declared, b"x", true, &Redactor::default()).unwrap_err().contains("longer than"));
    }
}
