//! Keeps secrets out of everything that is shown or stored (P7).
//!
//! A [`Redactor`] knows the values of a run's secrets and the shapes they take on their way through shells and
//! programs, and replaces each by [`MASK`]. It works on text, on JSON and on streams, where a secret may be cut
//! in two by a read.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::Value;

/// What stands where a secret was.
pub const MASK: &str = "***";

/// Secrets shorter than this many bytes are not searched for inside other text: replacing every `a` would destroy
/// the text and give the secret away by the gaps. They are replaced where they are a whole text or JSON value.
pub const SECRET_MIN: usize = 4;

/// Lines of a secret with several lines (a key file) are secrets of their own from this many bytes on.
pub const SECRET_LINE_MIN: usize = 8;

/// Knows the secret values and replaces them. Cheap to clone.
///
/// Replaced are: the value, the value without white space at its ends, each line of at least [`SECRET_LINE_MIN`]
/// bytes, and of all these the forms JSON, shell quoting, URLs and base64 (standard and URL alphabet, at any
/// alignment within a longer text) give them. `Debug` shows only how many secrets there are.
#[derive(Clone, Default)]
pub struct Redactor(Arc<Known>);

#[derive(Default)]
struct Known {
    secrets: usize,
    short: BTreeSet<String>,
    needles: Vec<Vec<u8>>,
    longest: usize,
    finder: Option<AhoCorasick>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redactor({} secrets)", self.0.secrets)
    }
}

impl Redactor {
    /// A redactor for these values. Empty values are ignored.
    pub fn new<S: AsRef<str>>(secrets: impl IntoIterator<Item = S>) -> Self {
        let mut known = Known::default();
        let mut needles = BTreeSet::new();
        for secret in secrets {
            let secret = secret.as_ref();
            let trimmed = secret.trim();
            if trimmed.is_empty() {
                continue;
            }
            known.secrets += 1;
            if trimmed.len() < SECRET_MIN {
                known.short.insert(secret.to_owned());
                known.short.insert(trimmed.to_owned());
                continue;
            }
            add_forms(secret, &mut needles);
            add_forms(trimmed, &mut needles);
            for line in trimmed.lines().map(str::trim).filter(|line| line.len() >= SECRET_LINE_MIN) {
                add_forms(line, &mut needles);
            }
        }
        known.needles = needles.into_iter().collect();
        known.longest = known.needles.iter().map(Vec::len).max().unwrap_or(0);
        known.finder = (!known.needles.is_empty()).then(|| {
            AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(&known.needles)
                .expect("a plan's secrets fit into an automaton of 2^31 states")
        });
        Self(Arc::new(known))
    }

    /// `text` with every secret replaced by [`MASK`].
    pub fn text(&self, text: &str) -> String {
        if self.0.short.contains(text) || self.0.short.contains(text.trim()) {
            return MASK.to_owned();
        }
        match &self.0.finder {
            None => text.to_owned(),
            Some(finder) => finder.replace_all(text, &vec![MASK; self.0.needles.len()]),
        }
    }

    /// `value` with every secret replaced by [`MASK`]: in strings and in the keys of tables.
    pub fn json(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(items) => Value::Array(items.into_iter().map(|item| self.json(item)).collect()),
            Value::Object(table) => Value::Object(
                table.into_iter().map(|(key, item)| (self.text(&key), self.json(item))).collect(),
            ),
            Value::Number(number) if self.text(&number.to_string()) != number.to_string() => {
                Value::String(MASK.to_owned())
            }
            plain => plain,
        }
    }

    /// Begins a stream: bytes go in in pieces of any size, redacted bytes come out.
    pub fn stream(&self) -> RedactedStream {
        RedactedStream { redactor: self.clone(), held: Vec::new() }
    }
}

/// One stream under redaction. Holds back only what could be the beginning of a secret.
#[derive(Debug)]
pub struct RedactedStream {
    redactor: Redactor,
    held: Vec<u8>,
}

impl RedactedStream {
    /// Takes the next piece and hands what is certain to `emit`, in order.
    pub fn feed(&mut self, piece: &[u8], mut emit: impl FnMut(&[u8])) {
        let known = Arc::clone(&self.redactor.0);
        let Some(finder) = &known.finder else { return emit(piece) };
        let joined;
        let buffer = if self.held.is_empty() {
            piece
        } else {
            self.held.extend_from_slice(piece);
            joined = std::mem::take(&mut self.held);
            &joined[..]
        };
        let certain = buffer.len() - known.open_suffix(buffer);
        let mut done = 0;
        for found in finder.find_iter(buffer).take_while(|found| found.start() < certain) {
            emit(&buffer[done..found.start()]);
            emit(MASK.as_bytes());
            done = found.end();
        }
        if done < certain {
            emit(&buffer[done..certain]);
            done = certain;
        }
        self.held = buffer[done..].to_vec();
    }

    /// Ends the stream: hands what was held back to `emit`.
    pub fn finish(&mut self, mut emit: impl FnMut(&[u8])) {
        let held = std::mem::take(&mut self.held);
        let Some(finder) = &self.redactor.0.finder else { return };
        let mut done = 0;
        for found in finder.find_iter(&held) {
            emit(&held[done..found.start()]);
            emit(MASK.as_bytes());
            done = found.end();
        }
        emit(&held[done..]);
    }
}

