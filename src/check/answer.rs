//! Turns the end of a process into a verdict, as the design's table of checks says.

use serde_json::{Map, Value};

use crate::action::{Fields, outputs_of, seen_line};
use crate::plan::recorded::Operation;
use crate::saga::{Answer, Verdict};
use crate::transport::{End, Redactor, Report, harmless, one_line};

/// How much of stdout is kept as a fact, in bytes.
const FACT_MAX: usize = 1024;

/// Exit 0 holds, 1 is absent, 10 is partial, what `absent_on` lists is absent too, and anything else is unknown.
/// A check that holds and whose declared outputs cannot be taken has not seen enough: unknown.
pub(super) fn answer_of(report: Report, operation: &Operation, redactor: &Redactor) -> Answer {
    let fields = Fields::new(operation);
    let (absent_on, declared) = match fields.absent_on().and_then(|list| Ok((list, fields.outputs()?))) {
        Ok(read) => read,
        Err(message) => return unknown(&message, redactor),
    };
    let Report { end, seen } = report;
    let mut facts = Map::new();
    let hint = seen_line(&seen);
    let (verdict, reason) = match end {
        End::Exit(status) => {
            facts.insert("exit".to_owned(), Value::from(status));
            let verdict = match status {
                0 => Verdict::Holds,
                _ if absent_on.contains(&i64::from(status)) => Verdict::Absent,
                1 => Verdict::Absent,
                10 => Verdict::Partial,
                _ => Verdict::Unknown,
            };
            (verdict, format!("exit status {status}{hint}"))
        }
        End::Signal(signal) => (
            Verdict::Unknown,
            format!("killed by {} ({signal}){hint}", crate::transport::signal_name(signal)),
        ),
        End::TimedOut(message) | End::Stopped(message) | End::Lost(message) => (Verdict::Unknown, message),
        End::NotStarted { message, .. } => (Verdict::Unknown, message),
    };
    if !seen.stdout.is_empty() {
        let text = redactor.text(&String::from_utf8_lossy(&seen.stdout));
        let text = harmless(text.trim_end()).into_owned();
        let mut cut = text.len().saturating_sub(FACT_MAX);
        while !text.is_char_boundary(cut) {
            cut += 1;
        }
        facts.insert("stdout".to_owned(), Value::String(text[cut..].to_owned()));
    }
    let mut answer = Answer::new(verdict, one_line(&redactor.text(&reason)));
    answer.facts = facts;
    if verdict == Verdict::Holds {
        match outputs_of(&declared, &seen.stdout, seen.overflow, redactor) {
            Ok(outputs) => answer.outputs = outputs,
            Err(message) => {
                answer.verdict = Verdict::Unknown;
                answer.reason = one_line(&redactor.text(&message));
            }
        }
    }
    answer
}

/// Could not look.
pub(super) fn unknown(message: &str, redactor: &Redactor) -> Answer {
    Answer::new(Verdict::Unknown, one_line(&redactor.text(message)))
}
