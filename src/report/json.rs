//! JSON lines: one object per line and nothing else.

use std::io::Write;

use serde_json::{Value, json};

use super::guard;
use super::shown::{SHOWN_VERSION, event_line};
use super::{Level, Reporter};
use crate::saga::{Event, State};

/// The reporter for programs.
pub struct Json {
    out: Box<dyn Write + Send>,
}

/// Writes one object per line to `out`: every event whatever the verbosity, and notes.
///
/// A write that fails is passed over: who reads is gone, and the run goes on.
pub fn json(out: Box<dyn Write + Send>) -> Json {
    Json { out }
}

impl Reporter for Json {
    fn event(&mut self, state: &State, event: &Event) {
        self.put(&event_line(state, event));
    }

    fn note(&mut self, level: Level, text: &str) {
        let level = match level {
            Level::Info => "info",
            Level::Warning => "warning",
        };
        let note = json!({ "v": SHOWN_VERSION, "type": "note", "level": level, "text": text });
        self.put(&json_line(&note));
    }

    fn finish(&mut self) {
        drop(self.out.flush());
    }
}

impl Json {
    fn put(&mut self, line: &str) {
        let line = format!("{line}\n");
        drop(self.out.write_all(line.as_bytes()).and_then(|()| self.out.flush()));
    }
}

/// An object as one line without its end, safe to look at: for answers that are no events.
pub fn json_line(value: &Value) -> String {
    one_line(&value.to_string())
}

/// JSON in which everything that could deceive a reader of the raw line is escaped; a program still reads
/// exactly what was there.
pub(super) fn one_line(raw: &str) -> String {
    if raw.is_ascii() && !raw.contains('\u{7f}') {
        return raw.to_owned();
    }
    let mut line = String::with_capacity(raw.len());
    for c in raw.chars() {
        // Such characters can only stand within a JSON string, where an escape means the same.
        if c.is_control() || guard::deceives(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                line.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_deceives_is_escaped_and_read_back_as_it_was() {
        let value = json!({ "text": "a\u{202e}b\u{9b}c\u{1b}\u{e0041}\u{7f}ü" });
        let line = json_line(&value);
        assert_eq!(line, r#"{"text":"a\u202eb\u009bc\u001b\udb40\udc41\u007fü"}"#);
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
    }
}