impl Known {
    /// Length of the longest end of `buffer` that a secret begins with.
    fn open_suffix(&self, buffer: &[u8]) -> usize {
        let longest = buffer.len().min(self.longest.saturating_sub(1));
        (1..=longest)
            .rev()
            .find(|&length| {
                let end = &buffer[buffer.len() - length..];
                self.needles.iter().any(|needle| needle.len() > length && needle.starts_with(end))
            })
            .unwrap_or(0)
    }
}

/// Adds `secret` and the forms it takes in other languages.
fn add_forms(secret: &str, needles: &mut BTreeSet<Vec<u8>>) {
    let mut add = |form: String| {
        if form.len() >= SECRET_MIN {
            needles.insert(form.into_bytes());
        }
    };
    add(secret.to_owned());
    let json = Value::String(secret.to_owned()).to_string();
    add(json[1..json.len() - 1].to_owned());
    add(json[1..json.len() - 1].replace('/', "\\/"));
    add(secret.replace('\'', "'\\''"));
    add(secret.replace('\'', "'\"'\"'"));
    add(escaped(secret, |c| !c.is_ascii_alphanumeric() && !"_-./:=@%+,".contains(c)));
    add(escaped(secret, |c| matches!(c, '"' | '$' | '`' | '\\')));
    for unreserved in ["-_.~", "-_.~/", "-_.!~*'()"] {
        add(percent(secret, unreserved));
    }
    for alphabet in [STANDARD, URL] {
        add(base64(secret.as_bytes(), alphabet).trim_end_matches('=').to_owned());
        add(base64(secret.as_bytes(), alphabet));
        // Within a longer text the secret may begin at any of three alignments; only the characters that depend
        // on the secret alone are searched for.
        for shift in 0..3 {
            let mut shifted = vec![0; shift];
            shifted.extend_from_slice(secret.as_bytes());
            let first = [0, 2, 3][shift];
            let whole = shifted.len() * 8 / 6;
            let core = &base64(&shifted, alphabet)[first..whole];
            if core.len() >= SECRET_LINE_MIN {
                add(core.to_owned());
            }
        }
    }
}

fn escaped(text: &str, special: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if special(character) {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

fn percent(text: &str, unreserved: &str) -> String {
    let mut out = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || unreserved.as_bytes().contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// RFC 4648, with padding.
fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let word =
            group.iter().fold(0u32, |word, &byte| word << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            if place <= group.len() {
                out.push(char::from(alphabet[(word >> (18 - 6 * place) & 63) as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(redactor: &Redactor, pieces: &[&[u8]]) -> String {
        let mut stream = redactor.stream();
        let mut out = Vec::new();
        for piece in pieces {
            stream.feed(piece, |bytes| out.extend_from_slice(bytes));
        }
        stream.finish(|bytes| out.extend_from_slice(bytes));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_cut_of_a_stream_gives_the_same() {
        let redactor = Redactor::new(["hunter2-secret", "hunter2", "t-sec"]);
        let text = b"a hunter2-secret, hunter2-secre, hunter2 hunter2-secrehunter2-secret t-sec";
        let whole = redactor.text(std::str::from_utf8(text).unwrap());
        assert!(!whole.contains("hunter2"), "{whole}");
        for first in 0..text.len() {
            for second in first..text.len() {
                let pieces: [&[u8]; 3] = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(through(&redactor, &pieces), whole);
            }
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(through(&redactor, &bytes), whole);
    }

    #[test]
    fn forms_are_known() {
        let secret = "pa\"ss'w/rd\n$x";
        let redactor = Redactor::new([secret]);
        let json = serde_json::json!({ "key": secret }).to_string();
        for text in [
            json,
            base64(secret.as_bytes(), STANDARD),
            base64(format!("user:{secret}").as_bytes(), STANDARD),
            base64(format!("user1:{secret}!").as_bytes(), URL),
            format!("'{}'", secret.replace('\'', "'\\''")),
            percent(secret, "-_.~"),
        ] {
            let shown = redactor.text(&text);
            assert!(shown.contains(MASK), "{text} -> {shown}");
        }
    }

    #[test]
    fn lines_of_a_key_are_secrets() {
        let redactor = Redactor::new(["-----BEGIN KEY-----\nAbCdEfGhIjKl\nshort\n-----END KEY-----\n"]);
        assert_eq!(redactor.text("got AbCdEfGhIjKl, short"), "got ***, short");
    }

    #[test]
    fn short_and_empty_secrets_do_not_shred_text() {
        let redactor = Redactor::new(["", "a", "12"]);
        assert_eq!(redactor.text("banana 12"), "banana 12");
        assert_eq!(redactor.text("12"), MASK);
        assert_eq!(redactor.json(serde_json::json!(["a", 12, "ab"])), serde_json::json!([MASK, MASK, "ab"]));
        assert_eq!(through(&redactor, &[b"ba", b"nana"]), "banana");
    }

    #[test]
    fn debug_shows_nothing() {
        let redactor = Redactor::new(["hunter2"]);
        assert_eq!(format!("{redactor:?}"), "Redactor(1 secrets)");
    }

    #[test]
    fn base64_is_the_standard_one() {
        assert_eq!(base64(b"Man", STANDARD), "TWFu");
        assert_eq!(base64(b"Ma", STANDARD), "TWE=");
        assert_eq!(base64(b"M", STANDARD), "TQ==");
    }
}
